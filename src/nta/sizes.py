"""Diffusion -> Sizes: the hydrodynamic diameter of each particle, with its interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nta.diffusion import Diffusion
from nta.flags import Flag
from nta.tracks import Tracks

POOR = 1e-3  # chance of a fit as bad, below which a track is flagged


@dataclass(frozen=True)
class Sizes:
    """One row per track of `Tracks`; NaN where a track was not sized.

    Attributes
    ----------
    diameter_nm : (n,) float64; NaN also where the likelihood peaks at no motion
    low_nm, high_nm : (n,) float64, 95 % likelihood interval; `high_nm` is inf where no motion is possible
    flags : (n,) uint32 of `nta.flags.Flag`, those of the track and of its sizing
    """

    diameter_nm: np.ndarray
    low_nm: np.ndarray
    high_nm: np.ndarray
    flags: np.ndarray

    def __len__(self) -> int:
        return len(self.diameter_nm)


def find_sizes(tracks: Tracks, diffusion: Diffusion) -> Sizes:
    """Turn each diffusion coefficient and its likelihood interval into a diameter (Stokes-Einstein)."""
    n = len(tracks)
    constant = diffusion.stokes_einstein_nm_um2_s
    columns = []
    with np.errstate(divide="ignore"):
        # the fastest motion is the smallest diameter
        for source, at_rest in ((diffusion.d_um2_s, np.nan), (diffusion.high, np.inf), (diffusion.low, np.inf)):
            column = np.full(n, np.nan)
            column[diffusion.track] = np.where(source > 0, constant / source, at_rest)
            columns.append(column)
    flags = tracks.flags.copy()
    flags[diffusion.track[diffusion.d_um2_s == 0]] |= np.uint32(Flag.NO_MOTION_RESOLVED)
    flags[diffusion.track[diffusion.p_fit < POOR]] |= np.uint32(Flag.POOR_FIT)
    return Sizes(columns[0], columns[1], columns[2], flags)
