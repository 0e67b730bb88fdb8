"""Audit of masks: which pixels, and which images, are labelled wrongly.

Confident learning (Northcutt et al., JAIR 2021) with each pixel as an example, as cleanlab has it for segmentation:
Lad & Mueller, "Estimating label quality and errors in semantic segmentation data via any model", 2023
(https://arxiv.org/abs/2307.05080). With t[k] the mean probability of class k over the pixels labelled k, as many
pixels as the model disputes with at least t of its own choice are taken, lowest probability of the given class first;
those of them whose likeliest class is another one are issues. An image's score is the softmin of its pixels'
probabilities, or the share of its pixels that are no issue.

How many pixels are to be taken is known only at the end, yet each image is read once and no pixel is left out. A
pixel whose given class has more than half the probability is never an issue, nor does it come before one; the others,
few as a rule, go to a temporary file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise, zip_longest
from tempfile import SpooledTemporaryFile
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from labelwise.audit.blocks import RowReader, num_cores
from labelwise.audit.evidence import SLACK, Bools, Floats, Ints
from labelwise.audit.filters import ranked
from labelwise.audit.result import SuspectList
from labelwise.audit.scores import check_choice
from labelwise.audit.summary import LOWEST_THRESHOLD, WORD, ConfidenceSummary
from labelwise.errors import InputError
from labelwise.labels.masks import IGNORE, check_masks
from labelwise.numerics.order_statistics import kth_smallest

if TYPE_CHECKING:
    import pandas as pd

IMAGE_SCORES = ("softmin", "num_pixel_issues")
# How far the softmin of an image leans to its worst pixels; cleanlab's default.
TEMPERATURE = 0.1
# Half the probability, and room for probabilities that do not quite sum to 1.
DOUBT = 0.501
# The kernel sums in the precision of the image; pixels that it finds half way to the limit get the exact check.
TOLERANCE = 0.5e-4
# Beyond this, the doubtful pixels move from memory to the disk.
SPOOL_BYTES = 1 << 22
RECORDS_AT_A_TIME = 1 << 16
RECORD = np.dtype([("pixel", "<i4"), ("given", "<i2"), ("best", "<i2"), ("own", "<f8"), ("best_prob", "<f8")])
MOST_CLASSES = IGNORE
MOST_PIXELS = np.iinfo(np.int32).max
# The sums of a class hold twice as many pixels.
MOST_OF_A_CLASS = 1 << 32


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class SegmentationAudit(SuspectList):
    """Suspected label errors in the masks of n images.

    Of each image, all (n,): ``scores``, low = suspicious, 1 where nothing is labelled; ``num_issues`` pixels of
    ``num_labelled``; ``is_issue``, whether there are any. ``ranked``: images with issues, worst first. ``shapes``
    (n, 2) height and width. ``thresholds`` (classes,), the mean probability of a class over the pixels labelled so;
    ``issue_counts`` (classes, classes) int64 [given, suggested], pixels. The issue pixels of image i are entries
    ``starts[i]`` to ``starts[i + 1]`` of ``pixels`` (row * width + column), ``given`` and ``suggested`` class.
    """

    num_classes: int
    scores: Floats
    num_issues: Ints
    num_labelled: Ints
    is_issue: Bools
    ranked: Ints
    shapes: Ints
    thresholds: Floats
    issue_counts: Ints
    starts: Ints
    pixels: NDArray[np.int32]
    given: NDArray[np.int16]
    suggested: NDArray[np.int16]

    @property
    def issue_share(self) -> float:
        """Share of the labelled pixels of all images that are issues."""
        return float(self.num_issues.sum() / max(self.num_labelled.sum(), 1))

    def issue_mask(self, image: int) -> Bools:
        """Where the mask of an image is doubted, (H, W)."""
        return self.suggestion(image) != IGNORE

    def suggestion(self, image: int) -> Ints:
        """The likelier class where the mask of an image is doubted, (H, W) int64, 255 elsewhere."""
        height, width = self.shapes[image]
        suggestion = np.full(height * width, IGNORE, dtype=np.int64)
        part = self._part(image)
        suggestion[self.pixels[part]] = self.suggested[part]
        return suggestion.reshape(height, width)

    def common_issues(self) -> pd.DataFrame:
        """The pairs of classes that are confused, most pixels first: columns given, suggested, pixels, share."""
        import pandas as pd

        given, suggested = np.nonzero(self.issue_counts)
        pixels = self.issue_counts[given, suggested]
        order = np.argsort(-pixels, kind="stable")
        return pd.DataFrame(
            {
                "given": given[order],
                "suggested": suggested[order],
                "pixels": pixels[order],
                "share": pixels[order] / max(pixels.sum(), 1),
            }
        )

    def suspects(self) -> Iterator[tuple[Any, ...]]:
        """The images with issues, worst first: index, the pair of classes most often confused, score, why."""
        for image in self.ranked:
            part = self._part(image)
            pairs = self.given[part].astype(np.int64) * self.num_classes + self.suggested[part]
            kinds, counts = np.unique(pairs, return_counts=True)
            given, suggested = divmod(int(kinds[counts.argmax()]), self.num_classes)
            why = (
                f"{self.num_issues[image]:,} of {self.num_labelled[image]:,} pixels look wrong, most often class "
                f"{given} where the model sees {suggested} ({counts.max():,} pixels)"
            )
            yield int(image), given, suggested, round(float(self.scores[image]), 6), why

    def _part(self, image: int) -> slice:
        return slice(self.starts[image], self.starts[image + 1])


def audit_segmentation(
    masks: ArrayLike | Iterable[ArrayLike],
    pred_probs: ArrayLike | Iterable[ArrayLike],
    *,
    rank_by: str = "softmin",
    num_threads: int | None = None,
) -> SegmentationAudit:
    """Find suspected errors in masks, given out-of-sample probabilities of every pixel.

    masks: (n, H, W) integers, 255 = ignore; pred_probs: (n, classes, H, W) float. Arrays, mapped files, or iterables
    (generators too) of single images (H, W) and (classes, H, W), whose sizes may differ. rank_by: the score of an
    image, 'softmin' or 'num_pixel_issues' (one minus the share of its labelled pixels that are issues). num_threads:
    by default one a core; the answer does not depend on it.

    A class that no pixel is labelled with counts as reached by any probability, as in cleanlab; equal probabilities
    go by image, then pixel. Raises InputError with image, row and column for bad input. Memory: one image and its
    mask, some 20 bytes a pixel of it, 10 MB, and the answer (8 bytes an issue pixel). Cost: one read of the images.
    """
    check_choice(rank_by, IMAGE_SCORES, "rank_by")
    summary: SegmentationSummary | None = None
    with ThreadPoolExecutor(num_threads or num_cores()) as pool:
        scanner = _Scanner(pool, num_threads or num_cores())
        for number, (mask, probs) in enumerate(_pairs(masks, pred_probs)):
            summary = summary or SegmentationSummary.empty(_num_classes(probs, number))
            summary.update(mask, probs, scanner)
    if summary is None:
        raise InputError("there is no image: give at least one mask and its probabilities.")
    return summary.finalize(rank_by)


@dataclass(slots=True, eq=False)
class SegmentationSummary:
    """What is kept of some images: `update` with one, `merge` with the images that follow, `finalize`.

    ``confidence`` sums of the probability of the given class; of each image its shape, labelled pixels, softmin and
    number of doubtful pixels; ``doubtful`` a file of their RECORDs, by image, then pixel.
    """

    num_classes: int
    confidence: ConfidenceSummary
    shapes: list[tuple[int, int]] = field(default_factory=list)
    num_labelled: list[int] = field(default_factory=list)
    softmin: list[float] = field(default_factory=list)
    num_doubtful: list[int] = field(default_factory=list)
    doubtful: Any = field(default_factory=lambda: SpooledTemporaryFile(SPOOL_BYTES))  # noqa: SIM115

    @classmethod
    def empty(cls, num_classes: int) -> Self:
        """Summary of no images."""
        return cls(num_classes, ConfidenceSummary.empty(num_classes))

    def update(self, mask: ArrayLike, pred_probs: ArrayLike, scanner: _Scanner | None = None) -> None:
        """Add an image: mask (H, W), 255 = ignore; pred_probs (classes, H, W). Raises InputError for bad input."""
        number = len(self.shapes)
        labels, probs = _check_image(mask, pred_probs, number, self.num_classes)
        scan = (scanner or _Scanner()).scan(labels, probs, number)
        self.confidence = _with_room(self.confidence.merge(scan.confidence))
        self.shapes.append(labels.shape)
        self.num_labelled.append(int(scan.confidence.class_counts.sum()))
        self.softmin.append(scan.softmin)
        self.num_doubtful.append(len(scan.doubtful))
        self.doubtful.write(scan.doubtful.tobytes())

    def merge(self, other: SegmentationSummary) -> SegmentationSummary:
        """Summary of the images of both, those of ``self`` first. Raises InputError if the classes differ."""
        both = SegmentationSummary(
            self.num_classes,
            _with_room(self.confidence.merge(other.confidence)),
            self.shapes + other.shapes,
            self.num_labelled + other.num_labelled,
            self.softmin + other.softmin,
            self.num_doubtful + other.num_doubtful,
        )
        for part in (self, other):
            for records in part._records():
                both.doubtful.write(records.tobytes())
        return both

    def finalize(self, rank_by: str = "softmin") -> SegmentationAudit:
        """The audit of all images."""
        thresholds = np.where(self.confidence.class_counts > 0, self.confidence.finalize(), LOWEST_THRESHOLD)
        issues = self._issues(thresholds)
        num_issues, num_labelled = np.diff(issues.starts), np.asarray(self.num_labelled)
        scores = np.asarray(self.softmin)
        if rank_by == "num_pixel_issues":
            scores = 1 - num_issues / np.maximum(num_labelled, 1)
        return SegmentationAudit(
            num_classes=self.num_classes,
            scores=scores,
            num_issues=num_issues,
            num_labelled=num_labelled,
            is_issue=num_issues > 0,
            ranked=ranked(num_issues > 0, scores),
            shapes=np.asarray(self.shapes),
            thresholds=thresholds,
            issue_counts=_count_pairs(issues, self.num_classes),
            starts=issues.starts,
            pixels=issues.records["pixel"],
            given=issues.records["given"],
            suggested=issues.records["best"],
        )

    def _issues(self, thresholds: Floats) -> _Issues:
        bars = thresholds - SLACK
        num_taken = sum(
            int(((part["best"] != part["given"]) & (part["best_prob"] >= bars[part["best"]])).sum())
            for part in self._records()
        )
        ends = np.cumsum(self.num_doubtful)  # (n,)
        num_issues = np.zeros(len(ends), dtype=np.int64)
        kept: list[NDArray[Any]] = [np.empty(0, dtype=ISSUE)]
        if num_taken:
            last = kth_smallest(lambda: (part["own"] for part in self._records()), num_taken - 1, np.dtype(np.float64))
            num_equal, done = last.ties_before + 1, 0
            for part in self._records():
                is_equal = part["own"] == last.value
                is_taken = (part["own"] < last.value) | (is_equal & (np.cumsum(is_equal) <= num_equal))
                num_equal -= int(is_equal.sum())
                rows = np.flatnonzero(is_taken & (part["best"] != part["given"]))
                kept.append(part[["pixel", "given", "best"]][rows].astype(ISSUE))
                num_issues += np.bincount(np.searchsorted(ends, done + rows, side="right"), minlength=len(ends))
                done += len(part)
        return _Issues(np.concatenate([[0], np.cumsum(num_issues)]), np.concatenate(kept))

    def _records(self) -> Iterator[NDArray[Any]]:
        self.doubtful.seek(0)
        while data := self.doubtful.read(RECORDS_AT_A_TIME * RECORD.itemsize):
            yield np.frombuffer(data, dtype=RECORD)


ISSUE = np.dtype([("pixel", "<i4"), ("given", "<i2"), ("best", "<i2")])


class _Issues(NamedTuple):
    """Issue pixels by image: ``starts`` (n + 1,), ``records`` (issues,) of ISSUE."""

    starts: Ints
    records: NDArray[Any]


class _Scan(NamedTuple):
    """Facts of one image; ``doubtful`` (pixels,) of RECORD."""

    confidence: ConfidenceSummary
    softmin: float
    doubtful: NDArray[Any]


class _Scanner:
    """Scans images in strips of rows, one a thread."""

    def __init__(self, pool: ThreadPoolExecutor | None = None, num_threads: int = 1) -> None:
        self._map: Any = map if pool is None else pool.map
        self._num_threads = num_threads

    def scan(self, mask: NDArray[Any], probs: NDArray[Any], number: int) -> _Scan:
        """Facts of mask (H, W) and probs (classes, H, W). Raises InputError for wrong ones."""
        from labelwise.audit import kernels, pixel_kernels

        num_classes, height, width = probs.shape
        given = np.empty((height, width), dtype=np.int16)
        best = np.empty((height, width), dtype=np.int32)
        own, best_prob = np.empty((2, height, width), dtype=probs.dtype)
        soft = np.empty((height, 2))

        def work(rows: tuple[int, int]) -> tuple[int, ConfidenceSummary]:
            num_wrong = pixel_kernels.scan_rows(
                probs, mask, *rows, IGNORE, TOLERANCE, TEMPERATURE, given, own, best, best_prob, soft
            )
            part, strip = ConfidenceSummary.empty(num_classes), slice(*rows)
            labels, own_prob = given[strip].ravel(), own[strip].ravel()
            kernels.add_words(labels, own_prob, part.class_counts, part.high, part.low, float(WORD))
            return num_wrong, part

        edges = np.linspace(0, height, min(self._num_threads, height) + 1).astype(int)
        done = list(self._map(work, pairwise(edges)))
        if any(num_wrong for num_wrong, _ in done):
            _refuse(mask, probs, number)
        confidence = ConfidenceSummary.empty(num_classes)
        for _, part in done:
            confidence = confidence.merge(part)
        weights, weighted = soft.sum(axis=0)
        return _Scan(
            confidence, float(weighted / weights) if weights else 1.0, _doubtful_pixels(given, best, own, best_prob)
        )


def _doubtful_pixels(
    given: NDArray[Any], best: NDArray[Any], own: NDArray[Any], best_prob: NDArray[Any]
) -> NDArray[Any]:
    pixels = np.flatnonzero(own <= DOUBT)
    records = np.empty(len(pixels), dtype=RECORD)
    records["pixel"] = pixels
    for name, facts in (("given", given), ("best", best), ("own", own), ("best_prob", best_prob)):
        records[name] = facts.ravel()[pixels]
    return records


def _with_room(confidence: ConfidenceSummary) -> ConfidenceSummary:
    """The same sums; raises InputError where they might soon overflow."""
    if confidence.class_counts.max() > MOST_OF_A_CLASS:
        class_number = int(confidence.class_counts.argmax())
        raise InputError(
            f"more than {MOST_OF_A_CLASS:,} pixels are labelled {class_number}: audit the images in parts."
        )
    return confidence


def _count_pairs(issues: _Issues, num_classes: int) -> Ints:
    pairs = issues.records["given"].astype(np.int64) * num_classes + issues.records["best"]
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def _pairs(masks: Any, pred_probs: Any) -> Iterator[tuple[ArrayLike, ArrayLike]]:
    """Mask and probabilities of each image."""
    if isinstance(masks, np.ndarray) and isinstance(pred_probs, np.ndarray):
        _check_arrays(masks, pred_probs)
    pairs = zip_longest(_images(masks, 3, "masks"), _images(pred_probs, 4, "pred_probs"))
    for number, (mask, probs) in enumerate(pairs):
        if mask is None or probs is None:
            missing = "mask" if mask is None else "probabilities"
            raise InputError(f"image {number} has no {missing}: give one mask and one array of probabilities an image.")
        yield mask, probs


def _images(images: Any, num_axes: int, name: str) -> Iterator[ArrayLike]:
    if isinstance(images, np.ndarray):
        if images.ndim != num_axes:
            wanted = "(n, height, width)" if num_axes == 3 else "(n, classes, height, width)"
            raise InputError(f"{name} has shape {images.shape}: give {wanted}.")
        reader = RowReader(images)
        return (reader.read(i, i + 1)[0] for i in range(len(images)))
    if not isinstance(images, Iterable) or isinstance(images, str | bytes | dict):
        raise InputError(f"{name} is a {type(images).__name__}: give an array, or an iterable of one array an image.")
    return iter(images)


def _check_arrays(masks: NDArray[Any], pred_probs: NDArray[Any]) -> None:
    if masks.ndim == 3 and pred_probs.ndim == 4 and masks.shape != (len(pred_probs), *pred_probs.shape[2:]):
        raise InputError(
            f"masks has shape {masks.shape}, pred_probs {pred_probs.shape}: give (n, height, width) and "
            "(n, classes, height, width) with the same n, height and width."
        )


def _num_classes(probs: ArrayLike, number: int) -> int:
    shape = np.shape(probs)
    if len(shape) != 3 or 0 in shape or shape[0] > MOST_CLASSES:
        raise InputError(
            f"pred_probs of image {number} has shape {shape}: give (classes, height, width), at least 1 and at most "
            f"{MOST_CLASSES} classes (255 in a mask is no class), and at least one pixel."
        )
    return int(shape[0])


def _check_image(
    mask: ArrayLike, pred_probs: ArrayLike, number: int, num_classes: int
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Mask (H, W) of integers and probabilities (classes, H, W) of one image, of the right shape and type."""
    labels, probs = np.asarray(mask), np.asarray(pred_probs)
    found = _num_classes(probs, number)
    if found != num_classes:
        raise InputError(
            f"pred_probs of image {number} has {found} classes, not {num_classes}: give all images the same."
        )
    if labels.shape != probs.shape[1:]:
        raise InputError(
            f"image {number} has a mask of shape {labels.shape} and probabilities of shape {probs.shape}: "
            "give (height, width) and (classes, height, width)."
        )
    if labels.size > MOST_PIXELS:
        raise InputError(f"image {number} has {labels.size:,} pixels: cut it into parts of at most {MOST_PIXELS:,}.")
    if probs.dtype.kind not in "iuf":
        raise InputError(f"pred_probs of image {number} has type {probs.dtype}: give floating-point probabilities.")
    if labels.dtype.kind not in "iu":
        labels = check_masks(labels[None], num_classes=num_classes, name=f"mask of image {number},")[0]
    labels = labels.astype(labels.dtype.newbyteorder("="), copy=False)  # compiled loops know no other order
    dtype = np.float32 if probs.dtype.kind == "f" and probs.dtype.itemsize <= 4 else np.float64
    return labels, np.ascontiguousarray(probs, dtype=dtype)


def _refuse(mask: NDArray[Any], probs: NDArray[Any], number: int) -> None:
    """Raise InputError for the first pixel without a class or probabilities; on a closer look there may be none."""
    check_masks(mask[None], num_classes=len(probs), name=f"image {number}, mask")
    totals = probs.sum(axis=0, dtype=np.float64)  # (H, W)
    # NaN fails every comparison, so the test says what is right, not what is wrong.
    is_bad = ~((np.abs(totals - 1) <= 2 * TOLERANCE) & (probs.min(axis=0) >= 0))
    if is_bad.any():
        row, column = np.argwhere(is_bad)[0]
        low, total = probs[:, row, column].min(), totals[row, column]
        raise InputError(
            f"pred_probs of image {number}, row {row}, column {column} sum to {total:.6g}, the lowest is {low:.6g}: "
            "give finite probabilities of 0 or more that sum to 1 (softmax turns logits into them)."
        )
