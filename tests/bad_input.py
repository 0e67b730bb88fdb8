"""Bad sources of every kind, and what must come of each: one sentence, or the rows that are rejected."""

import io
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image


class Bad(NamedTuple):
    """A builder of the bad source, the words its one sentence must hold or its rejections, and options."""

    build: Callable[[Path], Path]
    words: tuple[str, ...] = ()
    rejected: dict[int, str] = {}  # noqa: RUF012
    options: dict[str, Any] = {}  # noqa: RUF012


def csv_of(*lines: str, name: str = "d.csv") -> Callable[[Path], Path]:
    return raw("\n".join(lines).encode() + b"\n", name)


def raw(content: bytes, name: str) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return build


def npz_of(**arrays: Any) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        np.savez(folder / "d.npz", **arrays)
        return folder / "d.npz"

    return build


def parquet_of(**columns: Any) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        pq.write_table(pa.table(columns), folder / "d.parquet")
        return folder / "d.parquet"

    return build


def png(size: tuple[int, int] = (8, 8), colour: Any = (200, 10, 10), mode: str = "RGB") -> bytes:
    out = io.BytesIO()
    Image.new(mode, size, colour).save(out, "PNG")
    return out.getvalue()


def noise_jpeg() -> bytes:
    out = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(out, "JPEG")
    return out.getvalue()


