"""Folders of pictures, one sub-folder a class."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from labelwise.data import pictures
from labelwise.data.classes import MAX_CLASS_NAME, sort_classes
from labelwise.data.examples import Examples, Rejection
from labelwise.errors import InputError
from labelwise.files import printable, quote, safe_name

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"}
SPLITS = {"train": "train", "training": "train", "test": "test", "testing": "test"}
_CLUTTER = {"thumbs.db", "desktop.ini", "__macosx"}


class Picture(NamedTuple):
    """One file: position among all files of the folder, relative path, and its class and split as the folders say."""

    position: int
    relative: Path
    class_name: str | None
    split: str | None


class Listing(NamedTuple):
    """All files of a folder in order of their names, sorted into pictures and rejections."""

    root: Path
    pictures: list[Picture]
    rejected: list[Rejection]
    class_names: set[str]
    notes: list[str]


def list_folder(root: Path, *, require_labels: bool) -> Listing:
    """List a folder without opening a file; links that leave the folder are rejected, hidden files skipped.

    A folder of only ``train`` and ``test`` folders is read as a split. Pictures in deeper folders belong to the class
    of the folder at the top. Raises InputError when there is no picture, or a class folder has none.
    """
    depth = 1 if _is_split(root) else 0
    found: list[Picture] = []
    rejected: list[Rejection] = []
    hidden = nested = index = 0
    for path in _walk(root, rejected):
        relative = path.relative_to(root)
        if _is_clutter(relative):
            hidden += 1
            continue
        parents = relative.parts[:-1]
        class_name = parents[depth] if len(parents) > depth else None
        reason = _refusal(path, root) or (
            "lies outside every class folder" if require_labels and class_name is None else None
        )
        if reason:
            rejected.append(Rejection(index, printable(relative), reason))
        else:
            nested += len(parents) > depth + 1
            found.append(Picture(index, relative, class_name, SPLITS[parents[0].lower()] if depth else None))
        index += 1
    class_names = _class_folders(root, depth)
    _check_listing(root, found, rejected, class_names, require_labels)
    notes = [f"{hidden} hidden or system files were skipped"] if hidden else []
    if nested:
        notes.append(f"{nested} pictures in nested folders belong to the class of their top folder")
    return Listing(root, found, rejected, class_names, notes)


def _walk(root: Path, rejected: list[Rejection]) -> Iterator[Path]:
    """All entries that are not folders, in order of their paths; unreadable folders become rejections."""

    def unreadable(error: OSError) -> None:
        place = printable(Path(error.filename).relative_to(root))
        rejected.append(Rejection(-1, place, "the folder cannot be read: permission denied"))

    for folder, subfolders, files in os.walk(root, onerror=unreadable):
        subfolders.sort()
        links = [name for name in subfolders if (Path(folder) / name).is_symlink()]
        yield from (Path(folder) / name for name in sorted(files + links))


def _is_clutter(relative: Path) -> bool:
    return any(part.startswith(".") or part.lower() in _CLUTTER for part in relative.parts)


def _refusal(path: Path, root: Path) -> str | None:
    try:
        mode = path.stat().st_mode
        inside = path.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError):
        return "the link leads nowhere"
    if not inside:
        return "the link leaves the folder: not followed"
    if stat.S_ISDIR(mode):
        return "a link to a folder: not followed"
    if not stat.S_ISREG(mode):
        return "not a regular file"
    if path.suffix.lower() not in SUFFIXES:
        return f"not a picture: files of type {quote(path.suffix or 'none', 20)} are not read"
    return "an empty file" if path.stat().st_size == 0 else None


def _is_split(root: Path) -> bool:
    folders = [entry for entry in root.iterdir() if entry.is_dir() and not _is_clutter(Path(entry.name))]
    if {folder.name.lower() for folder in folders} & {"train", "training"} == set():
        return False
    return all(folder.name.lower() in SPLITS and any(e.is_dir() for e in folder.iterdir()) for folder in folders)


def _class_folders(root: Path, depth: int) -> set[str]:
    parents = [root] if depth == 0 else [entry for entry in root.iterdir() if entry.is_dir()]
    return {
        entry.name
        for parent in parents
        for entry in parent.iterdir()
        if entry.is_dir() and not entry.is_symlink() and not _is_clutter(Path(entry.name))
    }


def _check_listing(
    root: Path, found: list[Picture], rejected: list[Rejection], class_names: set[str], require_labels: bool
) -> None:
    shown = printable(root)
    if require_labels and not class_names:
        raise InputError(f"{shown} has no sub-folders: put the pictures into one sub-folder a class")
    if not found:
        first = f" (first of {len(rejected)} other files: {rejected[0].reason})" if rejected else ""
        raise InputError(f"{shown} holds no pictures{first}: give a folder of {', '.join(sorted(SUFFIXES))} files")
    if not require_labels:
        return
    empty = sorted(class_names - {picture.class_name for picture in found})
    if empty:
        raise InputError(
            f"the class folder {quote(empty[0])} in {shown} holds no pictures: add some or remove the folder"
        )
    if len(class_names) == 1:
        raise InputError(
            f"{shown} holds one class only, {quote(next(iter(class_names)))}: at least two are needed to learn"
        )
    too_long = next((name for name in class_names if len(name) > MAX_CLASS_NAME), None)
    if too_long:
        raise InputError(f"a class folder in {shown} has a name of {len(too_long)} characters: shorten it")


def folder_schema(listing: Listing, image_size: int | None, classes: tuple[str, ...] | None) -> dict[str, Any]:
    """Read the headers of all pictures and settle the working size, channels and classes."""
    probes = pictures.probe([listing.root / picture.relative for picture in listing.pictures])
    size, channels = pictures.working_form(probes, image_size)
    names = classes or sort_classes({printable(name) for name in listing.class_names})
    return {"kind": "images", "image_size": size, "channels": channels, "classes": list(names)}


def folder_blocks(listing: Listing, schema: dict[str, Any], block_rows: int, strict: bool) -> Iterator[Examples]:
    """Decode a listed folder, ``block_rows`` pictures at a time; ``strict`` rejects pictures of unknown classes."""
    classes = tuple(schema["classes"])
    label_of = {name: label for label, name in enumerate(classes)}
    rejected = list(listing.rejected)
    for start in range(0, len(listing.pictures), block_rows):
        chosen = listing.pictures[start : start + block_rows]
        if strict:
            rejected += [
                Rejection(p.position, printable(p.relative), f"class {quote(p.class_name)} is not one of the classes")
                for p in chosen
                if printable(p.class_name or "") not in label_of
            ]
            chosen = [p for p in chosen if printable(p.class_name or "") in label_of]
        decoded = pictures.decode([listing.root / p.relative for p in chosen], schema["image_size"], schema["channels"])
        rejected += [
            Rejection(chosen[row].position, printable(chosen[row].relative), reason)
            for row, reason in decoded.failures.items()
        ]
        kept = [chosen[row] for row in decoded.rows]
        given = [label_of.get(printable(p.class_name or ""), -1) for p in kept]
        yield Examples(
            name=safe_name(listing.root.resolve().name),
            kind="images",
            inputs=decoded.pixels,
            given=np.array(given, dtype=np.int64),
            classes=classes,
            truth=None,
            index=np.array([p.position for p in kept], dtype=np.int64),
            locations=[printable(p.relative) for p in kept],
            split=np.array([p.split for p in kept], dtype=str) if listing.pictures[0].split else None,
            rejected=sorted(rejected, key=lambda rejection: rejection.index),
            schema=schema,
            notes=[*listing.notes, size_note(schema)],
        )
        rejected = []


def size_note(schema: dict[str, Any]) -> str:
    """One sentence on the form in which pictures are used."""
    colour = "grey" if schema["channels"] == 1 else "RGB"
    return f"pictures are used at {schema['image_size']} x {schema['image_size']} pixels, {colour}"
