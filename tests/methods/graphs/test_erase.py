"""ERASE: what must hold of its labels, rates and classifier."""

import itertools
import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from labelwise.errors import InputError
from labelwise.methods.graphs.erase import (
    Erase,
    MaximalCodingRateReduction,
    class_coding_rate,
    coding_rate,
    corrupt_labels,
    find_pseudo_labels,
    fit_classifier,
    prototype_similarity,
    semantic_labels,
    structural_denoise,
)
from labelwise.networks.graph import build_graph_network
from labelwise.networks.nodes import Nodes
from labelwise.training.data import TrainingData
from labelwise.training.loop import train
from labelwise.training.settings import Settings
from labelwise.training.task import NODES

PATH = torch.tensor([[0.0, 1, 0, 0], [1, 0, 1, 0], [0, 1, 0, 1], [0, 0, 1, 0]])
MASK = torch.tensor([True, True, True, False])
LABELS = torch.tensor([0, 1, 1, 2])


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_a_wrong_label_among_right_neighbours_is_outvoted() -> None:
    clique = torch.ones(6, 6) - torch.eye(6)
    given = torch.tensor([1, 0, 0, 0, 0, 0])
    denoised = structural_denoise(given, torch.ones(6, dtype=torch.bool), clique, 0.6, 5, 2)
    assert denoised.argmax(dim=1).tolist() == [0] * 6


@pytest.mark.parametrize(("alpha", "num_steps"), [(1.0, 5), (0.3, 0)])
def test_without_spreading_labels_stay_as_given(alpha: float, num_steps: int) -> None:
    denoised = structural_denoise(LABELS, MASK, PATH, alpha, num_steps, 3)
    assert denoised.tolist() == [[1, 0, 0], [0, 1, 0], [0, 1, 0], [0, 0, 0]]
    embeddings = draw(4, 2).float()
    found = find_pseudo_labels(embeddings, denoised, MASK, PATH, alpha=alpha, beta=0.5, num_steps=num_steps)
    assert torch.equal(found.propagated, found.semantic)


def test_labels_outside_the_mask_change_nothing() -> None:
    other = torch.tensor([0, 1, 1, -1])
    first, second = (structural_denoise(labels, MASK, PATH, 0.4, 3, 3) for labels in (LABELS, other))
    assert torch.equal(first, second)
    assert not first[3].any()


def test_similarity_is_absolute_and_zero_for_what_is_not_there() -> None:
    embeddings = torch.tensor([[1.0, 0], [-3, 0], [0, 0], [1, 1]])
    mask = torch.tensor([True, False, False, False])
    found = prototype_similarity(embeddings, torch.tensor([1, 0, 0, 0]), mask, 3)
    expected = torch.tensor([[0, 1.0, 0], [0, 1, 0], [0, 0, 0], [0, math.sqrt(0.5), 0]])
    torch.testing.assert_close(found, expected)
    nobody = prototype_similarity(embeddings, torch.zeros(4, dtype=torch.int64), torch.zeros(4, dtype=torch.bool), 3)
    assert torch.equal(nobody, torch.zeros(4, 3))


def test_semantic_labels_are_probabilities() -> None:
    denoised, similarity = draw(5, 3).abs(), draw(5, 3, seed=1).abs()
    torch.testing.assert_close(semantic_labels(denoised, similarity, 0.4).sum(dim=1), torch.ones(5).double())
    torch.testing.assert_close(semantic_labels(denoised, similarity, 1.0), denoised.softmax(dim=1))


def test_rates_bound_one_another() -> None:
    for seed in range(20):
        z = draw(12, 5, seed=seed).abs()
        labels = torch.randint(0, 4, (12,), generator=torch.Generator().manual_seed(seed))
        rate, class_rate = coding_rate(z, 0.1), class_coding_rate(z, labels, 4, 0.1)
        assert 0 < float(class_rate) <= float(rate) + 1e-9


def test_one_class_is_all_there_is() -> None:
    z = draw(9, 4).requires_grad_()
    terms = MaximalCodingRateReduction(1.0, 2.0, 0.05)(z, torch.full((9,), 2), 5)
    torch.testing.assert_close(terms.class_coding_rate, terms.coding_rate)
    torch.testing.assert_close(terms.loss, -terms.coding_rate)


