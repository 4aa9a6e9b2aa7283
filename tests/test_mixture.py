from __future__ import annotations

import math

import numpy as np
import pytest

from nta.diffusion import size_grid_nm
from nta.mixture import Mixture, fit_mixture

LN = np.log(size_grid_nm())


def fit(
    ln_d: np.ndarray, width: float = 0.2, tracks_per_particle: float = 1.0, expected: np.ndarray | None = None, seed: int = 0
) -> Mixture:
    guess = ln_d + width * np.random.default_rng(seed).normal(size=len(ln_d))
    matrix = np.exp(-0.5 * ((LN - guess[:, None]) / width) ** 2)
    expected = np.ones(len(LN)) if expected is None else expected
    start = np.ones(len(LN))
    for _ in range(100):  # a deconvolved start, as the density is
        start *= ((matrix * expected).T @ (1 / (matrix * expected @ start))) / expected
    return fit_mixture(matrix * expected, expected, LN, start / start.sum(), tracks_per_particle)


@pytest.mark.parametrize("gsd", [1.0, 1.45, 2.0])
def test_one_log_normal_is_one_component(gsd: float) -> None:
    truth = math.log(95.0) + math.log(gsd) * np.random.default_rng(1).normal(size=600)
    found = fit(truth)
    assert len(found.centre) == 1
    assert found.share == pytest.approx([1.0])
    assert math.exp(found.centre[0]) == pytest.approx(95.0, rel=0.06)
    assert found.width[0] == pytest.approx(math.log(gsd), abs=0.06)


@pytest.mark.parametrize(("small", "large", "share"), [(80.0, 200.0, 0.7), (100.0, 150.0, 0.5), (60.0, 100.0, 0.7)])
def test_two_sizes_are_two_components_where_they_are(small: float, large: float, share: float) -> None:
    rng = np.random.default_rng(2)
    truth = np.log(np.where(rng.random(1000) < share, small, large))
    found = fit(truth, 0.15)
    assert len(found.centre) == 2
    assert np.all(np.diff(found.centre) > 0)
    assert np.exp(found.centre) == pytest.approx([small, large], rel=0.06)
    assert found.share == pytest.approx([share, 1 - share], abs=0.08)
    assert found.share.sum() == pytest.approx(1)


def test_three_sizes_are_three() -> None:
    truth = np.log(np.random.default_rng(3).choice([50.0, 120.0, 400.0], 900))
    found = fit(truth)
    assert np.exp(found.centre) == pytest.approx([50, 120, 400], rel=0.06)
    assert found.share == pytest.approx(np.full(3, 1 / 3), abs=0.06)


def test_shares_are_of_particles_not_of_tracks() -> None:
    expected = np.where(math.log(150) > LN, 4.0, 1.0)
    truth = np.log(np.repeat([80.0, 300.0], [800, 200]))
    found = fit(truth, expected=expected)
    assert found.share == pytest.approx([0.5, 0.5], abs=0.05)


def test_tracks_of_one_particle_are_no_new_evidence() -> None:
    # two particles that came back forty times each are two particles, not two populations
    truth = np.log(np.repeat([85.0, 120.0], 40))
    assert len(fit(truth, 0.1, tracks_per_particle=40.0).centre) == 1
    assert len(fit(truth, 0.1, tracks_per_particle=1.0).centre) == 2


def test_a_few_tracks_are_one_component() -> None:
    found = fit(np.full(3, math.log(100.0)))
    assert len(found.centre) == 1
    assert math.exp(found.centre[0]) == pytest.approx(100.0, rel=0.35)


def test_tracks_that_do_not_count_are_not_there() -> None:
    rng = np.random.default_rng(9)
    guess = np.log(np.where(rng.random(700) < 0.7, 80.0, 200.0)) + 0.15 * rng.normal(size=700)
    matrix = np.exp(-0.5 * ((LN - guess[:, None]) / 0.15) ** 2)
    count = (guess < math.log(126.0)).astype(float)
    expected, start = np.ones(len(LN)), np.full(len(LN), 1 / len(LN))
    counted = fit_mixture(matrix, expected, LN, start, 1.0, count)
    alone = fit_mixture(matrix[count > 0], expected, LN, start, 1.0)
    assert counted.centre == pytest.approx(alone.centre, rel=1e-9)
    assert counted.share == pytest.approx(alone.share, rel=1e-9)
