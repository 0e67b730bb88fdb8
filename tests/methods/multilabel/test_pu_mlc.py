"""What must hold of PU-MLC: which labels count, what carries gradient, boundary batches, the minimiser it promises."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from labelwise.errors import InputError
from labelwise.methods.multilabel.cross_entropy import MultiLabelCrossEntropy
from labelwise.methods.multilabel.pu_mlc import (
    PUMLC,
    PUMLCLoss,
    adaptive_temperature,
    log_mixup_consistency,
    pu_mixup_targets,
    pu_mlc_loss,
    rebalance_weight,
)
from labelwise.networks.build import build_network
from labelwise.networks.local_global import LocalGlobalConv2d
from labelwise.training.data import Batch


def draw(rows: int = 8, classes: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits (rows, classes) float64 and labels in {1, 0, -1}."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, classes, generator=generator, dtype=torch.float64)
    return logits, torch.randint(-1, 2, (rows, classes), generator=generator)


def batch_of(inputs: Tensor, labels: Tensor) -> Batch:
    return Batch(index=torch.arange(len(inputs)), inputs=inputs, labels=labels)


def test_absent_and_unknown_labels_are_alike() -> None:
    logits, labels = draw()
    for changed in (labels.where(labels == 1, 0), labels.where(labels == 1, -1)):
        assert torch.equal(pu_mlc_loss(logits, changed), pu_mlc_loss(logits, labels))
        assert torch.equal(pu_mixup_targets(logits, changed), pu_mixup_targets(logits, labels))


def test_without_weights_and_temperature_it_is_the_plain_variational_loss() -> None:
    logits, labels = draw()
    probs = logits.sigmoid()
    expected = sum(
        math.log(float(probs[:, k].mean())) - float(probs[:, k][labels[:, k] == 1].log().mean()) for k in range(3)
    )
    assert float(pu_mlc_loss(logits, labels, gamma=0, alpha=math.inf)) == pytest.approx(expected)
    assert torch.equal(adaptive_temperature(logits, math.inf), torch.ones(3, dtype=torch.float64))
    assert torch.equal(adaptive_temperature(logits, 1e6), torch.ones(3, dtype=torch.float64))


def test_reductions_are_over_classes() -> None:
    logits, labels = draw()
    each = pu_mlc_loss(logits, labels, reduction="none")
    assert each.shape == (3,)
    assert torch.allclose(pu_mlc_loss(logits, labels, reduction="mean"), each.mean())
    assert torch.allclose(PUMLCLoss()(logits, labels), each.sum())


def test_a_class_without_positives_has_the_unlabelled_term_alone() -> None:
    logits, labels = draw()
    labels[:, 1] = 0
    logits.requires_grad_()
    pu_mlc_loss(logits, labels).backward()
    other = logits.detach().clone().requires_grad_()
    temperature = adaptive_temperature(other[:, 1:2])
    probs = (other[:, 1:2] / temperature).sigmoid()
    (rebalance_weight(probs) * torch.log(probs.mean(dim=0) + 1e-10)).sum().backward()
    assert torch.allclose(logits.grad[:, 1], other.grad[:, 1])
    assert (other.grad[:, 1] > 0).all()


def test_classes_do_not_see_each_other() -> None:
    logits, labels = draw()
    other = logits.clone()
    other[:, 0] += 3 * torch.randn(8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    before, after = (pu_mlc_loss(each, labels, reduction="none") for each in (logits, other))
    assert not torch.equal(before[0], after[0])
    assert torch.equal(before[1:], after[1:])


def test_temperature_and_weight_carry_no_gradient() -> None:
    logits, labels = draw()
    temperature = adaptive_temperature(logits)
    weight = rebalance_weight((logits / temperature).sigmoid())

    def held(values: Tensor) -> float:
        probs = (values / temperature).sigmoid()
        positive = (labels == 1).double()
        terms = weight * (probs.mean(dim=0) + 1e-10).log()
        return float((terms - (positive * (probs + 2e-10).log()).sum(dim=0) / positive.sum(dim=0)).sum())

    logits.requires_grad_()
    pu_mlc_loss(logits, labels).backward()
    for place in [(0, 0), (3, 1), (7, 2)]:
        step = torch.zeros_like(logits)
        step[place] = 1e-6
        slope = (held(logits.detach() + step) - held(logits.detach() - step)) / 2e-6
        assert float(logits.grad[place]) == pytest.approx(slope, abs=1e-7)


def test_the_minimiser_is_proportional_to_the_posterior() -> None:
    # Three kinds of rows, in numbers that stand for p(x), and positives among them that stand for p(x | positive).
    all_counts, positive_counts = np.array([40, 40, 20]), np.array([4, 12, 16])
    kinds = torch.from_numpy(np.repeat(np.arange(3), all_counts))
    labels = torch.zeros(100, 1)
    for kind, count in enumerate(positive_counts):
        labels[np.flatnonzero(kinds.numpy() == kind)[:count]] = 1
    values = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([values], lr=0.05)
    for _ in range(600):
        optimizer.zero_grad()
        pu_mlc_loss(values[kinds][:, None], labels, gamma=0, alpha=math.inf).backward()
        optimizer.step()
    found = values.detach().sigmoid().numpy()
    expected = positive_counts / all_counts
    np.testing.assert_allclose(found / found.max(), expected / expected.max(), rtol=1e-3)


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5])
def test_mixup_takes_halves(rows: int) -> None:
    generator = torch.Generator().manual_seed(rows)
    x, labels = torch.randn(rows, 4, generator=generator), torch.zeros(rows, 2)
    seen: list[Tensor] = []

    def model(inputs: Tensor) -> Tensor:
        seen.append(inputs)
        return inputs[:, :2]

    half = max(1, rows // 2)
    perm = torch.arange(half).flip(0)
    log_mixup_consistency(model, x, labels, x[:, :2], lam=0.25, perm=perm)
    first, second = [*range(half)][::-1], [*range(rows - half, rows)]
    assert torch.allclose(seen[0], 0.25 * x[first] + 0.75 * x[second])


def test_consistency_is_zero_where_the_model_says_the_targets() -> None:
    logits, labels = draw()
    x = torch.arange(8.0, dtype=torch.float64)[:, None]
    q = pu_mixup_targets(logits, labels)
    perm = torch.tensor([2, 0, 3, 1])
    mixed = 0.3 * q[:4][perm] + 0.7 * q[4:]
    loss = log_mixup_consistency(lambda _: torch.logit(mixed), x, labels, logits, lam=0.3, perm=perm)
    assert float(loss) == pytest.approx(0, abs=1e-15)
    away = log_mixup_consistency(lambda _: torch.logit(mixed) + 1, x, labels, logits, lam=0.3, perm=perm)
    assert float(away) > 0
    alone = log_mixup_consistency(lambda _: torch.logit(q[:4][perm]), x, labels, logits, lam=1.0, perm=perm)
    assert float(alone) == pytest.approx(0, abs=1e-15)


def test_draws_come_from_the_generator() -> None:
    logits, labels = draw()
    x = torch.randn(8, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def loss(seed: int, **options: Any) -> float:
        generator = torch.Generator().manual_seed(seed)
        return float(log_mixup_consistency(lambda z: z, x, labels, logits, generator=generator, **options))

    assert loss(0) == loss(0) != loss(1)
    assert loss(0, lam=0.5, perm=torch.arange(4)) == loss(1, lam=0.5, perm=torch.arange(4))
    with pytest.raises(ValueError, match="give a generator"):
        log_mixup_consistency(lambda z: z, x, labels, logits, lam=0.5)


@pytest.mark.parametrize("value", [0.0, 5.0, 1e4, -1e4])
@pytest.mark.parametrize("rows", [1, 4])
def test_boundary_batches_are_finite(value: float, rows: int) -> None:
    for labels in (torch.zeros(rows, 2), torch.ones(rows, 2), -torch.ones(rows, 2)):
        logits = torch.full((rows, 2), value, requires_grad=True)
        loss = pu_mlc_loss(logits, labels) + log_mixup_consistency(
            lambda x: x, logits, labels, logits, generator=torch.Generator().manual_seed(0)
        )
        loss.backward()
        assert torch.isfinite(loss)
        assert torch.isfinite(logits.grad).all()


class Affine(nn.Module):
    """A network small enough to follow by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.linear(inputs)


