import json

import numpy as np
import pytest

from labelwise.audit.votes import VoteRecords
from labelwise.errors import InputError
from labelwise.reproductions import label_errors, reproduce
from labelwise.reproductions.result import Result


@pytest.fixture(scope="module")
def quick_result() -> Result:
    return label_errors.run(seeds=2, data_dir=None, quick=True)


def test_without_data_the_result_says_what_it_rests_on(quick_result: Result) -> None:
    assert quick_result.data == "scikit-learn digits"
    assert any("--data-dir" in note and "not recomputed" in note for note in quick_result.notes)
    assert quick_result.details["study"] == {}
    assert not any("published" in name for name in quick_result.details["checks"])


def test_the_verdict_is_that_of_all_checks(quick_result: Result) -> None:
    assert quick_result.holds == all(quick_result.details["checks"].values())
    assert quick_result.seeds == 2
    json.loads(quick_result.to_json())


def test_summaries_agree_with_the_details(quick_result: Result) -> None:
    finding = quick_result.details["finding"]
    for group in (quick_result.baselines, quick_result.methods):
        for name, summary in group.items():
            precision, recall = np.array(finding[f"precision_{name}"]), np.array(finding[f"recall_{name}"])
            np.testing.assert_allclose(summary.values, 2 * precision * recall / (precision + recall))
    gain = quick_result.methods["prune_by_noise_rate"].mean - quick_result.baselines["predicted_neq_given"].mean
    assert quick_result.difference == pytest.approx(gain)


def test_one_seed_is_noted() -> None:
    result = label_errors.run(seeds=1, data_dir=None, quick=True)
    assert result.interval is None
    assert any("one seed" in note for note in result.notes)


def test_same_seed_same_numbers() -> None:
    assert label_errors.find_flips(3, num_trees=5) == label_errors.find_flips(3, num_trees=5)
    assert label_errors.rank_models(3, systematic=True) == label_errors.rank_models(3, systematic=True)


def test_random_errors_do_not_turn_the_ranking_where_systematic_ones_do() -> None:
    systematic, control = (label_errors.rank_models(0, systematic=each) for each in (True, False))
    assert systematic["correctable_corrected_logistic"] > systematic["correctable_corrected_knn"]
    assert 0 < systematic["crossover_prevalence"] < 1
    assert control["crossover_prevalence"] is None


def test_lowest_margins_by_hand() -> None:
    rng = np.random.default_rng(0)
    pred_probs = rng.dirichlet(np.ones(4), 50)
    labels = rng.integers(0, 4, 50)
    margins = [row[y] - max(p for k, p in enumerate(row) if k != y) for row, y in zip(pred_probs, labels, strict=True)]
    assert label_errors.lowest_margins(labels, pred_probs, 7).tolist() == sorted(range(50), key=margins.__getitem__)[:7]


def test_names_of_reviewed_examples_become_rows(tmp_path) -> None:
    votes_file = tmp_path / "mturk" / "toy_mturk.json"
    records = VoteRecords(["test/neg/5_1", "test/pos/3_9"], ["a"] * 2, ["b"] * 2, np.zeros((2, 4), int))
    with pytest.raises(InputError, match="list of names"):
        label_errors.review_rows(records, votes_file)
    index_file = tmp_path / "dataset_indexing" / "toy_test_set_index_to_filename.json"
    index_file.parent.mkdir()
    index_file.write_text(json.dumps(["pos/3_9.txt", "neg/0_0.txt", "neg/5_1.txt"]))
    assert label_errors.review_rows(records, votes_file).tolist() == [2, 0]
    strange = VoteRecords(["test/neg/9_9"], ["a"], ["b"], np.zeros((1, 4), int))
    with pytest.raises(InputError, match="does not list"):
        label_errors.review_rows(strange, votes_file)
    numbered = VoteRecords([4, 2], [0, 0], [1, 1], np.zeros((2, 4), int))
    assert label_errors.review_rows(numbered, votes_file).tolist() == [4, 2]


def test_missing_data_are_an_error_where_a_folder_was_given(tmp_path) -> None:
    with pytest.raises(InputError, match="--data-dir"):
        reproduce("label-errors", seeds=1, data_dir=tmp_path, quick=True)
    (tmp_path / "label-errors").mkdir()
    with pytest.raises(InputError, match="mturk"):
        reproduce("label-errors", seeds=1, data_dir=tmp_path, quick=True)


def test_the_studys_counts(data_dir) -> None:
    measured = label_errors.study_counts(data_dir / "label-errors")
    estimated = {name: measured[name]["estimated_errors"] for name in ("cifar10", "20news", "imdb")}
    assert estimated == {"cifar10": 275, "20news": 93, "imdb": 1310}
    assert all(measured[name]["reviewed_in_lowest_margins"] == measured[name]["reviewed"] for name in estimated)
    assert measured["imagenet"]["noise_prevalence"] == pytest.approx(1428 / 48512)
    assert np.mean([each["validated"] / each["reviewed"] for each in measured.values()]) == pytest.approx(
        0.515, abs=5e-4
    )
