"""Videos as the other stages see them: grey frames, lazily, within the region and frames chosen, and what is told beside."""

from __future__ import annotations

import hashlib
import subprocess
import sys
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
DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def noise(n: int = 24, height: int = 40, width: int = 48, dtype: Any = np.uint8, high: int = 200) -> np.ndarray:
    return np.random.default_rng(0).integers(0, high, (n, height, width)).astype(dtype)


def stack(folder: Path, frames: np.ndarray, **options: Any) -> Path:
    path = folder / "s.tif"
    tifffile.imwrite(path, frames, photometric="rgb" if frames.ndim == 4 else "minisblack", **options)
    return path


def frames_of(video: Video) -> np.ndarray:
    return np.stack([video.read(i) for i in range(video.n_frames)])


def open_all(path: Path, **options: Any) -> tuple[np.ndarray, Video]:
    with open_video(path, SETTINGS.with_options(**options)) as video:
        return frames_of(video), video


def codes(video: Video) -> list[str]:
    return [notice.code for notice in video.notices]


def test_missing_pixel_size_and_frame_rate(tmp_path: Path) -> None:
    path = stack(tmp_path, noise())
    for options, message in (
        ({"fps": 25}, "the file does not say its pixel size; give --pixel-size-um (for example --pixel-size-um 0.166)"),
        ({"pixel_size_um": 0.2}, "the file does not say its frame rate; give --fps (for example --fps 25)"),
        (
            {},
            "the file says neither its pixel size nor its frame rate; give --pixel-size-um and --fps "
            "(for example --pixel-size-um 0.166 --fps 25)",
        ),
    ):
        with pytest.raises(UsageError, match=r"s\.tif: the file ") as error:
            open_video(path, Settings().with_options(**options))
        assert str(error.value) == f"{path}: {message}"
        assert error.value.exit_code == 2


def test_names_and_path(tmp_path: Path) -> None:
    folder = tmp_path / "día 1 µ"
    folder.mkdir()
    path = folder / "probe 1 – α.ome.tif"
    tifffile.imwrite(path, noise(), photometric="minisblack")
    read, video = open_all(path)
    np.testing.assert_array_equal(read, noise())
    assert (video.name, video.path) == ("probe 1 – α", str(path))


@pytest.mark.parametrize(
    ("dtype", "high", "ceiling"),
    [
        (np.uint8, 256, 255),
        (np.uint8, 100, 255),
        (np.int8, 100, 127),
        (np.uint16, 900, 4095),
        (np.uint16, 1024, 1023),
        (np.uint16, 3000, 4095),
        (np.uint16, 4096, 4095),
        (np.uint16, 4097, 65535),
        (np.uint16, 9000, 65535),
        (np.uint16, 16384, 16383),
        (np.uint16, 65536, 65535),
        (np.int16, 3000, 4095),
        (np.int16, 30000, 32767),
        (np.uint32, 10**6, None),
        (np.int32, 10**6, None),
        (np.float32, 4000, None),
    ],
)
@pytest.mark.parametrize("order", ["<", ">"])
def test_pixel_types_and_ceilings(tmp_path: Path, dtype: type, high: int, ceiling: float | None, order: Any) -> None:
    frames = noise(dtype=dtype, high=high)
    frames[[0, -1], 0, 0] = high - 1  # where the first look is sure to see it
    read, video = open_all(stack(tmp_path, frames, byteorder=order))
    np.testing.assert_array_equal(read, frames)
    assert read.dtype == dtype == video.frame_dtype
    assert read.dtype.isnative
    assert (video.dtype, video.ceiling, video.notices) == (str(np.dtype(dtype)), ceiling, ())


def test_negative_pixels_stay(tmp_path: Path) -> None:
    frames = noise(dtype=np.int16) - np.int16(100)
    read, _ = open_all(stack(tmp_path, frames))
    np.testing.assert_array_equal(read, frames)
    assert read.min() < 0


@pytest.mark.parametrize("shift", [2, 4, 6])
def test_pixels_in_the_upper_bits(tmp_path: Path, shift: int) -> None:
    frames = noise(dtype=np.uint16, high=2 ** (16 - shift)) << shift
    assert open_all(stack(tmp_path, frames))[1].ceiling == 65536 - 2**shift


