"""Forests against single trees as smoothers: how many labels are averaged, where, and what ensembling does to error.

Curth, Jeffares, van der Schaar, "Why do Random Forests Work? Understanding Tree Ensembles as Self-Regularizing
Adaptive Smoothers", 2024. The paper's additive simulation with its own sizes and options, and the diabetes data.
Nothing is tuned. Two things are added: a single tree that is as smooth as the forest, and digits with wrong labels.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from labelwise.certainty.forest_smoothers import (
    covariance_dof,
    effective_parameters,
    effective_parameters_by_tree,
    forest_smoother,
    mars_additive,
    mars_additive_mean,
    self_weights,
    wrong_label_weights,
)
from labelwise.certainty.smoother_report import SmootherReport
from labelwise.labels.noise import move_symmetric
from labelwise.reproductions.result import Result, clearly_above, library_version, paired_interval, summarise

SLUG = "forest-smoothers"
CLAIM = (
    "Tree ensembles average more labels than their trees, and more at new inputs than at those they were trained on, "
    "the more so the farther away; ensembling lowers not only the variance from noisy outcomes but also the "
    "variability of the learned function and its representation bias."
)
DEFAULT_SEEDS = 10

BASELINE, METHOD = "one tree", "forest"
OFFSETS = (0.0, 0.05, 0.1, 0.2, 0.3)
SIGMAS = (0.0, 1.0, 2.0)
NOISE_RATE = 0.3
MAX_FEATURES = 1 / 3

Floats = NDArray[np.float64]


class Budget(NamedTuple):
    """Rows of each part, trees, boosting rounds, refits and redraws."""

    rows: int
    trees: int
    rounds: int
    refits: int


FULL = Budget(rows=500, trees=50, rounds=200, refits=20)
QUICK = Budget(rows=60, trees=10, rounds=20, refits=2)


def run(seeds: int, data_dir: Path | None, quick: bool = False) -> Result:
    """Run all parts; no data folder is needed. quick: fewer rows, trees and refits. About 20 s a seed."""
    start = time.perf_counter()
    budget = QUICK if quick else FULL
    smoothing = [measure_smoothing(seed, budget) for seed in range(seeds)]
    offsets = [measure_offsets(seed, budget) for seed in range(seeds)]
    mechanisms = {sigma: [measure_mechanisms(seed, sigma, budget) for seed in range(seeds)] for sigma in SIGMAS}
    diabetes = [measure_diabetes(seed, budget) for seed in range(seeds)]
    wrong = [measure_wrong_labels(seed, budget) for seed in range(seeds)]

    single, forest = ([each[f"p_test_{name}"] for each in smoothing] for name in ("tree", "forest"))
    found = paired_interval(forest, single)
    checks = _smoothing_checks(smoothing, diabetes) | _offset_checks(offsets, budget) | _mechanism_checks(mechanisms)
    notes = [
        "the baseline is one tree of the same kind and options; the claim is about ensembling, so compute is not equal",
        "tree_as_smooth, one tree with as many leaves as the forest has effective parameters, was added here",
        "dof_tree and dof_forest look at training inputs alone, where the smoothing at new inputs does not show",
    ]
    if seeds == 1:
        notes.append("one seed leaves no interval: the verdict rests on the signs of the differences alone")
    return Result(
        slug=SLUG,
        claim=CLAIM,
        data="additive MARS simulation, 5 inputs; scikit-learn diabetes; digits, which no check rests on",
        fault="noise in the outcomes, deviation 0, 1 and 2",
        metric=f"effective parameters at new inputs, of {budget.rows}",
        baselines={BASELINE: summarise(single)},
        methods={METHOD: summarise(forest)},
        difference=found.difference,
        interval=found.interval,
        holds=all(checks.values()),
        seeds=seeds,
        seconds=time.perf_counter() - start,
        version=library_version(),
        details={
            "checks": checks,
            "smoothing": _columns(smoothing),
            "p_by_offset": _columns(offsets),
            "mechanisms": {f"sigma {sigma:g}": _columns(rows) for sigma, rows in mechanisms.items()},
            "diabetes": _columns(diabetes),
            "wrong_labels_digits": _columns(wrong),
        },
        notes=notes,
    )


def measure_smoothing(seed: int, budget: Budget) -> dict[str, float]:
    """Effective parameters and errors of a forest and its first tree, without and with bootstrap, and of boosting."""
    from sklearn.ensemble import GradientBoostingRegressor
    from sklearn.tree import DecisionTreeRegressor

    rng = np.random.default_rng(seed)
    (X, y), (X_test, y_test) = (mars_additive(budget.rows, 5, 1.0, rng) for _ in range(2))
    measured: dict[str, float] = {}
    for suffix, bootstrap in (("", False), ("_bootstrap", True)):
        records = SmootherReport(_forest(budget, seed, bootstrap)).fit(X, y).track(X_test, y_test)
        for name, record in (("tree", records[0]), ("forest", records[-1])):
            measured[f"p_train_{name}{suffix}"] = record.p_train
            measured[f"p_test_{name}{suffix}"] = record.p_test
            measured[f"mse_test_{name}{suffix}"] = record.mse_test

    leaves = max(2, round(measured["p_test_forest"]))
    as_smooth = DecisionTreeRegressor(max_leaf_nodes=leaves, random_state=seed).fit(X, y)
    measured["p_test_tree_as_smooth"] = effective_parameters(forest_smoother(as_smooth, X, X_test))
    measured["mse_test_tree_as_smooth"] = float(((as_smooth.predict(X_test) - y_test) ** 2).mean())

    boosting = GradientBoostingRegressor(
        n_estimators=budget.rounds,
        learning_rate=0.05,
        max_depth=None,
        max_leaf_nodes=20,
        init="zero",
        random_state=seed,
    ).fit(X, y)
    for part, inputs in (("train", X), ("test", X_test)):
        measured[f"p_{part}_boosting"] = effective_parameters(forest_smoother(boosting, X, inputs))
    return measured | _degrees_of_freedom(X, rng, budget)


def measure_offsets(seed: int, budget: Budget) -> dict[str, float]:
    """Effective parameters of a full forest and its first tree at training inputs moved by up to each offset."""
    rng = np.random.default_rng(seed)
    X, y = mars_additive(budget.rows, 5, 1.0, rng)
    forest = _forest(budget, seed, bootstrap=False).fit(X, y)
    measured = {}
    for offset in OFFSETS:
        moved = X + rng.uniform(-offset, offset, X.shape)
        by_tree = effective_parameters_by_tree(forest_smoother(forest, X, moved))
        measured[f"tree {offset:g}"], measured[f"forest {offset:g}"] = float(by_tree[0]), float(by_tree[-1])
    return measured


def measure_mechanisms(seed: int, sigma: float, budget: Budget) -> dict[str, float]:
    """Outcome-noise variance with weights held fixed, model variability and representation bias; tree and forest."""
    rng = np.random.default_rng(seed)
    X, y = mars_additive(budget.rows, 5, sigma, rng)
    X_test = rng.random((budget.rows, 5))
    report = SmootherReport(_forest(budget, seed, bootstrap=False)).fit(X, y)
    by_tree = effective_parameters_by_tree(report.smoother(X_test))
    refits = report.decompose(X_test, mars_additive_mean(X_test), rng, budget.refits)
    measured = {}
    for name, place in (("tree", 0), ("forest", -1)):
        measured[f"noise_variance_{name}"] = float(sigma**2 * by_tree[place] / budget.rows)
        measured[f"mod_var_{name}"] = refits[place]["mod_var"]
        measured[f"rep_bias_{name}"] = refits[place]["rep_bias"]
    return measured


def measure_diabetes(seed: int, budget: Budget) -> dict[str, float]:
    """A forest and its first tree on the diabetes data, 60% for training."""
    from sklearn.datasets import load_diabetes
    from sklearn.model_selection import train_test_split

    X, X_test, y, y_test = train_test_split(*load_diabetes(return_X_y=True), train_size=0.6, random_state=seed)
    records = SmootherReport(_forest(budget, seed, bootstrap=False)).fit(X, y).track(X_test, y_test)
    measured = {}
    for name, record in (("tree", records[0]), ("forest", records[-1])):
        measured[f"p_train_{name}"], measured[f"p_test_{name}"] = record.p_train, record.p_test
        measured[f"mse_test_{name}"] = record.mse_test
    return measured


def measure_wrong_labels(seed: int, budget: Budget) -> dict[str, float]:
    """Digits with 30% of the training labels moved to another class: what a tree and a forest make of them."""
    from sklearn.datasets import load_digits
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import train_test_split

    X, X_test, true, y_test = train_test_split(
        *load_digits(return_X_y=True), train_size=2 * budget.rows, test_size=budget.rows, random_state=seed
    )
    given = move_symmetric(true, NOISE_RATE, 10, np.random.default_rng(seed))
    is_wrong = given != true
    measured = {"share_of_labels": float(is_wrong.mean())}
    for name, num_trees in (("tree", 1), ("forest", budget.trees)):
        model = RandomForestClassifier(num_trees, random_state=seed).fit(X, given)
        weights = wrong_label_weights(forest_smoother(model, X, X_test), is_wrong)
        own = self_weights(forest_smoother(model, X, X))
        measured[f"weight_{name}"] = float(weights.mean())
        measured[f"outvoted_{name}"] = float((weights > 0.5).mean())
        measured[f"self_weight_wrong_{name}"] = float(own[is_wrong].mean())
        measured[f"self_weight_right_{name}"] = float(own[~is_wrong].mean())
        measured[f"error_rate_{name}"] = float((model.predict(X_test) != y_test).mean())
    return measured


def _forest(budget: Budget, seed: int, bootstrap: bool) -> Any:
    from sklearn.ensemble import RandomForestRegressor

    return RandomForestRegressor(budget.trees, max_features=MAX_FEATURES, bootstrap=bootstrap, random_state=seed)


def _degrees_of_freedom(X: Floats, rng: np.random.Generator, budget: Budget) -> dict[str, float]:
    """Covariance of outcomes (noise of deviation 1) and predictions at the training inputs, over redraws."""
    mean = mars_additive_mean(X)
    outcomes = mean[:, None] + rng.normal(0.0, 1.0, (len(X), budget.refits))
    predicted: dict[str, list[Floats]] = {"tree": [], "forest": []}
    for y, state in zip(outcomes.T, rng.integers(2**31 - 1, size=budget.refits).tolist(), strict=True):
        forest = _forest(budget, state, bootstrap=True).fit(X, y)
        predicted["tree"].append(forest.estimators_[0].predict(X))
        predicted["forest"].append(forest.predict(X))
    return {
        f"dof_{name}_bootstrap": covariance_dof(outcomes, np.stack(draws, axis=1)) for name, draws in predicted.items()
    }


def _smoothing_checks(
    smoothing: Sequence[Mapping[str, float]], diabetes: Sequence[Mapping[str, float]]
) -> dict[str, bool]:
    return {
        "forest_smooths_more_than_its_tree": all(
            _lower(smoothing, f"p_test_forest{suffix}", f"p_test_tree{suffix}") for suffix in ("", "_bootstrap")
        ),
        "forest_smooths_more_at_new_inputs": all(
            _lower(smoothing, f"p_test_forest{suffix}", f"p_train_forest{suffix}") for suffix in ("", "_bootstrap")
        ),
        "boosting_smooths_more_at_new_inputs": _lower(smoothing, "p_test_boosting", "p_train_boosting"),
        "diabetes_forest_smooths_more_than_its_tree": _lower(diabetes, "p_test_forest", "p_test_tree"),
        "diabetes_forest_smooths_more_at_new_inputs": _lower(diabetes, "p_test_forest", "p_train_forest"),
    }


def _offset_checks(offsets: Sequence[Mapping[str, float]], budget: Budget) -> dict[str, bool]:
    return {
        "forest_smooths_more_the_farther_away": all(
            _lower(offsets, f"forest {far:g}", f"forest {near:g}") for near, far in pairwise(OFFSETS)
        ),
        "one_full_tree_copies_one_label_everywhere": all(
            abs(each[f"tree {offset:g}"] - budget.rows) < 1e-9 * budget.rows for each in offsets for offset in OFFSETS
        ),
    }


def _mechanism_checks(mechanisms: Mapping[float, Sequence[Mapping[str, float]]]) -> dict[str, bool]:
    return {
        f"ensembling_lowers_{name}": all(
            _lower(rows, f"{name}_forest", f"{name}_tree")
            for sigma, rows in mechanisms.items()
            if sigma > 0 or name != "noise_variance"  # without noise there is none to lower
        )
        for name in ("noise_variance", "mod_var", "rep_bias")
    }


def _lower(rows: Sequence[Mapping[str, float]], name: str, other: str) -> bool:
    """Whether `name` is clearly below `other`, paired by seed."""
    return clearly_above(paired_interval([row[other] for row in rows], [row[name] for row in rows]))


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    return {name: [row[name] for row in rows] for name in rows[0]}
