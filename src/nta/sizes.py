"""Diffusion -> Sizes: the hydrodynamic diameter of each particle, with its interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


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
