"""Labels that are not one class each: what their cells mean, and which task they speak of."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from labelwise.data.examples import Examples
from labelwise.data.label_forms import find_separator, task_of_values
from labelwise.data.open import find_task, open_data
from labelwise.errors import InputError

X = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
PICTURES = np.random.default_rng(0).integers(0, 256, size=(8, 16, 16, 3), dtype=np.uint8)
MASKS = np.random.default_rng(1).integers(0, 3, size=(8, 16, 16))
EDGES = np.array([[0, 1], [1, 2], [2, 3], [4, 5], [5, 6], [6, 7]])


def npz(folder: Path, **arrays: Any) -> Path:
    np.savez(folder / "d.npz", **arrays)
    return folder / "d.npz"


def csv(folder: Path, name: str = "d.csv", **columns: Any) -> Path:
    pd.DataFrame(columns).to_csv(folder / name, index=False)
    return folder / name


def objects(*cells: Any) -> np.ndarray:
    values = np.empty(len(cells), dtype=object)
    values[:] = cells
    return values


@pytest.mark.parametrize(
    ("values", "task"),
    [
        (np.array([0.5, 1.0, np.nan]), "regression"),
        (np.array([1.0, 2.0, np.nan]), "classification"),
        (np.array([3, 4, 5]), "classification"),
        (objects("1.5", "2", None), "regression"),
        (objects("1", "2", ""), "classification"),
        (objects("cat|dog", "cat", "dog", "dog|bird", "bird"), "multilabel"),
        (objects("cat; dog", "cat", "dog", "dog; bird", "bird"), "multilabel"),
        (objects("R|B 1", "blues", "rock"), "classification"),  # a mark that is part of one name
        (objects(["a"], ["a", "b"], []), "multilabel"),
        (objects("['a', 'b']", "[]", '["b"]', None), "multilabel"),
        (objects("[a]", "[b]", "[a]"), "classification"),  # names in brackets
        (objects("[" * 90_000 + "]" * 90_000, "[" * 900 + "]" * 900), "classification"),
        (objects("a, b", "a", "b", "b, a"), "classification"),  # a comma stands in many single names
        (objects("yes", "no", None), "classification"),
        (objects(), "classification"),
    ],
)
def test_label_cells_speak_of_their_task(values: np.ndarray, task: str) -> None:
    assert task_of_values(values) == task


def test_a_separator_joins_names_that_also_stand_alone() -> None:
    assert find_separator(["a|b", "b|a", "a", "b"]) == "|"
    assert find_separator(["a|b", "a", "b"]) is None  # one such cell may be a name of its own
    assert find_separator(["a|b", "c|d", "e"]) is None  # each name occurs once: nothing is shared


def test_tables_hold_numbers_and_several_labels(tmp_path: Path) -> None:
    numbers = open_data(csv(tmp_path, x=X[:4, 0], y=["1.5", "", "-2", "3e2"]), label="y", task="regression")
    np.testing.assert_array_equal(numbers.given, [1.5, np.nan, -2.0, 300.0])
    assert numbers.is_labelled.tolist() == [True, False, True, True]
    assert numbers.classes == ()
    tags = csv(tmp_path, "t.csv", x=X[:5, 0], y=["cat|dog", "cat", "", "dog|bird", "bird|cat"])
    several = open_data(tags, label="y", task="multilabel")
    assert several.classes == ("bird", "cat", "dog")
    assert several.given.tolist() == [[0, 1, 1], [0, 1, 0], [-1, -1, -1], [1, 0, 1], [1, 1, 0]]


def test_lists_as_text_and_commas_where_they_are_asked_for(tmp_path: Path) -> None:
    expected = [[1, 1], [0, 0], [-1, -1], [0, 1]]
    lists = csv(tmp_path, x=X[:4, 0], y=["['a', 'b']", "[]", None, '["b", ""]'])
    assert open_data(lists, label="y", task="multilabel").given.tolist() == expected
    commas = csv(tmp_path, "c.csv", x=X[:4, 0], y=["a, b", "b,a", None, "b"])
    assert open_data(commas, label="y", task="multilabel").given.tolist() == [[1, 1], [1, 1], [-1, -1], [0, 1]]


def test_true_labels_that_cannot_be_used_are_unknown_and_told(tmp_path: Path) -> None:
    several = csv(tmp_path, x=X[:4, 0], y=["a|b", "a", "b|a", "b"], t=["a", "a|z", "", "b"])
    data = open_data(several, label="y", task="multilabel", truth="t")
    assert data.truth is not None
    assert data.truth.tolist() == [[1, 0], [-1, -1], [-1, -1], [0, 1]]
    assert any("count as unknown" in note for note in data.notes)
    numbers = csv(tmp_path, "n.csv", x=X[:3, 0], y=[1.5, 2.0, 3.0], t=["1", "much", "inf"])
    data = open_data(numbers, label="y", task="regression", truth="t")
    np.testing.assert_array_equal(data.truth, [1.0, np.nan, np.nan])
    assert any("count as unknown" in note for note in data.notes)
    assert not data.rejected


def test_a_word_among_numbers_is_rejected_with_its_reason(tmp_path: Path) -> None:
    data = open_data(csv(tmp_path, x=X[:4, 0], y=["1.5", "much", "inf", "2"]), label="y", task="regression")
    assert data.given.tolist() == [1.5, 2.0]
    assert [each.index for each in data.rejected] == [1, 2]
    assert "'much' is not a number" in data.rejected[0].reason
    assert "infinite" in data.rejected[1].reason


def test_lists_of_labels_in_parquet(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": X[:4, 0], "y": [["a", "b"], [], None, ["b", None]]})
    frame.to_parquet(tmp_path / "d.parquet")
    data = open_data(tmp_path / "d.parquet", label="y", task=find_task(tmp_path / "d.parquet", label="y"))
    assert data.task == "multilabel"
    assert data.given.tolist() == [[1, 1], [0, 0], [-1, -1], [0, 1]]


@pytest.mark.parametrize(
    ("arrays", "task"),
    [
        ({"y": np.linspace(0, 1, 8)}, "regression"),
        ({"y": np.array([0, 1] * 4)}, "classification"),
        ({"y": np.array([[1, 0, -1]] * 8)}, "multilabel"),
        ({"y": np.array([0, 1] * 4), "edges": EDGES}, "nodes"),
        ({"y": np.array([0, 1] * 4), "bag": np.repeat([3, 4], 4)}, "bags"),
    ],
)
def test_arrays_speak_of_their_task(tmp_path: Path, arrays: dict[str, Any], task: str) -> None:
    path = npz(tmp_path, X=X, **arrays)
    assert find_task(path) == task
    data = open_data(path, task=task)
    assert data.task == task
    assert len(data) == 8


def test_masks_in_arrays_keep_their_classes_when_resized(tmp_path: Path) -> None:
    path = npz(tmp_path, X=PICTURES, y=MASKS, t=MASKS)
    assert find_task(path) == "segmentation"
    whole = open_data(path, task="segmentation", truth="t")
    np.testing.assert_array_equal(whole.given, MASKS)
    np.testing.assert_array_equal(whole.inputs, PICTURES)
    half = open_data(path, task="segmentation", image_size=8)
    assert half.given.shape == (8, 8, 8)
    assert half.inputs.shape == (8, 8, 8, 3)
    assert set(np.unique(half.given)) <= {0, 1, 2}


def mask_folder(root: Path) -> Path:
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True)
    for row in range(4):
        Image.fromarray(PICTURES[row]).save(root / "images" / f"{row}.png")
        Image.fromarray(MASKS[row].astype(np.uint8)).save(root / "masks" / f"{row}.png")
    return root


def test_a_folder_of_images_and_masks(tmp_path: Path) -> None:
    root = mask_folder(tmp_path / "d")
    (root / "classes.txt").write_text("ground\nroad\ncar\n")
    (root / "masks" / "1.png").unlink()  # not labelled
    Image.fromarray(PICTURES[2]).save(root / "masks" / "2.png")  # colours
    (root / "images" / "3.png").write_bytes(b"not a picture")
    assert find_task(root) == "segmentation"
    data = open_data(root, task="segmentation")
    assert data.classes == ("ground", "road", "car")
    assert data.is_labelled.tolist() == [True, False]
    np.testing.assert_array_equal(data.given[0], MASKS[0])
    assert [each.location for each in data.rejected] == ["images/2.png", "images/3.png"]
    assert "colours" in data.rejected[0].reason


def test_files_that_go_with_no_other_are_told(tmp_path: Path) -> None:
    root = mask_folder(tmp_path / "d")
    (root / "images" / "notes.txt").write_text("hello")
    (root / "masks" / "9.png").write_bytes((root / "masks" / "1.png").read_bytes())
    Image.fromarray(PICTURES[0]).save(root / "images" / "0.bmp")
    data = open_data(root, task="segmentation")
    assert [data.location(row) for row in range(4)] == [
        f"images/{name}" for name in ("0.bmp", "1.png", "2.png", "3.png")
    ]
    assert [each.location for each in data.rejected] == ["images/0.png"]
    assert "0.bmp" in data.rejected[0].reason
    notes = " ".join(data.notes)
    assert "1 files in images are no pictures" in notes
    assert "1 files in masks go with no picture of that name, the first 9.png" in notes


def test_nodes_and_edges_in_tables(tmp_path: Path) -> None:
    csv(tmp_path, "nodes.csv", id=["a", "b", "c", "d"], x=X[:4, 0], label=["u", "v", "u", "v"])
    csv(tmp_path, "edges.csv", source=["a", "b", "c", "c"], target=["b", "c", "c", "nowhere"])
    assert find_task(tmp_path) == "nodes"
    data = open_data(tmp_path, task="nodes")
    assert data.edges is not None
    assert sorted(map(tuple, data.edges.T.tolist())) == [(0, 1), (1, 0), (1, 2), (2, 1)]
    assert any("1 edges" in note for note in data.notes)
    assert data.location(1) == "node 'b', row 2"
    part = data.subset([1, 2])
    assert part.location(1) == "node 'c', row 3"
    assert part.edges is not None
    assert sorted(map(tuple, part.edges.T.tolist())) == [(0, 1), (1, 0)]


def test_bags_of_a_table_hold_names(tmp_path: Path) -> None:
    path = csv(tmp_path, x=X[:6, 0], label=["p", "n"] * 3, bag=[1, 1, 2, 2, 3, 3])
    assert find_task(path, label="label") == "bags"
    data = open_data(path, label="label", task="bags")
    assert data.bags is not None
    assert data.bags.tolist() == ["1", "1", "2", "2", "3", "3"]
    assert [column["name"] for column in data.schema["columns"]] == ["x"]


def test_a_row_without_a_bag_is_rejected(tmp_path: Path) -> None:
    path = csv(tmp_path, x=X[:6, 0], label=["p", "n"] * 3, bag=["a", "a", None, "b", "b", " "])
    data = open_data(path, label="label", task="bags")
    assert data.index.tolist() == [0, 1, 3, 4]
    assert data.bags is not None
    assert data.bags.tolist() == ["a", "a", "b", "b"]
    assert [(each.index, "bag" in each.reason) for each in data.rejected] == [(2, True), (5, True)]


def test_bags_of_arrays_may_have_any_name_and_may_not_be_nan(tmp_path: Path) -> None:
    path = npz(tmp_path, X=X, y=[0, 1] * 4, d=np.array([1, 1, 2, 2, np.nan, 3, 3, 3]))
    assert find_task(path, bag="d") == "bags"
    data = open_data(path, task="bags", bag="d")
    assert data.bags is not None
    assert data.bags.tolist() == ["1.0", "1.0", "2.0", "2.0", "3.0", "3.0", "3.0"]
    assert [each.index for each in data.rejected] == [4]


REFUSED: dict[str, tuple[Any, dict[str, Any], str]] = {
    "a word for a number": (lambda to: csv(to, x=[1, 2], y=["a", "b"]), {"label": "y", "task": "regression"}, "number"),
    "numbers of two columns": (lambda to: npz(to, X=X, y=np.ones((8, 2))), {"task": "regression"}, "one number"),
    "infinite": (lambda to: npz(to, X=X, y=np.r_[np.inf, X[1:, 0]]), {"task": "regression"}, "infinite in row 1"),
    "one number only": (lambda to: npz(to, X=X, y=np.full(8, 0.5)), {"task": "regression"}, "two different labels"),
    "a 2 among labels": (lambda to: npz(to, X=X, y=np.full((8, 2), 2)), {"task": "multilabel"}, "1"),
    "labels of other length": (lambda to: npz(to, X=X, y=np.ones((5, 2))), {"task": "multilabel"}, "8"),
    "names of other length": (
        lambda to: npz(to, X=X, y=np.ones((8, 2)), classes=np.array(["a"])), {"task": "multilabel"}, "1 names for 2",
    ),
    "one label": (lambda to: csv(to, x=[1, 2], y=["a", "a"]), {"label": "y", "task": "multilabel"}, "at least two"),
    "masks of other size": (lambda to: npz(to, X=PICTURES, y=MASKS[:, :8]), {"task": "segmentation"}, "same size"),
    "a class of -3": (lambda to: npz(to, X=PICTURES, y=MASKS - 3), {"task": "segmentation"}, "255"),
    "one class of pixels": (lambda to: npz(to, X=PICTURES, y=MASKS * 0), {"task": "segmentation"}, "fewer than two"),
    "masks in a table": (lambda to: csv(to, x=[1, 2], y=[0, 1]), {"label": "y", "task": "segmentation"}, "is a table"),
    "no folder of masks": (lambda to: to, {"task": "segmentation"}, "images and masks"),
    "options of a table for masks": (
        lambda to: mask_folder(to / "d"), {"task": "segmentation", "label": "y"}, "leave out --label",
    ),
    "pictures of fractions": (
        lambda to: npz(to, X=PICTURES / 255, y=MASKS), {"task": "segmentation"}, "uint8",
    ),
    "rows for pictures": (lambda to: npz(to, X=X, y=MASKS), {"task": "segmentation"}, "give pictures"),
    "a folder for numbers": (lambda to: mask_folder(to / "d"), {"task": "regression"}, "is a folder"),
    "a folder for bags": (lambda to: mask_folder(to / "d"), {"task": "bags", "bag": "b"}, "is a folder"),
    "texts for masks": (
        lambda to: npz(to, X=PICTURES, y=MASKS), {"task": "segmentation", "text": "t"}, "leave out --text",
    ),
    "an edge list for arrays": (
        lambda to: npz(to, X=X, y=[0, 1] * 4, edges=EDGES), {"task": "nodes", "edges": "e.csv"}, "leave out --edges",
    ),
    "edges from before the first row": (
        lambda to: npz(to, X=X, y=[0, 1] * 4, edges=[[-1, 2], [3, 4], [0, 1]]), {"task": "nodes"}, "row -1",
    ),
    "no such array of bags": (lambda to: npz(to, X=X, y=[0, 1] * 4), {"task": "bags", "bag": "b"}, "no array 'b'"),
    "numbers as classes": (lambda to: csv(to, x=X[:, 0], y=range(8)), {"label": "y"}, "--task regression"),
    "edges to nowhere": (
        lambda to: npz(to, X=X, y=[0, 1] * 4, edges=[[0, 99]]), {"task": "nodes"}, "X has rows 0 to 7",
    ),
    "three ends": (lambda to: npz(to, X=X, y=[0, 1] * 4, edges=np.ones((5, 3), int)), {"task": "nodes"}, "(m, 2)"),
    "no edge between rows": (lambda to: npz(to, X=X, y=[0, 1] * 4, edges=[[1, 1]]), {"task": "nodes"}, "links no two"),
    "no edges": (lambda to: csv(to, x=[1, 2], label=[0, 1]), {"label": "label", "task": "nodes"}, "--edges"),
    "no bags": (lambda to: csv(to, x=[1, 2], label=[0, 1]), {"label": "label", "task": "bags", "bag": "b"}, "'b'"),
    "bags of other length": (lambda to: npz(to, X=X, y=[0, 1] * 4, bag=[1, 2]), {"task": "bags"}, "one bag a row"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_task_refuses(name: str, tmp_path: Path) -> None:
    build, options, words = REFUSED[name]
    with pytest.raises(InputError) as error:
        open_data(build(tmp_path), **options)
    assert words in str(error.value)
    assert isinstance(error.value.args[0], str)


def test_examples_know_which_rows_are_labelled(tmp_path: Path) -> None:
    masks = MASKS.copy()
    masks[1] = 255
    data: Examples = open_data(npz(tmp_path, X=PICTURES, y=masks), task="segmentation")
    assert data.is_labelled.tolist() == [True, False, *[True] * 6]
