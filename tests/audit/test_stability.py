import numpy as np
import pytest

from labelwise.audit.stability import (
    BenchmarkStudy,
    accuracy_at_prevalence,
    crossover,
    prevalence,
)
from labelwise.errors import InputError


def test_prevalence_of_imagenet() -> None:
    assert prevalence(48512 - 1428, 1428) == pytest.approx(1428 / 48512)


def test_prevalence_boundaries() -> None:
    assert prevalence(90, 10) == 0.1
    assert prevalence(90, 10, 1.0) == 1.0
    assert prevalence(90, 0, 0.5) == 0.0
    assert prevalence(90, 0, 1.0) == 0.0
    assert prevalence(0, 0) == 0.0
    assert prevalence(0, 5) == 1.0
    for bad in ((-1, 5, 0.0), (5, -1, 0.0), (5, 5, 1.1), (5, 5, float("nan"))):
        with pytest.raises(InputError):
            prevalence(*bad)


def test_accuracies_meet_at_the_crossover() -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        b_benign, a_benign = np.sort(rng.random(2))
        a_correctable, b_correctable = np.sort(rng.random(2))
        found = crossover(a_benign, b_benign, a_correctable, b_correctable, 900, 100)
        assert 0 < found.prevalence < 1
        assert accuracy_at_prevalence(a_benign, a_correctable, found.prevalence) == pytest.approx(
            accuracy_at_prevalence(b_benign, b_correctable, found.prevalence)
        )
        if found.removed_fraction >= 0:
            assert prevalence(900, 100, found.removed_fraction) == pytest.approx(found.prevalence)
        else:  # b leads on the set as it is
            assert found.prevalence < prevalence(900, 100)


@pytest.mark.parametrize(
    "case",
    [
        (0.9, 0.8, 0.6, 0.5, 900, 100),  # a wins on both
        (0.8, 0.9, 0.5, 0.6, 900, 100),  # b wins on both
        (0.9, 0.8, 0.5, 0.5, 900, 100),  # tie on the correctable part
        (0.9, 0.9, 0.5, 0.6, 900, 100),  # tie on the benign part
        (0.9, 0.9, 0.5, 0.5, 900, 100),  # the same model
        (0.9, 0.8, 0.5, 0.6, 900, 0),
        (0.9, 0.8, 0.5, 0.6, 0, 100),
    ],
)
def test_no_crossover(case: tuple) -> None:
    assert crossover(*case) == (None, None)


def make_study(rng: np.random.Generator, n: int = 500):
    true = rng.integers(0, 5, n)
    part = rng.choice(["benign", "correctable", "unknown"], size=n, p=[0.7, 0.2, 0.1])
    given = np.where(part == "benign", true, (true + 1) % 5)
    corrected = np.where(part == "unknown", -1, true)
    return BenchmarkStudy(given, corrected, part == "benign", part == "correctable"), true


def test_accuracies_equal_counting() -> None:
    rng = np.random.default_rng(1)
    study, true = make_study(rng)
    preds = np.where(rng.random(len(true)) < 0.6, true, study.given)
    rows = range(len(true))
    benign = [i for i in rows if study.benign_mask[i]]
    correctable = [i for i in rows if study.correctable_mask[i]]

    def share(right: list[bool]) -> float:
        return sum(right) / len(right)

    found = study.accuracies(preds)
    assert found.original == pytest.approx(share([preds[i] == study.given[i] for i in rows]))
    assert found.corrected == pytest.approx(share([preds[i] == true[i] for i in benign + correctable]))
    assert found.benign == pytest.approx(share([preds[i] == true[i] for i in benign]))
    assert found.correctable_given == pytest.approx(share([preds[i] == study.given[i] for i in correctable]))
    assert found.correctable_corrected == pytest.approx(share([preds[i] == true[i] for i in correctable]))
    assert study.noise_prevalence == pytest.approx(len(correctable) / (len(benign) + len(correctable)))
    # With nothing removed the expectation is the accuracy itself.
    assert study.accuracy_at_prevalence(preds, study.noise_prevalence) == pytest.approx(found.corrected)


