"""Pictures with a mask each: a folder of ``images`` and ``masks``, or arrays X (n, H, W[, C]) and y (n, H, W)."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelwise.data import pictures
from labelwise.data.arrays import NpzFile, as_pictures, check_inputs, holds_pictures
from labelwise.data.examples import Examples, Rejection
from labelwise.data.folders import SUFFIXES
from labelwise.data.rows import decode_split, row_location
from labelwise.errors import InputError
from labelwise.files import printable, quote, safe_name
from labelwise.labels.masks import IGNORE, check_masks

IMAGES, MASKS, TRUTH, NAMES = "images", "masks", "truth", "classes.txt"
# A network for masks on a processor trains in minutes on pictures of about this size.
DEFAULT_SIDE = 96
_MASK_SUFFIXES = (".png", ".bmp", ".gif", ".tif", ".tiff")


def is_mask_folder(path: Path) -> bool:
    """Whether a folder holds pictures with masks: sub-folders ``images`` and ``masks``."""
    return (path / IMAGES).is_dir() and (path / MASKS).is_dir()


def open_mask_folder(root: Path, image_size: int | None) -> Examples:
    """Read ``images/NAME.*`` with ``masks/NAME.png`` (class numbers, 255 = not labelled) and, to score, ``truth/``.

    ``classes.txt`` may name the classes, one a line. A picture without a mask is unlabelled. What cannot be read is in
    ``rejected``. Raises InputError where no picture is left.
    """
    found_files = sorted((root / IMAGES).iterdir())
    files = [path for path in found_files if path.suffix.lower() in SUFFIXES]
    if not files:
        raise InputError(f"{printable(root / IMAGES)} holds no pictures: put them there, and their masks into {MASKS}")
    found: list[tuple[int, NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]] = []
    rejected: list[Rejection] = []
    of_stem: dict[str, Path] = {}
    for position, file in enumerate(files):
        try:
            if of_stem.setdefault(file.stem, file) != file:
                other = of_stem[file.stem].name
                raise InputError(f"it shares its name and so its mask with {printable(other)}: rename one of them")
            picture = _rgb(pictures.read_pixels(file))
            labels = _mask_of(root / MASKS, file, picture.shape[:2])
            truth = _mask_of(root / TRUTH, file, picture.shape[:2])
        except InputError as error:
            rejected.append(Rejection(position, f"{IMAGES}/{printable(file.name)}", str(error)))
            continue
        found.append((position, picture, labels, truth))
    if not found:
        raise InputError(f"no picture of {printable(root)} is usable: the first because {rejected[0].reason}")
    positions, images, masks, truths = zip(*found, strict=True)
    examples = examples_with_masks(
        safe_name(root.resolve().name), images, masks, truths if (root / TRUTH).is_dir() else None, image_size
    )
    index = np.array(positions, dtype=np.int64)
    names = _class_names(root / NAMES, examples.num_classes)
    places = [f"{IMAGES}/{printable(files[position].name)}" for position in positions]
    notes = [*examples.notes, *_left_over(root, len(found_files) - len(files), set(of_stem))]
    return replace(examples, index=index, locations=places, rejected=rejected, classes=names, notes=notes)


def _left_over(root: Path, no_pictures: int, stems: set[str]) -> list[str]:
    """Notes on files that belong to nothing."""
    notes = [f"{no_pictures:,} files in {IMAGES} are no pictures: they are left out"] if no_pictures else []
    for name in (MASKS, TRUTH):
        files = (root / name).iterdir() if (root / name).is_dir() else ()
        alone = sorted(printable(file.name) for file in files if file.stem not in stems)
        if alone:
            notes.append(f"{len(alone):,} files in {name} go with no picture of that name, the first {alone[0]}")
    return notes


def open_mask_arrays(
    file: NpzFile, label: str, truth: str | None, split: str | None, image_size: int | None
) -> Examples:
    """Read pictures X, masks y and, where named, true masks and a split, from arrays."""
    header = check_inputs(file)
    if header.dtype != np.uint8 or not holds_pictures(header):
        raise InputError(
            f"the array 'X' of {printable(file.path)} has shape {header.shape} and type {header.dtype}: give pictures "
            "(n, height, width) or (n, height, width, 3) as bytes, uint8 from 0 to 255"
        )
    images = as_pictures(file.read("X"))
    masks = check_masks(file.read(label), name=f"the array {quote(label)} of {printable(file.path)}")
    true_masks = None if truth is None else check_masks(file.read(truth), name=f"the array {quote(truth)}")
    for name, each in ((label, masks), (truth, true_masks)):
        if each is not None and each.shape != images.shape[:3]:
            raise InputError(
                f"the array {quote(name)} of {printable(file.path)} has shape {each.shape} where the pictures X have "
                f"{images.shape[:3]}: give one mask of the same size for each picture"
            )
    examples = examples_with_masks(safe_name(file.path.stem), images, masks, true_masks, image_size)
    held_out = None if split is None else decode_split(file.read(split), f"the array {quote(split)}")
    return replace(examples, split=held_out)


def examples_with_masks(
    name: str,
    images: Sequence[NDArray[Any]] | NDArray[Any],
    masks: Sequence[NDArray[Any]] | NDArray[Any],
    truths: Sequence[NDArray[Any]] | NDArray[Any] | None,
    image_size: int | None,
) -> Examples:
    """Bring pictures (H, W, C) and masks (H, W) of any size to one size, with ``image_size`` as the shorter side.

    Without it the shorter side is that of the first picture, at most 96. Masks take the nearest pixel, so no class is
    made up.
    """
    height, width = _working_size(images[0].shape[:2], image_size)
    sized = np.stack([_resized(image, height, width, smooth=True) for image in images])
    given = np.stack([_resized(mask, height, width, smooth=False) for mask in masks])
    true_masks = None if truths is None else np.stack([_resized(m, height, width, smooth=False) for m in truths])
    used = [each[each != IGNORE] for each in (given, true_masks) if each is not None]
    count = max([int(each.max()) + 1 for each in used if each.size], default=0)
    if count < 2:
        raise InputError(f"the masks of {name} hold fewer than two classes: number them 0, 1, ..., 255 = not labelled")
    return Examples(
        name=name,
        kind="images",
        inputs=sized,
        given=given,
        classes=tuple(f"class {number}" for number in range(count)),
        truth=true_masks,
        index=np.arange(len(sized)),
        locations=row_location,
        schema={"kind": "images", "task": "segmentation", "height": height, "width": width},
        notes=[f"pictures and masks are used at {width} x {height} pixels"],
        task="segmentation",
    )


def _working_size(size: tuple[int, ...], image_size: int | None) -> tuple[int, int]:
    """Height and width, both multiples of 8: the decoder doubles the size three times."""
    short = min(size)
    side = pictures.check_size(image_size) if image_size is not None else min(short, DEFAULT_SIDE)
    height, width = (max(8, round(each * side / short / 8) * 8) for each in size)
    return height, width


def _resized(pixels: NDArray[Any], height: int, width: int, *, smooth: bool) -> NDArray[Any]:
    from PIL import Image

    if pixels.shape[:2] == (height, width):
        return pixels
    filter_by = Image.Resampling.BILINEAR if smooth else Image.Resampling.NEAREST
    flat = pixels[..., 0] if smooth and pixels.shape[-1] == 1 else pixels
    resized = np.array(Image.fromarray(flat.astype(np.uint8)).resize((width, height), filter_by))
    return resized.reshape(height, width, *pixels.shape[2:]).astype(pixels.dtype)


def _rgb(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """A picture of any mode as (H, W, 3): one form for all."""
    if pixels.dtype != np.uint8:
        raise InputError(f"its pixels are {pixels.dtype}, not bytes: save it as 8-bit PNG or JPEG")
    if pixels.ndim == 2:
        return np.repeat(pixels[..., None], 3, axis=2)
    return pixels[..., :3] if pixels.shape[2] >= 3 else np.repeat(pixels[..., :1], 3, axis=2)


def _mask_of(folder: Path, picture: Path, size: tuple[int, ...]) -> NDArray[np.int64]:
    """The mask of a picture; all 255 where there is none."""
    file = next(
        (folder / f"{picture.stem}{end}" for end in _MASK_SUFFIXES if (folder / f"{picture.stem}{end}").is_file()), None
    )
    if file is None:
        return np.full(size, IGNORE, dtype=np.int64)
    mask = pictures.read_pixels(file)
    if mask.ndim != 2:
        raise InputError(f"its mask {printable(file.name)} holds colours: save class numbers as an 8-bit grey PNG")
    if mask.shape != size:
        raise InputError(f"its mask is {mask.shape[1]} x {mask.shape[0]}, the picture {size[1]} x {size[0]}")
    return mask.astype(np.int64)


def _class_names(file: Path, count: int) -> tuple[str, ...]:
    if not file.is_file():
        return tuple(f"class {number}" for number in range(count))
    names = [line.strip() for line in file.read_text(encoding="utf-8", errors="backslashreplace").splitlines()]
    names = [name for name in names if name]
    if len(names) < count:
        raise InputError(f"{printable(file)} names {len(names)} classes, the masks hold {count}: add the others")
    return tuple(names[:count])
