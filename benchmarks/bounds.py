"""The least error that a spot's place can have: Cramer-Rao bounds with a camera's exact noise.

``python benchmarks/bounds.py`` prints those of x at the standard signal-to-noise ratios.
"""

from __future__ import annotations

import functools
import math

import bench
import numpy as np
from scenes import REACH_SD, SNRS, Scene, profile
from scipy.special import ndtr
from scipy.stats import poisson


@functools.cache
def information(electrons_per_grey: float, read_noise: float, rounds: bool, ceiling: float) -> tuple[np.ndarray, np.ndarray]:
    """Return mean grey levels of a pixel, and the Fisher information about its mean that its grey level holds: the exact noise."""
    mean = np.linspace(0.15, 22.0, 180) ** 2
    if math.isinf(electrons_per_grey):
        return mean, np.full(len(mean), 1 / (read_noise**2 + (1 / 12 if rounds else 0.0)))
    step, found = 1.0 if rounds else 0.1 * read_noise, np.empty(len(mean))
    for i, electrons in enumerate(mean * electrons_per_grey):
        spread = 9 * math.sqrt(electrons) + 12
        n = np.arange(max(0, math.floor(electrons - spread)), math.ceil(electrons + spread) + 1)
        chance = poisson.pmf(n, electrons)
        slope = electrons_per_grey * (poisson.pmf(n - 1, electrons) - chance)
        low, high = n[0] / electrons_per_grey - 8 * read_noise, n[-1] / electrons_per_grey + 8 * read_noise
        if rounds:
            low, high = max(0.0, math.floor(low)), min(ceiling, math.ceil(high))
        edge = np.arange(low, high + step, step)[:-1] + step / 2
        below = ndtr((edge - n[:, None] / electrons_per_grey) / read_noise)
        share = np.diff(below, axis=1, prepend=0.0, append=1.0)  # all that is below the lowest level and above the highest is theirs
        p, dp = chance @ share, slope @ share
        found[i] = np.sum(dp[p > 1e-200] ** 2 / p[p > 1e-200])
    return mean, found


def bounds_px(scene: Scene, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the Cramer-Rao bound of the SD of x, and the SD that unweighted least squares have; lone spots of known width.

    Height and level are unknown. The light is taken as even.
    """
    reach = math.ceil(REACH_SD * scene.sigma_px)
    grid = np.arange(-reach, reach + 1)
    dx, dy = (x - np.rint(x))[:, None], (y - np.rint(y))[:, None]
    across, down = profile(grid, dx, scene.sigma_px), profile(grid, dy, scene.sigma_px)

    def slope(d: np.ndarray) -> np.ndarray:
        low, high = (np.exp(-0.5 * ((grid + half - d) / scene.sigma_px) ** 2) for half in (-0.5, 0.5))
        return low - high

    shape = down[:, :, None] * across[:, None, :]
    jacobian = np.stack(
        [
            scene.peak * down[:, :, None] * slope(dx)[:, None, :],
            scene.peak * slope(dy)[:, :, None] * across[:, None, :],
            shape,
            np.ones_like(shape),
        ],
        axis=-1,
    ).reshape(len(x), -1, 4)
    mean = (scene.level + scene.peak * shape).reshape(len(x), -1)
    per_pixel = np.interp(mean, *information(scene.electrons_per_grey, scene.read_noise, scene.rounds, scene.ceiling))
    fisher = np.einsum("npi,np,npj->nij", jacobian, per_pixel, jacobian)
    plain = np.linalg.inv(np.einsum("npi,npj->nij", jacobian, jacobian))
    middle = np.einsum("npi,np,npj->nij", jacobian, scene.variance(mean), jacobian)
    return np.sqrt(np.linalg.inv(fisher)[:, 0, 0]), np.sqrt((plain @ middle @ plain)[:, 0, 0])


def main() -> None:
    bench.say(bench.head("e-/grey", "peak SNR", "peak, grey", "bound of x, px", "least squares, px"))
    for electrons in (0.5, 6.0):
        for snr in SNRS:
            scene = Scene(snr=snr, electrons_per_grey=electrons)
            at = np.random.default_rng(0).uniform(0, 1, (2, 200))
            exact, plain = (np.sqrt(np.mean(sd**2)) for sd in bounds_px(scene, *at))
            bench.say(bench.row(electrons, f"{snr:g}", f"{scene.peak:.1f}", f"{exact:.4f}", f"{plain:.4f}"))


if __name__ == "__main__":
    main()
