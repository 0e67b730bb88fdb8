"""Saved estimators: the same predictions after loading, nothing but plain files, and no code run on the way."""

import hashlib
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from estimator_data import pictures, points, tiny

from labelwise import Classifier, InputError
from labelwise.training.checkpoint import MANIFEST, _seal, load_checkpoint, save_checkpoint


def forge(folder: Path, **changes: Any) -> None:
    """Write a model anew with another manifest, so that its sums agree."""
    tensors, manifest = load_checkpoint(folder)
    save_checkpoint(folder, tensors, manifest | changes)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    X, y = points()
    tiny(validation_fraction=0.2).fit(X, np.array(["ant", "bee", "cat"])[y]).save(tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize("network", ["mlp-8", "linear", "cnn", "mlp"])
@pytest.mark.parametrize("standardize", [True, False])
def test_round_trip(network: str, standardize: bool, tmp_path: Path) -> None:
    X, y = pictures(channels=3) if network == "cnn" else points()
    if not standardize:
        X = X / 255
    model = tiny(network=network, standardize=standardize, validation_fraction=0.2).fit(X, 10 * y)
    model.save(tmp_path / "first")
    again = Classifier.load(tmp_path / "first")
    assert np.array_equal(again.predict_logits(X), model.predict_logits(X))
    assert np.array_equal(again.predict(X), model.predict(X))
    assert again.classes_.dtype == model.classes_.dtype
    assert (again.history_, again.best_epoch_) == (model.history_, model.best_epoch_)
    assert again.get_params() == model.get_params()
    assert not any(module.training for module in again.recipe_.modules())
    again.save(tmp_path / "second")
    for file in (tmp_path / "first").iterdir():
        assert (tmp_path / "second" / file.name).read_bytes() == file.read_bytes()
    assert again.fit(X, y).predict(X).tolist() == (model.predict(X) // 10).tolist()
    with pytest.raises(InputError, match="no state of a best epoch is kept"):
        Classifier.load(tmp_path / "first").use_best_epoch()


@pytest.mark.parametrize(
    "names",
    [np.array(["b c", "ä"]), np.array(["x", "y"], dtype=object), np.array([False, True]), np.array([3.0, 5.0])],
    ids=str,
)
def test_names_of_classes_come_back(names: np.ndarray, tmp_path: Path) -> None:
    X, y = points(num_classes=2)
    model = tiny().fit(X, names[y])
    model.save(tmp_path)
    again = Classifier.load(tmp_path)
    assert again.classes_.tolist() == names.tolist()
    assert again.classes_.dtype == names.dtype
    assert again.predict(X).tolist() == model.predict(X).tolist()


def test_a_model_is_two_plain_files_without_training_rows(tmp_path: Path) -> None:
    for n in (60, 600):
        X, y = points(n)
        tiny("elr", epochs=1).fit(X, y).save(tmp_path / str(n))
    small, large = (sorted((tmp_path / name).iterdir()) for name in ("60", "600"))
    assert [file.suffix for file in small] == [".json", ".safetensors"]
    assert [file.stat().st_size for file in large][1] == [file.stat().st_size for file in small][1]


def test_parameters_of_any_numeric_type_are_saved(tmp_path: Path) -> None:
    options = {"lambda_": np.float32(1.5), "beta": np.float64(0.5)}
    changes = {
        "epochs": np.int64(2),
        "random_state": np.random.RandomState(0),
        "recipe_options": options,
        "checkpoint_folder": tmp_path / "checkpoint",
    }
    X, y = points()
    model = tiny(**changes).fit(X, y)
    model.save(tmp_path / "model")
    again = Classifier.load(tmp_path / "model")
    assert again.recipe_options == {"lambda_": 1.5, "beta": 0.5}
    assert (again.epochs, again.random_state, again.checkpoint_folder) == (2, None, None)
    assert np.array_equal(again.predict_logits(X), model.predict_logits(X))


def test_unfitted_models_cannot_be_saved(tmp_path: Path) -> None:
    from sklearn.exceptions import NotFittedError

    for use in (lambda: tiny().save(tmp_path), lambda: tiny().use_best_epoch(), lambda: tiny().predict(points()[0])):
        with pytest.raises(NotFittedError):
            use()
    assert not list(tmp_path.iterdir())


def test_loading_unpickles_nothing(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("a pickle was read")

    for module, name in ((pickle, "load"), (pickle, "loads"), (pickle, "Unpickler"), (torch, "load")):
        monkeypatch.setattr(module, name, refuse)
    assert Classifier.load(saved).classes_.tolist() == ["ant", "bee", "cat"]


class Surprise:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


def test_a_pickle_in_the_place_of_tensors_is_not_run(saved: Path, tmp_path: Path) -> None:
    content = pickle.dumps({"recipe/network.head.weight": Surprise(tmp_path / "ran")})
    (saved / "evil.safetensors").write_bytes(content)
    manifest = json.loads((saved / MANIFEST).read_text())
    manifest |= {"tensors": "evil.safetensors", "sha256": hashlib.sha256(content).hexdigest()}
    (saved / MANIFEST).write_text(json.dumps(manifest | {"seal": _seal(manifest)}))
    with pytest.raises(InputError, match=r"evil\.safetensors: holds no tensors"):
        Classifier.load(saved)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "labelwise.Model"}, "not a saved Classifier"),
        ({"kind": None}, "not a saved Classifier"),
        ({"parameters": {"no_such": 1}}, "does not describe this model"),
        ({"parameters": None}, "does not describe this model"),
        ({"parameters": {"recipe": "os.system"}}, "there is no recipe"),
        ({"network": "mlp-9"}, "does not describe this model"),
        ({"network": "hf-hub:some/model"}, "network 'hf-hub:some/model'"),
        ({"backbone": "local-dir:/tmp"}, "no timm model"),
        ({"backbone": "test_resnet"}, "does not describe this model"),
        ({"classes": ["ant", "bee"]}, "does not describe this model"),
        ({"classes_dtype": "os"}, "does not describe this model"),
        ({"input_shape": [4]}, "does not describe this model"),
        ({"input_shape": []}, "model"),
        ({"input_shape": None}, "does not describe this model"),
        ({"history": "gone", "input_shape": ["5"]}, "does not describe this model"),
    ],
    ids=str,
)
def test_damaged_manifests_are_refused(saved: Path, changes: dict[str, Any], message: str) -> None:
    forge(saved, **changes)
    with pytest.raises(InputError, match=message):
        Classifier.load(saved)


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="folder of a saved model"):
        Classifier.load(tmp_path)
    with pytest.raises(InputError, match="folder of a saved model"):
        Classifier.load(tmp_path / "nowhere")