def test_twelve_packed_bits_tell_the_depth(tmp_path: Path) -> None:
    frames = noise(dtype=np.uint16, high=500)
    try:
        path = stack(tmp_path, frames, bitspersample=12)
    except (ValueError, NotImplementedError):
        pytest.skip("this tifffile packs no bits")
    read, video = open_all(path)
    np.testing.assert_array_equal(read, frames)
    assert video.ceiling == 4095


def test_ome_states_the_depth(tmp_path: Path) -> None:
    frames = noise(dtype=np.uint16, high=500)
    path = tmp_path / "s.ome.tif"
    tifffile.imwrite(path, frames, photometric="minisblack", ome=True, metadata={"axes": "TYX", "SignificantBits": 10})
    assert open_all(path)[1].ceiling == 1023
    tifffile.imwrite(path, frames * 8, photometric="minisblack", ome=True, metadata={"axes": "TYX", "SignificantBits": 10})
    assert open_all(path)[1].ceiling == 4095  # the pixels know better


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_become_float32(tmp_path: Path, dtype: type) -> None:
    frames = (noise() / 8).astype(dtype)
    read, video = open_all(stack(tmp_path, frames))
    assert read.dtype == np.float32 == video.frame_dtype
    np.testing.assert_array_equal(read, frames.astype(np.float32))
    assert (video.dtype, video.notices) == (str(np.dtype(dtype)), ())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_pixels_that_are_not_finite(tmp_path: Path, dtype: type) -> None:
    frames = noise().astype(dtype)
    frames[3, 0, :2] = np.nan, np.inf
    frames[7] = np.nan
    frames[9, 5, 5] = -np.inf if dtype == np.float32 else 1e300
    expected = frames.astype(np.float64)
    for i, pixels in ((3, (0, slice(2))), (9, (5, 5))):
        hole = np.zeros((40, 48), bool)
        hole[pixels] = True
        expected[i][hole] = np.float32(np.median(frames[i][~hole]))
    expected[7] = 0
    with open_video(stack(tmp_path, frames), SETTINGS) as video:
        assert video.notices == ()  # nothing was read yet
        with ThreadPoolExecutor(4) as pool:
            read = np.stack(list(pool.map(video.read, range(24))))
        np.testing.assert_array_equal(read, expected)
        (notice,) = video.notices
        assert notice.code == "not_finite"
        assert notice.message == "3 frames hold NaN or infinite pixels (the first: frame 3); they take the frame's median"


def test_colours_that_are_not_finite(tmp_path: Path) -> None:
    colour = np.stack([noise()] * 3, -1).astype(np.float32)
    colour[0] = np.nan
    colour[23, 5, 5] = np.inf, np.nan, 1
    colour[23, 5, 6] = np.nan
    read, video = open_all(stack(tmp_path, colour))
    assert np.isfinite(read).all()
    np.testing.assert_allclose(read[1:23], noise()[1:23], rtol=1e-6)
    assert codes(video) == ["not_finite"]


@pytest.mark.parametrize("dtype", [np.bool_, np.uint64, np.int64, np.complex64])
def test_pixel_types_refused(tmp_path: Path, dtype: type) -> None:
    with pytest.raises(VideoError, match=r"s\.tif: pixels are (1-bit black and white|u?int64|complex64); 8, 16 or 32-bit") as error:
        open_video(stack(tmp_path, (noise() > 100).astype(dtype)), SETTINGS)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("planar", [False, True])
def test_grey_in_colour_collapses_exactly(tmp_path: Path, dtype: type, alpha: bool, planar: bool) -> None:
    grey = noise(dtype=dtype)
    layers = [grey] * 3 + [noise(dtype=dtype, high=50)] * alpha
    options: dict[str, Any] = {"planarconfig": "separate"} if planar else {}
    read, video = open_all(
        stack(tmp_path, np.stack(layers, 1 if planar else -1), **options, **({"extrasamples": ["unassalpha"]} if alpha else {}))
    )
    np.testing.assert_array_equal(read, grey)
    assert read.dtype == dtype
    assert read.flags.c_contiguous
    assert video.notices == ()


