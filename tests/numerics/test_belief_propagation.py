"""Belief propagation against enumeration and a plain form of its recursion; it never diverges to NaN."""

import itertools
import warnings
from collections.abc import Callable
from typing import Any

import networkx as nx
import numpy as np
import pytest
from scipy.special import expit

from labelwise.errors import InputError
from labelwise.labels.bags import Bags, check_bags
from labelwise.numerics.belief_propagation import (
    Convergence,
    CountFactors,
    binary_belief_propagation,
    warn_of_unrest,
)


def labelings(n: int) -> np.ndarray:
    return np.array(list(itertools.product((0, 1), repeat=n))).reshape(2**n, n)


def exact(u: Any, edges: Any, J: Any, bags: Bags | None = None, strength: float = 0.0) -> np.ndarray:
    """Marginals by summing over all labelings."""
    Y, edges = labelings(len(u)), np.reshape(edges, (-1, 2)).astype(int)
    energy = Y @ np.asarray(u, dtype=float)
    if len(edges):
        energy = energy + (Y[:, edges[:, 0]] * Y[:, edges[:, 1]]) @ np.asarray(J, dtype=float)
    if bags is not None:
        for bag, count in enumerate(bags.counts):
            energy = energy - strength * (Y[:, bags.of_row == bag].sum(axis=1) - count) ** 2
    weights = np.exp(energy - energy.max())
    return weights @ Y / weights.sum()


def random_bags(rng: np.random.Generator, n: int) -> Bags:
    of_row = rng.integers(0, 3, n)
    return check_bags(of_row, rng.integers(0, np.bincount(of_row, minlength=3) + 1))


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("start", ["neutral", "zero"])
def test_trees_are_exact(seed: int, start: str) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 11))
    edges = np.array(nx.random_labeled_tree(n, seed=seed).edges)
    u, J = rng.normal(0, 2, n), rng.normal(0, 3, n - 1)
    found = binary_belief_propagation(u, edges, J, num_iters=200, start=start)
    np.testing.assert_allclose(found.marginals, exact(u, edges, J), atol=1e-9)
    assert found.info.converged
    assert found.info.residual < 1e-9
    # The fixed point does not depend on damping; heat divides all potentials.
    undamped = binary_belief_propagation(u, edges, J, num_iters=200, damping=0, start=start)
    np.testing.assert_allclose(undamped.marginals, found.marginals, atol=1e-9)
    warm = binary_belief_propagation(u, edges, J, num_iters=200, start=start, temperature=2.5)
    np.testing.assert_allclose(warm.marginals, exact(u / 2.5, edges, J / 2.5), atol=1e-9)


@pytest.mark.parametrize("seed", range(10))
def test_weak_loops_are_nearly_exact(seed: int) -> None:
    rng = np.random.default_rng(seed)
    edges = np.array(list(itertools.combinations(range(8), 2)))
    u, J = rng.normal(0, 1, 8), rng.normal(0, 0.2, len(edges))
    found = binary_belief_propagation(u, edges, J)
    np.testing.assert_allclose(found.marginals, exact(u, edges, J), atol=0.02)


def by_loops(u: Any, edges: Any, J: Any, num_iters: int, damping: float, start: str) -> tuple[np.ndarray, float]:
    """The recursion message by message."""
    coupling = {tuple(edge): weight for edge, weight in zip(edges, J, strict=True)}
    coupling |= {(j, i): weight for (i, j), weight in coupling.items()}
    messages = {key: weight / 2 if start == "neutral" else 0.0 for key, weight in coupling.items()}
    residual = 0.0
    for _ in range(num_iters):
        new = {}
        for (i, j), weight in coupling.items():
            h = u[i] + sum(messages[k, other] for k, other in coupling if other == i and k != j)
            new[i, j] = np.logaddexp(0, h + weight) - np.logaddexp(0, h)
        residual = max(abs(new[key] - messages[key]) for key in coupling)
        messages = {key: damping * messages[key] + (1 - damping) * new[key] for key in coupling}
    return expit([u[i] + sum(messages[key] for key in coupling if key[1] == i) for i in range(len(u))]), residual


