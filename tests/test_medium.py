from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from nta import medium
from nta.errors import UsageError
from nta.medium import MEDIA, parse_medium, viscosity_mpas, viscosity_slope
from nta.pipeline import analyze
from nta.settings import KNOBS

TYPICAL = ["water", "pbs", "d2o", "saline:0.15", "glycerol:0.2", "sucrose:0.1", "ethanol:0.2"]


def corners(name: str) -> list[tuple[str, float]]:
    """Return the medium at the ends of its amounts, each with the ends of its temperatures."""
    found = MEDIA[name]
    texts = [f"{name}:{amount}" for amount in found.amounts] if found.amount else [name]
    return [(text, celsius) for text in texts for celsius in found.range_c]


@pytest.mark.parametrize(("celsius", "mpas"), [(20.0, 1.0016), (25.0, 0.8900), (37.0, 0.6913)])
def test_water_meets_the_check_values_of_huber_2009(celsius: float, mpas: float) -> None:
    assert medium.water_viscosity_mpas(celsius) == pytest.approx(mpas, rel=1e-3)


@pytest.mark.parametrize(("celsius", "mpas"), [(0.0, 1.792), (10.0, 1.306), (40.0, 0.653), (60.0, 0.4658), (80.0, 0.3538), (99.0, 0.2846)])
def test_water_meets_handbook_values_over_the_range(celsius: float, mpas: float) -> None:
    # CRC Handbook, viscosity of liquid water; Huber's correlation is stated to 1 %
    assert medium.water_viscosity_mpas(celsius) == pytest.approx(mpas, rel=0.01)


@pytest.mark.parametrize("celsius", [-10.001, 100.001, -273.15, 1e9, math.nan])
def test_outside_the_range_the_message_names_value_range_and_option(celsius: float) -> None:
    with pytest.raises(UsageError, match=r"temperature .* C is outside -10 to 100 C.* of water is known; give --viscosity-mpas") as caught:
        medium.water_viscosity_mpas(celsius)
    assert f"{celsius:g}" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "celsius", "bounds"),
    [
        ("saline:0.15", -0.1, "0 to 100"),
        ("pbs", 100.1, "0 to 100"),
        ("d2o", 3.9, "4 to 100"),
        ("glycerol:0.2", -1, "0 to 100"),
        ("sucrose:0.1", 60.5, "0 to 60"),
        ("ethanol:0.2", 4, "5 to 50"),
    ],
)
def test_every_medium_ends_where_its_publication_does(text: str, celsius: float, bounds: str) -> None:
    for of_temperature in (viscosity_mpas, viscosity_slope):
        with pytest.raises(UsageError, match=f"temperature {celsius:g} C is outside {bounds} C, where the viscosity of {text} is known"):
            of_temperature(text, celsius)


@pytest.mark.parametrize(
    ("text", "name", "amount"),
    [
        ("water", "water", 0.0),
        ("PBS", "pbs", 0.0),
        ("D2O", "d2o", 0.0),
        ("saline:0.15", "saline", 0.15),
        ("Saline : 1.5e-1", "saline", 0.15),
        ("saline:0", "saline", 0.0),
        ("glycerol:1", "glycerol", 1.0),
        ("sucrose:0.48", "sucrose", 0.48),
        ("ethanol:.5", "ethanol", 0.5),
    ],
)
def test_a_medium_is_a_name_and_where_it_needs_one_an_amount(text: str, name: str, amount: float) -> None:
    found, given = parse_medium(text)
    assert (found.name, given) == (name, amount)
    assert viscosity_mpas(text, 25.0) == found.formula(25.0, amount)
    assert KNOBS["medium"].check(text) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("blood", r"--medium: 'blood' is not known; known: water, saline:AMOUNT, pbs, d2o, .*; for any other give --viscosity-mpas"),
        ("salin:0.15", r"--medium: 'salin' is not known"),
        (
            "saline",
            r"--medium: 'saline' lacks its amount; give saline:AMOUNT, the mol/L of NaCl, 0 to 5; .* --viscosity-mpas",
        ),
        ("glycerol:", r"--medium: 'glycerol:' lacks its amount; give glycerol:AMOUNT, the mass fraction of glycerol, 0 to 1"),
        ("water:0.2", r"--medium: 'water:0.2': water takes no amount; give water; for any other give --viscosity-mpas"),
        ("pbs:1", r"--medium: 'pbs:1': pbs takes no amount"),
        ("saline:0,15", r"--medium: 'saline:0,15': '0,15' is not a number \(decimals take a point\); give saline:AMOUNT"),
        ("sucrose:10%", r"--medium: 'sucrose:10%': '10%' is not a number; give sucrose:AMOUNT, the mass fraction of sucrose, 0 to 0.48"),
        (
            "sucrose:10",
            r"'sucrose:10': 10 is outside the range of sucrose:AMOUNT, the mass fraction of sucrose, 0 to 0.48.*--viscosity-mpas",
        ),
        ("saline:5.1", r"'saline:5.1': 5.1 is outside the range of saline:AMOUNT, the mol/L of NaCl, 0 to 5"),
        ("saline:-0.1", r"-0.1 is outside the range"),
        ("glycerol:nan", r"nan is outside the range"),
        ("glycerol:inf", r"inf is outside the range"),
        ("ethanol:0.51", r"0.51 is outside the range of ethanol:AMOUNT, the mass fraction of ethanol, 0 to 0.5"),
    ],
)
def test_what_is_no_medium_is_refused_by_name_value_range_and_way_out(text: str, message: str) -> None:
    for ask in (parse_medium, lambda t: viscosity_mpas(t, 25.0), lambda t: viscosity_slope(t, 25.0), medium.viscosity_sd):
        with pytest.raises(UsageError, match=message):
            ask(text)