@pytest.mark.parametrize(("dtype", "top"), [(np.uint8, 255), (np.uint16, 65535)])
def test_luminance_by_rec_601(tmp_path: Path, dtype: type, top: int) -> None:
    colour = np.random.default_rng(0).integers(0, top // 8, (24, 40, 48, 3)).astype(dtype)
    colour[..., 1] += top // 2
    colour[:, 0, 0] = top
    colour[:, 0, 1:5] = [(100, 0, 0), (0, 100, 0), (0, 0, 100), (0, 0, 0)]
    read, video = open_all(stack(tmp_path, colour))
    assert read.dtype == np.float32
    assert video.dtype == str(np.dtype(dtype))
    np.testing.assert_allclose(read, colour @ np.array([0.299, 0.587, 0.114]), rtol=1e-6)
    np.testing.assert_array_equal(read[:, 0, 0], top)  # a saturated pixel stays exactly at the ceiling
    np.testing.assert_array_equal(read[0, 0, 1:5], np.array([29.9, 58.7, 11.4, 0], np.float32))
    assert codes(video) == ["colour"]
    assert "--channel" in video.notices[0].message
    for k, channel in enumerate("rgb"):
        read, video = open_all(tmp_path / "s.tif", channel=channel)
        np.testing.assert_array_equal(read, colour[..., k])
        assert read.dtype == dtype
        assert video.notices == ()


def tinted(rng: np.random.Generator, base: np.ndarray) -> np.ndarray:
    return np.stack([base + 10, base, base - 10], -1) + rng.normal(0, 3, (*base.shape, 3))


def with_green_spots(rng: np.random.Generator, base: np.ndarray) -> np.ndarray:
    colour = np.stack([base] * 3, -1) + rng.normal(0, 3, (*base.shape, 3))
    colour[:, 10:12, 10:13, 1] += 60
    return colour


def with_noise_of_its_own(rng: np.random.Generator, base: np.ndarray) -> np.ndarray:
    return np.stack([base] * 3, -1) + rng.normal(0, 3, (*base.shape, 3))


def rounded(rng: np.random.Generator, base: np.ndarray) -> np.ndarray:
    return np.stack([base] * 3, -1) + rng.integers(-1, 2, (*base.shape, 3))


@pytest.mark.parametrize(
    ("make", "expected"), [(tinted, ["colour"]), (with_green_spots, ["colour"]), (with_noise_of_its_own, []), (rounded, [])]
)
def test_colour_is_told_only_beyond_noise(tmp_path: Path, make: Any, expected: list[str]) -> None:
    base = 100 + 40 * np.sin(np.arange(96) / 9) + np.zeros((24, 80, 96))
    colour = np.clip(np.rint(make(np.random.default_rng(0), base)), 0, 255).astype(np.uint8)
    assert codes(open_all(stack(tmp_path, colour))[1]) == expected


def test_a_channel_of_a_grey_video_has_no_effect(tmp_path: Path) -> None:
    read, video = open_all(stack(tmp_path, noise()), channel="g")
    np.testing.assert_array_equal(read, noise())
    assert codes(video) == ["channel_ignored"]
    assert "--channel g" in video.notices[0].message


@pytest.mark.parametrize(
    ("text", "first", "stop"),
    [("0:10", 0, 10), ("5:", 5, 24), (":7", 0, 7), (":", 0, 24), ("-6:", 18, 24), ("2:-2", 2, 22), (" 3 : 9 ", 3, 9), ("20:999", 20, 24)],
)
def test_frames_chosen(tmp_path: Path, text: str, first: int, stop: int) -> None:
    read, video = open_all(stack(tmp_path, noise()), frames=text)
    np.testing.assert_array_equal(read, noise()[first:stop])
    assert video.n_frames == stop - first
    assert codes(video) == (["short_video"] if stop - first < 20 else [])


@pytest.mark.parametrize("text", ["10:10", "10:11", "30:", ":-23", "9:3"])
def test_too_few_frames_chosen(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match=rf"--frames {text}: keeps [01] frames, at least 2 are needed; the video has frames 0:24"):
        open_video(stack(tmp_path, noise()), SETTINGS.with_options(frames=text))


@pytest.mark.parametrize("text", ["", "10", "1:2:3", "a:b", "0-10", "1.5:3"])
def test_frames_that_are_no_range(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match=r"--frames.* not FIRST:STOP"):
        open_video(stack(tmp_path, noise()), SETTINGS.with_options(frames=text))


@pytest.mark.parametrize("colour", [False, True])
def test_region_of_interest(tmp_path: Path, colour: bool) -> None:
    frames = np.random.default_rng(0).integers(0, 200, (24, 50, 70, 3) if colour else (24, 50, 70)).astype(np.uint8)
    whole, _ = open_all(stack(tmp_path, frames))
    read, video = open_all(tmp_path / "s.tif", roi="7, 3,40,33")
    np.testing.assert_array_equal(read, whole[:, 3:36, 7:47])
    assert (video.width, video.height) == (40, 33)
    assert read.flags.c_contiguous
    assert open_all(tmp_path / "s.tif", roi="0,0,70,50")[0].shape == whole.shape


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0,0,31,40", "31 x 40 px is too small; at least 32 x 32 are needed"),
        ("0,0,49,40", "reaches beyond the field of 48 x 40 px"),
        ("10,0,40,32", "reaches beyond the field of 48 x 40 px"),
        ("0,9,32,32", "reaches beyond the field of 48 x 40 px"),
        ("-1,0,32,32", "not X,Y,W"),
        ("0,0,32", "not X,Y,W"),
        ("0,0,32.5,32", "not X,Y,W"),
    ],
)
def test_regions_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=f"--roi.* {message}"):
        open_video(stack(tmp_path, noise()), SETTINGS.with_options(roi=text))


