"""The audit of masks against cleanlab, against a slow version of itself, and however it is cut into parts."""

import csv
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cleanlab.segmentation.filter import find_label_issues
from cleanlab.segmentation.rank import get_label_quality_scores
from cleanlab.segmentation.summary import common_label_issues
from hypothesis import given, settings
from hypothesis import strategies as st

from labelwise.audit.blocks import RowReader
from labelwise.audit.segmentation import SegmentationAudit, SegmentationSummary, audit_segmentation
from labelwise.errors import InputError

Image = tuple[np.ndarray, np.ndarray]
Images = list[Image]


def draw_images(rng: np.random.Generator, shapes: list[tuple[int, int]], num_classes: int, **how: Any) -> Images:
    """Masks (H, W) that agree with probabilities (classes, H, W) for most pixels."""
    return [draw_image(rng, shape, num_classes, **how) for shape in shapes]


def draw_image(
    rng: np.random.Generator, shape: tuple[int, int], num_classes: int, *, ties: bool = False, ignored: float = 0.0
) -> Image:
    probs = rng.dirichlet(np.full(num_classes, rng.choice([0.1, 0.5, 3.0])), shape)
    if ties:
        probs = np.round(probs * 4)
        probs[probs.sum(axis=2) == 0, 0] = 1
        probs /= probs.sum(axis=2, keepdims=True)
    mask = probs.argmax(axis=2)
    is_flipped = rng.random(shape) < 0.2
    mask[is_flipped] = rng.integers(0, num_classes, is_flipped.sum())
    mask[rng.random(shape) < ignored] = 255
    return mask, np.ascontiguousarray(np.moveaxis(probs, 2, 0))


@st.composite
def image_lists(draw: Any) -> tuple[Images, int]:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    num_classes = draw(st.integers(1, 4))
    shapes = draw(st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), min_size=1, max_size=5))
    how = {"ties": draw(st.booleans()), "ignored": draw(st.sampled_from([0.0, 0.3, 1.0]))}
    return draw_images(rng, shapes, num_classes, **how), num_classes


def slow_issues(images: Images, num_classes: int) -> list[np.ndarray]:
    """Issue masks by the definition, all pixels in one list."""
    labels = np.concatenate([mask.ravel() for mask, _ in images])
    probs = np.concatenate([p.reshape(num_classes, -1).T for _, p in images])
    known = np.flatnonzero(labels != 255)
    own = probs[known, labels[known]]
    best = probs[known].argmax(axis=1)
    bars = np.array([max(own[labels[known] == k].mean(), 2e-6) if k in labels else 2e-6 for k in range(num_classes)])
    is_disputed = best != labels[known]
    count = int((is_disputed & (probs[known].max(axis=1) >= bars[best] - 1e-6)).sum())
    lowest = np.argsort(own, kind="stable")[:count]
    flat = np.zeros(len(labels), dtype=bool)
    flat[known[lowest[is_disputed[lowest]]]] = True
    ends = np.cumsum([mask.size for mask, _ in images])[:-1]
    return [part.reshape(mask.shape) for part, (mask, _) in zip(np.split(flat, ends), images, strict=True)]


def audit_images(images: Images, **options: Any) -> SegmentationAudit:
    return audit_segmentation([mask for mask, _ in images], [probs for _, probs in images], **options)


def assert_same(a: SegmentationAudit, b: SegmentationAudit) -> None:
    for name in a.__slots__:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("num_classes", [2, 3, 8])
