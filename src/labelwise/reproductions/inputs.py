"""Where a reproduction finds its data."""

from __future__ import annotations

from pathlib import Path

from labelwise.errors import InputError


def data_folder(data_dir: Path | None, name: str) -> Path:
    """The folder `name` in the data folder. Raises InputError, with the remedy, if it is not there."""
    if data_dir is None:
        raise InputError(
            f"the {name} data are needed: give the folder that holds {name}/ with --data-dir or LABELWISE_DATA."
        )
    folder = data_dir / name
    if not folder.is_dir():
        raise InputError(f"{data_dir} has no folder {name}: give the folder that holds {name}/ with --data-dir.")
    return folder
