"""TIFF -> its chain of page directories; where the pixels of each page begin, if that is all that differs between them; those pixels."""

from __future__ import annotations

import math
import os
import struct
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import tifffile

MOST_TAGS = 4096  # in a directory; more are no directory
STRIPS = 273  # the tag that says where pixels begin
LAYOUT = (254, 255, 256, 257, 258, 259, 262, 266, 277, 278, 279, 284, 317, 322, 323, 324, 325, 338, 339)
"""Tags that say how pixels are stored (TIFF 6.0): kind of page, size, bits, compression, fill order, strips, tiles, predictor, samples."""
WHOLE = {4: "I", 16: "Q"}  # types of tag that hold an offset


@dataclass(frozen=True)
class Chain:
    """The page directories that lie wholly in a file.

    Attributes
    ----------
    offsets : where each begins
    entries : the tags of each, as stored
    following : where the chain leads from the last one, 0 at its end
    """

    offsets: list[int]
    entries: list[bytes]
    following: int


def read_chain(tif: tifffile.TiffFile) -> Chain:
    """Read all directories of a file, as far as they are whole; pixels are not looked at."""
    tiff, handle, size = tif.tiff, tif.filehandle, tif.filehandle.size
    entries: dict[int, bytes] = {}

    def read(offset: int, n: int) -> bytes:
        handle.seek(offset)
        return bytes(handle.read(n))

    (offset,) = struct.unpack(tiff.offsetformat, read(8 if tiff.is_bigtiff else 4, tiff.offsetsize))
    while offset and offset not in entries and offset + tiff.tagnosize <= size:
        (n_tags,) = struct.unpack(tiff.tagnoformat, read(offset, tiff.tagnosize))
        length = n_tags * tiff.tagsize
        if n_tags > MOST_TAGS or offset + tiff.tagnosize + length + tiff.offsetsize > size:
            break
        tags = read(offset + tiff.tagnosize, length + tiff.offsetsize)
        entries[offset] = tags[:length]
        (offset,) = struct.unpack(tiff.offsetformat, tags[length:])
    return Chain(list(entries), list(entries.values()), 0 if offset in entries else offset)


def find_places(tif: tifffile.TiffFile, chain: Chain) -> list[int] | None:
    """Return where the pixels of each page begin; None unless each lies in one piece, stored as the first page's are."""
    order, wide = tif.byteorder, tif.tiff.is_bigtiff
    entry = struct.Struct(f"{order}HH{'Q8s' if wide else 'I4s'}")
    places, model = [], None
    for raw in chain.entries:
        place, layout = None, []
        for tag in entry.iter_unpack(raw):
            code, kind, count, value = tag
            if code == STRIPS and count == 1 and kind in WHOLE:
                (place,) = struct.unpack_from(order + WHOLE[kind], value)
            elif code in LAYOUT:
                layout.append(tag)
        model = model or layout
        if place is None or layout != model:
            return None
        places.append(place)
    return places


def read_pixels(
    tif: tifffile.TiffFile, lock: AbstractContextManager[Any], place: int, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> np.ndarray:
    """Return the pixels of a page from `place` on, in the file's byte order; no thread waits for another where the system allows."""
    stored = dtype.newbyteorder(tif.byteorder)
    if not hasattr(os, "preadv"):  # not on every system
        with lock:
            return np.asarray(tif.filehandle.read_array(stored, math.prod(shape), place)).reshape(shape)
    pixels = np.empty(shape, stored)
    read = os.preadv(tif.filehandle.fileno(), [pixels.reshape(-1).view(np.uint8).data], place)
    if read < pixels.nbytes:
        raise OSError(f"it ends after {read} of {pixels.nbytes} bytes")
    return pixels
