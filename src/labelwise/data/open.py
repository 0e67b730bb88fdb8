"""The one door for data: files, folders and named sets become Examples, or one clear sentence."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from labelwise.data import arrays, catalogue, folders, links, masks, named, tables
from labelwise.data.batches import column_names
from labelwise.data.examples import Examples, Rejection, concatenate
from labelwise.errors import InputError
from labelwise.files import existing_path, printable, quote

TABLE_SUFFIXES = {".csv", ".tsv", ".txt", ".parquet", ".pq"}
BAG_COLUMN = "bag"
_BLOCK_ROWS = 65_536
_IMAGE_BLOCK_ROWS = 512


def open_data(
    source: str | Path | None,
    *,
    label: str | None = None,
    text: str | None = None,
    image: str | None = None,
    truth: str | None = None,
    split: str | None = None,
    image_size: int | None = None,
    classes: Sequence[str] | None = None,
    schema: dict[str, Any] | None = None,
    require_labels: bool = True,
    data_dir: str | Path | None = None,
    seed: int = 0,
    task: str = "classification",
    bag: str | None = None,
    edges: str | Path | None = None,
) -> Examples:
    """Open labelled data whole, in memory, for one task of `TASKS`.

    ``source``: None or "digits" for the embedded default (40% of its training labels redrawn with ``seed``), a folder
    of pictures with one sub-folder a class, a CSV or Parquet file, an .npz file with X and y, or the name of a data
    set under ``data_dir``. ``label``, ``text``, ``image``, ``truth`` and ``split`` name columns (arrays in an .npz).
    ``classes`` fixes the classes: rows with other labels are rejected. ``schema`` (of other Examples) reads data in
    the same form; with ``require_labels=False`` labels may be absent. ``bag`` names the column of bags; ``edges`` is
    an edge list between the rows of a table. Rows that cannot be used are in ``rejected``.
    Raises InputError for anything that leaves nothing to learn from.
    """
    if schema is not None:
        schema = _renamed(schema, label=label, text=text, image=image, truth=truth, split=split)
        if classes:
            schema["classes"] = list(classes)
        blocks = _blocks(source, schema, None, require_labels, data_dir)
        return _checked(concatenate(list(blocks)), require_labels, source)
    columns = tables.TableColumns(label, text, image, truth, split, bag)
    name = _set_name(source)
    if name is not None:
        _refuse_columns(columns._asdict(), f"the named set {name} says itself what its labels are")
        return named.load(name, data_dir, seed=seed, image_size=image_size, task=task)
    path = existing_path(source or "")
    if task == "segmentation":
        return _checked(_open_masks(path, columns, image_size), require_labels, path)
    if task == "nodes" and _form(path) == "folder":
        path, edges = _node_table(path), edges or _edge_table(path)
    if task == "nodes" and _form(path) == "table":
        columns = columns._replace(node=links.ID_COLUMN if links.ID_COLUMN in column_names(path) else None)
    if task == "bags" and _form(path) != "folder":
        columns = columns._replace(bag=bag or BAG_COLUMN)
    schema, notes = _find_schema(path, columns, image_size, classes, task)
    examples = concatenate(list(_blocks(path, schema, None, True, data_dir)))
    examples = replace(examples, notes=list(dict.fromkeys(notes + examples.notes)))
    if not classes and task in ("classification", "nodes"):
        examples = _without_lost_classes(examples)
    return _checked(_with_relations(examples, path, columns, edges), require_labels, path)


def find_task(
    source: str | Path | None, *, label: str | None = None, bag: str | None = None, edges: str | Path | None = None
) -> str:
    """The task that data speaks of, one of `TASKS`: by its folders, arrays and columns, and the label cells.

    A named set says its own; a folder of ``images`` and ``masks`` is segmentation, one of ``nodes`` and ``edges``, an
    edge list or an array ``edges`` are nodes, a bag column or array are bags, several labels in a cell multi-label,
    numbers with fractions regression, all else classification.
    """
    name = _set_name(source)
    if name is not None:
        return catalogue.task_of(name)
    path = existing_path(source or "")
    if edges is not None:
        return "nodes"
    form = _form(path)
    if form == "folder":
        if masks.is_mask_folder(path):
            return "segmentation"
        return "nodes" if _find_table(path, "nodes") is not None else "classification"
    if form == "npz":
        return arrays.npz_task(arrays.NpzFile(path), label or "y", bag)
    if bag is not None or BAG_COLUMN in column_names(path):
        return "bags"
    return tables.table_task(path, label)


def _open_masks(path: Path, columns: tables.TableColumns, image_size: int | None) -> Examples:
    if _form(path) == "folder":
        _refuse_columns(columns._asdict(), f"{printable(path)} is a folder, whose masks are the labels")
        if not masks.is_mask_folder(path):
            raise InputError(
                f"{printable(path)} lacks the sub-folders images and masks: pictures go there, by one name"
            )
        return masks.open_mask_folder(path, image_size)
    if _form(path) == "npz":
        _refuse_columns({"text": columns.text, "image": columns.image}, f"{printable(path)} holds pictures in X only")
        return masks.open_mask_arrays(
            arrays.NpzFile(path), columns.label or "y", columns.truth, columns.split, image_size
        )
    raise InputError(f"{printable(path)} is a table; masks are read from a folder of images and masks, or an .npz file")


def _find_table(folder: Path, stem: str) -> Path | None:
    return next(
        (folder / f"{stem}{end}" for end in sorted(TABLE_SUFFIXES) if (folder / f"{stem}{end}").is_file()), None
    )


def _node_table(folder: Path) -> Path:
    found = _find_table(folder, "nodes")
    if found is None:
        raise InputError(f"{printable(folder)} lacks a table of nodes: put nodes.csv and edges.csv there")
    return found


def _edge_table(nodes: Path) -> Path:
    found = _find_table(nodes.parent if nodes.is_file() else nodes, "edges")
    if found is None:
        raise InputError(f"{printable(nodes)} comes without an edge list: give --edges FILE, or edges.csv beside it")
    return found


def _with_relations(examples: Examples, path: Path, columns: tables.TableColumns, edges: str | Path | None) -> Examples:
    """Add what relates rows to each other: bags, or edges."""
    if examples.task == "bags":
        bags = examples.bags
        if bags is None:
            bags = tables.column_at(path, str(columns.bag), examples.index)
        return _in_bags(replace(examples, bags=bags), str(columns.bag))
    if examples.task != "nodes":
        return examples
    if _form(path) == "npz":
        if edges is not None:
            raise InputError(f"{printable(path)} links its rows by an array edges: leave out --edges")
        found, notes = links.edges_of_arrays(arrays.NpzFile(path), examples.index)
    else:
        found, notes = links.edges_of_table(
            path, columns.node, examples.index, existing_path(edges or _edge_table(path))
        )
    places: Any = examples.locations
    if columns.node is not None:
        ids = tables.column_at(path, columns.node, examples.index)
        places = [f"node {quote(name)}, {examples.location(row)}" for row, name in enumerate(ids)]
    return replace(examples, edges=found, locations=places, notes=examples.notes + notes)


def _in_bags(examples: Examples, column: str) -> Examples:
    """The rows whose bag is known; the others are rejected."""
    lost = np.asarray(examples.bags == "")
    rejected = [
        Rejection(int(examples.index[row]), examples.location(row), f"its bag, {quote(column)}, is empty")
        for row in np.flatnonzero(lost).tolist()
    ]
    kept = examples.subset(~lost)
    return replace(kept, rejected=sorted([*kept.rejected, *rejected], key=lambda each: each.index))


def iter_blocks(
    source: str | Path | None,
    schema: dict[str, Any],
    *,
    block_rows: int | None = None,
    label: str | None = None,
    text: str | None = None,
    image: str | None = None,
    data_dir: str | Path | None = None,
) -> Iterator[Examples]:
    """Read data of any size in the form of ``schema``, ``block_rows`` rows at a time (default: by kind).

    Labels are not needed; where they are present, ``given`` holds those of known classes. Positions go on over
    the blocks, and a block may be all rejections. ``label``, ``text`` and ``image`` name columns that are called
    otherwise than in training. Memory: one block, plus the labels of an .npz file.
    """
    return _blocks(source, _renamed(schema, label=label, text=text, image=image), block_rows, False, data_dir)


def _renamed(schema: dict[str, Any], **columns: str | None) -> dict[str, Any]:
    return schema | {role: name for role, name in columns.items() if name is not None}


def _set_name(source: str | Path | None) -> str | None:
    """The named set a source means: None is the default, and a path that exists comes before a name."""
    if source is None:
        return "digits"
    if isinstance(source, str) and catalogue.is_named(source) and not Path(source).exists():
        return source
    return None


def _blocks(
    source: str | Path | None, schema: dict[str, Any], rows: int | None, strict: bool, data_dir: str | Path | None
) -> Iterator[Examples]:
    if rows is not None and rows < 1:
        raise InputError(f"block_rows is {rows}: give at least 1")
    rows = rows or (_IMAGE_BLOCK_ROWS if schema["kind"] == "images" else _BLOCK_ROWS)
    name = _set_name(source)
    if name is not None:
        yield from _same_form(named.load(name, data_dir), schema).blocks(rows)
        return
    path = existing_path(source or "")
    form = _form(path)
    if form == "npz":
        yield from arrays.npz_blocks(arrays.NpzFile(path), schema, rows, strict)
    elif form == "table":
        yield from tables.table_blocks(path, _for_table(schema, path), rows, strict)
    elif schema["kind"] != "images":
        raise InputError(f"{printable(path)} is a folder, and the model needs {schema['kind']}: give a file of those")
    else:
        listing = folders.list_folder(path, require_labels=strict)
        yield from folders.folder_blocks(listing, schema, rows, strict)


def _form(path: Path) -> str:
    if path.is_dir():
        return "folder"
    suffix = path.suffix.lower()
    if suffix == ".npz":
        return "npz"
    if suffix in TABLE_SUFFIXES:
        return "table"
    remedy = "give a folder of pictures, a .csv, .parquet or .npz file"
    if suffix in {".npy", ".pkl", ".pickle", ".pt"}:
        remedy = "save X and y together with numpy.savez as .npz"
    raise InputError(f"{printable(path)} is of a type that is not read ({suffix or 'no suffix'}): {remedy}")


def _find_schema(
    path: Path, columns: tables.TableColumns, image_size: int | None, classes: Sequence[str] | None, task: str
) -> tuple[dict[str, Any], list[str]]:
    form = _form(path)
    if form == "npz":
        _refuse_columns({"text": columns.text, "image": columns.image}, f"{printable(path)} holds examples in X only")
        file = arrays.NpzFile(path)
        label = columns.label or "y"
        return arrays.npz_schema(file, label, columns.truth, columns.split, image_size, classes, task, columns.bag)
    if form == "table":
        return tables.table_schema(path, columns, image_size, classes, task)
    if task != "classification":
        raise InputError(
            f"{printable(path)} is a folder of one class a sub-folder, which the task {task} cannot be read from: "
            "give a table or an .npz file"
        )
    _refuse_columns(columns._asdict(), f"{printable(path)} is a folder, whose sub-folders are the classes")
    listing = folders.list_folder(path, require_labels=True)
    return folders.folder_schema(listing, image_size, tuple(classes) if classes else None), []


def _refuse_columns(columns: dict[str, str | None], why: str) -> None:
    """What would have no effect must not be taken for done."""
    given = next((option for option, name in columns.items() if name is not None), None)
    if given is not None:
        raise InputError(f"{why}: leave out --{given}")


def _for_table(schema: dict[str, Any], path: Path) -> dict[str, Any]:
    """A model of pictures from a folder, or of texts from an .npz, can read the usual column of a table."""
    kind = schema["kind"]
    if kind == "arrays":
        raise InputError(f"{printable(path)} is a table where the model needs arrays: give an .npz file with X")
    if kind == "images" and not schema.get("image"):
        return schema | {"image": "image"}
    return schema


def _same_form(examples: Examples, schema: dict[str, Any]) -> Examples:
    if examples.kind != schema["kind"]:
        raise InputError(f"{examples.name} holds {examples.kind} where the model needs {schema['kind']}")
    if tuple(schema["classes"]) == examples.classes:
        return examples
    position = {name: label for label, name in enumerate(schema["classes"])}
    table = np.array([*(position.get(name, -1) for name in examples.classes), -1], dtype=np.int64)
    truth = None if examples.truth is None else table[examples.truth]
    return replace(examples, given=table[examples.given], truth=truth, classes=tuple(schema["classes"]))


def _without_lost_classes(examples: Examples) -> Examples:
    """Drop classes whose every row was rejected, and say so."""
    used = np.zeros(examples.num_classes + 1, dtype=bool)
    used[examples.given] = True
    used[-1] = True
    if used.all():
        return examples
    lost = [name for name, present in zip(examples.classes, used, strict=False) if not present]
    table = np.where(used, np.cumsum(used) - 1, -1).astype(np.int64)
    table[-1] = -1
    classes = tuple(name for name, present in zip(examples.classes, used, strict=False) if present)
    return replace(
        examples,
        given=table[examples.given],
        truth=None if examples.truth is None else table[examples.truth],
        classes=classes,
        schema=examples.schema | {"classes": list(classes)},
        notes=[*examples.notes, f"no usable row is left of {len(lost)} classes: {', '.join(map(repr, lost[:5]))}"],
    )


def _checked(examples: Examples, require_labels: bool, source: Any) -> Examples:
    if len(examples) == 0:
        raise InputError(f"no row of {printable(source)} is usable: {_why(examples.rejected)}")
    if not require_labels:
        return examples
    if len(np.unique(examples.given[examples.is_labelled])) < 2:
        raise InputError(
            f"{printable(source)} holds fewer than two different labels"
            + (f" after the unusable rows: {_why(examples.rejected)}" if examples.rejected else "; check the labels")
        )
    unlabelled = int((~examples.is_labelled).sum())
    if not unlabelled:
        return examples
    return replace(examples, notes=[*examples.notes, f"{unlabelled} of {len(examples)} rows carry no label"])


def _why(rejected: list[Rejection]) -> str:
    if not rejected:
        return "it holds no rows"
    return f"{len(rejected)} rejected, the first ({rejected[0].location}) because {rejected[0].reason}"
