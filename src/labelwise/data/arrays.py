"""Arrays in .npz files, read block by block out of the zip, never unpickled."""

import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from labelwise.data import pictures
from labelwise.data.classes import (
    STRANGE_TRUTH,
    UNKNOWN,
    UNLABELLED,
    LabelCells,
    encode_labels,
    find_classes,
    minus_one_notes,
    read_labels,
)
from labelwise.data.examples import Examples, Rejection
from labelwise.data.folders import size_note
from labelwise.data.label_forms import known_labels, no_labels, task_of_values
from labelwise.data.rows import RowChecks, decode_split, row_location
from labelwise.errors import InputError
from labelwise.files import printable, quote, safe_name
from labelwise.labels.check import check_multilabels

_READ_BYTES = 1 << 24


class Header(NamedTuple):
    """Shape, order and type of one array in the file."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]


class NpzFile:
    """An open .npz file. Members are found by exact name and never extracted, so their paths cannot lead anywhere."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError, NotImplementedError) as error:
            raise InputError(
                f"{printable(path)} is not a readable .npz file: save it again with numpy.savez"
            ) from error
        self.names = [name.removesuffix(".npy") for name in self._zip.namelist() if name.endswith(".npy")]

    def header(self, name: str) -> Header:
        """Shape and type of one array; raises InputError when it is absent, pickled or unreadable."""
        if name not in self.names:
            listed = ", ".join(quote(other, 40) for other in self.names[:20]) or "none"
            raise InputError(f"{printable(self.path)} holds no array {quote(name)}: its arrays are {listed}")
        with self._guard(name), self._zip.open(name + ".npy") as file:
            return self._read_header(file, name)

    def read(self, name: str) -> NDArray[Any]:
        """One whole array."""
        header = self.header(name)
        if header.fortran or not header.shape:
            return self._read_whole(name)
        row_bytes = max(1, int(np.prod(header.shape[1:])) * header.dtype.itemsize)
        parts = list(self.blocks(name, max(1, _READ_BYTES // row_bytes)))
        return np.concatenate(parts) if parts else np.zeros(header.shape, header.dtype)

    def blocks(self, name: str, rows: int) -> Iterator[NDArray[Any]]:
        """The array in blocks of ``rows`` rows; a Fortran-ordered array is held in memory as a whole."""
        header = self.header(name)
        if header.fortran:
            whole = self._read_whole(name)
            yield from (whole[start : start + rows] for start in range(0, len(whole), rows))
            return
        row_bytes = int(np.prod(header.shape[1:], dtype=np.int64)) * header.dtype.itemsize
        with self._guard(name), self._zip.open(name + ".npy") as file:
            self._read_header(file, name)
            for start in range(0, header.shape[0], rows):
                count = min(rows, header.shape[0] - start)
                data = file.read(count * row_bytes)
                if len(data) < count * row_bytes:
                    raise InputError(f"the array {quote(name)} of {printable(self.path)} ends early: save it again")
                yield np.frombuffer(data, dtype=header.dtype).reshape(count, *header.shape[1:])

    def _read_whole(self, name: str) -> NDArray[Any]:
        with self._guard(name), self._zip.open(name + ".npy") as file:
            return np.lib.format.read_array(file, allow_pickle=False)

    def _read_header(self, file: IO[bytes], name: str) -> Header:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        header = Header(*read(file))
        if header.dtype.hasobject:
            raise InputError(
                f"the array {quote(name)} of {printable(self.path)} holds pickled Python objects, which are never "
                "loaded: save it as a plain array of numbers or strings"
            )
        return header

    def _guard(self, name: str) -> "_Guard":
        return _Guard(f"the array {quote(name)} of {printable(self.path)}")


class _Guard:
    """Turns what damaged bytes raise into one sentence."""

    def __init__(self, place: str) -> None:
        self._place = place

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, InputError):
            return
        if isinstance(error, zipfile.BadZipFile | zlib.error | EOFError | OSError | NotImplementedError | ValueError):
            raise InputError(f"{self._place} is damaged or not a NumPy array: save it again") from error
        if isinstance(error, RuntimeError):
            raise InputError(f"{self._place} is encrypted or unreadable: save it again with numpy.savez") from error
        if isinstance(error, MemoryError):
            raise InputError(f"{self._place} does not fit into memory: give a smaller file") from error


def npz_task(file: NpzFile, label: str, bag: str | None = None) -> str:
    """The task that the arrays speak of: ``edges`` or ``bag`` beside them, else shape and type of the labels."""
    if "edges" in file.names:
        return "nodes"
    if bag is not None or "bag" in file.names:
        return "bags"
    header = file.header(label)
    if len(header.shape) == 3:
        return "segmentation"
    if len(header.shape) == 2 and header.shape[1] > 1:
        return "multilabel"
    return task_of_values(file.read(label).ravel()) if header.dtype.kind == "f" else "classification"


def npz_schema(
    file: NpzFile,
    label: str,
    truth: str | None,
    split: str | None,
    image_size: int | None,
    classes: Any,
    task: str = "classification",
    bag: str | None = None,
) -> tuple[dict[str, Any], list[str]]:
    """Settle the form of ``X`` and the classes of ``y``; returns (schema, notes).

    Raises InputError when they do not fit together.
    """
    header = check_inputs(file)
    names, notes = _class_names(file, label, header.shape[0], task, classes)
    schema: dict[str, Any] = {"classes": names, "label": label, "truth": truth, "split": split, "task": task}
    schema["bag"] = bag
    if holds_pictures(header):
        height, width, channels = _picture_shape(header.shape)
        size = pictures.check_size(image_size) if image_size is not None else height
        if image_size is None and height != width:
            size = min(height, width)
        return schema | {"kind": "images", "image_size": size, "channels": channels}, notes
    if header.dtype.kind in "US":
        return schema | {"kind": "texts", "text": "X"}, notes
    return schema | {"kind": "arrays", "shape": list(header.shape[1:]) or [1]}, notes


def _class_names(file: NpzFile, label: str, rows: int, task: str, classes: Any) -> tuple[list[str], list[str]]:
    """Names of the classes, those of an array ``classes`` where there is one; returns (names, notes)."""
    if task == "regression":
        return [], []
    if task == "multilabel":
        count = _label_table(file, label, rows).shape[1]
        if "classes" not in file.names:
            return list(classes or map(str, range(count))), []
        names = [str(name) for name in file.read("classes").ravel()]
        if len(names) != count:
            raise InputError(f"{_place(file, 'classes')} has {len(names)} names for {count} columns: give one a column")
        return names, []
    cells, place = _labels(file, label, rows), _place(file, label)
    names = list(classes or find_classes(cells, place))
    return names, minus_one_notes(cells, names, place)


def _label_table(file: NpzFile, name: str, rows: int) -> NDArray[np.int64]:
    """Labels of several classes (n, classes) int64 of 1, 0 and -1."""
    labels = check_multilabels(file.read(name), name=_place(file, name))
    if len(labels) != rows:
        raise InputError(f"{_place(file, name)} has {len(labels)} rows where X has {rows}: give one for each row")
    return labels


def _numbers(file: NpzFile, name: str, rows: int) -> NDArray[np.float64]:
    """Numbers (n,) float64, NaN where unknown."""
    header = file.header(name)
    if header.shape not in ((rows,), (rows, 1)) or header.dtype.kind not in "biuf":
        raise InputError(
            f"{_place(file, name)} has shape {header.shape} and type {header.dtype} where X has {rows} rows: "
            "give one number for each row"
        )
    values = file.read(name).astype(np.float64).ravel()
    if np.isinf(values).any():
        row = int(np.argmax(np.isinf(values))) + 1
        raise InputError(f"{_place(file, name)} is infinite in row {row}: give a number, or NaN where unknown")
    return values


def check_inputs(file: NpzFile) -> Header:
    """The header of ``X``; raises InputError for no rows, no columns or a type that is not numbers or text."""
    header = file.header("X")
    place = _place(file, "X")
    if header.dtype.kind not in "biufUS":
        raise InputError(f"{place} has type {header.dtype}: save it as numbers (float32) or strings")
    if not header.shape or header.shape[0] == 0:
        raise InputError(f"{place} has no rows: nothing to learn from")
    if 0 in header.shape[1:]:
        raise InputError(f"{place} has shape {header.shape}, without a single column: save at least one")
    if header.dtype.kind in "US" and len(header.shape) > 1:
        raise InputError(f"{place} holds strings of shape {header.shape}: save one text a row, or a CSV table")
    return header


def _place(file: NpzFile, name: str) -> str:
    return f"the array {quote(name)} of {printable(file.path)}"


def holds_pictures(header: Header) -> bool:
    """Whether an array holds pictures: bytes (n, H, W), (n, H, W, C) or (n, C, H, W) of 1 or 3 colours."""
    shape = header.shape
    if header.dtype != np.uint8:
        return False
    return len(shape) == 3 or (len(shape) == 4 and (shape[3] in (1, 3) or shape[1] in (1, 3)))


def _picture_shape(shape: tuple[int, ...]) -> tuple[int, int, int]:
    if len(shape) == 3:
        return shape[1], shape[2], 1
    if shape[3] in (1, 3):
        return shape[1], shape[2], shape[3]
    return shape[2], shape[3], shape[1]


def _labels(file: NpzFile, name: str, rows: int) -> LabelCells:
    header = file.header(name)
    place = _place(file, name)
    if len(header.shape) == 2 and header.shape[1] > 1:
        raise InputError(f"{place} has shape {header.shape}: give one class a row (argmax of one-hot rows)")
    if len(header.shape) not in (1, 2) or header.dtype.kind not in "biufUS":
        raise InputError(f"{place} has shape {header.shape} and type {header.dtype}: give one class a row")
    if header.shape[0] != rows:
        raise InputError(f"{place} has {header.shape[0]} rows where X has {rows}: give one value for each row")
    values = file.read(name).ravel()
    if values.dtype.kind in "iu" and values.size and values.astype(np.int64).min() < UNLABELLED:
        row = int(np.argmax(values.astype(np.int64) < UNLABELLED))
        raise InputError(f"{place} is {values[row]} in row {row + 1}: classes start at 0, and -1 means unlabelled")
    if values.dtype.kind == "f" and np.isinf(values).any():
        raise InputError(f"{place} is infinite in row {int(np.argmax(np.isinf(values))) + 1}: give a class or NaN")
    return read_labels(values, place)


def npz_blocks(file: NpzFile, schema: dict[str, Any], block_rows: int, strict: bool) -> Iterator[Examples]:
    """Read X and what goes with it; rows with NaN or infinite values are rejected.

    ``strict`` demands the label array and rejects labels outside the classes.
    """
    header = check_inputs(file)
    _check_form(file, header, schema)
    columns = _read_columns(file, schema, header.shape[0], strict)
    start = 0
    for block in file.blocks("X", block_rows):
        yield _block_examples(file, schema, block, columns, start, strict)
        start += len(block)


class _Columns(NamedTuple):
    given: NDArray[Any]
    truth: NDArray[Any] | None
    split: NDArray[np.str_] | None
    bags: NDArray[np.object_] | None


def _read_columns(file: NpzFile, schema: dict[str, Any], rows: int, strict: bool) -> _Columns:
    label, truth, split = schema.get("label"), schema.get("truth"), schema.get("split")
    given = no_labels(rows, schema)
    if label and (strict or label in file.names):
        given = _read_labels(file, label, rows, schema)
    true_labels = None
    if truth and (strict or truth in file.names):
        true_labels = _read_labels(file, truth, rows, schema)
    held_out = None
    if split and (strict or split in file.names):
        values = file.read(split)
        if values.shape != (rows,):
            raise InputError(f"{_place(file, split)} has shape {values.shape} where X has {rows} rows: one value a row")
        held_out = decode_split(values, _place(file, split))
    bags, bag = None, schema.get("bag")
    if bag and (strict or bag in file.names):
        bags = file.read(bag)
        if bags.shape != (rows,):
            raise InputError(f"{_place(file, bag)} has shape {bags.shape} where X has {rows} rows: one bag a row")
        # A bag that is NaN equals nothing, itself neither.
        bags = np.where(bags == bags, bags.astype(str), "").astype(object)
    return _Columns(given, true_labels, held_out, bags)


def _read_labels(file: NpzFile, name: str, rows: int, schema: dict[str, Any]) -> NDArray[Any]:
    """Labels (n, ...) in the form of the task."""
    if schema.get("task") == "regression":
        return _numbers(file, name, rows)
    if schema.get("task") == "multilabel":
        return _label_table(file, name, rows)
    return encode_labels(_labels(file, name, rows), schema["classes"])


def _check_form(file: NpzFile, header: Header, schema: dict[str, Any]) -> None:
    kind = "images" if holds_pictures(header) else "texts" if header.dtype.kind in "US" else "arrays"
    place = _place(file, "X")
    if kind != schema["kind"]:
        raise InputError(f"{place} holds {kind} where the model needs {schema['kind']}: give data of the same form")
    if kind == "arrays" and (list(header.shape[1:]) or [1]) != schema["shape"]:
        raise InputError(
            f"{place} has rows of shape {list(header.shape[1:])} where the model needs {schema['shape']}: "
            "give the same columns as in training"
        )


def _block_examples(
    file: NpzFile, schema: dict[str, Any], block: NDArray[Any], columns: _Columns, start: int, strict: bool
) -> Examples:
    checks = RowChecks(len(block))
    inputs: Any = block
    if schema["kind"] == "arrays":
        with np.errstate(over="ignore"):
            inputs = np.ascontiguousarray(block.reshape(len(block), *schema["shape"]), dtype=np.float32)
        flat = inputs.reshape(len(block), -1)
        checks.reject(np.isnan(flat).any(axis=1), "X holds NaN")
        checks.reject(np.isinf(flat).any(axis=1), "X holds an infinite value, or one too large for float32")
    elif schema["kind"] == "texts":
        inputs = checks.texts(_as_texts(block))
    given = columns.given[start : start + len(block)]
    if strict and given.ndim == 1:
        checks.reject(given == UNKNOWN, "its label is not one of the classes")
    kept = checks.kept()
    inputs = inputs[kept]
    if schema["kind"] == "images":
        inputs = pictures.resize(as_pictures(inputs), schema["image_size"], schema["channels"])
    truth = None if columns.truth is None else columns.truth[start : start + len(block)]
    notes = [size_note(schema)] if schema["kind"] == "images" else []
    if truth is not None and truth.dtype.kind == "i" and (truth == UNKNOWN).any():
        notes.append(STRANGE_TRUTH)
    return Examples(
        name=safe_name(file.path.stem),
        kind=schema["kind"],
        inputs=inputs,
        given=known_labels(given[kept], schema),
        classes=tuple(schema["classes"]),
        truth=None if truth is None else known_labels(truth[kept], schema),
        task=schema.get("task", "classification"),
        bags=None if columns.bags is None else columns.bags[start + kept],
        index=start + kept,
        locations=row_location,
        split=None if columns.split is None else columns.split[start + kept],
        rejected=[Rejection(start + row, row_location(start + row), reason) for row, reason in checks.reasons()],
        schema=schema,
        notes=notes,
    )


def _as_texts(block: NDArray[Any]) -> NDArray[np.object_]:
    if block.dtype.kind == "S":
        block = np.char.decode(block, "utf-8", "backslashreplace")
    return block.astype(object)


def as_pictures(block: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(m, H, W), (m, H, W, C) or (m, C, H, W) to (m, H, W, C)."""
    if block.ndim == 3:
        return block[..., None]
    return block if block.shape[3] in (1, 3) else np.moveaxis(block, 1, 3)
