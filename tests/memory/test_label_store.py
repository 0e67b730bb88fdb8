"""The store of labels: rewriting, the trail, and the way back."""

import numpy as np
import pytest
import torch

from labelwise.memory.label_store import LabelStore


def masks(seed: int) -> torch.Tensor:
    drawn = torch.randint(0, 4, (3, 4, 5), generator=torch.Generator().manual_seed(seed))
    return drawn.masked_fill(drawn == 3, 255)


def filled() -> LabelStore:
    store = LabelStore(masks(0))
    for moment in (1, 4, 9):
        store.rewrite(masks(moment), moment)
    return store


def test_labels_are_read_by_index() -> None:
    store = filled()
    assert torch.equal(store(torch.tensor([2, 0, 2])), masks(9)[[2, 0, 2]])
    assert store(torch.tensor([1])).dtype == torch.int64


def test_what_was_given_is_found_again() -> None:
    store = filled()
    assert torch.equal(store.given().long(), masks(0))
    assert [entry.moment for entry in store.history()] == [1, 4, 9]
    for moment in (4, 1, 0):
        assert store.undo()
        assert torch.equal(store.labels.long(), masks(moment))
    assert not store.undo()
    assert store.history() == []


def test_each_change_has_its_label_before_and_after() -> None:
    last = filled().history()[-1]
    before, after = masks(4).flatten(), masks(9).flatten()
    assert torch.equal(last.places, torch.nonzero(before != after).squeeze(1))
    assert torch.equal(last.before, before[last.places])
    assert torch.equal(last.after, after[last.places])


def test_the_same_labels_are_no_change() -> None:
    store = LabelStore(masks(0))
    assert store.rewrite(masks(0), 3) == 0
    assert store.history() == []
    assert store.rewrite(masks(1), 3) == int((masks(0) != masks(1)).sum())
    with pytest.raises(ValueError, match="moment 3 is not after 3"):
        store.rewrite(masks(2), 3)


def test_the_trail_is_saved() -> None:
    store, other = filled(), LabelStore(masks(0))
    other.load_state_dict(store.state_dict())
    assert torch.equal(other.labels, store.labels)
    assert torch.equal(other.given(), store.given())
    other.load_state_dict(LabelStore(masks(0)).state_dict())
    assert other.history() == []


def test_as_a_layer_that_can_be_taken_back() -> None:
    layer = filled().to_layer("adele")
    unlabelled = [torch.where(masks(seed) == 255, -1, masks(seed)).flatten().numpy() for seed in (0, 4, 9)]
    np.testing.assert_array_equal(layer.given, unlabelled[0])
    np.testing.assert_array_equal(layer.current(), unlabelled[2])
    assert {(change.who, change.why) for change in layer.history()} == {
        ("adele", f"epoch {moment}") for moment in (1, 4, 9)
    }
    layer.undo()
    np.testing.assert_array_equal(layer.current(), unlabelled[1])
