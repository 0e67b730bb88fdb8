"""Tables with a label column: features, a text column or a column of pictures."""

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from labelwise.data import label_forms, pictures
from labelwise.data.batches import Batch, column_names, read_batches
from labelwise.data.classes import (
    MAX_CLASS_NAME,
    STRANGE_TRUTH,
    UNKNOWN,
    LabelCells,
    encode_labels,
    find_classes,
    minus_one_notes,
    read_labels,
)
from labelwise.data.examples import Examples, Rejection
from labelwise.data.folders import size_note
from labelwise.data.rows import RowChecks, decode_split, holds_split, row_location
from labelwise.errors import InputError
from labelwise.files import printable, quote, safe_name

MAX_CELL = 100_000  # characters of a cell in a feature column; rows with longer ones are rejected
MISSING = frozenset({"", "?", "#N/A", "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"})

_DATE_FORMATS = ("ISO8601", "%Y/%m/%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y")
_SAMPLE_IMAGES = 256  # rows a batch while only headers are read


class TableColumns(NamedTuple):
    """The columns that a user names."""

    label: str | None
    text: str | None = None
    image: str | None = None
    truth: str | None = None
    split: str | None = None
    bag: str | None = None
    node: str | None = None


def table_task(path: Path, label: str | None) -> str:
    """The task that the label column speaks of: see `label_forms.task_of_values`."""
    label = _check_columns(path, column_names(path), TableColumns(label)).label
    return label_forms.task_of_values(_values(_read_columns(path, [str(label)])[label]))


def table_schema(
    path: Path,
    columns: TableColumns,
    image_size: int | None,
    classes: Sequence[str] | None,
    task: str = "classification",
) -> tuple[dict[str, Any], list[str]]:
    """Read a file once and settle the kind and type of every column and the classes; returns (schema, notes)."""
    names = column_names(path)
    columns = _check_columns(path, names, columns)
    read_whole = columns.text is None and columns.image is None
    named = [name for name in (columns.label, columns.truth, columns.split) if name]
    table = _read_columns(path, None if read_whole else list(dict.fromkeys(named)))
    if table.num_rows == 0:
        raise InputError(f"{printable(path)} has a header and no rows: nothing to learn from")
    place = f"the column {quote(columns.label)} of {printable(path)}"
    notes: list[str] = []
    if columns.split is None and "split" in names:
        split_values = _read_columns(path, ["split"])["split"]
        if _is_text(split_values.type) and holds_split(_values(split_values)):
            columns = columns._replace(split="split")
            notes.append("the column 'split' says which rows are held out for testing")
    form, more = _label_form(table[columns.label], place, task, classes)
    schema: dict[str, Any] = columns._asdict() | {"task": task} | form
    notes += more
    if columns.image:
        size, channels = _image_form(path, columns.image, image_size)
        return schema | {"kind": "images", "image_size": size, "channels": channels}, notes
    if columns.text:
        return schema | {"kind": "texts"}, notes
    features, more = _feature_columns(table, [name for name in names if name not in set(filter(None, columns))])
    if not features:
        raise InputError(f"{printable(path)} has no column to learn from besides the labels: add one")
    return schema | {"kind": "table", "columns": features}, notes + more


def _label_form(column: Any, place: str, task: str, classes: Sequence[str] | None) -> tuple[dict[str, Any], list[str]]:
    """Classes and, for several labels in a cell, what separates them; returns (part of the schema, notes)."""
    if task == "regression":
        return {"classes": []}, []
    if task == "multilabel":
        values = _values(column)
        cells = [value for value in values if isinstance(value, str)]
        separator = label_forms.find_separator(cells, label_forms.ASKED_SEPARATORS)
        sets = label_forms.read_label_sets(values, separator)
        return {"classes": list(classes or label_forms.find_label_names(sets, place)), "separator": separator}, []
    labels = _label_cells(column, place, RowChecks(len(column)))
    found = list(classes or find_classes(labels, place))
    return {"classes": found}, minus_one_notes(labels, found, place)


