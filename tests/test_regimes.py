from __future__ import annotations

import math
from typing import Any

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nta.kernels.likelihood import LANES
from nta.kernels.regimes import regime_loglik
from nta.regimes import ANYWHERE_UM2, LARGEST_TRAP_UM, SMALLEST_TRAP_UM, VELOCITY_UM_S, confined_loglik, directed_loglik
from nta.steps import Steps

D_100NM = naive.sphere_d_um2_s(100.0)
DT, EXPOSURE, SIGMA = 1 / 30, 0.015, 0.04
RANGE = np.array([D_100NM * 100 / 15, D_100NM * 100 / 3500])


def kept(variance_um2: np.ndarray) -> np.ndarray:
    """Return ln of the chance that a step is kept where none is lost."""
    return np.zeros(len(variance_um2))


def steps_of(at_um: np.ndarray, sigma_um: float = SIGMA) -> Steps:
    n, frames = at_um.shape[:2]
    x, y = (np.ascontiguousarray(at_um[..., axis].ravel()) for axis in (0, 1))
    return Steps(x, y, np.tile(np.arange(frames), n), np.full(n * frames, sigma_um**2), np.arange(n + 1) * frames, np.arange(n))


def free_loglik(steps: Steps, d: np.ndarray) -> np.ndarray:
    args = steps.x_um, steps.y_um, steps.frame, steps.spot_variance_um2, steps.start
    return naive.track_loglik(*args, d, DT, EXPOSURE, np.array([math.inf]))


@st.composite
def random_track(draw: st.DrawFn) -> dict[str, Any]:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.integers(1, 20))
    return {
        "x": 100.0 + rng.normal(scale=0.5, size=n),
        "y": rng.normal(scale=0.5, size=n),
        "frame": np.cumsum(rng.integers(1, 4, n)),
        "variance": rng.uniform(1e-4, 0.05, n),
        "d": 10.0 ** rng.uniform(-1, 1.5),
        "um": 10.0 ** rng.uniform(-1, 0.5),
        "shutter": rng.uniform(0.01, 1),
    }


def kernel(track: dict[str, Any], model: list[float]) -> float:
    out = np.empty((1, LANES))
    models = np.repeat(np.array(model), LANES)[None]
    start = np.array([0, len(track["x"])])
    regime_loglik(track["x"], track["y"], track["frame"].astype(np.int64), track["variance"], start, models, out)
    assert np.ptp(out) == 0
    return float(out[0, 0])


@given(random_track())
@settings(max_examples=60)
def test_a_trap_is_a_dense_normal_of_positions(track: dict[str, Any]) -> None:
    d, trap, exposure = track["d"], track["um"], track["shutter"] * DT
    tau = trap**2 / d
    a = exposure / tau
    ahead, seen = trap**2 * (2 * math.sinh(a / 2) / a) ** 2, trap**2 * 2 * (a + math.expm1(-a)) / a**2
    fast = kernel(track, [ahead, math.exp(-DT / tau), ahead, 0.0, ahead - seen, 1.0, 0.0, 0.0])
    cov = naive.trap_covariance(track["frame"], track["variance"], d, trap, DT, exposure)
    assert fast == pytest.approx(naive.steps_loglik(track["x"], track["y"], cov), rel=1e-6, abs=1e-6)


@given(random_track())
@settings(max_examples=60)
def test_a_velocity_is_a_dense_normal_of_steps(track: dict[str, Any]) -> None:
    d, sd, exposure = track["d"], track["um"], track["shutter"] * DT
    found = kernel(track, [ANYWHERE_UM2, 1.0, 0.0, 2 * d * DT, d * exposure / 3, 0.0, 1.0, sd**-2])
    found += math.log(ANYWHERE_UM2) + math.log(sd**-2)
    lapse = np.diff(track["frame"]).astype(float)
    cov = naive.step_covariance(track["frame"], track["variance"], d, DT, exposure) + sd**2 * np.outer(lapse, lapse)
    assert found == pytest.approx(naive.steps_loglik(track["x"], track["y"], cov) if len(lapse) else 0.0, rel=1e-5, abs=1e-5)


