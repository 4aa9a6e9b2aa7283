"""Micro-Manager's records: in the tags of a stack, in the file beside a stack, in the file beside single frames."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from nta.errors import UsageError
from nta.metadata import FileSays, Listener
from nta.micromanager import hear_micromanager, read_beside
from nta.settings import Settings
from nta.video import open_video

FRAMES = np.random.default_rng(0).integers(0, 200, (24, 40, 48)).astype(np.uint16)
SUMMARY = {"PixelSize_um": 0.166, "Interval_ms": 0, "BitDepth": 12, "Frames": 24, "Channels": 1, "Slices": 1, "Positions": 1}


def stamps(interval_ms: float, n: int = 24) -> list[int]:
    """Return elapsed times in whole ms, as a computer's clock gives them, with one frame dropped."""
    return [round(117 + i * interval_ms + (interval_ms if i > 15 else 0)) for i in range(n)]


def record(elapsed_ms: Any, **more: Any) -> dict[str, Any]:
    return {"ElapsedTime-ms": elapsed_ms, "Exposure-ms": 15.02, "PixelSizeUm": 0.166, "BitDepth": 12, "ChannelIndex": 0} | more


def heard(summary: dict[str, Any], frames: list[dict[str, Any]]) -> FileSays:
    listener = Listener()
    hear_micromanager(listener, summary, frames)
    return listener.says()


def values(says: FileSays | None) -> dict[str, float]:
    assert says is not None
    return {knob: statement.value for knob, statement in says.values.items()}


def write_stack(path: Path, summary: dict[str, Any], records: list[dict[str, Any]]) -> None:
    """Write a stack as Micro-Manager does: its header and summary in front of the first page, a record in a tag of every page."""
    text = json.dumps(summary).encode()
    start = 40 + len(text) + len(text) % 2
    body, offsets = b"", []
    for i, frame in enumerate(records):
        about, pixels = json.dumps(frame).encode() + b"\0", FRAMES[i].tobytes()
        offset = start + len(body)
        data = offset + 2 + 9 * 12 + 4
        after = data + len(pixels) + len(about) + len(about) % 2
        tags = [
            (256, 3, 1, FRAMES.shape[2]),
            (257, 3, 1, FRAMES.shape[1]),
            (258, 3, 1, 16),
            (259, 3, 1, 1),
            (262, 3, 1, 1),
            (273, 4, 1, data),
            (278, 3, 1, FRAMES.shape[1]),
            (279, 4, 1, len(pixels)),
            (51123, 2, len(about), data + len(pixels)),
        ]
        body += struct.pack("<H", 9) + b"".join(struct.pack("<HHII", *tag) for tag in tags)
        body += struct.pack("<I", after if i + 1 < len(records) else 0) + pixels + about.ljust(len(about) + len(about) % 2, b"\0")
        offsets.append(offset)
    index = start + len(body)
    head = struct.pack("<4sI8I", b"II*\0", start, 54773648, index, 483765892, 0, 99384722, 0, 2355492, len(text))
    table = struct.pack("<II", 3453623, len(records)) + b"".join(struct.pack("<5I", 0, 0, i, 0, o) for i, o in enumerate(offsets))
    path.write_bytes(head + text.ljust(start - 40, b" ") + body + table)


def test_a_stack_gives_pixel_size_rate_exposure_and_depth(tmp_path):
    write_stack(tmp_path / "s.tif", SUMMARY, [record(t) for t in stamps(1000 / 30)])
    with tifffile.TiffFile(tmp_path / "s.tif") as tif:
        assert tif.is_micromanager
        assert (tif.micromanager_metadata or {})["Summary"] == SUMMARY
    with open_video(tmp_path / "s.tif", Settings()) as video:
        assert video.n_frames == 24
        np.testing.assert_array_equal(video.read(23), FRAMES[23])
        assert video.calibration.pixel_size_um.value == 0.166
        assert video.calibration.pixel_size_um.sd == pytest.approx(0.005 * 0.166)
        assert video.calibration.fps.value == pytest.approx(30, rel=1e-3)
        assert video.calibration.exposure_s is not None
        assert video.calibration.exposure_s.value == pytest.approx(0.01502, rel=1e-12)
        assert video.calibration.exposure_s.sd == pytest.approx(0.02 * 0.01502)
        assert video.ceiling == 4095
        assert video.notices == ()


