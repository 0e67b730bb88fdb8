"""The NACL reproduction: its measures by hand, its verdict, its parts."""

import json

import numpy as np
import pytest

from labelwise.reproductions import nacl
from labelwise.reproductions.nacl import ARMS, CE, MARGIN, MEASURES, METHOD, SMOOTHING, SVLS, find_checks, measure
from labelwise.reproductions.result import Result


@pytest.fixture(scope="module")
def quick_result() -> Result:
    return nacl.run(seeds=1, data_dir=None, quick=True)


def test_the_record_is_whole(quick_result: Result) -> None:
    checks = quick_result.details["checks"]
    assert len(checks) == 11
    assert quick_result.holds == all(checks.values())
    assert "digits" in quick_result.data
    assert any("quick form" in note for note in quick_result.notes)
    assert any("one seed" in note for note in quick_result.notes)
    json.loads(quick_result.to_json())
    means = quick_result.details["means"]
    assert set(means) == set(ARMS)
    assert quick_result.difference == pytest.approx(means[METHOD]["foreground_ece"] - means[CE]["foreground_ece"])
    assert list(quick_result.details["nacl_by_alpha_on_seed_0"]) == ["0.0", "0.05", "0.1", "0.3", "1.0"]
    assert quick_result.details["nacl_by_alpha_on_seed_0"]["0.0"] == means[CE]


def test_measures_by_hand() -> None:
    masks = np.array([[[0, 1], [1, 2]], [[0, 0], [0, 2]]])
    probs = np.zeros((2, 3, 2, 2), dtype=np.float32)
    probs[:, 0] = 1.0
    probs[0, :, 0, 1] = [0.1, 0.9, 0.0]  # right, gap 0.1
    probs[0, :, 1, 0] = [0.3, 0.6, 0.1]  # right, gap 0.4
    found = measure(probs, masks)
    # Four foreground pixels: two right at 0.9 and 0.6, two called background at 1.
    assert found["foreground_ece"] == pytest.approx((0.1 + 0.4 + 2 * 1.0) / 4)
    assert found["ece_by_image"] == pytest.approx((3 * (0.1 + 0.4 + 1.0) / 3 + 1 * 1.0) / 4)
    assert found["foreground_dice"] == pytest.approx((1.0 + 0.0) / 2)
    # Class 0 is never right: 0.1 + 0.3 + 1 + 1; class 1: 0.1 + 0.4; class 2: 0.1, and its own two pixels have 0.
    assert found["classwise_ece"] == pytest.approx((2.4 / 4 + 0.5 / 4 + 0.1 / 4) / 3)


def arms(**changes: list[float]) -> dict[str, dict[str, list[float]]]:
    worse = {"foreground_ece": [0.30, 0.31, 0.29], "classwise_ece": [0.2] * 3, "foreground_dice": [0.70] * 3}
    better = {"foreground_ece": [0.10, 0.12, 0.11], "classwise_ece": [0.1] * 3, "foreground_dice": [0.69] * 3} | changes
    rest = dict.fromkeys(set(MEASURES) - set(worse), [0.0] * 3)
    return {arm: (better if arm == METHOD else worse) | rest for arm in (CE, SMOOTHING, MARGIN, SVLS, METHOD)}


@pytest.mark.parametrize(
    ("changes", "failing"),
    [
        ({}, set()),
        ({"foreground_dice": [0.67] * 3}, {"dice_no_worse"}),
        ({"foreground_ece": [0.27, 0.27, 0.27]}, {"ece_below_cross-entropy_by_a_third"}),
        (
            {"classwise_ece": [0.2] * 3},
            {f"classwise_ece_below_{arm}" for arm in (CE, SMOOTHING, MARGIN, SVLS)},
        ),
    ],
)
def test_each_condition_counts(changes: dict[str, list[float]], failing: set[str]) -> None:
    checks = find_checks(arms(**changes), arms())
    assert {name for name, passed in checks.items() if not passed} == failing
