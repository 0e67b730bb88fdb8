"""Every bad input ends in one clear sentence or in a listed rejection; never in a traceback or a silent drop."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bad_input import CASES, IMAGE, LABEL, ROWS, TABLE, TEXTS, csv_of, folder_of, noise_jpeg, png
from labelwise.data.open import iter_blocks, open_data
from labelwise.errors import InputError
from labelwise.files import write_csv


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_one_sentence_or_a_listed_rejection(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    source = case.build(tmp_path)
    if not case.rejected:
        with pytest.raises(InputError) as caught:
            open_data(source, **case.options)
        message = str(caught.value)
        assert "\n" not in message
        assert len(message) < 700
        assert not [word for word in case.words if word not in message], message
        return
    examples = open_data(source, **case.options)
    found = {rejection.index: rejection.reason for rejection in examples.rejected}
    assert found.keys() == case.rejected.keys()
    assert not [index for index, words in case.rejected.items() if words not in found[index]], found
    assert not set(found) & set(examples.index.tolist())
    assert sorted([*found, *examples.index.tolist()]) == list(range(len(found) + len(examples)))


def test_there_are_at_least_45_cases() -> None:
    assert len(CASES) >= 45


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_unreadable_file_is_refused(tmp_path: Path) -> None:
    path = TABLE(tmp_path)
    path.chmod(0)
    with pytest.raises(InputError, match="permission denied"):
        open_data(path, label="label")


def test_unreadable_file_as_the_system_reports_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = TABLE(tmp_path)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(InputError, match="permission denied"):
        open_data(path, label="label")


HOSTILE = ["<script>alert(1)</script>", "=cmd|' /C calc'!A0", "@SUM(1)", "+1", "-2", "../../etc/passwd", "a\u202eb"]


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    if rng.random() < 0.2:
        return content[: rng.integers(1, len(content))]
    changed = bytearray(content)
    for place in rng.integers(0, len(content), rng.integers(1, 8)):
        changed[place] = rng.choice(list(b'",\n\r\x00\xff;0')) if rng.random() < 0.3 else rng.integers(0, 256)
    return bytes(changed)


@pytest.mark.parametrize("name", ["a.csv", "a.parquet", "a.npz", "picture.parquet"])
def test_random_damage_never_escapes(name: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    refusals: list[str] = []
    frame = pd.DataFrame({"n": rng.normal(size=20), "c": ["uu", "v,v"] * 10, "label": ["a", "b"] * 10})
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_parquet(tmp_path / "a.parquet")
    np.savez_compressed(tmp_path / "a.npz", X=rng.integers(0, 256, (20, 4, 4), dtype=np.uint8), y=np.arange(20) % 2)
    for _ in range(150):
        options = LABEL
        if name == "picture.parquet":
            cells = [png(), mutated(noise_jpeg() if rng.random() < 0.5 else png((9, 9)), rng), png()]
            pq.write_table(pa.table({"image": cells, "label": list("aab")}), tmp_path / name)
            source, options = tmp_path / name, IMAGE
        else:
            source = tmp_path / f"damaged{Path(name).suffix}"
            source.write_bytes(mutated((tmp_path / name).read_bytes(), rng))
        try:
            examples = open_data(source, **({} if name == "a.npz" else options))
        except InputError as error:
            refusals.append(str(error))
            continue
        places = sorted([*examples.index.tolist(), *(rejection.index for rejection in examples.rejected)])
        assert places == list(range(len(places)))
    assert not [message for message in refusals if "\n" in message]


def test_hostile_class_names_are_data_and_leave_as_text(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": range(28), "label": HOSTILE * 4})
    frame.to_csv(tmp_path / "d.csv", index=False)
    examples = open_data(tmp_path / "d.csv", label="label")
    assert set(examples.classes) == set(HOSTILE)
    write_csv(tmp_path / "out.csv", ["label"], [[name] for name in examples.classes])
    written = pd.read_csv(tmp_path / "out.csv")["label"]
    assert not [cell for cell in written if cell[0] in "=+-@\t\r"]


def test_mixed_types_become_categories_with_a_note(tmp_path: Path) -> None:
    path = csv_of("x,label", *ROWS, "seven,red", "eight,blue")(tmp_path)
    examples = open_data(path, label="label")
    assert examples.inputs["x"].tolist() == [str(value) for value in range(8)] + ["seven", "eight"]
    assert any("'x'" in note and "mixes" in note for note in examples.notes)


def test_a_million_characters_of_text_are_kept(tmp_path: Path) -> None:
    path = csv_of("text,label", *TEXTS, f"{'z' * 10**6},red")(tmp_path)
    examples = open_data(path, label="label", text="text")
    assert len(examples.inputs[4]) == 10**6
    assert not examples.rejected


def test_class_that_loses_every_row_is_noted(tmp_path: Path) -> None:
    root = folder_of({"c/0.png": b"junk", "c/1.png": b"junk"})(tmp_path)
    examples = open_data(root)
    assert examples.classes == ("a", "b")
    assert [rejection.location for rejection in examples.rejected] == ["c/0.png", "c/1.png"]
    assert any("'c'" in note for note in examples.notes)


def test_undecodable_file_name_is_printable(tmp_path: Path) -> None:
    root = folder_of()(tmp_path)
    os.rename(root / "a" / "0.png", os.fsencode(root / "a") + b"/\xff.png")  # noqa: PTH104
    examples = open_data(root)
    assert all(location.encode() for location in map(examples.location, range(len(examples))))


def test_damage_while_predicting_is_one_sentence(tmp_path: Path) -> None:
    schema = open_data(TABLE(tmp_path), label="label").schema
    (tmp_path / "new.csv").write_text("y\n1\n")
    with pytest.raises(InputError, match="no column 'x', which the model needs"):
        list(iter_blocks(tmp_path / "new.csv", schema))
    (tmp_path / "new.csv").write_text("x\n1\nword\n3\n\n")
    blocks = list(iter_blocks(tmp_path / "new.csv", schema))
    assert [block.index.tolist() for block in blocks] == [[0, 2]]
    assert [rejection.reason for rejection in blocks[0].rejected] == [
        "the column 'x' holds 'word', which is not a number"
    ]