@pytest.mark.parametrize(("n", "expected"), [(2, ["short_video"]), (19, ["short_video"]), (20, [])])
def test_short_videos_are_told(tmp_path: Path, n: int, expected: list[str]) -> None:
    read, video = open_all(stack(tmp_path, noise(n)))
    np.testing.assert_array_equal(read, noise(n))
    assert codes(video) == expected


@pytest.mark.parametrize(("max_bytes", "n"), [(1, 1), (40 * 48 * 2 * 2, 1), (40 * 48 * 2 * 10, 5), (2**26, 24)])
def test_chunks_cover_the_video_in_bounded_memory(tmp_path: Path, max_bytes: int, n: int) -> None:
    frames = noise(dtype=np.uint16)
    with open_video(stack(tmp_path, frames), SETTINGS) as video:
        chunks = list(video.chunks(max_bytes))
    assert [first for first, _ in chunks] == list(range(0, 24, n))
    assert all(2 * chunk.nbytes <= max(max_bytes, 2 * 40 * 48 * 2) for _, chunk in chunks)
    np.testing.assert_array_equal(np.concatenate([chunk for _, chunk in chunks]), frames)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_memory_stays_flat(tmp_path: Path, compression: str | None) -> None:
    import tracemalloc

    frames = noise(200, 64, 64, np.uint16)
    path = stack(tmp_path, frames, compression=compression)
    open_all(path)  # imports and caches
    tracemalloc.start()
    try:
        with open_video(path, SETTINGS) as video:
            total = sum(int(chunk.sum()) for _, chunk in video.chunks(8 * frames[0].nbytes))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert total == frames.sum()
    assert peak < frames.nbytes / 3


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"rowsperstrip": 3}, {"imagej": True, "metadata": {"axes": "TYX"}}])
def test_threads_read_the_same_frames(tmp_path: Path, options: dict[str, Any]) -> None:
    frames = noise(60)
    with open_video(stack(tmp_path, frames, **options), SETTINGS) as video, ThreadPoolExecutor(8) as pool:
        order = np.random.default_rng(1).permutation(np.arange(60).repeat(4))
        for i, frame in zip(order, pool.map(video.read, order), strict=True):
            np.testing.assert_array_equal(frame, frames[i])


