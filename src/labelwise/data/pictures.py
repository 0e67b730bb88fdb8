"""Decode pictures from anywhere, safely, to one working size."""

import io
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from labelwise.errors import InputError

MAX_PIXELS = 50_000_000  # declared width x height; larger pictures are refused before they are decoded
DEFAULT_SIZE = 64
MAX_SIZE = 1024

# A closed list: Pillow's other plug-ins start programs (EPS) or read formats nobody labels.
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
_GREY_MODES = {"1", "L", "LA", "La", "I", "F"}

Source = Path | bytes | None
Answer = TypeVar("Answer")


class PictureError(Exception):
    """Why one picture cannot be used; becomes the reason of a rejection."""


class Probe(NamedTuple):
    """What a picture's header says: its shorter side in pixels, and whether it has no colour."""

    short_side: int
    grey: bool


class Decoded(NamedTuple):
    """``pixels`` uint8 (m, size, size, channels) of the m pictures at ``rows``; ``failures`` row -> reason."""

    pixels: NDArray[np.uint8]
    rows: NDArray[np.int64]
    failures: dict[int, str]


def decode(sources: Sequence[Source], size: int, channels: int) -> Decoded:
    """Decode files or bytes to uint8 (m, size, size, channels), turned upright as EXIF says, transparency on white.

    The whole picture is scaled to the square with antialiasing, nothing is cut off. Peak memory: the result and one
    decoded picture (at most MAX_PIXELS) a thread.
    """
    answers = _in_threads(lambda source: _decode_one(source, size, channels), sources)
    rows = [row for row, answer in enumerate(answers) if not isinstance(answer, str)]
    failures = {row: answer for row, answer in enumerate(answers) if isinstance(answer, str)}
    pixels = np.empty((len(rows), size, size, channels), dtype=np.uint8)
    for place, row in enumerate(rows):
        pixels[place] = answers[row]
    return Decoded(pixels, np.array(rows, dtype=np.int64), failures)


def probe(sources: Sequence[Source]) -> list[Probe | str]:
    """Read the headers only: a Probe or the reason why a picture cannot be used, one a source."""
    return _in_threads(_probe_one, sources)


def working_form(probes: Sequence[Probe | str], image_size: int | None) -> tuple[int, int]:
    """The working size and the channels (1 when every picture is grey) for all pictures.

    Size: ``image_size``, or the median of the shorter sides but at most 64.
    """
    good = [answer for answer in probes if isinstance(answer, Probe)]
    channels = 1 if good and all(answer.grey for answer in good) else 3
    if image_size is not None:
        return check_size(image_size), channels
    median = int(np.median([answer.short_side for answer in good])) if good else DEFAULT_SIZE
    return max(1, min(median, DEFAULT_SIZE)), channels


def check_size(image_size: int) -> int:
    """An image size between 1 and 1024; raises InputError otherwise."""
    if not 1 <= image_size <= MAX_SIZE:
        raise InputError(f"the image size is {image_size}: choose a number of pixels between 1 and {MAX_SIZE}")
    return int(image_size)


def resize(pixels: NDArray[np.uint8], size: int, channels: int) -> NDArray[np.uint8]:
    """Bring uint8 pictures (n, H, W, 1 or 3) to (n, size, size, channels)."""
    if pixels.shape[1:] == (size, size, channels):
        return pixels
    from PIL import Image

    scaled = np.empty((len(pixels), size, size, channels), dtype=np.uint8)
    for row, picture in enumerate(pixels):
        image = Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture)
        scaled[row] = _to_array(image, size, channels)
    return scaled


