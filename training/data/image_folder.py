"""Pictures in files: a folder or a zip of them becomes one uint8 array with labels.

Knows: which files count as pictures, where their labels come from (class sub-folders or a csv), how a
picture becomes grey or RGB bytes, and how to hold many of them. Does not know: IDX, npz, what a data
set is used for. Nothing is extracted to disk.

The rules:
- Pictures are the .png, .jpg, .jpeg, .webp and .bmp files; hidden files are skipped, other files are
  ignored, other picture formats are refused. A single folder around everything is looked into.
- Labels come from `labels.csv` inside or a csv of the same name beside, else from class sub-folders,
  else there are none. Label names are in text order, or by value where every one is an integer, or in
  the order that the chosen columns state (training.data.labels).
- Bilevel and grey files make a grey set, if all are; else all become RGB, palettes too. An alpha
  channel is dropped where it is opaque and refused where it is not. 16-bit grey, float, CMYK and
  animations are refused; Pillow itself keeps the upper 8 bits of 16-bit RGB. EXIF rotation is applied.
"""

from __future__ import annotations

import io
import math
import os
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from models.errors import DataError
from training.data.archive import Source, opened
from training.data.labels import DEFAULT_COLUMNS, LabelColumn, class_names, csv_rows, label_order

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp"})
REFUSED_SUFFIXES = frozenset({".gif", ".tif", ".tiff", ".avif", ".heic", ".jxl", ".jp2", ".ppm", ".pgm", ".tga"})
FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
GREY_MODES = frozenset({"1", "L", "LA"})
COLOUR_MODES = frozenset({"RGB", "RGBA", "P", "PA"})
# Arrays above this are mapped from an unlinked temporary file instead of being held in memory.
MAPPED_ABOVE_BYTES = 2 * 1024**3
# What Pillow and zipfile were seen to raise on damaged files.
_DAMAGE = (
    OSError,
    EOFError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    RuntimeError,
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
    Image.DecompressionBombError,
)


