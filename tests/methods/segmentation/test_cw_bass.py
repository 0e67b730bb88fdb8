"""CW-BASS: what must hold of its equations, whole batches, the teacher, bad input."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from labelwise import Segmenter
from labelwise.errors import InputError
from labelwise.methods.segmentation.cw_bass import (
    CWBASS,
    CWBASSLoss,
    boundary_cross_entropy,
    confidence_weighted_cross_entropy,
    decay_confidence,
    dynamic_threshold,
    pixel_confidence,
)
from labelwise.numerics.losses import pixel_cross_entropy
from labelwise.numerics.photometric import jitter_pictures
from labelwise.numerics.schedules import learning_rate_factor, linear_ramp
from labelwise.numerics.segmentation_metrics import select_reliable
from labelwise.numerics.windows import sobel_boundary_mask
from labelwise.training.loop import train
from labelwise.training.settings import Settings
from toys import FEW_MASKS, SCENES

K = 3


def draw(seed: int, shape: tuple[int, int, int] = (2, 6, 5)) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(2, shape[0], K, *shape[1:], generator=generator, dtype=torch.float64)
    labels = torch.randint(0, K, shape, generator=generator)
    return logits[0], logits[1], labels.masked_fill(torch.rand(shape, generator=generator) < 0.3, 255)


# Threshold and weights.


@pytest.mark.parametrize(("base", "beta"), [(0.6, 0.5), (1.2, 0.5), (1.0, 8.0), (0.0, 1.0), (9.0, 100.0)])
def test_the_threshold_rises_with_confidence_between_its_ends(base: float, beta: float) -> None:
    means = [float(dynamic_threshold(torch.full((2, 3), mean), base, beta)) for mean in np.linspace(0, 1, 21)]
    assert all(low <= high for low, high in pairwise(means))
    assert min(means) >= 0.3
    assert max(means) <= 0.8 + 1e-7


def test_the_threshold_by_hand() -> None:
    assert float(dynamic_threshold(torch.tensor([0.1, 0.9]), 1.0, 7.0)) == pytest.approx(0.5)
    assert float(dynamic_threshold(torch.rand(9), 1.0, 0.0)) == pytest.approx(0.5)
    assert float(dynamic_threshold(torch.rand(9), 0.1, 0.0)) == pytest.approx(0.3)
    found = float(dynamic_threshold(torch.tensor([1.0]), 1.2, 2.0, 0.0, 1.0))
    assert found == pytest.approx(1.2 / (1 + np.exp(-1.0)))
    assert torch.isfinite(dynamic_threshold(torch.zeros(0, 4, 4)))


def test_weights_of_one_are_plain_cross_entropy() -> None:
    logits, other, labels = draw(0)
    expected = functional.cross_entropy(logits, labels, ignore_index=255).item()
    weights = pixel_confidence(other)
    assert confidence_weighted_cross_entropy(logits, labels, weights, 0.0).item() == pytest.approx(expected)
    ones = torch.ones_like(weights)
    assert confidence_weighted_cross_entropy(logits, labels, ones, 2.5).item() == pytest.approx(expected)
    half = confidence_weighted_cross_entropy(logits, labels, decay_confidence(ones, 0.5, 2)).item()
    assert half == pytest.approx(expected / 4)


# Borders.


def test_a_constant_map_has_its_frame_only() -> None:
    labels = torch.full((2, 5, 4), 1)
    inner = torch.zeros(5, 4, dtype=torch.bool)
    inner[1:-1, 1:-1] = True
    assert torch.equal(sobel_boundary_mask(labels, K)[0], ~inner)
    assert not sobel_boundary_mask(labels, K, frame=False).any()
    assert not sobel_boundary_mask(torch.zeros(1, 1, 1, dtype=torch.int64), 1, frame=False).any()


def test_a_border_is_two_pixels_wide_also_at_the_edge() -> None:
    labels = torch.zeros(1, 4, 6, dtype=torch.int64)
    labels[:, :, 3:] = 2
    found = sobel_boundary_mask(labels, K, frame=False)[0]
    assert found.tolist() == [[False, False, True, True, False, False]] * 4
    spot = torch.zeros(1, 5, 5, dtype=torch.int64)
    spot[0, 2, 2] = 1
    found = sobel_boundary_mask(spot, K, frame=False)[0]
    assert not found[2, 2]
    assert int(found.sum()) == 8


def test_names_of_classes_do_not_matter() -> None:
    labels = torch.randint(0, K, (3, 7, 6), generator=torch.Generator().manual_seed(0))
    found = sobel_boundary_mask(labels, K)
    assert torch.equal(sobel_boundary_mask(torch.tensor([2, 0, 1])[labels], K), found)
    assert torch.equal(sobel_boundary_mask(labels, 9), found)
    assert torch.equal(sobel_boundary_mask(labels.where(labels != 2, 255), K), found)


def test_against_a_filter_pixel_by_pixel() -> None:
    labels = torch.randint(0, K, (1, 6, 5), generator=torch.Generator().manual_seed(1))
    gx = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    for frame, mode in ((True, "constant"), (False, "edge")):
        expected = np.zeros((6, 5), dtype=bool)
        for k in range(K):
            padded = np.pad((labels[0] == k).numpy().astype(int), 1, mode=mode)  # type: ignore[call-overload]
            for y, x in np.ndindex(6, 5):
                window = padded[y : y + 3, x : x + 3]
                expected[y, x] |= (window * gx).sum() ** 2 + (window * gx.T).sum() ** 2 > 0
        assert np.array_equal(sobel_boundary_mask(labels, K, frame)[0].numpy(), expected)


# The loss.


def test_nothing_above_the_threshold_gives_exact_zeros() -> None:
    student = draw(1)[0].requires_grad_()
    terms = CWBASSLoss(K, threshold_range=(0.9, 0.9))(student, torch.zeros(2, K, 6, 5))
    terms.loss.backward()
    assert terms.loss.item() == terms.weighted.item() == terms.boundary.item() == terms.kept.item() == 0
    assert not student.grad.any()
    assert (terms.pseudo_labels == 255).all()


def test_decay_weighs_the_first_part_alone() -> None:
    student, teacher, _ = draw(2)
    plain = CWBASSLoss(K, gamma=2.0)(student, teacher)
    decayed = CWBASSLoss(K, gamma=2.0, decay_factor=0.9, use_confidence_decay=True)(student, teacher, 3)
    assert decayed.weighted.item() == pytest.approx(plain.weighted.item() * 0.9**6)
    assert decayed.boundary.item() == pytest.approx(plain.boundary.item())
    torch.testing.assert_close(decayed.weights, plain.confidence * 0.9**3)


def test_the_teacher_gets_no_gradient_and_the_student_that_of_both_parts() -> None:
    student, teacher, _ = draw(3)
    student.requires_grad_()
    teacher.requires_grad_()
    terms = CWBASSLoss(K, base_threshold=1.0)(student, teacher)
    terms.loss.backward()
    assert teacher.grad is None
    again = student.detach().clone().requires_grad_()
    parts = confidence_weighted_cross_entropy(again, terms.pseudo_labels, terms.weights)
    (parts + 0.5 * boundary_cross_entropy(again, terms.pseudo_labels, terms.boundary_mask)).backward()
    torch.testing.assert_close(student.grad, again.grad)
    assert not any(term.requires_grad for term in terms[1:])
    assert terms.kept.item() == pytest.approx(float((terms.confidence > terms.threshold).double().mean()))


def test_extreme_logits_stay_finite() -> None:
    student, teacher, _ = draw(4)
    student = (1e30 * student.float()).requires_grad_()
    terms = CWBASSLoss(K)(student, 1e30 * teacher.float())
    terms.loss.backward()
    assert torch.isfinite(terms.loss)
    assert torch.isfinite(student.grad).all()


# What is shared.


def test_ramps_and_schedules() -> None:
    assert [linear_ramp(step, 4) for step in (0, 1, 4, 9)] == [0, 0.25, 1, 1]
    assert linear_ramp(0, 0) == 1
    assert [learning_rate_factor("poly", epoch, 4) for epoch in range(4)] == pytest.approx(
        [(1 - epoch / 4) ** 0.9 for epoch in range(4)]
    )


def test_jitter_moves_light_and_no_pixel() -> None:
    pictures = torch.rand(50, 2, 9, 8, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    assert torch.equal(jitter_pictures(pictures, 0.0, generator), pictures)
    changed = jitter_pictures(pictures, 0.2, generator)
    for before, after in zip(pictures, changed, strict=True):
        assert np.corrcoef(before[0].flatten(), after[0].flatten())[0, 1] > 0.95
    shift = (changed.mean(dim=(2, 3)) - pictures.mean(dim=(2, 3))) / pictures.std()
    assert shift.std().item() == pytest.approx(0.2, rel=0.2)
    flat = jitter_pictures(torch.full((2, 1, 4, 4), 7, dtype=torch.uint8), 0.5, generator)
    assert torch.equal(flat, torch.full((2, 1, 4, 4), 7.0))


def test_reliability_is_agreement_with_the_last_checkpoint() -> None:
    last = torch.tensor([[[0, 0], [1, 1]], [[0, 1], [1, 1]]])
    off = torch.tensor([[[0, 0], [1, 1]], [[1, 1], [1, 1]]])
    found = select_reliable([off, last, last], 3)
    assert found.tolist() == pytest.approx([1.0, ((0 + 3 / 4) / 2 + 1) / 2])
    for given in ([last], [last, last[:1]]):
        with pytest.raises(InputError, match="at least two"):
            select_reliable(given, 3)


# The recipe.


def recipe(**options: Any) -> CWBASS:
    torch.manual_seed(0)
    return CWBASS(lambda: SCENES.network("unet-4", FEW_MASKS.data("", 0, 4)), **options)


@pytest.mark.parametrize(("batch_size", "labelled", "unlabelled"), [(8, 4, 20), (8, 20, 3), (1, 5, 5), (7, 1, 30)])
def test_each_batch_has_both_kinds_and_an_epoch_all_images(batch_size: int, labelled: int, unlabelled: int) -> None:
    method = recipe()
    masks = torch.zeros(labelled + unlabelled, 2, 2, dtype=torch.int64)
    masks[torch.randperm(len(masks), generator=torch.Generator().manual_seed(3))[:unlabelled]] = 255
    data = FEW_MASKS.data("", 0, 1)
    method.begin(type(data)(torch.zeros(len(masks), 1, 2, 2), masks, 3, task=data.task), None, 1)
    batches = method.batches(len(masks), batch_size, torch.Generator().manual_seed(0))
    assert method.steps_per_epoch == len(batches)
    assert set(torch.cat(batches).tolist()) == set(range(len(masks)))
    is_labelled = (masks != 255).all(dim=2).all(dim=1)
    for batch in batches:
        known = is_labelled[batch]
        count = int(known.sum())
        assert count == min(max(1, batch_size // 2), labelled)
        assert len(batch) - count == min(max(1, batch_size - batch_size // 2), unlabelled)
        assert known[:count].all()
        assert len(batch.unique()) >= min(len(batch), 2)


def test_without_unlabelled_images_it_is_cross_entropy() -> None:
    data = SCENES.data("", 0, 4)
    method = recipe(jitter=0.0)
    method.begin(data, None, 1)
    assert sorted(torch.cat(method.batches(len(data), 5, torch.Generator())).tolist()) == list(range(12))
    (batch,) = data.batches([torch.arange(12)])
    terms = method.loss(batch)
    expected = pixel_cross_entropy(method.network(batch["inputs"]), batch["labels"])
    assert terms.loss.item() == pytest.approx(expected.item())
    assert terms.unsupervised.item() == 0


def test_the_unsupervised_part_grows_from_nothing() -> None:
    data = FEW_MASKS.data("", 0, 8)
    method = recipe(warmup_epochs=2, jitter=0.0, lambda_u=3.0)
    method.begin(data, None, 5)
    order = method.batches(len(data), 8, torch.Generator().manual_seed(0))
    assert len(order) == 3
    batch = next(iter(data.batches(order[:1])))
    for step in (0, 1, 6, 50):
        method.steps.fill_(step)
        terms = method.loss(batch)
        added = terms.loss - terms.supervised
        assert added.item() == pytest.approx(3.0 * min(1, step / 6) * terms.unsupervised.item(), abs=1e-6)


def test_the_teacher_follows_and_predicts() -> None:
    data = FEW_MASKS.data("", 0, 4)
    method = recipe(ema_decay=0.5, augment=lambda inputs, generator: inputs + 1.0)
    weights: list[tuple[torch.Tensor, torch.Tensor]] = []

    def watch(each: Any, epoch: int) -> dict[str, float]:
        weights.append((each.network.head.weight.detach().clone(), each.teacher.network.head.weight.clone()))
        return {}

    train(method, data, Settings(epochs=3, batch_size=99, learning_rate=0.1, accelerator="cpu"), watch=watch)
    torch.testing.assert_close(weights[0][1], weights[0][0])  # the first step copies
    for before, after in pairwise(weights):
        torch.testing.assert_close(after[1], 0.5 * before[1] + 0.5 * after[0])
    with torch.no_grad():
        assert torch.equal(method.predict(data.inputs), method.teacher.network(data.inputs))


def test_rounds_follow_the_epochs_where_decay_is_progressive() -> None:
    for progressive, expected in ((False, [1, 1, 1]), (True, [1, 2, 3])):
        method = recipe(progressive=progressive)
        found = []
        for epoch in range(3):
            method.begin_epoch(epoch)
            found.append(method.rounds)
        assert found == expected


def test_through_the_estimator_unlabelled_images_count() -> None:
    data = FEW_MASKS.data("", 0, 8)
    images, masks = data.inputs[:, 0].numpy(), data.labels.numpy()
    options: dict[str, Any] = {"network": "unet-4", "epochs": 2, "batch_size": 8, "accelerator": "cpu"}
    options["recipe_options"] = {"warmup_epochs": 0}
    model = Segmenter("cw-bass", validation_fraction=0.25, **options).fit(images, masks)
    assert 0 < model.history_[1]["kept"] <= 1
    assert 0.3 <= model.history_[1]["threshold"] <= 0.8
    alone = Segmenter("cw-bass", **options).fit(images[::2], masks[::2])
    assert alone.history_[1]["unsupervised"] == 0
    with pytest.raises(InputError, match="no labelled pixel"):
        Segmenter("cw-bass", **options).fit(images[1::2], masks[1::2])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"base_threshold": -0.1}, "base_threshold is -0.1"),
        ({"base_threshold": float("nan")}, "base_threshold is nan"),
        ({"beta": float("inf")}, "beta is inf"),
        ({"gamma": -1.0}, "gamma is -1"),
        ({"decay_factor": 1.1}, "decay_factor is 1.1"),
        ({"boundary_weight": float("inf")}, "boundary_weight is inf"),
        ({"threshold_range": (0.8, 0.3)}, "threshold_range is"),
        ({"threshold_range": (0.8,)}, "threshold_range is"),
        ({"threshold_range": (0.5, 1.5)}, "threshold_range is"),
        ({"lambda_u": -1.0}, "lambda_u is -1"),
        ({"warmup_epochs": float("nan")}, "warmup_epochs is nan"),
        ({"ema_decay": 1.0}, "ema_decay is 1.0"),
        ({"jitter": -0.5}, "jitter is -0.5"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        recipe(**options)


def test_masks_of_255_only_are_refused_by_the_loop_too() -> None:
    data = FEW_MASKS.data("", 0, 4)
    data.labels.fill_(255)
    with pytest.raises(InputError, match="no image has a labelled pixel"):
        train(recipe(), data, Settings(epochs=1, accelerator="cpu"))
