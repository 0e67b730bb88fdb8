"""PS-KD against cross-entropy and label smoothing: accuracy, calibration and ranking of confidence.

Kim et al., "Self-knowledge distillation with progressive refinement of targets", ICCV 2021. Three parts: the claim
itself; how much examples that improved weigh against those that did not; and what the refinement
adds to label smoothing, to mixup and to a sequence task (`ps_kd_tokens`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from labelwise.certainty.calibration import (
    area_under_risk_coverage,
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
    softmax,
)
from labelwise.estimators.classifier import Classifier
from labelwise.labels.noise import move_symmetric
from labelwise.methods.classification.ps_kd import PSKD
from labelwise.reproductions.inputs import TrainTest, digits, fashion_mnist
from labelwise.reproductions.ps_kd_tokens import translate
from labelwise.reproductions.result import (
    Comparison,
    Result,
    clearly_above,
    library_version,
    paired_interval,
    summarise,
)
from labelwise.training.recipe import Recipe

SLUG = "ps-kd"
CLAIM = (
    "Targets refined by the model's own earlier predictions give better accuracy, likelihood, calibration error and "
    "ranking of confidence (AURC) than cross-entropy, and a better ranking than label smoothing; "
    "it holds if the 95% interval of each of these five differences lies on the better side of 0."
)
DEFAULT_SEEDS = 8

CE, SMOOTHING, METHOD, MIXUP = "cross-entropy", "label smoothing", "ps-kd", "mixup"
SMOOTHED_METHOD, MIXED_METHOD, SCALED_CE = "ps-kd + label smoothing", "ps-kd + mixup", "cross-entropy + temperature"
# Strengths as published; none of them is tuned here.
ARMS: dict[str, tuple[str, dict[str, Any]]] = {
    CE: ("cross-entropy", {}),
    SMOOTHING: ("label-smoothing", {"smoothing": 0.1}),
    METHOD: ("ps-kd", {"alpha_T": 0.8}),
    SMOOTHED_METHOD: ("ps-kd", {"alpha_T": 0.8, "smoothing": 0.1}),
    MIXUP: ("mixup", {"alpha": 1.0}),
    MIXED_METHOD: ("ps-kd", {"alpha_T": 0.8, "mixup_alpha": 1.0, "teacher": "snapshot"}),
}
PAIRS = (
    (METHOD, CE),
    (METHOD, SMOOTHING),
    (METHOD, SCALED_CE),
    (SMOOTHED_METHOD, SMOOTHING),
    (MIXED_METHOD, MIXUP),
)
BETTER_IS = {"accuracy": 1, "nll": -1, "ece_percent": -1, "aurc_x1000": -1}
LEARNING_RATES = (0.02, 0.05, 0.1)

Floats = NDArray[np.float64]
Measures = dict[str, dict[str, list[float]]]  # arm -> measure -> one value a seed


class Split(NamedTuple):
    """Rows of one seed: to train on, to choose the learning rate on, to test on; labels of the first may be wrong."""

    train_X: NDArray[Any]
    train_y: NDArray[np.int64]
    val_X: NDArray[Any]
    val_y: NDArray[np.int64]
    test_X: NDArray[Any]
    test_y: NDArray[np.int64]


class Plan(NamedTuple):
    """What is run: rows to train on and to choose on, share of wrong training labels, epochs; for the tokens, numbers
    to train on and epochs.
    """

    data: str
    num_train: int
    num_val: int
    noise: float
    epochs: int
    num_numbers: int
    token_epochs: int


FULL = Plan("Fashion-MNIST, 3,000 training and 10,000 test pictures", 3000, 500, 0.0, 50, 300, 100)
DIGITS = Plan("scikit-learn digits, 800 training and 397 test pictures", 800, 300, 0.2, 50, 300, 100)


def run(seeds: int, data_dir: Path | None, quick: bool = False) -> Result:
    """Run all arms on Fashion-MNIST; without a data folder, or if `quick`, on digits, and `notes` says so.

    Raises InputError when a data folder is given and Fashion-MNIST is found nowhere. About 50 s a seed.
    """
    start = time.perf_counter()
    plan = DIGITS._replace(epochs=4, num_numbers=50, token_epochs=2) if quick else DIGITS if data_dir is None else FULL
    source = fashion_mnist(data_dir) if plan.data == FULL.data else digits()
    splits = [draw_split(source, plan, seed) for seed in range(seeds)]

    # Chosen for the baseline, and then the same for all arms.
    scores = validation_scores(splits[: 1 if quick else 3], plan)
    rate = max(scores, key=lambda each: scores[each])
    runs = [run_arms(split, plan, rate, seed) for seed, split in enumerate(splits)]
    measured = {
        arm: {name: [each.measures[arm][name] for each in runs] for name in BETTER_IS} for arm in (*ARMS, SCALED_CE)
    }
    tokens = [translate(seed, num_train=plan.num_numbers, epochs=plan.token_epochs) for seed in range(min(seeds, 3))]

    checks = {f"{name}_better_than_{CE}": is_clearly_better(measured, METHOD, CE, name) for name in BETTER_IS}
    checks[f"aurc_better_than_{SMOOTHING}"] = is_clearly_better(measured, METHOD, SMOOTHING, "aurc_x1000")
    found = compare(measured, METHOD, CE, "accuracy")
    return Result(
        slug=SLUG,
        claim=CLAIM,
        data=f"{plan.data}; decimal numbers and Roman numerals",
        fault="over-confident labels" + (f"; {plan.noise:.0%} of the training labels moved" if plan.noise else ""),
        metric="test accuracy at the last epoch",
        baselines={arm: summarise(measured[arm]["accuracy"]) for arm in (CE, SMOOTHING)},
        methods={METHOD: summarise(measured[METHOD]["accuracy"])},
        difference=found.difference,
        interval=found.interval,
        holds=all(checks.values()),
        seeds=seeds,
        seconds=time.perf_counter() - start,
        version=library_version(),
        details={
            "checks": checks,
            "learning_rate": rate,
            "validation_accuracy_of_cross-entropy_by_learning_rate": {str(each): scores[each] for each in scores},
            "means": {arm: {name: float(np.mean(each[name])) for name in each} for arm, each in measured.items()},
            "differences": {
                f"{arm} - {base}": {name: compare(measured, arm, base, name)._asdict() for name in BETTER_IS}
                for arm, base in PAIRS
            },
            "gradient_weight_by_epoch": mean_rows([each.gradient_weights for each in runs]),
            "tokens": {
                arm: {name: float(np.mean([each[arm][name] for each in tokens])) for name in tokens[0][arm]}
                for arm in (CE, METHOD)
            },
        },
        notes=_notes(plan, seeds, measured, checks),
    )


def draw_split(source: TrainTest, plan: Plan, seed: int) -> Split:
    """Draw the training and the validation rows of a seed from the training part; the test part stays as it is."""
    train_X, train_y, test_X, test_y = source
    rng = np.random.default_rng(seed)
    rows = rng.permutation(len(train_y))[: plan.num_train + plan.num_val]
    chosen, held = rows[: plan.num_train], rows[plan.num_train :]
    given = move_symmetric(train_y[chosen], plan.noise, 10, rng)
    return Split(train_X[chosen], given, train_X[held], train_y[held], test_X, test_y)


def fit(arm: str, split: Split, plan: Plan, rate: float, seed: int, watch: Any = None) -> Classifier:
    """Train an arm; weights at the start and order of the batches depend on the seed alone."""
    recipe, options = ARMS[arm]
    model = Classifier(
        recipe,
        recipe_options=options,
        network="mlp",
        epochs=plan.epochs,
        batch_size=64,
        learning_rate=rate,
        nesterov=True,
        weight_decay=5e-4,
        schedule="steps",
        random_state=seed,
    )
    return model.fit(split.train_X, split.train_y, watch=watch)


def validation_scores(splits: Sequence[Split], plan: Plan) -> dict[float, float]:
    """Cross-entropy's mean accuracy on the validation rows for each learning rate."""
    return {
        rate: float(
            np.mean(
                [fit(CE, split, plan, rate, seed).score(split.val_X, split.val_y) for seed, split in enumerate(splits)]
            )
        )
        for rate in LEARNING_RATES
    }


