"""The detector: sticky flags, class by class, the same as the curves alone say."""

import pytest
import torch

from labelwise.memory.memorization import MemorizationDetector
from labelwise.numerics.learning_curves import correction_epoch, learning_curve

EPOCHS = 24
# Classes: background, learnt at once, learnt slowly, never learnt.
CURVES = torch.stack(
    [
        torch.full((EPOCHS,), 0.9, dtype=torch.float64),
        torch.from_numpy(learning_curve(range(EPOCHS), 0.8, 0.9, 1.0)),
        torch.from_numpy(learning_curve(range(EPOCHS), 0.8, 0.9, 6.0)),
        torch.zeros(EPOCHS, dtype=torch.float64),
    ],
    dim=1,
)


def run(**options: float | bool | None) -> torch.Tensor:
    detector = MemorizationDetector(4, EPOCHS, **options)  # type: ignore[arg-type]
    return torch.stack([detector.update(row).clone() for row in CURVES])


def test_classes_start_in_the_order_in_which_they_are_learnt() -> None:
    active = run(skip_flat=None)
    first = active.int().argmax(dim=0)
    assert 0 < first[1] < first[2]
    assert not active[:, [0, 3]].any()
    assert (active[1:] >= active[:-1]).all()
    for label in (1, 2):
        known = CURVES[: first[label] + 1, label]
        start = correction_epoch(known, EPOCHS)
        assert start is not None
        assert first[label] >= start
        before = correction_epoch(known[:-1], EPOCHS)
        assert before is None or first[label] - 1 < before


def test_flags_stay_when_a_curve_jumps_again() -> None:
    detector = MemorizationDetector(2, 40, skip_flat=None)
    values = [*learning_curve(range(10), 0.3, 0.9, 0.5), *([0.9] * 30)]
    flags = [bool(detector.update(torch.tensor([0.0, value]))[1]) for value in values]
    assert any(flags[:10])
    assert flags == sorted(flags)


def test_a_common_start_is_that_of_the_mean() -> None:
    active = run(skip_flat=None, common=True)
    assert torch.equal(active[:, 1], active[:, 2])
    assert torch.equal(active[:, 1], active[:, 3])
    assert active[-1, 1]
    assert not active[:, 0].any()


def test_what_was_seen_is_saved() -> None:
    whole = run(skip_flat=None)
    detector = MemorizationDetector(4, EPOCHS, skip_flat=None)
    for row in CURVES[:5]:
        detector.update(row)
    again = MemorizationDetector(4, EPOCHS, skip_flat=None)
    again.load_state_dict(detector.state_dict())
    assert torch.equal(torch.stack([again.update(row).clone() for row in CURVES[5:]]), whole[5:])


def test_more_epochs_than_announced_are_a_mistake() -> None:
    detector = MemorizationDetector(2, 1)
    detector.update(torch.zeros(2))
    with pytest.raises(ValueError, match="epoch 2"):
        detector.update(torch.zeros(2))


def test_one_class_is_background_only() -> None:
    detector = MemorizationDetector(1, 9, common=True)
    assert not any(detector.update(torch.tensor([0.1 * n])).any() for n in range(9))