def test_the_recipe_adds_its_terms_and_averages_weights() -> None:
    inputs, labels = torch.randn(6, 3, generator=torch.Generator().manual_seed(0)), draw(6, 2)[1]
    recipe = PUMLC(Affine, consistency=0.5, ema_decay=0.75)
    recipe.generator = torch.Generator().manual_seed(3)
    terms = recipe.loss(batch_of(inputs, labels))
    assert torch.allclose(terms.loss, terms.variational + 0.5 * terms.consistency)
    assert torch.allclose(terms.variational, pu_mlc_loss(recipe.network(inputs), labels))
    again = torch.Generator().manual_seed(3)
    expected = log_mixup_consistency(recipe.network, inputs, labels, recipe.network(inputs), generator=again)
    assert torch.allclose(terms.consistency, expected)

    before = recipe.network.linear.weight.detach().clone()

    def optimise(loss: Tensor, network: str = "network") -> None:
        with torch.no_grad():
            recipe.network.linear.weight += 1

    recipe.step(batch_of(inputs, labels), optimise)
    assert recipe.average is not None
    assert torch.allclose(recipe.average.network.linear.weight, before + 0.25)
    assert torch.allclose(recipe.predict(inputs), recipe.average(inputs))
    plain = PUMLC(Affine, consistency=0)
    assert float(plain.loss(batch_of(inputs, labels)).consistency) == 0


