from __future__ import annotations

import math
import re
from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nta.errors import UsageError
from nta.settings import KNOBS, Knob, Settings, Used, nearest_hint

NUMBERS = [knob for knob in KNOBS.values() if knob.kind in (int, float)]
TEXTS = [knob for knob in KNOBS.values() if knob.kind is str]


def identifiers(knobs):
    return [knob.name for knob in knobs]


# --- the registry ---


@pytest.mark.parametrize("knob", KNOBS.values(), ids=KNOBS)
def test_every_knob_is_described_and_its_default_and_example_are_allowed(knob: Knob):
    assert knob.help
    assert knob.help[0].islower() or knob.help[0].isdigit()
    assert knob.check(knob.default) == knob.default
    if knob.default is None:
        assert knob.auto, "help must say what auto means"
    if knob.kind is not bool:
        assert knob.check(knob.example) is not None


@pytest.mark.parametrize("knob", NUMBERS, ids=identifiers(NUMBERS))
def test_every_number_has_a_range_whose_edges_are_in_it(knob: Knob):
    assert knob.low is not None
    assert knob.high is not None
    assert knob.check(knob.low) == knob.low
    assert knob.check(knob.high) == knob.high
    for value in (knob.low - 1, math.nextafter(knob.low, -math.inf), knob.high * 2, math.inf, -math.inf):
        with pytest.raises(UsageError, match=rf"^{knob.option}: .*(is outside {re.escape(knob.range)}|is not a whole number)"):
            knob.check(value)


def test_units_stand_in_the_names():
    endings = {"um": "_um", "nm": "_nm", "ms": "_ms", "C": "_c", "mPa s": "_mpas"}
    for knob in NUMBERS:
        if knob.unit in endings:
            assert knob.name.endswith(endings[knob.unit])


# --- checking a value ---


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("fps", 25, 25.0),
        ("fps", "29.97", 29.97),
        ("fps", np.float64(30), 30.0),
        ("min_frames", 7, 7),
        ("min_frames", "7", 7),
        ("min_frames", 7.0, 7),
        ("min_frames", np.int32(7), 7),
        ("seed", 2**32 - 1, 2**32 - 1),
        ("polarity", "dark", "dark"),
        ("frames", "0:600", "0:600"),
        ("frames", ":600", ":600"),
        ("frames", "-100:", "-100:"),
        ("roi", "0, 0, 512, 400", "0, 0, 512, 400"),
        ("log_bins", True, True),
        ("fps", None, None),
    ],
)
def test_check_returns_the_value_in_the_kind_of_the_knob(name, value, expected):
    checked = KNOBS[name].check(value)
    assert checked == expected
    assert type(checked) is type(expected)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("fps", 0, "--fps: 0 is outside 0.01 to 100000 1/s"),
        ("fps", -25.0, "--fps: -25.0 is outside 0.01 to 100000 1/s"),
        ("fps", "fast", "--fps: 'fast' is not a number; an example is 25"),
        ("fps", "29,97", "--fps: '29,97' is not a number (decimals take a point); an example is 25"),
        ("fps", math.nan, "--fps: nan is not a number; an example is 25"),
        ("fps", True, "--fps: True is not a number; an example is 25"),
        ("fps", [25], "--fps: [25] is not a number; an example is 25"),
        ("pixel_size_um", 166, "--pixel-size-um: 166 is outside 0.005 to 20 um"),
        ("min_frames", 2, "--min-frames: 2 is outside 3 to 10000 frames"),
        ("min_frames", 5.5, "--min-frames: 5.5 is not a whole number; an example is 5"),
        ("min_frames", "5.5", "--min-frames: '5.5' is not a whole number; an example is 5"),
        ("polarity", "light", "--polarity: 'light' is not one of auto, bright, dark"),
        ("medium", "sucrose 10 %", "--medium: 'sucrose 10 %' is not NAME[:AMOUNT]; an example is saline:0.15"),
        ("medium", "sucrose:", "--medium: 'sucrose:' is not NAME[:AMOUNT]; an example is saline:0.15"),
        ("polarity", 1, "--polarity: 1 is not text; an example is dark"),
        ("frames", "0-600", "--frames: '0-600' is not FIRST:STOP; an example is 0:600"),
        ("frames", "", "--frames: '' is not FIRST:STOP; an example is 0:600"),
        ("roi", "0,0,512", "--roi: '0,0,512' is not X,Y,W,H; an example is 0,0,512,400"),
        ("classes", "  ", "--classes: '  ' is not CLASSES; an example is small:30-200,large:200-"),
        ("log_bins", "yes", "--log-bins: 'yes' is neither true nor false"),
        ("log_bins", 1, "--log-bins: 1 is neither true nor false"),
    ],
)
def test_check_says_what_was_given_and_what_is_allowed(name, value, message):
    with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
        KNOBS[name].check(value)


def test_a_whole_number_beyond_any_float_is_outside_not_a_crash():
    with pytest.raises(UsageError, match=r"^--fps: 10+ is outside 0.01 to 100000 1/s$"):
        KNOBS["fps"].check(10**400)
    with pytest.raises(UsageError, match=r"^--min-frames: inf is outside 3 to 10000 frames$"):
        KNOBS["min_frames"].check(math.inf)