def _check_columns(path: Path, names: list[str], columns: TableColumns) -> TableColumns:
    if columns.label is None and "label" in names:
        columns = columns._replace(label="label")
    if columns.label is None:
        raise InputError(f"{printable(path)} needs the name of its label column (--label): {_listed(names)}")
    for option, name in columns._asdict().items():
        if name is not None and name not in names:
            raise InputError(f"{printable(path)} has no column {quote(name)} for --{option}: {_listed(names, name)}")
    if columns.text and columns.image:
        raise InputError("both a text and an image column are named: choose one of --text and --image")
    if columns.label in columns[1:]:
        raise InputError(f"the column {quote(columns.label)} is named twice: the labels need a column of their own")
    return columns


def _listed(names: list[str], wanted: str | None = None) -> str:
    shown = ", ".join(quote(name, 40) for name in names[:30]) + (", ..." if len(names) > 30 else "")
    nearest = difflib.get_close_matches(wanted or "", names, n=1)
    return f"its columns are {shown}" + (f"; did you mean {quote(nearest[0])}?" if nearest else "")


def _read_columns(path: Path, columns: list[str] | None) -> Any:
    """A pyarrow table of the chosen columns of all readable rows."""
    import pyarrow as pa

    tables = [batch.table for batch in read_batches(path, 1 << 17, columns)]
    tables = [table if columns is None else table.select(columns) for table in tables]
    if not tables:
        return pa.table({name: pa.array([], pa.string()) for name in columns or []})
    return pa.concat_tables(tables)


def _is_text(kind: Any) -> bool:
    import pyarrow.types as types

    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def _values(column: Any) -> NDArray[Any]:
    """An Arrow column (n,) as NumPy: text as objects (None where null), numbers with null as NaN, dates as they are."""
    import pyarrow as pa
    import pyarrow.types as types

    if types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if types.is_decimal(column.type):
        column = column.cast(pa.float64())
    return np.asarray(column.to_numpy(zero_copy_only=False) if isinstance(column, pa.Array) else column.to_numpy())


def _label_cells(column: Any, place: str, checks: RowChecks) -> LabelCells:
    import pyarrow.types as types

    if types.is_nested(column.type) or types.is_binary(column.type):
        raise InputError(f"{place} holds {column.type}: choose a column with one class in each row")
    values = _values(column)
    if values.dtype == object:
        long = np.array([isinstance(value, str) and len(value) > MAX_CLASS_NAME for value in values], dtype=bool)
        checks.reject(long, f"its label has more than {MAX_CLASS_NAME:,} characters")
        values = np.where(long, None, values)  # type: ignore[call-overload]
    if values.dtype.kind == "f" and np.isinf(values).any():
        checks.reject(np.isinf(values), "its label is infinite")
        values = np.where(np.isinf(values), np.nan, values)
    return read_labels(values, place)


def _image_form(path: Path, image: str, image_size: int | None) -> tuple[int, int]:
    probes = [
        answer
        for batch in read_batches(path, _SAMPLE_IMAGES, [image])
        for answer in pictures.probe(_image_bytes(batch.table[image], image))
    ]
    return pictures.working_form(probes, image_size)


def _image_bytes(column: Any, name: str) -> list[pictures.Source]:
    """Bytes or structs {bytes, path}, as Hugging Face writes them; a path alone is not followed."""
    import pyarrow.types as types

    kind = column.type
    if types.is_struct(kind) and any(field.name == "bytes" for field in kind):
        return [None if cell is None else cell["bytes"] for cell in column.to_pylist()]
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind):
        return list(column.to_pylist())
    raise InputError(
        f"the column {quote(name)} holds {kind}: pictures are read from PNG or JPEG bytes, or {{bytes, path}}"
    )


