"""What decoded frames are: pixels of lossless codecs bit by bit, luma of YUV as it is, and the ceiling and colours they tell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from films import avi, film, lagarith, noise, rows_of, smooth

from nta.errors import VideoError
from nta.movie import Movie
from nta.settings import Settings
from nta.video import Video, open_video

SETTINGS = Settings().with_options(pixel_size_um=0.166, fps=25)
GREY_PALETTE = b"".join(bytes((i, i, i, 0)) for i in range(256))


def open_all(path: Path, **options: Any) -> tuple[np.ndarray, Video]:
    with open_video(path, SETTINGS.with_options(**options)) as video:
        return np.stack([video.read(i) for i in range(video.n_frames)]), video


def codes(video: Video) -> list[str]:
    return [notice.code for notice in video.notices]


@pytest.mark.parametrize(
    ("suffix", "codec", "kind"),
    [
        *(("avi", "rawvideo", kind) for kind in ("gray", "bgr24", "yuv420p", "yuv422p")),
        *(("avi", "ffv1", kind) for kind in ("gray", "bgr0", "yuv420p", "yuv422p", "yuv444p")),
        *(("avi", "huffyuv", kind) for kind in ("rgb24", "yuv422p")),
        *(("avi", "ffvhuff", kind) for kind in ("gray", "yuv420p", "gbrp")),
        *(("avi", "utvideo", kind) for kind in ("gbrp", "yuv420p", "yuv422p", "yuv444p")),
        *(("avi", "magicyuv", kind) for kind in ("gray", "gbrp", "yuv420p")),
        *(("avi", "png", kind) for kind in ("gray", "rgb24")),
        *(("mov", "rawvideo", kind) for kind in ("gray", "bgr24", "uyvy422", "yuyv422")),
        *(("mov", "qtrle", kind) for kind in ("gray", "rgb24")),
        *(("mov", "png", kind) for kind in ("gray", "rgb24")),
        ("mp4", "ffv1", "gray"),
        ("mp4", "png", "gray"),
        ("mkv", "rawvideo", "gray"),
        *(("mkv", "ffv1", kind) for kind in ("gray", "bgr0", "yuv420p")),
        ("wmv", "ffv1", "gray"),
    ],
)
def test_lossless_films_of_eight_bits(tmp_path: Path, suffix: str, codec: str, kind: str) -> None:
    frames = noise()
    if kind in ("uyvy422", "yuyv422"):
        packed = np.full((*frames.shape, 2), 128, np.uint8)
        packed[..., 1 if kind == "uyvy422" else 0] = frames
        path = avi(tmp_path / "s.avi", [f.tobytes() for f in packed], 64, 48, 16, code=b"UYVY" if kind == "uyvy422" else b"YUY2")
    else:
        path = film(tmp_path / f"s.{suffix}", frames, codec, kind)
    read, video = open_all(path)
    np.testing.assert_array_equal(read, frames)
    assert (read.dtype, video.dtype, video.ceiling) == (np.uint8, "uint8", 255)
    assert codes(video) == []


@pytest.mark.parametrize(
    ("suffix", "codec", "kind", "bits"),
    [
        *(("avi", "ffv1", f"gray{bits}le", bits) for bits in (10, 12, 16)),
        *(("mkv", "ffv1", f"gray{bits}le", bits) for bits in (9, 10, 12, 14, 16)),
        ("mkv", "ffv1", "yuv420p10le", 10),
        ("mkv", "ffv1", "gbrp10le", 10),
        ("mkv", "ffv1", "gbrp12le", 12),
        ("avi", "ffvhuff", "gray16le", 16),
        ("mov", "png", "gray16be", 16),
    ],
)
def test_lossless_films_of_more_bits(tmp_path: Path, suffix: str, codec: str, kind: str, bits: int) -> None:
    frames = noise(dtype=np.uint16, high=2**bits)
    read, video = open_all(film(tmp_path / f"s.{suffix}", frames, codec, kind))
    np.testing.assert_array_equal(read, frames)
    assert (read.dtype, video.dtype, video.ceiling) == (np.uint16, "uint16", 2**bits - 1)
    assert codes(video) == []


def test_a_camera_of_twelve_bits_in_sixteen(tmp_path: Path) -> None:
    frames = noise(dtype=np.uint16, high=3000)
    read, video = open_all(film(tmp_path / "s.mkv", frames, "ffv1", "gray16le"))
    np.testing.assert_array_equal(read, frames)
    assert video.ceiling == 4095


@pytest.mark.parametrize(("width", "height"), [(47, 33), (64, 47), (65, 48)])
@pytest.mark.parametrize(
    ("suffix", "codec", "kind"),
    [
        ("avi", "rawvideo", "gray"),
        ("avi", "rawvideo", "bgr24"),
        ("avi", "ffv1", "gray"),
        ("avi", "ffv1", "yuv420p"),
        ("avi", "ffv1", "bgr0"),
        ("avi", "ffvhuff", "gbrp"),
        ("mkv", "ffv1", "gray"),
        ("mov", "png", "rgb24"),
    ],
)
def test_odd_widths_and_heights(tmp_path: Path, width: int, height: int, suffix: str, codec: str, kind: str) -> None:
    frames = noise(20, height, width)
    read, video = open_all(film(tmp_path / f"s.{suffix}", frames, codec, kind))
    np.testing.assert_array_equal(read, frames)
    assert (video.width, video.height, codes(video)) == (width, height, [])


@pytest.mark.parametrize("upwards", [True, False])
@pytest.mark.parametrize("bits", [24, 32])
def test_bitmaps_from_bottom_to_top_and_back(tmp_path: Path, bits: int, upwards: bool) -> None:
    frames = noise(20, 33, 47)
    colour = np.stack([frames] * (bits // 8), axis=-1)
    packets = [rows_of(f if upwards else f[::-1]) for f in colour]
    read, video = open_all(avi(tmp_path / "s.avi", packets, 47, 33 if upwards else -33, bits))
    np.testing.assert_array_equal(read, frames)
    assert codes(video) == []


@pytest.mark.parametrize("palette", [GREY_PALETTE, b""])
def test_grey_bitmaps_with_a_palette(tmp_path: Path, palette: bytes) -> None:
    frames = noise(20, 33, 47)
    read, video = open_all(avi(tmp_path / "s.avi", [rows_of(f) for f in frames], 47, 33, 8, palette=palette))
    np.testing.assert_array_equal(read, frames)
    assert (video.dtype, codes(video)) == ("uint8", [])


def test_a_palette_in_any_order_is_looked_up(tmp_path: Path) -> None:
    frames = noise(20, 32, 48)
    reversed_palette = b"".join(bytes((255 - i, 255 - i, 255 - i, 0)) for i in range(256))
    read, _ = open_all(avi(tmp_path / "s.avi", [rows_of(255 - f) for f in frames], 48, 32, 8, palette=reversed_palette))
    np.testing.assert_array_equal(read, frames)
    red_palette = b"".join(bytes((0, 0, i, 0)) for i in range(256))  # blue, green, red
    path = avi(tmp_path / "red.avi", [rows_of(f) for f in frames], 48, 32, 8, palette=red_palette)
    np.testing.assert_array_equal(open_all(path, channel="r")[0], frames)
    assert codes(open_all(path)[1]) == ["colour"]


@pytest.mark.parametrize("code", [b"Y800", b"GREY", b"Y8  "])
def test_grey_bytes_under_every_name(tmp_path: Path, code: bytes) -> None:
    frames = noise(20, 33, 47)
    read, video = open_all(avi(tmp_path / "s.avi", [f.tobytes() for f in frames], 47, 33, 8, code=code))
    np.testing.assert_array_equal(read, frames)
    assert codes(video) == []


def test_lagarith(tmp_path: Path) -> None:
    """FFmpeg has no encoder; the packets are built by hand, without entropy coding."""
    frames = noise(20, 32, 48)
    read, video = open_all(avi(tmp_path / "s.avi", [lagarith(f) for f in frames], 48, 32, 24, code=b"LAGS"))
    np.testing.assert_array_equal(read, frames)
    assert codes(video) == []
    solid = [bytes((5, 10 * i)) for i in range(20)]  # a grey level for a frame
    read, _ = open_all(avi(tmp_path / "solid.avi", solid, 48, 32, 24, code=b"LAGS"))
    np.testing.assert_array_equal(read, np.broadcast_to(10 * np.arange(20)[:, None, None], (20, 32, 48)))


@pytest.mark.parametrize(
    ("suffix", "codec", "kind", "named", "worst"),
    [
        *((suffix, "libx264", "yuv420p", "h264", 3) for suffix in ("mp4", "mov", "mkv", "avi", "m4v")),
        ("mp4", "libx264", "gray", "h264", 3),
        ("mp4", "libx265", "yuv420p", "hevc", 3),
        *((suffix, "mpeg4", "yuv420p", "mpeg4", 3) for suffix in ("mp4", "avi", "mkv")),
        *((suffix, "mjpeg", "yuvj420p", "mjpeg", 3) for suffix in ("avi", "mov", "mkv")),
        ("mov", "prores_ks", "yuv422p10le", "prores", 2),
        ("wmv", "wmv1", "yuv420p", "wmv1", 3),
        ("wmv", "wmv2", "yuv420p", "wmv2", 3),
        ("wmv", "msmpeg4", "yuv420p", "msmpeg4v3", 3),
        ("avi", "msmpeg4v2", "yuv420p", "msmpeg4v2", 3),
        ("mkv", "libvpx-vp9", "yuv420p", "vp9", 4),
    ],
)
def test_lossy_films_are_near_what_was_written_and_say_so(
    tmp_path: Path, suffix: str, codec: str, kind: str, named: str, worst: float, capfd: pytest.CaptureFixture[str]
) -> None:
    frames = smooth()
    depth = 4 if kind.endswith("10le") else 1
    written = frames.astype(np.uint16) * np.uint16(4) if depth == 4 else frames
    options = {"crf": "18"} if codec.startswith("lib") else {"q": "2"}
    path = film(tmp_path / f"s.{suffix}", written, codec, kind, options=options, bit_rate=2_000_000)
    capfd.readouterr()  # what encoders print
    read, video = open_all(path)
    assert read.shape == frames.shape
    error = np.abs(read.astype(float) / depth - frames).mean(axis=(1, 2))
    assert error.max() < worst
    # 5 grey levels lie between a frame and the next: no frame is another one
    assert all(np.abs(read[i].astype(float) / depth - frames).mean(axis=(1, 2)).argmin() == i for i in range(24))
    assert codes(video) == ["lossy_video"]
    assert video.notices[0].message.startswith(f"{named} compresses with loss")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("highest", "range_", "ceiling"),
    [(235, 1, 235), (235, 0, 235), (200, 1, 235), (236, 1, 255), (255, 0, 255), (235, 2, 255), (200, 2, 255)],
)
def test_ceiling_of_luma(tmp_path: Path, highest: int, range_: int, ceiling: float) -> None:
    """White is 235 in limited range (1, or unsaid, 0) and 255 in full range (2); pixels above 235 say that the range is full."""
    frames = noise(high=190)
    frames[11, 7, 5] = highest
    path = film(tmp_path / "s.mkv", frames, "ffv1", "yuv420p", color_range=range_)
    read, video = open_all(path)
    np.testing.assert_array_equal(read, frames)
    assert video.ceiling == ceiling


def test_ceiling_of_deep_luma(tmp_path: Path) -> None:
    frames = noise(dtype=np.uint16, high=941)
    assert open_all(film(tmp_path / "s.mkv", frames, "ffv1", "yuv420p10le"))[1].ceiling == 940


@pytest.mark.parametrize(("white", "ceiling"), [(235, 235), (255, 255)])
def test_ceiling_of_lossy_luma(tmp_path: Path, white: int, ceiling: float) -> None:
    """Compression rings beyond white by a few levels, which is not the full range yet."""
    frames = smooth()
    frames[:, 16:32, 20:44] = white
    read, video = open_all(film(tmp_path / "s.mp4", frames, "libx264", "yuv420p", options={"crf": "25"}))
    assert read.max() > 235
    assert video.ceiling == ceiling


def test_colours_of_rgb(tmp_path: Path) -> None:
    colour = (smooth()[..., None] * (1, 0.8, 0.4)).astype(np.uint8)
    for suffix, codec, kind in (("avi", "ffv1", "bgr0"), ("avi", "utvideo", "gbrp"), ("avi", "rawvideo", "bgr24"), ("mov", "png", "rgb24")):
        path = film(tmp_path / f"{codec}.{suffix}", colour, codec, kind)
        for channel, k in zip("rgb", range(3), strict=True):
            read, video = open_all(path, channel=channel)
            np.testing.assert_array_equal(read, colour[..., k])
            assert codes(video) == []
        read, video = open_all(path)
        np.testing.assert_allclose(read, colour @ (0.299, 0.587, 0.114), atol=1e-3)
        assert codes(video) == ["colour"]


def test_one_coloured_pixel_in_one_frame_keeps_the_colours(tmp_path: Path) -> None:
    colour = np.stack([noise()] * 3, axis=-1)
    colour[9, 3, 2] = 10, 60, 110
    movie = Movie(film(tmp_path / "s.avi", colour, "ffv1", "bgr0"))
    assert movie.shape == (48, 64, 3)
    np.testing.assert_array_equal(movie.read(9), colour[9])
    movie.close()


@pytest.mark.parametrize(("chroma", "expected"), [((128, 128), []), ((129, 127), []), ((90, 150), ["colour"]), ((128, 140), ["colour"])])
def test_colour_of_yuv_is_told_and_its_luma_read(tmp_path: Path, chroma: tuple[int, int], expected: list[str]) -> None:
    frames = noise()
    path = film(tmp_path / "s.mkv", frames, "ffv1", "yuv420p", chroma=chroma)
    read, video = open_all(path)
    np.testing.assert_array_equal(read, frames)
    assert codes(video) == expected


def test_a_channel_of_yuv(tmp_path: Path) -> None:
    """Rec. 601, limited range: R = 1.164 (Y - 16) + 1.596 (Cr - 128), B = 1.164 (Y - 16) + 2.017 (Cb - 128)."""
    frames = 60 + noise(high=100)
    path = film(tmp_path / "s.mkv", frames, "ffv1", "yuv420p", chroma=(118, 148))
    for channel, offset in (("r", 1.596 * 20), ("g", 0.392 * 10 - 0.813 * 20), ("b", -2.017 * 10)):
        read, video = open_all(path, channel=channel)
        expected = np.clip(1.164 * (frames.astype(float) - 16) + offset, 0, 255)
        assert np.abs(read - expected).max() <= 0.75  # rounding, and three digits of the equations
        assert (codes(video), video.ceiling, read.dtype) == ([], 255, np.uint8)


def test_a_channel_of_a_grey_film_has_no_effect(tmp_path: Path) -> None:
    for name, kind in (("a.avi", "gray"), ("b.avi", "bgr0")):
        read, video = open_all(film(tmp_path / name, noise(), "ffv1", kind), channel="g")
        np.testing.assert_array_equal(read, noise())
        assert codes(video) == ["channel_ignored"]


def test_pixels_that_are_not_read(tmp_path: Path) -> None:
    packets = [np.repeat(f, 4, axis=-1).tobytes() for f in noise(20)]
    path = avi(tmp_path / "packed.avi", packets, 64, 48, 32, code=b"AYUV")
    with pytest.raises(VideoError, match=r"packed\.avi: pixels of the kind \w*uy\w* are not read; export the video as grey") as error:
        open_video(path, SETTINGS)
    assert "\n" not in str(error.value)
