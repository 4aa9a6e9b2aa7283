"""TIFF file -> its frames as stored, one by one: plain, ImageJ, OME, BigTIFF; a file cut short gives the frames that are whole."""

from __future__ import annotations

import json
import logging
import struct
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np

from nta.directories import find_places, read_chain, read_pixels
from nta.errors import Notice, UsageError, VideoError
from nta.imagej import hear_imagej
from nta.metadata import FileSays, Listener, merge
from nta.micromanager import TAG, hear_micromanager, read_beside, tiff_records
from nta.ome import hear_ome

if TYPE_CHECKING:
    import tifffile

FEWEST_WHOLE_FRAMES = 20  # of a file cut short, for a size distribution to be worth anything
CHANNELS = "rgb"

Axes = list[tuple[str, int]]  # name and length of the axes beyond a page's own, slowest first; ``Q`` has no meaning but order

logging.getLogger("tifffile").addHandler(logging.NullHandler())  # its complaints become our errors and notices; stderr stays clean


@dataclass(frozen=True)
class Layout:
    """How a page stores its pixels.

    Attributes
    ----------
    shape : (height, width) or (height, width, samples) of what `arrange` returns
    dtype : its type, native byte order
    planar : samples lie in planes, not side by side
    palette : (n, 3) uint8 colours that pixels index, or None
    white : the value that means black where 0 means white, else None
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    planar: bool
    palette: np.ndarray | None
    white: int | None

    def arrange(self, raw: np.ndarray) -> np.ndarray:
        """Return a page's pixels with samples last, palette colours looked up, 0 as black, in native byte order."""
        if self.palette is not None:
            return np.asarray(self.palette[raw])
        if self.planar:
            raw = np.moveaxis(raw, 0, -1)
        raw = raw.astype(self.dtype, copy=False)
        return raw if self.white is None else np.asarray(self.dtype.type(self.white) - raw)