def png_that_declares(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def folder_of(extra: dict[str, bytes] | None = None, **links: str) -> Callable[[Path], Path]:
    """Two classes of two pictures; files a/0, a/1, b/0, b/1 and the extra ones."""

    def build(tmp: Path) -> Path:
        root = tmp / "pictures"
        good = {f"{name}/{place}.png": png(colour=(place, 9, ord(name))) for name in "ab" for place in (0, 1)}
        for relative, content in (good | (extra or {})).items():
            path = root / relative
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        (tmp / "outside.png").write_bytes(png())
        for place, target in links.items():
            (root / "b" / f"{place}.png").symlink_to(target)
        return root

    return build


def then(build: Callable[[Path], Path], change: Callable[[Path], object]) -> Callable[[Path], Path]:
    def both(folder: Path) -> Path:
        path = build(folder)
        change(path)
        return path

    return both


def zip_of(**members: bytes) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        with zipfile.ZipFile(folder / "d.npz", "w") as file:
            for name, content in members.items():
                file.writestr(name.replace("__", "/").replace("_npy", ".npy"), content)
        return folder / "d.npz"

    return build


def npy(array: Any, *, allow_pickle: bool = False) -> bytes:
    out = io.BytesIO()
    np.save(out, array, allow_pickle=allow_pickle)
    return out.getvalue()


X = np.arange(24, dtype=np.float32).reshape(8, 3)
Y = np.array([0, 1] * 4)
ROWS = [f"{value},{'red' if value % 2 else 'blue'}" for value in range(8)]
TABLE = csv_of("x,label", *ROWS)
LABEL = {"label": "label"}
CLASSES = {"task": "classification"}
TEXT = {"label": "label", "text": "text"}
TEXTS = [f"some words {value},{'red' if value % 2 else 'blue'}" for value in range(4)]
IMAGE = {"label": "label", "image": "image"}


def with_nan(value: float) -> np.ndarray:
    changed = X.copy()
    changed[2, 1] = value
    return changed


CASES: dict[str, Bad] = {
    # files
    "no such file": Bad(lambda tmp: tmp / "absent.csv", ("does not exist", "spelling")),
    "name with a NUL": Bad(lambda tmp: tmp / "a\0b.csv", ("a\\x00b.csv", "does not exist")),
    "traversal to nothing": Bad(lambda tmp: tmp / ".." / ".." / "nowhere" / "x.csv", ("does not exist",)),
    "empty csv": Bad(raw(b"", "d.csv"), ("empty file",), options=LABEL),
    "empty npz": Bad(raw(b"", "d.npz"), ("empty file",)),
    "unknown type": Bad(raw(b"x", "d.docx"), ("type", ".docx")),
    "npy alone": Bad(raw(npy(X), "d.npy"), (".npz", "savez")),
    "pickle file": Bad(raw(b"\x80\x04N.", "d.pkl"), ("not read", ".npz")),
    "fifo": Bad(lambda tmp: (os.mkfifo(tmp / "pipe.csv"), tmp / "pipe.csv")[1], ("neither a file nor a folder",)),
    # csv
    "header only": Bad(csv_of("x,label"), ("no rows",), options=LABEL),
    "blank lines only": Bad(raw(b"\n\n\n", "d.csv"), ("no header",), options=LABEL),
    "duplicate column": Bad(csv_of("x,x,label", "1,2,a"), ("two columns named 'x'",), options=LABEL),
    "not utf-8": Bad(raw(b"x,label\n1,caf\xe9\n2,b\n", "d.csv"), ("UTF-8", "byte 13"), options=LABEL),
    "utf-16": Bad(raw("x,label\n1,a\n".encode("utf-16"), "d.csv"), ("UTF-8",), options=LABEL),
    "cut utf-8": Bad(raw(b"x,label\n1,a\n2,caf\xc3", "d.csv"), ("UTF-8", "byte 17"), options=LABEL),
    "NUL bytes": Bad(raw(b"x,label\n1,a\0\n", "d.csv"), ("NUL", "byte 11"), options=LABEL),
    "missing label column": Bad(
        csv_of("x,label", *ROWS), ("no column 'lable'", "did you mean 'label'"), {}, {"label": "lable"}
    ),
    "no label named": Bad(csv_of("x,klass", *ROWS), ("--label", "'klass'")),
    "missing truth column": Bad(TABLE, ("no column 'true'", "--truth"), {}, LABEL | {"truth": "true"}),
    "label is the text": Bad(TABLE, ("named twice",), {}, {"label": "x", "text": "x"}),
    "text and image": Bad(csv_of("a,b,label", "1,2,x"), ("choose one",), {}, LABEL | {"text": "a", "image": "b"}),
    "only the label": Bad(csv_of("label", "a", "b", "a", "b"), ("no column to learn from",), options=LABEL),
    "one class": Bad(csv_of("x,label", "1,a", "2,a"), ("one class only", "'a'"), options=LABEL),
    "all labels missing": Bad(csv_of("x,label", "1,", "2,NaN"), ("no example carries a label",), options=LABEL),
    "regression target": Bad(
        csv_of("x,label", "1,0.5", "2,1.25", "3,2"), ("regression", "0.5"), options=LABEL | CLASSES
    ),
    "identifier as label": Bad(
        csv_of("x,label", *(f"{v},id{v}" for v in range(9))), ("identifier", "9"), options=LABEL
    ),
    "ragged rows": Bad(
        csv_of("x,label", "1,a", "2,b,c", "3", "4,a", "5,b"), rejected={1: "3 fields", 2: "1 fields"}, options=LABEL
    ),
    "ragged last row": Bad(csv_of("x,label", *ROWS, "9"), rejected={8: "1 fields"}, options=LABEL),
    "open quote": Bad(csv_of("x,label", *ROWS, '8,"red', "9,blue", "10,red"), ("never closed",), options=LABEL),
    "infinite number": Bad(csv_of("x,label", *ROWS, "inf,red"), rejected={8: "infinite"}, options=LABEL),
    "number too large": Bad(csv_of("x,label", *ROWS, "1e999,red"), rejected={8: "infinite"}, options=LABEL),
    "giant cell": Bad(
        csv_of("x,label", "u,red", "v,blue", f"{'z' * 10**6},red", "u,red", "v,blue"),
        rejected={2: "characters"},
        options=LABEL,
    ),
    "giant number": Bad(csv_of("x,label", *ROWS, f"{'9' * 10**6},red"), rejected={8: "characters"}, options=LABEL),
    "giant label": Bad(csv_of("x,label", *ROWS, f"9,{'z' * 10**6}"), rejected={8: "characters"}, options=LABEL),
    "giant text": Bad(
        csv_of("text,label", *TEXTS, f"{'z ' * 500_001},red"), rejected={4: "1,000,002 characters"}, options=TEXT
    ),
    "row beyond the block": Bad(
        csv_of("x,label", "1,a", f"{'z' * (2**26)},b"), ("cannot be read as CSV",), options=LABEL
    ),
    "empty text": Bad(
        csv_of("text,label", *TEXTS, "   ,red", ",blue"), rejected={4: "empty", 5: "empty"}, options=TEXT
    ),
    "numbers as text": Bad(parquet_of(text=[1, 2], label=["a", "b"]), ("column of text",), options=TEXT),
    "bad split word": Bad(
        csv_of("x,label,part", "1,a,train", "2,b,maybe"), ("'maybe'", "train and test"), {}, LABEL | {"split": "part"}
    ),
    "label not of the classes": Bad(
        TABLE,
        rejected={1: "'red'", 3: "'red'", 5: "'red'", 7: "'red'"},
        options=LABEL | {"classes": ["blue"], "require_labels": False},
    ),
    # parquet
    "corrupt parquet": Bad(raw(b"PAR1 nonsense PAR1", "d.parquet"), ("Parquet",), options=LABEL),
    "truncated parquet": Bad(
        then(parquet_of(x=list(range(999)), label=["a"] * 999), lambda p: p.write_bytes(p.read_bytes()[:-9])),
        ("Parquet",),
        options=LABEL,
    ),
    "damaged parquet page": Bad(
        then(
            parquet_of(x=np.random.default_rng(0).random(5000), label=["a", "b"] * 2500),
            lambda p: p.write_bytes(p.read_bytes()[:4] + b"\xff" * 60 + p.read_bytes()[64:]),
        ),
        ("damaged",),
        options=LABEL,
    ),
    "parquet text that is not utf-8": Bad(
        parquet_of(x=pa.array([b"caf\xe9", b"b"] * 2).view(pa.string()), label=["a", "b"] * 2),
        ("damaged",),
        options=LABEL,
    ),
    "no parquet rows": Bad(
        parquet_of(x=pa.array([], pa.float64()), label=pa.array([], pa.string())), ("no rows",), options=LABEL
    ),
    "label column of lists": Bad(
        parquet_of(x=[1, 2], label=[["a"], ["b"]]), ("list", "one class"), options=LABEL | CLASSES
    ),
    "null picture bytes": Bad(
        parquet_of(image=[png(), None, b"", png(), b"junk"], label=list("ababa")),
        rejected={1: "empty", 2: "empty", 4: "not an image"},
        options=IMAGE,
    ),
    "picture path only": Bad(
        parquet_of(
            image=[
                {"bytes": png(), "path": "x"},
                {"bytes": None, "path": "/etc/passwd"},
                {"bytes": png(), "path": None},
            ],
            label=list("aab"),
        ),
        rejected={1: "empty"},
        options=IMAGE,
    ),
    "image column of numbers": Bad(parquet_of(image=[1, 2], label=["a", "b"]), ("PNG or JPEG bytes",), options=IMAGE),
    "no picture decodes": Bad(
        parquet_of(image=[b"x", b"y"], label=["a", "b"]), ("no row", "not an image"), options=IMAGE
    ),
    # npz
    "not a zip": Bad(raw(b"not a zip file at all", "d.npz"), (".npz", "numpy.savez")),
    "truncated npz": Bad(then(npz_of(X=X, y=Y), lambda p: p.write_bytes(p.read_bytes()[:150])), (".npz",)),
    "flipped bytes in npz": Bad(
        then(npz_of(X=X, y=Y), lambda p: p.write_bytes(p.read_bytes().replace(X[3].tobytes(), b"\xff" * 12))),
        ("damaged",),
    ),
    "array ends early": Bad(zip_of(X_npy=npy(X)[:-20], y_npy=npy(Y)), ("ends early",)),
    "member is not an array": Bad(zip_of(X_npy=b"hello", y_npy=npy(Y)), ("not a NumPy array",)),
    "member paths lead out": Bad(zip_of(**{"..__X_npy": npy(X), "y_npy": npy(Y)}), ("no array 'X'", "../X")),
    "no y": Bad(npz_of(X=X), ("no array 'y'", "'X'")),
    "pickled X": Bad(zip_of(X_npy=npy(np.array([{}, {}], object), allow_pickle=True), y_npy=npy(Y)), ("pickled",)),
    "pickled y": Bad(zip_of(X_npy=npy(X), y_npy=npy(np.array(["a", 1] * 4, object), allow_pickle=True)), ("pickled",)),
    "lengths differ": Bad(npz_of(X=X, y=Y[:5]), ("5 rows", "X has 8")),
    "one-hot y": Bad(npz_of(X=X, y=np.eye(8)), ("argmax",), options=CLASSES),
    "y out of range": Bad(npz_of(X=X, y=np.where(np.arange(8) == 3, -7, Y)), ("-7", "row 4")),
    "y infinite": Bad(npz_of(X=X, y=np.where(np.arange(8) == 3, np.inf, Y)), ("infinite", "row 4")),
    "y fractional": Bad(npz_of(X=X, y=np.linspace(0, 1, 8)), ("regression",), options=CLASSES),
    "y one class": Bad(npz_of(X=X, y=np.ones(8, int)), ("one class only",)),
    "y minus one and two": Bad(npz_of(X=X, y=3 * Y - 1), ("one class only", "-1 means unlabelled")),
    "NaN in X": Bad(npz_of(X=with_nan(np.nan), y=Y), rejected={2: "NaN"}),
    "inf in X": Bad(npz_of(X=with_nan(-np.inf), y=Y), rejected={2: "infinite"}),
    "beyond float32": Bad(
        npz_of(X=np.where(np.arange(8)[:, None] == 5, 1e300, X.astype(float)), y=Y), rejected={5: "float32"}
    ),
    "all rows NaN": Bad(npz_of(X=X * np.nan, y=Y), ("no row", "8 rejected")),
    "no columns": Bad(npz_of(X=np.zeros((8, 0)), y=Y), ("(8, 0)",)),
    "no rows in X": Bad(npz_of(X=np.zeros((0, 3)), y=Y[:0]), ("no rows",)),
    "scalar X": Bad(npz_of(X=np.float32(1), y=Y), ("no rows",)),
    "complex X": Bad(npz_of(X=X + 1j, y=Y), ("complex",)),
    "unknown truth array": Bad(npz_of(X=X, y=Y), ("no array 't'",), {}, {"truth": "t"}),
    # folders
    "folder without pictures": Bad(lambda tmp: (tmp / "e").mkdir() or tmp / "e", ("no sub-folders",)),
    "empty class folder": Bad(then(folder_of(), lambda p: (p / "c").mkdir()), ("'c'", "holds no pictures")),
    "one class folder": Bad(
        lambda tmp: (folder_of()(tmp) / "b").rename(tmp / "gone").parent / "pictures", ("one class only",)
    ),
    "flat folder": Bad(lambda tmp: folder_of()(tmp) / "a", ("sub-folder a class",)),
    "truncated png": Bad(folder_of({"a/2.png": png((64, 64))[:60]}), rejected={2: "damaged"}),
    "truncated jpeg": Bad(folder_of({"a/2.jpg": noise_jpeg()[:900]}), rejected={2: "truncated"}),
    "text named png": Bad(folder_of({"a/2.png": b"hello world"}), rejected={2: "not an image"}),
    "script named png": Bad(folder_of({"a/2.png": b"%!PS-Adobe-3.0 EPSF-3.0\n"}), rejected={2: "not an image"}),
    "image bomb": Bad(folder_of({"a/2.png": png_that_declares(60_000, 60_000)}), rejected={2: "limit"}),
    "image just too large": Bad(folder_of({"a/2.png": png_that_declares(10_000, 5_001)}), rejected={2: "10000 x 5001"}),
    "picture without pixels": Bad(folder_of({"a/2.png": png_that_declares(0, 5)}), rejected={2: ""}),
    "empty picture file": Bad(folder_of({"a/2.png": b""}), rejected={2: "empty file"}),
    "other file": Bad(folder_of({"a/notes.txt": b"hello"}), rejected={2: ".txt"}),
    "loose picture": Bad(folder_of({"zz.png": png()}), rejected={0: "outside every class"}),
    "link leaves": Bad(folder_of(zz="../../outside.png"), rejected={4: "leaves the folder"}),
    "link to nothing": Bad(folder_of(zz="absent.png"), rejected={4: "leads nowhere"}),
    "link to itself": Bad(folder_of(zz="zz.png"), rejected={4: "leads nowhere"}),
    "link to a folder": Bad(folder_of(zz="../a"), rejected={4: "link to a folder"}),
    "fifo in folder": Bad(
        then(folder_of(), lambda p: os.mkfifo(p / "b" / "z.png")), rejected={4: "not a regular file"}
    ),
    "float picture": Bad(
        then(folder_of(), lambda p: Image.new("F", (4, 4)).save(p / "b" / "z.tiff")), rejected={4: "floating"}
    ),
    "size zero": Bad(folder_of(), ("image size is 0",), {}, {"image_size": 0}),
}
