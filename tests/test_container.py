"""Folders and globs of images: which files are frames, in which order, and what is told when they are not alike."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from nta.container import name_of, natural_key
from nta.errors import UsageError, VideoError
from nta.settings import Settings
from nta.video import Video, open_video

SETTINGS = Settings().with_options(pixel_size_um=0.166, fps=25)


def noise(n: int = 24, height: int = 40, width: int = 48, dtype: Any = np.uint8, high: int = 200) -> np.ndarray:
    return np.random.default_rng(0).integers(0, high, (n, height, width)).astype(dtype)


def save(path: Path, frame: np.ndarray) -> None:
    if path.suffix in (".tif", ".tiff"):
        tifffile.imwrite(path, frame)
    elif path.suffix == ".png" and frame.dtype == np.uint16 and frame.ndim == 3:
        path.write_bytes(imagecodecs.png_encode(frame))
    else:
        Image.fromarray(frame).save(path)


def fill(folder: Path, frames: np.ndarray, suffix: str = ".png") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for i, frame in enumerate(frames):
        save(folder / f"frame{i}{suffix}", frame)
    return folder


def frames_of(video: Video) -> np.ndarray:
    return np.stack([video.read(i) for i in range(video.n_frames)])


def open_all(path: str | Path, settings: Settings = SETTINGS) -> tuple[np.ndarray, Video]:
    with open_video(path, settings) as video:
        return frames_of(video), video


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".tiff", ".PNG", ".TIF"])
def test_a_folder_in_natural_order(tmp_path: Path, suffix: str) -> None:
    frames = noise()  # frame2 comes before frame10
    folder = tmp_path / "day 1 µ"
    folder.mkdir()
    for i, frame in enumerate(frames):
        save(folder / f"frame{i}{suffix.lower()}", frame)
        (folder / f"frame{i}{suffix.lower()}").rename(folder / f"frame{i}{suffix}")
    read, video = open_all(folder)
    np.testing.assert_array_equal(read, frames)
    assert (video.name, video.dtype, video.ceiling, video.notices) == ("day 1 µ", "uint8", 255, ())


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_deep_images(tmp_path: Path, suffix: str) -> None:
    frames = noise(dtype=np.uint16, high=4000)
    read, video = open_all(fill(tmp_path / "a", frames, suffix))
    np.testing.assert_array_equal(read, frames)
    assert (read.dtype, video.dtype, video.ceiling) == (np.uint16, "uint16", 4095)
    colour = np.stack([frames, frames, frames], -1)
    read, video = open_all(fill(tmp_path / "b", colour, suffix))
    np.testing.assert_array_equal(read, frames)
    assert video.notices == ()
    if suffix == ".png":
        with Image.open(tmp_path / "a" / "frame3.png") as image:  # Pillow agrees where it keeps all bits
            np.testing.assert_array_equal(np.array(image), frames[3])


def test_jpegs_are_near_what_was_saved(tmp_path: Path) -> None:
    smooth = np.stack([np.full((40, 48), 5 * i, np.uint8) + np.arange(48, dtype=np.uint8) for i in range(24)])
    for suffix in (".jpg", ".jpeg"):
        read, video = open_all(fill(tmp_path / suffix[1:], smooth, suffix))
        assert read.dtype == np.uint8
        assert np.abs(read.astype(int) - smooth).max() <= 3
        assert video.notices == ()
    # both suffixes are one format
    folder = fill(tmp_path / "both", smooth[:12], ".jpg")
    for i, frame in enumerate(smooth[12:]):
        save(folder / f"later{i}.jpeg", frame)
    assert open_all(folder)[1].n_frames == 24


@pytest.mark.parametrize("pattern", ["*.png", "frame*", "frame?.png", "frame[0-4]*.png"])
def test_globs(tmp_path: Path, pattern: str) -> None:
    frames = noise(8)
    folder = fill(tmp_path / "day 1", frames)
    (folder / "notes.txt").write_text("nothing")
    read, video = open_all(f"{folder}/{pattern}")
    np.testing.assert_array_equal(read, frames[:5] if "[" in pattern else frames)
    assert video.name == "day 1"
    assert video.path == f"{folder}/{pattern}"


def test_a_glob_over_folders_and_in_this_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = noise(22)
    for i, frame in enumerate(frames):
        (tmp_path / f"part{i}").mkdir()
        save(tmp_path / f"part{i}" / "x.png", frame)
    read, video = open_all(f"{tmp_path}/part*/x.png")
    np.testing.assert_array_equal(read, frames)
    assert video.name == tmp_path.name
    monkeypatch.chdir(fill(tmp_path / "here", frames))
    assert open_all("*.png")[1].name == "here"
    assert open_all(".")[1].name == "here"


def test_a_name_with_brackets_is_a_file_first(tmp_path: Path) -> None:
    path = tmp_path / "s[1].tif"
    tifffile.imwrite(path, noise(), photometric="minisblack")
    read, video = open_all(path)
    assert len(read) == 24
    assert video.name == "s[1]"


def test_other_files_of_a_folder_are_passed_over(tmp_path: Path) -> None:
    frames = noise()
    folder = fill(tmp_path / "a", frames)
    for name in ("Thumbs.db", "notes.txt", ".hidden.png", "._frame1.png", ".DS_Store", "particles.csv", "meta.json"):
        (folder / name).write_bytes(b"anything")
    (folder / "more.png").mkdir()
    np.testing.assert_array_equal(open_all(folder)[0], frames)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("day1/s1.tif", "s1"),
        ("s1.ome.tif", "s1"),
        ("s 1.OME.TIFF", "s 1"),
        ("s1.v2.tif", "s1.v2"),
        ("s1.avi", "s1"),
        ("s1.btf", "s1"),
        ("s1.dat", "s1.dat"),
        ("día 1/*.png", "día 1"),
        ("day1/part*/x.png", "day1"),
        ("day1/", "day1"),
        (".tif", ".tif"),
    ],
)
def test_names(given: str, name: str) -> None:
    assert name_of(given) == name


def test_natural_order() -> None:
    names = ["f10.png", "f2.png", "F1.png", "f02.png", "g.png", "f2b.png", "1f.png"]
    assert sorted(names, key=lambda n: natural_key(Path(n))) == ["1f.png", "F1.png", "f02.png", "f2.png", "f2b.png", "f10.png", "g.png"]


def odd_format(folder: Path, frame: np.ndarray) -> None:
    save(folder / "a preview.bmp", frame)


def odd_size(folder: Path, frame: np.ndarray) -> None:
    save(folder / "frame7.png", frame[:30])


def odd_depth(folder: Path, frame: np.ndarray) -> None:
    save(folder / "frame7.png", frame.astype(np.uint16))


def odd_colour(folder: Path, frame: np.ndarray) -> None:
    save(folder / "frame7.png", np.stack([frame] * 3, -1))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (odd_format, r"a preview\.bmp is BMP, 24 other frames are PNG"),
        (odd_size, r"frame7\.png is PNG of 48 x 30 px, uint8, 23 other frames are PNG of 48 x 40 px, uint8"),
        (odd_depth, r"frame7\.png is PNG of 48 x 40 px, uint16"),
        (odd_colour, r"frame7\.png is PNG of 48 x 40 px, uint8, 3 samples"),
    ],
)
def test_the_first_odd_file_is_named(tmp_path: Path, spoil: Callable[[Path, np.ndarray], None], words: str) -> None:
    folder = fill(tmp_path / "a", noise())
    spoil(folder, noise(1)[0])
    with pytest.raises(VideoError, match=words) as error:
        open_video(folder, SETTINGS)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_a_damaged_frame_is_named(tmp_path: Path, suffix: str) -> None:
    frames = noise(dtype=np.uint16, high=60000)
    folder = fill(tmp_path / "a", frames, suffix)
    seventh = folder / f"frame7{suffix}"
    whole = seventh.read_bytes()
    seventh.write_bytes(whole[: len(whole) // 2])
    with (
        pytest.raises(VideoError, match=rf"frame7{suffix}: frame 7 \(the first is 0\) cannot be decoded"),
        open_video(folder, SETTINGS) as video,
    ):
        frames_of(video)
    seventh.write_bytes(b"")
    with pytest.raises(VideoError, match=rf"frame7{suffix}: not a"):
        open_video(folder, SETTINGS)


def test_stacks_in_a_folder(tmp_path: Path) -> None:
    frames = noise()
    tifffile.imwrite(tmp_path / "s1.tif", frames, photometric="minisblack")
    read, video = open_all(tmp_path)  # one stack alone is the video
    np.testing.assert_array_equal(read, frames)
    assert video.name == tmp_path.name
    tifffile.imwrite(tmp_path / "s2.tif", frames, photometric="minisblack")
    with pytest.raises(VideoError, match=r"s1\.tif: a stack of 24 frames among other files; give each stack"):
        open_video(tmp_path, SETTINGS)


def test_a_sequence_of_tiffs_says_its_pixel_size(tmp_path: Path) -> None:
    for i, frame in enumerate(noise()):
        tifffile.imwrite(tmp_path / f"f{i}.tif", frame, imagej=True, resolution=(4, 4), metadata={"unit": "um"})
    with open_video(tmp_path, Settings().with_options(fps=25)) as video:
        assert (video.calibration.pixel_size_um.value, video.calibration.pixel_size_um.source) == (0.25, "file")
    folder = fill(tmp_path / "png", noise())
    with pytest.raises(UsageError, match="says neither its pixel size nor its frame rate"):
        open_video(folder, Settings())


def test_colours_and_palettes_of_images(tmp_path: Path) -> None:
    grey = noise()
    folder = tmp_path / "palette"
    folder.mkdir()
    for i, frame in enumerate(grey):
        image = Image.fromarray(frame, mode=None).convert("RGB").quantize(256)  # a palette in any order
        image.save(folder / f"{i}.png")
    read, video = open_all(folder)
    assert read.dtype == np.uint8
    assert video.notices == ()
    assert np.abs(read.astype(int) - grey).max() <= 2
    alpha = np.stack([grey, np.full_like(grey, 77)], -1)
    np.testing.assert_array_equal(open_all(fill(tmp_path / "alpha", alpha))[0], grey)


def test_black_and_white_is_refused(tmp_path: Path) -> None:
    fill(tmp_path / "a", noise() > 100)
    with pytest.raises(VideoError, match="pixels are 1-bit black and white"):
        open_video(tmp_path / "a", SETTINGS)


@pytest.mark.parametrize("name", ["nothing.tif", "no folder", "no folder/s.tif", "nul\0.tif", "x" * 300 + ".tif"])
def test_a_missing_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="no such file or folder; give a TIFF stack, an AVI, MOV, MP4, MKV or WMV file, or a") as error:
        open_video(f"{tmp_path}/{name}", SETTINGS)
    assert error.value.exit_code == 2
    assert "\n" not in str(error.value)


def test_a_file_taken_for_a_folder(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "s.tif", noise())
    with pytest.raises(UsageError, match=r"s\.tif/x: no such file or folder"):
        open_video(tmp_path / "s.tif" / "x", SETTINGS)


def test_a_folder_or_glob_without_images(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(UsageError, match="the folder holds no PNG, JPEG, BMP or TIFF frames") as error:
        open_video(tmp_path, SETTINGS)
    assert error.value.exit_code == 2
    for pattern in ("*.png", "*.txt"):
        with pytest.raises(UsageError, match=r"\*\.\w+: matches no PNG, JPEG, BMP or TIFF frames"):
            open_video(tmp_path / pattern, SETTINGS)


def test_a_single_image(tmp_path: Path) -> None:
    folder = fill(tmp_path / "a", noise(1))
    with pytest.raises(VideoError, match=r"frame0\.png: a single image; a video needs at least 2 frames"):
        open_video(folder / "frame0.png", SETTINGS)
    with pytest.raises(VideoError, match=r"one frame only \(frame0\.png\)"):
        open_video(folder, SETTINGS)


@pytest.mark.parametrize("suffix", ["avi", "MOV", "mp4", "m4v", "mkv", "wmv"])
def test_video_files_are_told_by_their_suffix(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"s.{suffix}").write_bytes(b"RIFF")
    with pytest.raises(VideoError, match=r"not a readable AVI, MOV, MP4, MKV or WMV file") as error:
        open_video(tmp_path / f"s.{suffix}", SETTINGS)
    assert error.value.exit_code == 1
    with pytest.raises(UsageError, match="no such file or folder; give a TIFF stack, an AVI, MOV, MP4, MKV or WMV file, or a folder"):
        open_video(tmp_path / f"missing.{suffix}", SETTINGS)


def test_a_video_file_in_a_folder_of_images_is_no_frame(tmp_path: Path) -> None:
    folder = fill(tmp_path / "a", noise())
    (folder / "preview.avi").write_bytes(b"RIFF")
    np.testing.assert_array_equal(open_all(folder)[0], noise())


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_is_no_video(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "s.tif")
    with pytest.raises(VideoError, match="not a regular file"):
        open_video(tmp_path / "s.tif", SETTINGS)


def test_what_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    tifffile.imwrite(tmp_path / "s.tif", noise())
    with monkeypatch.context() as patch:  # permissions do not stop the superuser, who may run the tests
        patch.setattr(tifffile, "TiffFile", refuse)
        with pytest.raises(VideoError, match=r"s\.tif: cannot be read \(Permission denied\)"):
            open_video(tmp_path / "s.tif", SETTINGS)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "iterdir", refuse)
        with pytest.raises(VideoError, match=r"cannot be read \(Permission denied\)"):
            open_video(tmp_path, SETTINGS)
    with monkeypatch.context() as patch:
        patch.setattr("nta.container.os.stat", refuse)
        with pytest.raises(VideoError, match=r"s\.tif: cannot be read \(Permission denied\)"):
            open_video(tmp_path / "s.tif", SETTINGS)
