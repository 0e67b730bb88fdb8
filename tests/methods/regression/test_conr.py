"""ConR: what must hold of the regularizer and its recipe."""

import numpy as np
import pytest
import torch
from torch import Tensor

from labelwise.errors import InputError
from labelwise.methods.regression.conr import ConR, ConRLoss, conr_dense_loss, conr_loss, conr_pair_masks
from labelwise.networks.build import build_network
from labelwise.training.data import TrainingData
from labelwise.training.task import REGRESSION


def rows(seed: int = 0, outputs: int = 1, n: int = 12) -> tuple[Tensor, Tensor, Tensor]:
    """Features, targets of two views, predictions; float64."""
    generator = torch.Generator().manual_seed(seed)
    features, preds = (torch.randn(n, k, generator=generator, dtype=torch.float64) for k in (5, outputs))
    targets = 2 * torch.randn(n // 2, outputs, generator=generator, dtype=torch.float64)
    return features.requires_grad_(), targets.repeat(2, 1), preds


@pytest.mark.parametrize("distance", ["euclidean", "max"])
@pytest.mark.parametrize("outputs", [1, 3])
def test_masks(outputs: int, distance: str) -> None:
    _, targets, preds = rows(outputs=outputs)
    positive, negative = conr_pair_masks(targets, preds, 0.7, distance)
    norm = np.inf if distance == "max" else 2
    for i in range(12):
        for j in range(12):
            near = np.linalg.norm(targets[i] - targets[j], norm) <= 0.7
            confused = np.linalg.norm(preds[i] - preds[j], norm) <= 0.7
            assert bool(positive[i, j]) == (near and i != j)
            assert bool(negative[i, j]) == (not near and confused)


def test_nothing_to_push_gives_zero_and_no_gradient() -> None:
    features, targets, preds = rows()
    for predicted, w in ((targets, 0.5), (preds, 100.0)):
        loss = conr_loss(features, targets, predicted, w=w)
        (gradient,) = torch.autograd.grad(loss, features)
        assert loss == 0
        assert not gradient.any()


def test_scale_of_features_and_order_of_rows_do_not_matter() -> None:
    features, targets, preds = rows()
    weight = torch.rand(12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    loss = conr_loss(features, targets, preds, sample_weight=weight)
    assert float(loss) > 0
    scale = torch.linspace(0.1, 9, 12, dtype=torch.float64).unsqueeze(1)
    torch.testing.assert_close(conr_loss(scale * features, targets, preds, sample_weight=weight), loss)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(2))
    shuffled = conr_loss(features[order], targets[order], preds[order], sample_weight=weight[order])
    torch.testing.assert_close(shuffled, loss)
    each = conr_loss(features, targets, preds, sample_weight=weight, reduction="none")
    torch.testing.assert_close(each.mean(), loss)


def test_predictions_get_no_gradient_and_pushing_harder_costs_more() -> None:
    features, targets, preds = rows()
    preds.requires_grad_()
    losses = [conr_loss(features, targets, preds, eta=eta) for eta in (0.0, 0.01, 0.3, 2.0)]
    losses[2].backward()
    assert preds.grad is None
    assert features.grad is not None
    assert [float(each) for each in losses] == sorted(float(each) for each in losses)
    assert float(losses[0]) < float(losses[-1])
    less = conr_loss(features, targets, preds, strict_denominator=True)
    assert float(less) < float(losses[1])


@pytest.mark.parametrize("strict", [False, True])
def test_no_nan_where_an_anchor_has_no_positive(strict: bool) -> None:
    for n in (0, 1, 2, 3):
        features = torch.randn(n, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
        loss = conr_loss(features, 10 * torch.arange(n).float(), torch.zeros(n), w=1.0, strict_denominator=strict)
        loss.backward()
        assert loss == 0
        assert torch.isfinite(features.grad).all()
    features, targets, preds = rows()
    for weight in (torch.zeros(12), torch.eye(12)[0]):
        loss = conr_loss(features, targets, preds, sample_weight=weight, strict_denominator=strict, temperature=1e-3)
        (gradient,) = torch.autograd.grad(loss, features)
        assert torch.isfinite(loss)
        assert torch.isfinite(gradient).all()
    zero = torch.zeros(12, 5, requires_grad=True)
    conr_loss(zero, targets, preds, strict_denominator=strict).backward()
    assert torch.isfinite(zero.grad).all()


def test_a_low_temperature_is_finite_in_float32() -> None:
    features, targets, preds = (each.float().detach() for each in rows())
    low = conr_loss(features, targets, preds, temperature=0.005)
    assert float(low) == pytest.approx(float(conr_loss(features.double(), targets, preds, temperature=0.005)), rel=1e-4)


def test_the_module_is_the_function() -> None:
    features, targets, preds = rows(outputs=2)
    criterion = ConRLoss(0.5, 0.1, 0.3, distance="max", strict_denominator=True)
    options = {"w": 0.5, "temperature": 0.1, "eta": 0.3, "distance": "max", "strict_denominator": True}
    assert torch.equal(criterion(features, targets, preds), conr_loss(features, targets, preds, **options))
    images = features.reshape(12, 5, 1)
    maps = conr_dense_loss(images, targets.reshape(12, 2, 1), preds.reshape(12, 2, 1))
    assert torch.isfinite(maps)


def recipe(**options: object) -> tuple[ConR, TrainingData]:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(40, 3, generator=generator)
    data = TrainingData(inputs, inputs[:, 0].exp(), 1, task=REGRESSION)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = ConR(lambda: build_network("mlp-8", (3,), 1), **options)
    made.begin(data, None, 1)
    made.generator.manual_seed(5)
    return made, data


def test_without_beta_and_noise_the_recipe_is_the_plain_error() -> None:
    made, data = recipe(beta=0.0, noise=0.0)
    (batch,) = data.batches([torch.arange(40)])
    gap = (made.network(data.inputs)[:, 0] - data.labels).abs().mean()
    torch.testing.assert_close(made.loss(batch).loss, gap)
    squared, _ = recipe(beta=0.0, noise=0.0, loss="squared")
    torch.testing.assert_close(
        squared.loss(batch).loss, (made.network(data.inputs)[:, 0] - data.labels).square().mean()
    )


def test_the_terms_are_those_of_the_last_two_views() -> None:
    views = []

    def augment(inputs: Tensor, generator: torch.Generator) -> Tensor:
        views.append(inputs + torch.randn(inputs.shape, generator=generator))
        return views[-1]

    made, data = recipe(beta=0.7, augment=augment, density="inverse", w=0.5)
    index = torch.arange(5, 25)
    (batch,) = data.batches([index])
    terms = made.loss(batch)
    both = torch.cat(views[1:])
    weight, labels = made.density_weights[index].repeat(2), data.labels[index].repeat(2)
    preds = made.network(both)
    options = {"w": 0.5, "temperature": 0.2, "eta": 0.2, "sample_weight": weight}
    torch.testing.assert_close(terms.conr, conr_loss(made.network.features(both), labels, preds, **options))
    torch.testing.assert_close(terms.loss, terms.error + 0.7 * terms.conr)
    assert made.density_weights[data.labels.argmax()] > made.density_weights.min()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": torch.ones(4, 2).long()}, "float"),
        ({"features": torch.ones(4)}, r"\(N, D\)"),
        ({"targets": torch.ones(3)}, "3 targets"),
        ({"preds": torch.ones(5)}, "5 predictions"),
        ({"targets": torch.tensor([0, 1, float("nan"), 2])}, "targets row 2"),
        ({"targets": torch.tensor([float("inf"), 1, 0, 2])}, "targets row 0"),
        ({"sample_weight": torch.ones(3)}, "3 weights for 4 rows"),
        ({"sample_weight": torch.tensor([1.0, -1, 1, 1])}, "sample_weight row 1 is -1"),
        ({"sample_weight": torch.tensor([1.0, 1, 1, float("nan")])}, "sample_weight row 3 is nan"),
        ({"w": -0.1}, "w is -0.1"),
        ({"eta": float("inf")}, "eta inf"),
        ({"temperature": 0.0}, "temperature is 0.0"),
        ({"pushing": "cubic"}, "pushing is 'cubic'"),
        ({"distance": "cosine"}, "distance 'cosine'"),
    ],
)
def test_what_is_refused(change: dict, message: str) -> None:
    rows = {"features": torch.ones(4, 2), "targets": torch.arange(4.0), "preds": torch.zeros(4)}
    with pytest.raises(InputError, match=message):
        conr_loss(**(rows | change))
