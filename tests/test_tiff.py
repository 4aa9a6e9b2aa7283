"""TIFF stacks of every kind, whole, cut short and corrupt: the frames that come out are those that went in."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from nta.errors import UsageError, VideoError
from nta.settings import Settings
from nta.video import Video, open_video

SETTINGS = Settings().with_options(pixel_size_um=0.166, fps=25)


def noise(n: int = 60, height: int = 40, width: int = 48, dtype: Any = np.uint8, high: int = 200) -> np.ndarray:
    """Frames no two of which are alike."""
    return np.random.default_rng(0).integers(0, high, (n, height, width)).astype(dtype)


def frames_of(video: Video) -> np.ndarray:
    return np.stack([video.read(i) for i in range(video.n_frames)])


def codes(video: Video) -> set[str]:
    return {notice.code for notice in video.notices}


def one_by_one(path: Path, frames: np.ndarray, **options: Any) -> None:
    with tifffile.TiffWriter(path) as writer:
        for frame in frames:
            writer.write(frame, contiguous=False, **options)


def by_pillow(path: Path, frames: np.ndarray) -> None:
    images = [Image.fromarray(frame) for frame in frames]
    images[0].save(path, save_all=True, append_images=images[1:])


def single_directory(path: Path, frames: np.ndarray) -> None:
    """Write what ImageJ writes beyond 4 GB: one page directory, all frames behind it."""
    tifffile.imwrite(path, frames, imagej=True, metadata={"axes": "TYX"})
    with tifffile.TiffFile(path) as tif:
        page = tif.pages.first
        start, first_directory, n_tags = page.dataoffsets[0], page.offset, len(page.tags)
    data = bytearray(path.read_bytes()[: start + frames.nbytes])
    data[first_directory + 2 + 12 * n_tags :][:4] = b""
    struct.pack_into("<I", data, first_directory + 2 + 12 * n_tags, 0)
    path.write_bytes(data)


def write(**options: Any) -> Callable[[Path, np.ndarray], None]:
    options = {"photometric": "minisblack"} | options
    return lambda path, frames: tifffile.imwrite(path, frames, **options)


WRITERS: dict[str, Callable[[Path, np.ndarray], None]] = {
    "plain": write(),
    "plain without text": write(metadata=None),
    "big-endian": write(byteorder=">"),
    "bigtiff": write(bigtiff=True),
    "bigtiff deflate": write(bigtiff=True, compression="zlib"),
    "deflate": write(compression="zlib"),
    "deflate predictor": write(compression="zlib", predictor=True),
    "lzw": write(compression="lzw"),
    "zstd": write(compression="zstd"),
    "packbits": write(compression="packbits"),
    "short strips": write(rowsperstrip=7),
    "tiles": write(tile=(16, 16)),
    "imagej": write(imagej=True, metadata={"axes": "TYX"}),
    "imagej deflate": write(imagej=True, metadata={"axes": "TYX"}, compression="zlib"),
    "imagej, one directory": single_directory,
    "ome": write(ome=True, metadata={"axes": "TYX"}),
    "ome deflate": write(ome=True, metadata={"axes": "TYX"}, compression="zlib"),
    "frame by frame": one_by_one,
    "frame by frame, no text": lambda p, f: one_by_one(p, f, metadata=None),
    "pillow": by_pillow,
}


@pytest.mark.parametrize("kind", WRITERS)
def test_every_kind_gives_the_frames_back(tmp_path: Path, kind: str) -> None:
    frames = noise(dtype=np.uint16)
    path = tmp_path / "s.tif"
    WRITERS[kind](path, frames)
    with open_video(path, SETTINGS) as video:
        assert (video.n_frames, video.height, video.width, video.dtype) == (60, 40, 48, "uint16")
        assert frames_of(video).dtype == np.uint16
        np.testing.assert_array_equal(frames_of(video), frames)
        assert video.read(3).flags.c_contiguous
        assert video.read(3).dtype.isnative
        assert video.notices == ()


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("share", [0.999, 0.5])
def test_a_file_cut_short_gives_its_whole_frames(tmp_path: Path, kind: str, share: float) -> None:
    frames = noise()
    path = tmp_path / "s.tif"
    WRITERS[kind](path, frames)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with open_video(path, SETTINGS) as video:
        # directories and texts are a small part of the file, so the frames left are about that share of all
        assert 60 * share - 6 <= video.n_frames <= min(60, 60 * share + 6)
        np.testing.assert_array_equal(frames_of(video), frames[: video.n_frames])
        if not video.notices:  # what was cut off was a text or a tag that no frame needs
            assert share == 0.999
            assert video.n_frames == 60
            return
        (notice,) = video.notices
        assert notice.code == "truncated"
        assert f"{video.n_frames}" in notice.message
        assert "frames are whole" in notice.message
        if kind in ("plain", "deflate", "imagej", "imagej, one directory", "bigtiff", "bigtiff deflate"):
            assert f"{video.n_frames} of 60 frames are whole" in notice.message


@pytest.mark.parametrize("kind", WRITERS)
def test_a_file_cut_below_twenty_frames_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "s.tif"
    WRITERS[kind](path, noise())
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 5])
    with pytest.raises(VideoError, match=r"s\.tif: the file is cut short: .* frames are whole, at least 20 are needed") as error:
        open_video(path, SETTINGS)
    assert error.value.exit_code == 1


def test_twenty_whole_frames_are_enough_and_nineteen_are_not(tmp_path: Path) -> None:
    path = tmp_path / "s.tif"
    frames = noise()
    tifffile.imwrite(path, frames, photometric="minisblack")
    with tifffile.TiffFile(path) as tif:
        start = tif.pages.first.dataoffsets[0]
    whole = path.read_bytes()
    path.write_bytes(whole[: start + 20 * frames[0].nbytes])
    with open_video(path, SETTINGS) as video:
        assert video.n_frames == 20
    path.write_bytes(whole[: start + 20 * frames[0].nbytes - 1])
    with pytest.raises(VideoError, match="19 of 60 frames are whole"):
        open_video(path, SETTINGS)


def test_directories_first_data_behind(tmp_path: Path) -> None:
    """Some writers put all directories first: the chain is whole, the data are cut."""
    frames = noise(30)
    path = tmp_path / "s.tif"
    n, size, each = 30, frames[0].nbytes, 2 + 8 * 12 + 4
    header = b"II*\0" + struct.pack("<I", 8)
    data = 8 + n * each
    directories = b""
    for i in range(n):
        tags = [(256, 48), (257, 40), (258, 8), (259, 1), (262, 1), (273, data + i * size), (278, 40), (279, size)]
        directories += struct.pack("<H", 8) + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
        directories += struct.pack("<I", 8 + (i + 1) * each if i + 1 < n else 0)
    path.write_bytes((header + directories + frames.tobytes())[: data + 25 * size + 5])
    with open_video(path, SETTINGS) as video:
        assert video.n_frames == 25
        np.testing.assert_array_equal(frames_of(video), frames[:25])
        assert "25 of 30 frames are whole" in video.notices[0].message
    path.write_bytes(header + directories + frames.tobytes())
    with open_video(path, SETTINGS) as video:
        assert video.n_frames == 30
        assert video.notices == ()


def test_beyond_four_gigabytes_in_one_directory(tmp_path: Path) -> None:
    """A sparse file: opening it and reading its last frame must not read the rest."""
    path, n, side = tmp_path / "huge.tif", 2200, 1024
    single_directory(path, np.zeros((3, side, side), np.uint16))
    with tifffile.TiffFile(path) as tif:
        start = tif.pages.first.dataoffsets[0]
    text = path.read_bytes().replace(b"images=3\n", b"images=2200\n", 1).replace(b"frames=3\n", b"frames=2200\n", 1)
    path.write_bytes(text[:start])  # the text grew into the padding; the data offset stays
    last = noise(1, side, side, np.uint16, 4000)[0]
    with path.open("r+b") as file:
        file.seek(start + (n - 1) * last.nbytes)
        file.write(last.tobytes())
    if path.stat().st_blocks * 512 > 2**30:
        pytest.skip("no sparse files here")
    assert path.stat().st_size > 2**32
    with open_video(path, SETTINGS) as video:
        assert video.n_frames == n
        assert video.ceiling == 4095
        np.testing.assert_array_equal(video.read(n - 1), last)
        assert not video.read(5).any()
    os.truncate(path, start + 2100 * last.nbytes + 7)
    with open_video(path, SETTINGS) as video:
        assert video.n_frames == 2100
        assert "2100 of 2200 frames are whole" in video.notices[0].message


@pytest.mark.parametrize("compression", ["zlib", "lzw", "zstd", "packbits"])
def test_a_corrupt_frame_is_named(tmp_path: Path, compression: str) -> None:
    frames = noise()
    path = tmp_path / "s.tif"
    tifffile.imwrite(path, frames, photometric="minisblack", compression=compression)
    with tifffile.TiffFile(path) as tif:
        offset, size = tif.pages[31].dataoffsets[0], tif.pages[31].databytecounts[0]
    data = bytearray(path.read_bytes())
    data[offset : offset + size] = bytes(size)
    path.write_bytes(data)
    with open_video(path, SETTINGS) as video:
        assert video.n_frames == 60
        np.testing.assert_array_equal(video.read(30), frames[30])
        np.testing.assert_array_equal(video.read(32), frames[32])
        with pytest.raises(VideoError, match=r"s\.tif: frame 31 \(the first is 0\) cannot be decoded") as error:
            video.read(31)
        assert "\n" not in str(error.value)


def test_an_odd_page_is_named_when_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "odd.tif"
    with tifffile.TiffWriter(path) as writer:
        for i, frame in enumerate(noise()):
            writer.write(frame if i != 31 else frame[:30], contiguous=False, metadata=None)
    with (
        open_video(path, SETTINGS) as video,
        pytest.raises(VideoError, match=r"frame 31 .* it is 48 x 30 px of uint8, the first frame is 48 x 40"),
    ):
        video.read(31)


@pytest.mark.parametrize(("axes", "word"), [("ZYX", "depths"), ("CYX", "channels")])
@pytest.mark.parametrize("kind", ["imagej", "ome"])
def test_a_long_axis_without_time_is_time(tmp_path: Path, axes: str, word: str, kind: str) -> None:
    frames = noise(24)
    path = tmp_path / "s.tif"
    tifffile.imwrite(path, frames, photometric="minisblack", metadata={"axes": axes}, **{kind: True})
    with open_video(path, SETTINGS) as video:
        np.testing.assert_array_equal(frames_of(video), frames)
        (notice,) = video.notices
        assert notice.code == "axis_as_time"
        assert f"24 frames {word}" in notice.message


def test_an_imagej_stack_that_is_no_hyperstack_is_a_plain_video(tmp_path: Path) -> None:
    frames = noise(24)
    tifffile.imwrite(tmp_path / "s.tif", frames, description="ImageJ=1.53t\nimages=24\nslices=24\nloop=false\n", metadata=None)
    with open_video(tmp_path / "s.tif", SETTINGS) as video:
        np.testing.assert_array_equal(frames_of(video), frames)
        assert video.notices == ()


@pytest.mark.parametrize(("kind", "place"), [("imagej", 1), ("ome", 1), ("ome", 0)])  # ImageJ knows one order
def test_channels_beside_time(tmp_path: Path, kind: str, place: int) -> None:
    axes, stack = ("TCYX", noise(60).reshape(30, 2, 40, 48)) if place else ("CTYX", noise(60).reshape(2, 30, 40, 48))
    path = tmp_path / "s.tif"
    tifffile.imwrite(path, stack, photometric="minisblack", metadata={"axes": axes}, **{kind: True})
    with open_video(path, SETTINGS) as video:
        np.testing.assert_array_equal(frames_of(video), stack.take(0, place))
        assert codes(video) == {"channels"}
        assert "2 channels; the first" in video.notices[0].message
    for channel, index in (("r", 0), ("g", 1)):
        with open_video(path, SETTINGS.with_options(channel=channel)) as video:
            np.testing.assert_array_equal(frames_of(video), stack.take(index, place))
            assert video.notices == ()
    with pytest.raises(UsageError, match=r"--channel b: .* has 2 channels"):
        open_video(path, SETTINGS.with_options(channel="b"))


def test_channels_of_a_file_cut_short(tmp_path: Path) -> None:
    stack = noise(120).reshape(60, 2, 40, 48)
    path = tmp_path / "s.tif"
    tifffile.imwrite(path, stack, imagej=True, metadata={"axes": "TCYX"})
    whole = path.read_bytes()
    with tifffile.TiffFile(path) as tif:
        start = tif.pages.first.dataoffsets[0]
    path.write_bytes(whole[: start + 61 * 40 * 48])  # 30 time points, and the first channel of one more
    for channel, n in (("r", 31), ("g", 30)):
        with open_video(path, SETTINGS.with_options(channel=channel)) as video:
            np.testing.assert_array_equal(frames_of(video), stack[:n, "rg".index(channel)])
            assert f"{n} of 60 frames are whole" in video.notices[0].message


@pytest.mark.parametrize("n", [2, 3, 4])
def test_channels_alone_are_one_frame(tmp_path: Path, n: int) -> None:
    tifffile.imwrite(tmp_path / "s.tif", noise(n), imagej=True, metadata={"axes": "CYX"})
    with pytest.raises(VideoError, match=f"one frame only, in {n} channels"):
        open_video(tmp_path / "s.tif", SETTINGS)


def test_time_and_depth_together_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "s.tif", noise(60).reshape(20, 3, 40, 48), imagej=True, metadata={"axes": "TZYX"})
    with pytest.raises(VideoError, match=r"cannot tell which axis is time \(axes: T 20, Z 3\)"):
        open_video(tmp_path / "s.tif", SETTINGS)
    tifffile.imwrite(tmp_path / "q.tif", noise(60).reshape(20, 3, 40, 48), photometric="minisblack")
    with pytest.raises(VideoError, match=r"cannot tell which axis is time \(axes: Q 20, Q 3\)"):
        open_video(tmp_path / "q.tif", SETTINGS)


def test_ome_over_several_files(tmp_path: Path) -> None:
    frames = noise(40)
    names = ["part one.ome.tif", "part two.ome.tif"]
    for k, name in enumerate(names):
        tiff_data = "".join(
            f'<TiffData FirstT="{20 * j}" FirstC="0" FirstZ="0" IFD="0" PlaneCount="20">'
            f'<UUID FileName="{other}">urn:uuid:{j}</UUID></TiffData>'
            for j, other in enumerate(names)
        )
        xml = (
            '<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
            f'UUID="urn:uuid:{k}"><Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8" SizeX="48" SizeY="40" '
            f'SizeC="1" SizeZ="1" SizeT="40"><Channel ID="Channel:0:0" SamplesPerPixel="1"/>{tiff_data}</Pixels></Image></OME>'
        )
        part = frames[20 * k : 20 * k + 20]
        tifffile.imwrite(tmp_path / name, part, photometric="minisblack", description=xml, metadata=None, compression="zlib" if k else None)
    with open_video(tmp_path / names[0], SETTINGS) as video:
        assert video.n_frames == 40
        assert video.name == "part one"
        np.testing.assert_array_equal(frames_of(video), frames)
        with ThreadPoolExecutor(4) as pool:
            np.testing.assert_array_equal(np.stack(list(pool.map(video.read, range(40)))), frames)
        both = video.sha256()
    (tmp_path / names[1]).unlink()
    with open_video(tmp_path / names[0], SETTINGS) as video:
        np.testing.assert_array_equal(frames_of(video), frames[:20])
        assert codes(video) == {"truncated"}
        assert "files of the set are missing: 20 of 40 frames are whole" in video.notices[0].message
        assert video.sha256() != both


def test_two_series_give_the_longer_one(tmp_path: Path) -> None:
    frames = noise(30)
    with tifffile.TiffWriter(tmp_path / "s.ome.tif", ome=True) as writer:
        writer.write(noise(3, 20, 20), metadata={"axes": "TYX"}, photometric="minisblack")
        writer.write(frames, metadata={"axes": "TYX"}, photometric="minisblack")
    with open_video(tmp_path / "s.ome.tif", SETTINGS) as video:
        np.testing.assert_array_equal(frames_of(video), frames)
        assert codes(video) == {"several_series"}


def test_palettes_are_looked_up_except_imagejs(tmp_path: Path) -> None:
    frames = noise(30, high=256)
    palette = np.stack([np.arange(256)[::-1] * 257] * 3).astype(np.uint16)
    tifffile.imwrite(tmp_path / "grey.tif", frames, photometric="palette", colormap=palette, metadata=None)
    with open_video(tmp_path / "grey.tif", SETTINGS) as video:
        np.testing.assert_array_equal(frames_of(video), 255 - frames)
        assert video.notices == ()
        assert video.ceiling == 255
    green = np.zeros_like(palette)
    green[1] = np.arange(256) * 257
    tifffile.imwrite(tmp_path / "ij.tif", frames, imagej=True, colormap=green, metadata={"axes": "TYX"})
    with open_video(tmp_path / "ij.tif", SETTINGS) as video:
        np.testing.assert_array_equal(frames_of(video), frames)
        assert "colour" not in codes(video)


def test_zero_as_white_is_turned_round(tmp_path: Path) -> None:
    frames = noise(30, dtype=np.uint16)
    tifffile.imwrite(tmp_path / "s.tif", frames, photometric="miniswhite")
    with open_video(tmp_path / "s.tif", SETTINGS) as video:
        np.testing.assert_array_equal(frames_of(video), 65535 - frames)
        assert video.ceiling is None


def test_library_messages_stay_off_stderr(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "s.tif"
    tifffile.imwrite(path, noise(), photometric="minisblack", ome=True)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    open_video(path, SETTINGS).close()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"these are my notes\n" * 99, "not a TIFF file, nor another video that can be read"),
        (b"II*\0", "not a readable TIFF file"),
        (b"II*\0\x08\0\0\0", "the file is cut short: its page directory is missing"),
        (b"II*\0\0\0\x01\0" + bytes(300), "the file is cut short: its page directory is missing"),
        (b"II*\0\x08\0\0\0" + b"\x09\0" + b"\xff" * 400, "not a readable TIFF file|cut short"),
        (b"MM\0*" + bytes(range(256)) * 3, "not a readable TIFF file|cut short"),
    ],
)
def test_what_is_no_tiff_is_refused_in_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "s 1.tif"
    path.write_bytes(content)
    with pytest.raises(VideoError, match=message) as error:
        open_video(path, SETTINGS)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


def test_any_cut_is_an_answer_never_a_crash(tmp_path: Path) -> None:
    frames = noise(24, 32, 32)
    path = tmp_path / "s.tif"
    refused = []
    for kind in ("deflate", "imagej", "ome deflate", "bigtiff"):
        WRITERS[kind](path, frames)
        whole = path.read_bytes()
        for n in [*range(0, 400, 37), *range(len(whole) * 3 // 4, len(whole), 997)]:
            path.write_bytes(whole[:n])
            try:
                with open_video(path, SETTINGS) as video:
                    np.testing.assert_array_equal(frames_of(video), frames[: video.n_frames])
                    assert video.n_frames == 24 or (20 <= video.n_frames < 24 and codes(video) == {"truncated"})
            except VideoError as error:
                refused.append(str(error))
    assert refused
    assert not any("\n" in line for line in refused)


def test_one_frame_is_no_video(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "s.tif", noise(1)[0])
    with pytest.raises(VideoError, match="one frame only; a video needs at least 2"):
        open_video(tmp_path / "s.tif", Settings())  # told before the missing pixel size
