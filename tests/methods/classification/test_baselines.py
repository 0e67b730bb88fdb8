"""The baselines against their formulas, and the list of methods."""

import json

import pytest
import torch
from torch import Tensor

from labelwise.errors import InputError
from labelwise.methods import find_recipe, recipes
from labelwise.methods.classification.cross_entropy import CrossEntropy
from labelwise.methods.classification.label_smoothing import LabelSmoothing
from labelwise.methods.classification.mixup import Mixup
from labelwise.methods.listing import method_rows, method_table
from labelwise.networks.build import build_network
from labelwise.networks.network import Network
from labelwise.numerics.mixup import draw_mixup
from labelwise.training.data import Batch
from labelwise.training.recipe import Recipe
from labelwise.training.seeding import generator, seeded


def build() -> Network:
    with seeded(0):
        return build_network("mlp-5", (4,), 3)


def batch(count: int) -> Batch:
    inputs = torch.randn(count, 4, generator=torch.Generator().manual_seed(1))
    return Batch(index=torch.arange(count), inputs=inputs, labels=torch.arange(count) % 3)


def log_probs(recipe: Recipe, inputs: Tensor) -> Tensor:
    return recipe.network(inputs).log_softmax(dim=1)


@pytest.mark.parametrize("count", [1, 5])
def test_cross_entropy(count: int) -> None:
    given, recipe = batch(count), CrossEntropy(build)
    rows = log_probs(recipe, given["inputs"])
    expected = -sum(rows[i, given["labels"][i]] for i in range(count)) / count
    torch.testing.assert_close(recipe.loss(given), expected)
    assert recipe.corrections() is None


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.99])
def test_label_smoothing(smoothing: float) -> None:
    given, recipe = batch(5), LabelSmoothing(build, smoothing=smoothing)
    targets = (1 - smoothing) * torch.eye(3)[given["labels"]] + smoothing / 3
    expected = -(targets * log_probs(recipe, given["inputs"])).sum(dim=1).mean()
    torch.testing.assert_close(recipe.loss(given), expected)


def test_label_smoothing_out_of_range() -> None:
    for smoothing in (-0.1, 1.0, float("nan")):
        with pytest.raises(InputError, match="smoothing"):
            LabelSmoothing(build, smoothing=smoothing)


@pytest.mark.parametrize("count", [1, 6])
def test_mixup(count: int) -> None:
    given, recipe = batch(count), Mixup(build, alpha=0.8)
    recipe.generator = generator(0, "mixup")
    pairs = draw_mixup(count, 0.8, generator(0, "mixup"))
    onehot = torch.eye(3)[given["labels"]]
    w = pairs.weight
    inputs = w * given["inputs"] + (1 - w) * given["inputs"][pairs.partner]
    targets = w * onehot + (1 - w) * onehot[pairs.partner]
    expected = -(targets * log_probs(recipe, inputs)).sum(dim=1).mean()
    torch.testing.assert_close(recipe.loss(given), expected)


def test_mixup_off_is_cross_entropy() -> None:
    given = batch(6)
    torch.testing.assert_close(Mixup(build, alpha=0.0).loss(given), CrossEntropy(build).loss(given))


def test_a_recipe_without_loss_says_so() -> None:
    with pytest.raises(NotImplementedError, match="neither loss nor step"):
        Recipe(build).loss(batch(2))


def test_recipes_are_found_by_name() -> None:
    assert all(find_recipe(name) is recipe for name, recipe in recipes().items())
    with pytest.raises(InputError, match=r"no recipe 'crossentropy'; choose one of cross-entropy, "):
        find_recipe("crossentropy")


def test_the_list_of_methods_is_plain_json() -> None:
    rows = method_rows()
    assert json.loads(json.dumps(rows)) == rows
    table = method_table(rows)
    assert table.row_count == len(rows) + len({row["task"] for row in rows})  # a line names each task
    named = [str(cell).split("\n")[0] for cell in table.columns[1].cells]
    assert {row["slug"] for row in rows} <= set(named)
