import json

import numpy as np
import pytest
import torch
from torch import nn

from labelwise.errors import InputError
from labelwise.reproductions import compress_features, reproduce
from labelwise.reproductions import compress_features_study as study_module
from labelwise.reproductions import compress_features_toy as toy
from labelwise.reproductions.compress_features_study import (
    CE,
    CO_TEACHING,
    DROPOUT,
    METHOD,
    NESTED,
    STOPPED,
    Outcome,
    Split,
    Study,
    Training,
)
from labelwise.reproductions.result import Result


@pytest.fixture(scope="module")
def quick_result() -> Result:
    return reproduce("compress-features", seeds=2, quick=True)


def test_the_verdict_is_that_of_all_checks(quick_result: Result) -> None:
    checks = quick_result.details["checks"]
    assert len(checks) == 6
    assert quick_result.holds == all(checks.values())
    json.loads(quick_result.to_json())


def test_summaries_agree_with_the_details(quick_result: Result) -> None:
    accuracy = quick_result.details["tuned"]["40%"]["accuracy"]
    summaries = {**quick_result.baselines, **quick_result.methods}
    assert set(summaries) == set(accuracy) == {CE, STOPPED, DROPOUT, NESTED, CO_TEACHING, METHOD}
    for name, summary in summaries.items():
        assert summary.mean == pytest.approx(accuracy[name])
    assert quick_result.difference == pytest.approx(accuracy[METHOD] - accuracy[CE])


def test_what_was_left_out_and_early_stopping_are_in_the_notes(quick_result: Result) -> None:
    assert quick_result.details["human_labels"] == {}
    assert any("left out" in note for note in quick_result.notes)
    early = quick_result.details["tuned"]["40%"]["gains"][f"{METHOD} - {STOPPED}"]["difference"]
    assert any("stopped early" in note and f"{early:+.3f}" in note for note in quick_result.notes)


