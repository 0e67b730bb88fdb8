"""ELR and ELR+ against closed forms, finite differences and slow loops."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from labelwise.memory.targets import TargetMemory
from labelwise.memory.teacher import update_ema
from labelwise.methods.classification.elr import ELR, ELRLoss, ELRPlus, ELRPlusLoss, elr_regularizer, reweight_labels
from labelwise.networks.build import build_network
from labelwise.training.data import Batch, TrainingData
from labelwise.training.seeding import generator


def draw(batch: int, classes: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Logits that stay within the clamp, labels, and the rows of a memory of 2 x batch examples."""
    rng = torch.Generator().manual_seed(seed)
    logits = torch.randn(batch, classes, generator=rng, dtype=torch.float64)
    labels = torch.randint(classes, (batch,), generator=rng)
    return logits, labels, torch.randperm(2 * batch, generator=rng)[:batch]


def plain_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    return -torch.log_softmax(logits, dim=1)[torch.arange(len(labels)), labels].mean()


def filled(num_examples: int, classes: int, seed: int = 3, **options: Any) -> ELRLoss:
    criterion = ELRLoss(num_examples, classes, **options).double()
    probs = torch.rand(num_examples, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    criterion.memory.targets.copy_(0.8 * probs / probs.sum(dim=1, keepdim=True))
    return criterion


@pytest.mark.parametrize(("batch", "classes"), [(1, 2), (4, 2), (6, 5)])
def test_without_regulariser_it_is_cross_entropy_and_the_memory_moves(batch: int, classes: int) -> None:
    logits, labels, index = draw(batch, classes)
    criterion = ELRLoss(2 * batch, classes, lambda_=0.0).double()
    leaf, plain = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    loss = criterion(leaf, labels, index).loss
    expected = plain_cross_entropy(plain, labels)
    loss.backward()
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
    torch.testing.assert_close(leaf.grad, plain.grad, rtol=1e-12, atol=1e-15)
    assert (criterion.memory.targets[index] > 0).all()


@pytest.mark.parametrize(("batch", "classes"), [(1, 2), (5, 3), (4, 10)])
def test_gradient_is_the_closed_form(batch: int, classes: int) -> None:
    logits, labels, index = draw(batch, classes)
    criterion = filled(2 * batch, classes, lambda_=7.0, beta=0.9)
    leaf = logits.clone().requires_grad_()
    criterion(leaf, labels, index).loss.backward()
    expected = np.zeros((batch, classes))
    memory = criterion.memory.targets.numpy()  # already updated, as the loss saw it
    for row in range(batch):
        p = np.exp(logits[row].numpy())
        p /= p.sum()
        inner = memory[index[row]] @ p
        for c in range(classes):
            pull = p[c] / (1 - inner) * (inner - memory[index[row], c])
            expected[row, c] = (p[c] - float(c == labels[row]) + 7.0 * pull) / batch
    np.testing.assert_allclose(leaf.grad.numpy(), expected, rtol=1e-9, atol=1e-12)


def test_gradient_is_the_finite_difference_where_the_clamp_acts() -> None:
    """A clamped entry passes no gradient of the regulariser, while cross-entropy is not clamped."""
    logits = torch.tensor([[14.0, 0.0, 0.3], [0.2, -0.1, 0.5]], dtype=torch.float64)
    target = torch.tensor([[0.5, 0.2, 0.1], [0.1, 0.6, 0.2]], dtype=torch.float64)
    labels = torch.tensor([1, 2])

    def value(z: Tensor) -> Tensor:
        probs = z.softmax(dim=1).clamp(1e-4, 1 - 1e-4)
        return plain_cross_entropy(z, labels) + 3.0 * torch.log(1 - (target * probs).sum(dim=1)).mean()

    criterion = ELRPlusLoss(2, 3, lambda_=3.0, beta=0.7).double()
    leaf = logits.clone().requires_grad_()
    onehot = torch.eye(3, dtype=torch.float64)[labels]
    criterion(leaf, onehot, target).loss.backward()
    step = 1e-6
    for place in np.ndindex(2, 3):
        up, down = logits.clone(), logits.clone()
        up[place] += step
        down[place] -= step
        assert leaf.grad[place].item() == pytest.approx(float(value(up) - value(down)) / (2 * step), abs=1e-8)


def test_gradient_reaches_neither_memory_nor_teacher() -> None:
    logits, labels, index = draw(4, 3)
    criterion = ELRPlusLoss(8, 3, lambda_=3.0, beta=0.7).double()
    teacher = logits.clone().requires_grad_()
    targets = criterion.update_targets(teacher, index)
    assert not targets.requires_grad
    student = logits.clone().requires_grad_()
    criterion(student, torch.eye(3, dtype=torch.float64)[labels], targets).loss.backward()
    assert teacher.grad is None
    plain = ELRLoss(8, 3)
    assert not plain.memory.targets.requires_grad
    assert not list(plain.parameters())


def test_memory_moves_only_the_batch_and_sums_to_one_less_beta_to_the_k() -> None:
    logits, labels, index = draw(3, 4)
    criterion = ELRLoss(6, 4, beta=0.7).double()
    probs = logits.softmax(dim=1)
    others = [row for row in range(6) if row not in index.tolist()]
    for visit in range(1, 6):
        criterion(logits, labels, index)
        torch.testing.assert_close(criterion.memory(index), (1 - 0.7**visit) * probs, rtol=1e-9, atol=1e-12)
        assert (criterion.memory.targets[others] == 0).all()
        sums = criterion.memory.targets.sum(dim=1)
        assert ((sums >= 0) & (sums <= 1)).all()


@pytest.mark.parametrize("scale", [0.0, 1.0, 30.0, 1e4])
@pytest.mark.parametrize("classes", [2, 7])
def test_regulariser_is_finite_and_at_most_zero(scale: float, classes: int) -> None:
    logits, labels, index = draw(5, classes)
    criterion = ELRLoss(10, classes)
    for sign in (1, 1, 1, -1):
        leaf = (sign * scale * logits).float().requires_grad_()
        terms = criterion(leaf, labels, index)
        terms.loss.backward()
        assert torch.isfinite(terms.loss)
        assert terms.regularizer <= 0
        assert torch.isfinite(leaf.grad).all()
    sure = torch.tensor([[1 - 1e-4, 1e-4]])
    assert torch.isfinite(elr_regularizer(sure, torch.tensor([[1.0, 0.0]])))


def test_shift_of_a_row_and_order_of_the_batch_change_nothing() -> None:
    logits, labels, index = draw(6, 3)
    plain, shifted, permuted = (filled(12, 3) for _ in range(3))
    order = torch.tensor([3, 1, 5, 0, 4, 2])
    loss = plain(logits, labels, index).loss
    shift = torch.arange(6, dtype=torch.float64)[:, None] * 7 - 20
    torch.testing.assert_close(shifted(logits + shift, labels, index).loss, loss)
    torch.testing.assert_close(permuted(logits[order], labels[order], index[order]).loss, loss)
    torch.testing.assert_close(shifted.memory.targets, plain.memory.targets)
    torch.testing.assert_close(permuted.memory.targets, plain.memory.targets)


def test_plus_mixes_the_updated_rows() -> None:
    teacher, _, index = draw(4, 3)
    criterion = ELRPlusLoss(8, 3, lambda_=3.0, beta=0.6).double()
    criterion.memory.targets.copy_(filled(8, 3).memory.targets)
    before = criterion.memory.targets.clone()
    partner = torch.tensor([2, 2, 0, 1])
    targets = criterion.update_targets(teacher, index, partner, 0.7)
    updated = before.clone()
    for row in range(4):
        updated[index[row]] = 0.6 * before[index[row]] + 0.4 * teacher[row].softmax(dim=0)
    torch.testing.assert_close(criterion.memory.targets, updated)
    for row in range(4):
        torch.testing.assert_close(targets[row], 0.7 * updated[index[row]] + 0.3 * updated[index[partner[row]]])


def test_plus_without_mixing_gives_the_own_row() -> None:
    teacher, _, index = draw(4, 3)
    first, second = (ELRPlusLoss(8, 3, lambda_=3.0, beta=0.6) for _ in range(2))
    own = first.update_targets(teacher.float(), index)
    assert torch.equal(own, first.memory(index))
    assert torch.equal(second.update_targets(teacher.float(), index, torch.tensor([1, 0, 3, 2]), 1.0), own)


def test_plus_ramp() -> None:
    logits, labels, _ = draw(4, 3)
    onehot = torch.eye(3, dtype=torch.float64)[labels]
    targets = 0.5 * logits.softmax(dim=1)

    def added(ramp_steps: int, step: int) -> float:
        terms = ELRPlusLoss(4, 3, 3.0, 0.7, ramp_steps=ramp_steps)(logits, onehot, targets, step)
        return float((terms.loss - terms.cross_entropy) / terms.regularizer)

    assert added(0, 0) == pytest.approx(3.0)
    assert added(0, 99) == pytest.approx(3.0)
    assert added(10, 0) == pytest.approx(3 * math.exp(-5))
    assert added(10, 5) == pytest.approx(3 * math.exp(-5 * 0.25))
    assert added(10, 10) == pytest.approx(3.0)
    assert added(10, 400) == pytest.approx(3.0)


def test_reweighted_labels_sum_to_one_on_their_support() -> None:
    labels = torch.tensor([[0.7, 0.3, 0.0], [1.0, 0.0, 0.0], [0.5, 0.0, 0.5]], dtype=torch.float64)
    targets = torch.tensor([[0.1, 0.3, 0.5], [0.2, 0.2, 0.2], [0.0, 0.9, 0.0]], dtype=torch.float64)
    rows = reweight_labels(labels, targets)
    torch.testing.assert_close(rows[0], torch.tensor([0.07, 0.09, 0.0], dtype=torch.float64) / 0.16)
    torch.testing.assert_close(rows[1], torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64))
    assert (rows[2] == 0).all()  # nothing in common: no weight, never NaN
    assert (rows[labels == 0] == 0).all()


