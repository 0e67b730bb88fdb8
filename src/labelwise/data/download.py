"""Public files, verified before they get their name."""

import hashlib
import http.client
import urllib.error
import urllib.request
from pathlib import Path
from typing import NamedTuple

from labelwise.errors import InputError
from labelwise.files import atomic_write, sha256_of

_TIMEOUT = 60  # seconds without a byte


class _WrongBytesError(Exception):
    pass


_FAILURES = (urllib.error.URLError, TimeoutError, ConnectionError, http.client.HTTPException, _WrongBytesError)


class PublicFile(NamedTuple):
    """A file with the places it can be had from, its sha256 and its size in bytes."""

    name: str
    urls: tuple[str, ...]
    sha256: str
    size: int


def download(file: PublicFile, folder: Path) -> Path:
    """Bring one file into ``folder``: to a temporary file first, which is renamed when its sha256 is right.

    A right file that is there already is left alone. Raises InputError when no place gives the right bytes.
    """
    target = folder / file.name
    if target.is_file() and sha256_of(target) == file.sha256:
        return target
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder {folder}: choose another with --data-dir") from error
    failures = []
    for url in file.urls:
        try:
            _fetch(url, file, target)
            return target
        except (
            urllib.error.URLError,
            TimeoutError,
            ConnectionError,
            http.client.HTTPException,
            _WrongBytesError,
        ) as error:
            failures.append(f"{url} ({error})")
    raise InputError(f"{file.name} cannot be downloaded from {', '.join(failures)}: copy it to {folder} by hand")


def _fetch(url: str, file: PublicFile, target: Path) -> None:
    digest = hashlib.sha256()
    received = 0
    with urllib.request.urlopen(url, timeout=_TIMEOUT) as response, atomic_write(target) as out:
        while block := response.read(1 << 20):
            received += len(block)
            if received > file.size:
                raise _WrongBytesError(f"more than {file.size} bytes")
            digest.update(block)
            out.write(block)
        if digest.hexdigest() != file.sha256:
            raise _WrongBytesError(f"sha256 is {digest.hexdigest()[:12]}..., not {file.sha256[:12]}...")
