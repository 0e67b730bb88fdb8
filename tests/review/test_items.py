"""The file of items: what was written comes back, also of a million; what is no such file is refused."""

import json
from pathlib import Path

import numpy as np
import pytest

from labelwise.errors import InputError
from labelwise.review.items import ITEMS_AT_ONCE, Items, write_items


def columns(rng: np.random.Generator, first: int, count: int) -> dict[str, list]:
    names = ["cat", "dog", "a|b", "=1+1", "<b>"]
    return {
        "index": list(range(first, first + count)),
        "location": [f"row {i}" for i in range(count)],
        "given": rng.choice(names, count).tolist(),
        "suggested": rng.choice(names, count).tolist(),
        "score": np.sort(rng.random(count)),
        "suspect": (rng.random(count) < 0.5).tolist(),
        "why": ["because"] * count,
        "given_prob": rng.random(count),
        "suggested_prob": rng.random(count),
        "probs": [[("cat", 0.75), ("dog", 0.25)]] * count,
        "fields": [[("age", "7"), ("name", "\udcff")]] * count,
        "neighbours": [[(i + 1) % count] for i in range(count)],
        "picture": [None if i % 2 else f"picture {i}".encode() for i in range(count)],
    }


def written(path: Path, blocks: list[dict[str, list]]) -> Items:
    with write_items(path, task="classification", classes=["cat", "dog"], name="pets") as writer:
        for block in blocks:
            writer.write(block)
    return Items.open(path)


def test_every_item_comes_back_as_it_was_written(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    blocks = [columns(rng, 0, ITEMS_AT_ONCE + 7), columns(rng, ITEMS_AT_ONCE + 7, 5)]
    items = written(tmp_path / "review.arrow", blocks)
    joined = {name: [cell for block in blocks for cell in block[name]] for name in blocks[0]}

    assert len(items) == ITEMS_AT_ONCE + 12
    assert (items.task, items.name, items.classes) == ("classification", "pets", ["cat", "dog"])
    np.testing.assert_array_equal(items.index, joined["index"])
    np.testing.assert_array_equal(items.suspect, joined["suspect"])
    np.testing.assert_array_equal(items.score, np.asarray(joined["score"], np.float32))
    assert [items.cells[code] for code in items.given_code] == joined["given"]
    assert [items.cells[code] for code in items.suggested_code] == joined["suggested"]
    for position in (0, 1, ITEMS_AT_ONCE - 1, ITEMS_AT_ONCE, len(items) - 1):
        item = items.item(position)
        assert (item.position, item.index, item.given) == (position, position, joined["given"][position])
        assert item.probs == (("cat", 0.75), ("dog", 0.25))
        assert item.fields == (("age", "7"), ("name", "\\udcff"))
        assert item.neighbours == tuple(joined["neighbours"][position])
        assert items.blob(position, "picture") == joined["picture"][position]
        assert item.blobs == (() if joined["picture"][position] is None else ("picture",))
        assert items.position(position) == position
        assert item.text is None
        assert item.part == ""


def test_parts_of_a_row_are_items_of_their_own(tmp_path: Path) -> None:
    block = {"index": [4, 2, 4], "part": ["sun", "", "rain"], "given": ["a"] * 3, "suggested": ["b"] * 3}
    items = written(tmp_path / "review.arrow", [block | {"score": [0.1, 0.2, 0.3]}])
    assert [items.position(4, "rain"), items.position(4, "sun"), items.position(2), items.position(4)] == [
        2,
        0,
        1,
        None,
    ]
    assert np.isnan(items.given_prob).all()
    assert not items.suspect.any()


def test_an_empty_file_has_no_items(tmp_path: Path) -> None:
    items = written(tmp_path / "review.arrow", [])
    assert len(items) == 0
    assert items.cells == []
    assert items.position(0) is None
    assert len(items.score) == 0
    with pytest.raises(IndexError):
        items.item(0)


def test_what_is_no_file_of_items_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "review.arrow"
    with pytest.raises(InputError, match="does not exist"):
        Items.open(path)
    written(path, [columns(np.random.default_rng(0), 0, 50)])
    whole = path.read_bytes()
    for damaged in (b"", b"not arrow", whole[: len(whole) // 2], whole[:-8]):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match="run or audit"):
            Items.open(path)
    import pyarrow as pa

    with pa.OSFile(str(path), "wb") as stream, pa.ipc.new_file(stream, pa.schema([("index", pa.int64())])):
        pass
    with pytest.raises(InputError, match="no items"):
        Items.open(path)


def test_nothing_is_left_of_a_file_that_was_not_finished(tmp_path: Path) -> None:
    path = tmp_path / "review.arrow"
    with pytest.raises(KeyError), write_items(path, task="classification", classes=[], name="x") as writer:
        writer.write({"given": ["a"]})
    assert list(tmp_path.iterdir()) == []


def test_the_description_is_json_that_keeps_hostile_names(tmp_path: Path) -> None:
    names = ['"],"x":["', "</script>", "a\nb"]
    path = tmp_path / "review.arrow"
    with write_items(path, task="classification", classes=names, name="n"):
        pass
    assert json.loads(json.dumps(Items.open(path).classes)) == names
