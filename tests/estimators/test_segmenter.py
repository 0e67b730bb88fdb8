"""Segmenter: what it takes, what it refuses, what it gives; mostly untrained, as training is tested with recipes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch.utils.data import Dataset

from labelwise import Segmenter
from labelwise.data.scenes import draw_scenes
from labelwise.errors import InputError

DRAWN = draw_scenes(6, np.random.default_rng(0), size=12, glyph_sizes=(8, 10), kinds=(0, 1))
IMAGES, MASKS = DRAWN.images[:, :, :11], DRAWN.masks[:, :, :11]


def segmenter(**options: Any) -> Segmenter:
    return Segmenter(**({"network": "unet-4", "epochs": 1, "batch_size": 3, "accelerator": "cpu"} | options))


def test_probabilities_come_in_blocks_and_sum_to_one() -> None:
    model = segmenter().fit(IMAGES, MASKS)
    probs = model.predict_proba(IMAGES)
    assert probs.shape == (6, 3, 12, 11)
    np.testing.assert_allclose(probs.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(model.predict(IMAGES), probs.argmax(axis=1))
    large = np.zeros((3, 500, 270), dtype=np.uint8)
    wide = segmenter().fit(large, large)
    assert [len(block) for block in wide.predict_blocks(large)] == [1, 1, 1]


def test_bytes_colours_and_odd_sizes() -> None:
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (4, 13, 7, 3), dtype=np.uint8)
    masks = rng.integers(0, 2, (4, 13, 7)).astype(np.uint8)
    model = segmenter(network="unet-4-4-8").fit(images, masks, num_classes=5)
    assert model.predict_proba(images).shape == (4, 5, 13, 7)


def test_unlabelled_images_take_part_and_are_not_held_out() -> None:
    masks = MASKS.copy()
    masks[1:4] = 255
    model = segmenter(validation_fraction=0.34).fit(IMAGES, masks)
    assert set(model.train_rows_) >= {1, 2, 3}
    assert len(model.train_rows_) == 5
    assert "validation_score" in model.history_[0]
    assert np.isfinite(model.history_[0]["loss"])


@pytest.mark.parametrize("kind", [np.int8, np.int64, np.float32])
def test_masks_of_minus_one_only_are_unlabelled_images(kind: type) -> None:
    by_255, by_minus_one = MASKS.copy(), MASKS.astype(kind)
    by_255[1:4], by_minus_one[1:4] = 255, -1
    first, second = segmenter().fit(IMAGES, by_255), segmenter().fit(IMAGES, by_minus_one)
    np.testing.assert_array_equal(first.predict_proba(IMAGES), second.predict_proba(IMAGES))
    with pytest.raises(InputError, match="no labelled pixel"):
        segmenter().fit(IMAGES, np.full(MASKS.shape, -1, dtype=kind))


def test_corrected_masks_are_the_given_ones_but_for_corrections() -> None:
    masks = MASKS.copy()
    masks[:, 0] = 255
    options = {"skip_flat": None, "r": 0.0, "tau": 0.4}
    model = segmenter(recipe="adele", recipe_options=options, epochs=5, validation_fraction=0.34).fit(IMAGES, masks)
    held = np.setdiff1d(np.arange(6), model.train_rows_)
    assert np.array_equal(model.corrected_masks_[held], masks[held])
    assert np.array_equal(model.corrected_masks_ == 255, masks == 255)
    changed = model.corrected_masks_[model.train_rows_]
    assert not np.array_equal(changed, masks[model.train_rows_])
    assert np.array_equal(changed, model.recipe_.store.labels.numpy())
    assert segmenter().fit(IMAGES, masks).corrected_masks_ is None


def test_data_set_of_pairs() -> None:
    class Pairs(Dataset):
        def __len__(self) -> int:
            return len(IMAGES)

        def __getitem__(self, row: int) -> tuple[torch.Tensor, np.ndarray]:
            return torch.from_numpy(IMAGES[row, None].copy()), MASKS[row]

    by_pairs, by_arrays = segmenter().fit(Pairs()), segmenter().fit(IMAGES, MASKS)
    np.testing.assert_allclose(by_pairs.predict_proba(IMAGES), by_arrays.predict_proba(IMAGES), atol=1e-5)


def test_validation_chooses_the_best_epoch() -> None:
    model = segmenter(epochs=3, early_stopping=3).fit(IMAGES, MASKS, X_val=IMAGES, masks_val=MASKS)
    scores = [row["validation_score"] for row in model.history_]
    assert model.best_epoch_ == int(np.argmax(scores))


def test_weights_of_a_backbone_start_the_encoder(tmp_path: Path) -> None:
    backbone = timm.create_model("mobilenetv3_small_050", pretrained=False)
    save_file(backbone.state_dict(), tmp_path / "weights.safetensors")
    model = segmenter(
        network="unet-mobilenetv3_small_050", weights=tmp_path / "weights.safetensors", learning_rate=1e-12
    )
    model.fit(IMAGES, MASKS)
    trained = dict(model.recipe_.named_parameters())
    name, value = next(iter(backbone.named_parameters()))
    (found,) = [each for key, each in trained.items() if key.endswith(name)]
    torch.testing.assert_close(found, value)
    model.save(tmp_path / "model")
    np.testing.assert_array_equal(Segmenter.load(tmp_path / "model").predict(IMAGES), model.predict(IMAGES))


def spoilt(row: int, column: int, value: float, kind: type = np.int64) -> np.ndarray:
    masks = MASKS.astype(kind)
    masks[2, row, column] = value
    return masks


@pytest.mark.parametrize(
    ("images", "masks", "options", "message"),
    [
        (IMAGES, None, {}, "requires masks"),
        (IMAGES, MASKS[:5], {}, "6 images but there are 5 masks"),
        (IMAGES, MASKS[:, :5], {}, "masks are 5 x 11, but images are 12 x 11"),
        (IMAGES, MASKS[0], {}, "shape .12, 11.: give one mask"),
        (IMAGES, np.full_like(MASKS, 255), {}, "no labelled pixel"),
        (IMAGES, spoilt(1, 4, 300), {}, "masks 2, row 1, column 4 is 300"),
        (IMAGES, spoilt(1, 4, -1), {}, "masks 2, row 1, column 4 is -1"),
        (IMAGES, spoilt(1, 4, 0.5, np.float64), {}, "masks 2, row 1, column 4 is 0.5"),
        (IMAGES, spoilt(1, 4, np.nan, np.float64), {}, "masks 2, row 1, column 4 is nan"),
        (IMAGES, MASKS > 0, {}, "type bool"),
        (IMAGES, spoilt(1, 4, 7), {"num_classes": 3}, "classes? numbers 0 to 2|whole class numbers 0 to 2"),
        (IMAGES[:0], MASKS[:0], {}, "at least one"),
        (np.where(IMAGES > 9, IMAGES, np.nan), MASKS, {}, "picture 0 holds nan"),
        (IMAGES.reshape(6, -1), MASKS, {}, "give pictures"),
        (IMAGES, MASKS, {"X_val": IMAGES, "masks_val": MASKS[:2]}, "X_val has 6 images but there are 2 masks"),
        (IMAGES, MASKS, {"X_val": IMAGES[:, 1:], "masks_val": MASKS[:, 1:]}, "model was trained on"),
    ],
)
def test_bad_input(images: Any, masks: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        segmenter().fit(images, masks, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"network": "mlp"}, "none for masks"),
        ({"network": "unet-8-x"}, "not understood"),
        ({"network": "hourglass-resnet18"}, "not understood"),
        ({"network": "unet-vit_tiny_patch16_224x"}, "not understood"),
        ({"weights": "w.safetensors"}, "leave weights out"),
        ({"recipe": "elr"}, "no recipe 'elr' for segmentation"),
        ({"recipe_options": {"smoothing": 1.0}}, "smoothing is 1"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        segmenter(**options).fit(IMAGES, MASKS)


def test_other_sizes_are_refused_in_prediction() -> None:
    model = segmenter().fit(IMAGES, MASKS)
    with pytest.raises(InputError, match="was trained on"):
        model.predict(IMAGES[:, 1:])
