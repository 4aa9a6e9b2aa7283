from __future__ import annotations

import math

import naive
import numpy as np
import pytest
from scipy import stats

from nta.diffusion import size_grid_nm
from nta.intervals import DROP_95, _drops, allowed_drops, coefficient_intervals
from nta.kernels.likelihood import track_loglik

D_100NM = naive.sphere_d_um2_s(100.0)
DT, EXPOSURE = 1 / 30, 0.015
GRID = D_100NM * 100.0 / size_grid_nm()


def intervals(at_um: np.ndarray, variance_um2: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return best D, low and high of (n_tracks, n_frames, 2) positions whose errors are known."""
    n, frames = at_um.shape[:2]
    x, y = (np.ascontiguousarray(at_um[..., axis].ravel()) for axis in (0, 1))
    ln = np.empty((n, len(GRID) + 1))
    track_loglik(
        x, y, np.tile(np.arange(frames), n), np.full(n * frames, variance_um2), np.arange(n + 1) * frames, np.append(GRID, 0.0),
        DT, EXPOSURE, np.array([math.inf]), 0.0, ln,
    )  # fmt: skip
    drop = allowed_drops(np.full(n, frames - 1.0), np.full(n, variance_um2 / DT), GRID, EXPOSURE / DT)
    return coefficient_intervals(ln[:, :-1], ln[:, -1], GRID, drop)


@pytest.mark.parametrize(("n_frames", "noise"), [(15, 0.0096), (5, 0.02), (5, 1.0), (5, 3.0), (10, 3.0), (30, 30.0)])
def test_intervals_cover_95_percent(n_frames: int, noise: float) -> None:
    # noise: localisation variance over D dt; where it is 3, half the bound of D's error is more than D itself
    variance = noise * D_100NM * DT
    at = naive.brownian_um(np.random.default_rng(5), 4000, n_frames, D_100NM, DT, EXPOSURE, math.sqrt(variance))
    value, low, high = intervals(at, variance)
    assert np.all((low <= value) & (value <= high))
    covered = np.mean((low <= D_100NM) & (high >= D_100NM))
    assert 0.935 < covered < 0.965  # 3 standard errors are 1 %
    # both tails alike, within what the asymmetry of a chi-square leaves
    assert 0.008 < np.mean(low > D_100NM) < 0.05
    assert 0.008 < np.mean(high < D_100NM) < 0.05


def test_a_track_that_does_not_move_has_no_diffusion_and_an_upper_bound() -> None:
    value, low, high = intervals(0.04 * np.random.default_rng(6).normal(size=(200, 10, 2)), 0.04**2)
    still = value == 0
    # half of the likelihoods fall off from zero on; nearly all here, since the grid's slowest (0.14 um^2/s) is not zero
    assert 0.5 < still.mean() <= 1.0
    assert np.mean(low == 0) > 0.93
    assert np.all(low[still] == 0)
    assert np.all(high >= value)
    assert np.all(high < D_100NM)


@pytest.mark.parametrize("shift", [0, 300])
def test_intervals_hold_the_estimate_at_both_ends_of_the_grid(shift: int) -> None:
    # a row that still rises where the sizes end: too fast, too slow, or nearly still
    d = 490.7 / size_grid_nm()
    ln = np.log(d)
    rows = []
    for true in (4 * d[0], 1.3 * d[0], d[80], d[-1] / 1.3, d[-1] / 4):
        # n steps of variance true seen with D: -n (ln D + true / D)
        rows.append(-12 * (ln + true / d))
    loglik = np.array(rows) - shift
    loglik -= loglik.max(axis=1, keepdims=True)
    value, low, high = coefficient_intervals(loglik, np.full(5, -50.0), d, np.full((5, 161), DROP_95))
    assert np.all(low <= value)
    assert np.all(value <= high)
    assert value[2] == pytest.approx(d[80], rel=0.01)
    assert np.all((d[-1] * 0.99 <= value) & (value <= d[0] * 1.01))
    assert np.all(high > 0)
    assert high[0] == pytest.approx(d[0], rel=0.05)
    assert low[2] > d[80] / 3
    assert high[2] < 3 * d[80]


def test_interval_is_where_the_likelihood_drops_by_half_the_chi_square_quantile() -> None:
    d = 490.7 / size_grid_nm()
    centre, width = math.log(5.0123), 0.25
    loglik = -0.5 * ((np.log(d) - centre) / width)[None] ** 2
    drop = np.full((1, 161), DROP_95)
    value, low, high = coefficient_intervals(loglik, np.array([-80.0]), d, drop)
    assert value[0] == pytest.approx(5.0123, rel=1e-3)
    assert math.log(high[0]) - centre == pytest.approx(1.96 * width, rel=0.01)
    assert centre - math.log(low[0]) == pytest.approx(1.96 * width, rel=0.01)
    # no motion nearly as likely: the interval reaches down to it, the estimate stays
    value, low, high = coefficient_intervals(loglik, np.array([-1.0]), d, drop)
    assert value[0] == pytest.approx(5.0123, rel=1e-3)
    assert low[0] == 0
    value, low, high = coefficient_intervals(loglik, np.array([1.0]), d, drop)
    assert value[0] == low[0] == 0
    assert 5.0 < high[0] < 5.0123 * math.exp(1.96 * width)


def test_drops_have_their_limits() -> None:
    # many steps: chi-square, both tails or, at rest, one
    nu, q = np.array([1e5, 1e5]), np.array([1e9, 1.0])
    assert _drops(nu, q) == pytest.approx(stats.chi2.ppf([0.95, 0.90], 1) / 2, rel=2e-3)
    drops = allowed_drops(np.array([1000.0, 4.0]), np.array([1e-6, 1e-6]), GRID, 0.0)
    assert drops[0, :-1] == pytest.approx(DROP_95, rel=1e-3)
    # few: E[-2 ln ratio] is 1 + 1 / (6 n) (Bartlett's correction of a scale)
    assert drops[1, :-1] == pytest.approx(DROP_95 * (1 + 1 / 24), rel=2e-3)


@pytest.mark.parametrize(("nu", "q"), [(1.3, 1.0), (1.3, 1.4), (2.0, 2.2), (4.0, 3.0), (10.0, 5.0)])
def test_drops_are_what_5_percent_exceed(nu: float, q: float) -> None:
    drop = _drops(np.array([nu]), np.array([q]))[0]
    # -nu (ln(D + b) + X / (D + b)) with D + b = 1, the highest over D >= 0 against the true one
    b = 1 / q
    x = np.random.default_rng(0).gamma(nu, 1 / nu, 200_000)
    best = np.maximum(x, b)
    excess = nu * (-np.log(best) - x / best + x)
    assert np.mean(excess > drop) == pytest.approx(0.05, abs=0.0015)  # 3 standard errors


def test_drops_between_the_lengths_and_noises_computed() -> None:
    exposed = EXPOSURE / DT
    for n, noise in ((4, 0.1), (9, 1.0), (17, 2.5), (45, 0.7), (100, 30.0)):
        drop = allowed_drops(np.array([float(n)]), np.array([noise]), np.array([1.0]), exposed)[0, 0]
        c = 1 - np.cos(np.arange(1, n + 1) * np.pi / (n + 1))
        r = (1 - exposed / 3 * c) / (1 - exposed / 3 * c + noise * c)
        square, cube = np.sum(r**2), np.sum(r**3)
        exact = _drops(np.array([square**3 / cube**2]), np.array([1 / (1 - cube / square)]))[0]
        assert drop == pytest.approx(exact, rel=0.03)
