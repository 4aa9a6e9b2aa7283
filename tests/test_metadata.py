"""What files state of their own calibration, read to the digit; what cannot be is refused by name."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from nta.errors import UsageError, VideoError
from nta.imagej import hear_imagej
from nta.metadata import FileSays, Listener, merge
from nta.ome import hear_ome
from nta.settings import Settings
from nta.video import Calibration, Video, _calibrate, open_video

FRAMES = np.random.default_rng(0).integers(0, 200, (24, 40, 48)).astype(np.uint8)


def open_imagej(folder: Path, settings: Settings | None = None, resolution: Any = (5.0, 5.0), **metadata: Any) -> Video:
    path = folder / "s.tif"
    tifffile.imwrite(path, FRAMES, imagej=True, resolution=resolution, metadata={"axes": "TYX", **metadata})
    with open_video(path, settings or Settings()) as video:
        return video


def open_ome(folder: Path, settings: Settings | None = None, **metadata: Any) -> Video:
    path = folder / "s.ome.tif"
    tifffile.imwrite(path, FRAMES, ome=True, photometric="minisblack", metadata={"axes": "TYX", **metadata})
    with open_video(path, settings or Settings()) as video:
        return video


def imagej(meta: dict[str, Any], resolution: tuple[Any, Any]) -> FileSays:
    heard = Listener()
    hear_imagej(heard, meta, resolution)
    return heard.says()


def ome(xml: str) -> FileSays:
    heard = Listener()
    hear_ome(heard, xml)
    return heard.says()


def values(says: FileSays) -> dict[str, float]:
    return {knob: statement.value for knob, statement in says.values.items()}


def messages(video: Video) -> list[str]:
    return [notice.message for notice in video.notices]


@pytest.mark.parametrize(
    ("unit", "per_unit", "pixel_size_um"),
    [
        ("um", 5.0, 0.2),
        ("µm", 5.0, 0.2),
        ("μm", 5.0, 0.2),
        ("\\u00B5m", 5.0, 0.2),
        ("micron", 500 / 83, 0.166),
        ("microns", 5.0, 0.2),
        ("nm", 0.005, 0.2),
        ("mm", 5000.0, 0.2),
        ("cm", 50000.0, 0.2),
        ("inch", 127000.0, 0.2),
    ],
)
def test_imagej_units_of_length(unit: str, per_unit: float, pixel_size_um: float) -> None:
    says = imagej({"unit": unit}, ((round(per_unit * 10**6), 10**6), None))
    assert values(says) == {"pixel_size_um": pytest.approx(pixel_size_um, rel=1e-5)}
    assert says.notices == ()


@pytest.mark.parametrize("unit", ["pixel", "pixels", "", " "])
def test_imagej_without_a_unit_is_not_calibrated(unit: str) -> None:
    says = imagej({"unit": unit}, ((72, 1), (72, 1)))
    assert values(says) == {}
    assert says.notices == ()


def test_a_printers_resolution_is_no_calibration(tmp_path: Path) -> None:
    path = tmp_path / "s.tif"
    tifffile.imwrite(path, FRAMES, photometric="minisblack", resolution=(254000, 254000), resolutionunit="INCH")  # would be 0.1 um
    with pytest.raises(UsageError, match="does not say its pixel size"):
        open_video(path, Settings().with_options(fps=25))
    with pytest.raises(UsageError, match="does not say its pixel size"):
        open_imagej(tmp_path, Settings().with_options(fps=25))


@pytest.mark.parametrize(("unit", "seconds"), [(None, 0.04), ("sec", 0.04), ("ms", 40), ("msec", 40), ("µs", 40000), ("min", 0.04 / 60)])
def test_imagej_frame_interval(unit: str | None, seconds: float) -> None:
    says = imagej({"finterval": seconds, "fps": 25} | ({"tunit": unit} if unit else {}), (None, None))
    assert values(says) == {"fps": pytest.approx(25, rel=1e-12)}
    assert says.values["fps"].caveat == ""
    assert says.notices == ()


def test_imagej_frame_interval_beats_the_playback_rate_and_a_contradiction_is_told() -> None:
    says = imagej({"finterval": 0.04, "fps": 7}, (None, None))
    assert values(says) == {"fps": pytest.approx(25, rel=1e-12)}
    assert [n.code for n in says.notices] == ["metadata_disagrees"]
    assert says.notices[0].message == "the file's ImageJ finterval, 25 1/s, is used, though its ImageJ fps says 7 1/s"
    assert imagej({"finterval": 0.04, "fps": 25.2}, (None, None)).notices == ()
    assert imagej({"finterval": 0.04, "fps": 0}, (None, None)).notices == ()  # what is not needed need not be refused


def test_imagej_fps_is_a_playback_rate(tmp_path: Path) -> None:
    video = open_imagej(tmp_path, unit="um", fps=12.5)
    assert (video.calibration.fps.value, video.calibration.fps.source) == (12.5, "file")
    assert [n.code for n in video.notices] == ["playback_rate"]
    assert "12.5" in messages(video)[0]
    video = open_imagej(tmp_path, Settings().with_options(fps=30), unit="um", fps=12.5)
    assert video.calibration.fps.value == 30
    assert video.notices == ()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("exposure_ms = 15", {"exposure_ms": 15}),
        ("Exposure = 15 ms", {"exposure_ms": 15}),
        ("Exposure: 0.015 s", {"exposure_ms": 15}),
        ("  Exposure time: 15000 µs ", {"exposure_ms": 15}),
        ("exposure_ms = 1.5e1", {"exposure_ms": 15}),
        ("temperature_c = 25", {"temperature_c": 25}),
        ("Temperature = 22.5 °C", {"temperature_c": 22.5}),
        ("Temperature: 22.5 C", {"temperature_c": 22.5}),
        ("Temperature = 295.65 K", {"temperature_c": pytest.approx(22.5)}),
        ("Exposure = 15", {}),  # of what?
        ("Exposure = 15 lines", {}),
        ("exposure_ms = about 15", {}),
        ("Auto Exposure = 15 ms", {}),
        ("Exposure = 15 ms per line", {}),
        ("Sensor Temperature = 25", {}),
        ("Temperature = warm", {}),
    ],
)
def test_imagej_info_lines(line: str, expected: dict[str, float]) -> None:
    says = imagej({"Info": f"Title: s1\n{line}\r\n\nmore = 3"}, (None, None))
    assert values(says) == expected
    assert says.notices == ()


def test_imagej_file_gives_all_four(tmp_path: Path) -> None:
    video = open_imagej(
        tmp_path, resolution=(1 / 0.166, 1 / 0.166), unit="um", finterval=0.04, Info="exposure_ms = 15\ntemperature_c = 22.5\n"
    )
    calibration: Calibration = video.calibration
    assert calibration.pixel_size_um.value == pytest.approx(0.166, rel=1e-6)
    assert calibration.pixel_size_um.sd == pytest.approx(0.005 * 0.166, rel=1e-6)
    assert (calibration.fps.value, calibration.fps.sd) == (pytest.approx(25, rel=1e-12), 0)
    assert calibration.exposure_s is not None
    assert (calibration.exposure_s.value, calibration.exposure_s.sd) == (pytest.approx(0.015), pytest.approx(0.0003))
    assert (calibration.temperature_c.value, calibration.temperature_c.sd) == (22.5, 0.3)
    sources = {u.source for u in (calibration.pixel_size_um, calibration.fps, calibration.exposure_s, calibration.temperature_c)}
    assert sources == {"file"}
    assert video.notices == ()


def test_ome_file_gives_pixel_size_and_interval(tmp_path: Path) -> None:
    video = open_ome(
        tmp_path,
        PhysicalSizeX=166,
        PhysicalSizeXUnit="nm",
        PhysicalSizeY=0.166,
        PhysicalSizeYUnit="µm",
        TimeIncrement=40,
        TimeIncrementUnit="ms",
        Plane={"ExposureTime": [15.0] * 24, "ExposureTimeUnit": ["ms"] * 24, "DeltaT": [i * 0.04 for i in range(24)]},
    )
    assert video.calibration.pixel_size_um.value == pytest.approx(0.166, rel=1e-9)
    assert video.calibration.fps.value == pytest.approx(25, rel=1e-9)
    assert video.calibration.exposure_s is not None
    assert video.calibration.exposure_s.value == pytest.approx(0.015, rel=1e-9)
    assert video.notices == ()


def test_ome_time_stamps_that_contradict_the_increment_are_told() -> None:
    planes = "".join(f'<Plane TheT="{t}" DeltaT="{0.05 * t}"/>' for t in range(3))
    says = ome(ome_xml('TimeIncrement="0.04"', planes))
    assert values(says) == {"fps": 25}
    assert [n.message for n in says.notices] == ["the file's OME TimeIncrement, 25 1/s, is used, though its OME DeltaT says 20 1/s"]


def test_ome_default_units_are_um_and_s(tmp_path: Path) -> None:
    video = open_ome(tmp_path, PhysicalSizeX=0.166, TimeIncrement=0.04)
    assert (video.calibration.pixel_size_um.value, video.calibration.fps.value) == (0.166, 25)


@pytest.mark.parametrize("time", ["T", "Z"])
def test_ome_time_stamps_of_planes(tmp_path: Path, time: str) -> None:
    """Stamps in whole milliseconds, one frame dropped: the interval is 1/30 s all the same, where the median alone says 33 ms."""
    stamps = [round(i * 1000 / 30 + (300 if i > 15 else 0)) for i in range(24)]
    path = tmp_path / "s.ome.tif"
    plane = {"DeltaT": stamps, "DeltaTUnit": ["ms"] * 24}
    tifffile.imwrite(path, FRAMES, ome=True, photometric="minisblack", metadata={"axes": f"{time}YX", "PhysicalSizeX": 0.2, "Plane": plane})
    with open_video(path, Settings()) as video:
        assert video.calibration.fps.value == pytest.approx(30, rel=2e-3)


def ome_xml(pixels: str = "", planes: str = "", image: str = "") -> str:
    return (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
        f'{image}<Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" SizeX="8" SizeY="8" SizeC="2" SizeZ="1" SizeT="3" {pixels}>'
        f"{planes}</Pixels></Image></OME>"
    )


@pytest.mark.parametrize(
    ("given", "unit", "celsius"), [("22.5", None, 22.5), ("22.5", "°C", 22.5), ("295.65", "K", 22.5), ("72.5", "°F", 22.5)]
)
def test_ome_temperature(given: str, unit: str | None, celsius: float) -> None:
    unit_text = f' TemperatureUnit="{unit}"' if unit else ""
    says = ome(ome_xml(image=f'<ImagingEnvironment Temperature="{given}"{unit_text}/>'))
    assert values(says) == {"temperature_c": pytest.approx(celsius)}


def test_ome_planes_of_the_first_channel_count() -> None:
    planes = "".join(
        f'<Plane TheT="{t}" TheC="{c}" TheZ="0" DeltaT="{0.1 * t + 0.05 * c}" ExposureTime="{0.01 + 0.02 * c}"/>'
        for t in (2, 0, 1)
        for c in (0, 1)
    )
    assert values(ome(ome_xml(planes=planes))) == {"fps": pytest.approx(10), "exposure_ms": pytest.approx(10)}
    assert ome(ome_xml('SignificantBits="12"')).bit_depth == 12


@pytest.mark.parametrize("given", ["0", "-12", "1", "33", "12.5", "nan", "inf", "deep"])
def test_bit_depths_that_cannot_be(given: str) -> None:
    says = ome(ome_xml(f'SignificantBits="{given}"'))
    assert says.bit_depth is None
    assert [n.message for n in says.notices] == [f"the file's OME SignificantBits {given} is not used: a camera fills 8 to 32 bits"]


@pytest.mark.parametrize("text", ["", "<OME", "<OME/>", "<OME><Image/></OME>"])
def test_ome_text_that_is_cut_states_nothing(text: str) -> None:
    assert ome(text) == FileSays()


@pytest.mark.parametrize("given", [0, -0.04, "nan", "inf", 1e9, 1e-9])
def test_frame_intervals_that_cannot_be(given: Any) -> None:
    says = imagej({"finterval": given}, (None, None))
    assert values(says) == {}
    assert says.refused == {"fps": f"ImageJ finterval {given}"}
    (notice,) = says.notices
    assert notice.code == "metadata_refused"
    assert notice.message == f"the file's ImageJ finterval {given} is not used: a frame rate lies between 0.01 and 100000 1/s"
    assert [n.message.split(" is not")[0] for n in ome(ome_xml(f'TimeIncrement="{given}"')).notices] == [
        f"the file's OME TimeIncrement {given}"
    ]


@pytest.mark.parametrize("given", ["0", "-15", "nan", "inf", "1e9"])
def test_ome_exposures_that_cannot_be(given: str) -> None:
    says = ome(ome_xml(planes=f'<Plane ExposureTime="{given}" ExposureTimeUnit="ms"/>'))
    assert values(says) == {}
    (notice,) = says.notices
    assert notice.message == f"the file's OME ExposureTime {float(given):g} ms is not used: an exposure is above 0 and at most 100000 ms"


@pytest.mark.parametrize("given", ["0", "-20", "nan", "inf", "295.65"])
def test_ome_temperatures_that_cannot_be(given: str) -> None:
    says = ome(ome_xml(image=f'<ImagingEnvironment Temperature="{given}"/>'))
    assert values(says) == {}
    assert says.refused == {"temperature_c": f"OME Temperature {given}"}


@pytest.mark.parametrize("steps", [(0, 0, 0), (0, -1, -2), (0, "nan", 2), (0, "inf", 1)])
def test_ome_time_stamps_that_cannot_be(steps: tuple[Any, ...]) -> None:
    says = ome(ome_xml(planes="".join(f'<Plane TheT="{t}" DeltaT="{stamp}"/>' for t, stamp in enumerate(steps))))
    assert values(says) == {}
    assert [n.code for n in says.notices] == ["metadata_refused"]
    assert says.refused["fps"].startswith("OME DeltaT step ")


@pytest.mark.parametrize("given", ["0", "-0.2", "nan", "1000", "0.0001", "wide"])
def test_pixel_sizes_that_cannot_be(given: str) -> None:
    says = ome(ome_xml(f'PhysicalSizeX="{given}"'))
    assert values(says) == {}
    assert says.refused == {"pixel_size_um": f"OME PhysicalSizeX {given}"}
    assert "lies between 0.005 and 20 um" in says.notices[0].message


@pytest.mark.parametrize("fraction", [(0, 1), (-5, 1), (1, 1000), (10**6, 1), None])
def test_resolutions_that_cannot_be(fraction: Any) -> None:
    says = imagej({"unit": "um"}, (fraction, None))
    assert values(says) == {}
    assert "ImageJ resolution" in says.refused["pixel_size_um"]


@pytest.mark.parametrize(
    ("info", "words"),
    [
        ("exposure_ms = 0", "exposure_ms 0"),
        ("Exposure = -3 ms", "Exposure -3 ms"),
        ("exposure_ms = nan", "exposure_ms nan"),
        ("Temperature = 0", "Temperature 0"),
        ("Temperature = -70 C", "Temperature -70 C"),
        ("Temperature = 298.15", "Temperature 298.15"),
    ],
)
def test_exposures_and_temperatures_that_cannot_be(info: str, words: str) -> None:
    says = imagej({"Info": info}, (None, None))
    assert values(says) == {}
    assert f"ImageJ Info {words} is not used" in says.notices[0].message


def test_a_second_field_stands_in_for_a_refused_one() -> None:
    says = imagej({"finterval": 0, "fps": 25}, (None, None))
    assert values(says) == {"fps": 25}
    assert says.refused == {}
    assert len(says.notices) == 1


def test_an_unknown_unit_is_named() -> None:
    says = imagej({"unit": "furlong"}, ((5, 1), (5, 1)))
    assert values(says) == {}
    assert "ImageJ unit 'furlong' is not used" in says.notices[0].message


def test_a_refused_value_is_named_where_it_is_missed(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"does not say its frame rate \(ImageJ finterval 0 is not used\); give --fps \(for example --fps 25\)"
    ):
        open_imagej(tmp_path, unit="um", finterval=0)
    video = open_imagej(tmp_path, Settings().with_options(fps=25), unit="um", finterval=0)
    assert [n.code for n in video.notices] == ["metadata_refused"]


def test_non_square_pixels(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"non-square pixels, 0\.2 um wide and 0\.202 um high .*--pixel-size-um"):
        open_ome(tmp_path, PhysicalSizeX=0.2, PhysicalSizeY=0.202, TimeIncrement=0.04)
    with pytest.raises(VideoError, match="non-square pixels"):
        open_imagej(tmp_path, resolution=(5.0, 4.9), unit="um", finterval=0.04)
    assert open_ome(tmp_path, PhysicalSizeX=0.2, PhysicalSizeY=0.2008, TimeIncrement=0.04).calibration.pixel_size_um.value == 0.2
    video = open_ome(tmp_path, Settings().with_options(pixel_size_um=0.2), PhysicalSizeX=0.2, PhysicalSizeY=0.202, TimeIncrement=0.04)
    assert [n.code for n in video.notices] == ["metadata_disagrees"]


@pytest.mark.parametrize(
    ("knob", "same", "other", "said"),
    [
        ("pixel_size_um", 0.2015, 0.203, "0.2 um"),
        ("fps", 25.2, 26, "25 1/s"),
        ("exposure_ms", 15.1, 16, "15 ms"),
        ("temperature_c", 22.4, 22.6, "22 C"),
    ],
)
@pytest.mark.parametrize("source", ["option", "sop"])
def test_a_choice_beats_the_file_and_a_contradiction_is_told(
    tmp_path: Path, knob: str, same: float, other: float, said: str, source: str
) -> None:
    file = {"unit": "um", "finterval": 0.04, "Info": "exposure_ms = 15\ntemperature_c = 22\n"}
    for chosen in (same, other):
        video = open_imagej(tmp_path, Settings().with_options(source=source, **{knob: chosen}), **file)
        used = getattr(video.calibration, knob.replace("exposure_ms", "exposure_s"))
        assert used.source == source
        assert used.value == pytest.approx(chosen / (1000 if knob == "exposure_ms" else 1))
        if chosen == same:
            assert video.notices == ()
        else:
            (notice,) = video.notices
            who = "the protocol's" if source == "sop" else "the given"
            assert notice.code == "metadata_disagrees"
            assert notice.message.startswith(f"{who} {knob} {other:g} is used, but the file says {said} (")


def test_an_exposure_longer_than_a_frame(tmp_path: Path) -> None:
    video = open_imagej(tmp_path, unit="um", finterval=0.04, Info="exposure_ms = 41")
    assert video.calibration.exposure_s is None
    assert "exposure_ms 41 ms is longer than the 40 ms between frames" in messages(video)[0]
    with pytest.raises(UsageError, match=r"--exposure-ms 41 ms is longer than the 40 ms between frames \(at 25 frames per second\)"):
        open_imagej(tmp_path, Settings().with_options(exposure_ms=41), unit="um", finterval=0.04)
    video = open_imagej(tmp_path, Settings().with_options(exposure_ms=40), unit="um", finterval=0.04)
    assert video.calibration.exposure_s is not None
    assert math.isclose(video.calibration.exposure_s.value, 0.04)


@pytest.mark.parametrize(
    ("options", "value", "source", "sd"),
    [
        ({}, 25.0, "assumed", 2.0),
        ({"temperature_sd_c": 1.0}, 25.0, "assumed", 1.0),
        ({"temperature_c": 22.0}, 22.0, "option", 0.3),
        ({"temperature_c": 22.0, "temperature_sd_c": 0.0}, 22.0, "option", 0.0),
    ],
)
def test_temperature_and_its_uncertainty(tmp_path: Path, options: dict[str, float], value: float, source: str, sd: float) -> None:
    used = open_imagej(tmp_path, Settings().with_options(**options), unit="um", finterval=0.04).calibration.temperature_c
    assert (used.value, used.source, used.sd) == (value, source, sd)


def said(knob: str, value: float, where: str, *, height: float | None = None) -> FileSays:
    heard = Listener()
    heard.hear(knob, value, where, value)
    if height is not None:
        heard.hear_height(height, where, height)
    return heard.says()


def test_of_two_sources_the_first_is_believed_and_the_second_fills_in() -> None:
    both = merge(said("fps", 25, ".nano FramesPerSecond"), said("exposure_ms", 15, "OME ExposureTime"))
    assert values(both) == {"fps": 25, "exposure_ms": 15}
    assert both.notices == ()
    both = merge(said("fps", 25, ".nano FramesPerSecond"), said("fps", 30, "AVI frame rate"))
    assert values(both) == {"fps": 25}
    assert [(n.code, n.message) for n in both.notices] == [
        ("metadata_disagrees", "the file's .nano FramesPerSecond, 25 1/s, is used, though its AVI frame rate says 30 1/s")
    ]
    assert merge(said("fps", 25, "a"), said("fps", 25.2, "b")).notices == ()


def test_what_one_source_knows_need_not_be_refused_in_the_other() -> None:
    good, bad = said("fps", 25, "good"), said("fps", 0, "bad")
    assert (values(merge(good, bad)), merge(good, bad).refused, merge(good, bad).notices) == ({"fps": 25}, {}, ())
    assert (values(merge(bad, good)), merge(bad, good).refused) == ({"fps": 25}, {})
    assert [n.message for n in merge(bad, good).notices] == ["the file's bad 0 is not used: a frame rate lies between 0.01 and 100000 1/s"]
    assert merge(bad, FileSays(bit_depth=12)).refused == {"fps": "bad 0"}
    assert merge(bad, FileSays(bit_depth=12)).bit_depth == 12


def test_the_height_of_a_pixel_comes_with_its_width() -> None:
    both = merge(said("pixel_size_um", 0.2, "a"), said("pixel_size_um", 0.2, "b", height=0.3))
    assert both.pixel_height_um is None
    both = merge(said("fps", 25, "a"), said("pixel_size_um", 0.2, "b", height=0.3))
    assert both.pixel_height_um is not None
    assert both.pixel_height_um.value == 0.3


def viscosity_notices(says: FileSays, **options: Any) -> list[str]:
    settings = Settings().with_options(pixel_size_um=0.2, fps=25, temperature_c=20, **options)
    _, notices = _calibrate(says, settings, "s.avi")
    assert {n.code for n in notices} <= {"metadata_disagrees"}
    return [n.message for n in notices]


def test_a_stated_viscosity_is_compared_and_never_taken() -> None:
    assert viscosity_notices(said("viscosity_mpas", 1.006, ".nano Viscosity")) == []  # within 1 % of water's 1.0016
    assert viscosity_notices(said("viscosity_mpas", 0.949, ".nano Viscosity")) == [
        "the viscosity of water at 20 C, 1.002 mPa s, is used, but the file says 0.949 mPa s (.nano Viscosity); "
        "--viscosity-mpas or --medium settles it"
    ]
    assert viscosity_notices(said("viscosity_mpas", 1.0127, ".nano Viscosity"), medium="pbs") == []
    assert viscosity_notices(said("viscosity_mpas", 0.949, ".nano Viscosity"), viscosity_mpas=0.95) == []
    assert viscosity_notices(said("viscosity_mpas", 0.949, ".nano Viscosity"), viscosity_mpas=1.1) == [
        "the given viscosity_mpas 1.1 is used, but the file says 0.949 mPa s (.nano Viscosity)"
    ]