def test_columns_are_means_over_what_may_be() -> None:
    rng = np.random.default_rng(0)
    steps = steps_of(naive.brownian_um(rng, 2, 12, D_100NM, DT, EXPOSURE, SIGMA))
    frame, variance = np.arange(12), np.full(12, SIGMA**2)
    lapse = DT * np.ones(11)
    for i in range(2):
        x, y = steps.x_um[12 * i : 12 * i + 12], steps.y_um[12 * i : 12 * i + 12]
        carried, held = [], []
        for d in np.geomspace(*RANGE, LANES):
            cov = naive.step_covariance(frame, variance, d, DT, EXPOSURE) + VELOCITY_UM_S**2 * np.outer(lapse, lapse)
            carried.append(naive.steps_loglik(x, y, cov))
        for d in np.geomspace(*RANGE, 10):
            for trap in np.geomspace(SMALLEST_TRAP_UM, LARGEST_TRAP_UM, 16):
                if 4 * trap**2 / d <= 11 * DT and EXPOSURE * d / trap**2 < 30:
                    held.append(naive.steps_loglik(x, y, naive.trap_covariance(frame, variance, d, trap, DT, EXPOSURE)))
                elif 4 * trap**2 / d <= 11 * DT:
                    # forgotten within the exposure: white, by so much less
                    white = SIGMA**2 + 2 * trap**2 * (trap**2 / d / EXPOSURE)
                    held.append(naive.steps_loglik(x, y, white * np.eye(12)))
        args = steps.part(i, i + 1), variance, RANGE, DT, EXPOSURE, kept
        assert directed_loglik(*args)[0] == pytest.approx(np.logaddexp.reduce(carried) - math.log(len(carried)), abs=1e-4)
        assert confined_loglik(*args)[0] == pytest.approx(np.logaddexp.reduce(held) - math.log(len(held)), abs=0.1)


def test_a_trap_that_cannot_be_seen_is_none() -> None:
    # the slowest exchange of the smallest trap takes longer than these tracks
    slow = np.array([1e-3, 1e-4])
    steps = steps_of(naive.brownian_um(np.random.default_rng(1), 3, 6, D_100NM, DT, EXPOSURE, SIGMA))
    assert np.all(confined_loglik(steps, steps.spot_variance_um2, slow, DT, EXPOSURE, kept) == -np.inf)
    assert np.isfinite(directed_loglik(steps, steps.spot_variance_um2, slow, DT, EXPOSURE, kept)).all()


@pytest.mark.parametrize("exposed", [0.0, 0.45, 1.0, 1.5])
def test_columns_are_finite_at_any_exposure(exposed: float) -> None:
    steps = steps_of(naive.brownian_um(np.random.default_rng(2), 5, 100, D_100NM, DT, EXPOSURE, SIGMA))
    for loglik in (confined_loglik, directed_loglik):
        assert np.isfinite(loglik(steps, steps.spot_variance_um2, RANGE, DT, exposed * DT, kept)).all()


def test_each_is_told_from_free_diffusion_where_it_can_be() -> None:
    rng, n = np.random.default_rng(3), 100
    coefficients = np.geomspace(*RANGE, 40)

    def odds(at_um: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        steps = steps_of(at_um)
        free = free_loglik(steps, coefficients)
        mean = np.logaddexp.reduce(free, axis=1) - math.log(free.shape[1])
        args = steps, steps.spot_variance_um2, RANGE, DT, EXPOSURE, kept
        return directed_loglik(*args) - mean, confined_loglik(*args) - mean

    directed, confined = odds(naive.brownian_um(rng, n, 40, D_100NM, DT, EXPOSURE, SIGMA))
    assert np.median(directed) < -0.5
    assert np.median(confined) < -2
    # the mean odds of what is not true are 1, so that 20 is exceeded by one in twenty at most
    assert np.mean(directed > 3) < 0.08
    assert np.mean(confined > 3) < 0.08
    directed, confined = odds(naive.trapped_um(rng, n, 40, D_100NM, 0.2, DT, EXPOSURE, SIGMA))
    assert np.mean(confined > 7) > 0.95
    assert np.mean(directed < 0) > 0.95
    slow = naive.sphere_d_um2_s(500.0)
    carried = naive.brownian_um(rng, n, 40, slow, DT, EXPOSURE, SIGMA) + np.array([4.0, 3.0]) * DT * np.arange(40)[:, None]
    directed, confined = odds(carried)
    assert np.mean(directed > 1) > 0.9
    assert 3 < np.median(directed) < 8
    assert np.mean(confined < 0) > 0.95


def test_both_are_likelier_where_their_steps_are_lost_as_those_of_free_diffusion_are() -> None:
    steps = steps_of(naive.brownian_um(np.random.default_rng(4), 3, 21, D_100NM, DT, EXPOSURE, SIGMA))
    for loglik in (directed_loglik, confined_loglik):
        args = steps, steps.spot_variance_um2, RANGE, DT, EXPOSURE
        lost = loglik(*args, lambda variance_um2: np.full(len(variance_um2), math.log(0.9)))
        assert lost - loglik(*args, kept) == pytest.approx(-20 * math.log(0.9))