def test_rate_is_of_the_shape_alone() -> None:
    z, turn = draw(10, 6), torch.linalg.qr(draw(6, 6, seed=1)).Q
    labels = torch.arange(10) % 3
    order = torch.randperm(10, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(coding_rate(z @ turn, 0.1), coding_rate(z, 0.1))
    torch.testing.assert_close(coding_rate(z[order], 0.1), coding_rate(z, 0.1))
    torch.testing.assert_close(
        class_coding_rate((z @ turn)[order], labels[order], 3, 0.1), class_coding_rate(z, labels, 3, 0.1)
    )
    assert float(coding_rate(torch.zeros(4, 3), 0.1)) == 0


@pytest.mark.parametrize("shape", [(3, 8), (8, 3), (5, 5), (1, 1)])
def test_both_sides_of_the_determinant_agree(shape: tuple[int, int]) -> None:
    z = draw(*shape)
    scale = 2.0 * shape[1] / (shape[0] * 0.3)
    expected = 0.5 * np.linalg.slogdet(np.eye(shape[1]) + scale * z.numpy().T @ z.numpy())[1]
    assert float(coding_rate(z, 0.3, gam=2.0)) == pytest.approx(expected)


def test_memberships_generalise_labels() -> None:
    z, labels = draw(8, 4).requires_grad_(), torch.tensor([0, 0, 2, 2, 2, 0, 3, 3])
    onehot = torch.nn.functional.one_hot(labels, 5).double()
    hard, soft = class_coding_rate(z, labels, 5, 0.2), class_coding_rate(z, onehot, 5, 0.2)
    torch.testing.assert_close(hard, soft)
    shares = draw(8, 2, seed=3).abs()
    expected = sum(
        shares[:, c].sum()
        / 16
        * torch.logdet(torch.eye(4) + 4 / (shares[:, c].sum() * 0.2) * z.T @ shares[:, c].diag() @ z)
        for c in range(2)
    )
    torch.testing.assert_close(class_coding_rate(z, shares, 2, 0.2), expected)


def test_gradients_are_those_of_finite_differences() -> None:
    labels = torch.tensor([0, 1, 1, 0, 2])
    criterion = MaximalCodingRateReduction(1.5, 2.0, 0.3)
    assert torch.autograd.gradcheck(lambda z: criterion(z, labels, 4).loss, draw(5, 3).requires_grad_())


def test_zero_rows_have_no_gradient_and_no_gradient_passes_through_labels() -> None:
    z = draw(6, 3)
    z[2] = 0
    z.requires_grad_()
    labels = torch.tensor([0, 1, 0, 1, 0, 1])
    (gradient,) = torch.autograd.grad(MaximalCodingRateReduction()(z, labels, 2).loss, z)
    assert not gradient[2].any()
    assert gradient[[0, 1, 3, 4, 5]].any(dim=1).all()
    denoised = structural_denoise(labels, torch.ones(6, dtype=torch.bool), torch.zeros(6, 6), 0.5, 1, 2)
    found = find_pseudo_labels(z, denoised, labels >= 0, torch.zeros(6, 6), alpha=0.5, beta=0.5, num_steps=2)
    assert not found.propagated.requires_grad


def test_noise_is_what_it_says() -> None:
    truth = np.repeat(np.arange(4), 5000)
    pairs = corrupt_labels(truth, 0.4, "asymm", seed=3)
    spread = corrupt_labels(truth, 0.4, "symm", seed=3)
    for true in range(4):
        shares = [np.bincount(noisy[truth == true], minlength=4) / 5000 for noisy in (pairs, spread)]
        np.testing.assert_allclose(sorted(shares[0]), [0, 0, 0.4, 0.6], atol=0.03)
        np.testing.assert_allclose(np.delete(shares[1], true), 0.4 / 3, atol=0.03)
    assert corrupt_labels([0, 1, 2], 0.0).tolist() == [0, 1, 2]
    assert (corrupt_labels(truth, 1.0, "symm") != truth).all()


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        ([0, 1], {"ratio": 1.5}, "rate is 1.5"),
        ([0, 1], {"ratio": float("nan")}, "rate is nan"),
        ([0, 0], {"ratio": 0.5}, "other class"),
        ([0, 1], {"ratio": 0.5, "kind": "pair"}, "kind is 'pair'"),
        ([], {"ratio": 0.5}, "empty"),
    ],
)
def test_bad_noise(labels: list[int], options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        corrupt_labels(labels, **options)


@pytest.mark.parametrize("num_present", [2, 3])
def test_the_classifier_is_scikit_learns(num_present: int) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, num_present, 60) * 2  # classes 0, 2, 4 of six
    embeddings = (rng.normal(size=(60, 4)) + labels[:, None]).astype(np.float32)
    weight, bias = fit_classifier(torch.from_numpy(embeddings), torch.from_numpy(labels), 6)
    probs = (torch.from_numpy(embeddings) @ weight.T + bias).softmax(dim=1).numpy()
    expected = LogisticRegression(max_iter=1000).fit(embeddings, labels).predict_proba(embeddings)
    np.testing.assert_allclose(probs[:, [0, 2, 4][:num_present]], expected, atol=1e-4)
    assert probs[:, [1, 3, 5]].max() < 1e-12


def test_a_classifier_of_one_class_knows_no_other() -> None:
    weight, bias = fit_classifier(torch.randn(3, 2), torch.tensor([1, 1, 1]), 3)
    assert not weight.any()
    assert bias.softmax(dim=0).tolist() == pytest.approx([0, 1, 0])


def test_the_classifier_is_fitted_anew_now_and_then_and_at_the_end() -> None:
    nodes = Nodes(
        torch.randn(12, 3, generator=torch.Generator().manual_seed(0)), torch.zeros(12, 12).to_sparse_coo().coalesce()
    )
    data = TrainingData(nodes, torch.arange(12) % 2, 2, task=NODES)
    recipe = Erase(lambda: build_graph_network("mlp-4", 3, 2), embedding_size=4, refit_every=3)
    weights = []
    settings = Settings(epochs=6, optimizer="adamw", accelerator="cpu")
    train(recipe, data, settings, watch=lambda trained, epoch: weights.append(trained.classifier.weight.clone()) or {})
    changes = [not torch.equal(before, after) for before, after in itertools.pairwise(weights)]
    assert changes == [False, False, True, False, True]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"embedding_size": 0}, "embedding_size is 0"),
        ({"refit_every": 0}, "refit_every is 0"),
        ({"num_steps": -1}, "num_steps is -1"),
        ({"eps": 0.0}, "eps is 0.0"),
        ({"gam2": float("inf")}, "gam2 is inf"),
        ({"alpha": 1.5}, "alpha is 1.5"),
        ({"beta": float("nan")}, "beta is nan"),
    ],
)
def test_bad_options(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Erase(lambda: build_graph_network("mlp-4", 3, 2), **options)