class TiffStack:
    """A TIFF as a sequence of frames; see `nta.container.Container` for the attributes.

    Parameters
    ----------
    path : file to open
    channel : ``r``, ``g`` or ``b``: the first, second or third channel of a stack with a channel axis; None: the first

    Raises
    ------
    VideoError
        When the file is no TIFF, is cut so short that fewer than 20 frames are whole, has one frame, or axes that leave time unknown.
    UsageError
        When it has fewer channels than `channel` asks for.
    """

    def __init__(self, path: Path, channel: str | None = None) -> None:
        self.path = path
        self.channel_used = False
        self.ceiling: float | None = None
        self.notices: tuple[Notice, ...] = ()
        self.files: tuple[Path, ...] = (path,)
        self._loss = "the file is cut short"
        self._series: tifffile.TiffPageSeries | None = None
        self._places: Sequence[int] | None = None  # where each plane's pixels begin, if all are stored alike, each in one piece
        self._lock = threading.RLock()
        self._tif = open_tiff(path)
        try:
            self._open(channel)
        except BaseException:
            self._tif.close()
            raise

    def _open(self, channel: str | None) -> None:
        tif = self._tif
        chain = read_chain(tif)
        offsets, following = chain.offsets, chain.following
        if not offsets:
            raise VideoError(f"{self.path}: the file is cut short: its page directory is missing; copy the file again")
        first = _first_page(tif, self.path)
        self._adopt(first)
        self.says = _says(tif)
        if TAG not in first.tags and (beside := read_beside([self.path])) is not None:
            self.says = merge(beside, self.says)

        cut = following != 0
        axes = _declared_axes(tif, first)
        total = _product(axes)
        if not cut and _is_mapped(tif) and self._is_whole(len(offsets) - 1) and (series := _longest_series(tif)) is not None:
            axes, whole = self._use_series(series)
            total = _product(axes)
        elif (block := self._planes_end_to_end(first, offsets, following, total)) is not None:
            whole, total = block
            self._places = _end_to_end(first.dataoffsets[0], first.nbytes, whole)
        else:
            whole = self._whole_pages(len(offsets))
            self._places = find_places(tif, chain) if first.is_final else None
            # a whole chain of pages is the truth, whatever its text says; of a cut one, the text alone knows the length
            total = len(offsets) if not cut else total if total >= len(offsets) else 0
        if _product(axes) != total:
            axes = [("Q", total or whole)]
        self._choose(axes, channel, whole, total > 0)

    def _adopt(self, page: tifffile.TiffPage) -> None:
        """Take `page` as the model of all."""
        self._layout = page_layout(page, self.path)
        self._key = (page.shape, np.dtype(page.dtype))
        self.shape, self.dtype, self.inverted = self._layout.shape, self._layout.dtype, self._layout.white is not None

    def _use_series(self, series: tifffile.TiffPageSeries) -> tuple[Axes, int]:
        """Read pages through the format's own map of them, which may span files; return axes and the number of leading whole planes."""
        if len(self._tif.series) > 1:
            text = f"the file holds {len(self._tif.series)} image series; the longest, of {len(series)} planes, is analysed"
            self.notices += (Notice("several_series", text),)
            self._adopt(series.keyframe)
        axes = _series_axes(series)
        if series.dataoffset is not None and not series.is_multifile:
            whole = (self._tif.filehandle.size - series.dataoffset) // series.keyframe.nbytes
            self._places = _end_to_end(series.dataoffset, series.keyframe.nbytes, whole)
            return axes, whole
        self._series = series
        if series.is_multifile:
            self.files = tuple(sorted({Path(page.parent.filehandle.path) for page in series if page is not None} | {self.path}))
        self._loss = "files of the set are missing"
        return axes, next((i for i, page in enumerate(series) if page is None), len(series))

    def _planes_end_to_end(self, first: tifffile.TiffPage, offsets: list[int], following: int, declared: int) -> tuple[int, int] | None:
        """Return how many planes are whole, and how many there should be, where planes lie end to end without a directory each.

        ImageJ writes more than 4 GB so, and a file whose directories came last and were cut off looks the same: what lies between the
        first plane and the next directory can only be more planes.
        """
        start, size = first.dataoffsets[0], first.nbytes
        if not first.is_final or not size or (following == 0 and declared < 2):
            return None
        after = offsets[1] if len(offsets) > 1 else following
        room = (after - start) // size if after else declared
        total = min(room, declared) if declared > 1 else room
        if total < 2 or total <= len(offsets):
            return None
        if len(offsets) > 1 and tuple(self._page(1).dataoffsets[:1]) != (start + size,):
            return None
        return min(total, max(0, (self._tif.filehandle.size - start) // size)), total

    def _whole_pages(self, n_pages: int) -> int:
        """Return how many of the pages, counted from the first, have all their data within the file."""
        if self._is_whole(n_pages - 1):
            return n_pages
        low, high = 0, n_pages - 1  # data lie in the order of pages, so the first one cut is found by halving
        while low < high:
            middle = (low + high) // 2
            low, high = (middle + 1, high) if self._is_whole(middle) else (low, middle)
        return low

    def _is_whole(self, index: int) -> bool:
        try:
            page = self._page(index)
        except Exception:  # a page directory cut in its middle fails in any way it likes
            return False
        if not page.dataoffsets or len(page.dataoffsets) != len(page.databytecounts):
            return False
        return bool(max(o + n for o, n in zip(page.dataoffsets, page.databytecounts, strict=True)) <= self._tif.filehandle.size)

    def _page(self, index: int) -> Any:
        """Return the directory of plane `index`; the caller holds the lock, or is alone."""
        return self._tif.pages.get(index) if self._series is None else self._series[index]

    def _choose(self, axes: Axes, channel: str | None, whole: int, total_known: bool) -> None:
        """Find time among the axes and fix the others: frame i is plane ``start + i * step``."""
        axes = [(name, size) for name, size in axes if size > 1]
        names = [name for name, _ in axes]
        shown = ", ".join(f"{name} {size}" for name, size in axes)
        self._start, self._step, total = 0, 1, 1
        if names == ["C"] and axes[0][1] < 5:
            raise VideoError(f"{self.path}: one frame only, in {axes[0][1]} channels; a video needs at least 2")
        if axes:
            time = next((name for name in "TQIRZC" if name in names), names[0])
            if names.count(time) > 1 or any(name not in (time, "C") for name in names):
                raise VideoError(f"{self.path}: cannot tell which axis is time (axes: {shown}); export a stack of one time series")
            strides = {name: _product(axes[i + 1 :]) for i, (name, _) in enumerate(axes)}
            self._step, total = strides[time], dict(axes)[time]
            if time in "ZC":
                word = {"Z": "depths", "C": "channels"}[time]
                text = f"the file calls its {total} frames {word} and has no time axis; they are read as time"
                self.notices += (Notice("axis_as_time", text),)
            if "C" in names and time != "C":
                self._start = strides["C"] * self._pick_channel(dict(axes)["C"], channel)
        self.n_frames = min(total, max(0, -(-(whole - self._start) // self._step)))
        if self.n_frames < total or not total_known:
            self._cut_short(total if total_known else None)
        if self.n_frames < 2:
            raise VideoError(f"{self.path}: one frame only; a video needs at least 2")

    def _pick_channel(self, n_channels: int, channel: str | None) -> int:
        self.channel_used = True
        if channel is None:
            text = f"the video has {n_channels} channels; the first is analysed; --channel r, g or b picks the first, second or third"
            self.notices += (Notice("channels", text),)
            return 0
        if CHANNELS.index(channel) >= n_channels:
            raise UsageError(f"--channel {channel}: {self.path} has {n_channels} channels; r picks the first, g the second")
        return CHANNELS.index(channel)

    def _cut_short(self, total: int | None) -> None:
        count = f"{self.n_frames} of {total}" if total else f"the first {self.n_frames}"
        if self.n_frames < FEWEST_WHOLE_FRAMES:
            why = f"at least {FEWEST_WHOLE_FRAMES} are needed; copy the file again"
            raise VideoError(f"{self.path}: {self._loss}: {count} frames are whole, {why}")
        rest = "only the directory behind them is missing" if self.n_frames == total else "the rest is missing and left out"
        self.notices += (Notice("truncated", f"{self._loss}: {count} frames are whole; {rest}"),)

    def read(self, frame: int) -> np.ndarray:
        """Return frame number `frame` as stored: (height, width) or (height, width, samples), native byte order. Thread-safe."""
        index = self._start + frame * self._step
        if self._places is not None:
            return self._layout.arrange(read_pixels(self._tif, self._lock, self._places[index], *self._key))
        if self._series is not None and self._series.is_multifile:
            with self._lock:  # a set's files are opened in turn, so that a large set does not use up the system's handles
                page = self._page(index)
                handle = page.parent.filehandle
                handle.open()
                try:
                    return self._layout.arrange(page.asarray(maxworkers=1))
                finally:
                    if page.parent is not self._tif:
                        handle.close()
        with self._lock:
            page = self._page(index)
        if (page.shape, page.dtype) != self._key:
            raise ValueError(f"it is {_describe(page.shape, page.dtype)}, the first frame is {_describe(*self._key)}")
        return self._layout.arrange(page.asarray(lock=self._lock, maxworkers=1))

    def close(self) -> None:
        """Close the file."""
        self._tif.close()


def _end_to_end(start: int, size: int, n: int) -> range:
    """Return where `n` planes of `size` bytes begin that lie end to end."""
    return range(start, start + n * size, size)


def open_tiff(path: Path) -> tifffile.TiffFile:
    """Open a TIFF, or raise a `VideoError` of one line."""
    import tifffile

    try:
        return tifffile.TiffFile(path)
    except OSError:
        raise
    except Exception as error:  # a damaged header fails in any way it likes
        with path.open("rb") as file:
            is_tiff = file.read(4) in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
        why = f"not a readable TIFF file ({one_line(error)})" if is_tiff else "not a TIFF file, nor another video that can be read"
        raise VideoError(f"{path}: {why}; give a TIFF stack, or a folder of PNG, JPEG, BMP or TIFF frames") from None


def one_line(error: Exception) -> str:
    """Return what a library's error says, in one short line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:120]


def read_single(path: Path) -> np.ndarray:
    """Return the first page of a TIFF as `Layout.arrange` gives it."""
    with open_tiff(path) as tif:
        page = _first_page(tif, path)
        return page_layout(page, path).arrange(page.asarray(maxworkers=1))


def describe_single(path: Path) -> tuple[Layout, int, FileSays]:
    """Return a TIFF's layout, number of pages, and what it states; reads no pixels."""
    with open_tiff(path) as tif:
        return page_layout(_first_page(tif, path), path), len(tif.pages), _says(tif)


def page_layout(page: tifffile.TiffPage, path: Path) -> Layout:
    """Return how `page`, the first of a file, stores its pixels."""
    if page.axes not in ("YX", "YXS", "SYX") or page.dtype is None:
        raise VideoError(f"{path}: pages of axes {page.axes} and pixel type {page.dtype} are not frames of a video")
    dtype = np.dtype(page.dtype).newbyteorder("=")
    # in ImageJ's and OME's files a palette is but a way to look at grey levels
    if page.photometric == 3 and page.colormap is not None and not (page.is_imagej or page.is_ome):
        colours = np.asarray(page.colormap, np.int64)
        colours = colours >> 8 if colours.max(initial=0) > 255 else colours
        return Layout((*page.shape, 3), np.dtype(np.uint8), False, np.ascontiguousarray(colours.T.astype(np.uint8)), None)
    white = 2**page.bitspersample - 1 if page.photometric == 0 and dtype.kind == "u" else None
    planar = page.axes == "SYX"
    return Layout((*page.shape[1:], page.shape[0]) if planar else page.shape, dtype, planar, None, white)


def _first_page(tif: tifffile.TiffFile, path: Path) -> tifffile.TiffPage:
    try:
        page = tif.pages.first
        if page.dataoffsets and page.shape:
            return page
    except Exception:  # as in `open_tiff`
        pass
    raise VideoError(f"{path}: not a readable TIFF file (its first page is damaged)")


def _says(tif: tifffile.TiffFile) -> FileSays:
    """Return what the file states: Micro-Manager's record, made while it was written, is heard before OME, the stricter text of the two."""
    page = tif.pages.first
    heard = Listener()
    try:
        if TAG in page.tags:
            hear_micromanager(heard, *tiff_records(tif))
        if tif.is_ome and (xml := tif.ome_metadata):
            hear_ome(heard, xml)
        if tif.is_imagej and (meta := tif.imagej_metadata):
            hear_imagej(heard, meta, (page.tags.valueof("XResolution"), page.tags.valueof("YResolution")))
    except (KeyError, ValueError, TypeError, struct.error):
        pass  # a text cut or garbled states no more; the pixels may be sound
    # packed pixels, 12 bits each, tell the camera's depth for certain
    return replace(heard.says(), bit_depth=page.bitspersample) if page.bitspersample % 8 else heard.says()


def _declared_axes(tif: tifffile.TiffFile, first: tifffile.TiffPage) -> Axes:
    """Return the axes beyond a page that the file's own text declares; empty where it declares none."""
    try:
        if tif.is_ome and tif.ome_metadata:
            pixels = next(e for e in ElementTree.fromstring(tif.ome_metadata).iter() if e.tag.endswith("}Pixels"))
            sizes = {axis: int(pixels.attrib[f"Size{axis}"]) for axis in "TZC"}
            sizes["C"] //= first.samplesperpixel
            return [(axis, sizes[axis]) for axis in pixels.attrib["DimensionOrder"][:1:-1]]
        if tif.is_imagej and (meta := tif.imagej_metadata):
            sizes = {"T": int(meta.get("frames", 1)), "Z": int(meta.get("slices", 1)), "C": int(meta.get("channels", 1))}
            if sizes["C"] == first.samplesperpixel:
                sizes["C"] = 1
            # a stack that is no hyperstack has frames without a meaning, though ImageJ counts them as slices
            if not meta.get("hyperstack") or _product(list(sizes.items())) == 1:
                return [("Q", int(meta.get("images", 1)))]
            order = str(meta.get("order", "czt")).upper().replace("DEFAULT", "CZT")[::-1]
            return [(axis, sizes[axis]) for axis in order]
        if first.shaped_description:
            text = json.loads(first.shaped_description)
            shape = [int(n) for n in text["shape"]]
            return _leading(str(text.get("axes", "")).ljust(len(shape), "Q"), shape, first.shape)
    except (KeyError, ValueError, TypeError, StopIteration, ElementTree.ParseError):
        pass  # a text that is cut or wrong declares nothing
    return []


def _leading(names: str, shape: list[int], page_shape: tuple[int, ...]) -> Axes:
    """Return the axes of an array of `shape` that lie beyond its pages; one without a meaning where they do not fit."""
    n_planes = int(np.prod(shape, dtype=np.int64)) // int(np.prod(page_shape))
    axes = list(zip(names, shape, strict=False))[:-2]
    while axes and _product(axes) > n_planes:
        axes = axes[:-1]
    return axes if _product(axes) == n_planes else [("Q", n_planes)]


def _is_mapped(tif: tifffile.TiffFile) -> bool:
    """Tell whether the file's format has its own map of pages, or files, to frames."""
    return any(getattr(tif, f"is_{kind}") for kind in ("ome", "mmstack", "lsm", "stk", "ndtiff", "fluoview", "nih"))


def _longest_series(tif: tifffile.TiffFile) -> tifffile.TiffPageSeries | None:
    try:
        return max(tif.series, key=len, default=None)
    except Exception:  # a map that leads nowhere: the pages themselves are read instead
        return None


def _series_axes(series: tifffile.TiffPageSeries) -> Axes:
    axes = _leading(series.get_axes(squeeze=False), list(series.get_shape(squeeze=False)), series.keyframe.shape)
    return axes if _product(axes) == len(series) or series.dataoffset is not None else [("Q", len(series))]


def _product(axes: Axes) -> int:
    return int(np.prod([size for _, size in axes], dtype=np.int64))


def _describe(shape: tuple[int, ...], dtype: object) -> str:
    return f"{shape[1]} x {shape[0]} px of {dtype}" if len(shape) == 2 else f"{' x '.join(map(str, shape))} of {dtype}"
