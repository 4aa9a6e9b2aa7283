"""Directories of a TIFF: the chain of them, and places of pixels that the library agrees with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from nta.directories import find_places, read_chain
from nta.tiff import TiffStack

FRAMES = np.random.default_rng(4).integers(0, 4000, (7, 12, 18)).astype(np.uint16)


def write(path: Path, pages: list[tuple[np.ndarray, dict[str, Any]]], **options: Any) -> None:
    with tifffile.TiffWriter(path, **options) as tif:
        for number, (page, how) in enumerate(pages):
            tif.write(page, metadata=None, description=f"page {number} " + "x" * number, **how)


@pytest.mark.parametrize("options", [{}, {"bigtiff": True}, {"byteorder": ">"}, {"byteorder": ">", "bigtiff": True}])
def test_pages_stored_alike_lie_where_the_library_says(tmp_path: Path, options: dict[str, Any]) -> None:
    path = tmp_path / "film.tif"
    write(path, [(frame, {}) for frame in FRAMES], **options)
    with tifffile.TiffFile(path) as tif:
        chain = read_chain(tif)
        places = find_places(tif, chain)
        assert places == [page.dataoffsets[0] for page in tif.pages]
        assert chain.offsets == [page.offset for page in tif.pages]
        assert chain.following == 0
    stack = TiffStack(path)
    assert all(np.array_equal(stack.read(i), frame) for i, frame in enumerate(FRAMES))
    stack.close()


@pytest.mark.parametrize(
    "how",
    [{"compression": "zlib"}, {"rowsperstrip": 5}, {"tile": (16, 16)}, {"photometric": "miniswhite"}, {"subfiletype": 1}],
    ids=lambda how: next(iter(how)),
)
def test_pages_stored_otherwise_have_no_place(tmp_path: Path, how: dict[str, Any]) -> None:
    path = tmp_path / "film.tif"
    write(path, [(frame, how if i == 3 else {}) for i, frame in enumerate(FRAMES)])
    with tifffile.TiffFile(path) as tif:
        assert find_places(tif, read_chain(tif)) is None


@pytest.mark.parametrize("other", [FRAMES[0].T.copy(), FRAMES[0].astype(np.int16), FRAMES[0].astype(np.uint32)])
def test_pages_of_another_shape_or_type_have_no_place(tmp_path: Path, other: np.ndarray) -> None:
    path = tmp_path / "film.tif"
    write(path, [(other if i == 3 else frame, {}) for i, frame in enumerate(FRAMES)])
    with tifffile.TiffFile(path) as tif:
        assert find_places(tif, read_chain(tif)) is None


def test_a_chain_that_is_cut_tells_where_it_would_go_on(tmp_path: Path) -> None:
    path = tmp_path / "film.tif"
    write(path, [(frame, {}) for frame in FRAMES])
    with tifffile.TiffFile(path) as tif:
        last = tif.pages[-1].offset
    path.write_bytes(path.read_bytes()[: last + 10])
    with tifffile.TiffFile(path) as tif:
        chain = read_chain(tif)
    assert len(chain.offsets) == len(FRAMES) - 1
    assert chain.following == last


def test_a_chain_that_bites_its_tail_ends_there(tmp_path: Path) -> None:
    path = tmp_path / "film.tif"
    write(path, [(frame, {}) for frame in FRAMES[:2]])
    with tifffile.TiffFile(path) as tif:
        first, second = (page.offset for page in tif.pages)
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tif:
        end = second + 2 + 12 * len(tif.pages[1].tags)
    data[end : end + 4] = first.to_bytes(4, "little")
    path.write_bytes(bytes(data))
    with tifffile.TiffFile(path) as tif:
        chain = read_chain(tif)
    assert (chain.offsets, chain.following) == ([first, second], 0)
