"""How others size tracks, all called the same way: simulated tracks in, diameters and their weights by number out.

What a method can be told it is: exposure, depth of the slab, in one case the true errors. Who looks at a histogram of tracks sees what
lies in its range: what a method places outside `LIMITS_NM`, or makes no positive diffusion coefficient of, is left out.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from slab import EXPOSURE_S, FPS, MIN_FRAMES, PIXEL_UM, STOKES_EINSTEIN_UM2_S_NM, Shot

LIMITS_NM = (15.0, 3500.0)
LAGS = 10  # of the mean squared displacements
BIN_NM = 4.0  # of the diameter, in NanoTrackJ
SETTLED = 0.01  # relative change of chi-square at which NanoTrackJ stops
MOST_SWEEPS = 1000


@dataclass(frozen=True)
class Sizes:
    """Diameters and their weights, sum 1."""

    nm: np.ndarray
    weight: np.ndarray

    @classmethod
    def of(cls, d_um2_s: np.ndarray) -> Sizes:
        """Return the diameters of diffusion coefficients, alike in weight."""
        return cls.within_limits(STOKES_EINSTEIN_UM2_S_NM / d_um2_s[d_um2_s > 0])

    @classmethod
    def within_limits(cls, nm: np.ndarray, weight: np.ndarray | None = None) -> Sizes:
        """Return those inside `LIMITS_NM`, alike in weight unless told."""
        inside = (nm > LIMITS_NM[0]) & (nm < LIMITS_NM[1])
        weight = np.ones(inside.sum()) if weight is None else weight[inside]
        return cls(nm[inside], weight / weight.sum())

    def distance(self, truth: tuple[np.ndarray, np.ndarray]) -> float:
        """Return the Wasserstein distance in ln d to a weighted set of diameters."""
        from scipy.stats import wasserstein_distance

        return float(wasserstein_distance(np.log(self.nm), np.log(truth[0]), self.weight, truth[1]))


# --- from the mean squared displacement of a track ---


def mean_squares(shot: Shot) -> tuple[np.ndarray, np.ndarray]:
    """Return lags, (l,) s, and the mean squared displacement of each track at each, (l, n) um^2, by trackpy; NaN where there is none."""
    import pandas as pd
    import trackpy

    trackpy.quiet()
    particle = np.repeat(np.arange(len(shot.start) - 1), shot.n_spots)
    table = pd.DataFrame({"x": shot.x_um, "y": shot.y_um, "frame": shot.frame, "particle": particle})
    squares = trackpy.imsd(table, 1.0, FPS, max_lagtime=LAGS)
    return squares.index.to_numpy(), squares.to_numpy()


def power_law(lag_s: np.ndarray, squares_um2: np.ndarray) -> Sizes:
    """Fit ``A t^n`` to each track's by least squares of the logarithms, as `trackpy.utils.fit_powerlaw` does; A is 4 D."""
    found = []
    for column in squares_um2.T:
        there = column > 0
        found.append(np.exp(np.polyfit(np.log(lag_s[there]), np.log(column[there]), 1)[1]) / 4)
    return Sizes.of(np.array(found))


def line(lag_s: np.ndarray, squares_um2: np.ndarray, lags: int) -> Sizes:
    """Fit a straight line to the first lags of each track, ordinary least squares; its slope is 4 D."""
    found = []
    for column in squares_um2[:lags].T:
        there = np.isfinite(column)
        if there.sum() >= 2:
            found.append(np.polyfit(lag_s[:lags][there], column[there], 1)[0] / 4)
    return Sizes.of(np.array(found))


# --- from neighbouring steps ---


@dataclass(frozen=True)
class Products:
    """Means over each track and both axes of what steps of one frame give: squares, products of neighbours, um^2; how many steps."""

    square_um2: np.ndarray
    neighbours_um2: np.ndarray
    n_steps: np.ndarray
    error_um2: np.ndarray

    @classmethod
    def of(cls, shot: Shot) -> Products:
        """Gather them; steps over a missed detection are left out."""
        rows = []
        for first, last in zip(shot.start[:-1], shot.start[1:], strict=True):
            x, y, frame = shot.x_um[first:last], shot.y_um[first:last], shot.frame[first:last]
            single = np.diff(frame) == 1
            both = single[1:] & single[:-1]
            if not both.any():
                continue
            dx, dy = np.diff(x), np.diff(y)
            square = 0.5 * np.mean(dx[single] ** 2 + dy[single] ** 2)
            product = 0.5 * np.mean((dx[1:] * dx[:-1] + dy[1:] * dy[:-1])[both])
            rows.append((square, product, single.sum(), np.mean(shot.sd_um[first:last] ** 2)))
        return cls(*np.array(rows).T)


def covariance(products: Products) -> Sizes:
    """Covariance estimator with an error of its own for each track (Vestergaard, Blainey & Flyvbjerg 2014, eq. 14).

    The blur coefficient enters the error it tells, not D.
    """
    return Sizes.of((products.square_um2 / 2 + products.neighbours_um2) * FPS)


