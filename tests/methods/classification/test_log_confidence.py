"""The log-confidence loss: what it is at the ends, and what its gradient may and may not pass through."""

import pytest
import torch
from torch.nn import functional

from labelwise.errors import InputError
from labelwise.methods.classification.log_confidence import LogConfidence, harden, log_confidence_loss
from labelwise.networks.build import build_network


def draw(n: int = 9) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(n)
    return torch.randn(n, 2, generator=generator, dtype=torch.float64), torch.rand(n, generator=generator).double()


def soft(labels: torch.Tensor) -> torch.Tensor:
    return torch.stack([1 - labels, labels], dim=1)


@pytest.mark.parametrize(("step", "aux_coef"), [(0, 0.5), (77, 0.0), (500, 0.0)])
def test_without_auxiliary_weight_it_is_soft_cross_entropy(step: int, aux_coef: float) -> None:
    logits, labels = draw()
    expected = functional.cross_entropy(logits, soft(labels))
    torch.testing.assert_close(log_confidence_loss(logits, labels, step, aux_coef=aux_coef), expected)


def test_the_weight_saturates() -> None:
    logits, labels = draw()
    at = [float(log_confidence_loss(logits, labels, step)) for step in (0, 100, 200, 10_000)]
    assert at[2] == at[3]
    assert at[1] == pytest.approx((at[0] + at[2]) / 2)


def test_the_kl_form_is_zero_at_the_labels_and_positive_elsewhere() -> None:
    logits, labels = draw()
    options = {"aux_coef": 0.0, "subtract_label_entropy": True}
    assert float(log_confidence_loss(soft(labels).log(), labels, 0, **options)) == pytest.approx(0, abs=1e-8)
    assert float(log_confidence_loss(logits, labels, 0, **options)) > 0.01
    hard = torch.tensor([0.0, 1.0], dtype=torch.float64)
    assert float(log_confidence_loss(torch.tensor([[30.0, -30.0], [-30.0, 30.0]]), hard, 0, **options)) < 1e-6


def test_no_gradient_through_hardened_predictions() -> None:
    logits, labels = draw()
    logits.requires_grad_(True)
    (found,) = torch.autograd.grad(log_confidence_loss(logits, labels, 1000), logits)
    target = 0.5 * soft(labels) + 0.5 * harden(logits.detach(), soft(labels))
    expected = (logits.detach().softmax(dim=1) - target) / len(logits)
    torch.testing.assert_close(found, expected)


def test_as_many_are_hardened_to_class_one_as_the_labels_say() -> None:
    logits, _ = draw(101)
    for share in (0.0, 0.1, 0.5, 0.93):
        hard = harden(logits, soft(torch.full((101,), share, dtype=torch.float64)))
        assert float(hard[:, 1].sum()) == pytest.approx(101 * share, abs=1)
        by_confidence = hard[logits.softmax(dim=1)[:, 0].argsort(), 1]
        assert (by_confidence.diff() <= 0).all()  # the surest of class 1 come first


def test_boundary_batches() -> None:
    logits = torch.tensor([[-5.0, 5.0]])
    assert harden(logits, torch.tensor([[0.0, 1.0]])).tolist() == [[1.0, 0.0]]  # a batch of one is always class 0
    empty = log_confidence_loss(torch.zeros(0, 2, requires_grad=True), torch.zeros(0), 3)
    assert float(empty.detach()) == 0
    three = torch.tensor([[0.0, 2.0, 1.0]])
    assert harden(three, torch.full((1, 3), 1 / 3)).tolist() == [[0.0, 1.0, 0.0]]


def test_a_weight_above_one_is_refused() -> None:
    with pytest.raises(InputError, match=r"aux_coef is 1\.5"):
        LogConfidence(lambda: build_network("mlp-4", (2,), 2), aux_coef=1.5)
