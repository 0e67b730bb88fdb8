"""The variants of compressed features that are compared: their settings, how they train and what is measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from labelwise.estimators.classifier import Classifier
from labelwise.methods.classification.compress_features import CompressFeatures, bias_variance
from labelwise.reproductions.result import Comparison, clearly_above, paired_interval
from labelwise.training.data import TrainingData

CE, STOPPED, DROPOUT, NESTED = "cross-entropy", "cross-entropy early stopped", "dropout", "nested"
CO_TEACHING, METHOD = "co-teaching", "co-teaching nested"
LAST_EPOCH = (CE, DROPOUT, NESTED, CO_TEACHING, METHOD)
NUM_CLASSES = 10
SHOWN_PREFIXES = (1, 2, 3, 5, 8, 10, 15, 20, 30, 64, 128, 256)

Setting = dict[str, Any]

# Four settings each, the authors' one first; weight decay is what cross-entropy itself has against memorising.
PLAIN_GRID: list[Setting] = [{"compression": "none", "weight_decay": decay} for decay in (5e-4, 2e-3, 8e-3, 2e-2)]
DROPOUT_GRID: list[Setting] = [
    {"compression": "dropout", "dropout": p, "weight_decay": decay} for p in (0.3, 0.6) for decay in (5e-4, 8e-3)
]
NESTED_GRID: list[Setting] = [
    {"compression": "nested", "std": std, "weight_decay": decay} for std in (10.0, 20.0) for decay in (5e-4, 8e-3)
]
# Share of the epochs before the exchange, which then fine-tunes: slowly, and at the full forget rate from its start.
ALONE_GRID = (0.3, 0.1, 0.2, 0.5)
EXCHANGE: Setting = {"num_gradual": 0, "stage_two_rate": 0.1}


class Training(NamedTuple):
    """How long and how fast every variant trains."""

    epochs: int
    learning_rate: float


class Split(NamedTuple):
    """Rows (n, features) float32 to train on, with given and true labels; to validate on (clean); to test on."""

    train_X: NDArray[np.float32]
    given: NDArray[np.int64]
    true: NDArray[np.int64]
    val_X: NDArray[np.float32]
    val_y: NDArray[np.int64]
    test_X: NDArray[np.float32]
    test_y: NDArray[np.int64]


class Outcome(NamedTuple):
    """One trained variant on the test rows.

    accuracy; probs (n, classes); channels kept; prefix_accuracy (D,) by number of channels; memorised: share of the
    wrong training labels that it predicts.
    """

    accuracy: float
    probs: NDArray[np.float64]
    channels: int
    prefix_accuracy: NDArray[np.float64]
    memorised: float


class Study(NamedTuple):
    """What became of every variant: its setting, and an outcome a seed on test rows with these labels."""

    settings: dict[str, Setting]
    outcomes: dict[str, list[Outcome]]
    test_y: NDArray[np.int64]

    def accuracy(self, arm: str) -> list[float]:
        """Test accuracy, one a seed."""
        return [each.accuracy for each in self.outcomes[arm]]

    def mean(self, arm: str) -> float:
        """Mean test accuracy."""
        return float(np.mean(self.accuracy(arm)))

    def gain(self, arm: str, base: str) -> Comparison:
        """Paired difference in accuracy of two variants."""
        return paired_interval(self.accuracy(arm), self.accuracy(base))

    def prefix_accuracy(self, arm: str) -> NDArray[np.float64]:
        """Accuracy by seed and number of channels, (seeds, D)."""
        return np.stack([each.prefix_accuracy for each in self.outcomes[arm]])

    def bias_variance(self, arm: str) -> tuple[float, float]:
        """Squared bias and variance of the probabilities over the seeds."""
        probs = np.stack([each.probs for each in self.outcomes[arm]])  # (seeds, n, classes)
        return bias_variance(torch.from_numpy(probs), torch.from_numpy(self.test_y))

    def checks(self) -> dict[str, bool]:
        """The parts of the claim; that on the variance needs two seeds."""
        nested, plain = self.prefix_accuracy(NESTED), self.prefix_accuracy(CE)
        by_length = nested.mean(axis=0)  # (D,)
        found = {
            "nested_above_cross-entropy": clearly_above(self.gain(NESTED, CE)),
            "co-teaching_nested_above_cross-entropy": clearly_above(self.gain(METHOD, CE)),
            "co-teaching_nested_best_at_last_epoch": self.mean(METHOD) >= max(self.mean(arm) for arm in LAST_EPOCH),
            "30_channels_do_the_work": bool(by_length[29] >= by_length.max() - 0.01),
            "first_10_channels": clearly_above(paired_interval(list(nested[:, 9]), list(plain[:, 9])), margin=0.2),
        }
        if len(nested) > 1:
            found["variance_below_cross-entropy"] = self.bias_variance(NESTED)[1] < self.bias_variance(CE)[1]
        return found

    def details(self) -> dict[str, Any]:
        """Numbers for the record."""
        shown = [length - 1 for length in SHOWN_PREFIXES]
        gains = ((NESTED, CE), (METHOD, CE), (METHOD, CO_TEACHING), (METHOD, STOPPED), (NESTED, STOPPED))
        spread = {arm: self.bias_variance(arm) for arm in self.outcomes}
        return {
            "settings": self.settings,
            "accuracy": {arm: self.mean(arm) for arm in self.outcomes},
            "channels_kept": {
                arm: float(np.mean([each.channels for each in self.outcomes[arm]])) for arm in (NESTED, METHOD)
            },
            "wrong_labels_memorised": {
                arm: float(np.mean([each.memorised for each in found])) for arm, found in self.outcomes.items()
            },
            "gains": {f"{arm} - {base}": self.gain(arm, base)._asdict() for arm, base in gains},
            "accuracy_by_channels": {
                "channels": list(SHOWN_PREFIXES),
                NESTED: self.prefix_accuracy(NESTED).mean(axis=0)[shown].tolist(),
                CE: self.prefix_accuracy(CE).mean(axis=0)[shown].tolist(),
            },
            "squared_bias": {arm: each[0] for arm, each in spread.items()},
            "variance": {arm: each[1] for arm, each in spread.items()},
        }


def choose_settings(splits: Sequence[Split], training: Training, forget_rate: float) -> dict[str, Setting]:
    """The best of each variant's four settings by accuracy on validation rows; Co-teaching builds on the choice for
    its networks, and then tries four lengths of the first stage.
    """
    plain = validation_scores(PLAIN_GRID, splits, training)  # (settings, 2)
    chosen = {CE: PLAIN_GRID[int(plain[:, 0].argmax())]}
    for arm, grid in ((DROPOUT, DROPOUT_GRID), (NESTED, NESTED_GRID)):
        chosen[arm] = grid[int(validation_scores(grid, splits, training)[:, 0].argmax())]
    for arm, base in ((CO_TEACHING, CE), (METHOD, NESTED)):
        grid = [chosen[base] | EXCHANGE | {"forget_rate": forget_rate, "alone": share} for share in ALONE_GRID]
        chosen[arm] = grid[int(validation_scores(grid, splits, training)[:, 0].argmax())]
    return chosen | {STOPPED: PLAIN_GRID[int(plain[:, 1].argmax())]}


def authors_settings(forget_rate: float) -> dict[str, Setting]:
    """The first setting of each grid."""
    exchange = EXCHANGE | {"forget_rate": forget_rate, "alone": ALONE_GRID[0]}
    return {
        CE: PLAIN_GRID[0],
        DROPOUT: DROPOUT_GRID[0],
        NESTED: NESTED_GRID[0],
        CO_TEACHING: PLAIN_GRID[0] | exchange,
        METHOD: NESTED_GRID[0] | exchange,
        STOPPED: PLAIN_GRID[0],
    }


def validation_scores(grid: Sequence[Setting], splits: Sequence[Split], training: Training) -> NDArray[np.float64]:
    """Mean accuracy on the clean validation rows for each setting: at the last epoch, at the best one (settings, 2)."""
    scores = np.zeros((len(grid), 2))
    for place, setting in enumerate(grid):
        for seed, split in enumerate(splits):
            model = fit(setting, split, training, seed)
            last = model.score(split.val_X, split.val_y)
            scores[place] += last, model.use_best_epoch().score(split.val_X, split.val_y)
    return scores / len(splits)


def fit(setting: Setting, split: Split, training: Training, seed: int) -> Classifier:
    """Train one variant; it sees the given labels, and the clean validation rows to choose prefix and epoch by."""
    options = dict(setting)
    model = Classifier(
        "co-teaching" if "alone" in setting else "compress-features",
        network="mlp-256-256",
        epochs=training.epochs,
        learning_rate=training.learning_rate,
        weight_decay=options.pop("weight_decay"),
        recipe_options=options,
        standardize=False,
        random_state=seed,
    )
    return model.fit(split.train_X, split.given, X_val=split.val_X, y_val=split.val_y)


def run_arms(settings: Mapping[str, Setting], splits: Sequence[Split], training: Training) -> Study:
    """Train every variant on every split and measure it on the test rows."""
    outcomes: dict[str, list[Outcome]] = {arm: [] for arm in settings}
    for seed, split in enumerate(splits):
        for arm, setting in settings.items():
            model = fit(setting, split, training, seed)
            outcomes[arm].append(assess(model.use_best_epoch() if arm == STOPPED else model, split))
    return Study(dict(settings), outcomes, splits[0].test_y)


def assess(model: Classifier, split: Split) -> Outcome:
    """Measure a trained variant on the test rows."""
    recipe, is_wrong = model.recipe_, split.given != split.true
    assert isinstance(recipe, CompressFeatures)
    probs = model.predict_proba(split.test_X)
    test = TrainingData(torch.from_numpy(split.test_X), torch.from_numpy(split.test_y), NUM_CLASSES)
    return Outcome(
        accuracy=float((probs.argmax(axis=1) == split.test_y).mean()),
        probs=probs,
        channels=recipe.extra_manifest()["channels_kept"],
        prefix_accuracy=recipe.prefix_accuracy(test).numpy(),
        memorised=float((model.predict(split.train_X[is_wrong]) == split.given[is_wrong]).mean()),
    )
