"""What must hold for every recipe, over the settings table."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save
from torch import Tensor

from labelwise.errors import InputError
from labelwise.memory.gather import part
from labelwise.methods import recipes
from labelwise.training.checkpoint import load_checkpoint
from labelwise.training.loop import Checkpointing, _fabric, _train_in_process, train
from labelwise.training.predict import predict_outputs, predicted_blocks
from labelwise.training.recipe import Recipe
from labelwise.training.resume import TrainResult
from recipes import TABLE, Row
from toys import changed

every_row = pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)


class KilledError(Exception):
    pass


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def fit(row: Row, seed: int = 0, **how: Any) -> tuple[Recipe, TrainResult]:
    data = row.data()
    recipe = row.build(data)
    return recipe, train(recipe, data, row.settings(seed=seed), validation=row.data(seed=1, per_class=10), **how)


def as_bytes(recipe: Recipe, result: TrainResult) -> tuple[bytes, bytes, Any]:
    return save(_contiguous(recipe.state_dict())), save(_contiguous(result.best_state or {})), result.history


def _contiguous(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.contiguous().clone() for name, value in tensors.items()}


def test_the_table_has_every_recipe() -> None:
    assert {row.recipe for row in TABLE} == set(recipes())
    assert len({row.name for row in TABLE}) == len(TABLE)


@every_row
def test_learns(row: Row) -> None:
    recipe, result = fit(row)
    unseen = row.data(seed=2, per_class=40)
    assert unseen.task.score(predicted_blocks(recipe, unseen)) > row.toy.good_score
    assert len(result.history) == row.epochs
    assert all(entry["epoch"] == number for number, entry in enumerate(result.history))
    assert not any(module.training for module in recipe.modules())


@every_row
def test_same_seed_same_bytes(row: Row) -> None:
    first = as_bytes(*fit(row))
    assert as_bytes(*fit(row)) == first
    assert as_bytes(*fit(row, seed=1))[0] != first[0]


@every_row
def test_resumes_to_the_same_bytes(row: Row, tmp_path: Path) -> None:
    whole = as_bytes(*fit(row))
    for last in (0, row.epochs // 2, row.epochs - 1):
        folder = tmp_path / str(last)

        def die(entry: dict[str, float], last: int = last) -> None:
            if entry["epoch"] == last:
                raise KilledError

        with pytest.raises(KilledError):
            fit(row, checkpointing=Checkpointing(folder, every_seconds=0), on_epoch=die)
        assert as_bytes(*fit(row, checkpointing=Checkpointing(folder, every_seconds=0, resume=True))) == whole


@every_row
def test_global_generators_are_left_alone(row: Row) -> None:
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    fit(row)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002


@every_row
def test_state_dict_round_trip(row: Row) -> None:
    recipe, _ = fit(row)
    other = row.build(row.data(), seed=5)
    other.begin(row.data(), None, row.epochs)
    other.load_state_dict(recipe.state_dict())
    unseen = row.data(seed=2)
    assert torch.equal(predict_outputs(recipe, unseen), predict_outputs(other, unseen))
    assert save(_contiguous(other.state_dict())) == save(_contiguous(recipe.state_dict()))


@every_row
def test_saved_estimator_predicts_the_same(row: Row, tmp_path: Path) -> None:
    X, *labels = row.toy.arrays(row.data())
    options = {"recipe_options": row.options, "epochs": 2, "batch_size": 16, "validation_fraction": 0.2}
    model = row.toy.estimator(row.recipe, row.network, **options).fit(X, *labels)
    model.save(tmp_path)
    again = type(model).load(tmp_path)
    predict = next(name for name in ("predict_proba", "predict", "transform") if hasattr(model, name))
    assert np.array_equal(getattr(model, predict)(X), getattr(again, predict)(X))
    if model.corrections_ is not None:
        assert model.corrections_.targets.shape[0] == len(X)
        sums = model.corrections_.targets.sum(axis=1)
        assert (sums >= 0).all()
        assert (sums <= 1 + 1e-5).all()


@every_row
def test_one_class_survives(row: Row) -> None:
    data = row.toy.alike(row.data(per_class=7))
    recipe = row.build(data)
    train(recipe, data, row.settings(), validation=data)
    assert row.toy.are_alike(predict_outputs(recipe, data))


@every_row
def test_one_example_survives(row: Row) -> None:
    data = row.data(per_class=1)
    data = replace(data, inputs=data.inputs[:1], labels=data.labels[:1])
    recipe = row.build(data)
    result = train(recipe, data, row.settings(epochs=2), validation=data)
    assert torch.isfinite(predict_outputs(recipe, data)).all()
    assert len(result.history) == 2


@every_row
def test_batches_of_one_survive(row: Row) -> None:
    data = row.data(per_class=2)
    recipe = row.build(data)
    train(recipe, data, row.settings(epochs=2, batch_size=1), validation=data)
    assert torch.isfinite(predict_outputs(recipe, data)).all()


@every_row
def test_extreme_inputs_survive(row: Row) -> None:
    data = row.data(per_class=4)
    data = replace(data, inputs=changed(data.inputs, lambda numbers: 1e4 * numbers))
    recipe = row.build(data)
    train(recipe, data, row.settings(epochs=2, learning_rate=1e-9))
    assert torch.isfinite(predict_outputs(recipe, data)).all()


def with_infinity(numbers: Tensor) -> Tensor:
    spoilt = numbers.clone()
    spoilt[3] = float("inf")
    return spoilt


@every_row
def test_bad_input_is_refused(row: Row) -> None:
    good = row.data(per_class=4)
    count = len(good)
    bad = {
        "finite": replace(good, inputs=changed(good.inputs, with_infinity)),
        "at least one": replace(good, inputs=good.inputs[:0], labels=good.labels[:0]),
        f"{count} inputs but {count - 1} labels": replace(good, labels=good.labels[:-1]),
    }
    bad |= {message: replace(good, labels=labels) for message, labels in row.toy.bad_labels(good).items()}
    for message, data in bad.items():
        with pytest.raises(InputError, match=message):
            train(row.build(good), data, row.settings())
    model = row.toy.estimator(row.recipe, row.network, recipe_options={"no_such_option": 1})
    with pytest.raises(InputError, match="recipe_options"):
        model.fit(*row.toy.arrays(good))


def train_rows(fabric: Any, folder: Path) -> None:
    torch.set_num_threads(1)
    for row in TABLE:
        data = row.data()
        validation = row.data(seed=1, per_class=10)
        arguments = (row.build(data), data, row.settings(epochs=2, devices=2), validation, None, None, None)
        _train_in_process(fabric, arguments, folder / row.name)
    part()


@pytest.fixture(scope="module")
def pair_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every row trained in two processes, which are started once."""
    folder = tmp_path_factory.mktemp("pair")
    _fabric(TABLE[0].settings(devices=2)).launch(partial(train_rows, folder=folder))
    return folder


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(
            row,
            id=row.name,
            # Only the comparison may fail: an error on the way to it would hide behind the excuse.
            marks=[pytest.mark.xfail(reason=row.differs, strict=True, raises=AssertionError)] if row.differs else [],
        )
        for row in TABLE
    ],
)
def test_two_processes_agree_with_one(row: Row, pair_folder: Path) -> None:
    data = row.data()
    recipe = row.build(data)
    result = train(recipe, data, row.settings(epochs=2), validation=row.data(seed=1, per_class=10))
    tensors, manifest = load_checkpoint(pair_folder / row.name)
    assert manifest["history"] == [pytest.approx(entry, rel=1e-4, abs=1e-6) for entry in result.history]
    for name, value in recipe.state_dict().items():
        torch.testing.assert_close(
            tensors[f"recipe/{name}"], value, rtol=1e-4, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}"
        )