def nanotrackj(products: Products) -> Sizes:
    """Walker 2012 as NanoTrackJ has it: what is deconvolved is 4 D dt of the covariance estimator."""
    return _walker(4 * (products.square_um2 / 2 + products.neighbours_um2), products.n_steps)


def walker(products: Products) -> Sizes:
    """Walker 2012 on the first-lag mean squared displacements, freed from blur and from the true errors, which no one knows so well."""
    return _walker((2 * products.square_um2 - 4 * products.error_um2) / (1 - EXPOSURE_S * FPS / 3), products.n_steps)


def _walker(square_um2: np.ndarray, n_steps: np.ndarray) -> Sizes:
    """Deconvolve mean squared displacements: a gamma density of as many degrees as a track has steps, free weights of diameters by EM.

    As in NanoTrackJ's source: bins of 4 nm from 4 nm on, uniform at first, updated one bin after the other, until chi-square of the
    histogram of displacements (as many bins as the root of the tracks) changes by less than 1 %. There, bins go to the largest diameter
    any track has on its own; here tracks that are alone beyond the limits are left out first.
    """
    from scipy.special import gammaln, xlogy

    limits = [STOKES_EINSTEIN_UM2_S_NM / nm * 4 / FPS for nm in LIMITS_NM]
    inside = (square_um2 < limits[0]) & (square_um2 > limits[1])
    square, steps = square_um2[inside], n_steps[inside]
    nm = np.arange(BIN_NM, STOKES_EINSTEIN_UM2_S_NM * 4 / FPS / square.min() + BIN_NM, BIN_NM)
    mean = STOKES_EINSTEIN_UM2_S_NM / nm * 4 / FPS

    def log_density(at: np.ndarray, k: np.ndarray) -> np.ndarray:
        return (xlogy(k, k) + xlogy(k - 1, at) - gammaln(k))[:, None] - np.outer(k * at, 1 / mean) - np.outer(k, np.log(mean))

    log_chance = log_density(square, steps)
    chance = np.ascontiguousarray(np.exp(log_chance - log_chance.max(axis=1, keepdims=True)).T)
    bins = int(np.ceil(np.sqrt(len(square))))
    width = square.max() / bins
    observed = np.bincount(np.floor(square / width - 0.001).astype(int).clip(0), minlength=bins)
    lengths, tracks = np.unique(steps, return_counts=True)
    expected = np.array([tracks @ np.exp(log_density(np.full(len(lengths), (b + 1) * width), lengths)) for b in range(bins)]) * width

    def chi_square(weight: np.ndarray) -> float:
        predicted = np.maximum(expected @ weight / weight.sum(), 1e-300)
        return float(np.sum((observed - predicted) ** 2 / predicted))

    weight = np.full(len(nm), 1 / len(nm))
    before, mixed = chi_square(weight), weight @ chance
    for _ in range(MOST_SWEEPS):
        for m, row in enumerate(chance):
            grown = weight[m] * weight.sum() * np.mean(row / mixed)
            mixed += (grown - weight[m]) * row
            weight[m] = grown
        mixed = weight @ chance  # what rounding left behind
        after = chi_square(weight)
        if abs(after - before) <= SETTLED * before:
            break
        before = after
    return Sizes.within_limits(nm, weight)


# --- saspt ---


def state_arrays(python: Path, shots: Sequence[Shot]) -> list[tuple[Sizes, float]]:
    """Return what saspt makes of each shot, and the CPU seconds it took, by the interpreter of an environment that has it.

    It asks for uninterrupted tracks, and knows no exposure: it is given the interval in which a particle goes as far as what is seen of
    its steps, a third of the exposure less than a frame.
    """
    with tempfile.TemporaryDirectory() as folder:
        given, answered = Path(folder, "tracks.npz"), Path(folder, "states.npz")
        columns = {}
        for i, shot in enumerate(shots):
            track = np.repeat(np.arange(len(shot.start) - 1), shot.n_spots)
            breaks = (np.diff(track) != 0) | (np.diff(shot.frame) != 1)
            piece = np.append(0, np.cumsum(breaks))
            whole = np.bincount(piece)[piece] >= MIN_FRAMES
            at = (shot.x_um[whole] / PIXEL_UM, shot.y_um[whole] / PIXEL_UM, shot.frame[whole], piece[whole])
            columns |= {f"tracks_{i}": np.column_stack(at), f"depth_{i}": np.array(shot.scene.typical_depth_um)}
        np.savez(given, pixel_um=PIXEL_UM, interval_s=1 / FPS - EXPOSURE_S / 3, n=len(shots), **columns)
        script = Path(__file__).with_name("saspt_states.py")
        subprocess.run([str(python), "-W", "ignore", str(script), str(given), str(answered)], check=True)
        with np.load(answered) as states:
            nm = STOKES_EINSTEIN_UM2_S_NM / states["d_um2_s"]
            each = ((states[f"occupation_{i}"], states[f"cpu_s_{i}"]) for i in range(len(shots)))
            return [(Sizes.within_limits(nm, occupation), float(cpu_s)) for occupation, cpu_s in each]
