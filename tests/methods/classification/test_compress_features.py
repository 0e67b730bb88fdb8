"""Compressed features and Co-teaching against the definitions, written out slowly."""

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from labelwise.errors import InputError
from labelwise.methods.classification.compress_features import (
    CompressFeatures,
    CoTeaching,
    NestedDropout,
    bias_variance,
    forget_rate_schedule,
    keep_prefix,
    nested_prefix_distribution,
    num_kept,
    prefix_logits,
    select_prefix,
    small_loss_selection,
)
from labelwise.networks.build import build_network
from labelwise.networks.network import Network
from labelwise.training.data import Batch, TrainingData
from labelwise.training.loop import train
from labelwise.training.seeding import generator, seeded
from labelwise.training.settings import Settings


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(("size", "std", "mean"), [(1, 3.0, 0.0), (8, 3.0, 0.0), (5, 2.0, 1.0), (12, 4.0, 6.0)])
def test_distribution_is_the_formula(size: int, std: float, mean: float) -> None:
    weights = [math.exp(-(((k - mean) / std) ** 2)) for k in range(1, size + 1)]
    expected = np.array(weights) / sum(weights)
    found = nested_prefix_distribution(size, std, mean).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert found.sum() == pytest.approx(1.0)
    if mean <= 1:
        assert (np.diff(found) < 0).all()


def test_distribution_at_its_limits() -> None:
    np.testing.assert_allclose(nested_prefix_distribution(6, 1e9), np.full(6, 1 / 6))
    assert nested_prefix_distribution(6, 1e-3).tolist() == [1, 0, 0, 0, 0, 0]  # no 0 / 0 where all underflow
    for std in (0.0, -1.0):
        with pytest.raises(InputError, match="std"):
            NestedDropout(4, std)


def test_drawn_lengths_follow_the_distribution() -> None:
    layer = NestedDropout(6, 3.0, generator=torch.Generator().manual_seed(0))
    draws = np.array([layer.draw() for _ in range(4000)])
    found = np.bincount(draws, minlength=7)[1:] / 4000
    np.testing.assert_allclose(found, layer.distribution, atol=0.03)  # over 4 standard deviations


def test_layer_keeps_one_prefix_for_the_batch() -> None:
    layer = NestedDropout(5, 2.0, generator=torch.Generator().manual_seed(1))
    features = randn(4, 5)
    for _ in range(10):
        layer.drawn = None
        found = layer(features)
        kept = layer.drawn
        assert kept is not None
        assert torch.equal(found[:, :kept], features[:, :kept])
        assert (found[:, kept:] == 0).all()
    layer.eval()
    assert torch.equal(layer(features), features)
    layer.keep = 2
    assert torch.equal(layer(features), features * torch.tensor([1, 1, 0, 0, 0]))


@pytest.mark.parametrize(("batch", "width", "classes"), [(1, 1, 2), (3, 1, 4), (4, 6, 3)])
def test_prefix_logits_are_those_of_masked_features(batch: int, width: int, classes: int) -> None:
    features, weight = randn(batch, width), randn(width, classes, seed=1)
    found = prefix_logits(features, weight)
    assert found.shape == (width, batch, classes)
    for k in range(1, width + 1):
        mask = (torch.arange(width) < k).double()
        torch.testing.assert_close(found[k - 1], (mask * features) @ weight)
    torch.testing.assert_close(found[-1], features @ weight)
    assert keep_prefix(features, width) is features
    assert keep_prefix(features, None) is features
    assert keep_prefix(features, width + 5) is features


def test_no_gradient_beyond_the_prefix() -> None:
    features, weight = randn(4, 5).requires_grad_(), randn(5, 3, seed=1).requires_grad_()
    loss = functional.cross_entropy(keep_prefix(features, 2) @ weight, torch.tensor([0, 1, 2, 0]))
    loss.backward()
    assert (features.grad[:, 2:] == 0).all()
    assert (weight.grad[2:] == 0).all()
    assert (features.grad[:, :2] != 0).all()
    assert (weight.grad[:2] != 0).all()


def test_select_prefix() -> None:
    assert select_prefix(torch.tensor([0.5, 0.5, 0.5])) == 1
    assert select_prefix(torch.tensor([0.1, 0.5, 0.5])) == 2
    assert select_prefix(torch.tensor([0.7])) == 1
    # A gain must exceed the penalty times the distance.
    assert select_prefix(torch.tensor([0.5, 0.4, 0.5 + 1.9e-5], dtype=torch.float64)) == 1
    assert select_prefix(torch.tensor([0.5, 0.4, 0.5 + 2.1e-5], dtype=torch.float64)) == 3
    assert select_prefix(torch.tensor([0.9, 0.91]), penalty=0.0) == 2