def test_tags_that_another_program_kept_still_speak(tmp_path):
    with tifffile.TiffWriter(tmp_path / "s.tif") as writer:
        for frame, t in zip(FRAMES, stamps(40), strict=True):
            tag = (51123, 2, 0, json.dumps(record(t)), True)
            writer.write(frame, photometric="minisblack", contiguous=False, metadata=None, extratags=[tag])
    with open_video(tmp_path / "s.tif", Settings()) as video:
        assert (video.calibration.pixel_size_um.value, video.calibration.fps.value) == (0.166, pytest.approx(25, rel=1e-9))
        assert video.notices == ()


def test_time_stamps_beat_the_interval_that_was_asked_for():
    assert values(heard(SUMMARY | {"Interval_ms": 10}, [record(t) for t in stamps(40)]))["fps"] == pytest.approx(25, rel=1e-9)
    assert heard(SUMMARY | {"Interval_ms": 10}, [record(t) for t in stamps(40)]).notices == ()
    says = heard(SUMMARY | {"Interval_ms": 40}, [{"Exposure-ms": 15}])
    assert (says.values["fps"].value, says.values["fps"].where) == (25, "Micro-Manager Interval_ms")


def test_an_interval_of_0_is_no_statement():
    says = heard({"Interval_ms": 0, "PixelSize_um": 0.166}, [])
    assert values(says) == {"pixel_size_um": 0.166}
    assert (says.notices, says.refused) == ((), {})


def test_only_the_first_channel_counts_unless_channels_are_time():
    frames = [record(100 * t + 50 * c, ChannelIndex=c, **{"Exposure-ms": 10 + 20 * c}) for t in range(6) for c in (0, 1)]
    assert values(heard(SUMMARY, frames)) == {"pixel_size_um": 0.166, "fps": pytest.approx(10), "exposure_ms": 10}
    frames = [record(40 * c, ChannelIndex=c) for c in range(12)]
    assert values(heard(SUMMARY, frames))["fps"] == pytest.approx(25)


def test_a_page_without_a_pixel_size_leaves_it_to_the_summary():
    says = heard(SUMMARY, [record(t, PixelSizeUm=0) for t in stamps(40)])
    assert (says.values["pixel_size_um"].where, says.notices) == ("Micro-Manager PixelSize_um", ())


@pytest.mark.parametrize("given", [0, -1, "nan", "inf", float("nan"), 1e9, "wide", None, [1], True])
@pytest.mark.parametrize(
    ("key", "knob"),
    [
        ("PixelSizeUm", "pixel_size_um"),
        ("PixelSize_um", "pixel_size_um"),
        ("Exposure-ms", "exposure_ms"),
        ("ElapsedTime-ms", "fps"),
        ("Interval_ms", "fps"),
        ("BitDepth", ""),
    ],
)
def test_values_that_cannot_be_are_refused_by_name(key, knob, given):
    summary, frames = ({key: given}, []) if key in ("PixelSize_um", "Interval_ms") else ({}, [{key: given}, {key: given}])
    says = heard(summary, frames)
    assert (says.values, says.bit_depth) == ({}, None)
    if (key, given) in [("Interval_ms", 0), ("BitDepth", None)]:
        assert says.notices == ()
        return
    (notice,) = says.notices
    assert notice.code == "metadata_refused"
    assert notice.message.startswith(f"the file's Micro-Manager {key}")
    assert set(says.refused) == ({knob} if knob else set())


