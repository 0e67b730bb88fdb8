"""The places that ids get, and mass that is poured in parts, passed on in part, or has no room."""

import numpy as np
import pytest

from labelwise.numerics.graphs import graph_from_edges
from labelwise.numerics.local_push import LocalPush, PlaceTable


@pytest.mark.parametrize("largest", [10, 5000, 2**62])
def test_places_are_those_of_a_dictionary(largest: int) -> None:
    rng = np.random.default_rng(0)
    table, known = PlaceTable(), {}
    for size in (0, 1, 3, 40, 2000, 0, 5000):
        ids = rng.integers(0, largest, size)
        expected = [known.setdefault(each, len(known)) for each in ids.tolist()]
        assert table.places(ids).tolist() == expected
        assert table.ids.tolist() == list(known)


def test_ids_that_fall_on_one_slot_stay_apart() -> None:
    table = PlaceTable()
    ids = np.arange(4000, dtype=np.int64) << 40
    assert table.places(ids).tolist() == list(range(4000))
    assert table.places(ids[::-1].copy()).tolist() == list(range(4000))[::-1]


def constant(value: float):
    return lambda nodes: np.full(len(nodes), value)


def test_what_is_not_passed_on_is_gone() -> None:
    """Half of each push is kept back, so what was moved solves a linear system of the random walk."""
    reached = LocalPush(graph_from_edges([[0, 1], [1, 2]], 3), constant(0.0), constant(1e-9), pass_on=0.5)
    reached.pour(np.array([0]), np.array([1.0]))
    assert reached.push(1000)
    assert reached.mass.sum() + 0.5 * reached.moved.sum() == pytest.approx(1)
    walk = np.array([[0, 1, 0], [0.5, 0, 0.5], [0, 1, 0]])
    np.testing.assert_allclose(reached.moved, np.linalg.solve(np.eye(3) - 0.5 * walk.T, [1, 0, 0]), atol=1e-7)


def test_room_is_asked_for_in_every_part() -> None:
    reached = LocalPush(graph_from_edges([[0, 1], [2, 3]], 5), constant(1.0), constant(1e-6))
    reached.pour(np.array([0, 2]), np.array([1.5, 1.5]))
    assert reached.push(1000)
    assert reached.fits()
    reached.pour(np.array([2]), np.array([1.0]))
    assert not reached.push(10_000)
    assert not reached.fits()
    assert reached.num_passes < 2000
    np.testing.assert_allclose(reached.mass.sum(), 4.0)


def test_nothing_moves_where_nothing_overflows() -> None:
    reached = LocalPush(graph_from_edges([[0, 1]], 2), constant(1.0), constant(0.1))
    reached.pour(np.array([1]), np.array([1.05]))
    assert reached.push(10)
    assert (reached.num_passes, reached.num_pushes, reached.heights().tolist()) == (0, 0, [0.0])
    assert reached.solve()  # which grants no slack
    np.testing.assert_allclose(reached.mass, [1, 0.05])