class Content(NamedTuple):
    """What a reader found.

    Attributes:
        images: uint8 (N, H, W, C), C 1 or 3, N at least 1.
        labels: int64 (N,) in 0 .. len(label_names) - 1, or None.
        label_names: one per class; empty when unlabelled.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64] | None
    class_names: tuple[str, ...]


def allocate(shape: tuple[int, ...], path: Path) -> NDArray[np.uint8]:
    """An uninitialised uint8 array; a large one lies in a temporary file that has no name.

    Args:
        shape: the array's shape.
        path: whose content it will hold, for the error.
    Raises: DataError when there is no room.
    """
    size = math.prod(shape)
    room = f"needs {size / 1e9:.1f} GB"
    try:
        if size <= MAPPED_ABOVE_BYTES:
            return np.empty(shape, np.uint8)
        # TemporaryFile unlinks at once; the mapping keeps the bytes until the array is dropped.
        with tempfile.TemporaryFile() as file:
            # Without real blocks behind it, a full disk would kill the process with SIGBUS later.
            os.posix_fallocate(file.fileno(), 0, size) if hasattr(os, "posix_fallocate") else file.truncate(size)
            return np.memmap(file, np.uint8, "r+", shape=shape)
    except MemoryError:
        raise DataError(path, f"{room} of memory, which is not there; use fewer or smaller images") from None
    except OSError as error:
        where = tempfile.gettempdir()
        raise DataError(path, f"{room} in {where} ({error.strerror}); set TMPDIR to a disk with room") from None


def read(path: Path, columns: Sequence[LabelColumn] = ()) -> Content:
    """The pictures of a folder or zip, in the order of their sorted names, with their labels.

    A folder and a zip with the same content give the same.

    Args:
        path: the folder or zip.
        columns: which columns of the csv make the label; then there must be a csv.
    Raises: DataError naming the file at fault, inside an archive as `archive.zip/inner.png`.
    """
    with opened(path) as source:
        return _read(source, columns)


def picture_names(source: Source) -> list[str]:
    """The names of the pictures, sorted; at least one.

    Raises: DataError.
    """
    pictures = sorted(name for name in _visible(source) if _is_picture(source.path / name))
    if not pictures:
        wanted = ", ".join(sorted(SUFFIXES))
        raise DataError(source.path, f"holds no pictures ({wanted}); give the folder or zip that does")
    return pictures


def labels_of(
    source: Source, pictures: list[str], columns: Sequence[LabelColumn] = ()
) -> tuple[list[str], tuple[str, ...]] | None:
    """Each picture's label in words and the order of the classes, by the rules above; None without labels.

    Raises: DataError naming the file at fault.
    """
    tables = [name for name in _visible(source) if name.split("/")[-1] == "labels.csv"]
    return _labels(source, _inside(pictures + tables), tables, pictures, columns)


def _read(source: Source, columns: Sequence[LabelColumn]) -> Content:
    names = picture_names(source)
    found = labels_of(source, names, columns)
    images = _decode_all(source, names)
    if found is None:
        return Content(images, None, ())
    texts, order = found
    ids = {text: k for k, text in enumerate(order)}
    return Content(images, np.array([ids[text] for text in texts], np.int64), order)


def _visible(source: Source) -> list[str]:
    return [name for name in source.names() if not _hidden(name)]


def _hidden(name: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def _inside(names: Sequence[str]) -> str:
    """The folder that holds everything, as a prefix: "", or such as "faces/" where a zip wraps one."""
    prefix = ""
    while names:
        heads = {name[len(prefix) :].partition("/")[::2] for name in names}
        tops = {top for top, _ in heads}
        if len(tops) > 1 or not all(rest for _, rest in heads):
            break
        prefix += tops.pop() + "/"
    return prefix


def _is_picture(path: Path) -> bool:
    suffix = path.suffix.lower()
    if suffix in REFUSED_SUFFIXES:
        raise DataError(path, f"is a {suffix} picture, which is not read; convert it to .png or remove it")
    return suffix in SUFFIXES


def _labels(
    source: Source, inside: str, tables: list[str], pictures: list[str], columns: Sequence[LabelColumn]
) -> tuple[list[str], tuple[str, ...]] | None:
    table = _table(source, inside, tables)
    if table is not None:
        rows = _by_csv(source, inside, pictures, *table, columns or DEFAULT_COLUMNS)
        return [" ".join(row) for row in rows], class_names(columns or DEFAULT_COLUMNS, rows)
    if columns:
        wanted = ", ".join(repr(column.column) for column in columns)
        raise DataError(
            source.path,
            f"has no csv with the columns {wanted}, neither labels.csv inside nor {source.csv_beside.name} beside; "
            "add it, or take labels as they come with --set data.labels=[]",
        )
    texts = _by_folder(source, inside, pictures)
    return None if texts is None else (texts, label_order(texts))


def _table(source: Source, inside: str, tables: list[str]) -> tuple[Path, bytes] | None:
    """Where the labels csv lies and its bytes, if there is one."""
    if inside + "labels.csv" in tables:
        return source.path / (inside + "labels.csv"), _bytes(source, inside + "labels.csv")
    if not source.csv_beside.is_file():
        return None
    try:
        return source.csv_beside, source.csv_beside.read_bytes()
    except OSError as error:
        raise DataError(source.csv_beside, f"cannot be read: {error.strerror}") from None


def _by_folder(source: Source, inside: str, pictures: list[str]) -> list[str] | None:
    depths = {name: name[len(inside) :].count("/") for name in pictures}
    for name, depth in depths.items():
        if depth > 1:
            raise DataError(source.path / name, "is too deep; put pictures straight into one folder per class")
        if depth != depths[pictures[0]]:
            raise DataError(
                source.path / name,
                f"and {pictures[0]} are not at the same depth; put all pictures into class folders, or none",
            )
    if depths[pictures[0]] == 0:
        return None
    return [name.split("/")[-2] for name in pictures]


def _by_csv(
    source: Source, inside: str, pictures: list[str], path: Path, content: bytes, columns: Sequence[LabelColumn]
) -> list[tuple[str, ...]]:
    label_of: dict[str, tuple[str, ...]] = {}
    known = set(pictures)
    for line, file, label in csv_rows(path, content, columns):
        name = inside + file
        if name in label_of:
            raise DataError(path, f"lists {file!r} again on line {line}; keep one row per picture")
        if name not in known:
            raise DataError(
                source.path / name, f"is listed in {path.name}, line {line}, but missing; add it or drop the row"
            )
        label_of[name] = label
    for name in pictures:
        if name not in label_of:
            raise DataError(source.path / name, f"has no row in {path.name}; add one or remove the picture")
    return [label_of[name] for name in pictures]


def _decode_all(source: Source, names: list[str]) -> NDArray[np.uint8]:
    """uint8 (N, H, W, C). Two passes: headers decide grey or RGB, so that one array can be filled in place."""
    mode = "L" if {channels(source, name) for name in names} == {1} else "RGB"
    first = decode(source, names[0], mode)
    images = allocate((len(names), *first.shape), source.path)
    for k, name in enumerate(names):
        pixels = first if k == 0 else decode(source, name, mode)
        if pixels.shape != first.shape:
            (h, w), (height, width) = pixels.shape[:2], first.shape[:2]
            raise DataError(
                source.path / name, f"is {w}x{h} pixels, but {names[0]} is {width}x{height}; make all one size"
            )
        images[k] = pixels
    return images


def channels(source: Source, name: str) -> int:
    """1 for a grey picture, 3 for one in colour, by its header.

    Raises: DataError for the picture.
    """
    try:
        with source.open(name) as file, Image.open(file, formats=FORMATS) as image:
            mode = image.mode
            # A JPEG may carry a preview as a second picture, which is no animation.
            frames = getattr(image, "n_frames", 1) if image.format in ("PNG", "WEBP") else 1
    except _DAMAGE as error:
        raise _damaged(source.path / name, error) from None
    if mode not in GREY_MODES | COLOUR_MODES:
        raise DataError(source.path / name, f"has pixels of kind {mode!r}; convert it to 8-bit grey or RGB")
    if frames > 1:
        raise DataError(source.path / name, f"is an animation of {frames} pictures; keep one")
    return 1 if mode in GREY_MODES else 3


def decode(source: Source, name: str, mode: str) -> NDArray[np.uint8]:
    """One picture, uint8 (H, W, C), in mode "L" or "RGB".

    Raises: DataError for the picture.
    """
    try:
        # Reading to the end makes zipfile check the member's CRC.
        with Image.open(io.BytesIO(_bytes(source, name)), formats=FORMATS) as image:
            upright: Any = ImageOps.exif_transpose(image)
            transparent = False
            if upright.has_transparency_data:
                upright = upright.convert("RGBA")
                transparent = upright.getchannel("A").getextrema()[0] < 255
            pixels = np.asarray(upright.convert(mode))
    except _DAMAGE as error:
        raise _damaged(source.path / name, error) from None
    if transparent:
        raise DataError(source.path / name, "is partly transparent; lay it on a background first")
    return pixels[..., np.newaxis] if pixels.ndim == 2 else pixels


def _bytes(source: Source, name: str) -> bytes:
    try:
        with source.open(name) as file:
            return file.read()
    except _DAMAGE as error:
        raise _damaged(source.path / name, error) from None


def _damaged(path: Path, error: BaseException) -> DataError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__
    # Pillow names the stream it was given, which tells the user nothing.
    reason = "no picture of a known format" if "cannot identify" in reason else reason
    return DataError(path, f"cannot be read ({reason}); replace it or remove it")