def _feature_columns(table: Any, names: list[str]) -> tuple[list[dict[str, Any]], list[str]]:
    features: list[dict[str, Any]] = []
    notes: list[str] = []
    for name in names:
        feature, note = _feature_type(name, table[name])
        features += [feature] if feature else []
        notes += [note] if note else []
    return features, notes


def _feature_type(name: str, column: Any) -> tuple[dict[str, Any] | None, str | None]:
    import pyarrow.types as types

    kind = column.type.value_type if types.is_dictionary(column.type) else column.type
    if types.is_boolean(kind) or types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind):
        return {"name": name, "type": "number"}, None
    if types.is_timestamp(kind) or types.is_date(kind):
        return {"name": name, "type": "date", "format": "ISO8601"}, None
    if _is_text(kind):
        return _text_feature(name, column)
    return None, f"the column {quote(name)} holds {kind} and is not used"


def _text_feature(name: str, column: Any) -> tuple[dict[str, Any], str | None]:
    """Number, date or category, by what every cell that is not missing reads as."""
    import pandas as pd
    import pyarrow.compute as pc

    trimmed = _trimmed(column)
    if _fast_numbers(trimmed) is not None and trimmed.null_count < len(trimmed):
        return {"name": name, "type": "number"}, None
    counted = pc.value_counts(trimmed.drop_null())
    counts = pd.Series(counted.field("counts").to_numpy(), index=_values(counted.field("values")).tolist())
    cells = pd.Series(counts.index.to_numpy(), dtype=object)
    if cells.empty:
        return {"name": name, "type": "category"}, f"the column {quote(name)} is empty in every row"
    is_number = _as_numbers(cells).notna()
    if is_number.all():
        return {"name": name, "type": "number"}, None
    if is_number.any():
        word = quote(cells[~is_number].iloc[0], 40)
        share = counts.to_numpy()[is_number.to_numpy()].sum() / counts.sum()
        return {"name": name, "type": "category"}, (
            f"the column {quote(name)} mixes numbers ({share:.0%} of its cells) and words such as {word}: "
            "its cells are used as categories"
        )
    form = next((form for form in _DATE_FORMATS if _as_dates(cells, form).notna().all()), None)
    if form is None:
        return {"name": name, "type": "category"}, None
    other = next((f for f in _DATE_FORMATS if f != form and _as_dates(cells, f).notna().all()), None)
    note = f"the dates in the column {quote(name)} are read as {form}, though {other} fits them too" if other else None
    return {"name": name, "type": "date", "format": form}, note


def _trimmed(column: Any) -> Any:
    """A text column without the white space around its cells, null where they are missing."""
    import pyarrow as pa
    import pyarrow.compute as pc

    trimmed = pc.utf8_trim_whitespace(column.cast(pa.large_string()))
    missing = pc.is_in(trimmed, pa.array(sorted(MISSING), pa.large_string()))
    return pc.if_else(missing, pa.scalar(None, pa.large_string()), trimmed)


def _fast_numbers(trimmed: Any) -> NDArray[np.float64] | None:
    """Text that Arrow reads as numbers throughout, many times faster than cell by cell; None where it does not."""
    import pyarrow as pa

    try:
        return _values(trimmed.cast(pa.float64()))
    except pa.ArrowInvalid:
        return None


def _as_numbers(cells: Any) -> Any:
    import pandas as pd

    return pd.to_numeric(cells, errors="coerce").astype(np.float64)


def _as_dates(cells: Any, form: str) -> Any:
    import pandas as pd

    dates = pd.to_datetime(cells, format=form, errors="coerce", utc=True)
    return dates.dt.tz_localize(None).astype("datetime64[us]")


