from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nta import medium
from nta.errors import UsageError
from nta.settings import KNOBS


@pytest.mark.parametrize(("celsius", "mpas"), [(20.0, 1.0016), (25.0, 0.8900), (37.0, 0.6913)])
def test_water_meets_the_check_values_of_huber_2009(celsius: float, mpas: float) -> None:
    assert medium.water_viscosity_mpas(celsius) == pytest.approx(mpas, rel=1e-3)


@pytest.mark.parametrize(("celsius", "mpas"), [(0.0, 1.792), (10.0, 1.306), (40.0, 0.653), (60.0, 0.4658), (80.0, 0.3538), (99.0, 0.2846)])
def test_water_meets_handbook_values_over_the_range(celsius: float, mpas: float) -> None:
    # CRC Handbook, viscosity of liquid water; Huber's correlation is stated to 1 %
    assert medium.water_viscosity_mpas(celsius) == pytest.approx(mpas, rel=0.01)


@pytest.mark.parametrize("celsius", [-10.001, 100.001, -273.15, 1e9])
def test_outside_the_range_the_message_names_value_range_and_option(celsius: float) -> None:
    with pytest.raises(UsageError, match=r"temperature .* C is outside -10 to 100 C.*--viscosity-mpas") as caught:
        medium.water_viscosity_mpas(celsius)
    assert f"{celsius:g}" in str(caught.value)


def test_not_a_number_is_no_temperature() -> None:
    with pytest.raises(UsageError, match="nan C is outside"):
        medium.water_viscosity_mpas(float("nan"))


def test_unknown_medium_is_refused_by_name() -> None:
    assert medium.viscosity_mpas("water", 25.0) == medium.water_viscosity_mpas(25.0)
    with pytest.raises(UsageError, match=r"--medium: 'blood' is not known; known: water"):
        medium.viscosity_mpas("blood", 25.0)


@given(st.floats(-10, 99.9))
def test_warmer_water_is_thinner_everywhere(celsius: float) -> None:
    assert medium.water_viscosity_mpas(celsius) > medium.water_viscosity_mpas(celsius + 0.1) > 0.25


def test_a_degree_is_two_percent_at_room_temperature() -> None:
    # 0.9107 and 0.8705 mPa s at 24 and 26 C (CRC Handbook)
    assert medium.viscosity_slope("water", 25.0) == pytest.approx((0.8705 - 0.9107) / 2 / 0.8900, rel=0.02)


@pytest.mark.parametrize("celsius", [KNOBS["temperature_c"].low, KNOBS["temperature_c"].high])
def test_every_temperature_that_may_be_given_has_a_viscosity_and_a_slope(celsius: float) -> None:
    assert 0.2 < medium.viscosity_mpas("water", celsius) < 3
    assert -0.05 < medium.viscosity_slope("water", celsius) < -0.005