def test_equals_cleanlab(dtype: type, num_classes: int) -> None:
    rng = np.random.default_rng(num_classes)
    images = draw_images(rng, [(30, 22)] * 6, num_classes)
    masks, probs = np.stack([m for m, _ in images]), np.stack([p for _, p in images]).astype(dtype)
    issues = find_label_issues(masks, probs, downsample=1, n_jobs=1, verbose=False)
    assert issues.sum() > 100

    found = audit_segmentation(masks, probs)
    np.testing.assert_array_equal([found.issue_mask(i) for i in range(6)], issues)
    scores, _ = get_label_quality_scores(masks, probs, verbose=False)
    np.testing.assert_allclose(found.scores, scores, rtol=1e-12)

    by_count = audit_segmentation(masks, probs, rank_by="num_pixel_issues")
    scores, _ = get_label_quality_scores(masks, probs, method="num_pixel_issues", n_jobs=1, verbose=False)
    np.testing.assert_allclose(by_count.scores, scores, rtol=1e-12)

    common = common_label_issues(issues, masks, probs, verbose=False, top=100)
    theirs = {(int(a), int(b)): n for a, b, n in common.itertuples(index=False)}
    ours = {(a, b): n for a, b, n, _ in found.common_issues().itertuples(index=False)}
    assert ours == theirs
    assert list(ours.values()) == sorted(ours.values(), reverse=True)


def test_equals_cleanlab_where_a_class_has_no_label() -> None:
    masks, probs = draw_image(np.random.default_rng(0), (40, 40), 4)
    masks[masks == 2] = 1
    issues = find_label_issues(masks[None], probs[None], downsample=1, n_jobs=1, verbose=False)
    np.testing.assert_array_equal(audit_segmentation(masks[None], probs[None]).issue_mask(0), issues[0])


@settings(max_examples=80, deadline=None)
@given(image_lists())
def test_issues_are_those_of_the_definition(case: tuple[Images, int]) -> None:
    images, num_classes = case
    found = audit_images(images)
    counts = np.zeros((num_classes, num_classes), dtype=int)
    for i, (expected, (mask, probs)) in enumerate(zip(slow_issues(images, num_classes), images, strict=True)):
        np.testing.assert_array_equal(found.issue_mask(i), expected)
        np.testing.assert_array_equal(found.suggestion(i), np.where(expected, probs.argmax(axis=0), 255))
        np.add.at(counts, (mask[expected], probs.argmax(axis=0)[expected]), 1)
        assert found.num_issues[i] == expected.sum()
        assert found.num_labelled[i] == (mask != 255).sum()
        own = np.array([probs[mask[r, c], r, c] for r, c in np.argwhere(mask != 255)])
        weights = np.exp((1 - own) / 0.1)
        np.testing.assert_allclose(found.scores[i], (own * weights).sum() / weights.sum() if len(own) else 1)
    np.testing.assert_array_equal(found.issue_counts, counts)
    assert set(found.ranked) == set(np.flatnonzero(found.num_issues))
    assert (np.diff(found.scores[found.ranked]) >= 0).all()


@settings(max_examples=40, deadline=None)
@given(image_lists(), st.data())
def test_parts_merge_to_the_same_bits(case: tuple[Images, int], data: st.DataObject) -> None:
    images, num_classes = case
    cuts = sorted(data.draw(st.lists(st.integers(0, len(images)), max_size=3)))
    parts = []
    for start, stop in zip([0, *cuts], [*cuts, len(images)], strict=True):
        part = SegmentationSummary.empty(num_classes)
        for mask, probs in images[start:stop]:
            part.update(mask, probs)
        parts.append(part)
    while len(parts) > 1:
        place = data.draw(st.integers(0, len(parts) - 2))
        parts[place : place + 2] = [parts[place].merge(parts[place + 1])]
    assert_same(parts[0].finalize(), audit_images(images))


def test_many_records_and_threads_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    images = draw_images(np.random.default_rng(3), [(17, 9), (1, 30), (40, 5)], 3, ties=True, ignored=0.1)
    whole = audit_images(images, num_threads=1)
    monkeypatch.setattr("labelwise.audit.segmentation.RECORDS_AT_A_TIME", 7)
    monkeypatch.setattr("labelwise.audit.segmentation.SPOOL_BYTES", 100)
    assert_same(audit_images(images, num_threads=3), whole)


