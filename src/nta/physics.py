"""Stokes-Einstein both ways, and the constants of Brownian motion."""

from __future__ import annotations

import math
from typing import TypeVar

import numpy as np

BOLTZMANN_J_K = 1.380649e-23
ZERO_CELSIUS_K = 273.15

Number = TypeVar("Number", float, np.ndarray)


def stokes_einstein_constant(temperature_c: float, viscosity_mpas: float) -> float:
    """Return ``k_B T / (3 pi eta)`` in um^2/s nm: diameter in nm times diffusion coefficient in um^2/s (Einstein 1905)."""
    # 1e12 um^2 in a m^2, 1e9 nm in a m, 1e3 mPa in a Pa
    return BOLTZMANN_J_K * (temperature_c + ZERO_CELSIUS_K) / (3 * math.pi * viscosity_mpas) * 1e24


def diffusion_um2_s(diameter_nm: Number, temperature_c: float, viscosity_mpas: float) -> Number:
    """Return the diffusion coefficient in um^2/s of a sphere of `diameter_nm` (Stokes-Einstein)."""
    return stokes_einstein_constant(temperature_c, viscosity_mpas) / diameter_nm


def diameter_nm(diffusion_um2_s: Number, temperature_c: float, viscosity_mpas: float) -> Number:
    """Return the hydrodynamic diameter in nm of a sphere that diffuses at `diffusion_um2_s` (Stokes-Einstein)."""
    return stokes_einstein_constant(temperature_c, viscosity_mpas) / diffusion_um2_s
