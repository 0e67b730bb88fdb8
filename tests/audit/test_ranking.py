"""Rankings of models: against slow counting and resampling, the crossover function, and what intervals promise."""

from itertools import pairwise

import numpy as np
import pytest

from labelwise.audit.ranking import MIN_CORRECTABLE, Ranking, outside_classes, rank_models
from labelwise.audit.stability import BenchmarkStudy, crossover
from labelwise.errors import InputError


def toy(rng: np.random.Generator, count: int, models: dict[str, tuple[float, float]]) -> tuple:
    """Given and corrected labels, and predictions right with one chance on benign, another on correctable examples."""
    true = rng.integers(0, 4, count)
    is_wrong, is_open = rng.random(count) < 0.2, rng.random(count) < 0.1
    given = np.where(is_wrong, (true + 1) % 4, true)
    corrected = np.where(is_open, -1, true)
    predictions = {}
    for name, (benign, correctable) in models.items():
        is_right = rng.random(count) < np.where(is_wrong, correctable, benign)
        predictions[name] = np.where(is_right, true, (true + 1 + rng.integers(0, 3, count)) % 4)
    return given, corrected, predictions


MODELS = {"stiff": (0.8, 0.7), "keen": (0.9, 0.4), "poor": (0.6, 0.35)}


def study(seed: int = 0, count: int = 600, **options) -> tuple[tuple, Ranking]:
    data = toy(np.random.default_rng(seed), count, MODELS)
    ranking = rank_models(BenchmarkStudy.of(*data[:2]), data[2], rng=np.random.default_rng(1), **options)
    return data, ranking


def test_accuracies_ranks_and_sizes_by_counting() -> None:
    (given, corrected, predictions), ranking = study()
    sizes = [0, 0, 0]
    hits = {name: [0, 0] for name in predictions}
    for row in range(len(given)):
        known = corrected[row] >= 0
        sizes[2 if not known else int(corrected[row] != given[row])] += 1
        for name, preds in predictions.items():
            hits[name][0] += preds[row] == given[row]
            hits[name][1] += known and preds[row] == corrected[row]
    assert [ranking.benign, ranking.correctable, ranking.unknown] == sizes
    assert ranking.noise_prevalence == pytest.approx(sizes[1] / (sizes[0] + sizes[1]))
    for model in ranking.models:
        assert model.accuracies.original == pytest.approx(hits[model.name][0] / len(given))
        assert model.accuracies.corrected == pytest.approx(hits[model.name][1] / (sizes[0] + sizes[1]))
    for place, count in ((0, "original_rank"), (1, "corrected_rank")):
        order = sorted(hits, key=lambda name: -hits[name][place])
        assert {model.name: getattr(model, count) for model in ranking.models} == {
            name: position + 1 for position, name in enumerate(order)
        }
    assert [model.original_rank for model in ranking.models] == [1, 2, 3]


def test_curves_pass_through_what_was_measured_and_cross_where_the_formula_says() -> None:
    _, ranking = study()
    at = {model.name: ranking.curves[place] for place, model in enumerate(ranking.models)}
    found = {model.name: model.accuracies for model in ranking.models}
    for name, curve in at.items():
        assert (curve[0], curve[-1]) == pytest.approx((found[name].benign, found[name].correctable_corrected))
        assert np.interp(ranking.noise_prevalence, ranking.grid, curve) == pytest.approx(found[name].corrected)
    assert any(pair.prevalence is not None for pair in ranking.pairs)
    for pair in ranking.pairs:
        signs = np.sign(at[pair.leader] - at[pair.other])
        steps = [n for n, (before, after) in zip(ranking.grid, pairwise(signs), strict=False) if before != after]
        assert (pair.prevalence is None) == (not steps)
        if pair.prevalence is not None:
            assert steps[0] <= pair.prevalence <= steps[0] + 0.01 + 1e-9
            a, b = sorted((found[pair.leader], found[pair.other]), key=lambda each: -each.benign)
            scores = (a.benign, b.benign, a.correctable_corrected, b.correctable_corrected)
            assert (pair.prevalence, pair.removed_fraction) == crossover(*scores, ranking.benign, ranking.correctable)


