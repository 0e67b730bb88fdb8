"""Segmentation metrics against slow counting, scikit-learn and distances; merged parts give the whole."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from sklearn.metrics import f1_score, jaccard_score

from labelwise.certainty.calibration import expected_calibration_error
from labelwise.numerics.segmentation_metrics import ConfusionIoU, SegmentationMetrics, class_boundaries


def draw(seed: int, shape: tuple[int, int, int] = (3, 9, 8), classes: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    logits = ndimage.gaussian_filter(rng.normal(size=(shape[0], classes, *shape[1:])), (0, 0, 1, 1)) * 5
    masks = ndimage.gaussian_filter(rng.normal(size=(shape[0], classes, *shape[1:])), (0, 0, 1, 1)).argmax(1)
    masks[rng.random(shape) < 0.1] = 255
    return torch.from_numpy(logits).softmax(dim=1), torch.from_numpy(masks)


@pytest.mark.parametrize("seed", range(3))
def test_overlap_and_calibration_agree_with_others(seed: int) -> None:
    probs, masks = draw(seed)
    scores = SegmentationMetrics(4).update(probs, masks).finalize()
    known = masks != 255
    truth, predicted = masks[known].numpy(), probs.argmax(dim=1)[known].numpy()
    labels = range(4)
    np.testing.assert_allclose(scores.iou, jaccard_score(truth, predicted, average=None, labels=labels), atol=1e-9)
    np.testing.assert_allclose(scores.dice, f1_score(truth, predicted, average=None, labels=labels), atol=1e-9)
    assert scores.foreground_dice == pytest.approx(scores.dice[1:].mean().item())
    rows = probs.movedim(1, -1)[(masks != 0) & known].numpy()
    foreground = masks[(masks != 0) & known].numpy()
    assert scores.foreground_ece == pytest.approx(expected_calibration_error(rows, foreground, 15))


def slow_boundary_f1(predictions: np.ndarray, masks: np.ndarray, label: int, reach: int = 2) -> float:
    hits = [[0, 0], [0, 0]]
    for predicted, given in zip(predictions, masks, strict=True):
        predicted = np.where(given == 255, 255, predicted)
        edges = [
            {place for place in np.ndindex(given.shape) if is_edge(mask, place, label)} for mask in (predicted, given)
        ]
        for number, (own, other) in enumerate((edges, edges[::-1])):
            hits[number][1] += len(own)
            hits[number][0] += sum(any(max(abs(r - a), abs(c - b)) <= reach for a, b in other) for r, c in own)
    precision, recall = (near / count if count else 0.0 for near, count in hits)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def is_edge(mask: np.ndarray, place: tuple[int, ...], label: int) -> bool:
    row, column = place
    around = [(row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)]
    inside = [mask[r, c] for r, c in around if 0 <= r < mask.shape[0] and 0 <= c < mask.shape[1]]
    return bool(mask[place] == label and any(each not in (label, 255) for each in inside))


@pytest.mark.parametrize("seed", range(3))
def test_boundary_f1(seed: int) -> None:
    probs, masks = draw(seed)
    found = SegmentationMetrics(4).update(probs, masks).finalize().boundary_f1
    expected = [slow_boundary_f1(probs.argmax(dim=1).numpy(), masks.numpy(), label) for label in range(4)]
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_merged_parts_give_the_whole() -> None:
    probs, masks = draw(4)
    whole = SegmentationMetrics(4).update(probs, masks).finalize()
    parts = [SegmentationMetrics(4).update(probs[row : row + 1], masks[row : row + 1]) for row in range(3)]
    merged = parts[2].merge(parts[0]).merge(parts[1]).finalize()
    for ours, theirs in zip(whole, merged, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_shifted_square() -> None:
    masks = torch.zeros(1, 20, 20, dtype=torch.int64)
    masks[0, 5:15, 5:15] = 1
    for shift, expected in ((0, 1.0), (2, 1.0), (5, None)):
        moved = torch.roll(masks, (shift, shift), dims=(1, 2))
        probs = torch.nn.functional.one_hot(moved, 2).movedim(-1, 1).double()
        scores = SegmentationMetrics(2).update(probs, masks).finalize()
        overlap = (10 - shift) ** 2
        assert scores.iou[1].item() == pytest.approx(overlap / (200 - overlap))
        if expected is not None:
            assert scores.mean_boundary_f1 == pytest.approx(expected)
        else:
            assert scores.boundary_f1[1] < 0.5


def test_nothing_known_and_absent_classes() -> None:
    probs, masks = draw(5)
    empty = SegmentationMetrics(4).update(probs, torch.full_like(masks, 255)).finalize()
    assert all(float(torch.as_tensor(value).sum()) == 0 for value in empty)
    fresh = SegmentationMetrics(4).finalize()
    assert fresh.mean_iou == 0
    one = ConfusionIoU(3).update(torch.tensor([1, 1]), torch.tensor([1, 1]))
    assert one.iou.tolist() == pytest.approx([0, 1, 0])
    assert one.mean_iou() == pytest.approx(1)  # classes that are nowhere do not count


def test_a_boundary_ends_at_unlabelled_pixels() -> None:
    mask = torch.tensor([[[1, 1, 255, 0, 0]]])
    assert not class_boundaries(mask, 2).any()
    assert class_boundaries(torch.tensor([[[1, 1, 0]]]), 2)[0, :, 0].tolist() == [
        [False, False, True],
        [False, True, False],
    ]
