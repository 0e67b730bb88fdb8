"""ADELE: what must hold of its equations, the recipe's rewriting of masks, bad input."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from labelwise import Segmenter
from labelwise.data.scenes import draw_scenes
from labelwise.errors import InputError
from labelwise.labels.masks import morphological_label_noise
from labelwise.methods.segmentation.adele import ADELE, correct_labels, multiscale_consistency_loss
from labelwise.networks.multiscale import MultiScale
from labelwise.training.data import TrainingData
from labelwise.training.loop import train
from labelwise.training.settings import Settings
from labelwise.training.task import SEGMENTATION
from toys import SCENES

K = 4
ONES = torch.ones(3, dtype=torch.float64)


def draw(seed: int, shape: tuple[int, int, int] = (3, 6, 5), ignored: float = 0.2) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(3, shape[0], K, *shape[1:], generator=generator, dtype=torch.float64)
    labels = torch.randint(0, K, shape, generator=generator)
    return logits, labels.masked_fill(torch.rand(shape, generator=generator) < ignored, 255)


# The loss.


def test_one_scale_without_consistency_is_cross_entropy() -> None:
    logits, labels = draw(0, ignored=0)
    terms = multiscale_consistency_loss([logits[0]], labels, torch.zeros(1, dtype=torch.float64))
    assert terms.cross_entropy.item() == pytest.approx(functional.cross_entropy(logits[0], labels).item())
    logits, labels = draw(0, ignored=0.5)
    terms = multiscale_consistency_loss([logits[0]], labels, torch.zeros(1, dtype=torch.float64))
    known = float((labels != 255).double().mean())  # ignored pixels stay in the denominator
    expected = known * functional.cross_entropy(logits[0], labels, ignore_index=255).item()
    assert terms.cross_entropy.item() == pytest.approx(expected)


def test_consistency_of_equal_scales_is_nothing() -> None:
    logits, labels = draw(1)
    mild = logits[0] / 3
    terms = multiscale_consistency_loss([mild] * 3, labels, ONES, rho=0.0)
    assert terms.consistency.item() == pytest.approx(0, abs=1e-12)
    for seed in range(5):
        logits, labels = draw(seed)
        assert multiscale_consistency_loss(list(logits), labels, ONES, rho=0.0).consistency > 0


def test_the_gate_is_by_image_and_looks_at_labelled_pixels_only() -> None:
    logits, labels = draw(2, ignored=0)
    logits = logits / 10  # nowhere sure
    logits[:, 1, 2, 3, 4] = 20.0  # but at one pixel of image 1

    def consistency(masks: torch.Tensor) -> torch.Tensor:
        return multiscale_consistency_loss(list(logits), masks, ONES).consistency

    p = logits.softmax(dim=2)
    q = p.mean(dim=0).clamp(1e-3, 1 - 1e-3)
    by_image = (p * (p.log() - q.log())).sum(dim=(0, 2, 3, 4)) / labels.numel()
    assert consistency(labels).item() == pytest.approx(by_image[1].item())
    hidden = labels.clone()
    hidden[1, 3, 4] = 255
    assert consistency(hidden).item() == 0
    assert consistency(torch.full_like(labels, 255)).item() == 0


def test_no_labelled_pixel_gives_zeros_and_finite_gradients() -> None:
    logits, labels = draw(3)
    logits = (1e6 * logits).float().requires_grad_()
    for masks, rho in ((torch.full_like(labels, 255), 0.0), (labels, 0.0), (labels, 1.0)):
        logits.grad = None
        terms = multiscale_consistency_loss(list(logits), masks, torch.ones(3), rho=rho)
        (terms.cross_entropy + terms.consistency).backward()
        assert torch.isfinite(logits.grad).all()
        if masks is not labels:
            assert not logits.grad.any()


# The correction.


def probabilities(labels: torch.Tensor, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(len(labels), K, *labels.shape[1:], generator=generator, dtype=torch.float64)


ALL, NONE = torch.ones(K, dtype=torch.bool), torch.zeros(K, dtype=torch.bool)


def test_full_confidence_is_asked_for_in_vain() -> None:
    _, labels = draw(0)
    probs = probabilities(labels)
    assert torch.equal(correct_labels(labels, probs, ALL, 1.0, 1.0), labels)
    assert torch.equal(correct_labels(labels, probs, NONE, 0.0, 0.0), labels)


def test_with_all_doors_open_labels_become_predictions() -> None:
    _, labels = draw(1, ignored=0)
    labels[2] = 0
    probs = probabilities(labels) + 1e-9
    new = correct_labels(labels, probs, ALL, 0.0, 0.0, class_constraint=False)
    assert torch.equal(new[:2], probs.argmax(dim=1)[:2])
    assert not new[2].any()  # an image of background only has no active class
    new = correct_labels(labels, probs, ALL, 0.0, 0.0, class_constraint=False, mode="new")
    assert torch.equal(new, probs.argmax(dim=1))


@pytest.mark.parametrize("mode", ["both", "new"])
@pytest.mark.parametrize("ignore_rule", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_pixel_by_pixel(mode: Any, ignore_rule: bool, seed: int) -> None:
    _, labels = draw(seed, (4, 3, 4))
    labels[0] = torch.where(labels[0] == 255, 255, 0)
    probs = probabilities(labels, seed).pow(3)
    probs = probs / probs.sum(dim=1, keepdim=True)
    active = torch.rand(K, generator=torch.Generator().manual_seed(seed)) < 0.6
    new = correct_labels(labels, probs, active, 0.5, 0.4, mode=mode, ignore_rule=ignore_rule)
    allowed = {0} | {k for k in range(1, K) if active[k]}
    for b in range(len(labels)):
        own = set(labels[b].unique().tolist())
        objects = own - {0, 255}
        takes_part = bool(objects & allowed) or (mode == "new" and not objects)
        expected, plain = labels[b].clone(), labels[b].clone()
        for place in np.ndindex(*labels.shape[1:]):
            p, old = probs[(b, slice(None), *place)].tolist(), int(labels[(b, *place)])
            best = int(np.argmax(p))
            sure = max(p[1:]) > 0.5 or p[0] > 0.4
            if takes_part and sure and best in allowed and best in own | {0} and (mode == "new" or old in allowed):
                plain[place] = best
                expected[place] = 255 if ignore_rule and old != 0 and best == 0 else best
        covered = [float(((each != 0) & (each != 255)).double().mean()) for each in (labels[b], plain)]
        vanishes = mode == "new" and covered[1] < 0.5 * covered[0] and covered[1] < 0.05
        assert torch.equal(new[b], labels[b] if vanishes else expected)


def test_an_image_never_gains_an_object() -> None:
    for seed in range(5):
        _, labels = draw(seed, (4, 2, 2))
        new = correct_labels(labels, probabilities(labels, seed), ALL, 0.1, 0.1)
        for old_image, new_image in zip(labels, new, strict=True):
            assert set(new_image.unique().tolist()) <= set(old_image.unique().tolist()) | {0}


def test_objects_do_not_vanish_in_mode_new() -> None:
    labels = torch.zeros(1, 10, 10, dtype=torch.int64)
    labels[0, :2, :3] = 1  # 6% of the image
    probs = torch.zeros(1, K, 10, 10)
    probs[:, 0] = 1.0
    assert torch.equal(correct_labels(labels, probs, ALL, mode="new"), labels)
    probs[0, :, 0, :3] = torch.tensor([0.0, 1, 0, 0])[:, None]  # three pixels of six stay: half, not below
    assert int(correct_labels(labels, probs, ALL, mode="new").sum()) == 3
    assert int(correct_labels(labels, probs, ALL, mode="both").sum()) == 3


def test_predictions_that_equal_the_labels_change_nothing() -> None:
    _, labels = draw(4)
    probs = functional.one_hot(labels.where(labels != 255, 0), K).movedim(-1, 1).double()
    assert torch.equal(correct_labels(labels, probs, ALL), labels)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tau_fg": 1.5}, "tau_fg is 1.5"),
        ({"tau_bg": -0.1}, "tau_bg is -0.1"),
        ({"mode": "old"}, "mode is 'old'"),
        ({"active": torch.ones(K + 1, dtype=torch.bool)}, "one bool for each"),
        ({"active": torch.ones(K)}, "one bool for each"),
        ({"labels": torch.zeros(2, 6, 5, dtype=torch.int64)}, "labels have shape"),
        ({"probs": torch.full((3, K, 6, 5), float("nan"))}, "not finite"),
        ({"probs": torch.full((3, K, 6, 5), float("inf"))}, "not finite"),
    ],
)
def test_bad_corrections(change: dict[str, Any], message: str) -> None:
    _, labels = draw(0)
    given: dict[str, Any] = {"labels": labels, "probs": probabilities(labels), "active": ALL} | change
    with pytest.raises(InputError, match=message):
        correct_labels(**given)


# The network at several scales.


class Shape(nn.Module):
    num_classes = 2

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        self.seen = inputs.shape[-2:]
        return inputs.float().mean(dim=1, keepdim=True).expand(-1, 2, -1, -1)


@pytest.mark.parametrize(("scale", "size"), [(0.7, (7, 4)), (1.0, (10, 6)), (1.5, (15, 9)), (0.01, (1, 1))])
def test_scales(scale: float, size: tuple[int, int]) -> None:
    model = Shape()
    inputs = torch.randint(0, 256, (2, 3, 10, 6), dtype=torch.uint8)
    (logits,) = MultiScale(model, [scale])(inputs)
    assert tuple(model.seen) == size
    assert logits.shape == (2, 2, 10, 6)
    constant = MultiScale(model, [scale])(torch.full((1, 1, 10, 6), 3.0))[0]
    torch.testing.assert_close(constant, torch.full((1, 2, 10, 6), 3.0))


# The recipe.


def noisy() -> TrainingData:
    scenes = draw_scenes(40, np.random.default_rng(0), size=16, kinds=(0, 1), glyph_sizes=(9, 12), most_objects=2)
    rng = np.random.default_rng(1)
    masks = np.stack([morphological_label_noise(mask, rng) for mask in scenes.masks])
    return TrainingData(torch.from_numpy(scenes.images[:, None]), torch.from_numpy(masks), 3, task=SEGMENTATION)


def settings(epochs: int) -> Settings:
    return Settings(epochs=epochs, batch_size=8, optimizer="adamw", learning_rate=0.01, accelerator="cpu")


def test_masks_are_rewritten_and_the_way_back_is_kept() -> None:
    data = noisy()
    torch.manual_seed(0)
    recipe = ADELE(lambda: SCENES.network("unet-8-8", data), skip_flat=None, r=0.3, tau=0.5, correct_every=3)
    train(recipe, data, settings(9))
    moments = [entry.moment for entry in recipe.store.history()]
    assert moments
    assert moments == sorted(set(moments))
    assert torch.equal(recipe.store.given().long(), data.labels)
    assert not torch.equal(recipe.store.labels.long(), data.labels)
    found = recipe.corrections()
    assert torch.equal(found.targets.int().argmax(dim=1), recipe.store.labels.long())
    assert found.mask.all()
    assert torch.equal(found.targets.sum(dim=1), torch.ones_like(data.labels))


def test_curves_are_of_the_predictions_on_the_masks_trained_on() -> None:
    data = noisy()
    torch.manual_seed(0)
    recipe = ADELE(lambda: SCENES.network("unet-8-8", data), tau=1.0)
    train(recipe, data, Settings(epochs=2, batch_size=40, learning_rate=1e-12, accelerator="cpu"))
    recipe.network.train()
    with torch.no_grad():
        predicted = recipe.predict(data.inputs).argmax(dim=1)
    for label in range(3):
        mine, theirs = predicted == label, data.labels == label
        overlap = float((mine & theirs).sum() / (mine | theirs).sum().clamp(min=1))
        assert recipe.detector.curves[0, label].item() == pytest.approx(overlap, abs=1e-6)


def test_unlabelled_pixels_stay_unlabelled_in_mode_both() -> None:
    data = noisy()
    masks = data.labels.clone()
    masks[:, :3] = 255
    masks[3] = 255
    torch.manual_seed(0)
    recipe = ADELE(lambda: SCENES.network("unet-8-8", data), skip_flat=None, r=0.2, tau=0.3)
    train(recipe, TrainingData(data.inputs, masks, 3, task=SEGMENTATION), settings(6))
    assert recipe.store.history()
    assert torch.equal(recipe.store.labels == 255, masks == 255)
    found = recipe.corrections()
    assert torch.equal(found.mask, masks != 255)


def test_through_the_estimator() -> None:
    data = noisy()
    images, masks = data.inputs[:, 0].numpy(), data.labels.numpy()
    model = Segmenter("adele", network="unet-8-8", epochs=2, batch_size=8, validation_fraction=0.2, accelerator="cpu")
    model.fit(images, masks)
    assert model.corrections_.targets.shape == (40, 3, 16, 16)
    held = np.setdiff1d(np.arange(40), model.train_rows_)
    assert not model.corrections_.mask[held].any()
    assert model.corrections_.mask[model.train_rows_].all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"r": 1.1}, "r is 1.1"),
        ({"tau": -0.1}, "tau is -0.1"),
        ({"rho": float("nan")}, "rho is nan"),
        ({"lambda_": -1.0}, "lambda_ is -1"),
        ({"lambda_": float("inf")}, "lambda_ is inf"),
        ({"scales": ()}, "scales are"),
        ({"scales": (0.0, 1.0)}, "scales are"),
        ({"correct_every": 0}, "correct_every is 0"),
        ({"mode": "old"}, "mode is 'old'"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ADELE(Shape, **options)
