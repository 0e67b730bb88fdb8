"""LLP-BP's potentials, pseudo-labels, loss and recipe."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import expit
from torch import nn

from labelwise.errors import InputError
from labelwise.labels.bags import Bags, check_bags
from labelwise.methods.bags.dllp import DLLP, proportion_loss
from labelwise.methods.bags.llp_bp import (
    LLPBP,
    AggregateEmbeddingNet,
    aggregate_loss,
    choose_pseudo_labels,
    pseudo_labels,
)
from labelwise.networks.build import build_network
from labelwise.numerics.bag_potentials import bag_potentials
from labelwise.numerics.belief_propagation import CountFactors, binary_belief_propagation
from labelwise.training.data import TrainingData
from labelwise.training.loop import train
from labelwise.training.seeding import seeded
from labelwise.training.settings import Settings
from labelwise.training.task import BAGS

NO_PAIRS = np.empty((0, 2), dtype=np.int64)


class Case:
    """A random graph of similarities over random bags."""

    def __init__(self, seed: int, n: int = 9, share: float = 0.4) -> None:
        rng = np.random.default_rng(seed)
        pairs = np.array(list(itertools.combinations(range(n), 2)))
        self.pairs = pairs[rng.random(len(pairs)) < share]
        self.sims = rng.uniform(0, 1, len(self.pairs))
        of_row = rng.permutation(np.arange(n) % 3)
        self.bags = check_bags(of_row, rng.integers(0, np.bincount(of_row) + 1))

    def potentials(self, bag_lambda: float, sim_lambda: float) -> Any:
        return bag_potentials(self.pairs, self.sims, self.bags.of_row, self.bags.counts, bag_lambda, sim_lambda)


def quadratic(Y: np.ndarray, case: Case, bag_lambda: float, sim_lambda: float) -> np.ndarray:
    """Log weight of labelings (m, n) as the Gibbs distribution has it."""
    energy = np.zeros(len(Y))
    for bag, count in enumerate(case.bags.counts):
        energy -= bag_lambda * (Y[:, case.bags.of_row == bag].sum(axis=1) - count) ** 2
    for (i, j), k in zip(case.pairs, case.sims, strict=True):
        energy -= sim_lambda * k * (Y[:, i] - Y[:, j]) ** 2
    return energy


@pytest.mark.parametrize("seed", range(10))
def test_potentials_are_the_quadratic_form_up_to_a_constant(seed: int) -> None:
    case, rng = Case(seed), np.random.default_rng(seed)
    bag_lambda, sim_lambda = rng.uniform(0, 3, 2)
    unary, edges, coupling = case.potentials(bag_lambda, sim_lambda)
    Y = rng.integers(0, 2, (50, 9))
    energy = Y @ unary + (Y[:, edges[:, 0]] * Y[:, edges[:, 1]]) @ coupling
    gap = energy - quadratic(Y, case, bag_lambda, sim_lambda)
    np.testing.assert_allclose(gap, gap[0], atol=1e-9)
    assert (edges[:, 0] < edges[:, 1]).all()
    assert edges.tolist() == sorted(edges.tolist())
    assert len({tuple(edge) for edge in edges.tolist()}) == len(edges)


def test_order_and_direction_of_pairs_do_not_matter() -> None:
    case = Case(0)
    expected = case.potentials(0.7, 1.3)
    order = np.random.default_rng(0).permutation(len(case.pairs))
    case.pairs, case.sims = case.pairs[order][:, ::-1], case.sims[order]
    for found, wanted in zip(case.potentials(0.7, 1.3), expected, strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-12)


def marginals(case: Case, bag_lambda: float, sim_lambda: float, **options: Any) -> np.ndarray:
    options = {"num_iters": 500, "tol": 0.0, "bag_factor": "pairs"} | options
    return pseudo_labels(
        case.pairs, case.sims, case.bags, bag_lambda=bag_lambda, sim_lambda=sim_lambda, **options
    ).probs


@pytest.mark.parametrize("bag_factor", ["pairs", "count"])
class TestSymmetries:
    def test_without_similarities_a_bag_has_one_marginal(self, bag_factor: str) -> None:
        case = Case(1)
        probs = marginals(case, 0.5, 0.0, bag_factor=bag_factor)
        for bag in range(3):
            assert np.ptp(probs[case.bags.of_row == bag]) < 1e-12

    def test_without_bags_nobody_knows(self, bag_factor: str) -> None:
        np.testing.assert_allclose(marginals(Case(2), 0.0, 2.0, bag_factor=bag_factor), 0.5, atol=1e-12)

    @pytest.mark.parametrize("full", [False, True])
    def test_a_bag_of_none_or_all_is_certain(self, bag_factor: str, full: bool) -> None:
        case = Case(3, share=0.0)
        case.bags = check_bags(case.bags.of_row, case.bags.sizes * full)
        gaps = [np.abs(marginals(case, strength, 1.0, bag_factor=bag_factor) - full).max() for strength in (1, 4, 16)]
        assert gaps[0] > gaps[1] > gaps[2]
        assert gaps[2] < 1e-6

    @pytest.mark.parametrize("seed", range(5))
    def test_flipping_all_labels_flips_marginals(self, bag_factor: str, seed: int) -> None:
        case, flipped = Case(seed), Case(seed)
        flipped.bags = check_bags(case.bags.of_row, case.bags.sizes - case.bags.counts)
        found = [marginals(each, 0.2, 0.4, bag_factor=bag_factor) for each in (case, flipped)]
        np.testing.assert_allclose(found[0], 1 - found[1], atol=1e-9)

    @pytest.mark.parametrize("seed", range(5))
    def test_numbering_rows_otherwise_changes_nothing(self, bag_factor: str, seed: int) -> None:
        case, other = Case(seed), Case(seed)
        order = np.random.default_rng(seed).permutation(9)  # row order[i] becomes row i
        place = np.argsort(order)
        other.pairs = place[case.pairs]
        other.bags = Bags(case.bags.of_row[order], case.bags.counts)
        found = marginals(other, 0.2, 0.4, bag_factor=bag_factor)
        np.testing.assert_allclose(found, marginals(case, 0.2, 0.4, bag_factor=bag_factor)[order], atol=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_both_bag_factors_are_of_one_distribution(seed: int) -> None:
    case = Case(seed)
    Y = np.array(list(itertools.product((0, 1), repeat=9)))
    weights = np.exp(quadratic(Y, case, 0.2, 0.4))
    exact = weights @ Y / weights.sum()
    for bag_factor in ("pairs", "count"):
        np.testing.assert_allclose(marginals(case, 0.2, 0.4, bag_factor=bag_factor), exact, atol=0.05)


def test_expected_counts_go_to_the_counts_as_bags_grow_strong() -> None:
    case = Case(4)
    gaps = []
    for strength in (0.05, 0.5, 5.0):
        probs = marginals(case, strength, 0.3, bag_factor="count")
        gaps.append(np.abs(case.bags.sums(probs) - case.bags.counts).max())
    assert gaps[0] > gaps[1] > gaps[2]
    assert gaps[2] < 0.05


def test_start_at_zero_magnetises_and_neutral_does_not() -> None:
    rows = np.arange(12)
    pairs = np.array(list(itertools.combinations(rows, 2)))
    case = Case(0)
    case.pairs, case.sims = pairs, np.ones(len(pairs))
    case.bags = check_bags(rows % 3, [2, 2, 2])
    # Half and half is a fixed point that rounding errors would leave in hundreds of rounds, a start at 0 in a few.
    assert np.abs(marginals(case, 0.01, 2.0, start="zero", num_iters=10) - 0.5).min() > 0.4
    np.testing.assert_allclose(marginals(case, 0.01, 2.0, start="neutral", num_iters=10), 0.5, atol=1e-6)


def test_the_weights_whose_bags_miss_least_are_chosen() -> None:
    case = Case(5, n=30, share=0.2)
    found = choose_pseudo_labels(case.pairs, case.sims, case.bags, num_iters=50, tol=0.0)
    errors = {}
    for weights in itertools.product((0.1, 0.5, 2.0), (0.5, 2.0)):
        probs = marginals(case, *weights, num_iters=50, bag_factor="count")
        errors[weights] = np.abs(case.bags.sums(probs >= 0.5) - case.bags.counts).mean()
    assert found.bag_error == pytest.approx(min(errors.values()))
    assert errors[found.bag_lambda, found.sim_lambda] == pytest.approx(found.bag_error)
    first = min(errors, key=lambda weights: errors[weights])
    assert (found.bag_lambda, found.sim_lambda) == first


def test_no_rows_and_empty_bags() -> None:
    nothing = pseudo_labels(NO_PAIRS, np.empty(0), check_bags([], []), bag_lambda=1.0, sim_lambda=1.0)
    assert nothing.probs.shape == (0,)
    assert nothing.bag_error == 0
    for bag_factor in ("pairs", "count"):
        empty = check_bags([1], [0, 1, 0])
        found = pseudo_labels(NO_PAIRS, np.empty(0), empty, bag_lambda=9.0, sim_lambda=1.0, bag_factor=bag_factor)
        assert found.probs == pytest.approx([expit(9.0)])
        assert found.bag_error == 0


def test_loss_on_logits_is_that_on_probabilities_and_its_gradient_is_plain() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 4, generator=generator, dtype=torch.float64).requires_grad_()
    bag_logits = torch.randn(3, generator=generator, dtype=torch.float64)
    pseudo, shares = torch.randint(0, 2, (3, 4), generator=generator), torch.tensor([0.25, 0.5, 1.0])
    by_logits = aggregate_loss(logits, pseudo, bag_logits, shares, 0.3, are_logits=True)
    by_probs = aggregate_loss(logits.sigmoid(), pseudo, bag_logits.sigmoid(), shares, 0.3)
    torch.testing.assert_close(by_logits.loss, by_probs.loss)
    torch.testing.assert_close(by_logits.loss, by_logits.instance_loss + 0.3 * by_logits.bag_loss)
    by_logits.loss.backward()
    torch.testing.assert_close(logits.grad, (logits.detach().sigmoid() - pseudo) / 12)
    certain = aggregate_loss(torch.tensor([0.0, 1.0]), torch.tensor([1, 1]), torch.tensor([1.0]), torch.tensor([0.5]))
    assert torch.isfinite(certain.loss)
    plain = aggregate_loss(logits.sigmoid(), pseudo, bag_logits.sigmoid(), shares, 0.0)
    torch.testing.assert_close(plain.loss, plain.instance_loss)


def test_the_bag_head_sees_the_mean_embedding() -> None:
    network = AggregateEmbeddingNet(build_network("mlp-5", (3,), 1), width=4)
    inputs, number = torch.randn(6, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 0, 0, 1, 2, 2])
    logits, bag_logits = network(inputs, number)
    embedding = network.backbone.features(inputs)
    torch.testing.assert_close(logits[:, None], network.backbone(inputs))
    for bag in range(3):
        mean = embedding[number == bag].mean(dim=0)
        torch.testing.assert_close(bag_logits[bag : bag + 1], network.bag_head(mean))


def test_proportion_loss_is_cross_entropy_of_means_and_finite_at_the_ends() -> None:
    q, p = torch.tensor([0.2, 0.7], dtype=torch.float64), torch.tensor([0.5, 1.0], dtype=torch.float64)
    expected = -(0.5 * np.log(0.2) + 0.5 * np.log(0.8) + np.log(0.7)) / 2
    assert float(proportion_loss(q, p)) == pytest.approx(expected)
    ends = torch.tensor([0.0, 1.0], requires_grad=True)
    loss = proportion_loss(ends, torch.tensor([1.0, 0.0]))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(ends.grad).all()


@pytest.mark.parametrize("kind", [LLPBP, DLLP])
def test_bags_of_unequal_sizes_weigh_by_their_rows(kind: type[LLPBP] | type[DLLP]) -> None:
    of_row = np.array([0, 0, 0, 1, 2, 2])
    labels = torch.from_numpy(check_bags(of_row, [1, 1, 0]).rows())
    inputs = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    with seeded(0):
        recipe = kind(lambda: build_network("mlp-12", (4,), 1))
    recipe.begin(TrainingData(inputs, labels, 1, task=BAGS), None, 1)
    found = recipe.loss({"index": torch.arange(6), "inputs": inputs, "labels": labels})
    shares, losses = (1 / 3, 1.0, 0.0), []
    for bag, share in enumerate(shares):
        rows = inputs[of_row == bag]
        if isinstance(recipe, DLLP):
            q = recipe.network(rows).sigmoid().mean()
        else:
            q = recipe.network(rows, torch.zeros(len(rows), dtype=torch.int64))[1].sigmoid()[0]
        losses.append(-(share * q.log() + (1 - share) * (1 - q).log()))
    expected = (3 * losses[0] + losses[1] + 2 * losses[2]) / 6
    torch.testing.assert_close(found if isinstance(found, torch.Tensor) else found.bag_loss, expected)


def clusters(seed: int = 0, bag_size: int = 16, num_bags: int = 20) -> tuple[TrainingData, np.ndarray]:
    """Two clouds of points in bags, and the labels of the points."""
    rng = np.random.default_rng(seed)
    n = bag_size * num_bags
    y = (rng.random(n) < np.repeat(rng.random(num_bags), bag_size)).astype(np.int64)
    X = 2.5 * y[:, None] * np.array([1, -1, 0, 0]) + rng.normal(size=(n, 4))
    bags = check_bags(np.repeat(np.arange(num_bags), bag_size), y.reshape(num_bags, -1).sum(axis=1))
    return TrainingData(torch.from_numpy(X).float(), torch.from_numpy(bags.rows()), 1, task=BAGS), y


def fit(data: TrainingData, epochs: int = 12, **options: Any) -> LLPBP:
    with seeded(0):
        recipe = LLPBP(lambda: build_network("mlp-12", (4,), 1), **options)
    settings = Settings(epochs=epochs, batch_size=64, learning_rate=0.05, accelerator="cpu")
    train(recipe, data, settings)
    return recipe


@pytest.mark.parametrize("bag_factor", ["pairs", "count"])
def test_pseudo_labels_and_predictions_find_the_instances(bag_factor: str) -> None:
    data, y = clusters()
    recipe = fit(data, epochs=40, bag_factor=bag_factor)
    targets, weights, mask = recipe.corrections()
    assert ((targets[:, 1] >= 0.5).numpy() == y).mean() > 0.85
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(len(y)))
    assert torch.equal(recipe.pseudo, targets[:, 1] >= 0.5)
    assert (weights == 1).all()
    assert mask.all()
    new, new_y = clusters(seed=1)
    assert isinstance(new.inputs, torch.Tensor)
    assert ((recipe.predict(new.inputs)[:, 0] > 0).numpy() == new_y).mean() > 0.9
    rows = recipe.extra_manifest()["belief_propagation"]
    assert len(rows) == 2
    for row in rows:
        assert 0 < row["iterations"] <= 100
        assert row["bag_error"] < 3
        assert round(row["bag_lambda"], 6) in (0.1, 0.5, 2.0)


def test_a_round_begins_with_the_first_weights_and_the_last_rounds_embedding(monkeypatch: pytest.MonkeyPatch) -> None:
    data, _ = clusters()
    seen, first = [], []

    def propagate(self: LLPBP, rows: np.ndarray, generator: np.random.Generator) -> Any:
        seen.append((rows, nn.utils.parameters_to_vector(self.network.parameters()).detach().clone()))
        first.append(nn.utils.parameters_to_vector(self.initial.parameters()).detach().clone())
        return original(self, rows, generator)

    original = LLPBP.propagate
    monkeypatch.setattr(LLPBP, "propagate", propagate)
    recipe = fit(data, epochs=7, rounds=3)
    assert [rows.shape[1] for rows, _ in seen] == [4, 12, 12]
    assert recipe.starts == [0, 3, 6]
    assert [recipe.stage(epoch, 7) for epoch in range(7)] == [(0, 3)] * 3 + [(3, 6)] * 3 + [(6, 7)]
    assert torch.equal(seen[0][1], first[0])
    assert not torch.equal(seen[1][1], first[0])
    assert torch.equal(first[0], first[2])
    np.testing.assert_allclose(seen[0][0].std(axis=0), 0.5, atol=1e-4)
    np.testing.assert_allclose(seen[0][0].mean(axis=0), 0, atol=1e-5)


def test_more_rounds_than_epochs_and_one_round() -> None:
    data, _ = clusters(num_bags=3)
    assert fit(data, epochs=1, rounds=5).starts == [0]
    assert len(fit(data, epochs=3, rounds=3).extra_manifest()["belief_propagation"]) == 3
    assert len(fit(data, epochs=3, rounds=1).extra_manifest()["belief_propagation"]) == 1


def test_it_warns_where_beliefs_do_not_settle() -> None:
    data, _ = clusters(bag_size=32, num_bags=4)
    with pytest.warns(RuntimeWarning, match="not at rest after 3 rounds"):
        fit(data, epochs=1, num_iters=3, bag_lambda=10.0, sim_lambda=10.0, bag_factor="pairs")


def test_a_given_weight_is_used() -> None:
    data, _ = clusters(num_bags=4)
    row = fit(data, epochs=1, bag_lambda=0.3).extra_manifest()["belief_propagation"][0]
    assert row["bag_lambda"] == pytest.approx(0.3)
    assert row["sim_lambda"] in (0.5, 2.0)


def test_pseudo_labels_are_those_of_belief_propagation() -> None:
    case = Case(6)
    found = pseudo_labels(case.pairs, case.sims, case.bags, bag_lambda=0.4, sim_lambda=0.7, num_iters=20, tol=0.0)
    _, edges, coupling = bag_potentials(case.pairs, case.sims, np.arange(9), np.zeros(9), 0.0, 0.7)
    unary = -0.7 * np.array([case.sims[(case.pairs == row).any(axis=1)].sum() for row in range(9)])
    counts = CountFactors(case.bags, 0.4)
    np.testing.assert_allclose(found.probs, binary_belief_propagation(unary, edges, coupling, 20, counts=counts)[0])


def potentials(**changes: Any) -> Callable[[], Any]:
    fixed = {"pairs": [[0, 1]], "sims": [0.5], "bag_ids": [0, 0, 1], "bag_counts": [1, 0]}
    return lambda: bag_potentials(**({"bag_lambda": 1.0, "sim_lambda": 1.0} | fixed | changes))


def recipe(**options: Any) -> Callable[[], Any]:
    return lambda: LLPBP(lambda: build_network("mlp-12", (4,), 1), **options)


REFUSED = {
    r"pairs have shape \(1, 3\)": potentials(pairs=[[0, 1, 2]]),
    "type float64, sims": potentials(pairs=[[0.0, 1.0]]),
    r"sims \(2,\)": potentials(sims=[0.5, 0.5]),
    r"pairs row 0 is \[0, 3\]": potentials(pairs=[[0, 3]]),
    r"pairs row 0 is \[2, 2\]": potentials(pairs=[[2, 2]]),
    "similarity nan": potentials(sims=[np.nan]),
    "similarity inf": potentials(sims=[np.inf]),
    "similarity -1": potentials(sims=[-1.0]),
    r"pairs row 1 is \[1, 0\], which stands there twice": potentials(pairs=[[0, 1], [1, 0]], sims=[1, 1]),
    "bag_lambda is -1": potentials(bag_lambda=-1.0),
    "sim_lambda is nan": potentials(sim_lambda=float("nan")),
    "bag 1 has 1 rows but a count of 2": potentials(bag_counts=[1, 2]),
    "bag_lambda is inf": recipe(bag_lambda=float("inf")),
    "loss_lambda is -0.1": recipe(loss_lambda=-0.1),
    "threshold is 1.5": recipe(threshold=1.5),
    "bag_factor is 'sum'": recipe(bag_factor="sum"),
    "start 'one'": recipe(start="one"),
    "rounds is 0": recipe(rounds=0),
    "n_neighbors 0": recipe(n_neighbors=0),
    "bag_width 0": recipe(bag_width=0),
    "num_iters is 0": lambda: fit(clusters(num_bags=2)[0], num_iters=0),
    "damping 1": lambda: fit(clusters(num_bags=2)[0], damping=1.0),
    "max_distance is -1": lambda: fit(clusters(num_bags=2)[0], max_distance=-1.0),
    "sim_lambdas are empty": lambda: choose_pseudo_labels(NO_PAIRS, np.empty(0), check_bags([], []), (1.0,), ()),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_is_refused(message: str) -> None:
    with pytest.raises(InputError, match=message):
        REFUSED[message]()


def test_weights_of_low_precision_do_not_round_pseudo_labels() -> None:
    data, _ = clusters(num_bags=6)
    with seeded(0):
        recipe = LLPBP(lambda: build_network("mlp-12", (4,), 1))
    settings = Settings(epochs=1, batch_size=64, learning_rate=0.05, accelerator="cpu", precision="bf16-true")
    train(recipe, data, settings)
    with seeded(0):
        other = LLPBP(lambda: build_network("mlp-12", (4,), 1))
    train(other, data, replace(settings, precision="32-true"))
    assert torch.equal(recipe.pseudo, other.pseudo)


def test_a_data_set_gives_what_its_arrays_give() -> None:
    data, _ = clusters(num_bags=6)
    assert isinstance(data.inputs, torch.Tensor)
    dataset = torch.utils.data.TensorDataset(data.inputs, data.labels[:, 0])
    both = [fit(data, epochs=4), fit(replace(data, inputs=dataset), epochs=4)]
    torch.testing.assert_close(both[0].probs, both[1].probs)
    torch.testing.assert_close(both[0].predict(data.inputs), both[1].predict(data.inputs))