def table_blocks(path: Path, schema: dict[str, Any], block_rows: int, strict: bool) -> Iterator[Examples]:
    """Read a CSV or Parquet file as the schema says, ``block_rows`` rows at a time.

    ``strict`` demands the label column and rejects labels outside the classes; without it unknown labels count as
    unlabelled. Raises InputError when a feature column is absent.
    """
    names = column_names(path)
    needed = _needed(schema)
    missing = [name for name in needed if name not in names]
    if missing:
        raise InputError(
            f"{printable(path)} has no column {quote(missing[0])}, which the model needs: {_listed(names, missing[0])}"
        )
    extra = [schema[key] for key in ("label", "truth", "split") if schema.get(key) in names]
    for batch in read_batches(path, block_rows, list(dict.fromkeys(needed + extra))):
        yield _batch_examples(path, batch, schema, strict)


def _needed(schema: dict[str, Any]) -> list[str]:
    if schema["kind"] == "table":
        return [column["name"] for column in schema["columns"]]
    return [schema["text"] if schema["kind"] == "texts" else schema["image"]]


def _batch_examples(path: Path, batch: Batch, schema: dict[str, Any], strict: bool) -> Examples:
    rows = len(batch.positions)
    checks = RowChecks(rows)
    given = _labels(path, batch, schema, "label", checks, strict)
    truth_checks = RowChecks(rows)
    truth = _labels(path, batch, schema, "truth", truth_checks, strict=False)
    notes = [size_note(schema)] if schema["kind"] == "images" else []
    if truth is not None and truth.dtype.kind == "i" and (truth == UNKNOWN).any():
        notes.append(STRANGE_TRUTH)
    if truth_checks.reasons():
        notes.append("some true labels cannot be read: they count as unknown")
    split = None
    if schema.get("split") in batch.table.column_names:
        place = f"the column {quote(schema['split'])} of {printable(path)}"
        split = decode_split(_values(batch.table[schema["split"]]), place)
    inputs: Any
    if schema["kind"] == "images":
        sources = _image_bytes(batch.table[schema["image"]], schema["image"])
        decoded = pictures.decode(sources, schema["image_size"], schema["channels"])
        for row, reason in decoded.failures.items():
            checks.reject_row(row, reason)
        kept = checks.kept()
        inputs = decoded.pixels[np.isin(decoded.rows, kept)]
    elif schema["kind"] == "texts":
        inputs = checks.texts(_text_values(batch.table[schema["text"]], schema["text"]))
        kept = checks.kept()
        inputs = inputs[kept]
    else:
        frame = _feature_frame(batch.table, schema["columns"], checks)
        kept = checks.kept()
        inputs = frame.iloc[kept].reset_index(drop=True)
    at = batch.positions
    rejected = batch.rejected + [
        Rejection(int(at[row]), row_location(int(at[row])), reason) for row, reason in checks.reasons()
    ]
    return Examples(
        name=safe_name(path.stem),
        kind=schema["kind"],
        inputs=inputs,
        given=label_forms.no_labels(len(kept), schema)
        if given is None
        else label_forms.known_labels(given[kept], schema),
        classes=tuple(schema["classes"]),
        truth=None if truth is None else label_forms.known_labels(truth[kept], schema),
        task=schema.get("task", "classification"),
        index=at[kept],
        locations=row_location,
        split=None if split is None else split[kept],
        rejected=sorted(rejected, key=lambda rejection: rejection.index),
        schema=schema,
        notes=notes,
    )


