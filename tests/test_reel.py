"""Files as FFmpeg opens them: what is refused and how, damage and cuts, several streams, and a quiet stderr."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from films import avi, film, frame_of, noise, smooth

from nta.errors import NtaError, UsageError, VideoError
from nta.settings import Settings
from nta.video import Video, open_video

SETTINGS = Settings().with_options(pixel_size_um=0.166, fps=25)


def open_all(path: Path, **options: Any) -> tuple[np.ndarray, Video]:
    with open_video(path, SETTINGS.with_options(**options)) as video:
        return np.stack([video.read(i) for i in range(video.n_frames)]), video


def codes(video: Video) -> list[str]:
    return [notice.code for notice in video.notices]


def refusal(path: Path) -> str:
    """Return the one line by which a file is refused."""
    with pytest.raises(VideoError) as error:
        open_video(path, SETTINGS)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(f"{path}: ")
    assert error.value.exit_code == 1
    return str(error.value)[len(str(path)) + 2 :]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of films of 40 frames, their index first; do not change them."""
    folder = tmp_path_factory.mktemp("whole")
    for name, codec, kind in (
        ("raw.avi", "rawvideo", "gray"),
        ("ffv1.avi", "ffv1", "gray"),
        ("mjpeg.avi", "mjpeg", "yuvj420p"),
        ("huffyuv.avi", "huffyuv", "yuv422p"),
        ("utvideo.avi", "utvideo", "yuv422p"),
        ("ffv1.mkv", "ffv1", "gray"),
        ("png.mov", "png", "gray"),
        ("h264.mp4", "libx264", "yuv420p"),
        ("h264.mkv", "libx264", "yuv420p"),
    ):
        frames = smooth(40, 96, 128) + noise(40, 96, 128, high=5) if "h264" not in name else noise(40, 96, 128)
        first = {"movflags": "faststart"} if name.endswith(("mov", "mp4")) else {}
        film(folder / name, frames, codec, kind, container=first, options={"g": "6", "bf": "0"} if "h264" in name else {})
    return folder


# --- what is no video ---


@pytest.mark.parametrize("suffix", ["avi", "MOV", "mp4", "m4v", "mkv", "wmv"])
def test_a_text_with_the_name_of_a_film(tmp_path: Path, suffix: str, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / f"s.{suffix}"
    path.write_text("time,x,y\n" + "0,1,2\n" * 100)
    said = refusal(path)
    assert said.startswith("not a readable AVI, MOV, MP4, MKV or WMV file (")
    assert said.endswith("; give an AVI, MOV, MP4, MKV or WMV file, a TIFF stack, or a folder of images")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("text", ["#EXTM3U\n#EXTINF:10,\n{}\n#EXT-X-ENDLIST\n", "ffconcat version 1.0\nfile '{}'\n"])
def test_a_list_of_other_files_is_not_followed(tmp_path: Path, whole: Path, text: str) -> None:
    (tmp_path / "s.avi").write_text(text.format(whole / "raw.avi"))
    assert refusal(tmp_path / "s.avi").startswith("not a readable AVI")


def test_an_empty_file_and_a_header_alone(tmp_path: Path, whole: Path) -> None:
    (tmp_path / "a.avi").write_bytes(b"")
    assert refusal(tmp_path / "a.avi") == "the file is empty (0 bytes)"
    (tmp_path / "b.avi").write_bytes(b"RIFF\x10\0\0\0AVI ")
    assert refusal(tmp_path / "b.avi").startswith("not a readable AVI")
    (tmp_path / "c.avi").write_bytes((whole / "raw.avi").read_bytes()[:6000])
    assert "no frame of its rawvideo video can be decoded" in refusal(tmp_path / "c.avi")


def test_a_movie_without_its_index(tmp_path: Path) -> None:
    path = film(tmp_path / "s.mp4", noise(), "libx264", "yuv420p")  # its index comes last
    data = path.read_bytes()
    path.write_bytes(data[: data.rindex(b"moov") - 4])
    assert refusal(path).startswith("the file is cut short, or its recording was not finished: its index (moov) is missing; give")
    path.write_bytes(data[:-800])
    assert refusal(path).startswith("the file holds no video (data only)")


def test_sound_alone(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "s.mkv"), "w") as file:
        stream = file.add_stream("pcm_s16le", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 4000), np.int16), format="s16", layout="mono")
        sound.sample_rate = 8000
        file.mux(stream.encode(sound))
        file.mux(stream.encode(None))
    assert refusal(tmp_path / "s.mkv").startswith("the file holds no video (audio only); give an AVI")


