"""Distribution -> Classes: the fraction of each size class, with intervals, and each track's class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nta.distribution import Interval


@dataclass(frozen=True)
class SizeClass:
    """Diameters ``low_nm <= d < high_nm``; `high_nm` may be inf."""

    name: str
    low_nm: float
    high_nm: float


@dataclass(frozen=True)
class Classes:
    """Class fractions of the distribution, and the posterior class of each track.

    Attributes
    ----------
    classes : tuple of SizeClass, ascending, covering 0 to infinity
    fraction : tuple of Interval, one a class
    p_class : (n_tracks, n_classes) float64, posterior given the track and the video's distribution; NaN where not sized
    label : (n_tracks,) int64, the most probable class, -1 where not sized
    """

    classes: tuple[SizeClass, ...]
    fraction: tuple[Interval, ...]
    p_class: np.ndarray
    label: np.ndarray


def parse_classes(spec: str) -> tuple[SizeClass, ...]:
    """Read ``NAME:LOW-HIGH,...`` or ``misev``; add what is missing to cover all sizes."""
    raise NotImplementedError
