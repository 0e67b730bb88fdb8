import gzip
import io
import json
import tracemalloc
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from labelwise.data import batches
from labelwise.data.classes import encode_labels, find_classes, read_labels
from labelwise.data.examples import Examples, concatenate
from labelwise.data.open import iter_blocks, open_data
from labelwise.errors import InputError


def people(n: int = 40) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "age": rng.integers(18, 80, n).astype(float),
            "job": rng.choice(["cook", "smith, black", 'the "boss"', "?"], n),
            "since": pd.Timestamp("2020-01-31") + pd.to_timedelta(rng.integers(0, 999, n), unit="D"),
            "member": rng.choice([True, False], n),
            "income": np.where(np.arange(n) % 2, ">50K", "<=50K"),
        }
    )
    frame.loc[[1, 5], "age"] = np.nan
    frame.loc[3, "income"] = None
    return frame


def same(a: Examples, b: Examples) -> None:
    assert a.classes == b.classes
    assert a.given.tolist() == b.given.tolist()
    assert a.index.tolist() == b.index.tolist()
    assert a.rejected == b.rejected
    if a.kind == "table":
        pd.testing.assert_frame_equal(a.inputs, b.inputs)
    else:
        assert np.array_equal(a.inputs, b.inputs)


def test_csv_table_has_typed_columns_and_missing_cells(tmp_path: Path) -> None:
    frame = people()
    frame["member"] = frame["member"].astype(int)
    frame.to_csv(tmp_path / "people.csv", index=False)
    data = open_data(tmp_path / "people.csv", label="income")
    assert (data.name, data.kind, data.classes) == ("people", "table", ("<=50K", ">50K"))
    assert data.given.tolist() == [-1 if row == 3 else row % 2 for row in range(40)]
    assert np.array_equal(data.inputs["age"], frame["age"], equal_nan=True)
    assert [cell is None for cell in data.inputs["job"]] == (frame["job"] == "?").tolist()
    assert (data.inputs["since"].to_numpy() == frame["since"].to_numpy()).all()
    assert data.location(4) == "row 5"
    assert "1 of 40 rows carry no label" in data.notes
    json.dumps(data.schema)


def test_parquet_and_csv_of_the_same_table_agree(tmp_path: Path) -> None:
    frame = people().drop(columns="member")
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_parquet(tmp_path / "a.parquet")
    same(open_data(tmp_path / "a.csv", label="income"), open_data(tmp_path / "a.parquet", label="income"))


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_blocks_are_the_whole_in_pieces(suffix: str, rows: int, tmp_path: Path) -> None:
    frame = people()
    frame["member"] = frame["member"].astype(int)
    frame.loc[20, "age"] = np.inf
    path = tmp_path / f"a.{suffix}"
    frame.to_csv(path, index=False) if suffix == "csv" else frame.to_parquet(path)
    whole = open_data(path, label="income")
    assert [rejection.index for rejection in whole.rejected] == [20]
    parts = list(iter_blocks(path, json.loads(json.dumps(whole.schema)), block_rows=rows))
    assert max(map(len, parts)) <= rows
    same(concatenate(parts), whole)


def test_csv_blocks_keep_their_place_across_read_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "_BLOCK_BYTES", 64)
    bad = {0, 1, 17, 40, 99}
    lines = [f"{row},{'ab'[row % 2]}" + (",x" if row in bad else "") for row in range(100)]
    (tmp_path / "a.csv").write_text("\n".join(["x,label", *lines]))
    data = open_data(tmp_path / "a.csv", label="label")
    assert data.index.tolist() == [row for row in range(100) if row not in bad]
    assert data.inputs["x"].tolist() == [float(row) for row in range(100) if row not in bad]
    assert {rejection.index for rejection in data.rejected} == bad


