import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.stats import norm

from labelwise.errors import InputError
from labelwise.labels.noise import noise_rate, redraw_symmetric
from labelwise.reproductions import elr, elr_gaussians, reproduce
from labelwise.reproductions.inputs import NoisySet, cifar10n_features, cifar10n_pictures, digits
from labelwise.reproductions.result import Result
from labelwise.training.seeding import generator

TINY = elr.Plan("digits", 300, "mlp-32", 3, 32, 0.05)


@pytest.fixture(scope="module")
def quick_result() -> Result:
    return reproduce("elr", seeds=1, data_dir=None, quick=True)


@pytest.fixture(scope="module")
def noisy_digits() -> NoisySet:
    X, truth, test_X, test_y = digits()
    given = redraw_symmetric(truth[:300], 0.4, 10, np.random.default_rng(0))
    return NoisySet(X[:300], given, truth[:300], test_X, test_y)


# The record.


def test_the_quick_record_is_whole_and_can_be_kept(quick_result: Result, tmp_path: Path) -> None:
    record = json.loads(quick_result.to_json())  # refuses NaN and infinity
    assert all(record[name] not in ("", None) for name in record if name != "interval")
    assert set(record["baselines"]) == set(elr.BASELINES)
    assert set(record["methods"]) == set(elr.METHODS)
    assert {elr.TWO_CE, elr.PLUS} < set(record["details"]["studies"]["redrawn"])
    quick_result.save(tmp_path / "elr.json")
    assert Result.load(tmp_path / "elr.json").details == record["details"]


def test_the_verdict_is_that_of_all_checks(quick_result: Result) -> None:
    assert quick_result.holds == all(quick_result.details["checks"].values())
    assert set(quick_result.details["checks"]) == {
        f"redrawn_{check}"
        for check in ("chosen_lambda_more_accurate", "published_lambda_more_accurate", "memorises_less_than_half")
    }


def test_what_was_left_out_is_said(quick_result: Result) -> None:
    assert any("CIFAR-10N was left out" in note and "--data-dir" in note for note in quick_result.notes)
    assert any("digits took the place" in note for note in quick_result.notes)
    assert any("one seed leaves no interval" in note for note in quick_result.notes)
    assert quick_result.interval is None


def test_both_baselines_that_chose_on_held_out_labels_are_named_in_the_notes(quick_result: Result) -> None:
    for base in (elr.CE_STOPPED, elr.CE_DECAY, elr.TWO_CE):
        assert any(f"against '{base}' in test accuracy" in note for note in quick_result.notes)


def test_the_kept_record_follows_from_its_own_numbers() -> None:
    kept = Result.load(Path(__file__).parents[2] / "docs" / "results" / "01-elr.json")
    studies = {
        name: [
            {arm: {measure: values[seed] for measure, values in found.items()} for arm, found in arms.items()}
            for seed in range(len(arms[elr.CE]["accuracy"]))
        ]
        for name, arms in kept.details["studies"].items()
    }
    assert kept.claim == elr.CLAIM
    assert list(kept.notes) == elr._comparisons(studies)
    for name in ("worst_label", "redrawn"):
        for check, holds in elr.check_claim(studies[name]).items():
            assert kept.details["checks"][f"{name}_{check}"] == holds
    assert kept.holds == all(kept.details["checks"].values())


def test_shares_are_shares(quick_result: Result) -> None:
    for measures in quick_result.details["studies"]["redrawn"].values():
        memorised, true = measures["memorised"][0], measures["predicted_as_true"][0]
        assert 0 <= memorised <= memorised + true <= 1
    # One pass in a few already restores more labels than the one in ten that chance would.
    assert quick_result.details["studies"]["redrawn"][elr.ELR]["restored"][0] > 0.3


def test_a_given_folder_without_the_data_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LABELWISE_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(InputError, match="cifar10n"):
        elr.run(seeds=1, data_dir=tmp_path)


# Choosing strengths.


