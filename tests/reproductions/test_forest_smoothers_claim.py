import json

import numpy as np
import pytest
from sklearn.ensemble import RandomForestRegressor

from labelwise.certainty.forest_smoothers import mars_additive
from labelwise.reproductions import forest_smoothers
from labelwise.reproductions.forest_smoothers import OFFSETS, QUICK
from labelwise.reproductions.result import Result


@pytest.fixture(scope="module")
def quick_result() -> Result:
    return forest_smoothers.run(seeds=2, data_dir=None, quick=True)


def test_the_verdict_is_that_of_all_checks(quick_result: Result) -> None:
    assert quick_result.holds == all(quick_result.details["checks"].values())
    assert quick_result.seeds == 2
    json.loads(quick_result.to_json())


def test_the_tree_is_the_forests_first(quick_result: Result) -> None:
    rng = np.random.default_rng(1)
    (X, y), (X_test, y_test) = (mars_additive(QUICK.rows, 5, 1.0, rng) for _ in range(2))
    forest = RandomForestRegressor(QUICK.trees, max_features=1 / 3, bootstrap=False, random_state=1).fit(X, y)
    for name, model in (("tree", forest.estimators_[0]), ("forest", forest)):
        error = ((model.predict(X_test) - y_test) ** 2).mean()
        assert quick_result.details["smoothing"][f"mse_test_{name}"][1] == pytest.approx(error)


def test_a_full_tree_copies_one_label_at_every_offset(quick_result: Result) -> None:
    for offset in OFFSETS:
        assert quick_result.details["p_by_offset"][f"tree {offset:g}"] == pytest.approx([QUICK.rows] * 2)
    assert quick_result.details["p_by_offset"]["forest 0"] == pytest.approx([QUICK.rows] * 2)


def test_a_check_fails_where_its_direction_does() -> None:
    rows = [{"p_test_forest": 3.0, "p_test_tree": 9.0}, {"p_test_forest": 4.0, "p_test_tree": 10.5}]
    assert forest_smoothers._lower(rows, "p_test_forest", "p_test_tree")
    assert not forest_smoothers._lower(rows, "p_test_tree", "p_test_forest")
    unsure = [{"a": 1.0, "b": 2.0}, {"a": 2.0, "b": 1.5}]
    assert not forest_smoothers._lower(unsure, "a", "b")


def test_one_seed_is_noted_and_gives_the_same_numbers_again() -> None:
    first, second = (forest_smoothers.run(seeds=1, data_dir=None, quick=True) for _ in range(2))
    assert first.interval is None
    assert any("one seed" in note for note in first.notes)
    assert first.details == second.details
