"""Temperature and composition -> viscosity of the liquid."""

from __future__ import annotations

from nta.errors import UsageError
from nta.physics import ZERO_CELSIUS_K

WATER_RANGE_C = (-10.0, 100.0)


def water_viscosity_mpas(temperature_c: float) -> float:
    """Return the viscosity of water at 0.1 MPa in mPa s.

    Huber et al. 2009 (IAPWS 2008), eq. 37 and table 9, stated accuracy 1 % over the range and 0.17 % near 20 C.

    Raises
    ------
    UsageError
        Outside -10 to 100 C.
    """
    low, high = WATER_RANGE_C
    if not low <= temperature_c <= high:
        raise UsageError(
            f"temperature {temperature_c:g} C is outside {low:g} to {high:g} C, where water's viscosity is known; give --viscosity-mpas"
        )
    return _huber_mpas(temperature_c)


def _huber_mpas(temperature_c: float) -> float:
    t = (temperature_c + ZERO_CELSIUS_K) / 300.0
    return (280.68 * t**-1.9 + 511.45 * t**-7.7 + 61.131 * t**-19.6 + 0.45903 * t**-40.0) * 1e-3


def viscosity_mpas(medium: str, temperature_c: float) -> float:
    """Return the viscosity in mPa s of `medium` (``water``) at `temperature_c`."""
    if medium != "water":
        raise UsageError(f"--medium: {medium!r} is not known; known: water; any other by --viscosity-mpas")
    return water_viscosity_mpas(temperature_c)


def viscosity_slope(medium: str, temperature_c: float) -> float:
    """Return ``d ln(eta) / dT`` in 1/K by a central difference of 0.1 K."""
    viscosity_mpas(medium, temperature_c)  # refuses what it does not know; the difference may reach beyond the range's end
    return (_huber_mpas(temperature_c + 0.05) / _huber_mpas(temperature_c - 0.05) - 1.0) / 0.1
