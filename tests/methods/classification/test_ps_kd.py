"""PS-KD against closed forms and a slow loop."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from labelwise.errors import InputError
from labelwise.methods.classification.cross_entropy import CrossEntropy
from labelwise.methods.classification.label_smoothing import LabelSmoothing
from labelwise.methods.classification.mixup import Mixup
from labelwise.methods.classification.ps_kd import PSKD, PSKDTargets, progressive_alpha, refine_targets
from labelwise.networks.build import build_network
from labelwise.networks.network import Network
from labelwise.numerics.losses import soft_cross_entropy
from labelwise.training.data import Batch, TrainingData
from labelwise.training.loop import train
from labelwise.training.seeding import seeded
from labelwise.training.settings import Settings


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_alpha_rises_evenly() -> None:
    assert [progressive_alpha(epoch, 4, 0.8) for epoch in range(4)] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert progressive_alpha(0, 1, 0.3) == pytest.approx(0.3)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("shape", [(3,), (4, 2), (2, 3, 5)])
def test_targets_are_distributions_that_keep_the_label(alpha: float, shape: tuple[int, ...]) -> None:
    previous = randn(*shape).softmax(dim=-1)
    labels = torch.arange(previous[..., 0].numel()).reshape(shape[:-1]) % shape[-1]
    onehot = functional.one_hot(labels, shape[-1]).double()
    targets = refine_targets(onehot, previous, alpha)
    assert targets.shape == shape
    assert (targets >= 0).all()
    torch.testing.assert_close(targets.sum(dim=-1), torch.ones(shape[:-1], dtype=torch.float64))
    assert (targets[onehot.bool()] >= 1 - alpha - 1e-12).all()


def test_memory_keeps_rows_that_are_not_visited() -> None:
    criterion = PSKDTargets(4, 3, 0.8, 2).double()
    logits = randn(3, 3).requires_grad_()
    criterion.update(torch.tensor([0, 2, 3]), logits)
    torch.testing.assert_close(criterion.memory(torch.tensor([0, 2, 3])), logits.detach().softmax(dim=1))
    assert not criterion.memory.targets.requires_grad
    criterion.update(torch.tensor([2]), -logits[1:2])
    torch.testing.assert_close(criterion.memory.targets[0], logits.detach()[0].softmax(dim=0))
    assert (criterion.memory.targets[1] == 0).all()
    again = PSKDTargets(4, 3, 0.8, 2).double()
    again.load_state_dict(criterion.state_dict())
    assert torch.equal(again.memory.targets, criterion.memory.targets)


def test_the_first_epoch_trains_on_the_labels_whatever_alpha_is() -> None:
    criterion = PSKDTargets(4, 3, 1.0, 1)
    criterion.memory.targets.fill_(1 / 3)
    criterion.begin_epoch(0)
    labels = torch.tensor([2, 0])
    assert torch.equal(criterion.targets(torch.tensor([1, 3]), labels), torch.eye(3)[labels])


def test_gradient_is_softmax_less_target() -> None:
    logits = randn(4, 5).requires_grad_()
    targets = randn(4, 5, seed=1).softmax(dim=1)
    soft_cross_entropy(logits, targets).backward()
    torch.testing.assert_close(logits.grad, (logits.detach().softmax(dim=1) - targets) / 4)


def test_no_gradient_where_the_target_is_the_prediction() -> None:
    logits = randn(4, 5).requires_grad_()
    targets = refine_targets(torch.eye(5, dtype=torch.float64)[:4], logits.detach().softmax(dim=1), 1.0)
    soft_cross_entropy(logits, targets).backward()
    torch.testing.assert_close(logits.grad, torch.zeros_like(logits), atol=1e-15, rtol=0)


def test_improved_examples_weigh_less() -> None:
    """Section 3.2: the pull on the true class is scaled by 1 - alpha (1 - P) / (1 - p)."""
    alpha, label = 0.6, 1
    logits = randn(1, 3).requires_grad_()
    p = float(logits.detach().softmax(dim=1)[0, label])
    for earlier in (0.5 * p, p, 0.5 * (1 + p)):
        previous = torch.full((1, 3), (1 - earlier) / 2, dtype=torch.float64)
        previous[0, label] = earlier
        targets = refine_targets(torch.eye(3, dtype=torch.float64)[[label]], previous, alpha)
        (gradient,) = torch.autograd.grad(soft_cross_entropy(logits, targets), logits)
        weight = 1 - alpha * (1 - earlier) / (1 - p)
        assert float(gradient[0, label]) == pytest.approx(weight * (p - 1))


# --- the recipe


def build() -> Network:
    return build_network("mlp-7", (4,), 3)


def tiny_data() -> TrainingData:
    return TrainingData(randn(20, 4).float(), torch.arange(20) % 3, 3)


def trained(recipe_type: Any, epochs: int, **options: Any) -> dict[str, Tensor]:
    with seeded(0):
        recipe = recipe_type(build, **options)
    train(recipe, tiny_data(), Settings(epochs=epochs, batch_size=8, accelerator="cpu", learning_rate=0.1))
    return recipe.network.state_dict()


@pytest.mark.parametrize("teacher", ["memory", "snapshot"])
def test_alpha_0_is_cross_entropy_step_for_step(teacher: str) -> None:
    plain = trained(CrossEntropy, 4)
    for name, value in trained(PSKD, 4, alpha_T=0.0, teacher=teacher).items():
        torch.testing.assert_close(value, plain[name])


@pytest.mark.parametrize(
    ("plain", "options", "refined"),
    [
        (LabelSmoothing, {"smoothing": 0.2}, {"smoothing": 0.2}),
        (LabelSmoothing, {"smoothing": 0.2}, {"smoothing": 0.2, "teacher": "snapshot"}),
        (Mixup, {"alpha": 1.0}, {"mixup_alpha": 1.0, "teacher": "snapshot"}),
    ],
)
def test_combined_with_a_regulariser_alpha_0_is_the_regulariser(plain: Any, options: Any, refined: Any) -> None:
    expected = trained(plain, 3, **options)
    for name, value in trained(PSKD, 3, alpha_T=0.0, **refined).items():
        torch.testing.assert_close(value, expected[name])
    assert not torch.allclose(trained(PSKD, 3, alpha_T=0.9, **refined)["head.weight"], expected["head.weight"])


def test_smoothed_targets_by_hand() -> None:
    criterion = PSKDTargets(2, 4, 0.5, 2, smoothing=0.2).double()
    criterion.memory.targets.copy_(torch.tensor([[0.1, 0.2, 0.3, 0.4]] * 2))
    criterion.begin_epoch(1)
    found = criterion.targets(torch.tensor([1]), torch.tensor([2]))
    torch.testing.assert_close(
        found, torch.tensor([[0.075, 0.125, 0.575, 0.225]], dtype=torch.float64), atol=1e-6, rtol=0
    )


@pytest.mark.parametrize("teacher", ["memory", "snapshot"])
def test_the_first_epoch_is_cross_entropy_for_any_alpha(teacher: str) -> None:
    plain = trained(CrossEntropy, 1)
    for name, value in trained(PSKD, 1, alpha_T=0.9, teacher=teacher).items():
        torch.testing.assert_close(value, plain[name])
    later = trained(CrossEntropy, 3)
    assert not torch.allclose(trained(PSKD, 3, alpha_T=0.9, teacher=teacher)["head.weight"], later["head.weight"])


def run_epochs(recipe: PSKD, data: TrainingData, epochs: int) -> None:
    optimizer = torch.optim.SGD(recipe.network.parameters(), lr=0.1)

    def optimise(loss: Tensor, network: str = "network") -> None:
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    recipe.begin(data, None, epochs)
    for epoch in range(epochs):
        recipe.begin_epoch(epoch)
        for rows in torch.arange(len(data)).split(8):
            recipe.step(Batch(index=rows, inputs=data.inputs[rows], labels=data.labels[rows]), optimise)


def test_the_snapshot_is_the_network_at_the_start_of_the_epoch() -> None:
    data = tiny_data()
    with seeded(0):
        recipe = PSKD(build, alpha_T=0.8, teacher="snapshot")
    network, onehot = copy.deepcopy(recipe.network), torch.eye(3)[data.labels]
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for epoch in range(3):
        earlier = onehot if epoch == 0 else network(data.inputs).softmax(dim=1).detach()
        alpha = 0.8 * (epoch + 1) / 3
        for rows in torch.arange(20).split(8):
            targets = (1 - alpha) * onehot[rows] + alpha * earlier[rows]
            optimizer.zero_grad()
            (-(targets * network(data.inputs[rows]).log_softmax(dim=1)).sum() / len(rows)).backward()
            optimizer.step()
    run_epochs(recipe, data, 3)
    for mine, theirs in zip(recipe.network.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)
    assert not any(parameter.requires_grad for parameter in recipe.snapshot.parameters())
    assert recipe.criterion.memory.targets.shape == (0, 3)  # no table


def test_bad_options_are_refused() -> None:
    with pytest.raises(InputError, match="teacher"):
        PSKD(build, teacher="oracle")
    for alpha in (-0.1, 1.1, float("nan")):
        with pytest.raises(InputError, match="alpha_T"):
            PSKD(build, alpha_T=alpha)
    with pytest.raises(InputError, match="smoothing"):
        PSKD(build, smoothing=1.0)
    with pytest.raises(InputError, match="snapshot"):
        PSKD(build, mixup_alpha=1.0)
