"""What one track says: estimates against the Cramer-Rao bound, intervals against the true coefficient, time; tracks of known truth.

``python benchmarks/single_tracks.py [--quick]`` prints Markdown tables. Localisation error and exposure are known: what is judged is the
likelihood, its maximum and its intervals.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass

import bench
import numpy as np
from bench import say

from nta.diffusion import size_grid_nm
from nta.intervals import allowed_drops, coefficient_intervals
from nta.physics import stokes_einstein_constant
from nta.shared import SharedModel
from nta.steps import Steps

DT_S, EXPOSURE_S = 1 / 30, 0.015
SIGMA_UM, SPOT_UM = 0.040, 0.23  # localisation error of a particle at rest, width of its spot
STOKES_EINSTEIN = stokes_einstein_constant(25.0, 0.8900)
FRAMES, SIZES_NM = (5, 6, 8, 10, 15, 20, 50, 100, 200), (30.0, 60.0, 100.0, 200.0, 500.0, 1000.0)
NOISES = (0.3, 1.0, 3.0)  # sigma^2 / (D dt)
WELL_KNOWN = 0.35  # of D, by the bound; beyond, estimates are not judged
VARIANCE_BAR, BIAS_BAR, COVER_BAR, PEAK_BAR, TIME_BAR_S = (0.95, 1.08), 0.01, (0.935, 0.965), 0.01, 0.15
TOGETHER = 2000  # tracks whose likelihoods are added


@dataclass(frozen=True)
class Case:
    """Tracks of one length and size; the localisation error at rest, or from `noise`, sigma^2 over D dt."""

    n_frames: int
    size_nm: float
    noise: float = 0.0

    @property
    def d(self) -> float:
        return STOKES_EINSTEIN / self.size_nm

    @property
    def variance_um2(self) -> float:
        if self.noise:
            return self.noise * self.d * DT_S
        return SIGMA_UM**2 * (1 + self.d * EXPOSURE_S / SPOT_UM**2)  # Michalet & Berglund 2012

    def eigenvalues(self) -> tuple[np.ndarray, np.ndarray]:
        """Return slope over D and rest of the eigenvalues of the covariance of the steps, (n,) each (a discrete sine transform)."""
        c = 1 - np.cos(np.arange(1, self.n_frames) * np.pi / self.n_frames)
        return 2 * (DT_S - EXPOSURE_S / 3 * c), 2 * self.variance_um2 * c

    def bound(self) -> float:
        """Return the Cramer-Rao bound of the standard deviation of D, over D."""
        slope, rest = self.eigenvalues()
        return float(1 / math.sqrt(np.sum((slope * self.d / (slope * self.d + rest)) ** 2)))


def simulate(case: Case, n_tracks: int, rng: np.random.Generator) -> np.ndarray:
    """Return measured positions, (n_tracks, n_frames, 2) um: exact means of Brownian paths over the exposure, and localisation error."""
    shape = n_tracks, case.n_frames, 2
    # over the exposure: end and mean of a path, variances 2 D t and 2 D t / 3, covariance D t
    lit = rng.normal(scale=math.sqrt(2 * case.d * EXPOSURE_S), size=shape)
    seen = np.cumsum(lit + rng.normal(scale=math.sqrt(2 * case.d * (DT_S - EXPOSURE_S)), size=shape), axis=1)
    seen[:, 1:] = seen[:, :-1].copy()
    seen[:, 0] = 0
    seen += lit / 2 + rng.normal(scale=math.sqrt(case.d * EXPOSURE_S / 6), size=shape)
    return seen + rng.normal(scale=math.sqrt(case.variance_um2), size=shape)


def steps_of(seen: np.ndarray, variance_um2: float) -> Steps:
    """Return the tracks as nta has them, each spot with its error."""
    n, frames = seen.shape[:2]
    x, y = (np.ascontiguousarray(seen[:, :, axis].ravel()) for axis in (0, 1))
    variance = np.full(n * frames, variance_um2)
    return Steps(x, y, np.tile(np.arange(frames), n), variance, np.arange(n + 1) * frames, np.arange(n))


def model() -> SharedModel:
    """Return what is known: the errors as told, no gate, no wrong link."""
    return SharedModel(DT_S, np.array([math.inf]), floor_um=0.0, factor=1.0, exposure_s=EXPOSURE_S, wrong_share=0.0)


def exact_maximum(case: Case, seen: np.ndarray) -> np.ndarray:
    """Return the most likely D >= 0 of each track, to 1e-6: by a sine transform and bisection, without a grid."""
    from scipy.fft import dst

    power = np.sum(dst(np.diff(seen, axis=1), type=1, axis=1, norm="ortho") ** 2, axis=2) / 2
    slope, rest = case.eigenvalues()
    low, high = np.zeros(len(power)), np.full(len(power), 40 * case.d)
    for _ in range(28):
        d = (low + high) / 2
        eigenvalue = slope * d[:, None] + rest
        rises = np.sum(slope / eigenvalue * (power / eigenvalue - 1), axis=1) > 0
        low, high = np.where(rises, d, low), np.where(rises, high, d)
    return (low + high) / 2


def judge(case: Case, n_tracks: int, rng: np.random.Generator) -> tuple[list[str] | None, list[str]]:
    """Return a row on the estimates, where the bound is low enough, and one on the intervals."""
    d = STOKES_EINSTEIN / size_grid_nm()
    bound, value, exact, misses = case.bound(), [], [], np.zeros(2)
    summed = np.zeros((n_tracks // TOGETHER, len(d)))
    for part in range(len(summed)):
        seen = simulate(case, TOGETHER, rng)
        loglik = model().loglik(steps_of(seen, case.variance_um2), np.append(d, 0.0))
        n_steps = np.full(TOGETHER, case.n_frames - 1.0)
        drop = allowed_drops(n_steps, np.full(TOGETHER, case.variance_um2 / DT_S), d, EXPOSURE_S / DT_S)
        best, low, high = coefficient_intervals(loglik[:, :-1], loglik[:, -1], d, drop)
        value.append(best)
        exact.append(exact_maximum(case, seen))
        misses += [np.sum(high < case.d), np.sum(low > case.d)]
        summed[part] = loglik[:, :-1].sum(axis=0)
    found, true = np.concatenate(value) / case.d, np.concatenate(exact) / case.d
    peaks = np.array([_peak(row, d) for row in [*summed, summed.sum(axis=0)]]) / case.d - 1
    chance = bound / math.sqrt(n_tracks)
    name = [str(case.n_frames), f"{case.size_nm:g}", f"{case.variance_um2 / case.d / DT_S:.2g}", f"{bound:.3f}"]
    cover = 1 - misses.sum() / n_tracks
    peak_good = abs(peaks[-1]) < max(PEAK_BAR, 3 * chance)
    good = bench.verdict(COVER_BAR[0] <= cover <= COVER_BAR[1] and peak_good)
    shares = (f"{100 * share:.2f}" for share in (cover, *misses / n_tracks))
    intervals = [*name, *shares, f"{100 * np.abs(peaks[:-1]).max():.2f}", f"{100 * peaks[-1]:+.2f} +- {100 * chance:.2f}", good]
    if bound > WELL_KNOWN:
        return None, intervals
    ratio, bias = np.var(found) / bound**2, found.mean() - 1
    good = bench.verdict(VARIANCE_BAR[0] <= ratio <= VARIANCE_BAR[1] and abs(bias) <= BIAS_BAR)
    spread, mean = math.sqrt(2 / n_tracks), 100 * bound / math.sqrt(n_tracks)
    row = [*name, f"{ratio:.3f}", f"{np.var(true) / bound**2:.3f}", f"{spread:.3f}"]
    return [*row, f"{100 * bias:+.2f}", f"{100 * (true.mean() - 1):+.2f}", f"{mean:.2f}", good], intervals


def _peak(row: np.ndarray, d: np.ndarray) -> float:
    """Return where a summed log-likelihood is highest, between grid points by a parabola."""
    k = int(np.clip(row.argmax(), 1, len(d) - 2))
    a, b, c = row[k - 1 : k + 2]
    return float(d[k] * (d[k + 1] / d[k]) ** (0.5 * (a - c) / (a - 2 * b + c)))


def time_it(n_tracks: int) -> str:
    """Return a row on the seconds that the likelihood of tracks of geometric lengths takes, 20 frames on average, 5 at least."""
    rng = np.random.default_rng(0)
    length = 4 + rng.geometric(1 / 16, n_tracks)
    seen = simulate(Case(int(length.max()), 100.0), n_tracks, rng)
    inside = np.arange(length.max()) < length[:, None]
    x, y = (np.ascontiguousarray(seen[:, :, axis][inside]) for axis in (0, 1))
    frame = np.broadcast_to(np.arange(length.max()), inside.shape)[inside]
    start = np.append(0, np.cumsum(length))
    steps = Steps(x, y, frame, np.full(len(x), Case(5, 100.0).variance_um2), start, np.arange(n_tracks))
    known = SharedModel(DT_S, np.array([4.0]), 0.0, 1.0, EXPOSURE_S, wrong_share=0.005)
    d = STOKES_EINSTEIN / size_grid_nm()
    times = bench.in_turns({"likelihood": lambda: known.loglik(steps, d)}, 5)["likelihood"]
    return bench.row(n_tracks, f"{length.mean():.1f}", len(d), f"{times.cpu_s:.3f}", bench.verdict(times.cpu_s <= TIME_BAR_S))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--tracks", type=int, default=20_000)
    options = parser.parse_args()
    n_tracks = 2 * TOGETHER if options.quick else options.tracks
    frames, sizes = ((5, 20), (30.0, 200.0)) if options.quick else (FRAMES, SIZES_NM)
    bench.one_thread()
    say(bench.environment())
    rng = np.random.default_rng(0)
    cases = [Case(n, size) for n in frames for size in sizes] + [Case(n, 100.0, noise) for n in frames for noise in NOISES]
    rows = [judge(case, n_tracks, rng) for case in cases]
    name = ("frames", "size, nm", "sigma^2 / D dt", "bound, sd/D")
    say(bench.head(*name, "var / CRLB", "exact maximum", "+-", "bias, %", "exact maximum", "+-", "bars"))
    say("\n".join(bench.row(*row) for row, _ in rows if row))
    say("\n" + bench.head(*name, "held, %", "too low, %", "too high, %", f"peak of {TOGETHER} off by, %", "of all, %", "bars"))
    say("\n".join(bench.row(*row) for _, row in rows))
    say("\n" + bench.head("tracks", "frames, mean", "sizes", "CPU, s", "bar"))
    say(time_it(1000))


if __name__ == "__main__":
    main()