def test_new_rows_need_no_label_and_unknown_labels_count_as_none(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,label\n" + "".join(f"{v},{'ab'[v % 2]}\n" for v in range(8)))
    schema = open_data(tmp_path / "a.csv", label="label").schema
    (tmp_path / "new.csv").write_text("extra,x\nu,5\nv,\n")
    new = open_data(tmp_path / "new.csv", schema=schema, require_labels=False)
    assert new.given.tolist() == [-1, -1]
    assert new.inputs["x"].isna().tolist() == [False, True]
    (tmp_path / "new.csv").write_text("x,label\n5,b\n6,zebra\n")
    assert concatenate(list(iter_blocks(tmp_path / "new.csv", schema))).given.tolist() == [1, -1]
    strict = open_data(tmp_path / "a.csv", schema=schema | {"classes": ["a", "b"]})
    assert strict.given.tolist() == [0, 1] * 4


def test_semicolons_tabs_marks_and_line_ends(tmp_path: Path) -> None:
    for text in ("x;label\n1;a\n2;b\n", "x\tlabel\r\n1\ta\r\n2\tb\r\n", "\ufeffx|label\n1|a\n2|b\n"):
        (tmp_path / "a.csv").write_bytes(text.encode())
        data = open_data(tmp_path / "a.csv", label="label")
        assert data.inputs["x"].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("cells", "first"),
    [
        (["2021-03-04", "1969-12-31"], date(2021, 3, 4)),
        (["2021-03-04T10:00:00", "2021-03-05T11:30:00"], date(2021, 3, 4)),
        (["31.12.2020", "01.02.2021"], date(2020, 12, 31)),
        (["12/31/2020", "01/02/2021"], date(2020, 12, 31)),
        (["31/12/2020", "01/02/2021"], date(2020, 12, 31)),
    ],
)
def test_dates_in_common_forms(cells: list[str], first: date, tmp_path: Path) -> None:
    lines = [f"{cell},{name}" for cell, name in zip(cells * 2, "abab", strict=True)]
    (tmp_path / "a.csv").write_text("\n".join(["when,label", *lines, ",a"]))
    data = open_data(tmp_path / "a.csv", label="label")
    assert data.inputs["when"].dtype.kind == "M"
    assert data.inputs["when"].iloc[0].date() == first
    assert data.inputs["when"].isna().iloc[4]