@pytest.mark.parametrize("start", ["neutral", "zero"])
@pytest.mark.parametrize("num_iters", [1, 2, 7])
def test_each_round_is_that_of_the_plain_recursion(num_iters: int, start: str) -> None:
    rng = np.random.default_rng(num_iters)
    edges = [edge for edge in itertools.combinations(range(6), 2) if rng.random() < 0.6]
    u, J = rng.normal(0, 2, 6), rng.normal(0, 3, len(edges))
    found = binary_belief_propagation(u, edges, J, num_iters, 0.3, start=start)
    marginals, residual = by_loops(u, edges, J, num_iters, 0.3, start)
    np.testing.assert_allclose(found.marginals, marginals, atol=1e-12)
    assert found.info == Convergence(num_iters, pytest.approx(residual), residual <= 1e-2)


@pytest.mark.parametrize("strength", [0.0, 1e-4, 0.1, 1.0, 20.0, 1e4])
@pytest.mark.parametrize("scale", [1.0, 30.0, 1000.0])
def test_bags_alone_are_exact(strength: float, scale: float) -> None:
    rng = np.random.default_rng(int(scale))
    for _ in range(5):
        n = int(rng.integers(1, 10))
        bags, u = random_bags(rng, n), rng.normal(0, scale, n)
        found = binary_belief_propagation(u, [], [], counts=CountFactors(bags, strength))
        np.testing.assert_allclose(found.marginals, exact(u, [], [], bags, strength), atol=1e-7)


def test_a_large_bag_against_plain_convolution() -> None:
    rng = np.random.default_rng(0)
    size, count, strength = 300, 40, 0.7
    u = rng.normal(2, 3, size)
    bags = check_bags(np.zeros(size, dtype=int), [count])
    found = binary_belief_propagation(u, [], [], counts=CountFactors(bags, strength)).marginals
    # log of the sum over the others' labelings with k ones, one variable left out after the other
    factor = -strength * (np.arange(size + 1) - count) ** 2.0
    for left_out in (0, 17, 299):
        table = np.full(size + 1, -np.inf)
        table[0] = 0
        for i in np.delete(np.arange(size), left_out):
            table[1:] = np.logaddexp(table[1:], table[:-1] + u[i])
        ratio = np.logaddexp.reduce(table[:-1] + factor[1:]) - np.logaddexp.reduce(table[:-1] + factor[:-1])
        assert found[left_out] == pytest.approx(expit(u[left_out] + ratio), rel=1e-6)


@pytest.mark.parametrize("seed", range(10))
def test_bags_and_similarities_are_nearly_exact_where_they_are_weak(seed: int) -> None:
    rng = np.random.default_rng(seed)
    bags = random_bags(rng, 9)
    edges = np.array([edge for edge in itertools.combinations(range(9), 2) if rng.random() < 0.3])
    u, J = rng.normal(0, 1, 9), rng.uniform(0, 0.3, len(edges))
    found = binary_belief_propagation(u, edges, J, counts=CountFactors(bags, 0.3))
    assert found.info.converged
    np.testing.assert_allclose(found.marginals, exact(u, edges, J, bags, 0.3), atol=0.02)


def test_a_count_is_nearer_to_exact_than_its_pairs() -> None:
    rng = np.random.default_rng(0)
    errors = {"pairs": [], "count": []}
    for _ in range(20):
        bags, u, strength = check_bags(np.zeros(8, dtype=int), [int(rng.integers(0, 9))]), rng.normal(0, 1, 8), 0.5
        truth = exact(u, [], [], bags, strength)
        edges = np.array(list(itertools.combinations(range(8), 2)))
        pair_unary = u - strength * (1 - 2 * bags.counts[bags.of_row])
        pairs = binary_belief_propagation(pair_unary, edges, np.full(len(edges), -2 * strength), 300)
        count = binary_belief_propagation(u, [], [], counts=CountFactors(bags, strength))
        errors["pairs"].append(np.abs(pairs.marginals - truth).max())
        errors["count"].append(np.abs(count.marginals - truth).max())
    assert max(errors["count"]) < 1e-9
    assert np.mean(errors["pairs"]) > 1e-3


def graph_of_any_kind(rng: np.random.Generator) -> dict[str, Any]:
    """A random graph with couplings from weak to absurd, of one sign or both, with bags or without."""
    n = int(rng.integers(1, 40))
    possible = np.array(list(itertools.combinations(range(n), 2))).reshape(-1, 2)
    edges = possible[rng.random(len(possible)) < rng.choice([0.05, 0.3, 1.0])]
    scale = float(10 ** rng.uniform(-3, 6))
    J = rng.normal(0, scale, len(edges))
    if rng.random() < 0.5:
        J = np.abs(J) * rng.choice([-1, 1])
    counts = CountFactors(random_bags(rng, n), float(10 ** rng.uniform(-3, 6))) if rng.random() < 0.5 else None
    damping, start = float(rng.choice([0, 0.5, 0.9])), str(rng.choice(["neutral", "zero"]))
    u = rng.normal(0, float(10 ** rng.uniform(-3, 6)), n)
    return {"unary": u, "edges": edges, "coupling": J, "counts": counts, "damping": damping, "start": start}