def test_a_frame_may_be_written_to(tmp_path: Path) -> None:
    with open_video(stack(tmp_path, noise()), SETTINGS) as video:
        video.read(0)[:] = 0
        np.testing.assert_array_equal(video.read(0), noise()[0])


@pytest.mark.parametrize("i", [-1, 24])
def test_there_is_no_such_frame(tmp_path: Path, i: int) -> None:
    with open_video(stack(tmp_path, noise()), SETTINGS) as video, pytest.raises(IndexError, match=f"frame {i} of a video of 24"):
        video.read(i)


def test_a_corrupt_frame_is_named_by_its_number_in_the_file(tmp_path: Path) -> None:
    path = stack(tmp_path, noise(60), compression="zlib")
    with tifffile.TiffFile(path) as tif:
        offset, size = tif.pages[31].dataoffsets[0], tif.pages[31].databytecounts[0]
    data = bytearray(path.read_bytes())
    data[offset : offset + size] = bytes(size)
    path.write_bytes(data)
    with open_video(path, SETTINGS.with_options(frames="25:50")) as video, pytest.raises(VideoError, match=r"frame 31 \(the first is 0\)"):
        list(video.chunks())


def test_checksum_of_a_file_is_that_of_its_bytes(tmp_path: Path) -> None:
    path = stack(tmp_path, noise())
    with open_video(path, SETTINGS) as video:
        assert video.sha256() == hashlib.sha256(path.read_bytes()).hexdigest()


def test_checksum_of_a_folder_knows_names_and_contents(tmp_path: Path) -> None:
    def folder(name: str, frames: np.ndarray, prefix: str = "f") -> str:
        (tmp_path / name).mkdir()
        for i, frame in enumerate(frames):
            Image.fromarray(frame).save(tmp_path / name / f"{prefix}{i}.png")
        with open_video(tmp_path / name, SETTINGS) as video:
            return video.sha256()

    frames = noise()
    a = folder("a", frames)
    (tmp_path / "a" / "notes.txt").write_text("not a frame")
    with open_video(tmp_path / "a", SETTINGS) as video:
        assert video.sha256() == a
    assert folder("b", frames) == a
    assert len({a, folder("c", frames[::-1]), folder("d", frames, "g"), folder("e", frames[:-1])}) == 4


def test_opening_closes_what_it_refuses(tmp_path: Path) -> None:
    """An open handle would be a ResourceWarning, which is an error here, or would lock the file on Windows."""
    path = stack(tmp_path, noise())
    with pytest.raises(UsageError, match="--roi"):
        open_video(path, SETTINGS.with_options(roi="0,0,999,999"))
    with open_video(path, SETTINGS) as video:
        video.read(0)
    with pytest.raises(VideoError, match=r"frame 0 .* cannot be decoded"):
        video.read(0)
    video.close()  # twice does no harm


def test_importing_is_light() -> None:
    code = "import sys, nta.video; print(*sorted({m.split('.')[0] for m in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"scipy", "skimage", "pandas", "matplotlib", "numba", "tifffile", "imageio", "PIL", "imagecodecs", "av"} & set(loaded)
    assert "numpy" in loaded


@pytest.mark.skipif(not (DATA / "bulk_water").is_dir(), reason="the shared data are not here")
def test_a_real_video_of_dark_spheres() -> None:
    settings = Settings().with_options(pixel_size_um=0.350877, fps=24, temperature_c=22)
    with open_video(DATA / "bulk_water", settings) as video:
        assert (video.name, video.n_frames, video.height, video.width, video.dtype) == ("bulk_water", 300, 424, 640, "uint8")
        assert codes(video) == ["colour"]
        assert video.ceiling == 255
        luminance = video.read(150)
        assert luminance.dtype == np.float32
        assert 110 < luminance.mean() < 150
    with open_video(f"{DATA}/bulk_water/*_01?.png", settings.with_options(channel="r", frames="2:6", roi="100,100,200,100")) as video:
        assert (video.name, video.n_frames, video.width, codes(video)) == ("bulk_water", 4, 200, ["short_video"])
        direct = np.array(Image.open(DATA / "bulk_water" / "bulk_water_012.png"))[100:200, 100:300, 0]
        np.testing.assert_array_equal(video.read(0), direct)
