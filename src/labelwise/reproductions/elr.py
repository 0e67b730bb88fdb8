"""ELR and ELR+ against cross-entropy: does the network stop memorising wrong labels?

Liu et al., "Early-learning regularization prevents memorization of noisy labels", NeurIPS 2020. Four parts: labels that
people got wrong (CIFAR-10N, as features and as pictures); labels redrawn at random (Fashion-MNIST or digits), with
ELR+ against its own baseline; and the linear case that can be worked out by hand (`elr_gaussians`).

How strengths are chosen. A tenth of the *noisy* training labels is held out; each arm tries as many values of its one
knob (ELR its lambda, cross-entropy its weight decay) and keeps the one that predicts the held-out labels best at the
last epoch. Noisy labels serve, since no clean ones exist where the method is needed: a network that predicts the true
class agrees with the held-out labels wherever these are right, and one that memorised agrees less, for the wrong
labels of other rows seldom repeat (people's errors do in part, for every arm alike). It is the last epoch that counts
because the claim is about the last epoch.
Early stopping picks its epoch by the same held-out labels. Test rows and true training labels only ever score.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from labelwise.errors import InputError
from labelwise.estimators.classifier import Classifier
from labelwise.labels.noise import redraw_symmetric
from labelwise.reproductions.elr_gaussians import MARKS, demonstrate
from labelwise.reproductions.inputs import (
    NoisySet,
    TrainTest,
    cifar10n_features,
    cifar10n_pictures,
    digits,
    fashion_mnist,
)
from labelwise.reproductions.result import (
    Comparison,
    Result,
    clearly_above,
    library_version,
    paired_interval,
    summarise,
)

SLUG = "elr"
CLAIM = (
    "Trained to the last epoch where some 40% of the labels are wrong, ELR memorises less than half as many of them as "
    "cross-entropy with the same network and optimiser, and ends more accurate on clean test rows. It holds if the 95% "
    "intervals of both differences lie on the better side, with lambda chosen on noisy held-out labels, for labels "
    "that people got wrong and for labels redrawn at random, and that of the accuracy also with the published lambda."
)
DEFAULT_SEEDS = 3

CE, CE_STOPPED, CE_DECAY = "cross-entropy", "cross-entropy, stopped early", "cross-entropy, weight decay chosen"
ELR, ELR_CHOSEN = "elr, lambda 3", "elr, lambda chosen"
TWO_CE, PLUS = "two networks, mixup", "elr-plus, lambda 3"
BASELINES, METHODS = (CE, CE_STOPPED, CE_DECAY), (ELR, ELR_CHOSEN)

PUBLISHED_LAMBDA, PUBLISHED_DECAY = 3.0, 1e-3
LAMBDAS = (PUBLISHED_LAMBDA, 7.0, 15.0)
WEIGHT_DECAYS = (PUBLISHED_DECAY, 1e-2, 2e-2)
HELD_OUT = 0.1
REDRAWN = 0.4

Arms = dict[str, dict[str, float]]


class Plan(NamedTuple):
    """What is run: data, rows drawn for each seed (training and held-out together), network, epochs."""

    data: str
    num_rows: int
    network: str
    epochs: int
    batch_size: int = 128
    learning_rate: float = 0.02


WORST = Plan("CIFAR-10N worst_label, 50,000 rows of 256 features", 50_000, "mlp", 40)
AGGREGATE = Plan("CIFAR-10N aggregate_label, 8,000 rows of 256 features", 8000, "mlp", 40)
PICTURES = Plan("CIFAR-10N worst_label, 3,000 pictures", 3000, "cnn", 15)
FASHION = Plan("Fashion-MNIST, 5,000 pictures, 40% redrawn", 5000, "mlp", 40, learning_rate=0.05)
DIGITS = Plan("scikit-learn digits, 1,400 pictures, 40% redrawn", 1400, "mlp", 100, 64, 0.05)


def run(seeds: int, data_dir: Path | None, quick: bool = False) -> Result:
    """Run all parts. quick: digits for a few epochs, and the linear case.

    Without a data folder CIFAR-10N is left out and the verdict rests on the redrawn labels; `notes` says so. Raises
    InputError when a data folder is given that lacks cifar10n/. About 5 minutes a seed on one core; quick, 10 s in all.
    """
    start = time.perf_counter()
    source, plan = (digits(), DIGITS._replace(epochs=3)) if quick else _redrawn_source(data_dir)
    human = data_dir is not None and not quick
    studies: dict[str, list[Arms]] = {}
    if human:
        studies |= _human_studies(seeds, data_dir)
    studies["redrawn"] = [run_redrawn(source, plan, seed) for seed in range(seeds)]
    main = "worst_label" if human else "redrawn"

    found = compare(studies[main], ELR_CHOSEN, CE, "accuracy")
    judged = {name: studies[name] for name in ("worst_label", "redrawn") if name in studies}
    checks = {f"{name}_{check}": holds for name, runs in judged.items() for check, holds in check_claim(runs).items()}
    return Result(
        slug=SLUG,
        claim=CLAIM,
        data="; ".join([WORST.data, AGGREGATE.data, PICTURES.data, plan.data] if human else [plan.data]),
        fault="wrong labels, of people or redrawn over all classes",
        metric=f"clean test accuracy, last epoch if not stopped early, {WORST.data if human else plan.data}",
        baselines={arm: summarise(column(studies[main], arm, "accuracy")) for arm in BASELINES},
        methods={arm: summarise(column(studies[main], arm, "accuracy")) for arm in METHODS},
        difference=found.difference,
        interval=found.interval,
        holds=all(checks.values()),
        seeds=seeds,
        seconds=time.perf_counter() - start,
        version=library_version(),
        details={
            "checks": checks,
            "studies": {name: {arm: columns(runs, arm) for arm in runs[0]} for name, runs in studies.items()},
            "two_gaussians_after_steps": list(MARKS),
            "two_gaussians": {
                f"dimension_{ratio}n": demonstrate(range(1 if quick else seeds), ratio=ratio, spread=spread)
                for ratio, spread in ((2, 0.2), (5, 0.1))
            },
        },
        notes=[*_comparisons(studies), *_left_out(human, plan, seeds)],
    )


def run_arms(data: NoisySet, plan: Plan, seed: int) -> Arms:
    """Train cross-entropy and ELR with every value of their knob, choose, then measure: arm -> measure -> value.

    All arms of a seed share the rows held out, the weights at the start and the order of the batches.
    """
    plain = {decay: fit("cross-entropy", {}, data, plan, seed, decay) for decay in WEIGHT_DECAYS}
    elr = {lambda_: fit("elr", {"lambda_": lambda_}, data, plan, seed) for lambda_ in LAMBDAS}
    decay, lambda_ = choose(plain), choose(elr)
    measured = {
        CE: measure(plain[PUBLISHED_DECAY], data),
        CE_DECAY: measure(plain[decay], data) | {"weight_decay": decay} | _held_out(plain),
        ELR: measure(elr[PUBLISHED_LAMBDA], data),
        ELR_CHOSEN: measure(elr[lambda_], data) | {"lambda": lambda_} | _held_out(elr),
    }
    return measured | {CE_STOPPED: measure_best_epoch(plain[PUBLISHED_DECAY], data)}


def run_redrawn(source: TrainTest, plan: Plan, seed: int) -> Arms:
    """Draw rows, redraw 40% of their labels over all classes, and train all arms; ELR+ and its baseline too.

    The baseline of ELR+ is ELR+ with lambda 0: two networks under the same mixup, their logits averaged.
    """
    train_X, truth, test_X, test_y = source
    rng = np.random.default_rng(seed)
    rows = rng.permutation(len(truth))[: plan.num_rows]
    given = redraw_symmetric(truth[rows], REDRAWN, 10, rng)
    data = NoisySet(train_X[rows], given, truth[rows], test_X, test_y)
    steps = plan.epochs * len(rows) * (1 - HELD_OUT) / plan.batch_size
    measured = run_arms(data, plan, seed)
    for arm, lambda_ in ((TWO_CE, 0.0), (PLUS, PUBLISHED_LAMBDA)):
        # The published ramp of 40,000 steps would outlast the run: the teacher's takes its first fifth.
        options = {"lambda_": lambda_, "ema_ramp_steps": round(steps / 5)}
        measured[arm] = measure(fit("elr-plus", options, data, plan, seed), data)
    return measured


def run_pictures(data: NoisySet, plan: Plan, seed: int) -> Arms:
    """Cross-entropy and ELR as published, without choosing strengths: a picture costs as much as forty feature rows."""
    plain = fit("cross-entropy", {}, data, plan, seed)
    elr = fit("elr", {"lambda_": PUBLISHED_LAMBDA}, data, plan, seed)
    measured = {CE: measure(plain, data), ELR: measure(elr, data)}
    return measured | {CE_STOPPED: measure_best_epoch(plain, data)}


def draw_rows(data: NoisySet, count: int, seed: int) -> NoisySet:
    """A random choice of ``count`` training rows; the test rows stay."""
    rows = np.random.default_rng(seed).permutation(len(data.given))[:count]
    return data._replace(train_X=data.train_X[rows], given=data.given[rows], truth=data.truth[rows])


def fit(
    recipe: str,
    options: dict[str, Any],
    data: NoisySet,
    plan: Plan,
    seed: int,
    weight_decay: float = PUBLISHED_DECAY,
) -> Classifier:
    """Train on nine tenths of the rows; the held-out tenth, with its given labels, is measured after each epoch."""
    model = Classifier(
        recipe,
        recipe_options=options,
        network=plan.network,
        epochs=plan.epochs,
        batch_size=plan.batch_size,
        learning_rate=plan.learning_rate,
        weight_decay=weight_decay,
        validation_fraction=HELD_OUT,
        random_state=seed,
    )
    return model.fit(data.train_X, data.given)


def choose(models: Mapping[float, Classifier]) -> float:
    """The strength that predicts the held-out given labels best at the last epoch; of equals the first."""
    return max(models, key=lambda strength: float(models[strength].history_[-1]["validation_score"]))


def measure(model: Classifier, data: NoisySet) -> dict[str, float]:
    """Test accuracy, and shares of the wrong labels trained on: memorised, predicted as the true class, restored.

    `restored` is where the largest class of the recipe's own targets is the true one; `labels_right` is the share of
    all training rows where it is. Both only for recipes that keep targets. A share of no wrong labels is 0.
    """
    rows = model.train_rows_
    given, truth = data.given[rows], data.truth[rows]
    is_wrong = given != truth
    predicted = model.predict(data.train_X[rows])
    measures = {
        "accuracy": float(np.mean(model.predict(data.test_X) == data.test_y)),
        "memorised": _share(predicted == given, is_wrong),
        "predicted_as_true": _share(predicted == truth, is_wrong),
    }
    if model.corrections_ is not None:
        corrected = model.classes_[model.corrections_.targets[rows].argmax(axis=1)]
        measures |= {
            "restored": _share(corrected == truth, is_wrong),
            "labels_right": float(np.mean(corrected == truth)),
        }
    return measures


def measure_best_epoch(model: Classifier, data: NoisySet) -> dict[str, float]:
    """``measure`` at the epoch that predicted the held-out given labels best; the model stays there."""
    return measure(model.use_best_epoch(), data) | {"epoch": float((model.best_epoch_ or 0) + 1)}


def column(runs: Sequence[Arms], arm: str, name: str) -> list[float]:
    """One measure of an arm, a value a seed."""
    return [run[arm][name] for run in runs]


def columns(runs: Sequence[Arms], arm: str) -> dict[str, list[float]]:
    """All measures of an arm, a value a seed each."""
    return {name: column(runs, arm, name) for name in runs[0][arm]}


def compare(runs: Sequence[Arms], arm: str, base: str, name: str) -> Comparison:
    """The paired difference `arm - base` of a measure."""
    return paired_interval(column(runs, arm, name), column(runs, base, name))


def check_claim(runs: Sequence[Arms]) -> dict[str, bool]:
    """The parts of the claim on one set of labels."""
    half = [value / 2 for value in column(runs, CE, "memorised")]
    return {
        "chosen_lambda_more_accurate": clearly_above(compare(runs, ELR_CHOSEN, CE, "accuracy")),
        "published_lambda_more_accurate": clearly_above(compare(runs, ELR, CE, "accuracy")),
        "memorises_less_than_half": clearly_above(paired_interval(half, column(runs, ELR_CHOSEN, "memorised"))),
    }


def _redrawn_source(data_dir: Path | None) -> tuple[TrainTest, Plan]:
    try:
        return fashion_mnist(data_dir), FASHION
    except InputError:
        return digits(), DIGITS


def _human_studies(seeds: int, data_dir: Path | None) -> dict[str, list[Arms]]:
    worst, aggregate = (cifar10n_features(data_dir, label) for label in ("worst_label", "aggregate_label"))
    pictures = cifar10n_pictures(data_dir, "worst_label", PICTURES.num_rows)
    return {
        "worst_label": [run_arms(draw_rows(worst, WORST.num_rows, seed), WORST, seed) for seed in range(seeds)],
        "aggregate_label": [
            run_arms(draw_rows(aggregate, AGGREGATE.num_rows, seed), AGGREGATE, seed) for seed in range(seeds)
        ],
        "worst_label_pictures": [run_pictures(pictures, PICTURES, seed) for seed in range(min(seeds, 2))],
    }


def _share(is_hit: Any, among: Any) -> float:
    return float(is_hit[among].mean()) if among.any() else 0.0


def _held_out(models: Mapping[float, Classifier]) -> dict[str, float]:
    return {
        f"held_out_accuracy_at_{strength:g}": float(model.history_[-1]["validation_score"])
        for strength, model in models.items()
    }


def _comparisons(studies: Mapping[str, Sequence[Arms]]) -> list[str]:
    """What must be said besides the verdict: ELR against baselines that were given a choice too, and ELR+."""
    notes = [
        "the verdict is against cross-entropy at its last epoch and the published weight decay, where it memorises; "
        "cross-entropy that stops early, or chooses its weight decay, by the same held-out labels is set against ELR "
        "below and does not enter the verdict; neither do aggregate labels, pictures and ELR+"
    ]
    for name, runs in studies.items():
        arm = ELR_CHOSEN if ELR_CHOSEN in runs[0] else ELR
        pairs = [(arm, base) for base in (CE, CE_STOPPED, CE_DECAY) if base in runs[0]]
        if PLUS in runs[0]:
            pairs += [(PLUS, TWO_CE), (PLUS, ELR)]
        notes += [f"{name}: {_in_words(runs, *pair)}" for pair in pairs]
    return notes


def _in_words(runs: Sequence[Arms], arm: str, base: str) -> str:
    found, reverse = compare(runs, arm, base, "accuracy"), compare(runs, base, arm, "accuracy")
    verdict = "better" if clearly_above(found) else "worse" if clearly_above(reverse) else "no clear difference"
    interval = f", 95% interval {found.interval[0]:+.3f} to {found.interval[1]:+.3f}" if found.interval else ""
    return f"'{arm}' against '{base}' in test accuracy {found.difference:+.3f}{interval}: {verdict}"


def _left_out(human: bool, plan: Plan, seeds: int) -> list[str]:
    notes = []
    if not human:
        notes.append(
            "CIFAR-10N was left out and the verdict rests on redrawn labels alone: "
            "give the folder that holds cifar10n/ with --data-dir or LABELWISE_DATA"
        )
    if plan.data != FASHION.data:
        notes.append("digits took the place of Fashion-MNIST: fetch it with `labelwise data fetch fashion-mnist`")
    if seeds == 1:
        notes.append("one seed leaves no interval: the verdict rests on the signs of the differences alone")
    return notes