@pytest.mark.parametrize("forget_rate", [0.0, 0.2, 0.5, 0.99])
@pytest.mark.parametrize("count", [1, 2, 7, 100])
def test_small_loss_selection(count: int, forget_rate: float) -> None:
    logits, labels = randn(count, 3), torch.arange(count) % 3
    kept = small_loss_selection(logits, labels, forget_rate).tolist()
    assert len(kept) == num_kept(count, forget_rate) == math.floor((1 - forget_rate) * count)
    losses = [float(torch.logsumexp(logits[row], 0) - logits[row, labels[row]]) for row in range(count)]
    assert kept == sorted(range(count), key=losses.__getitem__)[: len(kept)]
    if forget_rate == 0:
        assert len(kept) == count


def test_selection_keeps_the_order_of_equal_losses_and_takes_extreme_logits() -> None:
    assert small_loss_selection(torch.zeros(5, 2), torch.zeros(5, dtype=torch.int64), 0.4).tolist() == [0, 1, 2]
    logits = torch.tensor([[-1e4, 1e4], [1e4, -1e4], [0.0, 0.0]])
    assert small_loss_selection(logits, torch.tensor([0, 0, 0]), 0.0).tolist() == [1, 2, 0]


def test_forget_rate_schedule() -> None:
    assert forget_rate_schedule(6, 0.4, 5) == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.4])
    assert forget_rate_schedule(3, 0.4, 1) == pytest.approx([0, 0.4, 0.4])
    assert forget_rate_schedule(3, 0.4, 0) == pytest.approx([0.4, 0.4, 0.4])
    assert forget_rate_schedule(2, 0.4, 5) == pytest.approx([0, 0.1])
    assert forget_rate_schedule(0, 0.4, 5) == []
    assert forget_rate_schedule(2, 0.0, 2) == [0, 0]


def test_bias_and_variance_split_the_squared_error() -> None:
    probs, labels = randn(5, 7, 3).softmax(dim=2), torch.arange(7) % 3
    bias, variance = bias_variance(probs, labels)
    errors = [float(((probs[r, i] - torch.eye(3)[labels[i]]) ** 2).sum()) for r in range(5) for i in range(7)]
    assert bias + variance == pytest.approx(np.mean(errors), rel=1e-12)
    spread = [float(((probs[r, i] - probs[:, i].mean(dim=0)) ** 2).sum()) for r in range(5) for i in range(7)]
    assert variance == pytest.approx(np.mean(spread), rel=1e-12)
    assert bias_variance(probs[:1].expand(4, 7, 3), labels)[1] == pytest.approx(0.0, abs=1e-15)
    assert bias_variance(torch.eye(3)[labels][None], labels) == (0.0, 0.0)


# --- the recipes


def build() -> Network:
    return build_network("mlp-7", (4,), 3)


def tiny_data(count: int = 24) -> TrainingData:
    return TrainingData(randn(count, 4).float(), torch.arange(count) % 3, 3)


def settings(**changes: Any) -> Settings:
    return Settings(**({"epochs": 3, "batch_size": 8, "accelerator": "cpu", "momentum": 0.0} | changes))


class Descent:
    """Plain gradient descent that notes which network stepped."""

    def __init__(self, recipe: CompressFeatures, rate: float = 0.1) -> None:
        self.recipe, self.rate, self.steps = recipe, rate, []

    def __call__(self, loss: Tensor, network: str = "network") -> None:
        parameters = list(getattr(self.recipe, network).parameters())
        gradients = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter -= self.rate * gradient
        self.steps.append(network)


def as_batch(data: TrainingData) -> Batch:
    return Batch(index=torch.arange(len(data)), inputs=data.inputs, labels=data.labels)


def test_the_head_has_no_bias_and_every_compression_has_its_layer() -> None:
    layers = {"nested": NestedDropout, "dropout": torch.nn.Dropout, "none": torch.nn.Identity}
    for compression, layer in layers.items():
        recipe = CoTeaching(build, compression=compression)
        for name in recipe.networks():
            assert recipe.plain(name).head.bias is None
            assert isinstance(recipe.plain(name).compression, layer)
    with pytest.raises(InputError, match="compression"):
        CompressFeatures(build, compression="zip")
    for rate in (-0.1, 1.0):
        with pytest.raises(InputError, match="forget_rate"):
            CoTeaching(build, forget_rate=rate)


