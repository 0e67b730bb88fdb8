import csv
import errno
import hashlib
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

import pytest

from labelwise import files
from labelwise.errors import InputError
from labelwise.files import OutputError, atomic_write, printable, quote, safe_name, sha256_of, write_csv


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_atomic_write_replaces_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("old")
    with atomic_write(path, text=True) as file:
        file.write("né\n")
        assert path.read_text() == "old"
    assert path.read_bytes() == "né\n".encode()
    assert names_in(tmp_path) == ["a.json"]


def test_error_in_the_block_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def write_half() -> None:
        with atomic_write(path) as file:
            file.write(b"half")
            raise KeyError("mine")

    with pytest.raises(KeyError):
        write_half()
    assert path.read_bytes() == b"old"
    assert names_in(tmp_path) == ["a.bin"]


def test_killed_writer_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    code = (
        "import os, signal, sys\nfrom labelwise.files import atomic_write\n"
        "with atomic_write(sys.argv[1]) as file:\n"
        "    file.write(b'new' * 1000000)\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device that is always full")
def test_full_disk_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real_open = Path.open

    def full(self: Path, mode: str = "r", *args: Any, **kwargs: Any) -> IO[Any]:
        return real_open(Path("/dev/full"), "wb") if "x" in mode else real_open(self, mode, *args, **kwargs)

    monkeypatch.setattr(Path, "open", full)
    with (
        pytest.raises(OutputError, match="no space is left on the disk") as caught,
        atomic_write(tmp_path / "a") as file,
    ):
        file.write(b"x" * 1_000_000)
    assert isinstance(caught.value, InputError)
    assert "\n" not in str(caught.value)


def test_small_write_on_a_full_disk_fails_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", no_space)
    with pytest.raises(OutputError, match="no space"):
        write_csv(tmp_path / "a.csv", ["x"], [[1]])
    assert names_in(tmp_path) == []


def test_unrelated_os_error_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "a"):
        (tmp_path / "absent").read_bytes()


@pytest.mark.parametrize(("place", "words"), [("absent/a", "does not exist"), ("file/a", "not a folder")])
def test_bad_target_is_one_sentence(place: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=words), atomic_write(tmp_path / place):
        pass


def test_folder_as_target(tmp_path: Path) -> None:
    (tmp_path / "folder" / "full").mkdir(parents=True)
    with pytest.raises(OutputError, match="it is a folder"), atomic_write(tmp_path / "folder"):
        pass
    assert names_in(tmp_path) == ["folder"]


def test_formulas_are_neutralised_and_the_rest_comes_back(tmp_path: Path) -> None:
    hostile = ["=1+1", "+1", "-1", "@x", "\tx", "\rx"]
    harmless = ["", "a=1", 'say "hi", then\nleave', "é", "'quoted"]
    write_csv(tmp_path / "a.csv", ["=head", "n"], [[cell, -1.5] for cell in hostile + harmless] + [[None, -2]])
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["'=head", "n"]
    assert [row[0] for row in rows[1:]] == ["'" + cell for cell in hostile] + harmless + [""]
    assert rows[1][1] == "-1.5"


def test_lone_surrogate_does_not_stop_the_writer(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", ["x"], [["a\udcffb"]])
    assert (tmp_path / "a.csv").read_bytes() == b"x\r\na\\udcffb\r\n"


def test_names_are_printable_and_short() -> None:
    assert printable("a\n\x1b[31mb\u202ec\udcff") == "a\\n\\x1b[31mb\\u202ec\\udcff"
    assert quote("x" * 500, 10) == "'xxxxxxxxxx...'"
    assert quote("") == "''"


@pytest.mark.parametrize(
    ("text", "name"),
    [("../../etc/passwd", "etc_passwd"), ("", "data"), ("..", "data"), (".hidden", "hidden"), ("a b\n", "a_b_")],
)
def test_safe_name_is_one_path_component(text: str, name: str) -> None:
    assert safe_name(text) == name


def test_sha256(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc" * 100_000)
    assert sha256_of(tmp_path / "a") == hashlib.sha256(b"abc" * 100_000).hexdigest()