def test_a_refused_pixel_size_is_named_where_it_is_missed(tmp_path):
    write_stack(tmp_path / "s.tif", SUMMARY | {"PixelSize_um": 0}, [record(t, PixelSizeUm=0.0) for t in stamps(40)])
    with pytest.raises(
        UsageError, match=r"does not say its pixel size \(Micro-Manager PixelSizeUm 0.0 is not used\); give --pixel-size-um"
    ):
        open_video(tmp_path / "s.tif", Settings())


# --- the file beside ---


def text_of(files: list[str], times: list[int], version: int) -> str:
    """Return metadata.txt as version 1 or 2 of Micro-Manager writes it."""
    frames = {}
    for i, (file, t) in enumerate(zip(files, times, strict=True)):
        frames[f"FrameKey-{i}-0-0" if version == 1 else f"Metadata-Default/{file}"] = record(t) | (
            {"FileName": file} if version == 1 else {}
        )
    coordinates = {} if version == 1 else {f"Coords-Default/{file}": {"time": i} for i, file in enumerate(files)}
    return json.dumps({"Summary": SUMMARY | {"Interval_ms": 5}} | coordinates | frames, indent=1)


def write_frames(folder: Path, suffix: str) -> list[str]:
    names = [f"img_channel000_time{i:09d}{suffix}" for i in range(24)]
    for name, frame in zip(names, FRAMES, strict=True):
        if suffix == ".tif":
            tifffile.imwrite(folder / name, frame)
        else:
            Image.fromarray(frame.astype(np.uint8)).save(folder / name)
    return names


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("suffix", [".tif", ".png"])
def test_metadata_beside_single_frames(tmp_path, version, suffix):
    names = write_frames(tmp_path, suffix)
    (tmp_path / "metadata.txt").write_text(text_of(names, [40 * i for i in range(24)], version))
    with open_video(tmp_path, Settings()) as video:
        assert (video.calibration.pixel_size_um.value, video.calibration.fps.value) == (0.166, pytest.approx(25, rel=1e-9))
        assert video.notices == ()
    with open_video(tmp_path / "*[02468].*", Settings()) as video:  # every other frame is half the rate
        assert (video.n_frames, video.calibration.fps.value) == (12, pytest.approx(12.5, rel=1e-9))


def test_frames_that_the_record_does_not_know_have_no_time_stamps(tmp_path):
    names = write_frames(tmp_path, ".png")
    (tmp_path / "metadata.txt").write_text(text_of(names[:-1], stamps(40, 23), 1))
    says = read_beside([tmp_path / name for name in names])
    assert values(says) == {"pixel_size_um": 0.166, "exposure_ms": 15.02, "fps": 200}  # the interval asked for


@pytest.mark.parametrize("name", ["s.tif", "s.ome.tif"])
def test_metadata_beside_a_stack(tmp_path, name):
    tifffile.imwrite(tmp_path / name, FRAMES, photometric="minisblack", metadata=None)
    (tmp_path / "metadata.txt").write_text(text_of(["other.tif"] * 24, stamps(10), 1))  # of another video
    (tmp_path / "s_metadata.txt").write_text(text_of([name] * 24, stamps(40), 1))
    with open_video(tmp_path / name, Settings()) as video:
        assert (video.calibration.pixel_size_um.value, video.calibration.fps.value) == (0.166, pytest.approx(25, rel=1e-9))


def test_a_record_that_was_never_closed_is_read(tmp_path):
    whole = text_of(["s.tif"] * 24, stamps(40), 1)
    for end in ("}", "\n}"):
        (tmp_path / "s_metadata.txt").write_text(whole.removesuffix(end).removesuffix("\n") + ",\n")
        assert values(read_beside([tmp_path / "s.tif"]))["fps"] == pytest.approx(25, rel=1e-9)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"Summary": 3}', "metadata of another program\n", "\0"])
def test_another_kind_of_file_states_nothing(tmp_path, text):
    assert read_beside([tmp_path / "s.tif"]) is None
    (tmp_path / "s_metadata.txt").write_text(text)
    assert read_beside([tmp_path / "s.tif"]) is None