class Student(nn.Module):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((3,), value))
        self.register_buffer("running", torch.full((3,), value))


def test_teacher_copies_the_student_at_step_0_and_keeps_its_buffers() -> None:
    student, teacher = Student(2.0), Student(-1.0)
    update_ema(student, teacher, 0, 0.997)
    assert torch.equal(teacher.weight, student.weight)
    assert (teacher.running == -1.0).all()
    student.weight.data.fill_(4.0)
    update_ema(student, teacher, 1, 0.997)  # decay 1 - 1/2
    assert torch.allclose(teacher.weight, torch.full((3,), 3.0))
    update_ema(student, teacher, 10**6, 0.5)
    assert torch.allclose(teacher.weight, torch.full((3,), 3.5))


def test_a_large_average_pulls_against_a_wrong_label() -> None:
    """At a confident target of another class, the regulariser cancels the pull of the label (section 3.2)."""
    logits = torch.zeros(1, 2, dtype=torch.float64, requires_grad=True)
    plain = torch.zeros(1, 2, dtype=torch.float64, requires_grad=True)
    target = torch.tensor([[0.0, 0.99]], dtype=torch.float64)  # the memory says class 1, the label says class 0
    label = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    ELRPlusLoss(1, 2, lambda_=3.0, beta=0.7)(logits, label, target).loss.backward()
    ELRPlusLoss(1, 2, lambda_=0.0, beta=0.7)(plain, label, target).loss.backward()
    assert plain.grad[0, 0] < 0 < logits.grad[0, 0]