def _labels(
    path: Path, batch: Batch, schema: dict[str, Any], role: str, checks: RowChecks, strict: bool
) -> NDArray[Any] | None:
    """Labels (m, ...) of the column with this role in the form of the task; None where there is no column.

    Classes outside those of the schema are -2.
    """
    name = schema.get(role)
    if name is None or name not in batch.table.column_names:
        if strict and name is not None:
            raise InputError(
                f"{printable(path)} has no column {quote(name)}: {_listed(batch.table.column_names, name)}"
            )
        return None
    column = batch.table[name]
    task = schema.get("task", "classification")
    if task == "regression":
        return label_forms.read_numbers(_values(column), role, checks)
    if task == "multilabel":
        sets = label_forms.read_label_sets(_values(column), schema["separator"])
        labels, strange = label_forms.encode_label_sets(sets, tuple(schema["classes"]))
        for row, word in strange.items() if strict else ():
            checks.reject_row(row, f"its label {quote(word)} is not one of the classes")
        labels[list(strange)] = UNKNOWN
        return labels
    cells = _label_cells(column, f"the column {quote(name)} of {printable(path)}", checks)
    labels = encode_labels(cells, schema["classes"])
    if strict:
        for row in np.flatnonzero(labels == UNKNOWN).tolist():
            checks.reject_row(row, f"its label {quote(cells.names[cells.codes[row]])} is not one of the classes")
    return labels


def column_at(path: Path, name: str, positions: NDArray[np.int64]) -> NDArray[np.object_]:
    """Cells (n,) as text, trimmed, of one column at ``positions``; raises InputError where there is no column."""
    names = column_names(path)
    if name not in names:
        raise InputError(f"{printable(path)} has no column {quote(name)}: {_listed(names, name)}")
    batches = list(read_batches(path, 1 << 17, [name]))
    at = np.concatenate([batch.positions for batch in batches])
    values = np.concatenate([_values(batch.table[name]).astype(object) for batch in batches])
    found = dict(zip(at.tolist(), values, strict=True))
    cells = [found.get(row) for row in positions.tolist()]
    return np.array(["" if cell is None or cell != cell else _category(cell).strip() for cell in cells], object)


def _text_values(column: Any, name: str) -> NDArray[np.object_]:
    if not _is_text(column.type):
        raise InputError(f"the column {quote(name)} holds {column.type}: --text needs a column of text")
    return _values(column)


def _feature_frame(table: Any, columns: list[dict[str, Any]], checks: RowChecks) -> Any:
    import pandas as pd

    return pd.DataFrame(
        {column["name"]: _feature_values(table[column["name"]], column, checks) for column in columns},
        index=pd.RangeIndex(len(table)),
    )


def _feature_values(column: Any, spec: dict[str, Any], checks: RowChecks) -> Any:
    """One column (m,): float64, datetime64 or text with None; cells that do not read as its type reject their row."""
    import pandas as pd
    import pyarrow.compute as pc
    import pyarrow.types as types

    name = quote(spec["name"])
    if types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    missing = pc.is_null(column, nan_is_null=types.is_floating(column.type)).to_numpy().copy()
    if _is_text(column.type):
        column = _trimmed(column)
        missing = pc.is_null(column).to_numpy().copy()
        too_long = pc.fill_null(pc.greater(pc.utf8_length(column), MAX_CELL), False).to_numpy()
        checks.reject(too_long, f"a cell in the column {name} has more than {MAX_CELL:,} characters")
        missing |= too_long
    numbers = _fast_numbers(column) if spec["type"] == "number" and _is_text(column.type) else None
    values = pd.Series(_values(column) if numbers is None else np.where(missing, np.nan, numbers))
    if values.dtype == object:
        values = values.where(~missing, None)
    if spec["type"] == "category":
        text = values if values.dtype == object else values.map(_category, na_action="ignore")
        return text.astype(object).where(~missing, None)
    if spec["type"] == "date":
        read, word = _as_dates(values, spec["format"]), "a date"
    else:
        read, word = _as_numbers(values), "a number"
        checks.reject(np.isinf(read.to_numpy()), f"the column {name} is infinite")
    for row in np.flatnonzero(read.isna().to_numpy() & ~missing).tolist():
        checks.reject_row(row, f"the column {name} holds {quote(column[row].as_py(), 40)}, which is not {word}")
    return read


def _category(value: Any) -> str:
    """Numbers read as in a CSV file, so that a category is the same in both formats."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value)