def test_held_out_rows_are_not_trained_on(noisy_digits: NoisySet) -> None:
    model = elr.fit("elr", {}, noisy_digits, TINY, seed=0)
    held = np.setdiff1d(np.arange(300), model.train_rows_)
    assert len(held) == 30
    assert not model.corrections_.targets[held].any()
    # Other pictures in their place change what is measured on them, and nothing of the network.
    X = noisy_digits.train_X.copy()
    X[held] = 16 - X[held]
    other = elr.fit("elr", {}, noisy_digits._replace(train_X=X), TINY, seed=0)
    np.testing.assert_array_equal(other.predict_logits(X), model.predict_logits(X))
    assert other.history_[-1]["validation_score"] != model.history_[-1]["validation_score"]


def test_arms_of_a_seed_hold_out_the_same_rows_and_seeds_others(noisy_digits: NoisySet) -> None:
    rows = [
        elr.fit(recipe, {}, noisy_digits, TINY._replace(epochs=1), seed).train_rows_.tolist()
        for recipe, seed in (("cross-entropy", 0), ("elr", 0), ("elr", 1))
    ]
    assert rows[0] == rows[1] != rows[2]


def test_test_rows_and_true_labels_change_nothing_but_scores(noisy_digits: NoisySet) -> None:
    shuffled = noisy_digits._replace(
        test_X=noisy_digits.test_X[::-1], test_y=np.random.default_rng(1).permutation(noisy_digits.test_y)
    )
    blind = noisy_digits._replace(truth=np.zeros_like(noisy_digits.truth))
    seen, other, untrue = (elr.run_arms(data, TINY, seed=0) for data in (noisy_digits, shuffled, blind))
    for arm, measures in seen.items():
        assert measures["accuracy"] != other[arm]["accuracy"]
        assert {**measures, "accuracy": 0} == {**other[arm], "accuracy": 0}
        scores_of_truth = ("memorised", "predicted_as_true", "restored", "labels_right")
        for name in set(measures) - set(scores_of_truth):
            assert measures[name] == untrue[arm][name]


def test_the_best_last_epoch_is_chosen_and_of_equals_the_first() -> None:
    def trained(*scores: float) -> SimpleNamespace:
        return SimpleNamespace(history_=[{"validation_score": score} for score in scores])

    assert elr.choose({3.0: trained(0.9, 0.5), 7.0: trained(0.1, 0.6), 15.0: trained(0.6, 0.6)}) == 7.0


def test_chosen_arms_tell_what_they_chose_from(quick_result: Result) -> None:
    arms = quick_result.details["studies"]["redrawn"]
    for arm, knob, values in (
        (elr.ELR_CHOSEN, "lambda", elr.LAMBDAS),
        (elr.CE_DECAY, "weight_decay", elr.WEIGHT_DECAYS),
    ):
        scores = {value: arms[arm][f"held_out_accuracy_at_{value:g}"][0] for value in values}
        assert scores[arms[arm][knob][0]] == max(scores.values())
    assert len(elr.LAMBDAS) == len(elr.WEIGHT_DECAYS)


# Measures and verdict.


def test_measures_by_hand() -> None:
    given, truth = np.array([0, 1, 2, 0, 1]), np.array([0, 1, 1, 2, 0])
    targets = np.eye(3)[[0, 0, 1, 0, 0]]
    model = SimpleNamespace(
        train_rows_=np.array([0, 1, 2, 3]),
        classes_=np.arange(3),
        corrections_=SimpleNamespace(targets=targets),
        predict=lambda X: X,
    )
    data = NoisySet(np.array([0, 1, 2, 2, 0]), given, truth, np.array([1, 1]), np.array([1, 0]))
    # Trained on and wrong are rows 2 and 3; of them 2 is predicted as given, 3 as true; 2 is restored.
    assert elr.measure(model, data) == {  # type: ignore[arg-type]
        "accuracy": 0.5,
        "memorised": 0.5,
        "predicted_as_true": 0.5,
        "restored": 0.5,
        "labels_right": 0.5,
    }
    clean = elr.measure(model, data._replace(truth=given))  # type: ignore[arg-type]
    assert clean["memorised"] == clean["restored"] == 0.0


