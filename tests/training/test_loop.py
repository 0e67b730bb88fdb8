"""The loop, its settings, its seeds and its batches."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from labelwise.errors import InputError
from labelwise.methods.classification.cross_entropy import CrossEntropy
from labelwise.training.data import Batch, TrainingData, epoch_batches, in_order
from labelwise.training.loop import Checkpointing, train
from labelwise.training.predict import predict_outputs, predicted_blocks
from labelwise.training.recipe import Recipe
from labelwise.training.seeding import derive_seed, generator, seeded
from labelwise.training.settings import Settings
from labelwise.training.task import accuracy
from recipes import TABLE, Row

ROW = TABLE[0]


@pytest.mark.parametrize("count", [1, 2, 5, 8, 9, 17])
@pytest.mark.parametrize("size", [1, 2, 8, 100])
def test_batches_hold_every_example_once(count: int, size: int) -> None:
    batches = epoch_batches(count, size, generator(0, "order"))
    assert sorted(torch.cat(batches).tolist()) == list(range(count))
    if count > 1 and size > 1:
        assert min(map(len, batches)) > 1  # one example has no batch statistics
    assert max(map(len, batches)) <= size + 1
    assert torch.cat(in_order(count, size)).tolist() == list(range(count))


def test_the_order_is_the_seeds() -> None:
    first, second, third = (torch.cat(epoch_batches(50, 7, generator(seed, "order"))) for seed in (0, 0, 1))
    assert torch.equal(first, second)
    assert not torch.equal(first, third)


def test_seeds_differ_by_name_and_stay_the_same_on_every_machine() -> None:
    assert derive_seed(0, "epoch", 1) == derive_seed(0, "epoch", 1)
    seeds = [
        derive_seed(0, "epoch", 1),
        derive_seed(0, "epoch", 2),
        derive_seed(1, "epoch", 1),
        derive_seed(0, "order", 1),
    ]
    assert len(set(seeds)) == 4
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert derive_seed(7, "weights") == 531047048456144347


def test_seeded_gives_the_state_back() -> None:
    before = torch.get_rng_state()
    with seeded(3):
        first = torch.rand(2)
    with seeded(3):
        assert torch.equal(torch.rand(2), first)
    assert torch.equal(torch.get_rng_state(), before)


def test_accuracy() -> None:
    logits = torch.tensor([[2.0, 1.0], [0.0, 1.0], [0.0, 1.0]])
    assert accuracy([(logits, torch.tensor([0, 1, 0]))]) == pytest.approx(2 / 3)
    assert accuracy([(logits[:1], torch.tensor([0])), (logits[1:], torch.tensor([-1, 0]))]) == 0.5
    assert accuracy([(logits, torch.tensor([-1, -1, -1]))]) == 0.0
    assert accuracy([]) == 0.0


def test_a_data_set_trains_as_its_arrays_do() -> None:
    data = ROW.data()
    dataset = TrainingData(TensorDataset(data.inputs, data.labels), data.labels, data.num_classes)
    states = []
    for each in (data, dataset):
        recipe = ROW.build(data)
        train(recipe, each, ROW.settings(epochs=2))
        states.append(recipe.state_dict())
    assert all(torch.equal(states[0][name], value) for name, value in states[1].items())
    assert torch.equal(predict_outputs(recipe, dataset), predict_outputs(recipe, data))


def test_loading_processes_change_nothing() -> None:
    data = ROW.data(per_class=6)
    states = []
    for workers in (0, 1):
        dataset = TrainingData(TensorDataset(data.inputs, data.labels), data.labels, data.num_classes, workers)
        recipe = ROW.build(data)
        train(recipe, dataset, ROW.settings(epochs=1))
        states.append(recipe.state_dict())
    assert all(torch.equal(states[0][name], value) for name, value in states[1].items())


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": 0},
        {"epochs": 1.5},
        {"epochs": True},
        {"epochs": "3"},
        {"batch_size": 0},
        {"devices": -1},
        {"warmup_epochs": -1},
        {"early_stopping": 0},
        {"learning_rate": 0.0},
        {"learning_rate": math.nan},
        {"learning_rate": math.inf},
        {"momentum": 1.0},
        {"momentum": math.nan},
        {"weight_decay": -1e-3},
        {"weight_decay": math.nan},
        {"gradient_clip": 0.0},
        {"nesterov": True, "momentum": 0.0},
        {"optimizer": "adam"},
        {"schedule": "linear"},
    ],
    ids=str,
)
def test_bad_settings_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(change))):
        Settings(**change)


@pytest.mark.parametrize(
    "change",
    [
        {"optimizer": "adamw", "learning_rate": 0.01},
        {"nesterov": True},
        {"schedule": "steps"},
        {"schedule": "constant", "warmup_epochs": 2},
        {"gradient_clip": 0.5},
        {"batch_size": 1000},
        {"precision": "bf16-mixed"},
        {"precision": "64-true"},
    ],
    ids=str,
)
def test_every_setting_trains_and_resumes(change: dict[str, Any], tmp_path: Path) -> None:
    data = ROW.data()
    if change.get("precision") == "64-true":
        data = TrainingData(data.inputs.double(), data.labels, data.num_classes)
    whole, half = ROW.build(data), ROW.build(data)
    settings = ROW.settings(**({"epochs": 8} | change))
    train(whole, data, settings)
    assert accuracy(predicted_blocks(whole, data)) > 0.8

    def stop(row: dict[str, float]) -> None:
        if row["epoch"] == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(half, data, settings, checkpointing=Checkpointing(tmp_path, 0), on_epoch=stop)
    resumed = ROW.build(data)
    train(resumed, data, settings, checkpointing=Checkpointing(tmp_path, 0, resume=True))
    assert all(torch.equal(whole.state_dict()[name], value) for name, value in resumed.state_dict().items())


def test_sgd_is_that_of_the_formula() -> None:
    """Two steps by hand: decay into the gradient, momentum buffer, the schedule's rate."""
    data = ROW.data(per_class=3)
    recipe = Row("linear", "cross-entropy", network="linear").build(data)
    weight = recipe.network.head.weight.detach().double().clone()
    bias = recipe.network.head.bias.detach().double().clone()
    train(recipe, data, ROW.settings(epochs=2, batch_size=9, weight_decay=0.1, learning_rate=0.5, momentum=0.8))
    x, onehot = data.inputs.double(), torch.eye(3, dtype=torch.float64)[data.labels]
    buffers = [torch.zeros_like(weight), torch.zeros_like(bias)]
    for rate in (0.5, 0.25):  # half a cosine over two epochs
        residual = ((x @ weight.T + bias).softmax(dim=1) - onehot) / 9
        gradients = [residual.T @ x + 0.1 * weight, residual.sum(dim=0) + 0.1 * bias]
        buffers = [0.8 * buffer + gradient for buffer, gradient in zip(buffers, gradients, strict=True)]
        weight, bias = weight - rate * buffers[0], bias - rate * buffers[1]
    torch.testing.assert_close(recipe.network.head.weight.double(), weight, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(recipe.network.head.bias.double(), bias, rtol=1e-4, atol=1e-5)


class Scripted(Recipe):
    """A network whose validation accuracy follows a script."""

    def __init__(self, script: list[float]) -> None:
        super().__init__(lambda: torch.nn.Linear(1, 2))
        self.script = script
        self.register_buffer("at", torch.tensor(-1))

    def begin_epoch(self, epoch: int) -> None:
        self.at.fill_(epoch)

    def loss(self, batch: Batch) -> Tensor:
        return self.network(batch["inputs"]).square().mean()

    def predict(self, inputs: Tensor) -> Tensor:
        right = torch.arange(len(inputs)) < self.script[int(self.at)] * len(inputs)
        return torch.stack([right.float(), 1 - right.float()], dim=1)


def scripted(script: list[float], patience: int | None, **how: Any) -> Any:
    data = TrainingData(torch.ones(10, 1), torch.zeros(10, dtype=torch.int64), 2)
    recipe = Scripted(script)
    settings = Settings(epochs=len(script), early_stopping=patience, accelerator="cpu")
    return train(recipe, data, settings, validation=data, **how)


def test_the_first_of_equally_good_epochs_is_the_best() -> None:
    result = scripted([0.1, 0.5, 0.3, 0.5, 0.2], None)
    assert result.best_epoch == 1
    assert result.best_state["at"] == 1
    assert [row["validation_score"] for row in result.history] == pytest.approx([0.1, 0.5, 0.3, 0.5, 0.2])


def test_patience() -> None:
    assert len(scripted([0.1, 0.5, 0.3, 0.4, 0.2, 0.9], 2).history) == 4
    assert len(scripted([0.1, 0.2, 0.3, 0.4], 1).history) == 4
    assert scripted([0.5, 0.4, 0.9], 1).best_epoch == 0


def test_patience_outlives_a_kill(tmp_path: Path) -> None:
    def stop(row: dict[str, float]) -> None:
        if row["epoch"] == 2:
            raise KeyboardInterrupt

    script = [0.1, 0.5, 0.3, 0.4, 0.2, 0.9]
    with pytest.raises(KeyboardInterrupt):
        scripted(script, 2, checkpointing=Checkpointing(tmp_path, 0), on_epoch=stop)
    resumed = scripted(script, 2, checkpointing=Checkpointing(tmp_path, 0, resume=True))
    assert len(resumed.history) == 4
    assert resumed.best_epoch == 1
    assert resumed.best_state["at"] == 1


def test_a_finished_run_resumes_to_itself(tmp_path: Path) -> None:
    first = scripted([0.1, 0.5], None, checkpointing=Checkpointing(tmp_path, 0))
    again = scripted([0.1, 0.5], None, checkpointing=Checkpointing(tmp_path, 0, resume=True))
    assert again.history == first.history
    assert again.best_epoch == first.best_epoch


@pytest.mark.parametrize("change", [{"learning_rate": 0.04}, {"seed": 1}, {"momentum": 0.5}, {"epochs": 3}])
def test_a_checkpoint_of_another_run_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    data = ROW.data()
    train(ROW.build(data), data, ROW.settings(epochs=2), checkpointing=Checkpointing(tmp_path))
    resume = Checkpointing(tmp_path, resume=True)
    with pytest.raises(InputError, match="other settings or data"):
        train(ROW.build(data), data, ROW.settings(**({"epochs": 2} | change)), checkpointing=resume)
    flipped = TrainingData(data.inputs, data.labels.flip(0), data.num_classes)
    with pytest.raises(InputError, match="other settings or data"):
        train(ROW.build(data), flipped, ROW.settings(epochs=2), checkpointing=resume)
    other = TABLE[2]
    with pytest.raises(InputError, match="other settings or data"):
        train(other.build(data), data, ROW.settings(epochs=2), checkpointing=resume)


def test_checkpoints_are_as_far_apart_as_asked(tmp_path: Path) -> None:
    seen = []

    def look(row: dict[str, float]) -> None:
        seen.append((tmp_path / "manifest.json").exists())

    data = ROW.data()
    train(ROW.build(data), data, ROW.settings(epochs=3), checkpointing=Checkpointing(tmp_path, 1000), on_epoch=look)
    assert seen == [False, False, True]  # the last epoch is always kept


def test_the_history_holds_the_mean_of_each_term_over_the_steps_that_gave_it() -> None:
    data = ROW.data()
    given: dict[str, list[float]] = {"odd": [], "every": []}

    class Counting(Recipe):
        def step(self, batch: Batch, optimise: Any) -> dict[str, Tensor]:
            number = len(given["every"])
            given["every"].append(float(batch["index"].sum()))
            terms = {"every": batch["index"].sum()}  # integers, which a float32 would round
            if number % 2:
                given["odd"].append(number / 7)
                terms["odd"] = torch.tensor(number / 7, dtype=torch.float64)
            return terms

    settings = Settings(epochs=1, batch_size=5, accelerator="cpu")
    row = train(Counting(lambda: torch.nn.Linear(1, 2)), data, settings).history[0]
    assert len(given["odd"]) > 1
    for name, values in given.items():
        assert row[name] == pytest.approx(sum(values) / len(values), rel=1e-14)


def test_watch_adds_to_the_history() -> None:
    data = ROW.data()
    result = train(ROW.build(data), data, ROW.settings(epochs=2), watch=lambda recipe, epoch: {"twice": 2.0 * epoch})
    assert [row["twice"] for row in result.history] == [0.0, 2.0]


def test_predictions_leave_the_modes_alone() -> None:
    data = ROW.data(per_class=4)
    recipe = CrossEntropy(lambda: torch.nn.Sequential(torch.nn.Linear(6, 3), torch.nn.Dropout(0.5)))
    recipe.train()
    recipe.network[1].eval()
    first = predict_outputs(recipe, data, batch_size=5)
    assert torch.equal(first, predict_outputs(recipe, data))
    assert recipe.network[0].training
    assert not recipe.network[1].training
    empty = TrainingData(data.inputs[:0], data.labels[:0], 3)
    assert predict_outputs(recipe, empty).shape == (0, 3)
