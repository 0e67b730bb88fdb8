"""NACL, SVLS and the logit margin: what must hold of the equations, ignored pixels, bad input."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch.nn import functional

from labelwise.errors import InputError
from labelwise.methods.segmentation.logit_margin import LogitMarginLoss
from labelwise.methods.segmentation.nacl import (
    NACLLoss,
    SVLSLoss,
    alpha_at,
    neighborhood_prior,
    svls_decomposition,
    svls_kernel,
    svls_soft_labels,
)

K = 4


def draw(seed: int, shape: tuple[int, ...] = (2, 6, 5), ignored: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(shape[0], K, *shape[1:], generator=generator, dtype=torch.float64)
    targets = torch.randint(0, K, shape, generator=generator)
    return logits, targets.masked_fill(torch.rand(shape, generator=generator) < ignored, 255)


@pytest.mark.parametrize("ignored", [0.0, 0.3])
def test_without_weight_it_is_cross_entropy(ignored: float) -> None:
    logits, targets = draw(0, ignored=ignored)
    expected = functional.cross_entropy(logits, targets, ignore_index=255)
    assert NACLLoss(K, alpha=0.0)(logits, targets).loss.item() == pytest.approx(expected.item(), abs=1e-12)
    assert LogitMarginLoss(margin=1e3)(logits, targets).loss.item() == pytest.approx(expected.item(), abs=1e-12)


@pytest.mark.parametrize("shape", [(2, 6, 5), (1, 3, 4, 5), (1, 1, 1)])
@pytest.mark.parametrize("size", [1, 3, 5])
def test_shares_sum_to_one(shape: tuple[int, ...], size: int) -> None:
    _, targets = draw(1, shape)
    for padding in ("background", "replicate"):
        prior = neighborhood_prior(targets, K, size, padding=padding)
        torch.testing.assert_close(prior.sum(dim=1), torch.ones(shape))
    sums = neighborhood_prior(targets, K, size, padding="zeros").sum(dim=1)
    assert sums.max() <= 1 + 1e-6
    assert (sums.min() < 1) == (size > 1)  # at a border some of the window lies outside
    onehot = functional.one_hot(targets, K).movedim(-1, 1).float()
    assert torch.equal(neighborhood_prior(targets, K, 1), onehot)
    constant = torch.full(shape, 2)
    assert neighborhood_prior(constant, K, size, padding="replicate")[:, 2].min() == pytest.approx(1)


def test_padding_of_the_corner_is_background() -> None:
    prior = neighborhood_prior(torch.full((1, 3, 3), 2), K)[0]
    assert prior[:, 0, 0].tolist() == pytest.approx([5 / 9, 0, 4 / 9, 0])
    assert prior[:, 1, 1].tolist() == pytest.approx([0, 0, 1, 0])


@pytest.mark.parametrize("kernel", ["mean", "gaussian", "max", "min", "median", "mode"])
def test_ignored_pixels_count_nowhere(kernel: str) -> None:
    """Each window's answer is that of the labels it holds: written out pixel by pixel."""
    _, targets = draw(2, (1, 5, 6), ignored=0.4)
    prior = neighborhood_prior(targets, K, kernel=kernel, padding="replicate")[0].numpy()
    weights = svls_kernel(3, 1.0).numpy() if kernel == "gaussian" else np.ones((3, 3))
    padded = np.pad(targets[0].numpy(), 1, mode="edge")
    for row, column in np.ndindex(5, 6):
        window = padded[row : row + 3, column : column + 3]
        shares = np.array([weights[window == k].sum() for k in range(K)])
        labels = np.sort(window[window != 255])
        if not len(labels):
            expected = np.zeros(K)
        elif kernel in ("mean", "gaussian"):
            expected = shares / shares.sum()
        else:
            chosen = {"max": labels[-1], "min": labels[0], "median": labels[(len(labels) - 1) // 2]}
            expected = np.eye(K)[chosen.get(kernel, shares.argmax())]
        np.testing.assert_allclose(prior[:, row, column], expected, atol=1e-6)


@pytest.mark.parametrize("power", [1, 2])
def test_alike_neighbours_weigh_more(power: int) -> None:
    _, targets = draw(3, (1, 4, 5))
    images = torch.randn(1, 4, 5, generator=torch.Generator().manual_seed(4))
    prior = neighborhood_prior(targets, K, kernel=f"image_proportions_l{power}", images=images)[0].numpy()
    x, y = images[0].numpy(), targets[0].numpy()
    for row, column in np.ndindex(4, 5):
        shares = np.zeros(K)
        for r in range(max(row - 1, 0), min(row + 2, 4)):
            for c in range(max(column - 1, 0), min(column + 2, 5)):
                shares[y[r, c]] += np.exp(-(abs(x[row, column] - x[r, c]) ** power))
        np.testing.assert_allclose(prior[:, row, column], shares / shares.sum(), atol=1e-6)


def test_penalty_moves_logits_by_a_constant() -> None:
    logits, targets = draw(5)
    logits.requires_grad_()
    NACLLoss(K, alpha=0.7)(logits, targets).loss.backward()
    plain = logits.detach().clone().requires_grad_()
    functional.cross_entropy(plain, targets).backward()
    prior = neighborhood_prior(targets, K)
    expected = 0.7 * torch.sign(logits.detach() - prior) / logits.numel()
    torch.testing.assert_close(logits.grad - plain.grad, expected)


def test_nothing_labelled_costs_nothing() -> None:
    for criterion in (NACLLoss(K), SVLSLoss(K), LogitMarginLoss()):
        logits, targets = draw(6)
        logits.requires_grad_()
        found = criterion(logits, torch.full_like(targets, 255))
        loss = found if isinstance(found, torch.Tensor) else found.loss
        loss.backward()
        assert loss.item() == 0
        assert torch.equal(logits.grad, torch.zeros_like(logits))


@pytest.mark.parametrize("criterion", [NACLLoss(K, alpha=0.5), SVLSLoss(K), LogitMarginLoss(0.5, 0.5)])
def test_an_ignored_image_changes_nothing(criterion: torch.nn.Module) -> None:
    logits, targets = draw(7)
    alone = criterion(logits[:1], targets[:1])
    targets[1] = 255
    both = criterion(logits, targets)
    values = [each if isinstance(each, torch.Tensor) else each.loss for each in (alone, both)]
    assert values[0].item() == pytest.approx(values[1].item(), abs=1e-12)


def test_extreme_logits_stay_finite() -> None:
    logits, targets = draw(8)
    for criterion in (NACLLoss(K), SVLSLoss(K), LogitMarginLoss()):
        found = criterion(1e4 * logits, targets)
        assert torch.isfinite(found if isinstance(found, torch.Tensor) else found.loss)


def test_permuted_classes() -> None:
    logits, targets = draw(9)
    order = torch.tensor([2, 0, 3, 1])
    criterion = NACLLoss(K, padding="replicate")
    moved = criterion(logits[:, order.argsort()], order[targets])
    assert moved.loss.item() == pytest.approx(criterion(logits, targets).loss.item(), abs=1e-9)


@pytest.mark.parametrize("size", [3, 5, 7])
@pytest.mark.parametrize("sigma", [0.01, 0.5, 1.0, 100.0])
def test_svls_window(size: int, sigma: float) -> None:
    kernel = svls_kernel(size, sigma)
    assert kernel[size // 2, size // 2] == 1
    assert kernel.sum().item() == pytest.approx(2)
    if sigma >= 0.5:
        impulse = np.zeros((size, size))
        impulse[size // 2, size // 2] = 1
        gauss = ndimage.gaussian_filter(impulse, sigma, radius=size // 2, mode="constant")
        rest = gauss.sum() - gauss[size // 2, size // 2]
        expected = gauss / rest
        expected[size // 2, size // 2] = 1
        np.testing.assert_allclose(kernel.numpy(), expected, rtol=1e-9)


def test_svls_labels_keep_half() -> None:
    _, targets = draw(10)
    labels = svls_soft_labels(targets, K)
    assert labels.gather(1, targets.unsqueeze(1)).min() >= 0.5 - 1e-6
    torch.testing.assert_close(labels.sum(dim=1), torch.ones(targets.shape))


def test_svls_is_two_cross_entropies_at_a_fixed_weight() -> None:
    logits, targets = draw(11)
    own, neighbours = svls_decomposition(logits, targets)
    assert own.item() == pytest.approx(functional.cross_entropy(logits, targets).item())
    assert SVLSLoss(K)(logits, targets).item() == pytest.approx(0.5 * (own + neighbours).item(), abs=1e-6)
    assert neighbours > 0


def test_margin_leaves_smaller_gaps_alone() -> None:
    logits = torch.tensor([[[[0.0]], [[3.0]], [[12.0]]]])
    terms = LogitMarginLoss(margin=10.0, alpha=0.5)(logits, torch.tensor([[[2]]]))
    assert terms.excess.item() == pytest.approx(2 / 3)  # 12 - 0 exceeds 10 by 2, 12 - 3 does not
    assert terms.loss.item() == pytest.approx(terms.cross_entropy.item() + 1 / 3)


@pytest.mark.parametrize(
    ("schedule", "mu", "most", "size", "expected"),
    [
        ("", 5.0, 100, 1, [0.1, 0.1, 0.1, 0.1]),
        ("add", 0.2, 0.45, 1, [0.1, 0.3, 0.45, 0.45]),
        ("multiply", 2.0, 0.5, 1, [0.1, 0.2, 0.4, 0.5]),
        ("step", 10.0, 0.5, 2, [0.1, 0.1, 1.0, 1.0]),
    ],
)
def test_schedules(schedule: str, mu: float, most: float, size: int, expected: list[float]) -> None:
    assert [alpha_at(epoch, 0.1, schedule, mu, most, size) for epoch in range(4)] == pytest.approx(expected)
    criterion = NACLLoss(K, schedule=schedule, mu=mu, max_alpha=most, step_size=size)
    criterion.step_epoch(3)
    assert criterion.alpha == pytest.approx(expected[3])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel_size": 2}, "odd number"),
        ({"kernel_size": 0}, "odd number"),
        ({"kernel": "sharp"}, "kernel is 'sharp'"),
        ({"kernel": "gaussian", "sigma": 0.0}, "sigma is 0"),
        ({"padding": "mirror"}, "padding is 'mirror'"),
        ({"kernel": "image_proportions_l1"}, "needs images"),
        ({"distance": "l3"}, "distance is 'l3'"),
        ({"alpha": -1.0}, "alpha is -1"),
        ({"alpha": float("nan")}, "alpha is nan"),
        ({"schedule": "cosine"}, "schedule is 'cosine'"),
        ({"schedule": "step", "step_size": 0}, "step_size is 0"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        NACLLoss(K, **options)(*draw(12))


def test_bad_margin() -> None:
    with pytest.raises(InputError, match="margin is -1"):
        LogitMarginLoss(margin=-1.0)
    with pytest.raises(InputError, match="alpha is nan"):
        LogitMarginLoss(alpha=float("nan"))
