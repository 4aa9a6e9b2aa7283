from __future__ import annotations

import math

import naive
import numpy as np
import pytest

from nta.diffusion import size_grid_nm
from nta.misfit import chance_to_fit_worse, whitened
from nta.shared import SharedModel
from nta.steps import Steps

D_100NM = naive.sphere_d_um2_s(100.0)
DT, EXPOSURE, SIGMA = 1 / 30, 0.015, 0.04
MODEL = SharedModel(DT, np.array([math.inf]), floor_um=0.0, factor=1.0, exposure_s=EXPOSURE, wrong_share=0.0)


def steps_of(at_um: np.ndarray, sigma_um: float = SIGMA) -> Steps:
    n, frames = at_um.shape[:2]
    x, y = (np.ascontiguousarray(at_um[..., axis].ravel()) for axis in (0, 1))
    return Steps(x, y, np.tile(np.arange(frames), n), np.full(n * frames, sigma_um**2), np.arange(n + 1) * frames, np.arange(n))


def chances(at_um: np.ndarray, sigma_um: float = SIGMA) -> np.ndarray:
    """Return the chance to fit worse, each track by its most likely coefficient on the grid."""
    steps, grid = steps_of(at_um, sigma_um), np.append(D_100NM * 100.0 / size_grid_nm(), 0.0)
    return chance_to_fit_worse(steps, MODEL, grid[MODEL.loglik(steps, grid).argmax(axis=1)])


def brownian(n: int, n_frames: int, sigma_um: float = SIGMA, seed: int = 0, d: float = D_100NM) -> np.ndarray:
    return naive.brownian_um(np.random.default_rng(seed), n, n_frames, d, DT, EXPOSURE, sigma_um)


def test_whitened_steps_are_those_of_a_dense_matrix() -> None:
    rng = np.random.default_rng(0)
    frame = np.concatenate([[0, 1, 3, 4, 8, 9], [2, 3, 4]])
    x, y, variance = rng.normal(size=9), rng.normal(size=9), rng.uniform(0.001, 0.01, 9)
    d = np.array([3.0, 0.5])
    steps = Steps(x, y, frame, variance, np.array([0, 6, 9]), np.arange(2))
    found = np.array(whitened(steps, MODEL, d))
    for i, (a, b) in enumerate([(0, 6), (6, 9)]):
        cov = naive.step_covariance(frame[a:b], variance[a:b], d[i], DT, EXPOSURE)
        lower = np.linalg.cholesky(cov)
        of = slice(a - i, b - 1 - i)
        for row, plain in zip(found, (x[a:b], y[a:b], DT * frame[a:b]), strict=True):
            assert row[of] == pytest.approx(np.linalg.solve(lower, np.diff(plain)), rel=1e-9)


@pytest.mark.parametrize("n_frames", [5, 8, 30])
@pytest.mark.parametrize("sigma_um", [0.01, 0.04, 0.4])  # the last: as large as a step
def test_free_diffusion_fits_as_badly_as_its_chance(n_frames: int, sigma_um: float) -> None:
    p = chances(brownian(20_000, n_frames, sigma_um, 1), sigma_um)
    # four tests share: a little less than asked for. 3 standard errors are 0.005 and 0.0007
    assert 0.03 < np.mean(p < 0.05) < 0.055
    assert 0.0002 < np.mean(p < 0.001) < 0.0017
    assert p.min() > 0
    assert p.max() <= 1


def test_what_is_no_free_diffusion_of_one_particle_fits_badly() -> None:
    rng = np.random.default_rng(2)
    n, frames, half = 400, 60, 30
    trapped = naive.trapped_um(rng, n, frames, D_100NM, 0.2, DT, EXPOSURE, SIGMA)
    slow, fast = brownian(n, frames, seed=3, d=naive.sphere_d_um2_s(600.0)), brownian(n, frames, seed=4)
    changed = np.concatenate([fast[:, :half], fast[:, half - 1 : half] + slow[:, half:] - slow[:, half : half + 1]], axis=1)
    carried = slow + np.array([0.6, 0.8]) * 5.0 * DT * np.arange(frames)[:, None]
    jump = slow.copy()
    jump[:, half:] += np.array([2.0, 1.0])
    for seen, least in ((trapped, 0.95), (changed, 0.95), (carried, 0.8), (jump, 0.95)):
        assert np.mean(chances(seen) < 0.001) > least
    assert np.mean(chances(fast) < 0.001) < 0.01


def test_short_tracks_fit_whatever_they_are() -> None:
    p = chances(np.array([[[0.0, 0.0], [50.0, 1.0]]]))
    assert list(p) == [1.0]
    # a track of two equal steps shares all power by halves
    assert 0 < chances(np.array([[[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]]]))[0] <= 1


def test_order_and_company_do_not_matter() -> None:
    short, long = brownian(3, 6, seed=5), brownian(2, 40, seed=6)
    alone = np.concatenate([chances(short), chances(long)])
    parts = [steps_of(short), steps_of(long)]
    both = Steps(
        *(np.concatenate([getattr(p, name) for p in parts]) for name in ("x_um", "y_um", "frame", "spot_variance_um2")),
        np.append(parts[0].start, parts[0].start[-1] + parts[1].start[1:]),
        np.arange(5),
    )
    grid = np.append(D_100NM * 100.0 / size_grid_nm(), 0.0)
    d = grid[MODEL.loglik(both, grid).argmax(axis=1)]
    assert chance_to_fit_worse(both, MODEL, d) == pytest.approx(alone, rel=1e-9)