def test_the_best_epoch_is_measured_with_its_number(noisy_digits: NoisySet) -> None:
    model = elr.fit("cross-entropy", {}, noisy_digits, TINY, seed=0)
    scores = [row["validation_score"] for row in model.history_]
    assert elr.measure_best_epoch(model, noisy_digits)["epoch"] == 1 + int(np.argmax(scores))


def runs_of(ce: tuple[float, float], published: tuple[float, float], chosen: tuple[float, float]) -> list[elr.Arms]:
    """Three seeds near (accuracy, memorised) of each arm."""
    arms = {elr.CE: ce, elr.ELR: published, elr.ELR_CHOSEN: chosen}
    return [
        {arm: {"accuracy": accuracy + jitter, "memorised": memorised} for arm, (accuracy, memorised) in arms.items()}
        for jitter in (0.0, 0.01, 0.02)
    ]


@pytest.mark.parametrize(
    ("published", "chosen", "expected"),
    [
        ((0.6, 0.3), (0.7, 0.3), (True, True, True)),
        ((0.5, 0.3), (0.7, 0.3), (True, False, True)),
        ((0.6, 0.3), (0.4, 0.3), (False, True, True)),
        ((0.6, 0.3), (0.7, 0.45), (True, True, False)),
    ],
)
def test_each_part_of_the_claim_can_fail(
    published: tuple[float, float], chosen: tuple[float, float], expected: tuple[bool, bool, bool]
) -> None:
    checks = elr.check_claim(runs_of((0.5, 0.9), published, chosen))
    names = ("chosen_lambda_more_accurate", "published_lambda_more_accurate", "memorises_less_than_half")
    assert tuple(checks[name] for name in names) == expected


def test_lambda_0_is_cross_entropy_whatever_the_teacher_says(noisy_digits: NoisySet) -> None:
    def logits(lambda_: float, decay: float) -> np.ndarray:
        options = {"lambda_": lambda_, "ema_decay": decay}
        return elr.fit("elr-plus", options, noisy_digits, TINY, seed=0).predict_logits(noisy_digits.test_X)

    np.testing.assert_array_equal(logits(0.0, 0.5), logits(0.0, 0.99))
    assert not np.array_equal(logits(3.0, 0.5), logits(3.0, 0.99))


# Two Gaussians.


def expected_share(ratio: int, spread: float, count: int) -> float:
    """Share of flipped points on their true side after one step from 0, by the normal approximation.

    y_i x_i . mean(given_j x_j) has mean (1 - 2 D) - spread^2 ratio, the pull of the mean against the point's own term.
    """
    pull = 1 - 2 * elr_gaussians.FLIPPED
    mean = pull - spread**2 * ratio
    variance = (spread * pull) ** 2 + spread**4 * ratio + spread**2 / count
    return float(norm.cdf(mean / np.sqrt(variance)))


@pytest.mark.parametrize(("ratio", "spread"), [(2, 0.2), (5, 0.1), (2, 0.3), (2, 1.0)])
def test_the_first_step_puts_flipped_points_on_their_true_side_as_the_theorem_says(ratio: int, spread: float) -> None:
    shares = []
    for seed in range(8):
        rng = generator(seed, "test")
        train, test = (elr_gaussians.draw_cloud(count, ratio * 300, spread, rng) for count in (300, 10))
        given = elr_gaussians.flip(train.truth, elr_gaussians.FLIPPED, rng)
        plain, regularised = (elr_gaussians.descend(train, given, test, each, steps=1) for each in (0.0, 3.0))
        assert plain == regularised  # at 0 all predictions are even, so the regulariser pulls nowhere
        shares += plain["flipped_as_true"]
    assert np.mean(shares) == pytest.approx(expected_share(ratio, spread, 300), abs=0.04)


