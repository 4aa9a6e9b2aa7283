"""Tracks' likelihoods -> Distribution: the number-weighted size distribution, its peaks and intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from nta.errors import Notice
from nta.settings import Used


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % interval; `low_stat, high_stat` without the Type-B terms (temperature, pixel size, exposure)."""

    value: float
    low: float
    high: float
    low_stat: float
    high_stat: float


@dataclass(frozen=True)
class Peak:
    """A component of the log-normal mixture that names the peaks."""

    diameter_nm: float
    fraction: float
    gsd: float


@dataclass(frozen=True)
class Distribution:
    """Number-weighted size distribution on the log grid of `Diffusion`.

    Attributes
    ----------
    grid_nm : (k,) float64
    weight : (k,) float64, sums to 1 (all zero when no track was sized)
    unweighted : (k,) float64, the same per track instead of per particle, sums to 1
    replicates : (b, k) float64, resampled `weight`
    scale : (b,) float64, factor on the diameters of each replicate drawn from the Type-B uncertainties
    scale_sd : float, relative standard uncertainty of every diameter from temperature, pixel size and exposure
    raw_nm : (m,) float64, maximum-likelihood diameters of the tracks, the raw histogram
    number_in_view : Interval, particles in view at a time, after the correction
    peaks : tuple of Peak, ascending diameter
    """

    grid_nm: np.ndarray
    weight: np.ndarray
    unweighted: np.ndarray
    replicates: np.ndarray
    scale: np.ndarray
    scale_sd: float
    raw_nm: np.ndarray
    number_in_view: Interval
    peaks: tuple[Peak, ...] = ()
    chosen: Mapping[str, Used] = field(default_factory=dict)
    notices: tuple[Notice, ...] = ()

    @property
    def empty(self) -> bool:
        """True when no track was sized."""
        return not self.weight.any()

    def share(self, low_nm: float, high_nm: float) -> Interval:
        """Number fraction with ``low_nm <= diameter < high_nm`` (NaN when empty)."""
        raise NotImplementedError

    def statistic(self, name: str) -> Interval:
        """``mean, mode, sd, d10, d50, d90`` in nm, or ``span`` = (D90 - D10) / D50 (NaN when empty)."""
        raise NotImplementedError
