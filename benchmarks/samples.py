"""Samples of known sizes and how they are seen: the cases of sizing.py."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from slab import Draw, Scene

TRUTH_SEED, TRUTH_DRAWS = 12345, 200_000
SMALLEST_NM, LARGEST_NM = 16.0, 3400.0  # nobody is beyond the grids of the estimators

CLEAN = Scene()
# light that falls off, brightness by which large ones are seen deeper, missed and false detections, things that are stuck
FLAWED = Scene(sheet_sd_um=4.0, exponent=3.0, peak_snr=20.0, missed=0.1, gap_frames=1, noise_share=0.1, immobile_share=0.03)


@dataclass(frozen=True)
class Case:
    """A sample and how it is seen.

    `sizes_nm` are the sizes of a sample of exact ones; `gaps` the cumulative fractions at which nobody is for a range of sizes; `mode_nm`
    the highest number density per nm, NaN where two populations contend.
    """

    name: str
    draw: Draw
    scene: Scene = CLEAN
    n_tracks: int = 1000
    sizes_nm: tuple[float, ...] = ()
    gaps: tuple[float, ...] = ()
    mode_nm: float = np.nan
    only_peaks: bool = False

    @property
    def group(self) -> str:
        """``A`` in a hard slab, ``B`` flawed."""
        return "A" if self.scene is CLEAN else "B"

    @property
    def key(self) -> str:
        """How the case is called where its group is not beside it."""
        return f"{self.group} {self.name}"

    @cached_property
    def truth(self) -> tuple[np.ndarray, np.ndarray]:
        """Diameters of the sample, many, and their weights, sum 1."""
        nm, count = np.unique(self.draw(np.random.default_rng(TRUTH_SEED), TRUTH_DRAWS), return_counts=True)
        return nm, count / count.sum()


def exact(*parts: tuple[float, float]) -> Draw:
    """Return a draw of exact sizes from pairs of diameter and share."""
    nm, share = (np.array(column, float) for column in zip(*parts, strict=True))
    return lambda rng, n: rng.choice(nm, n, p=share / share.sum())


def log_normals(*parts: tuple[float, float, float]) -> Draw:
    """Return a draw of log-normal populations from triples of median, geometric SD and share."""
    median, gsd, share = (np.array(column, float) for column in zip(*parts, strict=True))

    def draw(rng: np.random.Generator, n: int) -> np.ndarray:
        which = rng.choice(len(share), n, p=share / share.sum())
        return np.clip(median[which] * gsd[which] ** rng.normal(size=n), SMALLEST_NM, LARGEST_NM)

    return draw


def wide(rng: np.random.Generator, n: int) -> np.ndarray:
    """A log-normal of 200 nm and geometric SD 2, of which 30 to 1500 nm are there."""
    nm = 200.0 * 2.0 ** rng.normal(size=2 * n + 50)
    return nm[(nm > 30) & (nm < 1500)][:n]


def power_law(rng: np.random.Generator, n: int) -> np.ndarray:
    """Number density d^-3 from 40 to 600 nm, as counted of vesicles in plasma."""
    small, large = 40.0**-2, 600.0**-2
    return (small + rng.random(n) * (large - small)) ** -0.5


def uniform(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.uniform(50.0, 300.0, n)


def weibull(rng: np.random.Generator, n: int) -> np.ndarray:
    return 30.0 + 120.0 * rng.weibull(1.8, n)


def _mixture(name: str, *parts: tuple[float, float], n_tracks: int = 1000, only_peaks: bool = False) -> Case:
    nm, share = zip(*parts, strict=True)
    gaps = tuple(np.cumsum(share)[:-1] / np.sum(share))
    mode = nm[0] if len(nm) == 1 else np.nan
    return Case(name, exact(*parts), n_tracks=n_tracks, sizes_nm=nm, gaps=gaps, mode_nm=mode, only_peaks=only_peaks)


def _log_normal_mode(median: float, gsd: float) -> float:
    return float(median * np.exp(-(np.log(gsd) ** 2)))


ONE, HALVES = _mixture("100", (100.0, 1)), _mixture("100+150", (100.0, 1), (150.0, 1))
EV = Case("EV", log_normals((90.0, 1.4, 1.0)), mode_nm=_log_normal_mode(90.0, 1.4))
WIDE = Case("wide", wide, mode_nm=_log_normal_mode(200.0, 2.0))
# two geometric SD of the second and the third find room between them
THREE = Case("EV+mv+apo", log_normals((90.0, 1.4, 0.83), (300.0, 1.4, 0.15), (1500.0, 1.2, 0.02)), gaps=(0.98,))
LAWS = (Case("power law", power_law), Case("uniform", uniform), Case("Weibull", weibull))
CASES = (
    ONE,
    _mixture("100+200", (100.0, 1), (200.0, 1)),
    _mixture("100+200 10:1", (100.0, 10), (200.0, 1)),
    HALVES,
    _mixture("60+100", (60.0, 1), (100.0, 1)),
    _mixture("60+120+300", (60.0, 1), (120.0, 1), (300.0, 1)),
    EV,
    WIDE,
    THREE,
    _mixture("100+130", (100.0, 1), (130.0, 1), n_tracks=3000, only_peaks=True),
    *(replace(case, scene=FLAWED) for case in (ONE, HALVES, EV, WIDE, THREE, *LAWS)),
)
