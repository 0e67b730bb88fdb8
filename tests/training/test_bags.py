"""Batches of whole bags, shares of processes, and how good predictions are for bags."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from labelwise.errors import InputError
from labelwise.labels.bags import check_bags
from labelwise.training.bags import BagRecipe, bag_means, bag_proportions, number_in_order
from labelwise.training.data import TrainingData
from labelwise.training.task import BAGS


def recipe_of(of_row: np.ndarray) -> BagRecipe:
    counts = np.bincount(of_row) // 2
    labels = torch.from_numpy(check_bags(of_row, counts).rows())
    recipe = BagRecipe(lambda: nn.Linear(1, 1))
    recipe.begin(TrainingData(torch.zeros(len(labels), 1), labels, 1, task=BAGS), None, 1)
    return recipe


def batches_of(of_row: np.ndarray, batch_size: int) -> list[Tensor]:
    return recipe_of(of_row).batches(len(of_row), batch_size, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("seed", range(20))
def test_batches_hold_whole_bags_and_every_row_once(seed: int) -> None:
    rng = np.random.default_rng(seed)
    of_row = rng.permutation(np.repeat(np.arange(12), rng.integers(1, 9, 12)))
    batch_size = int(rng.integers(1, 30))
    batches = batches_of(of_row, batch_size)
    assert sorted(torch.cat(batches).tolist()) == list(range(len(of_row)))
    for batch in batches:
        bags = of_row[batch.numpy()]
        assert sorted(batch.tolist()) == np.flatnonzero(np.isin(of_row, bags)).tolist()
        assert len(np.unique(bags)) == 1 + int((bags[1:] != bags[:-1]).sum())  # each in one piece
        assert len(batch) <= batch_size + np.bincount(of_row).max()


def test_equal_bags_fill_batches_exactly_and_orders_differ() -> None:
    of_row = np.repeat(np.arange(6), 4)
    recipe = recipe_of(of_row)
    generator = torch.Generator().manual_seed(0)
    first, second = (recipe.batches(24, 8, generator) for _ in range(2))
    assert [len(batch) for batch in first] == [8, 8, 8]
    assert not torch.equal(torch.cat(first), torch.cat(second))
    assert [len(batch) for batch in recipe.batches(24, 1, generator)] == [4] * 6
    assert [len(batch) for batch in recipe.batches(24, 100, generator)] == [24]


def test_a_last_batch_of_one_row_joins_the_one_before() -> None:
    of_row = np.array([0, 0, 0, 1, 1, 1, 2])
    lengths = {tuple(len(batch) for batch in batches_of(of_row, 6)) for _ in range(3)}
    assert all(min(each) > 1 for each in lengths)
    assert [len(batch) for batch in batches_of(np.array([0]), 4)] == [1]


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_processes_share_a_batch_bag_by_bag(world_size: int) -> None:
    of_row = np.array([0, 1, 0, 2, 2, 1, 3, 3, 3])
    recipe = recipe_of(of_row)
    (batch,) = recipe.batches(9, 100, torch.Generator())
    shares = [recipe.own_share(batch, rank, world_size) for rank in range(world_size)]
    assert sorted(torch.cat(shares).tolist()) == list(range(9))
    for share in shares:
        assert sorted(share.tolist()) == np.flatnonzero(np.isin(of_row, of_row[share.numpy()])).tolist()


def test_fewer_bags_than_processes_are_everybodys() -> None:
    recipe = recipe_of(np.array([0, 0, 1, 1]))
    (batch,) = recipe.batches(4, 4, torch.Generator())
    assert all(torch.equal(recipe.own_share(batch, rank, 3), batch) for rank in range(3))


def test_means_and_proportions_of_bags() -> None:
    labels = torch.tensor([[7, 2], [7, 2], [7, 2], [3, 1], [9, 0]])
    number = number_in_order(labels[:, 0])
    assert number.tolist() == [0, 0, 0, 1, 2]
    values = torch.arange(10.0).reshape(5, 2)
    torch.testing.assert_close(bag_means(values, number), torch.tensor([[2.0, 3.0], [6.0, 7.0], [8.0, 9.0]]))
    torch.testing.assert_close(bag_proportions(labels, number), torch.tensor([2 / 3, 1.0, 0.0]))


def test_score_is_one_minus_the_root_mean_squared_gap_of_proportions() -> None:
    bags = check_bags([0, 1, 1, 2, 2, 2, 2], [1, 1, 0])
    labels = torch.from_numpy(bags.rows())
    probs = torch.tensor([0.9, 0.8, 0.4, 0.1, 0.2, 0.1, 0.2], dtype=torch.float64)
    outputs = probs.logit()[:, None]
    predicted, given = np.array([0.9, 0.6, 0.15]), np.array([1, 0.5, 0])
    expected = 1 - np.sqrt(((predicted - given) ** 2).mean())
    assert BAGS.score([(outputs, labels)]) == pytest.approx(expected)
    # blocks cut through bags
    assert BAGS.score([(outputs[:2], labels[:2]), (outputs[2:], labels[2:])]) == pytest.approx(expected)
    assert BAGS.score([]) == 0
    single = torch.from_numpy(check_bags([0, 0], [1]).rows())
    assert BAGS.score([(torch.tensor([[0.0], [0.0]]), single)]) == pytest.approx(1)
    assert BAGS.score([(torch.tensor([[99.0], [99.0]]), single)]) == pytest.approx(0.5)


def test_one_output_only() -> None:
    labels = torch.from_numpy(check_bags([0, 0], [1]).rows())
    with pytest.raises(InputError, match="learnt by one output, but the network has 2"):
        BAGS.check(TrainingData(torch.zeros(2, 1), labels, 2, task=BAGS))
