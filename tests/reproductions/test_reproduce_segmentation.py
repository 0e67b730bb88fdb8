"""The reproductions of ADELE and CW-BASS: whole records, measures by hand, verdicts."""

import json
from typing import Any

import numpy as np
import pytest

from labelwise.reproductions import adele, cw_bass
from labelwise.reproductions.result import Result
from labelwise.reproductions.scene_sources import find_source


@pytest.mark.parametrize(("module", "checks"), [(adele, 6), (cw_bass, 3)])
def test_the_record_is_whole(module: Any, checks: int) -> None:
    result: Result = module.run(seeds=1, data_dir=None, quick=True)
    assert len(result.details["checks"]) == checks
    assert result.holds == all(result.details["checks"].values())
    assert "digits" in result.data
    assert any("quick form" in note for note in result.notes)
    assert any("one seed" in note for note in result.notes)
    assert set(module.ARMS) <= set(result.baselines) | set(result.methods)
    assert all(0 < summary.mean <= 1 for summary in (result.baselines | result.methods).values())
    json.loads(result.to_json())


def test_overlap_and_memory_by_hand() -> None:
    truth = np.array([[[0, 1], [1, 2]]])
    given = np.array([[[0, 0], [1, 1]]])
    assert adele.mean_iou(truth, truth) == pytest.approx(1.0)
    # Class 0: 1 of 2; class 1: 1 of 3; class 2: 0 of 1.
    assert adele.mean_iou(given, truth) == pytest.approx((1 / 2 + 1 / 3 + 0) / 3)
    # Wrong are the second and the last pixel, given as 0 and 1.
    assert adele.memorised(given, given, truth) == pytest.approx(1.0)
    assert adele.memorised(truth, given, truth) == 0
    assert adele.memorised(np.array([[[2, 0], [2, 2]]]), given, truth) == pytest.approx((1 + 0 + 0) / 3)
    assert adele.memorised(truth, truth, truth) == 0


def test_scenes_of_a_seed_are_the_same_and_masks_are_noisy() -> None:
    source, plan = find_source(None, quick=True), adele.Plan(6, 3, 5, 1)
    train, validation, test = adele.draw(source, plan, 0)
    again, other = adele.draw(source, plan, 0)[0], adele.draw(source, plan, 1)[0]
    assert np.array_equal(train.given, again.given)
    assert not np.array_equal(train.scenes.images, other.scenes.images)
    assert all((given != truth).any() for given, truth in zip(train.given, train.scenes.masks, strict=True))
    assert (len(train.given), len(validation.given), len(test.masks)) == (6, 3, 5)
    few = cw_bass.draw(source, cw_bass.Plan(2, 4, 3), 0)
    assert [bool((mask == 255).all()) for mask in few.masks] == [False] * 2 + [True] * 4


def adele_arms(**overlap: float) -> dict[str, dict[str, list[float]]]:
    values = dict.fromkeys(adele.ARMS, 0.5) | {adele.METHOD: 0.6} | overlap
    arms = {arm: {"mean_iou": [value, value + 0.01, value - 0.01]} for arm, value in values.items()}
    arms[adele.METHOD]["corrected_masks"] = [0.8]
    return arms


@pytest.mark.parametrize(
    ("arms", "given", "failing"),
    [
        (adele_arms(), 0.7, set()),
        (adele_arms(), 0.8, {"corrected_masks_nearer_the_truth"}),
        (adele_arms(plain=0.7), 0.7, {"clearly_above_plain"}),
        (adele_arms(correction=0.65), 0.7, {"above_correction"}),
        (adele_arms(**{"common start": 0.6}), 0.7, {"above_common start"}),
    ],
)
def test_each_condition_of_adele_counts(arms: Any, given: float, failing: set[str]) -> None:
    checks = adele.find_checks(arms, [given])
    assert {name for name, passed in checks.items() if not passed} == failing


@pytest.mark.parametrize(
    ("method", "failing"),
    [
        (([0.6, 0.61, 0.62], [0.5] * 3), set()),
        (([0.6, 0.61, 0.62], [0.4] * 3), {"boundary_f1_above_fixed_threshold"}),
        (([0.5, 0.9, 0.4], [0.5] * 3), {"iou_clearly_above_few_masks_alone"}),
    ],
)
def test_each_condition_of_cw_bass_counts(method: tuple[list[float], list[float]], failing: set[str]) -> None:
    arms = {
        cw_bass.SUPERVISED: {"mean_iou": [0.4, 0.41, 0.42], "boundary_f1": [0.3] * 3},
        cw_bass.FIXED: {"mean_iou": [0.5, 0.51, 0.52], "boundary_f1": [0.45] * 3},
        cw_bass.METHOD: dict(zip(cw_bass.MEASURES, method, strict=True)),
    }
    checks = cw_bass.find_checks(arms)
    assert {name for name, passed in checks.items() if not passed} == failing