def test_missing_data_are_an_error_where_a_folder_was_given(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LABELWISE_DATA", str(tmp_path))
    with pytest.raises(InputError, match="cifar10n"):
        compress_features.human_labels(tmp_path, 1)


# --- rows


def numbered(num_train: int, num_test: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A source whose inputs are row numbers, as pictures of one pixel."""
    rows = np.arange(num_train + num_test)
    return rows[:num_train, None, None], rows[:num_train] % 10, rows[num_train:, None, None], rows[num_train:] % 10


def assert_disjoint(split: Split) -> None:
    everything = np.concatenate([split.train_X[:, 0], split.val_X[:, 0], split.test_X[:, 0]])
    assert len(np.unique(everything)) == len(everything)


def test_digits_are_split_once_and_noise_is_drawn_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compress_features, "digits", lambda: numbered(1400, 397))
    first, second = (compress_features.draw_digits(0.4, seed) for seed in (0, 1))
    assert (len(first.train_X), len(first.val_X), len(first.test_X)) == (1200, 200, 397)
    assert_disjoint(first)
    assert np.array_equal(first.train_X, second.train_X)
    assert np.array_equal(first.val_X, second.val_X)
    assert not np.array_equal(first.given, second.given)
    assert (first.given != first.true).mean() == pytest.approx(0.4, abs=0.005)
    # The pixel tells the row, and the row the label.
    rows = np.rint(first.val_X[:, 0] * 404.1 + 699.5)
    assert np.corrcoef(rows, first.val_X[:, 0])[0, 1] == pytest.approx(1)
    assert first.train_X.mean() == pytest.approx(0, abs=1e-5)
    assert first.train_X.std() == pytest.approx(1, abs=1e-5)


def test_photographs_are_validated_and_tested_on_clean_labels() -> None:
    rows = np.arange(10_000)
    data = {
        "x_train": rows[:, None].astype(np.float32),
        "clean_label": rows % 10,
        "worst_label": (rows + 1) % 10,
        "x_test": np.arange(10_000, 10_050)[:, None].astype(np.float32),
        "y_test": np.arange(50) % 10,
    }
    split = compress_features.draw_photographs(data, "worst_label", seed=0)
    assert (len(split.train_X), len(split.val_X), len(split.test_X)) == (8000, 1000, 50)
    assert_disjoint(split)
    assert np.array_equal(split.given, (split.true + 1) % 10)
    chosen = np.random.default_rng(0).permutation(10_000)
    assert np.array_equal(split.val_y, chosen[8000:9000] % 10)
    assert np.array_equal(split.test_y, data["y_test"])


# --- choosing


class Scripted:
    """A model whose validation accuracy is known beforehand: at the last epoch and at the best one."""

    def __init__(self, last: float, best: float) -> None:
        self.now, self.best = last, best

    def score(self, X: object, y: object) -> float:
        return self.now

    def use_best_epoch(self) -> "Scripted":
        self.now = self.best
        return self


def blind(split: Split) -> Split:
    """Without test rows: whoever looks at them fails."""
    return split._replace(test_X=None, test_y=None)


def tiny_split() -> Split:
    rng = np.random.default_rng(0)
    y = np.arange(60) % 10
    X = (np.eye(10)[y] + 0.1 * rng.normal(size=(60, 10))).astype(np.float32)
    return Split(X[:40], np.roll(y[:40], 3), y[:40], X[40:50], y[40:50], X[50:], y[50:])


def test_settings_are_chosen_on_validation_rows_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def fit(setting: study_module.Setting, split: Split, training: Training, seed: int) -> Scripted:
        if "alone" in setting:
            return Scripted(0.2 if setting["alone"] == 0.5 else 0.1, 0.9)
        if setting["compression"] == "none":
            return Scripted({5e-4: 0.3, 2e-3: 0.3, 8e-3: 0.5, 2e-2: 0.4}[setting["weight_decay"]], 1.0)
        strength = setting.get("dropout", setting.get("std"))
        return Scripted(strength / 100 - setting["weight_decay"], 0.9)

    monkeypatch.setattr(study_module, "fit", fit)
    chosen = study_module.choose_settings([blind(tiny_split())], Training(1, 0.1), 0.4)
    assert chosen[CE] == {"compression": "none", "weight_decay": 8e-3}
    assert chosen[STOPPED] == {"compression": "none", "weight_decay": 5e-4}  # all equal: the first, the authors'
    assert chosen[DROPOUT] == {"compression": "dropout", "dropout": 0.6, "weight_decay": 5e-4}
    assert chosen[NESTED] == {"compression": "nested", "std": 20.0, "weight_decay": 5e-4}
    assert chosen[METHOD].items() >= (chosen[NESTED] | {"alone": 0.5, "forget_rate": 0.4}).items()
    assert chosen[CO_TEACHING].items() >= (chosen[CE] | {"alone": 0.5, "forget_rate": 0.4}).items()


def test_every_variant_has_as_many_settings() -> None:
    grids = (
        study_module.PLAIN_GRID,
        study_module.DROPOUT_GRID,
        study_module.NESTED_GRID,
        study_module.ALONE_GRID,
    )
    assert {len(grid) for grid in grids} == {4}
    for grid in grids[:3]:
        assert grid[0]["weight_decay"] == 5e-4  # the authors' comes first


def test_training_needs_no_test_rows_and_no_true_labels() -> None:
    split, training = tiny_split(), Training(epochs=3, learning_rate=0.1)
    for arm, setting in study_module.authors_settings(0.2).items():
        hidden = blind(split)._replace(true=None)
        logits = [study_module.fit(setting, each, training, 0).predict_logits(split.test_X) for each in (split, hidden)]
        assert np.array_equal(*logits), arm


# --- measuring


def test_a_trained_variant_is_measured_on_the_test_rows() -> None:
    split = tiny_split()
    plain = study_module.fit(study_module.PLAIN_GRID[0], split, Training(30, 0.1), 0)
    found = study_module.assess(plain, split)
    assert found.accuracy == plain.score(split.test_X, split.test_y)
    assert found.prefix_accuracy.shape == (256,)
    assert found.prefix_accuracy[-1] == pytest.approx(found.accuracy)
    assert found.channels == 256
    is_wrong = split.given != split.true
    assert found.memorised == pytest.approx(plain.score(split.train_X[is_wrong], split.given[is_wrong]))
    nested = study_module.fit(study_module.NESTED_GRID[0], split, Training(3, 0.1), 0)
    kept = study_module.assess(nested, split)
    assert kept.accuracy == pytest.approx(kept.prefix_accuracy[kept.channels - 1])


def outcome(accuracy: float, by_channels: float, shift: float = 0.0) -> Outcome:
    """`by_channels` is the accuracy of 10 channels and more; `shift` moves the probabilities."""
    prefix = np.r_[np.full(9, 0.1), np.full(247, by_channels)]
    return Outcome(accuracy, np.tile([0.6 + shift, 0.4 - shift], (4, 1)), 12, prefix, 0.5)


def make_study(nested: float, method: float, *, plain_prefix: float = 0.2, nested_shift: float = 0.01) -> Study:
    wobble = (-0.01, 0.0, 0.01)
    rows = {
        CE: [outcome(0.7 + w, plain_prefix, 10 * w) for w in wobble],
        DROPOUT: [outcome(0.72, 0.5)] * 3,
        NESTED: [outcome(nested + w, 0.8, nested_shift * w) for w in wobble],
        CO_TEACHING: [outcome(0.8, 0.5)] * 3,
        METHOD: [outcome(method - w, 0.8) for w in wobble],
        STOPPED: [outcome(0.95, 0.5)] * 3,
    }
    return Study({}, rows, np.array([0, 0, 1, 0]))


def test_the_claim_holds_where_every_part_does() -> None:
    assert all(make_study(0.78, 0.85).checks().values())


@pytest.mark.parametrize(
    ("changes", "failed"),
    [
        ({"nested": 0.7}, {"nested_above_cross-entropy"}),
        ({"method": 0.79}, {"co-teaching_nested_best_at_last_epoch"}),
        (
            {"method": 0.71},
            {"co-teaching_nested_best_at_last_epoch", "co-teaching_nested_above_cross-entropy"},
        ),
        ({"plain_prefix": 0.65}, {"first_10_channels"}),
        ({"nested_shift": 20.0}, {"variance_below_cross-entropy"}),
    ],
)
def test_each_part_of_the_claim_can_fail(changes: dict[str, float], failed: set[str]) -> None:
    checks = make_study(**({"nested": 0.78, "method": 0.85} | changes)).checks()
    assert {name for name, passed in checks.items() if not passed} == failed


def test_channels_that_come_late_fail_the_claim() -> None:
    study = make_study(0.78, 0.85)
    late = [each._replace(prefix_accuracy=np.linspace(0, 0.8, 256)) for each in study.outcomes[NESTED]]
    checks = study._replace(outcomes=study.outcomes | {NESTED: late}).checks()
    assert not checks["30_channels_do_the_work"]


def test_bias_and_variance_add_up_to_the_distance_from_the_label() -> None:
    rng = np.random.default_rng(0)
    probs, labels = rng.dirichlet(np.ones(3), (5, 7)), rng.integers(0, 3, 7)
    study = Study({}, {CE: [outcome(0.5, 0.5)._replace(probs=each) for each in probs]}, labels)
    bias, variance = study.bias_variance(CE)
    mean_distance = np.mean(
        [sum((probs[r, i, c] - (c == labels[i])) ** 2 for c in range(3)) for r in range(5) for i in range(7)]
    )
    by_hand = np.mean([sum(np.var(probs[:, i, c]) for c in range(3)) for i in range(7)])
    assert variance == pytest.approx(by_hand)
    assert bias + variance == pytest.approx(mean_distance)
    again = Study({}, {CE: study.outcomes[CE][:1] * 3}, labels)
    assert again.bias_variance(CE)[1] == pytest.approx(0, abs=1e-15)


# --- the toy regression


def test_errors_by_prefix_by_hand() -> None:
    features, head = nn.Linear(1, 5), torch.tensor([[1.0], [-2.0], [0.5], [3.0], [0.0]])
    x, y = torch.tensor([[0.0], [1.0], [2.0]]), torch.tensor([[1.0], [0.0], [2.0]])
    found = toy.errors_by_prefix(features, head, x, y, (1, 3, 5))
    hidden = features(x).detach()
    for error, k in zip(found, (1, 3, 5), strict=True):
        predictions = [sum(float(row[j] * head[j, 0]) for j in range(k)) for row in hidden]
        assert error == pytest.approx(np.mean([(p - float(t)) ** 2 for p, t in zip(predictions, y, strict=True)]))


def test_the_first_channels_of_the_nested_network_carry_the_curve() -> None:
    found = toy.toy_regression(3, steps=200)
    assert list(found) == ["nested", "plain"]
    spread = float(toy.curve(torch.linspace(-1, 1, 201)).var())
    assert found["nested"][1] < 0.2 * spread  # 10 channels
    assert found["plain"][1] > 0.5 * spread
    assert found["plain"][2] < 0.1 * spread  # all of them