class Run(NamedTuple):
    """One seed: arm -> measure -> value on test rows; PS-KD's gradient weights, a row an epoch from the second on."""

    measures: dict[str, dict[str, float]]
    gradient_weights: list[dict[str, float]]


def run_arms(split: Split, plan: Plan, rate: float, seed: int) -> Run:
    """Train every arm and measure it on the test rows, which choose nothing."""
    measures: dict[str, dict[str, float]] = {}
    weights = GradientWeights(split.train_y)
    for arm in ARMS:
        model = fit(arm, split, plan, rate, seed, weights if arm == METHOD else None)
        logits = model.predict_logits(split.test_X)
        measures[arm] = measure(softmax(logits), split.test_y)
        if arm == CE:
            temperature = fit_temperature(model.predict_logits(split.val_X), split.val_y)
            measures[SCALED_CE] = measure(softmax(logits, temperature), split.test_y)
    return Run(measures, weights.rows)


def measure(probs: Floats, labels: NDArray[np.int64]) -> dict[str, float]:
    """Accuracy, NLL (nats), ECE (percent, 10 bins) and AURC (x1000) of probabilities (n, classes)."""
    is_right = probs.argmax(axis=1) == labels
    return {
        "accuracy": float(is_right.mean()),
        "nll": negative_log_likelihood(probs, labels),
        "ece_percent": 100 * expected_calibration_error(probs, labels),
        "aurc_x1000": 1000 * area_under_risk_coverage(probs.max(axis=1), is_right),
    }


