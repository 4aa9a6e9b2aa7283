"""Formulas of media against published values that they were not made from."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nta import viscosity

SUCROSE_20C = [(1, 1.028), (2, 1.055), (5, 1.146), (10, 1.336), (15, 1.592), (20, 1.945), (30, 3.187), (40, 6.162), (48, 12.515)]
GLYCEROL_20C = [(1, 1.034), (5, 1.145), (10, 1.310), (20, 1.766), (28, 2.32), (40, 3.73), (52, 6.73), (60, 10.9), (80, 60.6)]
ETHANOL_20C = [(1, 1.046), (5, 1.228), (10, 1.501), (20, 2.142), (30, 2.667), (40, 2.846), (44, 2.850), (50, 2.813)]
SALINE_20C = [(1, 1.0053, 1.020), (2, 1.0125, 1.036), (5, 1.034, 1.085), (10, 1.0707, 1.193), (15, 1.1085, 1.352), (20, 1.1478, 1.557)]
"""CRC Handbook, concentrative properties of aqueous solutions at 20 C: % by mass, (density in g/mL,) viscosity in mPa s."""

SEGUR_OBERSTAR = {  # viscosity of glycerol solutions in mPa s at 0, 10, 20, 30, 40 C, by % by mass (Segur & Oberstar 1951)
    10: (2.44, 1.74, 1.31, 1.03, 0.826),
    20: (3.44, 2.41, 1.76, 1.35, 1.07),
    40: (8.25, 5.37, 3.72, 2.72, 2.07),
    50: (14.6, 9.01, 6.00, 4.21, 3.10),
    60: (29.9, 17.4, 10.8, 7.19, 5.08),
    80: (255, 116, 60.1, 33.9, 20.8),
    100: (12070, 3900, 1410, 612, 284),
}
MELINDER = {  # viscosity of ethanol solutions in mPa s at 10, 20, 30, 40 C, by % by mass (Melinder 2010)
    10: (2.153, 1.529, 1.151, 0.892),
    20: (3.224, 2.165, 1.553, 1.164),
    30: (4.053, 2.660, 1.862, 1.365),
    40: (4.357, 2.876, 2.006, 1.457),
    50: (4.213, 2.859, 2.023, 1.471),
}
BINGHAM_JACKSON_SUCROSE = {  # viscosity of sucrose solutions in mPa s at 0, 5, 15, 20 ... C, by % by mass (Bingham & Jackson 1917)
    20: {0: 3.804, 5: 3.154, 15: 2.267, 20: 1.960, 25: 1.704, 30: 1.504, 40: 1.193, 50: 0.970, 60: 0.808},
    40: {0: 14.77, 5: 11.56, 15: 7.468, 20: 6.200, 25: 5.187, 30: 4.382, 40: 3.249, 50: 2.497, 60: 1.982},
}


@pytest.mark.parametrize(("celsius", "mpas"), [(20.0, 1.0016), (25.0, 0.8900), (37.0, 0.6913)])
def test_water_meets_the_check_values_of_huber_2009(celsius, mpas):
    assert viscosity.water_mpas(celsius) == pytest.approx(mpas, rel=1e-4)


@pytest.mark.parametrize(("celsius", "mpas"), [(20.0, 1.0127), (25.0, 0.9002), (37.0, 0.7002)])
def test_saline_meets_the_values_of_kestin_1981_at_a_tenth_of_a_percent(celsius, mpas):
    assert viscosity.saline_mpas(celsius, 0.137) == pytest.approx(mpas, rel=1e-3)


@pytest.mark.parametrize(("percent", "density", "mpas"), SALINE_20C)
def test_saline_meets_handbook_values(percent, density, mpas):
    molarity = percent * 10 * density / 58.443
    assert viscosity.saline_mpas(20.0, molarity) == pytest.approx(mpas, rel=0.007)


def test_molarity_and_molality_as_the_handbook_has_them():
    # CRC Handbook, NaCl at 20 C: mol/L and mol/kg
    for molarity, molality in [(0.172, 0.173), (0.885, 0.901), (1.832, 1.901), (2.845, 3.020), (3.928, 4.278)]:
        assert viscosity._molality(molarity) == pytest.approx(molality, rel=1.5e-3, abs=1e-3)


def test_saline_without_salt_is_water_and_has_no_step_where_the_formula_changes():
    for celsius in (0.0, 10.0, 20.0, 37.0):
        assert viscosity.saline_mpas(celsius, 0.0) == viscosity.water_mpas(celsius)
    below, above = viscosity.saline_mpas(20 - 1e-9, 3.0), viscosity.saline_mpas(20 + 1e-9, 3.0)
    assert below == pytest.approx(above, rel=1e-8)
    # Mao & Duan's ratio from 0 C on: at 10 C that of Kestin, continued, agrees within 0.1 % at physiological strength
    assert viscosity.saline_mpas(10.0, 0.15) / viscosity.water_mpas(10.0) == pytest.approx(1.0102, rel=1e-3)


@pytest.mark.parametrize(("celsius", "mpas"), [(20.0, 1.2430), (25.0, 1.0928)])
def test_heavy_water_meets_published_values(celsius, mpas):
    assert viscosity.heavy_water_mpas(celsius) == pytest.approx(mpas, rel=1e-4)


@pytest.mark.parametrize(("celsius", "kg_m3"), [(5.0, 1105.6), (20.0, 1105.34), (25.0, 1104.46), (50.0, 1095.7)])
def test_density_of_heavy_water(celsius, kg_m3):
    # Kell 1967 and the reference equation of state agree within 0.1 kg/m^3
    assert viscosity._heavy_water_kg_m3(celsius) == pytest.approx(kg_m3, abs=0.15)


@pytest.mark.parametrize(("percent", "mpas"), GLYCEROL_20C)
def test_glycerol_meets_handbook_values(percent, mpas):
    assert viscosity.glycerol_mpas(20.0, percent / 100) == pytest.approx(mpas, rel=0.02)


@pytest.mark.parametrize("percent", SEGUR_OBERSTAR)
def test_glycerol_meets_segur_and_oberstar_within_its_accuracy(percent):
    for celsius, mpas in zip((0, 10, 20, 30, 40), SEGUR_OBERSTAR[percent], strict=True):
        assert viscosity.glycerol_mpas(celsius, percent / 100) == pytest.approx(mpas, rel=0.035)


@pytest.mark.parametrize(("percent", "mpas"), SUCROSE_20C)
def test_sucrose_meets_handbook_values(percent, mpas):
    assert viscosity.sucrose_mpas(20.0, percent / 100) == pytest.approx(mpas, rel=0.005)


@pytest.mark.parametrize("percent", BINGHAM_JACKSON_SUCROSE)
def test_sucrose_meets_bingham_and_jackson_at_other_temperatures(percent):
    # their water at 20 C is 1.005 mPa s, 0.34 % above today's
    for celsius, mpas in BINGHAM_JACKSON_SUCROSE[percent].items():
        assert viscosity.sucrose_mpas(celsius, percent / 100) == pytest.approx(mpas * 1.0016 / 1.005, rel=0.015)


def test_sucrose_without_sugar_is_nearly_water():
    for celsius in (4.0, 20.0, 37.0, 60.0):
        assert viscosity.sucrose_mpas(celsius, 0.0) == pytest.approx(viscosity.water_mpas(celsius), rel=0.0025)


@pytest.mark.parametrize(("percent", "mpas"), ETHANOL_20C)
def test_ethanol_meets_handbook_values(percent, mpas):
    assert viscosity.ethanol_mpas(20.0, percent / 100) == pytest.approx(mpas, rel=0.025)


@pytest.mark.parametrize("percent", MELINDER)
def test_ethanol_meets_melinder_at_other_temperatures(percent):
    for celsius, mpas in zip((10, 20, 30, 40), MELINDER[percent], strict=True):
        assert viscosity.ethanol_mpas(celsius, percent / 100) == pytest.approx(mpas, rel=0.025)


def test_ethanol_passes_through_its_table_and_is_thickest_near_45_percent():
    water = viscosity.water_mpas(20.0) / 1.005  # of the table's water
    assert viscosity.ethanol_mpas(20.0, 0.3) == pytest.approx(2.71 * water, rel=1e-12)
    assert viscosity.ethanol_mpas(25.0, 0.0) == pytest.approx(viscosity.water_mpas(25.0), rel=1e-12)
    percent = range(51)
    assert max(percent, key=lambda p: viscosity.ethanol_mpas(20.0, p / 100)) in range(41, 47)


@given(st.floats(0.001, 0.499), st.floats(5.0, 49.9))
def test_ethanol_has_no_steps(w, celsius):
    here = viscosity.ethanol_mpas(celsius, w)
    assert viscosity.ethanol_mpas(celsius, w + 1e-6) == pytest.approx(here, rel=2e-5)
    assert -0.06 < (viscosity.ethanol_mpas(celsius + 0.05, w) / here - 1) / 0.05 < -0.015


@given(st.floats(-0.5, 5.5))
def test_the_cubic_is_exact_for_parabolas(x):
    assert viscosity._cubic(x, [3 - 2 * i + 0.5 * i * i for i in range(6)]) == pytest.approx(3 - 2 * x + 0.5 * x * x, abs=1e-9)