def test_bootstrap_is_that_of_drawing_examples_one_by_one() -> None:
    (given, corrected, predictions), ranking = study(count=150, num_draws=4000)
    rng = np.random.default_rng(2)
    parts = [np.flatnonzero(corrected == given), np.flatnonzero((corrected >= 0) & (corrected != given))]
    names = [model.name for model in ranking.models]
    accuracies = []
    for _ in range(4000):
        rows = np.concatenate([rng.choice(part, len(part)) for part in parts])
        accuracies.append([(predictions[name][rows] == corrected[rows]).mean() for name in names])
    drawn = np.array(accuracies)  # (draws, models)
    for place, model in enumerate(ranking.models):
        assert (model.low, model.high) == pytest.approx(np.quantile(drawn[:, place], [0.025, 0.975]), abs=0.01)
    for pair in ranking.pairs:
        leads = drawn[:, names.index(pair.leader)] - drawn[:, names.index(pair.other)]
        assert (pair.low, pair.high) == pytest.approx(np.quantile(leads, [0.025, 0.975]), abs=0.015)
        assert pair.holds == pytest.approx((leads >= 0).mean(), abs=0.03)
    assert ranking.probability == pytest.approx((np.diff(drawn, axis=1) <= 0).all(axis=1).mean(), abs=0.03)


def test_bands_are_those_of_the_single_model() -> None:
    (given, corrected, predictions), ranking = study(num_draws=4000)
    for place, model in enumerate(ranking.models):
        alone = BenchmarkStudy.of(given, corrected).bootstrap_interval(
            predictions[model.name], ranking.grid, rng=np.random.default_rng(3), num_draws=4000
        )
        assert ranking.low[place] == pytest.approx(alone.low, abs=0.02)
        assert ranking.high[place] == pytest.approx(alone.high, abs=0.02)


def test_interval_of_a_lead_covers_the_true_lead() -> None:
    rng, covered = np.random.default_rng(4), 0
    for _ in range(150):
        given, corrected, predictions = toy(rng, 400, {"a": (0.8, 0.6), "b": (0.7, 0.8)})
        ranking = rank_models(BenchmarkStudy.of(given, corrected), predictions, rng=rng, num_draws=300)
        (pair,) = ranking.pairs
        share = ranking.noise_prevalence
        true = (1 - share) * (0.8 - 0.7) + share * (0.6 - 0.8)
        low, high = (pair.low, pair.high) if pair.leader == "a" else (-pair.high, -pair.low)
        covered += low <= true <= high
    assert 0.88 <= covered / 150 <= 0.99


def test_what_is_hard_for_all_does_not_blur_a_difference() -> None:
    rng = np.random.default_rng(5)
    true = rng.integers(0, 2, 500)
    a = np.where(rng.random(500) < 0.6, true, 1 - true)
    b = a.copy()
    b[np.flatnonzero(a == true)[:5]] ^= 1  # right wherever the other is, but on five examples
    given = np.where(np.arange(500) < 450, true, 1 - true)
    (pair,) = rank_models(BenchmarkStudy.of(given, true), {"a": a, "b": b}, rng=rng).pairs
    assert pair.corrected == pytest.approx(0.01)
    assert 0 <= pair.low < pair.high < 0.025  # each accuracy alone is known to 0.04
    assert pair.holds == 1


def test_equal_models_tie() -> None:
    given, corrected, predictions = toy(np.random.default_rng(6), 100, {"a": (0.8, 0.5)})
    study = BenchmarkStudy.of(given, corrected)
    ranking = rank_models(study, {"a": predictions["a"], "b": predictions["a"]}, rng=np.random.default_rng(0))
    (pair,) = ranking.pairs
    assert (pair.leader, pair.other, pair.corrected, pair.low, pair.high) == ("a", "b", 0, 0, 0)
    assert (pair.holds, ranking.probability, ranking.holds, pair.prevalence) == (1, 1, True, None)
    assert [model.original_rank for model in ranking.models] == [1, 1]
    assert [ranking.correlation, ranking.correlation_correctable, ranking.correlation_benign_correctable] == [None] * 3