def gradient_weight(now: Floats, before: Floats, alpha: float) -> Floats:
    """Gradient on the label's logit relative to that of a hard target, `1 - alpha (1 - before) / (1 - now)`, (n,).

    now, before: probability of the label in this epoch's training pass and in the last one's.
    """
    return 1.0 - alpha * (1.0 - before) / np.maximum(1.0 - now, 1e-6)


class GradientWeights:
    """Follows PS-KD's table of predictions and writes a row an epoch: median weight of improved and other examples.

    By the formula an improved example weighs less than 1 - alpha, any other at least that: the rows show how far
    apart the two are, and how many examples are on either side.
    """

    def __init__(self, labels: NDArray[np.int64]) -> None:
        self.labels = labels
        self.before: Floats | None = None
        self.rows: list[dict[str, float]] = []

    def __call__(self, recipe: Recipe, epoch: int) -> dict[str, float]:
        """Add the row of an epoch; the first has nothing to compare with."""
        assert isinstance(recipe, PSKD)
        table = recipe.criterion.memory.targets.cpu().double().numpy()  # (n, classes)
        now = table[np.arange(len(table)), self.labels]
        if self.before is not None:
            self.rows.append({"epoch": epoch + 1} | weights_by_progress(now, self.before, recipe.criterion.alpha))
        self.before = now
        return {}


def weights_by_progress(now: Floats, before: Floats, alpha: float) -> dict[str, float]:
    """Median weight of examples whose label became more probable and of the others (0 where there are none)."""
    weight, is_improved = gradient_weight(now, before, alpha), now > before
    return {
        "improved_share": float(is_improved.mean()),
        "weight_improved": float(np.median(weight[is_improved])) if is_improved.any() else 0.0,
        "weight_not_improved": float(np.median(weight[~is_improved])) if not is_improved.all() else 0.0,
    }


def compare(measured: Measures, arm: str, base: str, name: str) -> Comparison:
    """The paired difference `arm - base` of a measure."""
    return paired_interval(measured[arm][name], measured[base][name])


def is_clearly_better(measured: Measures, arm: str, base: str, name: str) -> bool:
    """Whether the whole interval of the difference lies on the better side of 0."""
    better, worse = (measured[arm], measured[base]) if BETTER_IS[name] > 0 else (measured[base], measured[arm])
    return clearly_above(paired_interval(better[name], worse[name]))


def mean_rows(runs: Sequence[Sequence[Mapping[str, float]]], most: int = 8) -> dict[str, list[float]]:
    """Mean over runs of each column, for at most `most` rows evenly spread from the first to the last."""
    count = len(runs[0])
    shown = sorted({round(row) for row in np.linspace(0, count - 1, min(most, count))})
    return {name: [float(np.mean([each[row][name] for each in runs])) for row in shown] for name in runs[0][0]}


def _notes(plan: Plan, seeds: int, measured: Measures, checks: Mapping[str, bool]) -> list[str]:
    def reading(arm: str) -> str:
        return f"NLL {np.mean(measured[arm]['nll']):.3f} and ECE {np.mean(measured[arm]['ece_percent']):.1f}%"

    notes = [
        "one learning rate for all arms, the best of three for cross-entropy on validation rows; "
        "strengths of all methods as published; test rows are used once, at the last epoch",
        f"cross-entropy divided by a temperature fitted on the validation rows has {reading(SCALED_CE)}, "
        f"{METHOD}, which uses no such rows, {reading(METHOD)}",
        "combinations and tokens are information on which the verdict does not rest; "
        "tokens are run with at most 3 seeds",
    ]
    missed = [name for name, passed in checks.items() if not passed]
    if missed:
        notes.append(f"not clear: {', '.join(missed)}")
    if plan.data != FULL.data:
        notes.append(
            f"Fashion-MNIST was left out, and digits with {plan.noise:.0%} wrong training labels took its place: "
            "give the folder that holds fashion-mnist/ with --data-dir or LABELWISE_DATA"
        )
    if seeds == 1:
        notes.append("one seed leaves no interval: the verdict rests on the signs of the differences alone")
    return notes