def test_ambiguous_dates_are_noted(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("when,label\n01/02/2020,a\n03/04/2020,b\n")
    data = open_data(tmp_path / "a.csv", label="label")
    assert any("%d/%m/%Y fits them too" in note for note in data.notes)


def test_odd_parquet_columns(tmp_path: Path) -> None:
    table = pa.table(
        {
            "flag": pa.array([True, None, False, True]),
            "colour": pa.array(["u", "v", "u", None]).dictionary_encode(),
            "price": pa.array([1, 2, 3, 4]).cast(pa.decimal128(25, 2)),
            "day": pa.array([date(2020, 1, 2)] * 4),
            "zoned": pa.array(pd.to_datetime(["2020-01-02T03:00:00Z"] * 4)),
            "tags": [["x"], [], ["y"], None],
            "label": pa.array([0, 1, 0, 1], pa.int8()),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    data = open_data(tmp_path / "a.parquet", label="label")
    assert [column.kind for column in data.inputs.dtypes] == ["f", "O", "f", "M", "M"]
    assert data.inputs["colour"].tolist() == ["u", "v", "u", None]
    assert data.inputs["flag"].isna().tolist() == [False, True, False, False]
    assert any("'tags'" in note and "not used" in note for note in data.notes)
    assert data.classes == ("0", "1")


def test_truth_and_split_columns(tmp_path: Path) -> None:
    rows = ["1,a,a,train", "2,b,a,test", "3,a,zz,validation", "4,b,,"]
    (tmp_path / "a.csv").write_text("\n".join(["x,label,true,split", *rows]))
    data = open_data(tmp_path / "a.csv", label="label", truth="true")
    assert data.truth is not None
    assert data.truth.tolist() == [0, 0, -1, -1]
    assert data.is_test.tolist() == [False, True, False, False]
    assert list(data.inputs.columns) == ["x"]
    assert any("'split'" in note for note in data.notes)


def test_texts(tmp_path: Path) -> None:
    frame = pd.DataFrame({"body": ["one\ntwo", 'say "hi"', "é", "x"], "y": ["p", "q", "p", "q"], "other": 1})
    frame.to_csv(tmp_path / "a.csv", index=False)
    data = open_data(tmp_path / "a.csv", label="y", text="body")
    assert data.kind == "texts"
    assert data.inputs.tolist() == frame["body"].tolist()
    same(concatenate(list(iter_blocks(tmp_path / "a.csv", data.schema, block_rows=3))), data)


def test_classes_of_numbers_are_in_order_of_value() -> None:
    cells = read_labels(np.array(["10", "9", "2", "9", "2", "10", ""], dtype=object), "labels")
    classes = find_classes(cells, "labels")
    assert classes == ("2", "9", "10")
    assert encode_labels(cells, classes).tolist() == [2, 1, 0, 1, 0, 2, -1]


@pytest.mark.parametrize(
    ("values", "classes", "labels"),
    [
        (np.array([1.0, np.nan, 0.0, 1.0, 0.0]), ("0", "1"), [1, -1, 0, 1, 0]),
        (np.array([True, False, True, False]), ("False", "True"), [1, 0, 1, 0]),
        (np.array([0, -1, 3, 0, 3]), ("0", "3"), [0, -1, 1, 0, 1]),
        (np.array([" a", "a ", "b", None, "NaN", "b"], dtype=object), ("a", "b"), [0, 0, 1, -1, -1, 1]),
        (np.array(["1.0", "2.0", "1.0", "2.0"], dtype=object), ("1", "2"), [0, 1, 0, 1]),
        (np.array([b"x", b"y", b"x", b"y"]), ("x", "y"), [0, 1, 0, 1]),
        (np.array(["-1", "a", "-1", "a"], dtype=object), ("-1", "a"), [0, 1, 0, 1]),
        (np.array([1, -1, -1, 1]), ("-1", "1"), [1, 0, 0, 1]),
        (np.array([1.0, -1.0, np.nan, 1.0]), ("-1", "1"), [1, 0, -1, 1]),
        (np.array(["2", "-1", "1", "1.0", "2", ""], dtype=object), ("1", "2"), [1, -1, 0, 0, 1, -1]),
    ],
)
def test_label_cells(values: Any, classes: tuple[str, ...], labels: list[int]) -> None:
    cells = read_labels(values, "labels")
    assert find_classes(cells, "labels") == classes
    assert encode_labels(cells, classes).tolist() == labels


def test_label_of_an_integer_matches_the_class_written_as_a_fraction() -> None:
    assert encode_labels(read_labels(np.array([1.0, 2.0]), "labels"), ("1", "2")).tolist() == [0, 1]
    assert encode_labels(read_labels(np.array(["2.0", "x"], dtype=object), "labels"), ("1", "2")).tolist() == [1, -2]


@pytest.mark.parametrize("suffix", ["csv", "parquet", "npz"])
@pytest.mark.parametrize(
    ("labels", "given", "minus_ones"),
    [
        ([-1, -1, -1, 1, 1, 1], [0, 0, 0, 1, 1, 1], 0),
        ([-1, -1, 0, 1, 0, 1], [-1, -1, 0, 1, 0, 1], 2),
        (["-1", "-1", "b", "b", "-1", "b"], [0, 0, 1, 1, 0, 1], 0),
    ],
)
def test_what_minus_one_means_is_settled_once_for_all_blocks(
    suffix: str, labels: list[Any], given: list[int], minus_ones: int, tmp_path: Path
) -> None:
    path = tmp_path / f"a.{suffix}"
    frame = pd.DataFrame({"x": np.arange(6.0), "label": labels})
    if suffix == "npz":
        save_npz(path, X=frame[["x"]].to_numpy(), y=np.array(labels))
    elif suffix == "csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path)
    data = open_data(path)
    assert data.given.tolist() == given
    expected = [f"is -1 in {minus_ones} rows: they are taken as unlabelled"] if minus_ones else []
    assert [note[note.index("is -1") :] for note in data.notes if "-1" in note] == expected
    assert concatenate(list(iter_blocks(path, data.schema, block_rows=2))).given.tolist() == given


def test_minus_one_beside_one_class_is_no_class() -> None:
    with pytest.raises(InputError, match=r"one class only, '5' \(-1 means unlabelled\)"):
        find_classes(read_labels(np.array([5, -1, 5]), "labels"), "labels")


def save_npz(path: Path, compressed: bool = False, **arrays: Any) -> Path:
    (np.savez_compressed if compressed else np.savez)(path, **arrays)
    return path


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int32, bool])
def test_npz_arrays(dtype: Any, compressed: bool, tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 2, (20, 4)).astype(dtype)
    y = np.arange(20) % 3
    path = save_npz(tmp_path / "a.npz", compressed, X=x, y=y, t=(y + 1) % 3)
    data = open_data(path, truth="t")
    assert data.kind == "arrays"
    assert data.inputs.dtype == np.float32
    assert np.array_equal(data.inputs, x.astype(np.float32))
    assert data.given.tolist() == y.tolist()
    assert data.truth is not None
    assert data.truth.tolist() == ((y + 1) % 3).tolist()
    same(concatenate(list(iter_blocks(path, data.schema, block_rows=6))), data)


def test_npz_in_fortran_order_and_columns_of_labels(tmp_path: Path) -> None:
    x = np.asfortranarray(np.arange(24.0).reshape(8, 3))
    path = save_npz(tmp_path / "a.npz", X=x, y=(np.arange(8) % 2)[:, None])
    data = open_data(path)
    assert np.array_equal(data.inputs, x)
    assert np.array_equal(concatenate(list(iter_blocks(path, data.schema, block_rows=3))).inputs, x)


@pytest.mark.parametrize("shape", [(6, 5, 5), (6, 5, 5, 1), (6, 5, 5, 3), (6, 3, 5, 5)])
def test_npz_pictures(shape: tuple[int, ...], tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    path = save_npz(tmp_path / "a.npz", X=x, y=np.arange(6) % 2)
    data = open_data(path)
    expected = x[..., None] if x.ndim == 3 else x if shape[3] in (1, 3) else x.transpose(0, 2, 3, 1)
    assert data.kind == "images"
    assert np.array_equal(data.inputs, expected)
    assert open_data(path, image_size=9).inputs.shape[1:3] == (9, 9)


def test_npz_texts_and_column_vector(tmp_path: Path) -> None:
    data = open_data(save_npz(tmp_path / "a.npz", X=np.array(["u v", "w", "x", "y"]), y=np.arange(4) % 2))
    assert (data.kind, data.inputs.tolist()) == ("texts", ["u v", "w", "x", "y"])
    data = open_data(save_npz(tmp_path / "b.npz", X=np.arange(4.0), y=np.arange(4) % 2))
    assert data.inputs.shape == (4, 1)


def test_npz_of_another_form_is_refused(tmp_path: Path) -> None:
    schema = open_data(save_npz(tmp_path / "a.npz", X=np.zeros((4, 3)), y=np.arange(4) % 2)).schema
    other = save_npz(tmp_path / "b.npz", X=np.zeros((4, 5)))
    with pytest.raises(InputError, match="rows of shape"):
        list(iter_blocks(other, schema))
    other = save_npz(tmp_path / "c.npz", X=np.zeros((4, 5, 5), dtype=np.uint8))
    with pytest.raises(InputError, match="needs arrays"):
        list(iter_blocks(other, schema))


def test_streaming_an_npz_needs_memory_for_one_block_only(tmp_path: Path) -> None:
    x = np.ones((200_000, 64), dtype=np.float32)  # 51 MB
    path = save_npz(tmp_path / "a.npz", True, X=x)
    del x
    schema = {"kind": "arrays", "shape": [64], "classes": ["a", "b"], "label": "y"}
    tracemalloc.start()
    rows = sum(len(block) for block in iter_blocks(path, schema, block_rows=5_000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert rows == 200_000
    assert peak < 16e6


def picture(colour: Any, size: tuple[int, int] = (10, 10), mode: str = "RGB") -> Image.Image:
    return Image.new(mode, size, colour)


def save(image: Image.Image, path: Path, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)


def test_folder_of_pictures(tmp_path: Path) -> None:
    root = tmp_path / "pets"
    for place in range(3):
        save(picture((place, 0, 0), (12, 20)), root / "cat" / f"{place}.png")
        save(picture((place, 9, 0), (30, 16)), root / "dog" / "more" / f"{place}.bmp")
    (root / ".DS_Store").write_bytes(b"x")
    (root / ".git").mkdir()
    data = open_data(root)
    assert (data.name, data.classes, data.given.tolist()) == ("pets", ("cat", "dog"), [0, 0, 0, 1, 1, 1])
    assert data.inputs.shape == (6, 14, 14, 3)  # the median of the shorter sides
    assert data.inputs[4, 0, 0].tolist() == [1, 9, 0]
    assert data.location(3) == "dog/more/0.bmp"
    assert any("14 x 14" in note for note in data.notes)
    assert any("hidden" in note for note in data.notes)
    assert any("nested" in note for note in data.notes)
    same(concatenate(list(iter_blocks(root, data.schema, block_rows=4))), data)
    assert open_data(root, image_size=7).inputs.shape == (6, 7, 7, 3)


def test_grey_folder_stays_grey_and_large_pictures_shrink(tmp_path: Path) -> None:
    for name in "ab":
        for place in range(2):
            save(picture(100, (300, 200), "L"), tmp_path / "grey" / name / f"{place}.jpg")
    data = open_data(tmp_path / "grey")
    assert data.inputs.shape == (4, 64, 64, 1)
    assert (data.inputs == 100).all()


def test_train_and_test_folders_are_a_split(tmp_path: Path) -> None:
    for part in ("train", "test"):
        for name in "ab":
            save(picture((1, 2, 3)), tmp_path / "d" / part / name / "x.png")
    data = open_data(tmp_path / "d")
    assert data.classes == ("a", "b")
    assert data.is_test.tolist() == [True, True, False, False]
    assert data.given.tolist() == [0, 1, 0, 1]


def test_block_of_only_damaged_pictures_keeps_the_split(tmp_path: Path) -> None:
    for part in ("train", "test"):
        for name in "ab":
            save(picture((1, 2, 3)), tmp_path / "d" / part / name / "x.png")
    (tmp_path / "d" / "test" / "a" / "x.png").write_bytes(b"junk")
    blocks = list(iter_blocks(tmp_path / "d", open_data(tmp_path / "d").schema, block_rows=1))
    assert [len(block) for block in blocks] == [0, 1, 1, 1]
    assert concatenate(blocks).is_test.tolist() == [True, False, False]


def test_flat_folder_predicts(tmp_path: Path) -> None:
    for name in "ab":
        save(picture((1, 2, 3)), tmp_path / "train" / name / "x.png")
        save(picture((3, 2, 1)), tmp_path / "new" / f"{name}.png")
    schema = open_data(tmp_path / "train").schema
    (tmp_path / "new" / "junk.png").write_bytes(b"junk")
    new = concatenate(list(iter_blocks(tmp_path / "new", schema, block_rows=1)))
    assert new.given.tolist() == [-1, -1]
    assert new.inputs.shape == (2, 10, 10, 3)
    assert [rejection.location for rejection in new.rejected] == ["junk.png"]


MODES: dict[str, tuple[Image.Image, tuple[int, int, int]]] = {
    "RGB": (picture((10, 200, 30)), (10, 200, 30)),
    "grey": (picture(77, mode="L"), (77, 77, 77)),
    "one bit": (picture(1, mode="1"), (255, 255, 255)),
    "sixteen bits": (Image.fromarray(np.full((10, 10), 0x8000, dtype=np.uint16)), (128, 128, 128)),
    "palette": (picture((250, 0, 0)).convert("P", palette=Image.Palette.ADAPTIVE), (250, 0, 0)),
    "transparent": (picture((10, 20, 30, 0), mode="RGBA"), (255, 255, 255)),
    "half transparent": (picture((0, 0, 0, 128), mode="RGBA"), (127, 127, 127)),
    "opaque": (picture((10, 20, 30, 255), mode="RGBA"), (10, 20, 30)),
    "grey with alpha": (picture((40, 255), mode="LA"), (40, 40, 40)),
}


@pytest.mark.parametrize("mode", MODES)
def test_picture_modes(mode: str, tmp_path: Path) -> None:
    image, colour = MODES[mode]
    save(image, tmp_path / "a" / "a.png")
    save(picture((1, 2, 3)), tmp_path / "b" / "b.png")
    data = open_data(tmp_path)
    assert data.rejected == []
    assert data.inputs[0, 5, 5].tolist() == pytest.approx(colour, abs=1)


def test_cmyk_and_orientation(tmp_path: Path) -> None:
    save(picture((0, 0, 0, 0), mode="CMYK"), tmp_path / "d" / "a" / "a.jpg")
    sideways = Image.fromarray(np.repeat(np.array([[0, 255]], dtype=np.uint8), 5, axis=1).repeat(10, axis=0))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned 90 degrees clockwise: the left side becomes the top
    save(sideways, tmp_path / "d" / "b" / "b.png", exif=exif)
    data = open_data(tmp_path / "d")
    assert data.inputs[0, 5, 5].tolist() == pytest.approx([255, 255, 255], abs=2)
    assert data.inputs[1, 0, 5].tolist() == [0, 0, 0]
    assert data.inputs[1, 9, 5].tolist() == [255, 255, 255]


def encoded(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


@pytest.mark.parametrize("struct", [False, True])
def test_parquet_pictures(struct: bool, tmp_path: Path) -> None:
    cells: list[Any] = [encoded(picture((value, 0, 0))) for value in range(6)]
    cells = [{"bytes": cell, "path": "x.png"} for cell in cells] if struct else cells
    pq.write_table(pa.table({"image": cells, "label": [0, 1] * 3}), tmp_path / "a.parquet")
    data = open_data(tmp_path / "a.parquet", image="image", label="label")
    assert data.inputs.shape == (6, 10, 10, 3)
    assert data.inputs[:, 0, 0, 0].tolist() == list(range(6))
    same(concatenate(list(iter_blocks(tmp_path / "a.parquet", data.schema, block_rows=4))), data)


def test_model_of_a_folder_reads_a_column_of_pictures(tmp_path: Path) -> None:
    for name in "ab":
        save(picture((1, 2, 3)), tmp_path / "d" / name / "x.png")
    schema = open_data(tmp_path / "d").schema
    pq.write_table(pa.table({"photo": [encoded(picture((9, 8, 7), (40, 20)))]}), tmp_path / "new.parquet")
    with pytest.raises(InputError, match="no column 'image'"):
        list(iter_blocks(tmp_path / "new.parquet", schema))
    (block,) = iter_blocks(tmp_path / "new.parquet", schema, image="photo")
    assert block.inputs.shape == (1, 10, 10, 3)
    assert block.inputs[0, 5, 5].tolist() == [9, 8, 7]


def test_kinds_do_not_mix(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,label\n1,a\n2,b\n")
    schema = open_data(tmp_path / "a.csv", label="label").schema
    with pytest.raises(InputError, match="is a folder"):
        list(iter_blocks(tmp_path, schema))
    with pytest.raises(InputError, match="needs arrays"):
        list(iter_blocks(tmp_path / "a.csv", {"kind": "arrays", "shape": [1], "classes": ["a", "b"]}))
    with pytest.raises(InputError, match="block_rows"):
        list(iter_blocks(tmp_path / "a.csv", schema, block_rows=0))


def test_compressed_csv_is_refused_clearly(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(gzip.compress(b"x,label\n1,a\n"))
    with pytest.raises(InputError, match="UTF-8"):
        open_data(tmp_path / "a.csv", label="label")
