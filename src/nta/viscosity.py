"""Temperature and composition -> viscosity: published formulas and tables, as they stand, without their ranges (see `nta.medium`)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from nta.physics import ZERO_CELSIUS_K

NACL_KG_MOL = 0.058443


def water_mpas(temperature_c: float) -> float:
    """Return the viscosity of water at 0.1 MPa in mPa s: Huber et al. 2009 (IAPWS 2008), eq. 37 and table 9."""
    t = (temperature_c + ZERO_CELSIUS_K) / 300.0
    return (280.68 * t**-1.9 + 511.45 * t**-7.7 + 61.131 * t**-19.6 + 0.45903 * t**-40.0) * 1e-3


def saline_mpas(temperature_c: float, molarity: float) -> float:
    """Return the viscosity in mPa s of a NaCl solution of `molarity` mol/L (at 20 C): its ratio to water, times that of water.

    The ratio is that of Kestin, Khalifa & Correia 1981, eqs. 2 to 5, from 20 C up. Below, where theirs ends, it goes on as that of
    Mao & Duan 2009, eqs. 2 to 5, does. The pressure term, below 1e-4 at 0.1 MPa, is left out.
    """
    molality = _molality(molarity)
    ratio = _kestin_ratio(max(temperature_c, 20.0), molality)
    if temperature_c < 20.0:
        ratio *= _mao_duan_ratio(temperature_c, molality) / _mao_duan_ratio(20.0, molality)
    return ratio * water_mpas(temperature_c)


def _molality(molarity: float) -> float:
    """Return mol/kg of water of a NaCl solution of `molarity` mol/L at 20 C, by the density of Kestin et al. 1981 (p. 73)."""
    molality = molarity
    for _ in range(30):  # each round gains a digit or more, up to saturation
        x = molality * NACL_KG_MOL / (1.0 + molality * NACL_KG_MOL)
        litres_per_kg = 1.0018337 - 0.705851 * x + 0.249891 * x * x
        molality = molarity / (1.0 / litres_per_kg - molarity * NACL_KG_MOL)
    return molality


def _kestin_ratio(temperature_c: float, m: float) -> float:
    t = 20.0 - temperature_c
    log_water = (1.2378 * t - 1.303e-3 * t**2 + 3.06e-6 * t**3 + 2.55e-8 * t**4) / (96.0 + temperature_c)  # eq. 3, log10 of it to 20 C
    a = 3.324e-2 * m + 3.624e-3 * m**2 - 1.879e-4 * m**3  # eq. 4
    b = -3.96e-2 * m + 1.02e-2 * m**2 - 7.02e-4 * m**3  # eq. 5
    return math.pow(10.0, a + b * log_water)  # eq. 2


def _mao_duan_ratio(temperature_c: float, m: float) -> float:
    t = temperature_c + ZERO_CELSIUS_K
    a = -0.21319213 + 0.13651589e-2 * t - 0.12191756e-5 * t**2
    b = 0.69161945e-1 - 0.27292263e-3 * t + 0.20852448e-6 * t**2
    c = -0.25988855e-2 + 0.77989227e-5 * t
    return math.exp(a * m + b * m**2 + c * m**3)


_D2O_POWERS = (  # of (1/T - 1) and (rho - 1), both reduced, and the factor: IAPWS R17-20, table 2
    (0, 0, 0.510953),
    (2, 0, -0.558947),
    (3, 0, -2.718820),
    (4, 0, 0.480990),
    (5, 0, 2.404510),
    (6, 0, -1.824320),
    (0, 1, 0.275847),
    (1, 1, 0.762957),
    (3, 1, 1.760340),
    (4, 1, 0.0819086),
    (6, 1, 1.417750),
    (0, 2, -0.228148),
    (1, 2, -0.321497),
    (5, 2, -2.302500),
    (0, 3, 0.0661035),
    (1, 3, 0.0449393),
    (2, 3, 1.466670),
    (5, 3, 0.938984),
    (6, 3, -0.108354),
    (0, 4, -0.00481265),
    (2, 4, -1.545710),
    (3, 4, -0.0570938),
    (5, 4, -0.0753783),
    (2, 5, 0.553080),
    (2, 6, -0.0650201),
)


def heavy_water_mpas(temperature_c: float) -> float:
    """Return the viscosity of D2O at 0.1 MPa in mPa s: IAPWS R17-20 (Assael et al. 2021), eqs. 10 to 12, at the density of Kell 1967."""
    t = (temperature_c + ZERO_CELSIUS_K) / 643.847
    rho = _heavy_water_kg_m3(temperature_c) / 356.0
    dilute = 0.889754 + 61.22217 * t - 44.8866 * t**2 + 111.5812 * t**3 + 3.547412 * t**4
    dilute *= math.sqrt(t) / (0.79637 + 2.38127 * t - 0.33463 * t**2 + 2.669 * t**3 + 0.000211366 * t**4)  # eq. 11
    dense = sum(factor * (1.0 / t - 1.0) ** i * (rho - 1.0) ** j for i, j, factor in _D2O_POWERS)  # eq. 12
    return 1e-3 * dilute * math.exp(rho * dense)


def _heavy_water_kg_m3(temperature_c: float) -> float:
    t = temperature_c
    return (1104.690 + 20.09315 * t - 9.24227e-3 * t**2 - 55.9509e-6 * t**3 + 79.9512e-9 * t**4) / (1.0 + 17.96190e-3 * t)


def glycerol_mpas(temperature_c: float, w: float) -> float:
    """Return the viscosity in mPa s of water with the mass fraction `w` of glycerol: Cheng 2008, eqs. 6, 9, 12, 13, 21 and 22."""
    t = temperature_c
    water = 1.790 * math.exp((-1230.0 - t) * t / (36100.0 + 360.0 * t))
    glycerol = 12100.0 * math.exp((-1233.0 + t) * t / (9900.0 + 70.0 * t))
    a = 0.705 - 0.0017 * t
    b = (4.9 + 0.036 * t) * a**2.5
    weight = 1.0 - w + a * b * w * (1.0 - w) / (a * w + b * (1.0 - w))
    return water**weight * glycerol ** (1.0 - weight)


_SUCROSE_A = (-1.5018327, 9.4112153, -1.1435741e3, 1.0504137e5, -4.6927102e6, 1.0323349e8, -1.1028981e9, 4.5921911e9)
_SUCROSE_B = (2.1169907e2, 1.6077073e3, 1.6911611e5, -1.4184371e7, 6.0654775e8, -1.2985834e10, 1.3532907e11, -5.4970416e11)


def sucrose_mpas(temperature_c: float, w: float) -> float:
    """Return the viscosity in mPa s of water with the mass fraction `w` of sucrose: Barber 1966, which fits Swindells et al. 1958."""
    y = (w / 342.32) / (w / 342.32 + (1.0 - w) / 18.0)  # mole fraction
    a, b = (sum(factor * y**k for k, factor in enumerate(factors)) for factors in (_SUCROSE_A, _SUCROSE_B))
    c = 146.06 - 25.251 * math.sqrt(1.0 + (y / 0.070674) ** 2)
    return math.pow(10.0, a + b / (temperature_c + c))


_ETHANOL_MPAS = (  # Bingham & Jackson 1917, table 4: a row each 10 C from 0, a column each 10 % by mass from 0
    (1.792, 3.311, 5.319, 6.94, 7.14, 6.58, 5.75, 4.762),
    (1.308, 2.179, 3.165, 4.05, 4.39, 4.18, 3.77, 3.268),
    (1.005, 1.538, 2.183, 2.71, 2.91, 2.87, 2.67, 2.370),
    (0.801, 1.160, 1.553, 1.87, 2.02, 2.02, 1.93, 1.767),
    (0.656, 0.907, 1.160, 1.368, 1.482, 1.499, 1.447, 1.344),
    (0.549, 0.734, 0.907, 1.050, 1.132, 1.155, 1.127, 1.062),
    (0.469, 0.609, 0.736, 0.834, 0.893, 0.913, 0.902, 0.856),
)


def ethanol_mpas(temperature_c: float, w: float) -> float:
    """Return the viscosity in mPa s of water with the mass fraction `w` of ethanol.

    The ratio to water of Bingham & Jackson 1917, interpolated in its logarithm by cubics with continuous slopes, times today's water.
    """
    logs = [_cubic(w / 0.1, [math.log(value / row[0]) for value in row]) for row in _ETHANOL_MPAS]
    return math.exp(_cubic(temperature_c / 10.0, logs)) * water_mpas(temperature_c)


def _cubic(x: float, values: Sequence[float]) -> float:
    """Interpolate `values` at 0, 1, 2 ... by the cubic that has, at each, the slope of the parabola through it and its neighbours."""
    i = min(max(int(x), 0), len(values) - 2)
    u, (start, end) = x - i, (values[i], values[i + 1])
    low, high = _slope(i, values), _slope(i + 1, values)
    return start + u * (low + u * (3 * (end - start) - 2 * low - high + u * (2 * (start - end) + low + high)))


def _slope(i: int, v: Sequence[float]) -> float:
    if i == 0:
        return (-3 * v[0] + 4 * v[1] - v[2]) / 2
    if i == len(v) - 1:
        return (3 * v[-1] - 4 * v[-2] + v[-3]) / 2
    return (v[i + 1] - v[i - 1]) / 2