@pytest.mark.parametrize("options", [{"compression": "none"}, {"compression": "dropout", "dropout": 0.0}])
def test_without_compression_it_is_plain_cross_entropy(options: dict[str, Any]) -> None:
    data = tiny_data()
    with seeded(0):
        recipe = CompressFeatures(build, **options)
    reference = copy.deepcopy(recipe.network)
    train(recipe, data, settings(epochs=1, batch_size=24, schedule="constant"))
    optimizer = torch.optim.SGD(reference.parameters(), lr=0.02)
    functional.cross_entropy(reference(data.inputs), data.labels).backward()
    optimizer.step()
    for mine, theirs in zip(recipe.network.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_dropout_0_is_plain_co_teaching() -> None:
    states = []
    for options in ({"compression": "none"}, {"compression": "dropout", "dropout": 0.0}):
        with seeded(0):
            recipe = CoTeaching(build, **options)
        train(recipe, tiny_data(), settings())
        states.append(recipe.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_forgetting_nothing_trains_each_network_on_the_other_half() -> None:
    data = tiny_data(9)  # odd: the last example sits out
    with seeded(0):
        recipe = CoTeaching(build, forget_rate=0.0)
    halves = {"network": slice(4, 8), "peer": slice(0, 4)}
    expected = {}
    for name, rows in halves.items():
        reference = copy.deepcopy(getattr(recipe, name))
        loss = functional.cross_entropy(reference(data.inputs[rows]), data.labels[rows])
        gradients = torch.autograd.grad(loss, list(reference.parameters()))
        expected[name] = [p - 0.1 * g for p, g in zip(reference.parameters(), gradients, strict=True)]
    descent = Descent(recipe)
    recipe.exchange(as_batch(data), descent, 0.0)
    assert descent.steps == ["network", "peer"]
    for name, values in expected.items():
        for mine, theirs in zip(getattr(recipe, name).parameters(), values, strict=True):
            torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize(("count", "forget_rate", "steps"), [(1, 0.0, 0), (2, 0.0, 2), (3, 0.5, 0), (4, 0.5, 2)])
def test_a_half_that_keeps_nobody_takes_no_step(count: int, forget_rate: float, steps: int) -> None:
    recipe = CoTeaching(build)
    descent = Descent(recipe)
    losses = recipe.exchange(as_batch(tiny_data(count)), descent, forget_rate)
    assert len(descent.steps) == steps
    assert all(torch.isfinite(loss) for loss in losses.values())


def test_both_networks_draw_the_same_prefix() -> None:
    recipe = CoTeaching(build, compression="nested", std=4.0)
    recipe.generator = generator(0, "test")
    drawn = set()
    for _ in range(20):
        recipe.draw_prefix()
        lengths = {recipe.plain(name).compression.drawn for name in recipe.networks()}
        assert len(lengths) == 1
        drawn |= lengths
    assert len(drawn) > 1


def test_prefix_accuracy_by_hand() -> None:
    data = tiny_data(20)
    labels = data.labels.clone()
    labels[[3, 11]] = -1
    data = TrainingData(data.inputs, labels, 3)
    with seeded(0):
        recipe = CoTeaching(build, compression="nested")
    found = recipe.prefix_accuracy(data, batch_size=6)
    assert found.shape == (7,)
    for k in range(1, 8):
        recipe.keep.fill_(k)
        recipe.eval()
        right = [
            int(recipe.predict(data.inputs[i : i + 1]).argmax()) == int(labels[i]) for i in range(20) if labels[i] >= 0
        ]
        assert float(found[k - 1]) == pytest.approx(np.mean(right))
    nobody = TrainingData(data.inputs, torch.full_like(labels, -1), 3)
    assert recipe.prefix_accuracy(nobody).tolist() == [0.0] * 7


def test_the_prefix_is_chosen_on_validation_and_reported() -> None:
    data = tiny_data()
    recipe = CompressFeatures(build, compression="nested", std=3.0)
    assert recipe.extra_manifest() == {"channels_kept": 7}
    train(recipe, data, settings(), validation=data)
    assert int(recipe.keep) == select_prefix(recipe.prefix_accuracy(data))
    assert recipe.extra_manifest() == {"channels_kept": int(recipe.keep)}
    unguided = CompressFeatures(build, compression="nested", std=3.0)
    train(unguided, data, settings())
    assert int(unguided.keep) == 0


def test_stages() -> None:
    data = tiny_data()
    recipe = CoTeaching(build, alone=0.5, num_gradual=2, forget_rate=0.4, stage_two_rate=0.1)
    recipe.begin(data, None, 6)
    assert [recipe.learning_rate_factor(epoch) for epoch in range(6)] == [1, 1, 1, 0.1, 0.1, 0.1]
    assert recipe.forget_rates == pytest.approx([0.0, 0.4, 0.4])
    recipe.begin_epoch(0)
    descent = Descent(recipe)
    recipe.generator = generator(0, "test")
    reference = copy.deepcopy(recipe.peer)
    recipe.step(as_batch(data), descent)
    loss = functional.cross_entropy(reference(data.inputs), data.labels)
    gradients = torch.autograd.grad(loss, list(reference.parameters()))
    for mine, before, gradient in zip(recipe.peer.parameters(), reference.parameters(), gradients, strict=True):
        torch.testing.assert_close(mine, before - 0.1 * gradient)


def test_frozen_norm_keeps_its_statistics_in_the_second_stage() -> None:
    data = TrainingData(randn(16, 1, 8, 8).float(), torch.arange(16) % 3, 3)
    for frozen in (True, False):
        recipe = CoTeaching(lambda: build_network("cnn", (1, 8, 8), 3), freeze_norm=frozen)
        before = {name: value.clone() for name, value in recipe.state_dict().items() if "running_" in name}
        assert before
        train(recipe, data, settings(epochs=1))
        same = [torch.equal(recipe.state_dict()[name], value) for name, value in before.items()]
        assert all(same) if frozen else not any(same)
