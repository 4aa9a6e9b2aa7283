"""The `.nano` file beside a NanoSight video, read to the digit, however Windows wrote it."""

from __future__ import annotations

from pathlib import Path

import pytest

from nta.metadata import FileSays
from nta.nano import read_nano

WHOLE = """[CaptureSettings]
CameraType=sCMOS
PixelSize=140,140,1
FramesPerSecond=24.98
Shutter=22.25
Temperature=22.4
Viscosity=0.949
"""
ALL = {"pixel_size_um": 0.14, "fps": 24.98, "exposure_ms": 22.25, "temperature_c": 22.4, "viscosity_mpas": 0.949}


def read(folder: Path, text: str | bytes, name: str = "s.nano") -> FileSays:
    (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)
    says = read_nano(folder / "s.avi")
    assert says is not None
    return says


def values(says: FileSays) -> dict[str, float]:
    return {knob: statement.value for knob, statement in says.values.items()}


def setting(folder: Path, line: str) -> FileSays:
    return read(folder, f"[CaptureSettings]\n{line}\n")


def test_all_five_quantities_with_their_place(tmp_path):
    says = read(tmp_path, WHOLE)
    assert values(says) == pytest.approx(ALL, rel=1e-12)
    assert {s.where for s in says.values.values()} == {
        ".nano PixelSize",
        ".nano FramesPerSecond",
        ".nano Shutter",
        ".nano Temperature",
        ".nano Viscosity",
    }
    assert says.pixel_height_um is not None
    assert says.pixel_height_um.value == pytest.approx(0.14, rel=1e-12)
    assert (says.notices, says.refused) == ((), {})


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_encodings_and_line_ends(tmp_path, encoding, newline):
    text = WHOLE.replace("Temperature=22.4", "Temperature=22.4 °C").replace("\n", newline)
    assert values(read(tmp_path, text.encode(encoding))) == pytest.approx(ALL, rel=1e-12)


def test_case_blanks_comments_quotes_and_other_sections(tmp_path):
    text = """
; NanoSight
Temperature=99
[Processing]
Temperature = 98
Shutter=3
[ capturesettings ]
# of the camera
pixelsize = 140 , 140
FRAMESPERSECOND= "24.98"
shutter =22.25 ; ms
  Temperature = 22.4
no equals sign here
Viscosity=0.949
Viscosity=7
[CaptureSettingsOld]
FramesPerSecond=1
"""
    assert values(read(tmp_path, text)) == pytest.approx(ALL, rel=1e-12)


@pytest.mark.parametrize("missing", ["PixelSize", "FramesPerSecond", "Shutter", "Temperature", "Viscosity"])
def test_a_missing_or_empty_key_is_no_statement(tmp_path, missing):
    knob = dict(zip(["PixelSize", "FramesPerSecond", "Shutter", "Temperature", "Viscosity"], ALL, strict=True))[missing]
    expected = {k: v for k, v in ALL.items() if k != knob}
    lines = WHOLE.splitlines()
    left_out, empty = ([x for x in lines if not x.startswith(missing)], [f"{missing}=" if x.startswith(missing) else x for x in lines])
    for text in ("\n".join(left_out), "\n".join(empty)):
        says = read(tmp_path, text)
        assert values(says) == pytest.approx(expected, rel=1e-12)
        assert says.notices == ()


@pytest.mark.parametrize(
    ("line", "knob", "value"),
    [
        ("FramesPerSecond=24,98", "fps", 24.98),
        ("FramesPerSecond=2.5e1", "fps", 25.0),
        ("Viscosity=0,949", "viscosity_mpas", 0.949),
        ("Shutter=22,25", "exposure_ms", 22.25),
        ("Temperature=22,4", "temperature_c", 22.4),
        ("Temperature=22.4 oC", "temperature_c", 22.4),
        ("Temperature=22.4C", "temperature_c", 22.4),
        ("Temperature=22.4 deg C (sensor)", "temperature_c", 22.4),
        ("Temperature=22.4 - 22.6 C", "temperature_c", 22.5),
        ("Temperature=22,4 to 22,6", "temperature_c", 22.5),
        ("Temperature=about 22.4", "temperature_c", 22.4),
        ("Temperature=295.55 K", "temperature_c", 22.4),
        ("Temperature=72.5 F", "temperature_c", 22.5),
        ("PixelSize=140", "pixel_size_um", 0.14),
        ("PixelSize=163,7; 163,7", "pixel_size_um", 0.1637),
        ("PixelSize=163.7,163.7,163.7", "pixel_size_um", 0.1637),
    ],
)
def test_decimal_commas_and_text_where_they_are_clear(tmp_path, line, knob, value):
    says = setting(tmp_path, line)
    assert values(says) == {knob: pytest.approx(value, rel=1e-9)}
    assert says.notices == ()


def test_width_and_height_are_told_apart(tmp_path):
    says = setting(tmp_path, "PixelSize=140,280")
    assert says.values["pixel_size_um"].value == pytest.approx(0.14)
    assert says.pixel_height_um is not None
    assert says.pixel_height_um.value == pytest.approx(0.28)


@pytest.mark.parametrize("given", ["0", "-1", "nan", "inf", "-inf", "1e12", "fast", "1,000", "1.000,5"])
@pytest.mark.parametrize(
    ("key", "knob", "range_"),
    [
        ("PixelSize", "pixel_size_um", "a pixel size lies between 0.005 and 20 um"),
        ("FramesPerSecond", "fps", "a frame rate lies between 0.01 and 100000 1/s"),
        ("Shutter", "exposure_ms", "an exposure is above 0 and at most 100000 ms"),
        ("Temperature", "temperature_c", "a sample's temperature is above 0 and at most 100 C"),
        ("Viscosity", "viscosity_mpas", "a viscosity lies between 0.05 and 10000 mPa s"),
    ],
)
def test_values_that_cannot_be_are_refused_by_name(tmp_path, key, knob, range_, given):
    says = setting(tmp_path, f"{key}={given}")
    assert values(says) == {}
    assert says.refused == {knob: f".nano {key} {given}"}
    (notice,) = says.notices
    assert notice.code == "metadata_refused"
    assert notice.message == f"the file's .nano {key} {given} is not used: {range_}"


def test_the_file_beside_is_found_in_any_case(tmp_path):
    assert read_nano(tmp_path / "s.avi") is None
    (tmp_path / "t.nano").write_text(WHOLE)
    (tmp_path / "s.nano").mkdir()
    assert read_nano(tmp_path / "s.avi") is None
    (tmp_path / "s.NANO").write_text(WHOLE.replace("24.98", "30"))
    assert values(read_nano(tmp_path / "S.AVI") or FileSays())["fps"] == 30
    (tmp_path / "S.nano").write_text(WHOLE)
    assert values(read_nano(tmp_path / "S.AVI") or FileSays())["fps"] == 24.98  # its own stem before the other
    assert values(read_nano(tmp_path / "s.avi") or FileSays())["fps"] == 30
    assert read_nano(tmp_path / "no folder" / "s.avi") is None


@pytest.mark.parametrize(
    "text", [b"", b"just text", b"[Other]\nShutter=3\n", b"\xff\xfe", b"\0\0\0\0", b"[CaptureSettings]" + b" " * 2**20]
)
def test_another_kind_of_file_is_told_and_not_used(tmp_path, text):
    says = read(tmp_path, text)
    assert says.values == {}
    assert [n.code for n in says.notices] == ["metadata_refused"]
    assert says.notices[0].message == "s.nano has no section [CaptureSettings] and is not used"
