"""Films as a sequence of frames: counted by decoding, the same in any order and from any thread, and what they say of their frame rate."""

from __future__ import annotations

import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from films import avi, film, noise, rows_of, smooth

from nta.errors import UsageError, VideoError
from nta.movie import HELD_BYTES, Movie
from nta.settings import Settings
from nta.video import Video, open_video

SETTINGS = Settings().with_options(pixel_size_um=0.166, fps=25)
NO_RATE = Settings().with_options(pixel_size_um=0.166)
DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def open_all(path: Path, settings: Settings = SETTINGS) -> tuple[np.ndarray, Video]:
    with open_video(path, settings) as video:
        return np.stack([video.read(i) for i in range(video.n_frames)]), video


def codes(video: Video) -> list[str]:
    return [notice.code for notice in video.notices]


KINDS: dict[str, tuple[str, str, str, dict[str, str]]] = {
    "raw avi": ("avi", "rawvideo", "bgr24", {}),
    "ffv1 avi, every 12th a key": ("avi", "ffv1", "gray", {"g": "12"}),
    "ffv1 mkv, one key": ("mkv", "ffv1", "gray", {"g": "100"}),
    "mjpeg avi": ("avi", "mjpeg", "yuvj420p", {}),
    "h264 mp4 with B-frames": ("mp4", "libx264", "yuv420p", {"bf": "2", "g": "12"}),
    "h264 avi with B-frames": ("avi", "libx264", "yuv420p", {"bf": "2", "g": "12"}),
    "h264 mkv, open groups": ("mkv", "libx264", "yuv420p", {"bf": "3", "g": "10", "x264-params": "open-gop=1:b-pyramid=normal"}),
    "h264 mp4, intra refresh": ("mp4", "libx264", "yuv420p", {"bf": "0", "g": "10", "x264-params": "intra-refresh=1"}),
    "hevc mp4, open groups": ("mp4", "libx265", "yuv420p", {"x265-params": "log-level=none:keyint=10:bframes=3:open-gop=1"}),
    "mpeg4 avi with B-frames": ("avi", "mpeg4", "yuv420p", {"bf": "2", "g": "12"}),
    "mpeg4 mp4 with B-frames": ("mp4", "mpeg4", "yuv420p", {"bf": "2", "g": "12"}),
    "wmv2 wmv": ("wmv", "wmv2", "yuv420p", {"g": "12"}),
    "qtrle mov": ("mov", "qtrle", "rgb24", {}),
    "png mov": ("mov", "png", "gray", {}),
}


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return a film of 50 frames of each kind; do not change them."""
    folder = tmp_path_factory.mktemp("films")
    frames = smooth(50) + noise(50, high=12)
    return {
        name: film(folder / f"{i}.{suffix}", frames, codec, kind, options=options, bit_rate=3_000_000)
        for i, (name, (suffix, codec, kind, options)) in enumerate(KINDS.items())
    }


@pytest.mark.parametrize("name", KINDS)
def test_any_order_gives_the_same_frames(films: dict[str, Path], name: str) -> None:
    straight, video = open_all(films[name])
    assert video.n_frames == 50
    # each frame is about 2.4 levels brighter than the last: their order is that of display
    assert np.all(np.diff(straight.mean(axis=(1, 2))) > 0.5)
    rng = np.random.default_rng(0)
    for order in (np.arange(50)[::-1], np.arange(0, 50, 7), rng.permutation(50), [33, 33, 31]):
        with open_video(films[name], SETTINGS) as video:
            for i in order:
                np.testing.assert_array_equal(video.read(int(i)), straight[i])


@pytest.mark.parametrize("name", ["raw avi", "ffv1 avi, every 12th a key", "h264 mp4 with B-frames", "mpeg4 avi with B-frames"])
def test_threads_read_the_same_frames(films: dict[str, Path], name: str) -> None:
    straight, _ = open_all(films[name])
    order = np.random.default_rng(1).permutation(50)
    with open_video(films[name], SETTINGS) as video, ThreadPoolExecutor(8) as pool:
        for asked in (range(50), order.tolist()):
            for i, frame in zip(asked, pool.map(video.read, asked), strict=True):
                np.testing.assert_array_equal(frame, straight[i])


def test_a_frame_may_be_written_to(films: dict[str, Path]) -> None:
    for name in ("raw avi", "ffv1 mkv, one key"):
        straight, _ = open_all(films[name])
        with open_video(films[name], SETTINGS) as video:
            video.read(30)
            for i in (30, 28, 29, 28):  # 28 and 29 were held on the way to 30
                frame = video.read(i)
                np.testing.assert_array_equal(frame, straight[i])
                frame[:] = 0


def test_a_closed_film_gives_no_frames(films: dict[str, Path]) -> None:
    with open_video(films["raw avi"], SETTINGS) as video:
        video.read(0)
    with pytest.raises(VideoError, match=r"frame 0 \(the first is 0\) cannot be decoded: the file is closed"):
        video.read(0)
    video.close()  # twice does no harm


def test_memory_stays_bounded(tmp_path: Path) -> None:
    frames = noise(200, 64, 80)
    path = film(tmp_path / "s.mkv", frames, "ffv1", "gray", options={"g": "400"})
    open_all(path)  # imports
    tracemalloc.start()
    try:
        with open_video(path, SETTINGS) as video:
            total = sum(int(video.read(i).sum(dtype=np.int64)) for i in (199, 150, 10, 170))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert total == sum(int(frames[i].sum(dtype=np.int64)) for i in (199, 150, 10, 170))
    assert peak < min(HELD_BYTES, 0.6 * frames.nbytes)


def test_a_file_that_changes_while_it_is_read(tmp_path: Path) -> None:
    path = film(tmp_path / "s.avi", noise(), "ffv1", "gray")
    movie = Movie(path)
    film(path, 255 - noise(), "ffv1", "gray")
    with pytest.raises(VideoError, match=r"s\.avi: frame 20 \(the first is 0\) is not the same when decoded again; copy the file again"):
        movie.read(20)
    movie.close()


# --- counting ---


@pytest.mark.parametrize(("declared", "expected"), [(24, []), (0, []), (1, []), (23, []), (500, ["truncated"])])
def test_the_number_of_frames_in_a_header_is_not_believed(tmp_path: Path, declared: int, expected: list[str]) -> None:
    frames = noise()
    path = avi(tmp_path / "s.avi", [f.tobytes() for f in frames], 64, 48, 8, code=b"Y800", declared=declared)
    read, video = open_all(path)
    np.testing.assert_array_equal(read, frames)
    assert codes(video) == expected
    if expected:
        said = "the file ends before its header says: 24 of 500 frames are whole; the rest is missing and left out"
        assert video.notices[0].message == said


def test_packets_without_data_are_no_frames_but_gaps(tmp_path: Path) -> None:
    frames = noise()
    packets = [f.tobytes() for f in frames]
    packets[10:10] = [b"", b""]
    packets[20:20] = [b""]
    read, video = open_all(avi(tmp_path / "s.avi", packets, 64, 48, 8, code=b"Y800"))
    np.testing.assert_array_equal(read, frames)
    assert codes(video) == ["dropped_frames"]
    assert "frames were dropped: 3 (gaps: 2, the first after frame 9)" in video.notices[0].message


# --- time ---


def rate_of(path: Path) -> tuple[float, list[str]]:
    with open_video(path, NO_RATE) as video:
        assert video.calibration.fps.source == "file"
        return video.calibration.fps.value, codes(video)


@pytest.mark.parametrize(
    ("suffix", "codec", "words"),
    [
        ("avi", "ffv1", "AVI frame rate"),
        ("mkv", "ffv1", "MKV frame rate"),
        ("mp4", "ffv1", "MOV or MP4 frame rate"),
        ("mov", "png", "MOV or MP4 frame rate"),
        ("wmv", "ffv1", "WMV"),
    ],
)
@pytest.mark.parametrize("rate", [Fraction(25), Fraction(30000, 1001), Fraction(15, 2), Fraction(300)])
def test_the_playback_rate_is_used_with_a_warning(tmp_path: Path, suffix: str, codec: str, words: str, rate: Fraction) -> None:
    path = film(tmp_path / f"s.{suffix}", noise(40), codec, "gray", rate=rate)
    value, told = rate_of(path)
    assert value == pytest.approx(float(rate), rel=0.004 if suffix == "wmv" else 1e-3 if suffix == "mkv" else 1e-9)
    assert told == ["playback_rate"]
    with open_video(path, NO_RATE) as video:
        assert words in video.notices[0].message
        assert video.notices[0].message.endswith("give --fps if the camera's was another")
    with open_video(path, NO_RATE.with_options(fps=60)) as video:  # a camera's rate does not contradict that of playback
        assert (video.calibration.fps.value, video.notices) == (60, ())


@pytest.mark.parametrize(
    ("rate", "scale", "frame_us", "words"),
    [(1_000_000, 1, 0, "1e+06"), (1, 1000, 0, "0.001"), (0, 1, 0, "0"), (25, 0, 0, "0"), (0, 0, 0, "0")],
)
def test_a_rate_that_cannot_be_is_refused_by_name(tmp_path: Path, rate: int, scale: int, frame_us: int, words: str) -> None:
    packets = [f.tobytes() for f in noise()]
    path = avi(tmp_path / "s.avi", packets, 64, 48, 8, code=b"Y800", rate=rate, scale=scale, frame_us=frame_us)
    with pytest.raises(UsageError) as error:
        open_video(path, NO_RATE)
    said = f"{path}: the file does not say its frame rate (AVI frame rate {words} is not used); give --fps (for example --fps 25)"
    assert str(error.value) == said
    assert codes(open_all(path)[1]) == ["metadata_refused"]


def test_a_rate_by_microseconds(tmp_path: Path) -> None:
    path = avi(tmp_path / "s.avi", [f.tobytes() for f in noise()], 64, 48, 8, code=b"Y800", rate=0, scale=0, frame_us=40000)
    assert rate_of(path) == (25, ["playback_rate"])


def test_time_stamps_beat_a_header_that_says_otherwise(tmp_path: Path) -> None:
    stamps = [round(1000 * i / 50) for i in range(40)]
    path = film(tmp_path / "s.mkv", noise(40), "ffv1", "gray", rate=25, stamps=stamps, tick=Fraction(1, 1000))
    value, told = rate_of(path)
    assert (value, told) == (pytest.approx(50), ["playback_rate"])


@pytest.mark.parametrize(("suffix", "codec"), [("mkv", "ffv1"), ("mp4", "png")])
def test_varying_intervals_and_gaps(tmp_path: Path, suffix: str, codec: str) -> None:
    steps = [40] * 12 + [57, 40, 23] + [40] * 6 + [160] + [40] * 10
    stamps = np.cumsum([0, *steps]).tolist()
    path = film(tmp_path / f"s.{suffix}", noise(len(stamps)), codec, "gray", stamps=stamps, tick=Fraction(1, 1000))
    value, told = rate_of(path)
    assert told == ["dropped_frames", "variable_frame_rate", "playback_rate"]
    assert value == pytest.approx(25, rel=0.005)
    read, video = open_all(path)
    np.testing.assert_array_equal(read, noise(len(stamps)))  # numbered as they come
    assert "frames were dropped: 3 (gaps: 1, the first after frame 21)" in video.notices[0].message
    assert "from 23 to 160 ms, typically" in video.notices[1].message


def test_the_file_beside_knows_the_rate_at_capture(tmp_path: Path) -> None:
    path = film(tmp_path / "s.avi", noise(), "ffv1", "gray")
    (tmp_path / "s.nano").write_text("[CaptureSettings]\nPixelSize=166,166\nFramesPerSecond=30\nTemperature=22.5\n")
    with open_video(path, Settings()) as video:
        assert (video.calibration.fps.value, video.calibration.fps.source) == (30, "file")
        assert (video.calibration.pixel_size_um.value, video.calibration.temperature_c.value) == (0.166, 22.5)
        assert codes(video) == []
    (tmp_path / "s.nano").write_text("[CaptureSettings]\nPixelSize=166,166\n")
    with open_video(path, Settings()) as video:
        assert (video.calibration.fps.value, video.calibration.pixel_size_um.value) == (25, 0.166)
        assert codes(video) == ["playback_rate"]


def test_regions_and_ranges(tmp_path: Path) -> None:
    frames = noise(40, 60, 70)
    path = film(tmp_path / "s.avi", frames, "utvideo", "gbrp")
    read, video = open_all(path, SETTINGS.with_options(frames="7:31", roi="10,5,40,33"))
    np.testing.assert_array_equal(read, frames[7:31, 5:38, 10:50])
    assert codes(video) == []


def test_checksum_is_that_of_the_file(tmp_path: Path) -> None:
    import hashlib

    path = film(tmp_path / "s.avi", noise(), "ffv1", "gray")
    with open_video(path, SETTINGS) as video:
        assert video.sha256() == hashlib.sha256(path.read_bytes()).hexdigest()


def test_bitmaps_are_found_without_an_index(tmp_path: Path) -> None:
    frames = noise(30, 33, 47)
    path = avi(tmp_path / "s.avi", [rows_of(np.stack([f] * 3, axis=-1)) for f in frames], 47, 33, 24)
    data = path.read_bytes()
    path.write_bytes(data[: data.rindex(b"idx1")])
    read, video = open_all(path)
    np.testing.assert_array_equal(read, frames)
    assert codes(video) == []
    with open_video(path, SETTINGS) as video:
        for i in (29, 3, 17):
            np.testing.assert_array_equal(video.read(i), frames[i])


@pytest.mark.skipif(not (DATA / "bulk-water.mov").is_file(), reason="the shared data are not here")
def test_a_real_film() -> None:
    settings: Any = Settings().with_options(pixel_size_um=0.350877, temperature_c=22)
    with (
        open_video(DATA / "bulk-water.mov", settings) as film_,
        open_video(DATA / "bulk_water", settings.with_options(fps=24)) as images,
    ):
        assert (film_.name, film_.n_frames, film_.height, film_.width, film_.dtype) == ("bulk-water", 480, 424, 640, "uint8")
        assert film_.calibration.fps.value == pytest.approx(24000 / 1001)
        assert codes(film_) == ["lossy_video", "colour", "playback_rate"]
        for i in (0, 260):
            grey = images.read(i)
            luma = [film_.read(k).astype(float) for k in (i, i + 1)]
            like = [np.corrcoef(frame.ravel(), grey.ravel())[0, 1] for frame in luma]
            assert like[1] < 0.99 < like[0]  # frame k of the film is image k
            assert np.abs(luma[0] - grey).mean() < 1  # and its luma the image's luminance