def test_every_form_of_input_gives_the_same(tmp_path: Path) -> None:
    images = draw_images(np.random.default_rng(4), [(9, 11)] * 4, 3)
    masks, probs = np.stack([m for m, _ in images]), np.stack([p for _, p in images]).astype(np.float32)
    np.save(tmp_path / "m.npy", masks.astype(np.uint8))
    np.save(tmp_path / "p.npy", probs)
    mapped = [np.load(tmp_path / name, mmap_mode="r") for name in ("m.npy", "p.npy")]
    whole = audit_segmentation(masks, probs)
    assert_same(audit_segmentation(*mapped), whole)
    assert_same(audit_segmentation((m for m in masks), (p for p in probs)), whole)
    assert_same(audit_segmentation(list(mapped[0]), mapped[1]), whole)
    assert_same(audit_segmentation(masks.astype(">i4"), probs.astype(">f4")), whole)
    assert_same(audit_segmentation(masks.astype(float), probs), whole)
    channels_last = np.ascontiguousarray(np.moveaxis(probs, 1, 3))
    assert_same(audit_segmentation(masks, np.moveaxis(channels_last, 3, 1)), whole)


def test_memory_does_not_grow_with_the_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labelwise.audit.segmentation.SPOOL_BYTES", 1 << 16)
    mask, probs = draw_image(np.random.default_rng(0), (100, 100), 10)
    audit_images([(mask, probs)])

    def measure(count: int) -> tuple[int, int]:
        tracemalloc.start()
        copies = (mask.copy() for _ in range(count)), (probs.copy() for _ in range(count))
        found = audit_segmentation(*copies, num_threads=1)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak, int(found.num_issues.sum())

    (few, few_issues), (many, many_issues) = measure(10), measure(60)
    assert few < 12e6
    # While parts of the answer are joined they are held twice.
    assert many - few < 2.5 * 8 * (many_issues - few_issues) + 50 * 1000


def test_reader_reads_a_mapped_file_and_its_parts(tmp_path: Path) -> None:
    array = np.arange(60, dtype=np.int32).reshape(10, 3, 2)
    np.save(tmp_path / "a.npy", array)
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    for part, expected in ((mapped, array), (mapped[4:], array[4:]), (mapped[::2], array[::2]), (array, array)):
        reader = RowReader(part)
        np.testing.assert_array_equal(reader.read(1, 4), expected[1:4])
        np.testing.assert_array_equal(reader.read(0, 1), expected[:1])
    with (tmp_path / "a.npy").open("r+b") as file:
        file.truncate(200)
    with pytest.raises(InputError, match="cut short"):
        RowReader(mapped).read(8, 10)


def test_boundaries() -> None:
    uniform = np.full((3, 2, 2), 1 / 3)
    ignored = audit_segmentation(np.full((1, 2, 2), 255), uniform[None])
    assert (ignored.scores[0], ignored.num_labelled[0], ignored.issue_share) == (1.0, 0, 0.0)
    assert audit_segmentation(np.zeros((1, 2, 2), int), np.ones((1, 1, 2, 2))).num_issues.tolist() == [0]
    assert audit_segmentation(np.zeros((1, 1, 1), int), uniform[None, :, :1, :1]).num_issues.tolist() == [0]
    certain = np.stack([np.ones((2, 2)), np.zeros((2, 2))])
    wrong = audit_segmentation(np.ones((1, 2, 2), int), certain[None])
    assert wrong.num_issues.tolist() == [4]
    assert wrong.scores[0] == 0
    assert wrong.issue_counts.tolist() == [[0, 0], [4, 0]]
    assert audit_segmentation(np.ones((1, 2, 2), int), certain[None].astype(np.float16)).num_issues.tolist() == [4]