def thumbnail(pixels: NDArray[np.uint8], side: int, *, smooth: bool = True) -> Any:
    """A Pillow image of uint8 pixels (H, W) or (H, W, 1, 3 or 4), shrunk where it is larger than ``side``.

    Not ``smooth``: every pixel is one that was there, as masks need.
    """
    from PIL import Image

    flat = pixels[:, :, 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
    image = Image.fromarray(np.ascontiguousarray(flat))
    image.thumbnail((side, side), Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST)
    return image


def to_png(image: Any) -> bytes:
    """A Pillow image as a PNG file."""
    encoded = io.BytesIO()
    image.save(encoded, format="PNG", optimize=True)
    return encoded.getvalue()


def _in_threads(work: Callable[[Source], Answer], sources: Sequence[Source]) -> list[Answer | str]:
    def guarded(source: Source) -> Answer | str:
        try:
            return work(source)
        except PictureError as error:
            return str(error)

    with warnings.catch_warnings(), ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        # Pillow warns about odd EXIF blocks and large pictures: what matters becomes a rejection.
        warnings.simplefilter("ignore")
        return list(pool.map(guarded, sources))


@contextmanager
def _opened(source: Source) -> Iterator[Any]:
    """A Pillow image whose header is read and whose declared size is within bounds; any failure as PictureError."""
    from PIL import Image, UnidentifiedImageError

    if source is None or source == b"":
        raise PictureError("no image: the cell is empty")
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=_FORMATS) as image:
            width, height = image.size
            if width < 1 or height < 1:
                raise PictureError(f"the image is {width} x {height} pixels: it holds nothing")
            if width * height > MAX_PIXELS:
                raise PictureError(_too_large(f"{width} x {height} pixels"))
            yield image
    except PictureError:
        raise
    except Image.DecompressionBombError as error:
        raise PictureError(_too_large("far too many pixels")) from error
    except UnidentifiedImageError as error:
        raise PictureError("not an image in a known format (PNG, JPEG, GIF, BMP, WebP, TIFF, PPM)") from error
    except PermissionError as error:
        raise PictureError("the file cannot be read: permission denied") from error
    except Exception as error:
        # Decoders of hostile bytes raise almost anything: OSError, SyntaxError, struct.error, EOFError, MemoryError.
        detail = " ".join(str(error).split())[:120] or type(error).__name__
        raise PictureError(f"the image is truncated or damaged ({detail})") from error


def _too_large(size: str) -> str:
    return f"the image declares {size}, more than the limit of {MAX_PIXELS:,}: not decoded"


def _probe_one(source: Source) -> Probe:
    with _opened(source) as image:
        return Probe(min(image.size), _is_grey(image.mode))


def _is_grey(mode: str) -> bool:
    return mode in _GREY_MODES or mode.startswith("I;16")


def _decode_one(source: Source, size: int, channels: int) -> NDArray[np.uint8]:
    from PIL import ImageOps

    with _opened(source) as image:
        # JPEG only: decode at a fraction of the full size, but never below twice the working size.
        image.draft(None, (2 * size, 2 * size))
        return _to_array(ImageOps.exif_transpose(image), size, channels)


def _to_array(image: Any, size: int, channels: int) -> NDArray[np.uint8]:
    from PIL import Image

    flat = _without_depth_or_alpha(image).convert("L" if channels == 1 else "RGB")
    if flat.size != (size, size):
        flat = flat.resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(flat, dtype=np.uint8).reshape(size, size, channels)


def _without_depth_or_alpha(image: Any) -> Any:
    """Sixteen-bit grey to eight bits, transparency onto white; other modes convert by themselves."""
    from PIL import Image

    if image.mode == "F":
        raise PictureError("floating-point pixels have no known range: save the picture with 8 or 16 bits")
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        shift = 8 if values.max() > 255 else 0
        return Image.fromarray(np.clip(values >> shift, 0, 255).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "La", "RGBa", "PA") or "transparency" in image.info:
        colours = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", colours.size, "white"), colours)
    return image


def read_pixels(source: Source) -> NDArray[Any]:
    """One picture at its own size and mode, (H, W) or (H, W, C); raises InputError when it does not decode."""
    try:
        with _opened(source) as image:
            return np.array(image)
    except PictureError as error:
        raise InputError(f"a picture cannot be used: {error}") from error