@given(value=st.one_of(st.floats(), st.integers(), st.text(), st.booleans(), st.binary(), st.lists(st.integers()), st.dates()))
@pytest.mark.parametrize("knob", KNOBS.values(), ids=KNOBS)
def test_check_returns_an_allowed_value_or_refuses_whatever_it_is_given(knob: Knob, value):
    try:
        checked = knob.check(value)
    except UsageError:
        with pytest.raises(UsageError, match=f"^{knob.option}: "):
            knob.check(value)
    else:
        assert type(checked) is knob.kind
        assert knob.check(checked) == checked
        if knob.kind in (int, float):
            assert knob.low <= checked <= knob.high


# --- setting and reading ---


def test_defaults_are_nobodys_choice():
    settings = Settings()
    assert settings.chosen == {}
    assert settings.to_toml() == ""
    for name, knob in KNOBS.items():
        assert settings.used(name) == Used(knob.default, "default")


def test_with_options_sets_a_copy_and_says_who_chose():
    before = Settings()
    after = before.with_options(fps=25, min_frames="8", polarity=None)
    assert after.value("fps") == after.video.fps == 25.0
    assert after.used("min_frames") == Used(8, "option")
    assert after.used("polarity") == Used(None, "default")
    assert before == Settings()
    with pytest.raises(FrozenInstanceError, match="fps"):
        after.video.fps = 30  # type: ignore[misc]


def test_with_options_refuses_unknown_names_with_the_nearest():
    with pytest.raises(UsageError, match=r"^unknown setting 'pixel_size'; did you mean 'pixel_size_um'\?$"):
        Settings().with_options(pixel_size=0.1)
    with pytest.raises(UsageError, match=r"^unknown setting 'zzz'; known: pixel_size_um, fps, "):
        Settings().with_options(zzz=1)


def test_auto_puts_a_choice_back():
    settings = Settings().with_options(source="sop", polarity="dark", min_frames=9).with_options(polarity="auto", min_frames="auto")
    assert settings == Settings()


def test_nearest_hint_lists_what_is_known_when_nothing_is_near():
    assert nearest_hint("fsp", ["fps", "roi"]) == "; did you mean 'fps'?"
    assert nearest_hint("q", ["fps", "roi"]) == "; known: fps, roi"


# --- protocol files ---


def protocol(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "sop.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_protocol_holds_only_what_was_chosen(tmp_path):
    settings = Settings().with_options(fps=25, classes="small:30-200,large:200-", log_bins=True)
    text = settings.to_toml()
    assert text == '[video]\nfps = 25.0\n\n[distribution]\nlog_bins = true\n\n[classes]\nclasses = "small:30-200,large:200-"\n'
    back = Settings.from_toml(protocol(tmp_path, text))
    assert back.chosen == dict.fromkeys(["fps", "classes", "log_bins"], "sop")
    assert back.to_toml() == text


@given(data=st.data())
def test_protocol_survives_the_round_trip(tmp_path_factory, data):
    names = data.draw(st.lists(st.sampled_from(sorted(KNOBS)), unique=True))
    options = {}
    for name in names:
        knob = KNOBS[name]
        if knob.kind is bool:
            options[name] = data.draw(st.booleans())
        elif knob.kind is str:
            options[name] = data.draw(st.sampled_from(knob.choices or (knob.example,)))
        elif knob.kind is int:
            options[name] = data.draw(st.integers(int(knob.low), int(knob.high)))
        else:
            options[name] = data.draw(st.floats(knob.low, knob.high))
    settings = Settings().with_options(source="sop", **options)
    assert Settings.from_toml(protocol(tmp_path_factory.getbasetemp(), settings.to_toml())) == settings


def test_option_beats_protocol(tmp_path):
    sop = Settings.from_toml(protocol(tmp_path, "[video]\nfps = 25\npixel_size_um = 0.2\npolarity = 'auto'\n"))
    settings = sop.with_options(fps=30)
    assert settings.used("fps") == Used(30.0, "option")
    assert settings.used("pixel_size_um") == Used(0.2, "sop")
    assert settings.used("polarity") == Used(None, "default")


def test_protocol_of_a_windows_editor_is_read(tmp_path):
    assert Settings.from_toml(protocol(tmp_path, b"\xef\xbb\xbf[video]\r\nfps = 25\r\n")).video.fps == 25.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[vidoe]\nfps = 25\n", r"unknown section \[vidoe\]; did you mean 'video'\?"),
        ("[video]\nfpps = 25\n", r"unknown setting 'fpps' in \[video\]; did you mean 'fps'\?"),
        ("[video]\nmin_frames = 5\n", r"'min_frames' belongs under \[tracks\], not \[video\]"),
        ("fps = 25\n", r"'fps' belongs under \[video\]"),
        ("video = 25\n", r"\[video\] must be a table of settings"),
        ("[video]\nfps = 0\n", "fps: 0 is outside 0.01 to 100000 1/s"),
        ("[video]\nfps = 1979-05-27\n", r"fps: datetime.date\(1979, 5, 27\) is not a number; an example is 25"),
        ("[video\n", "is not a TOML file "),
        (b"\xff\xfe", "is not a TOML file "),
    ],
)
def test_protocol_errors_name_the_file_and_what_is_wrong(tmp_path, text, message):
    path = protocol(tmp_path, text)
    with pytest.raises(UsageError, match=rf"^--sop: {re.escape(str(path))}:? {message}"):
        Settings.from_toml(path)


def test_protocol_that_is_not_there_or_a_folder(tmp_path):
    with pytest.raises(UsageError, match=r"^--sop: no such file: .*nope\.toml$"):
        Settings.from_toml(tmp_path / "nope.toml")
    with pytest.raises(UsageError, match=r"^--sop: .* cannot be read \(.*\)$"):
        Settings.from_toml(tmp_path)
