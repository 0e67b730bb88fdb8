"""Estimators on pictures with pretrained weights: frozen features, fine-tuning, and what happens without weights."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from estimator_data import pictures, points, tiny
from safetensors.torch import load_file, save_file
from torch.utils.data import TensorDataset

from labelwise import Classifier, InputError
from labelwise.networks.pretrained import backbone_features, load_backbone
from labelwise.training.seeding import seeded

TINY = "test_resnet"  # timm's smallest


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights, saved as if somebody had trained them; features differ between pictures."""
    import timm

    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    with seeded(5):
        save_file(timm.create_model(TINY, pretrained=False).state_dict(), path)
    return path


def on_pictures(**changes: Any) -> Classifier:
    return tiny(**({"network": TINY, "epochs": 3} | changes))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_features_once_then_a_head(weights: Path, channels: int) -> None:
    X, y = pictures(side=32, channels=channels)
    model = on_pictures(weights=weights).fit(X, y)
    assert (model.network_, model.backbone_name_) == ("mlp-256", TINY)
    assert model.input_shape_ == (channels, 32, 32)
    backbone = load_backbone(TINY, weights)
    features = backbone_features(backbone, X)
    by_hand = tiny(network="mlp-256", epochs=3).fit(features, y)
    assert np.array_equal(model.predict_logits(X), by_hand.predict_logits(features))
    assert model.score(X, y) > 0.9
    own = load_file(weights)
    assert all(torch.equal(value, own[name]) for name, value in model.backbone_.state_dict().items())


def test_fine_tuning_starts_at_the_weights_and_moves_all_of_them(weights: Path) -> None:
    X, y = pictures(side=32, channels=3)
    start = load_file(weights)

    def backbone_state(model: Classifier) -> dict[str, torch.Tensor]:
        state, prefix = model.recipe_.network.state_dict(), "extractor.1.backbone."
        return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}

    still = on_pictures(weights=weights, fine_tune=True, learning_rate=1e-30, weight_decay=0.0, epochs=1).fit(X, y)
    moved = on_pictures(weights=weights, fine_tune=True, learning_rate=0.05).fit(X, y)
    names = [name for name, _ in still.recipe_.network.extractor[1].backbone.named_parameters()]
    assert len(names) > 10
    assert all(torch.allclose(backbone_state(still)[name], start[name], atol=1e-20) for name in names)
    assert not any(torch.equal(backbone_state(moved)[name], start[name]) for name in names)
    assert (moved.network_, moved.backbone_name_) == (TINY, None)
    assert moved.score(X, y) > 0.9


@pytest.mark.parametrize("fine_tune", [False, True])
def test_grey_pictures_and_floats_mean_the_same(weights: Path, fine_tune: bool) -> None:
    X, y = pictures(side=32)
    how = {"weights": weights, "fine_tune": fine_tune, "epochs": 1}
    expected = on_pictures(**how).fit(X, y).predict_proba(X)
    for same in (X[..., 0], np.repeat(X, 3, axis=3), X.astype(np.float64) / 255, X.astype(np.int32)):
        np.testing.assert_allclose(on_pictures(**how).fit(same, y).predict_proba(same), expected, atol=1e-3)


@pytest.mark.parametrize("fine_tune", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_saved_model_needs_no_weights_file(weights: Path, fine_tune: bool, channels: int, tmp_path: Path) -> None:
    X, y = pictures(side=32, channels=channels)
    own = tmp_path / "own.safetensors"
    own.write_bytes(weights.read_bytes())
    model = on_pictures(weights=own, fine_tune=fine_tune, recipe="co-teaching").fit(X, y)
    model.save(tmp_path / "model")
    own.unlink()
    again = Classifier.load(tmp_path / "model")
    assert np.array_equal(again.predict_logits(X), model.predict_logits(X))
    assert (again.network_, again.backbone_name_) == (model.network_, model.backbone_name_)


def test_a_data_set_can_be_fine_tuned_on_but_not_frozen(weights: Path) -> None:
    X, y = pictures(side=32, channels=3)
    dataset = TensorDataset(torch.from_numpy(X).movedim(-1, 1).float(), torch.from_numpy(y))
    tuned = on_pictures(weights=weights, fine_tune=True, epochs=1).fit(dataset)
    assert tuned.network_ == TINY
    arrays = on_pictures(weights=weights, fine_tune=True, epochs=1).fit(X, y)
    np.testing.assert_allclose(tuned.predict_proba(dataset), arrays.predict_proba(X), atol=1e-3)
    with pytest.raises(InputError, match="fine_tune=True"):
        on_pictures(weights=weights).fit(dataset)
    frozen = on_pictures(weights=weights).fit(X, y)
    with pytest.raises(InputError, match="X is a data set"):
        frozen.predict(dataset)


def test_without_weights_a_small_network_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labelwise.networks.pretrained._is_cached", lambda name: False)
    X, y = pictures(side=32)
    for fine_tune in (False, True):
        model = on_pictures(network="auto", fine_tune=fine_tune, epochs=1).fit(X, y)
        assert (model.network_, model.backbone_name_) == ("cnn", None)
    named = on_pictures(epochs=1).fit(X, y)
    assert (named.network_, named.backbone_name_) == (TINY, None)


def test_cached_weights_are_used_but_not_for_tiny_pictures(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, ...]] = []

    def cached(name: str, path: Path | None, *, download: bool) -> torch.nn.Module | None:
        asked.append((name, path, download))
        return load_backbone(TINY, weights)

    monkeypatch.setattr("labelwise.estimators.networks.load_backbone", cached)
    X, y = pictures(side=28)
    assert on_pictures(network="auto", epochs=1).fit(X, y).network_ == "mlp-256"
    assert asked == [("tf_efficientnet_lite0", None, False)]
    assert on_pictures(network="auto", epochs=1).fit(X[:, :27], y).network_ == "cnn"
    assert len(asked) == 1


def test_what_weights_cannot_do_is_refused(weights: Path, tmp_path: Path) -> None:
    X, y = pictures(side=32, channels=3)
    floats = X.astype(np.float32)  # 0 to 255
    with pytest.raises(InputError, match=r"weights are for a pretrained backbone on pictures, but network is 'cnn'"):
        on_pictures(network="cnn", weights=weights).fit(X, y)
    with pytest.raises(InputError, match=r"weights are for .* shape \(5,\)"):
        on_pictures(weights=weights).fit(*points())
    with pytest.raises(InputError, match="no such weights file"):
        on_pictures(weights=tmp_path / "none.safetensors").fit(X, y)
    with pytest.raises(InputError, match=r"picture 0 is out of range: give bytes"):
        on_pictures(weights=weights).fit(floats, y)
    with pytest.raises(InputError, match="is out of range"):
        on_pictures(weights=weights).fit(np.where(np.arange(40)[:, None, None, None] == 39, 999, X.astype(int)), y)
    with pytest.raises(InputError, match="2 channels"):
        on_pictures(weights=weights).fit(X[..., :2], y)
    with pytest.raises(InputError, match=r"shape \(2, 32, 32\), but .* 1 or 3 channels"):
        on_pictures(weights=weights, fine_tune=True).fit(X[..., :2], y)