@pytest.mark.parametrize("lambda_", [0.0, 3.0])
def test_descent_agrees_with_the_closed_form_gradient(lambda_: float) -> None:
    rng = generator(3, "test")
    train, test = (elr_gaussians.draw_cloud(count, 60, 0.3, rng) for count in (30, 200))
    given = elr_gaussians.flip(train.truth, 0.4, rng)
    found = elr_gaussians.descend(train, given, test, lambda_, steps=30)

    X, y, labels = train.points.double().numpy(), train.truth.numpy(), np.eye(2)[given.numpy()]
    weights, memory, expected = np.zeros(60), np.zeros((30, 2)), []
    for step in range(1, 31):
        p = 1 / (1 + np.exp(-X @ weights))
        probs = np.stack([1 - p, p], axis=1)
        memory = 0.7 * memory + 0.3 * probs
        inner = (memory * probs).sum(axis=1, keepdims=True)
        gradient = probs - labels + lambda_ * probs / (1 - inner) * (inner - memory)  # of the logits (n, 2)
        weights = weights - elr_gaussians.LEARNING_RATE * X.T @ ((gradient[:, 1] - gradient[:, 0]) / 2) / 30
        if step in elr_gaussians.MARKS:
            expected.append(np.mean(((X @ weights > 0) == y)[given.numpy() != y]))
    assert found["flipped_as_true"] == pytest.approx(expected)


def test_cross_entropy_ends_with_the_flipped_labels_and_elr_with_the_true_ones() -> None:
    found = elr_gaussians.demonstrate(range(2), examples=100)
    assert found["cross-entropy"]["flipped_as_true"][0] > 0.8
    assert found["cross-entropy"]["flipped_as_true"][-1] < 0.05
    assert found["elr"]["flipped_as_true"][-1] > 0.95
    assert found["elr"]["test_accuracy"][-1] > found["cross-entropy"]["test_accuracy"][-1] + 0.2


def test_exactly_the_share_is_flipped() -> None:
    truth = torch.tensor([0, 1, 1, 0, 1])
    for share, count in ((0.0, 0), (0.4, 2), (1.0, 5)):
        assert int((elr_gaussians.flip(truth, share, generator(0)) != truth).sum()) == count


# Data.


def test_labels_that_people_gave(data_dir: Path) -> None:
    worst, aggregate = (cifar10n_features(data_dir, label) for label in ("worst_label", "aggregate_label"))
    assert worst.train_X.shape == (50_000, 256)
    assert worst.test_X.shape == (10_000, 256)
    assert np.bincount(worst.test_y).tolist() == [1000] * 10
    assert noise_rate(worst.given, worst.truth) == pytest.approx(0.4021, abs=1e-4)
    assert noise_rate(aggregate.given, aggregate.truth) == pytest.approx(0.0901, abs=1e-4)
    np.testing.assert_array_equal(worst.truth, aggregate.truth)

    pictures = cifar10n_pictures(data_dir, limit=50)
    assert pictures.train_X.shape == pictures.test_X.shape == (50, 32, 32, 3)
    assert pictures.train_X.dtype == np.uint8
    np.testing.assert_array_equal(pictures.given, worst.given[:50])
    assert np.bincount(pictures.test_y).tolist() == [5] * 10


def test_rows_are_drawn_together(data_dir: Path) -> None:
    data = cifar10n_features(data_dir)
    drawn = elr.draw_rows(data, 100, seed=1)
    where = [int(np.flatnonzero((data.train_X == row).all(axis=1))[0]) for row in drawn.train_X[:5]]
    np.testing.assert_array_equal(drawn.given[:5], data.given[where])
    np.testing.assert_array_equal(drawn.truth[:5], data.truth[where])
    assert len(drawn.given) == 100
    assert not np.array_equal(drawn.given, elr.draw_rows(data, 100, seed=2).given)
