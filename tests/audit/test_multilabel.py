"""The audit of multi-labels: cleanlab's issues and scores, a slow version of the definition, any division of rows."""

import tracemalloc
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelwise import InputError, audit_multilabel
from labelwise.audit.confident_learning import confident_joint, find_label_issues
from labelwise.audit.multilabel import FILTERS, MultilabelAudit, PresenceConfidence, PresenceJoint


def draw(
    rng: np.random.Generator, num_rows: int, num_classes: int, *, unknown: float = 0.0, ties: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Labels (n, classes) of which about one in ten is wrong, and probabilities of a fair model."""
    rate = rng.uniform(0.05, 0.6, num_classes)
    truth = rng.random((num_rows, num_classes)) < rate
    logits = rng.normal(size=truth.shape) * 2 + np.where(truth, 2.0, -2.0)
    probs = 1 / (1 + np.exp(-logits))
    labels = (truth ^ (rng.random(truth.shape) < 0.1)).astype(np.int64)
    labels[rng.random(truth.shape) < unknown] = -1
    return labels, np.round(probs, 1) if ties else probs


def sets(labels: np.ndarray) -> list[list[int]]:
    return [np.flatnonzero(row == 1).tolist() for row in labels]


@pytest.fixture
def stable_sorts(monkeypatch: pytest.MonkeyPatch) -> None:
    """cleanlab's argsort leaves the order of ties to the processor; the method fixes it."""
    monkeypatch.setattr(np, "argsort", partial(np.argsort, kind="stable"))


@pytest.mark.usefixtures("stable_sorts")
@pytest.mark.parametrize("filter_by", FILTERS)
def test_issues_equal_cleanlab(filter_by: str) -> None:
    peer = pytest.importorskip("cleanlab.multilabel_classification.filter", reason="a development dependency")
    for seed in range(25):
        rng = np.random.default_rng(seed)
        labels, probs = draw(rng, int(rng.integers(20, 200)), int(rng.integers(2, 7)), ties=seed % 3 == 0)
        labels[0] = 0  # cleanlab refuses a class that all examples have
        how: dict[str, Any] = {"filter_by": filter_by}
        if filter_by == "prune_by_noise_rate":
            how |= {"frac_noise": float(rng.choice([1.0, 0.5])), "min_examples_per_class": int(rng.integers(0, 12))}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = peer.find_multilabel_issues_per_class(sets(labels), probs, **how, n_jobs=1)
            ranked = peer.find_label_issues(
                sets(labels), probs, return_indices_ranked_by="self_confidence", **how, n_jobs=1
            )
        found = audit_multilabel(labels, probs, **how)
        np.testing.assert_array_equal(found.issue_mask(), expected, err_msg=f"seed {seed}")
        np.testing.assert_allclose(found.scores[found.ranked], found.scores[ranked.astype(int)], rtol=1e-12)
        assert set(found.ranked) == set(ranked)


def test_scores_and_counts_equal_cleanlab() -> None:
    rank = pytest.importorskip("cleanlab.multilabel_classification.rank", reason="a development dependency")
    dataset = pytest.importorskip("cleanlab.multilabel_classification.dataset")
    count = pytest.importorskip("cleanlab.count")
    for seed, num_classes in enumerate((2, 3, 23, 24, 25, 40, 90)):
        labels, probs = draw(np.random.default_rng(seed), 150, num_classes)
        labels[0] = 0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            scores = rank.get_label_quality_scores(sets(labels), probs)
            joint = count.compute_confident_joint(sets(labels), probs, multi_label=True, calibrate=False)
        found = audit_multilabel(labels, probs)
        np.testing.assert_allclose(found.scores, scores, rtol=1e-14)
        np.testing.assert_array_equal(found.confident_joint, joint)
        if num_classes > 3:  # what follows takes cleanlab a tenth of a second a class
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            common = dataset.common_multilabel_issues(sets(labels), probs).sort_values("Class Index")
            health = dataset.overall_multilabel_health_score(sets(labels), probs)
        frame = found.class_frame().sort_values("class")
        for is_given, column in ((True, "wrong"), (False, "missing")):
            expected = common[common["In Given Label"] == is_given]["Num Examples"]
            assert frame[column].tolist() == expected.tolist()
        assert 1 - len(found.ranked) / 150 == pytest.approx(health)


@pytest.mark.parametrize("seed", range(12))
def test_each_class_is_audited_as_two_classes_of_its_known_rows(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels, probs = draw(rng, 120, 4, unknown=0.3, ties=seed % 2 == 0)
    if seed % 4 == 0:
        labels[:, 1] = -1
        labels[:, 2] = np.where(labels[:, 2] == 0, -1, labels[:, 2])  # positives only
    for filter_by in FILTERS:
        found = audit_multilabel(labels, probs, filter_by=filter_by, frac_noise=0.8, min_examples_per_class=3)
        for k in range(4):
            known = labels[:, k] >= 0
            expected = np.zeros(120, dtype=bool)
            if known.any():
                two = np.stack([1 - probs[known, k], probs[known, k]], axis=1)
                expected[known] = find_label_issues(labels[known, k], two, filter_by, 0.8, 3)
                joint = confident_joint(labels[known, k], two, calibrate=False)
                np.testing.assert_array_equal(found.confident_joint[k], joint)
            np.testing.assert_array_equal(found.issue_mask()[:, k], expected)
            assert found.label_counts[k].tolist() == [(labels[:, k] == 0).sum(), (labels[:, k] == 1).sum()]


@pytest.mark.parametrize("seed", range(6))
def test_lists_against_the_definition(seed: int) -> None:
    labels, probs = draw(np.random.default_rng(seed), 60, 5, unknown=0.4, ties=seed % 2 == 0)
    found = audit_multilabel(labels, probs)
    own = np.where(labels == 1, probs, 1 - probs)
    issues = [(own[row, k], row, k) for row, k in zip(*np.nonzero(found.issue_mask()), strict=True)]
    assert list(zip(found.issues.row, found.issues.label_class, strict=True)) == [(r, k) for _, r, k in sorted(issues)]
    np.testing.assert_array_equal(found.issues.own_prob, [score for score, _, _ in sorted(issues)])
    assert set(found.missing.given) <= {0}
    assert set(found.wrong.given) <= {1}
    assert len(found.missing.row) + len(found.wrong.row) == len(issues)

    present = []
    for row, k in zip(*np.nonzero(labels == -1), strict=True):
        absent_bar = (1 - probs[labels[:, k] == 0, k]).mean() - 1e-6
        present_bar = probs[labels[:, k] == 1, k].mean() - 1e-6
        prob = probs[row, k]
        if prob >= present_bar and (1 - prob < absent_bar or prob > 1 - prob):
            present.append((-prob, row, k))
    listed = found.probably_present
    assert list(zip(listed.row, listed.label_class, strict=True)) == [(r, k) for _, r, k in sorted(present)]
    assert set(listed.given) == {-1}

    for row in range(60):
        known = np.sort(own[row][labels[row] >= 0])[::-1]
        score = 1.0 if not len(known) else known[0]
        for value in known[1:]:
            score = 0.8 * value + (1 - 0.8) * score
        assert found.scores[row] == pytest.approx(score, rel=1e-14)


def same(one: MultilabelAudit, other: MultilabelAudit) -> bool:
    return all(
        a.tobytes() == b.tobytes()
        for first, second in ((one.issues, other.issues), (one.probably_present, other.probably_present))
        for a, b in zip(first, second, strict=True)
    ) and all(
        getattr(one, name).tobytes() == getattr(other, name).tobytes()
        for name in ("scores", "ranked", "label_counts", "thresholds", "confident_joint", "calibrated_joint")
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_threads_files_types_and_layouts_do_not_matter(dtype: type, tmp_path: Path) -> None:
    labels, probs = draw(np.random.default_rng(3), 3000, 7, unknown=0.2)
    probs = probs.astype(dtype)
    whole = audit_multilabel(labels, probs, num_threads=1)
    np.save(tmp_path / "labels.npy", labels.astype(np.int8))
    np.save(tmp_path / "probs.npy", probs)
    mapped = [np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ("labels", "probs")]
    for same_labels, same_probs, threads in (
        (labels, probs, 5),
        (labels.astype(np.int8), probs, 2),
        (labels.astype(np.float32), np.asfortranarray(probs), 3),
        (np.repeat(labels, 2, axis=0)[::2], np.repeat(probs, 2, axis=1)[:, ::2], 2),
        (*mapped, 3),
    ):
        assert same(audit_multilabel(same_labels, same_probs, num_threads=threads), whole)
    known = np.maximum(labels, 0)
    assert same(audit_multilabel(known.astype(bool), probs), audit_multilabel(known.tolist(), probs))
    assert same(audit_multilabel(known.astype(np.uint8), probs), audit_multilabel(known, probs))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.data())
def test_any_division_merges_to_the_bits_of_one_pass(seed: int, data: st.DataObject) -> None:
    rng = np.random.default_rng(seed)
    labels, probs = draw(rng, int(rng.integers(1, 50)), int(rng.integers(1, 5)), unknown=0.3, ties=seed % 2 == 0)
    num_rows, num_classes = labels.shape
    cuts = sorted(data.draw(st.lists(st.integers(1, max(1, num_rows - 1)), max_size=5, unique=True)))
    parts = data.draw(st.permutations([rows for rows in np.split(np.arange(num_rows), cuts) if len(rows)]))

    whole, merged = PresenceConfidence.empty(num_classes), PresenceConfidence.empty(num_classes)
    scores = whole.update(labels, probs)
    for rows in parts:
        part = PresenceConfidence.empty(num_classes)
        np.testing.assert_array_equal(part.update(labels[rows], probs[rows]), scores[rows])
        merged = merged.merge(part)
    thresholds = whole.finalize()
    assert merged.finalize().tobytes() == thresholds.tobytes()
    assert merged.num_unknown == (labels == -1).sum()

    joint, joined = PresenceJoint.empty(thresholds), PresenceJoint.empty(thresholds)
    joint.update(labels, probs, first_row=0)
    for rows in parts:
        part_joint = PresenceJoint.empty(thresholds)
        part_joint.update(labels[rows], probs[rows], first_row=int(rows[0]))
        joined = joined.merge(part_joint)
    for one, other in zip(joint.finalize(), joined.finalize(), strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


def test_memory_does_not_grow_with_a_mapped_file(tmp_path: Path) -> None:
    labels, probs = draw(np.random.default_rng(0), 30_000, 40)
    labels = (probs > 0.5).astype(np.int8)  # nothing is disputed, so there is nothing to keep
    np.save(tmp_path / "labels.npy", labels)
    np.save(tmp_path / "probs.npy", probs.astype(np.float32))
    mapped = [np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ("labels", "probs")]
    audit_multilabel(labels[:10], probs[:10].astype(np.float32), num_threads=1)
    tracemalloc.start()
    found = audit_multilabel(*mapped, num_threads=1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found.issues.row) == 0
    assert peak < 5e6 + 8 * 30_000 < probs.nbytes / 1.8


def test_boundary_rows() -> None:
    one = audit_multilabel([[1]], [[0.2]])
    assert one.scores.tolist() == [0.2]
    assert len(one.issues.row) == 0  # a class keeps its last example
    assert audit_multilabel([[1]], [[0.2]], filter_by="predicted_neq_given").issue_mask().all()
    sure = audit_multilabel([[1, 0], [0, -1]], [[1.0, 0.0], [0.0, 1.0]])
    assert sure.scores.tolist() == [1.0, 1.0]
    assert len(sure.issues.row) == len(sure.probably_present.row) == 0  # class 1 has no example to be as sure as
    tied = audit_multilabel([[1, 0]] * 4, [[0.5, 0.5]] * 4, filter_by="predicted_neq_given")
    assert len(tied.issues.row) == 0
    all_present = audit_multilabel(np.ones((5, 2), dtype=int), np.full((5, 2), 0.1), filter_by="predicted_neq_given")
    assert all_present.issue_mask().all()
    assert len(all_present.missing.row) == 0
    positives_only = audit_multilabel([[1], [1], [-1], [-1]], [[0.4], [0.2], [0.35], [0.25]])
    assert positives_only.probably_present.row.tolist() == [2]
    assert positives_only.thresholds[0].tolist() == pytest.approx([2.0, 0.3])


def test_tables_say_what_was_found(tmp_path: Path) -> None:
    labels, probs = draw(np.random.default_rng(1), 200, 3, unknown=0.2)
    found = audit_multilabel(labels, probs)
    frame = found.to_frame()
    assert frame["index"].tolist() == found.issues.row.tolist()
    first = found.issues.take(np.arange(1))
    words = ("absent", "present") if first.given[0] == 0 else ("present", "absent")
    assert frame["given"][0] == f"{first.label_class[0]} {words[0]}"
    assert frame["suggested"][0] == f"{first.label_class[0]} {words[1]}"
    found.to_csv(tmp_path / "suspects.csv")
    assert len((tmp_path / "suspects.csv").read_text().splitlines()) == 1 + len(frame)
    classes = found.class_frame(["ant", "bee", "cat"])
    assert (classes["wrong"] + classes["missing"]).tolist() == sorted(classes["wrong"] + classes["missing"])[::-1]
    assert classes["wrong"].sum() + classes["missing"].sum() == len(frame)
    assert classes["unknown"].sum() == (labels == -1).sum()
    assert found.issue_share == len(frame) / (labels >= 0).sum()
    ant = classes[classes["class"] == "ant"].iloc[0]
    joint = found.calibrated_joint[0]
    assert ant["wrong_rate"] == joint[1, 0] / joint[1].sum()
    assert ant["missing_rate"] == joint[0, 1] / joint[:, 1].sum()
    with pytest.raises(InputError, match="2 names for 3 classes"):
        found.class_frame(["ant", "bee"])


def test_finds_planted_errors_and_hidden_labels() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random((2000, 5)) < 0.3
    probs = 1 / (1 + np.exp(-(np.where(truth, 3.0, -3.0) + rng.normal(size=truth.shape))))
    is_flipped, is_hidden = (rng.random(truth.shape) < 0.05 for _ in range(2))
    labels = np.where(is_hidden, -1, truth ^ is_flipped)
    found = audit_multilabel(labels, probs)
    planted = is_flipped & ~is_hidden
    assert (found.issue_mask() & planted).sum() > 0.85 * planted.sum()
    assert (found.issue_mask() & ~planted).sum() < 0.1 * planted.sum()
    listed = found.probably_present
    assert truth[listed.row, listed.label_class].mean() > 0.99
    assert len(listed.row) > 0.4 * (truth & is_hidden).sum()


GOOD = (np.array([[1, 0], [0, -1]]), np.array([[0.9, 0.1], [0.2, 0.7]]))


def bad(place: int, value: Any, where: tuple[int, int] = (1, 0)) -> tuple[np.ndarray, np.ndarray]:
    arrays = [GOOD[0].astype(float), GOOD[1].copy()]
    arrays[place][where] = value
    return arrays[0], arrays[1]


@pytest.mark.parametrize(
    ("arrays", "options", "message"),
    [
        (bad(0, 2), {}, "labels row 1, column 0 is 2"),
        (bad(0, -2), {}, "labels row 1, column 0 is -2"),
        (bad(0, 0.5), {}, "labels row 1, column 0 is 0.5"),
        (bad(0, np.nan), {}, "labels row 1, column 0 is nan"),
        ((np.array([[1, 0], [3, 0]]), GOOD[1]), {}, "labels row 1, column 0 is 3"),
        ((np.array([[1, 0], [255, 0]], dtype=np.uint8), GOOD[1]), {}, "labels row 1, column 0 is 255"),
        (bad(1, np.nan), {}, "pred_probs row 1, column 0 is nan.*sigmoid"),
        (bad(1, np.inf), {}, "pred_probs row 1, column 0 is inf"),
        (bad(1, -0.1), {}, "pred_probs row 1, column 0 is -0.1"),
        (bad(1, 1.5), {}, "pred_probs row 1, column 0 is 1.5"),
        ((GOOD[0], GOOD[1][:1]), {}, r"labels has shape \(2, 2\), pred_probs \(1, 2\)"),
        ((GOOD[0][:, 0], GOOD[1][:, 0]), {}, "one row an example and one column a class"),
        ((GOOD[0][:0], GOOD[1][:0]), {}, "at least one of each"),
        ((-np.ones((2, 2), dtype=int), GOOD[1]), {}, "no known label"),
        ((np.array([["a", "b"]]), GOOD[1][:1]), {}, "labels has type"),
        ((GOOD[0], np.array([["a", "b"]] * 2)), {}, "pred_probs has type"),
        (GOOD, {"filter_by": "both"}, "filter_by is 'both': choose"),
        (GOOD, {"frac_noise": 1.5}, "frac_noise is 1.5"),
        (GOOD, {"min_examples_per_class": -1}, "min_examples_per_class is -1"),
    ],
)
def test_what_is_refused(arrays: tuple[Any, Any], options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        audit_multilabel(*arrays, **options)


def test_the_lowest_bad_row_is_named_and_summaries_must_fit() -> None:
    labels, probs = draw(np.random.default_rng(0), 5000, 3)
    probs[4000, 1], probs[100, 2] = np.nan, 7
    with pytest.raises(InputError, match="row 100, column 2"):
        audit_multilabel(labels, probs, num_threads=4)
    with pytest.raises(InputError, match="3 classes do not fit a summary of 2"):
        PresenceConfidence.empty(2).update(labels, probs)
    for wrong, message in (((labels[:1] + 5, probs[:1]), "labels row 9"), ((labels[:1], probs[:1] - 5), "probs row 9")):
        with pytest.raises(InputError, match=message):
            PresenceJoint.empty(np.zeros((3, 2))).update(*wrong, first_row=9)
    with pytest.raises(InputError, match="different thresholds"):
        PresenceJoint.empty(np.zeros((2, 2))).merge(PresenceJoint.empty(np.ones((2, 2))))
