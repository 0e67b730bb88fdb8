"""Adapter of 40-llp-bp.json: methods.bags.llp_bp, numerics.belief_propagation and numerics.neighbours."""

import itertools
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from labelwise.methods.bags.llp_bp import aggregate_loss
from labelwise.numerics.bag_potentials import bag_potentials
from labelwise.numerics.belief_propagation import binary_belief_propagation
from labelwise.numerics.neighbours import knn_pairs, matern_half

from . import UnknownCase, check_known, compute

GIVEN_PAIRS = {"pairs", "similarities", "bag_sizes", "bag_counts"}
FEATURES = {"features", "bag_ids", "bag_counts"}
LOSS = {"instance_probs", "pseudo_labels", "bag_probs", "bag_proportions"}
WEIGHTS = {"bag_lambda", "sim_lambda"}
PROPAGATION = {"num_iters", "damping", "temperature", "threshold"}
NEIGHBOURS = {"bag_size", "n_neighbors", "metric", "kernel", "neighbor_distance_threshold"}


def run(case: Mapping[str, Any], root: Path | None) -> dict[str, Any]:
    fields, params = set(case["inputs"]), case["params"]
    if fields == LOSS:
        return _loss(case)
    if fields == GIVEN_PAIRS:
        check_known(params, WEIGHTS | PROPAGATION, "params")
        pairs, sims = _listed(case)
        sizes = case["inputs"]["bag_sizes"]
        return _labels(case, pairs, sims, np.repeat(np.arange(len(sizes)), sizes), {})
    if fields == FEATURES:
        check_known(params, WEIGHTS | PROPAGATION | NEIGHBOURS, "params")
        if not str(params.get("kernel", "matern_half")).startswith("matern_half"):
            raise UnknownCase(f"unknown kernel: {params['kernel']}")
        features = np.array(case["inputs"]["features"], dtype=np.float64)
        distance = params.get("neighbor_distance_threshold")
        pairs = knn_pairs(features, params["n_neighbors"], params.get("metric", "cosine"), max_distance=distance)
        sims = matern_half(features, pairs)
        found = {"neighbor_pairs": lambda: pairs, "similarities": lambda: sims}
        return _labels(case, pairs, sims, np.array(case["inputs"]["bag_ids"]), found)
    raise UnknownCase(f"unknown fields: {', '.join(fields)}")


def _listed(case: Mapping[str, Any]) -> tuple[Any, Any]:
    pairs = np.array(case["inputs"]["pairs"], dtype=np.int64).reshape(-1, 2)
    return pairs, np.array(case["inputs"]["similarities"], dtype=np.float64)


def _labels(case: Mapping[str, Any], pairs: Any, sims: Any, bag_ids: Any, found: dict[str, Any]) -> dict[str, Any]:
    params = case["params"]
    if not set(params) >= WEIGHTS:
        raise UnknownCase(f"params lack {WEIGHTS - set(params)}")
    counts = case["inputs"]["bag_counts"]
    unary, edges, coupling = bag_potentials(pairs, sims, bag_ids, counts, params["bag_lambda"], params["sim_lambda"])
    options = {name: params[name] for name in ("num_iters", "damping", "temperature") if name in params}

    @cache
    def marginals() -> Any:
        return binary_belief_propagation(unary, edges, coupling, **options).marginals

    return compute(
        case,
        found
        | {
            "unary_potential": lambda: unary,
            "pair_index": lambda: edges,
            "pair_potential": lambda: coupling,
            "bp_marginals": marginals,
            "hard_pseudo_labels": lambda: (marginals() >= params.get("threshold", 0.5)).astype(int),
            "exact_marginals": lambda: exact_marginals(unary, edges, coupling, params.get("temperature", 1.0)),
        },
    )


def exact_marginals(unary: Any, edges: Any, coupling: Any, temperature: float = 1.0) -> Any:
    """P(y_i = 1) by summing over all labelings."""
    labelings = np.array(list(itertools.product((0, 1), repeat=len(unary))))
    heads, tails = np.reshape(edges, (-1, 2)).T
    energies = (labelings @ unary + (labelings[:, heads] * labelings[:, tails]) @ coupling) / temperature
    weights = np.exp(energies - energies.max())
    return weights @ labelings / weights.sum()


def _loss(case: Mapping[str, Any]) -> dict[str, Any]:
    check_known(case["params"], {"loss_lambda"}, "params")
    inputs = {name: torch.tensor(values, dtype=torch.float64) for name, values in case["inputs"].items()}
    names = ("instance_probs", "pseudo_labels", "bag_probs", "bag_proportions")
    terms = aggregate_loss(*(inputs[name] for name in names), **case["params"])
    return compute(case, {name: lambda name=name: getattr(terms, name) for name in terms._fields})
