"""path -> Container: the frames of a file, a folder or a glob as they are stored, one by one."""

from __future__ import annotations

import errno
import glob
import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from nta.errors import Notice, UsageError, VideoError
from nta.metadata import FileSays, merge
from nta.micromanager import read_beside
from nta.movie import Movie
from nta.tiff import TiffStack, describe_single, one_line, read_single

IMAGE_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".bmp": "BMP", ".tif": "TIFF", ".tiff": "TIFF"}
VIDEO_SUFFIXES = (".avi", ".mov", ".mp4", ".m4v", ".mkv", ".wmv")
_SUFFIX = re.compile(r"(\.ome)?\.(tiff?|tf2|tf8|btf|lsm|stk|png|jpe?g|bmp|avi|mov|mp4|m4v|mkv|wmv)$", re.IGNORECASE)
_READABLE = "a TIFF stack, an AVI, MOV, MP4, MKV or WMV file, or a folder or glob of PNG, JPEG, BMP or TIFF frames"


class Container(Protocol):
    """What every kind of video file offers: frames as stored, and what the file says of itself. One class per kind.

    Attributes
    ----------
    files : the files read, for a checksum
    n_frames : number of frames that can be read
    shape : (height, width) or (height, width, samples)
    dtype : pixel type, native byte order
    says : what the file states of its calibration
    notices : what the user should know of how it was read
    channel_used : whether the channel asked for chose a plane already, so that frames are grey
    inverted : whether 0 stood for white, and pixels were turned round
    ceiling : the largest value a pixel can have, where the format tells; None: as the pixel type and the pixels tell
    """

    files: tuple[Path, ...]
    n_frames: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    says: FileSays
    notices: tuple[Notice, ...]
    channel_used: bool
    inverted: bool
    ceiling: float | None

    def read(self, frame: int) -> np.ndarray:
        """Return one frame of `shape` and `dtype`; may be called from several threads, raises anything when the data are corrupt."""
        ...

    def close(self) -> None:
        """Release the file."""
        ...


def open_container(path: str, channel: str | None = None) -> Container:
    """Open whatever `path` is: a file, a folder, or a glob with ``*``, ``?`` or ``[``.

    Raises
    ------
    UsageError
        When there is nothing there, or no image in the folder or under the glob.
    VideoError
        When what is there is no video: unreadable, empty, a single image, frames that differ in format, size or pixel type.
    """
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as error:
        # ValueError: a NUL in the name
        if isinstance(error, OSError) and error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG):
            raise _unreadable(path, error) from None
        if glob.has_magic(path):
            return _of_files(path, _images((Path(p) for p in glob.glob(path)), path), channel)
        raise UsageError(f"{path}: no such file or folder; give {_READABLE}") from None
    try:
        if stat.S_ISDIR(mode):
            return _of_files(path, _images(Path(path).iterdir(), path), channel)
        return _of_file(Path(path), mode, channel)
    except OSError as error:
        raise _unreadable(path, error) from None


def name_of(path: str) -> str:
    """Return the name a result of `path` goes by: file name without its suffix, folder's name, or a glob's literal folder."""
    if glob.has_magic(path) and not os.path.exists(path):
        folder = path
        while glob.has_magic(folder):
            folder = os.path.dirname(folder)
        path = folder or "."
    given = Path(path)
    if given.name in ("", ".."):
        return given.resolve().name or "video"
    if os.path.isdir(path):
        return given.name
    return _SUFFIX.sub("", given.name) or given.name


def natural_key(path: Path) -> tuple[list[str | int], str]:
    """Sort key that puts frame2 before frame10."""
    pieces = re.split(r"([0-9]+)", str(path).casefold())
    return [int(p) if i % 2 else p for i, p in enumerate(pieces)], str(path)


def _unreadable(path: str, error: OSError) -> VideoError:
    return VideoError(f"{path}: cannot be read ({error.strerror or type(error).__name__})")


def _of_file(path: Path, mode: int, channel: str | None) -> Container:
    suffix = path.suffix.lower()
    if not stat.S_ISREG(mode):
        raise VideoError(f"{path}: not a regular file; give {_READABLE}")
    if path.stat().st_size == 0:
        raise VideoError(f"{path}: the file is empty (0 bytes)")
    if suffix in VIDEO_SUFFIXES:
        return Movie(path, channel)
    if IMAGE_FORMATS.get(suffix, "TIFF") != "TIFF":
        raise VideoError(f"{path}: a single image; a video needs at least 2 frames (give the folder, or a quoted glob)")
    return TiffStack(path, channel)


def _images(paths: Iterable[Path], given: str) -> list[Path]:
    """Return the frames among `paths` in natural order; hidden files and other kinds of file are passed over."""
    images = [p for p in paths if p.suffix.lower() in IMAGE_FORMATS and not p.name.startswith(".") and p.is_file()]
    if not images:
        where = "matches no" if glob.has_magic(given) and not os.path.exists(given) else "the folder holds no"
        raise UsageError(f"{given}: {where} PNG, JPEG, BMP or TIFF frames; give {_READABLE}")
    return sorted(images, key=natural_key)


def _of_files(path: str, files: list[Path], channel: str | None) -> Container:
    if len(files) == 1 and IMAGE_FORMATS[files[0].suffix.lower()] == "TIFF":
        return TiffStack(files[0], channel)
    return FrameFiles(path, files)