def one_step(recipe: ELR | ELRPlus, data: TrainingData) -> dict[str, Tensor]:
    recipe.begin(data, None, 1)
    recipe.generator = generator(0, "test")
    recipe.begin_epoch(0)
    optimizers = {name: torch.optim.SGD(getattr(recipe, name).parameters(), lr=0.1) for name in recipe.networks()}

    def optimise(loss: Tensor, network: str = "network") -> None:
        optimizers[network].zero_grad()
        loss.backward()
        optimizers[network].step()

    terms = {}
    for number in range(recipe.passes_per_epoch):
        recipe.begin_pass(number)
        batch = Batch(index=torch.arange(len(data)), inputs=data.inputs, labels=data.labels)
        terms = recipe.step(batch, optimise)
    return terms


def tiny_data() -> TrainingData:
    rng = torch.Generator().manual_seed(1)
    return TrainingData(torch.randn(6, 4, generator=rng), torch.tensor([0, 1, 2, 0, 1, 2]), 3)


def test_recipe_reports_its_terms_and_corrections() -> None:
    data = tiny_data()
    recipe = ELR(lambda: build_network("mlp-5", (4,), 3))
    before = recipe.network(data.inputs).softmax(dim=1).detach()
    terms = one_step(recipe, data)
    assert terms["loss"].item() == pytest.approx(float(terms["cross_entropy"] + 3.0 * terms["regularizer"]))
    corrections = recipe.corrections()
    torch.testing.assert_close(corrections.targets, 0.3 * before, rtol=1e-4, atol=1e-6)
    assert corrections.mask.all()
    assert (corrections.weights == 1).all()


def test_plus_recipe_is_taught_across_and_averages_logits() -> None:
    data = tiny_data()
    recipe = ELRPlus(lambda: build_network("mlp-5", (4,), 3), mixup_alpha=0.0, ema_decay=0.5)
    peer_before = recipe.peer_teacher(data.inputs).softmax(dim=1).detach()
    network_before = recipe.network(data.inputs).detach()
    one_step(recipe, data)
    # The first network learnt from the peer's teacher as it stood; the peer from the first one's, which had moved.
    torch.testing.assert_close(recipe.criterion.memory.targets, 0.3 * peer_before, rtol=1e-4, atol=1e-6)
    moved = recipe.teacher(data.inputs).softmax(dim=1).detach()
    torch.testing.assert_close(recipe.peer_criterion.memory.targets, 0.3 * moved, rtol=1e-4, atol=1e-6)
    assert not torch.allclose(recipe.network(data.inputs), network_before)
    assert recipe.steps.tolist() == [1, 1]
    expected = (recipe.network(data.inputs) + recipe.peer(data.inputs)) / 2
    torch.testing.assert_close(recipe.predict(data.inputs), expected)


def test_a_momentum_outside_its_range_is_refused() -> None:
    for beta in (-0.1, 1.0, 1.5, float("nan")):
        with pytest.raises(ValueError, match="momentum"):
            TargetMemory(3, 2, momentum=beta)
