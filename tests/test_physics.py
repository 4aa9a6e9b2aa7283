from __future__ import annotations

import math

import naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nta import physics


def test_a_100_nm_sphere_in_water_at_25_c_diffuses_at_4_907_um2_s() -> None:
    # k_B T = 1.380649e-23 * 298.15 J; 3 pi * 0.89e-3 Pa s * 1e-7 m
    assert physics.diffusion_um2_s(100.0, 25.0, 0.8900) == pytest.approx(4.907, abs=0.001)


def test_constant_is_diameter_times_diffusion() -> None:
    assert physics.stokes_einstein_constant(25.0, 0.8900) == pytest.approx(100 * naive.sphere_d_um2_s(100.0), rel=1e-12)


@given(
    st.floats(1, 1e5, allow_nan=False),
    st.floats(-10, 100),
    st.floats(0.05, 1e4),
)
def test_diameter_and_diffusion_are_inverse(diameter: float, celsius: float, viscosity: float) -> None:
    there = physics.diffusion_um2_s(diameter, celsius, viscosity)
    assert there == pytest.approx(naive.sphere_d_um2_s(diameter, celsius, viscosity), rel=1e-12)
    assert physics.diameter_nm(there, celsius, viscosity) == pytest.approx(diameter, rel=1e-12)


def test_arrays_pass_element_by_element() -> None:
    d = np.array([30.0, 100.0, 1000.0])
    assert np.array_equal(physics.diffusion_um2_s(d, 25.0, 0.89), [physics.diffusion_um2_s(v, 25.0, 0.89) for v in d])
    assert np.array_equal(physics.diameter_nm(d, 25.0, 0.89), [physics.diameter_nm(v, 25.0, 0.89) for v in d])


def test_twice_the_size_and_twice_the_viscosity_each_halve_the_diffusion() -> None:
    base = physics.diffusion_um2_s(100.0, 25.0, 0.89)
    assert base / physics.diffusion_um2_s(200.0, 25.0, 0.89) == pytest.approx(2, rel=1e-14)
    assert base / physics.diffusion_um2_s(100.0, 25.0, 1.78) == pytest.approx(2, rel=1e-14)
    # temperature counts from absolute zero
    assert physics.diffusion_um2_s(100.0, -273.15, 0.89) == 0
    assert math.isclose(physics.diffusion_um2_s(100.0, 2 * 298.15 - 273.15, 0.89), 2 * base, rel_tol=1e-12)
