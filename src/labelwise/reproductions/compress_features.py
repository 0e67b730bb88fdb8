"""Compressed features against plain cross-entropy and Co-teaching on wrong labels.

Chen et al., "Compressing features for learning with noisy labels", IEEE TNNLS 2022. On digits with symmetric noise:
last-epoch accuracy of every variant, each with a grid of four settings on the same clean validation rows and again
with the authors' settings; the order of the channels; bias and variance over draws of the noise. Then a toy regression
(`compress_features_toy`), and photographs that people labelled wrong (CIFAR-10N), as features.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelwise.data import named
from labelwise.labels.noise import move_symmetric, noise_rate
from labelwise.reproductions.compress_features_study import (
    CE,
    CO_TEACHING,
    DROPOUT,
    METHOD,
    NESTED,
    NUM_CLASSES,
    STOPPED,
    Split,
    Study,
    Training,
    authors_settings,
    choose_settings,
    run_arms,
)
from labelwise.reproductions.compress_features_toy import CHANNELS, toy_regression
from labelwise.reproductions.inputs import digits
from labelwise.reproductions.result import Result, library_version, summarise

SLUG = "compress-features"
CLAIM = (
    "Under symmetric noise nested dropout beats cross-entropy at the last epoch, Co-teaching from nested networks is "
    "better still, a few channels do the work, the first ones most of it, and the variance falls. It holds if at 20% "
    "and 40% noise, with four settings a variant tried on the same clean validation rows, the 95% intervals of both "
    "gains over cross-entropy lie above 0, no other variant is better on average, 30 of 256 channels come within 0.01 "
    "of any more, 10 channels beat 10 of cross-entropy's by 0.2, and the variance is below cross-entropy's."
)
DEFAULT_SEEDS = 5

NOISE_RATES = (0.4, 0.2)
NUM_VALIDATION = 200
NUM_PHOTOGRAPHS, NUM_PHOTOGRAPHS_VALIDATION = 8000, 1000
DIGITS = Training(epochs=60, learning_rate=0.1)
PHOTOGRAPHS = Training(epochs=40, learning_rate=0.02)


def run(seeds: int, data_dir: Path | None, quick: bool = False) -> Result:
    """Run all parts; without a data folder, or if `quick`, without the photographs, and `notes` says so.

    quick: a few epochs at one noise rate. Raises InputError when a data folder is given and CIFAR-10N's features are
    not in it. About 100 s a seed on one core.
    """
    start = time.perf_counter()
    training = DIGITS._replace(epochs=2) if quick else DIGITS
    tuned: dict[float, Study] = {}
    authors: dict[float, Study] = {}
    for rate in NOISE_RATES[:1] if quick else NOISE_RATES:
        splits = [draw_digits(rate, seed) for seed in range(seeds)]
        tuned[rate] = run_arms(choose_settings(splits[: 1 if quick else 2], training, rate), splits, training)
        authors[rate] = run_arms(authors_settings(rate), splits, training)
    people = {} if quick or data_dir is None else human_labels(data_dir, min(seeds, 3))
    toy = [toy_regression(seed, steps=20 if quick else 1500) for seed in range(min(seeds, 3))]

    checks = {f"{name}_{rate:.0%}": passed for rate, study in tuned.items() for name, passed in study.checks().items()}
    main = tuned[NOISE_RATES[0]]
    found = main.gain(METHOD, CE)
    return Result(
        slug=SLUG,
        claim=CLAIM,
        data="scikit-learn digits, 1,200 training, 200 validation and 397 test pictures"
        + (f"; CIFAR-10N features, {NUM_PHOTOGRAPHS:,} training and 10,000 test rows" if people else ""),
        fault="40% and 20% of the labels moved to other classes" + ("; labels by people" if people else ""),
        metric="test accuracy with 40% wrong labels, at the last epoch unless early stopped",
        baselines={arm: summarise(main.accuracy(arm)) for arm in (CE, STOPPED, DROPOUT, CO_TEACHING)},
        methods={arm: summarise(main.accuracy(arm)) for arm in (NESTED, METHOD)},
        difference=found.difference,
        interval=found.interval,
        holds=all(checks.values()),
        seeds=seeds,
        seconds=time.perf_counter() - start,
        version=library_version(),
        details={
            "checks": checks,
            "checks_with_the_authors_settings": {f"{rate:.0%}": study.checks() for rate, study in authors.items()},
            "tuned": {f"{rate:.0%}": study.details() for rate, study in tuned.items()},
            "authors_settings": {f"{rate:.0%}": study.details() for rate, study in authors.items()},
            "human_labels": people,
            "toy_squared_error": {
                name: {f"{k} channels": float(np.mean([each[name][i] for each in toy])) for i, k in enumerate(CHANNELS)}
                for name in toy[0]
            },
        },
        notes=_notes(main, authors, people, seeds),
    )


def draw_digits(noise: float, seed: int) -> Split:
    """Digits with a share `noise` of the training labels moved; rows are the same for every seed, the noise is not."""
    X, y, test_X, test_y = digits()
    rows = np.random.default_rng(0).permutation(len(y))
    kept, held = rows[NUM_VALIDATION:], rows[:NUM_VALIDATION]
    given = move_symmetric(y[kept], noise, NUM_CLASSES, np.random.default_rng(seed))
    return _scaled(Split(X[kept], given, y[kept], X[held], y[held], test_X, test_y))


def draw_photographs(data: Mapping[str, NDArray[Any]], label: str, seed: int) -> Split:
    """Draw rows of CIFAR-10N's features to train on with people's labels, and others, clean, to validate on."""
    rows = np.random.default_rng(seed).permutation(len(data["x_train"]))
    kept = rows[:NUM_PHOTOGRAPHS]
    held = rows[NUM_PHOTOGRAPHS : NUM_PHOTOGRAPHS + NUM_PHOTOGRAPHS_VALIDATION]
    X, clean = data["x_train"], data["clean_label"]
    return _scaled(Split(X[kept], data[label][kept], clean[kept], X[held], clean[held], data["x_test"], data["y_test"]))


def human_labels(data_dir: Path, seeds: int) -> dict[str, Any]:
    """The authors' settings on CIFAR-10N's worst (40% wrong) and aggregate (9%) labels; nothing is tuned on them."""
    data = named.load_arrays("cifar10n-features", data_dir)
    found = {}
    for label in ("worst_label", "aggregate_label"):
        rate = noise_rate(data[label], data["clean_label"])
        splits = [draw_photographs(data, label, seed) for seed in range(seeds)]
        found[label] = {"wrong": rate} | run_arms(authors_settings(rate), splits, PHOTOGRAPHS).details()
    return found


def _scaled(split: Split) -> Split:
    """The inputs as rows, shifted and scaled by one mean and deviation: one a pixel would blow up empty margins."""
    mean, deviation = split.train_X.mean(), split.train_X.std()

    def scale(X: NDArray[Any]) -> NDArray[np.float32]:
        return ((X.reshape(len(X), -1) - mean) / deviation).astype(np.float32)

    return split._replace(train_X=scale(split.train_X), val_X=scale(split.val_X), test_X=scale(split.test_X))


def _notes(main: Study, authors: Mapping[float, Study], people: Mapping[str, Any], seeds: int) -> list[str]:
    notes = [
        "every variant has four settings, chosen on 200 clean validation rows over the first two seeds; prefix lengths "
        "and, for the early-stopped one, the epoch are chosen on them too; test rows choose nothing",
        "cross-entropy's four settings are weight decays, the others' two strengths with two weight decays each; "
        f"cross-entropy's best at 40% is {main.settings[CE]['weight_decay']}",
        f"cross-entropy stopped early on the same rows, 40%: {METHOD} differs from it by "
        f"{_gain(main, METHOD, STOPPED)}, {NESTED} alone by {_gain(main, NESTED, STOPPED)}",
    ]
    notes += [
        f"with the authors' settings for all, on which the verdict does not rest, {rate:.0%}: {NESTED} - {CE} "
        f"{_gain(study, NESTED, CE)}, {METHOD} - {CE} {_gain(study, METHOD, CE)}"
        for rate, study in authors.items()
    ]
    notes += [
        f"labels by people, {found['wrong']:.0%} wrong, nothing tuned: "
        + ", ".join(f"{arm} {found['accuracy'][arm]:.3f}" for arm in (CE, STOPPED, NESTED, CO_TEACHING, METHOD))
        for found in people.values()
    ]
    if not people:
        notes.append(
            "photographs with labels by people were left out: "
            "give the folder that holds cifar10n/ with --data-dir or LABELWISE_DATA, and no quick run"
        )
    notes.append(
        "forget rates are the true shares of wrong labels; seeds redraw noise, weights and order (for photographs the "
        "rows too), and bias and variance are over them; photographs and toy regression have at most 3 seeds"
    )
    if seeds == 1:
        notes.append("one seed leaves no interval: the verdict rests on the signs of the differences alone")
    return notes


def _gain(study: Study, arm: str, base: str) -> str:
    found = study.gain(arm, base)
    around = f" ({found.interval[0]:+.3f} to {found.interval[1]:+.3f})" if found.interval else ""
    return f"{found.difference:+.3f}{around}"