def test_two_processes_through_the_front_door(tmp_path: Path) -> None:
    row = TABLE[0]
    data = row.data()
    alone, together = row.build(data), row.build(data)
    train(alone, data, row.settings(epochs=2))
    result = train(together, data, row.settings(epochs=2, devices=2), checkpointing=Checkpointing(tmp_path))
    assert len(result.history) == 2
    assert not together.training
    for name, value in alone.state_dict().items():
        torch.testing.assert_close(together.state_dict()[name], value, rtol=1e-4, atol=1e-5)


def test_two_processes_refuse_in_one_sentence() -> None:
    row = TABLE[0]
    data = row.data(per_class=4)
    spoilt = replace(data, inputs=data.inputs * float("nan"))
    with pytest.raises(InputError, match=r"^training diverged in epoch 1"):
        train(row.build(data), spoilt, row.settings(devices=2))


LONG = Row("long", "elr", epochs=150)


def kill_and_resume(row: Row, folder: Path, seconds: float) -> bool:
    """Kill a training process with SIGKILL; whether it was still at work. Then go on here, and compare bytes."""
    folder.mkdir(parents=True)
    program = f"import test_every_recipe as t; t.train_checkpointed({row.name!r}, {str(folder)!r})"
    paths = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
    process = subprocess.Popen([sys.executable, "-c", program], env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)})
    deadline = time.monotonic() + 240
    while not (folder / "manifest.json").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(seconds)
    was_running = process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (folder / "manifest.json").exists()
    resumed = as_bytes(*fit(row, checkpointing=Checkpointing(folder, resume=True)))
    assert resumed == as_bytes(*fit(row))
    assert len(list(folder.iterdir())) == 2  # the manifest and its tensors: nothing half written stays
    return was_running


def train_checkpointed(name: str, folder: str) -> None:
    torch.set_num_threads(1)
    (row,) = [row for row in [LONG, *TABLE] if row.name == name]
    fit(row, checkpointing=Checkpointing(Path(folder), every_seconds=0))


def test_kill_9_and_resume(tmp_path: Path) -> None:
    assert kill_and_resume(LONG, tmp_path / "run", seconds=0.2)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_kill_9_at_many_moments(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    running = [kill_and_resume(LONG, tmp_path / str(number), float(rng.uniform(0, 2))) for number in range(20)]
    assert sum(running) >= 15