@dataclass(frozen=True)
class _Header:
    """What one frame's file says before its pixels are read."""

    format: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __str__(self) -> str:
        samples = f", {self.shape[2]} samples" if len(self.shape) == 3 else ""
        return f"{self.format} of {self.shape[1]} x {self.shape[0]} px, {self.dtype}{samples}"


class FrameFiles:
    """Images, one frame each, in natural order of their names; see `Container`.

    Raises
    ------
    VideoError
        When there is one image only, or a file differs from the others in format, size or pixel type, or cannot be read.
    """

    def __init__(self, path: str, files: list[Path]) -> None:
        self.files = tuple(files)
        self.n_frames = len(files)
        self.notices: tuple[Notice, ...] = ()
        self.channel_used = False
        self.inverted = False
        self.ceiling: float | None = None
        self.says = FileSays()
        if len(files) < 2:
            raise VideoError(f"{path}: one frame only ({files[0].name}); a video needs at least 2")
        formats = [IMAGE_FORMATS[f.suffix.lower()] for f in files]
        self._refuse_odd(path, formats)
        read_header: Callable[[Path], _Header] = _tiff_header if formats[0] == "TIFF" else _image_header
        headers = []
        for file in files:
            try:
                headers.append(read_header(file))
            except VideoError:
                raise
            except Exception as error:  # a damaged image fails in any way its library likes
                raise VideoError(f"{file}: not a readable {IMAGE_FORMATS[file.suffix.lower()]} image ({type(error).__name__})") from None
        self._refuse_odd(path, headers)
        self.shape, self.dtype = headers[0].shape, headers[0].dtype
        self._read = read_single if formats[0] == "TIFF" else _read_image
        if formats[0] == "TIFF":
            layout, _, self.says = describe_single(files[0])
            self.inverted = layout.white is not None
        if (beside := read_beside(files)) is not None:
            self.says = merge(beside, self.says)

    def _refuse_odd(self, path: str, kinds: list[Any]) -> None:
        """Refuse the first file whose kind is not that of most."""
        counts = Counter(kinds)
        common = counts.most_common(1)[0][0]
        for file, kind in zip(self.files, kinds, strict=True):
            if kind != common:
                raise VideoError(f"{path}: {file.name} is {kind}, {counts[common]} other frames are {common}; a video needs frames alike")

    def read(self, frame: int) -> np.ndarray:
        """Return frame number `frame` as stored. Thread-safe."""
        file = self.files[frame]
        try:
            image = self._read(file)
        except Exception as error:  # as for headers; a damaged image must be told by its name
            raise VideoError(f"{file}: frame {frame} (the first is 0) cannot be decoded: {one_line(error)}") from None
        if image.shape != self.shape or image.dtype != self.dtype:
            raise VideoError(f"{file}: the file changed while it was read")
        return image

    def close(self) -> None:
        """Nothing stays open between frames."""


def _tiff_header(path: Path) -> _Header:
    layout, n_pages, _ = describe_single(path)
    if n_pages > 1:
        raise VideoError(f"{path}: a stack of {n_pages} frames among other files; give each stack as a video of its own")
    return _Header("TIFF", layout.shape, layout.dtype)


_MODES: dict[str, tuple[int, type[np.generic]]] = {
    "L": (1, np.uint8),
    "LA": (1, np.uint8),
    "I;16": (1, np.uint16),
    "I;16B": (1, np.uint16),
    "I": (1, np.int32),
    "F": (1, np.float32),
    "1": (1, np.bool_),
}
"""Samples and pixel type by Pillow's mode; every other mode is read as RGB."""


def _image_header(path: Path) -> _Header:
    from PIL import Image

    with Image.open(path) as image:
        samples, kind = _MODES.get(image.mode, (3, np.uint8))
        if samples == 3 and _png_type(path)[0] == 16:
            kind = np.uint16  # Pillow would cut it to 8 bits
        if kind is np.int32 and image.format == "PNG":
            kind = np.uint16  # Pillow widened it
        size = (image.height, image.width)
        return _Header(image.format or "image", size if samples == 1 else (*size, 3), np.dtype(kind))


def _read_image(path: Path) -> np.ndarray:
    from PIL import Image

    bits, colours = _png_type(path)
    if bits in (8, 16) and colours in (0, 2, 4, 6):  # twice as fast as Pillow, and all 16 bits of colours
        import imagecodecs

        pixels = np.asarray(imagecodecs.png_decode(path.read_bytes()))
        return pixels if pixels.ndim == 2 else pixels[..., :3] if colours in (2, 6) else pixels[..., 0]
    with Image.open(path) as image:
        if image.mode == "I" and image.format == "PNG":
            return np.array(image).astype(np.uint16)
        if image.mode == "LA":
            return np.array(image)[..., 0]
        if image.mode in _MODES:
            pixels = np.array(image)
            return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
        return np.array(image.convert("RGB"))


def _png_type(path: Path) -> tuple[int, int]:
    """Return bit depth and colour type (0 grey, 2 RGB, 3 palette, 4 and 6 with alpha) of a PNG; zeros for another file."""
    with path.open("rb") as file:
        head = file.read(26)
    return (head[24], head[25]) if head[:8] == b"\x89PNG\r\n\x1a\n" and len(head) == 26 else (0, 0)