def test_a_reversal_is_told() -> None:
    given, corrected = np.zeros(16, dtype=int), np.array([0] * 9 + [1] * 7)
    keen, stiff = np.zeros(16, dtype=int), corrected.copy()
    ranking = rank_models(
        BenchmarkStudy.of(given, corrected), {"keen": keen, "stiff": stiff}, rng=np.random.default_rng(0)
    )
    assert [model.name for model in ranking.models] == ["keen", "stiff"]
    assert [model.corrected_rank for model in ranking.models] == [2, 1]
    assert (ranking.holds, ranking.verdict) == (False, "does not hold")
    assert (ranking.probability, ranking.pairs[0].holds) == (0, 0)
    assert ranking.correlation == ranking.correlation_correctable == pytest.approx(-1)


def test_fewest_examples_that_tell_are_those_of_a_sign_test() -> None:
    from scipy.stats import binomtest

    levels = [binomtest(count, count).pvalue for count in (MIN_CORRECTABLE - 1, MIN_CORRECTABLE)]
    assert levels[0] > 0.05 > levels[1]


@pytest.mark.parametrize("count", [0, 1, MIN_CORRECTABLE - 1, MIN_CORRECTABLE])
def test_too_few_corrections_give_no_verdict(count: int) -> None:
    given = np.zeros(40, dtype=int)
    corrected = np.array([1] * count + [-1] * 4 + [0] * (36 - count))
    good, bad = corrected.clip(0), 1 - given
    ranking = rank_models(
        BenchmarkStudy.of(given, corrected), {"good": good, "bad": bad}, rng=np.random.default_rng(0), num_draws=50
    )
    told = (ranking.verdict, ranking.holds, ranking.probability, ranking.pairs[0].holds)
    assert told == (("cannot tell", None, None, None) if count < MIN_CORRECTABLE else ("holds", True, 1.0, 1.0))


def test_predictions_of_classes_that_no_example_has_are_counted() -> None:
    given, corrected = np.array([0, 1, 4, 0, 1, 1]), np.array([0, 1, -1, 2, 1, 1])
    study = BenchmarkStudy.of(given, corrected)
    a, b = np.array([0, 1, 4, 2, 1, 1]), np.array([3, 1, 5, 2, 1, 9])
    assert outside_classes(study, b).tolist() == [True, False, True, False, False, True]
    ranking = rank_models(study, {"a": a, "b": b}, rng=np.random.default_rng(0), num_draws=10)
    assert {model.name: model.outside for model in ranking.models} == {"a": 0, "b": 3}
    # What stands where no label was agreed on is no label: row 2 has a 7 that neither mask holds.
    masked = BenchmarkStudy(given, np.array([0, 1, 7, 2, 1, 1]), study.benign_mask, study.correctable_mask)
    assert outside_classes(masked, np.full(6, 7)).all()


@pytest.mark.parametrize("corrected", [[0, 1, 0, 1], [0, 1, -1, -1], [1, 0, 1, 0]])
def test_empty_parts_give_numbers(corrected: list[int]) -> None:
    given = np.array([0, 1, 0, 1])
    predictions = {"a": given, "b": 1 - given}
    ranking = rank_models(BenchmarkStudy.of(given, corrected), predictions, rng=np.random.default_rng(0), num_draws=50)
    assert np.isfinite(ranking.curves).all()
    assert np.isfinite(ranking.low).all()
    assert ranking.noise_prevalence == (1.0 if corrected[0] == 1 else 0.0)
    assert all(pair.prevalence is None for pair in ranking.pairs)


def test_the_same_generator_gives_the_same() -> None:
    assert study()[1].pairs == study()[1].pairs


def test_bad_input_is_refused() -> None:
    given = np.array([0, 1])
    good = BenchmarkStudy.of(given, given)
    with pytest.raises(InputError, match="of 1 models"):
        rank_models(good, {"a": given}, rng=np.random.default_rng(0))
    with pytest.raises(InputError, match="shape"):
        rank_models(good, {"a": given, "b": given[:1]}, rng=np.random.default_rng(0))
    with pytest.raises(InputError, match="none of the 2 examples has a corrected label"):
        rank_models(BenchmarkStudy.of(given, [-1, -1]), {"a": given, "b": given}, rng=np.random.default_rng(0))
    with pytest.raises(InputError, match="row 1 is -1"):
        BenchmarkStudy.of([0, -1], [0, 0])
    with pytest.raises(InputError, match="2 given and 1 corrected"):
        BenchmarkStudy.of(given, given[:1])
