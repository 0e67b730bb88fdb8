"""Files written whole or not at all, and CSV files that no spreadsheet runs as formulas."""

import csv
import errno
import glob
import hashlib
import os
import re
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from labelwise.errors import InputError

_WRITE_FAILURES = {
    errno.ENOSPC: "no space is left on the disk: free some space or choose another folder",
    errno.EDQUOT: "the disk quota is used up: free some space or choose another folder",
    errno.EACCES: "permission denied: choose a folder you may write to",
    errno.EPERM: "permission denied: choose a folder you may write to",
    errno.EROFS: "the disk is read-only: choose another folder",
    errno.ENOENT: "its folder does not exist: create it first",
    errno.ENOTDIR: "a part of the path is a file, not a folder: choose another folder",
    errno.EISDIR: "it is a folder: name a file",
    errno.ENAMETOOLONG: "the name is too long: choose a shorter one",
    errno.EFBIG: "the file is larger than the disk allows: choose another folder",
    errno.EIO: "the disk reported an error: choose another disk",
}
# Errors that only writing gives; any other OSError in the body of `atomic_write` belongs to the caller.
_BODY_FAILURES = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


class OutputError(InputError):
    """A file could not be written: the message says which, why and the remedy."""


@contextmanager
def atomic_write(path: str | Path, *, text: bool = False) -> Iterator[IO[Any]]:
    """Yield a file that becomes ``path`` only when the block ends well.

    The bytes go to a hidden file in the same folder, are forced to the disk, then renamed: a reader, or a run that is
    resumed after a kill, sees the old file or the new one. On any error the hidden file is removed.
    ``text`` opens it as UTF-8 without newline translation. Raises OutputError when the disk is full, read-only, ...
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name[:100]}.{secrets.token_hex(6)}.tmp")
    try:
        file = temporary.open("x", encoding="utf-8", newline="") if text else temporary.open("xb")
    except OSError as error:
        raise _output_error(path, error) from error
    try:
        with file:
            try:
                yield file
                file.flush()
                os.fsync(file.fileno())
            except OSError as error:
                if error.errno not in _BODY_FAILURES:
                    raise
                raise _output_error(path, error) from error
        try:
            temporary.replace(path)
            _sync_folder(path.parent)
        except OSError as error:
            raise _output_error(path, error) from error
    except BaseException:
        # A full disk can make the implicit close fail too; the first error is the one to tell.
        temporary.unlink(missing_ok=True)
        raise


def remove_leftovers(path: Path) -> None:
    """Remove the hidden files that kills in the middle of ``atomic_write(path)`` left behind."""
    for left in path.parent.glob(f".{glob.escape(path.name[:100])}.????????????.tmp"):
        left.unlink(missing_ok=True)


def _output_error(path: Path, error: OSError) -> OutputError:
    reason = _WRITE_FAILURES.get(error.errno or 0, error.strerror or type(error).__name__)
    return OutputError(f"cannot write {printable(path)}: {reason}")


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_csv(path: str | Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a UTF-8 CSV file atomically; text cells that a spreadsheet would run as a formula get an apostrophe.

    Numbers are written as they are, None as an empty cell. Raises OutputError.
    """
    with atomic_write(path, text=True) as file:
        # RFC 4180 line ends: with "\n" alone the writer leaves a carriage return in a cell unquoted.
        writer = csv.writer(file, lineterminator="\r\n")
        writer.writerow([neutralise(cell) for cell in header])
        writer.writerows([neutralise(cell) for cell in row] for row in rows)


def neutralise(cell: object) -> object:
    """Put an apostrophe before text that starts with ``= + - @``, a tab or a carriage return; leave the rest alone.

    Lone surrogates (undecodable file names) become backslash escapes, so that the file is valid UTF-8.
    """
    if not isinstance(cell, str):
        return cell
    cell = cell.encode("utf-8", "backslashreplace").decode("utf-8")
    return "'" + cell if cell.startswith(_FORMULA_STARTS) else cell


def guard(text: str) -> str:
    """Text that no spreadsheet runs as a formula, and that ``unguard`` turns back.

    An apostrophe goes before what starts with ``= + - @``, a tab, a carriage return, or an apostrophe.
    """
    return f"'{text}" if text.startswith(("'", *_FORMULA_STARTS)) else text


def unguard(text: str) -> str:
    """What ``guard`` was given."""
    return text.removeprefix("'")


def printable(name: str | Path) -> str:
    """A path or name on one line: what does not print (control and bidirectional characters, surrogates) escaped."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in str(name))


def quote(value: object, limit: int = 80) -> str:
    """A cell, name or path for a message: on one line, without control characters, at most ``limit`` characters."""
    shown = printable(str(value)[: limit + 1])
    return f"'{shown}'" if len(shown) <= limit else f"'{shown[:limit]}...'"


def safe_name(text: str) -> str:
    """A name that is safe as one path component: no separators, no leading dot, at most 80 characters."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", text).lstrip("._-")[:80]
    return name or "data"


def sha256_of(path: str | Path) -> str:
    """The sha256 of a file as 64 hexadecimal digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def existing_path(source: str | Path) -> Path:
    """The path of a file or folder that is there and readable; raises InputError otherwise."""
    path = Path(source)
    shown = printable(path)
    try:
        regular = path.is_file() or path.is_dir()
    except (OSError, ValueError) as error:
        raise InputError(f"{quote(path)} is not a usable path: check its spelling") from error
    if not path.exists():
        raise InputError(f"{shown} does not exist: check its spelling")
    if not regular:
        raise InputError(f"{shown} is neither a file nor a folder: copy its content to a file first")
    if not os.access(path, os.R_OK | (os.X_OK if path.is_dir() else 0)):
        raise InputError(f"{shown} cannot be read: permission denied, change its permissions")
    if path.is_file() and path.stat().st_size == 0:
        raise InputError(f"{shown} is an empty file: nothing to read")
    return path