def test_local_global_changes_nothing_at_the_start_but_what_is_trained() -> None:
    def build() -> nn.Module:
        torch.manual_seed(0)
        return build_network("cnn", (3, 16, 16), 4)

    inputs = torch.randn(5, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.random.fork_rng():
        plain, wide = PUMLC(build).eval(), PUMLC(build, local_global=True).eval()
    converted = [module for module in wide.modules() if isinstance(module, LocalGlobalConv2d)]
    assert [module.conv.in_channels for module in converted] == [32]
    with torch.no_grad():
        torch.testing.assert_close(wide.predict(inputs), plain.predict(inputs), atol=1e-2, rtol=0)


def test_cross_entropy_leaves_unknown_entries_out_or_takes_them_for_absent() -> None:
    inputs, labels = torch.randn(6, 3, generator=torch.Generator().manual_seed(0)), draw(6, 2)[1]
    recipe = MultiLabelCrossEntropy(Affine)
    logits = recipe.network(inputs)
    known = labels >= 0
    each = -torch.where(labels == 1, logits.sigmoid().log(), (1 - logits.sigmoid()).log())
    assert torch.allclose(recipe.loss(batch_of(inputs, labels)), each[known].mean())
    assume = MultiLabelCrossEntropy(lambda: recipe.network, unknown="negative")
    assert torch.allclose(assume.loss(batch_of(inputs, labels)), each.mean())
    nothing = recipe.loss(batch_of(inputs, -torch.ones(6, 2)))
    nothing.backward()
    assert nothing.item() == 0
    assert not recipe.network.linear.weight.grad.any()


def test_mixed_labels_are_known_where_both_are() -> None:
    inputs, labels = torch.zeros(2, 3), torch.tensor([[1, -1, 0], [0, 1, -1]])
    recipe = MultiLabelCrossEntropy(lambda: nn.Linear(3, 3), mixup_alpha=1.0)
    logits = recipe.network(inputs)[0].detach()
    for seed in range(8):
        recipe.generator = torch.Generator().manual_seed(seed)
        loss = recipe.loss(batch_of(inputs, labels)).item()
        recipe.generator = torch.Generator().manual_seed(seed)
        swapped = bool(torch.randperm(2, generator=recipe.generator)[0] == 1)
        if not swapped:  # each row with itself: known entries stay known
            p = logits.sigmoid()
            expected = -(p[0].log() + (1 - p[2]).log() + (1 - p[0]).log() + p[1].log()) / 4
            assert loss == pytest.approx(float(expected), rel=1e-5)
        else:  # only the first label is known in both; its two targets add up to one
            expected = -(logits[0].sigmoid().log() + (1 - logits[0].sigmoid()).log()) / 2
            assert loss == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: pu_mlc_loss(*draw(), gamma=-1), "gamma is -1"),
        (lambda: pu_mlc_loss(*draw(), gamma=math.nan), "gamma is nan"),
        (lambda: pu_mlc_loss(*draw(), alpha=0), "alpha 0"),
        (lambda: PUMLCLoss(alpha=math.nan), "alpha nan"),
        (lambda: PUMLC(Affine, consistency=-1), "consistency is -1"),
        (lambda: PUMLC(Affine, consistency=math.inf), "consistency is inf"),
        (lambda: PUMLC(Affine, mix_alpha=-0.1), "mix_alpha -0.1"),
        (lambda: PUMLC(Affine, ema_decay=1.0), "ema_decay is 1.0"),
        (lambda: PUMLC(Affine, local_global=True), "no 3x3 convolution"),
        (lambda: MultiLabelCrossEntropy(Affine, unknown="positive"), "unknown is 'positive'; choose"),
    ],
)
def test_bad_options_are_refused(build: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        build()