def test_an_unknown_medium_is_refused_before_the_video_is_looked_for() -> None:
    with pytest.raises(UsageError, match="'blood' is not known"):
        analyze("no such file.tif", medium="blood")
    with pytest.raises(UsageError, match="10 is outside the range of sucrose"):
        analyze("no such file.tif", medium="sucrose:10")


def test_a_temperature_out_of_range_is_refused_before_the_analysis(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "s.tif", np.zeros((24, 40, 48), np.uint8), photometric="minisblack")
    stages: list[str] = []
    given = {"pixel_size_um": 0.166, "fps": 25, "temperature_c": 55.0, "medium": "ethanol:0.2"}
    with pytest.raises(UsageError, match=r"55 C is outside 5 to 50 C, where the viscosity of ethanol:0.2 is known; give --viscosity-mpas"):
        analyze(tmp_path / "s.tif", **given, progress=lambda stage, done, total: stages.append(stage))
    assert stages == []


def test_pbs_is_saline_of_0137_molar() -> None:
    for celsius, mpas in ((20.0, 1.0127), (25.0, 0.9002), (37.0, 0.7002)):
        assert viscosity_mpas("pbs", celsius) == viscosity_mpas("saline:0.137", celsius) == pytest.approx(mpas, rel=1e-3)


@given(st.floats(-10, 99.9))
def test_warmer_water_is_thinner_everywhere(celsius: float) -> None:
    assert medium.water_viscosity_mpas(celsius) > medium.water_viscosity_mpas(celsius + 0.1) > 0.25


@given(st.sampled_from(TYPICAL), st.floats(5, 49.9))
def test_whatever_is_dissolved_warmer_is_thinner(text: str, celsius: float) -> None:
    assert viscosity_mpas(text, celsius) > viscosity_mpas(text, celsius + 0.1) > 0.4


def test_a_degree_is_two_percent_at_room_temperature() -> None:
    # 0.9107 and 0.8705 mPa s at 24 and 26 C (CRC Handbook)
    assert viscosity_slope("water", 25.0) == pytest.approx((0.8705 - 0.9107) / 2 / 0.8900, rel=0.02)


@pytest.mark.parametrize("text", TYPICAL)
def test_the_slope_is_that_of_the_viscosity(text: str) -> None:
    for celsius in (10.0, 20.0, 25.0, 37.0):
        rise = math.log(viscosity_mpas(text, celsius + 1) / viscosity_mpas(text, celsius - 1)) / 2
        assert viscosity_slope(text, celsius) == pytest.approx(rise, rel=0.02)


@pytest.mark.parametrize(("text", "celsius"), [corner for name in MEDIA for corner in corners(name)])
def test_the_corners_of_every_range_have_a_viscosity_and_a_slope(text: str, celsius: float) -> None:
    assert 0.2 < viscosity_mpas(text, celsius) < 13000
    assert -0.13 < viscosity_slope(text, celsius) < -0.005


@pytest.mark.parametrize("celsius", [KNOBS["temperature_c"].low, KNOBS["temperature_c"].high])
def test_every_temperature_that_may_be_given_has_a_viscosity_and_a_slope_in_water(celsius: float) -> None:
    assert 0.2 < viscosity_mpas("water", celsius) < 3
    assert -0.05 < viscosity_slope("water", celsius) < -0.005


def test_the_uncertainty_is_half_the_accuracy() -> None:
    assert medium.viscosity_sd("water") == 0.00085
    assert medium.viscosity_sd("saline:0.15") == medium.viscosity_sd("pbs") == 0.0025
    assert medium.viscosity_sd("glycerol:0.2") == 0.0175
    assert {m.accuracy for m in MEDIA.values()} == {0.0017, 0.005, 0.01, 0.035, 0.025}