def test_accuracy_at_prevalence_is_the_mean_over_removals() -> None:
    rng = np.random.default_rng(2)
    study, true = make_study(rng)
    preds = np.where(rng.random(len(true)) < 0.7, true, study.given)
    benign, correctable = np.flatnonzero(study.benign_mask), np.flatnonzero(study.correctable_mask)
    kept = len(benign) // 3
    simulated = []
    for _ in range(3000):
        rows = np.concatenate([rng.choice(benign, kept, replace=False), correctable])
        simulated.append((preds[rows] == study.corrected[rows]).mean())
    n = len(correctable) / (kept + len(correctable))
    assert study.accuracy_at_prevalence(preds, n) == pytest.approx(np.mean(simulated), abs=0.002)


def test_study_crossover_does_not_depend_on_the_order() -> None:
    rng = np.random.default_rng(3)
    study, true = make_study(rng)
    fits_given = study.given.copy()
    robust = np.where(rng.random(len(true)) < 0.9, true, 0)
    found = study.crossover(fits_given, robust)
    assert found == study.crossover(robust, fits_given)
    assert 0 < found.prevalence < 1
    at = [study.accuracy_at_prevalence(preds, found.prevalence) for preds in (fits_given, robust)]
    assert at[0] == pytest.approx(at[1])
    assert study.crossover(true, fits_given) == (None, None)


def test_rank_correlation() -> None:
    rng = np.random.default_rng(4)
    study, true = make_study(rng)
    fitting = [np.where(rng.random(len(true)) < share, study.given, true) for share in (0.1, 0.4, 0.7, 0.95)]
    assert study.rank_correlation(fitting) == pytest.approx(-1)
    assert study.rank_correlation(fitting, method="kendall") == pytest.approx(-1)
    assert study.rank_correlation([true, true]) is None
    assert study.rank_correlation([true]) is None
    assert study.rank_correlation([]) is None
    with pytest.raises(InputError, match="method"):
        study.rank_correlation(fitting, method="pearson")


def test_bootstrap_equals_resampling_rows() -> None:
    rng = np.random.default_rng(5)
    study, true = make_study(rng)
    preds = np.where(rng.random(len(true)) < 0.7, true, rng.integers(0, 5, len(true)))
    grid = np.array([0.0, 0.25, 1.0])
    found = study.bootstrap_interval(preds, grid, rng=np.random.default_rng(6), num_draws=4000)
    hits = preds == study.corrected
    draws = []
    for _ in range(4000):
        parts = [rng.choice(hits[mask], mask.sum()).mean() for mask in (study.benign_mask, study.correctable_mask)]
        draws.append((1 - grid) * parts[0] + grid * parts[1])
    low, high = np.quantile(draws, [0.025, 0.975], axis=0)
    step = 1 / study.correctable_mask.sum()  # bootstrap quantiles lie on a lattice this coarse
    np.testing.assert_allclose(found.low, low, atol=1.01 * step)
    np.testing.assert_allclose(found.high, high, atol=1.01 * step)
    again = study.bootstrap_interval(preds, grid, rng=np.random.default_rng(6), num_draws=4000)
    np.testing.assert_array_equal(found.low, again.low)


def test_empty_parts_give_zero() -> None:
    none = np.zeros(3, dtype=bool)
    labels = np.array([0, 1, 2])
    study = BenchmarkStudy(labels, labels, none, none)
    assert study.accuracies(labels) == (1.0, 0.0, 0.0, 0.0, 0.0)
    assert study.noise_prevalence == 0.0
    assert study.crossover(labels, labels) == (None, None)
    found = study.bootstrap_interval(labels, [0.0, 1.0], rng=np.random.default_rng(0))
    assert found.low.tolist() == found.high.tolist() == [0.0, 0.0]
    nobody = BenchmarkStudy(labels[:0], labels[:0], none[:0], none[:0])
    assert nobody.accuracies(labels[:0]) == (0.0,) * 5


def test_bad_studies_are_refused() -> None:
    labels, every = np.array([0, 1]), np.array([True, True])
    with pytest.raises(InputError, match="row 0 is in both masks"):
        BenchmarkStudy(labels, labels, every, every)
    with pytest.raises(InputError, match="lengths differ"):
        BenchmarkStudy(labels, labels[:1], every, ~every)
    with pytest.raises(InputError, match="preds has shape"):
        BenchmarkStudy(labels, labels, every, ~every).accuracies([0])