def test_a_thousand_random_graphs_do_not_diverge() -> None:
    rng = np.random.default_rng(0)
    unrest = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(1000):
            found = binary_belief_propagation(num_iters=60, **graph_of_any_kind(rng))
            assert np.isfinite(found.marginals).all()
            assert ((found.marginals >= 0) & (found.marginals <= 1)).all()
            assert np.isfinite(found.info.residual)
            assert found.info.converged == (found.info.residual <= 1e-2)
            unrest += not found.info.converged
    assert 0 < unrest < 1000  # some do not come to rest, and say so


def test_messages_that_do_not_settle_are_reported_with_rounds_and_residual() -> None:
    edges = np.array(list(itertools.combinations(range(12), 2)))
    J = np.full(len(edges), -20.0)
    found = binary_belief_propagation(np.full(12, 110.0) + np.arange(12), edges, J, 30, 0.0)
    assert not found.info.converged
    assert found.info.rounds == 30
    with pytest.warns(RuntimeWarning, match=rf"not at rest after 30 rounds.*{found.info.residual:.3g}"):
        warn_of_unrest(found.info)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_unrest(binary_belief_propagation([0.0], [], []).info)


def test_it_ends_early_where_nothing_changes() -> None:
    u, edges, J = [1.0, -2.0, 0.5], [[0, 1], [1, 2]], [1.0, -1.0]
    found = binary_belief_propagation(u, edges, J, 1000, tol=1e-6)
    assert found.info.rounds < 60
    assert found.info.residual <= 1e-6
    np.testing.assert_allclose(found.marginals, exact(u, edges, J), atol=1e-5)
    assert binary_belief_propagation([3.0], [], []).info == Convergence(1, 0.0, True)


def test_boundaries() -> None:
    assert binary_belief_propagation([], [], []).marginals.shape == (0,)
    assert binary_belief_propagation([np.log(3)], [], []).marginals == pytest.approx([0.75])
    empty = check_bags([1, 1], [0, 2])
    np.testing.assert_allclose(
        binary_belief_propagation([0, 0], [], [], counts=CountFactors(empty, 50.0)).marginals, [1, 1], atol=1e-9
    )
    # Strong similarity alone, from messages that say nothing: nobody knows which way.
    ring, twos = np.array([[0, 1], [1, 2], [2, 3], [0, 3]]), np.full(4, 2.0)
    neutral = binary_belief_propagation(-twos * 2 / 2, ring, twos, start="neutral").marginals
    np.testing.assert_allclose(neutral, 0.5, atol=1e-9)


def call(**changes: Any) -> Callable[[], Any]:
    fixed = {"unary": [0.0, 1.0], "edges": [[0, 1]], "coupling": [1.0]}
    return lambda: binary_belief_propagation(**(fixed | changes))


REFUSED = {
    "num_iters is 0": call(num_iters=0),
    "damping 1.0": call(damping=1.0),
    "damping nan": call(damping=float("nan")),
    "tol -1": call(tol=-1),
    "temperature 0": call(temperature=0),
    "start is 'random'": call(start="random"),
    "unary has shape": call(unary=[[0.0, 1.0]]),
    "edges .* of type float64": call(edges=[[0.0, 1.0]]),
    r"coupling has shape \(2,\) for 1 edges": call(coupling=[1.0, 2.0]),
    r"edges row 0 is \[0, 2\]": call(edges=[[0, 2]]),
    r"edges row 0 is \[1, 1\]": call(edges=[[1, 1]]),
    r"edges row 0 is \[-1, 1\]": call(edges=[[-1, 1]]),
    "unary or coupling hold NaN": call(unary=[0.0, np.nan]),
    "hold NaN, infinity": call(coupling=[np.inf]),
    "too large to add up": call(unary=[1e308, 1e308]),
    "strength of the counts is -1": call(counts=CountFactors(check_bags([0, 0], [1]), -1)),
    "strength of the counts is inf": call(counts=CountFactors(check_bags([0, 0], [1]), np.inf)),
    "there are 1 rows in bags but 2 variables": call(counts=CountFactors(check_bags([0], [1]), 1.0)),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_is_refused(message: str) -> None:
    with pytest.raises(InputError, match=message):
        REFUSED[message]()