def test_a_codec_that_nobody_knows(tmp_path: Path) -> None:
    path = avi(tmp_path / "s.avi", [b"anything"] * 24, 64, 48, 24, code=b"XQZ7")
    assert refusal(path) == "there is no decoder for its video; export it as FFV1, uncompressed AVI or a TIFF stack"


@pytest.mark.parametrize(("n", "message"), [(1, "one frame only; a video needs at least 2")])
def test_a_single_frame(tmp_path: Path, n: int, message: str) -> None:
    for name, codec in (("s.avi", "ffv1"), ("s.mkv", "ffv1"), ("s.mp4", "libx264")):
        assert refusal(film(tmp_path / name, noise(n), codec, "gray")) == message


def test_what_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = film(tmp_path / "s.avi", noise(), "ffv1", "gray")

    def refuse(*_: object, **__: object) -> None:
        raise av.error.PermissionError(13, "Permission denied")

    monkeypatch.setattr(av, "open", refuse)  # permissions do not stop the superuser, who may run the tests
    assert refusal(path) == "cannot be read (Permission denied)"


# --- cut or damaged ---


WHOLE = ["raw.avi", "ffv1.avi", "mjpeg.avi", "huffyuv.avi", "utvideo.avi", "ffv1.mkv", "png.mov", "h264.mp4", "h264.mkv"]