def test_csv_lists_the_worst_image_first(tmp_path: Path) -> None:
    images = draw_images(np.random.default_rng(5), [(20, 20)] * 3, 3)
    images[1][0][:10] = (images[1][0][:10] + 1) % 3
    found = audit_images(images)
    found.to_csv(tmp_path / "suspects.csv")
    with (tmp_path / "suspects.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["index"]) for row in rows] == found.ranked.tolist()
    for row in rows:
        image, pair = int(row["index"]), (int(row["given"]), int(row["suggested"]))
        part = slice(found.starts[image], found.starts[image + 1])
        pairs = list(zip(found.given[part].tolist(), found.suggested[part].tolist(), strict=True))
        assert pairs.count(pair) == max(pairs.count(other) for other in pairs)
        assert f"({pairs.count(pair):,} pixels)" in row["why"]
    assert found.to_frame()["why"].tolist() == [row["why"] for row in rows]


def edited(change: Callable[[np.ndarray, np.ndarray], Any]) -> tuple[Any, Any]:
    masks, probs = np.zeros((2, 4, 5), dtype=np.int64), np.full((2, 3, 4, 5), 1 / 3)
    return change(masks, probs) or (masks, probs)


def put(array: np.ndarray, place: Any, value: float) -> None:
    array[place] = value


REFUSED = {
    "nan": (lambda m, p: put(p, (1, 2, 3, 4), np.nan), "pred_probs of image 1, row 3, column 4"),
    "inf": (lambda m, p: put(p, (1, 0, 0, 0), np.inf), "image 1, row 0, column 0 sum to inf"),
    "negative": (lambda m, p: put(p, (0, slice(None), 1, 2), [-0.1, 0.5, 0.6]), "lowest is -0.1"),
    "sum": (lambda m, p: put(p, (0, 0, 1, 2), 0.5), "image 0, row 1, column 2 sum to 1.16667"),
    "class too high": (lambda m, p: put(m, (1, 2, 3), 3), "image 1, mask 0, row 2, column 3 is 3"),
    "class below 0": (lambda m, p: put(m, (1, 2, 3), -1), "image 1, mask 0, row 2, column 3 is -1"),
    "fraction": (lambda m, p: (m + 0.5, p), "is 0.5"),
    "boolean": (lambda m, p: (m > 0, p), "type bool"),
    "numbers": (lambda m, p: (m[:1], p), r"masks has shape \(1, 4, 5\)"),
    "sizes": (lambda m, p: (m[:, :3], p), r"masks has shape \(2, 3, 5\)"),
    "one mask": (lambda m, p: (m[0], p), r"masks has shape \(4, 5\)"),
    "one image": (lambda m, p: (m, p[0]), r"pred_probs has shape \(3, 4, 5\)"),
    "missing mask": (lambda m, p: (list(m)[:1], list(p)), "image 1 has no mask"),
    "missing image": (lambda m, p: (list(m), list(p)[:1]), "image 1 has no probabilities"),
    "size of one": (lambda m, p: ([m[0], m[1, :2]], list(p)), r"image 1 has a mask of shape \(2, 5\)"),
    "classes of one": (lambda m, p: (list(m), [p[0], p[1, :2]]), "image 1 has 2 classes, not 3"),
    "no image": (lambda m, p: ([], []), "no image"),
    "empty arrays": (lambda m, p: (m[:0], p[:0]), "no image"),
    "no pixel": (lambda m, p: (m[:, :0], p[:, :, :0]), r"shape \(3, 0, 5\)"),
    "too many classes": (lambda m, p: (m, np.full((2, 256, 4, 5), 1 / 256)), "at most 255 classes"),
    "text": (lambda m, p: (m, p.astype(str)), "type <U"),
    "a number": (lambda m, p: (3, p), "masks is a int"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses(name: str) -> None:
    change, message = REFUSED[name]
    with pytest.raises(InputError, match=message):
        audit_segmentation(*edited(change))


def test_refuses_more_pixels_than_the_sums_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labelwise.audit.segmentation.MOST_OF_A_CLASS", 30)
    probs = np.full((2, 3, 4, 5), 1 / 3)
    with pytest.raises(InputError, match="more than 30 pixels are labelled 2"):
        audit_segmentation(np.full((2, 4, 5), 2), probs)
    audit_segmentation(np.stack([np.full((4, 5), 2), np.full((4, 5), 1)]), probs)


def test_refuses_an_unknown_score() -> None:
    with pytest.raises(InputError, match="rank_by is 'worst'"):
        audit_segmentation(np.zeros((1, 1, 1), int), np.ones((1, 1, 1, 1)), rank_by="worst")
