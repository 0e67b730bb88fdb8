"""The reproduction of LLP-BP: its bags and splits, what it records, its verdict."""

import json

import numpy as np
import pytest

from labelwise.reproductions import llp_bp
from labelwise.reproductions.llp_bp import ARMS, BASELINE, METHOD, PUBLISHED, draw_bags, draw_table
from labelwise.reproductions.result import Result


@pytest.fixture(scope="module")
def quick_result() -> Result:
    return llp_bp.run(seeds=1, data_dir=None, quick=True)


def test_the_record_is_whole(quick_result: Result) -> None:
    json.loads(quick_result.to_json())
    assert quick_result.interval is None
    assert any("adult was left out" in note for note in quick_result.notes)
    assert any("one seed" in note for note in quick_result.notes)
    sizes = quick_result.details["each set"]["breast cancer"]
    assert list(sizes) == ["bags of 8", "bags of 32", "bags of 64"]
    means = {arm: np.mean([each["auc"][arm] for each in sizes.values()]) for arm in ARMS}
    assert quick_result.difference == pytest.approx(means[METHOD] - means[BASELINE])
    assert quick_result.baselines[BASELINE].mean == pytest.approx(means[BASELINE])
    assert quick_result.methods[PUBLISHED].mean == pytest.approx(means[PUBLISHED])
    are_right = all(each[f"pseudo-labels of {METHOD}"]["right"] > each["larger class"] for each in sizes.values())
    assert quick_result.holds == (quick_result.difference > llp_bp.MARGIN and are_right)


@pytest.mark.parametrize("seed", [0, 3])
def test_bags_are_equal_and_random_and_rows_in_one_only(seed: int) -> None:
    rows, bag_ids = draw_bags(100, 8, seed)
    assert np.bincount(bag_ids).tolist() == [8] * 12
    assert len(np.unique(rows)) == len(rows) == 96
    assert not np.array_equal(rows, draw_bags(100, 8, seed + 1)[0])


@pytest.mark.parametrize("name", ["breast cancer", "digits"])
def test_splits_share_no_row(name: str) -> None:
    table = draw_table(name, 1, None)
    rows = np.concatenate([table.X, table.test_X])
    assert len(np.unique(rows, axis=0)) == len(rows)
    assert set(np.unique(table.y)) == set(np.unique(table.test_y)) == {0, 1}
    assert len(table.test_y) == len(rows) // 4