@pytest.mark.parametrize("name", WHOLE)
def test_a_file_cut_short_gives_its_whole_frames(tmp_path: Path, whole: Path, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    before, _ = open_all(whole / name)
    data = (whole / name).read_bytes()
    (tmp_path / name).write_bytes(data[: int(0.7 * len(data))])
    read, video = open_all(tmp_path / name)
    n = len(read)
    assert 22 <= n <= 30
    np.testing.assert_array_equal(read, before[:n])
    (notice,) = [n for n in video.notices if n.code == "truncated"]
    assert notice.message == f"the file is cut short: {n} of 40 frames are whole; the rest is missing and left out"
    assert set(codes(video)) <= {"truncated", "lossy_video"}
    (tmp_path / name).write_bytes(data[: int(0.4 * len(data))])
    assert "frames are whole, at least 20 are needed; copy the file again" in refusal(tmp_path / name)
    assert capfd.readouterr() == ("", "")


def test_a_file_cut_between_two_frames(tmp_path: Path) -> None:
    """Nothing but the number of frames in the header, and the size of the file, tells."""
    frames = noise(40, 32, 32)
    path = avi(tmp_path / "s.avi", [f.tobytes() for f in frames], 32, 32, 8, code=b"Y800")
    start = path.read_bytes().index(b"movi") + 4
    path.write_bytes(path.read_bytes()[: start + 30 * (8 + 1024)])
    read, video = open_all(path)
    np.testing.assert_array_equal(read, frames[:30])
    assert codes(video) == ["truncated"]
    assert "30 of 40 frames" in video.notices[0].message


def spoil(path: Path, at: bytes, size: int, skip: int) -> None:
    """Overwrite `size` bytes, `skip` after the place where `at` stands in the file."""
    data = bytearray(path.read_bytes())
    where = data.index(at) + skip
    data[where : where + size] = np.random.default_rng(0).bytes(size)
    path.write_bytes(data)


def test_a_damaged_frame_is_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    frames = noise(40)
    path = film(tmp_path / "s.avi", frames, "ffv1", "gray", options={"g": "1"})
    spoil(path, path.read_bytes().split(b"00dc")[19][:64], 16, 600)
    read, video = open_all(path)
    assert len(read) == 40
    wrong = [i for i in range(40) if not np.array_equal(read[i], frames[i])]
    assert wrong == [17]
    assert codes(video) == ["damaged_frames"]
    assert video.notices[0].message == "damaged frames: 1 (the first: 17), analysed as they were decoded"
    again, _ = open_all(path, frames="16:20")  # what stands in for the damage does not depend on where reading began
    np.testing.assert_array_equal(again, read[16:20])
    assert capfd.readouterr() == ("", "")


def test_a_frame_that_cannot_be_decoded_is_left_out(tmp_path: Path) -> None:
    frames = noise(40)
    path = film(tmp_path / "s.mov", frames, "png", "gray")
    spoil(path, b"\x89PNG", 0, 0)
    data = path.read_bytes()
    where = [i for i in range(len(data)) if data.startswith(b"\x89PNG", i)][25]
    path.write_bytes(data[:where] + bytes(16) + data[where + 16 :])
    read, video = open_all(path)
    np.testing.assert_array_equal(read, np.delete(frames, 25, axis=0))
    assert codes(video) == ["damaged_frames", "dropped_frames"]
    assert video.notices[0].message == "frames that cannot be decoded: 1, left out"
    assert "frames were dropped: 1 (gaps: 1, the first after frame 24)" in video.notices[1].message


def outcome(path: Path) -> str | int:
    """Return the number of frames that can be read, or the error."""
    try:
        return len(open_all(path)[0])
    except NtaError as error:
        return str(error)


@pytest.mark.parametrize("name", WHOLE)
def test_damage_is_an_error_of_one_line_or_a_video(tmp_path: Path, whole: Path, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    data = (whole / name).read_bytes()
    rng = np.random.default_rng(3)
    for trial in range(6):
        bad = bytearray(data)
        where = int(rng.integers(0, len(data) - 400))
        bad[where : where + 400] = bytes(400) if trial % 2 else rng.bytes(400)
        (tmp_path / name).write_bytes(bad)
        found = outcome(tmp_path / name)
        assert "\n" not in found if isinstance(found, str) else 20 <= found <= 41
    assert capfd.readouterr() == ("", "")


def test_a_size_that_changes(tmp_path: Path) -> None:
    """Two films of one codec, the second's packets behind the first's."""
    small = [bytes((5, i)) for i in range(24)]
    path = avi(tmp_path / "s.avi", small, 64, 48, 24, code=b"LAGS")
    assert open_all(path)[0].shape == (24, 48, 64)
    jpegs = []
    for size in (64, 96):
        encoder = av.CodecContext.create("mjpeg", "w")
        encoder.width = encoder.height = size
        encoder.pix_fmt, encoder.time_base = "yuvj420p", Fraction(1, 25)
        jpegs += [bytes(packet) for f in smooth(12, size, size) for packet in encoder.encode(frame_of(f, "yuvj420p"))]
    assert "frame 12 is 96 x 96 px of yuvj420p, the first is 64 x 64 px of yuvj420p" in refusal(
        avi(tmp_path / "t.avi", jpegs, 64, 64, 24, code=b"MJPG")
    )


# --- streams, pixels, scans ---


def write_two(path: Path, first: np.ndarray, second: np.ndarray) -> Path:
    with av.open(str(path), "w") as file:
        streams = [file.add_stream("ffv1", rate=25) for _ in range(2)]
        for stream in streams:
            stream.width, stream.height, stream.pix_fmt = 64, 48, "gray"
        for i in range(len(first)):
            for stream, frames in zip(streams, (first, second), strict=True):
                frame = frame_of(frames[i], "gray")
                frame.pts = i
                file.mux(stream.encode(frame))
        for stream in streams:
            file.mux(stream.encode(None))
    return path


def test_several_streams(tmp_path: Path) -> None:
    read, video = open_all(write_two(tmp_path / "s.mkv", noise(), 255 - noise()))
    np.testing.assert_array_equal(read, noise())
    assert codes(video) == ["several_streams"]
    assert video.notices[0].message == "the file holds 2 video streams; the first is analysed"


def test_sound_beside_the_video_is_ignored(tmp_path: Path) -> None:
    frames = noise()
    with av.open(str(tmp_path / "s.mkv"), "w") as file:
        sound = file.add_stream("pcm_s16le", rate=8000)
        stream = file.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "gray"
        for i, pixels in enumerate(frames):
            frame = frame_of(pixels, "gray")
            frame.pts = i
            file.mux(stream.encode(frame))
            samples = av.AudioFrame.from_ndarray(np.zeros((1, 640), np.int16), format="s16", layout="mono")
            samples.sample_rate, samples.pts = 8000, 640 * i
            file.mux(sound.encode(samples))
        file.mux(stream.encode(None))
    read, video = open_all(tmp_path / "s.mkv")
    np.testing.assert_array_equal(read, frames)
    assert codes(video) == []


@pytest.mark.parametrize(("aspect", "expected"), [(Fraction(1), []), (Fraction(16, 15), ["non_square_pixels"])])
def test_pixels_that_are_not_square(tmp_path: Path, aspect: Fraction, expected: list[str]) -> None:
    read, video = open_all(film(tmp_path / "s.mp4", smooth(), "libx264", "yuv420p", sample_aspect_ratio=aspect))
    assert read.shape == (24, 48, 64)
    assert codes(video) == ["lossy_video", *expected]
    if expected:
        assert "1.06667 times as wide as high; they are analysed as stored, as squares" in video.notices[1].message


@pytest.mark.parametrize(("parameters", "expected"), [("tff=1", ["lossy_video", "interlaced"]), ("", ["lossy_video"])])
def test_interlaced_frames(tmp_path: Path, parameters: str, expected: list[str]) -> None:
    path = film(tmp_path / "s.mp4", smooth(24, 64, 64), "libx264", "yuv420p", options={"x264-params": parameters} if parameters else {})
    _, video = open_all(path)
    assert codes(video) == expected
    if parameters:
        assert video.notices[1].message.startswith("24 frames are interlaced")


def test_rotation_does_not_turn_the_pixels(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "s.mov"), "w") as file:
        stream = file.add_stream("png", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "gray"
        stream.set_display_rotation(90)
        for i, pixels in enumerate(noise()):
            frame = frame_of(pixels, "gray")
            frame.pts = i
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    read, video = open_all(tmp_path / "s.mov")
    np.testing.assert_array_equal(read, noise())
    assert codes(video) == []


@pytest.mark.parametrize("name", ["probe 1 – α.avi", "a:b.avi", "http:x.mkv", "50%d.mp4", "q?x=1#f.avi", "[1].mkv"])
def test_names(tmp_path: Path, name: str) -> None:
    frames = noise()
    film(tmp_path / "plain.mkv", frames, "ffv1", "gray").rename(tmp_path / name)
    read, video = open_all(tmp_path / name)
    np.testing.assert_array_equal(read, frames)
    assert video.name == name.rpartition(".")[0]


def test_a_name_in_this_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    film(tmp_path / "s.avi", noise(), "ffv1", "gray")
    assert len(open_all(Path("s.avi"))[0]) == 24
    with pytest.raises(UsageError, match=r"t\.avi: no such file or folder; give a TIFF stack, an AVI, MOV, MP4, MKV or WMV file, or"):
        open_video("t.avi", SETTINGS)


def test_in_a_process_of_its_own_nothing_is_printed_and_pyav_comes_late(tmp_path: Path, whole: Path) -> None:
    data = (whole / "h264.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: int(0.7 * len(data))])
    code = (
        "import sys, nta.video, nta.settings\n"
        "assert 'av' not in sys.modules\n"
        "video = nta.video.open_video(sys.argv[1], nta.settings.Settings().with_options(pixel_size_um=0.2, fps=25))\n"
        "assert video.read(video.n_frames - 1).shape == (96, 128)\n"
        "video.close()\n"
    )
    run = subprocess.run([sys.executable, "-c", code, str(tmp_path / "cut.mp4")], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
