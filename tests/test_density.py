from __future__ import annotations

import math

import numpy as np
import pytest

from nta.density import Density, expectation_steps, fit_density, likelihood_bounds, refit, third_differences

GRID = np.geomspace(20.0, 2000.0, 81)  # half as fine as the real one: an eighth of the time
LN = np.log(GRID)


def tracks_of(ln_d: np.ndarray, width: float, seed: int = 0) -> np.ndarray:
    """Return a likelihood matrix of tracks that know ln d to `width`, rows scaled to their maximum."""
    guess = ln_d + width * np.random.default_rng(seed).normal(size=len(ln_d))
    ln = -0.5 * ((LN - guess[:, None]) / width) ** 2
    return np.exp(ln - ln.max(axis=1, keepdims=True))


def fit(matrix: np.ndarray, expected: np.ndarray | float = 1.0, outlier: np.ndarray | float = 1e-12) -> Density:
    n, k = matrix.shape
    return fit_density(matrix, np.full(k, expected), np.broadcast_to(outlier, (n, 2)).copy())


def quantile_nm(weight: np.ndarray, q: float) -> float:
    return float(np.exp(np.interp(q, np.cumsum(weight), LN + 0.5 * (LN[1] - LN[0]))))


def test_null_space_of_the_penalty_is_the_log_normal() -> None:
    penalty = third_differences(len(LN))
    x = np.arange(len(LN)) / len(LN)
    parabola = 3 - 2 * x + 5 * x**2
    assert parabola @ penalty @ parabola == pytest.approx(0, abs=1e-9)
    cubic = x**3
    assert cubic @ penalty @ cubic == pytest.approx((len(LN) - 3) * (6 / len(LN) ** 3) ** 2, rel=1e-6)
    assert np.linalg.matrix_rank(penalty) == len(LN) - 3


@pytest.mark.parametrize(("median_nm", "gsd"), [(100.0, 1.0), (95.0, 1.45), (250.0, 1.9)])
def test_one_population_is_recovered(median_nm: float, gsd: float) -> None:
    truth = math.log(median_nm) + math.log(gsd) * np.random.default_rng(1).normal(size=300)
    found = fit(tracks_of(truth, 0.2, seed=2))
    assert found.weight.sum() == pytest.approx(1, rel=1e-12)
    assert np.all(found.weight >= 0)
    for q, within in ((0.1, 0.12), (0.5, 0.06), (0.9, 0.12)):
        assert quantile_nm(found.weight, q) == pytest.approx(np.exp(np.quantile(truth, q)), rel=within)
    # numbers, not only shares: 300 tracks at one expected track each
    assert np.exp(found.log_number).sum() == pytest.approx(300, rel=0.02)
    assert np.all(found.outlier < 4)


def test_two_populations_stay_two() -> None:
    rng = np.random.default_rng(3)
    truth = np.log(np.where(rng.random(300) < 0.7, 80.0, 200.0))
    weight = fit(tracks_of(truth, 0.2, seed=4)).weight
    assert weight[GRID < 126].sum() == pytest.approx(np.mean(truth < math.log(126)), abs=0.04)
    valley = weight[np.abs(GRID - 126).argmin()]
    for centre in (80.0, 200.0):
        hill = weight[np.abs(LN - math.log(centre)) < 0.15]
        assert hill.max() > 5 * valley
        peak = GRID[np.abs(LN - math.log(centre)) < 0.2][weight[np.abs(LN - math.log(centre)) < 0.2].argmax()]
        assert peak == pytest.approx(centre, rel=0.06)


def test_deconvolved_is_narrower_than_the_estimates() -> None:
    truth = np.full(300, math.log(100.0))
    matrix = tracks_of(truth, 0.3, seed=5)
    raw_sd = np.std(LN[matrix.argmax(axis=1)])
    weight = fit(matrix).weight
    mean = weight @ LN
    assert raw_sd == pytest.approx(0.3, rel=0.1)
    assert math.sqrt(weight @ (LN - mean) ** 2) < 0.12


def test_expected_tracks_turn_tracks_into_particles() -> None:
    # as many small particles as large ones, but each makes five times the tracks
    rng = np.random.default_rng(6)
    expected = np.where(GRID < 200, 5.0, 1.0)
    truth = np.log(rng.permutation(np.repeat([100.0, 400.0], [500, 100])))
    found = fit_density(tracks_of(truth, 0.15, seed=7) * expected, expected, np.full((600, 2), 1e-12))
    number = np.exp(found.log_number)
    assert number[GRID < 200].sum() == pytest.approx(100, rel=0.08)
    assert number[GRID >= 200].sum() == pytest.approx(100, rel=0.08)


def test_outliers_are_kept_out() -> None:
    truth = np.full(250, math.log(100.0))
    matrix = tracks_of(truth, 0.2, seed=8)
    outlier = np.full((250, 2), 1e-6)
    outlier[:30, 0], outlier[30:50, 1] = 1.0, 1.0
    matrix[:50] *= 1e-9
    found = fit_density(matrix, np.ones(len(GRID)), outlier)
    assert found.outlier == pytest.approx([30, 20], rel=0.05)
    assert np.exp(found.log_number).sum() == pytest.approx(200, rel=0.03)


def test_rows_may_be_scaled_at_will_and_counted_twice() -> None:
    truth = math.log(95.0) + math.log(1.45) * np.random.default_rng(9).normal(size=120)
    matrix = tracks_of(truth, 0.2, seed=10)
    scale = np.exp(np.random.default_rng(11).uniform(-30, 0, 120))[:, None]
    outlier = np.full((120, 2), 1e-9)
    one = fit_density(matrix, np.ones(len(GRID)), outlier)
    scaled = fit_density(matrix * scale, np.ones(len(GRID)), outlier * scale)
    assert scaled.weight == pytest.approx(one.weight, abs=1e-4)
    doubled = fit_density(np.repeat(matrix, 2, axis=0), np.ones(len(GRID)), np.repeat(outlier, 2, axis=0))
    counted = fit_density(matrix, np.ones(len(GRID)), outlier, np.full(120, 2.0))
    assert counted.strength == doubled.strength
    assert counted.weight == pytest.approx(doubled.weight, abs=1e-4)


def test_refit_at_the_same_counts_stays_and_at_others_follows() -> None:
    rng = np.random.default_rng(12)
    truth = np.log(np.where(rng.random(200) < 0.5, 80.0, 200.0))
    matrix, outlier, expected = tracks_of(truth, 0.2, seed=13), np.full((200, 2), 1e-9), np.ones(len(GRID))
    found = fit_density(matrix, expected, outlier)
    count = np.where(truth < math.log(126), 2.0, 0.0)
    same, other = refit(matrix, expected, outlier, np.array([np.ones(200), count]), found)
    assert same.strength == found.strength
    assert same.weight == pytest.approx(found.weight, abs=2e-3)
    assert other.weight[GRID < 126].sum() > 0.95


@pytest.mark.parametrize("n", [1, 2, 5])
def test_few_tracks_give_a_broad_density_not_an_error(n: int) -> None:
    found = fit(tracks_of(np.full(n, math.log(100.0)), 0.3, seed=14))
    assert np.all(np.isfinite(found.log_number))
    assert found.weight.sum() == pytest.approx(1)
    assert 40 < quantile_nm(found.weight, 0.5) < 250
    assert np.exp(found.log_number).sum() == pytest.approx(n, rel=0.1)


def penalised(matrix: np.ndarray, outlier: np.ndarray, count: np.ndarray, at: Density) -> float:
    """Return the penalised log-likelihood of a density, one expected track a particle."""
    number = np.exp(at.log_number)
    d3 = np.diff(at.log_number, n=3)
    return float(count @ np.log(matrix @ number + outlier @ at.outlier) - number.sum() - at.outlier.sum() - 0.5 * at.strength * d3 @ d3)


def test_refits_are_at_their_maxima() -> None:
    rng = np.random.default_rng(15)
    truth = np.log(100.0) + 0.4 * rng.normal(size=200)
    matrix, outlier = tracks_of(truth, 0.2, seed=16), np.full((200, 2), 1e-9)
    matrix[:10] *= 1e-9
    outlier[:10, 0] = 1.0
    start = fit_density(matrix, np.ones(len(GRID)), outlier)
    counts = rng.poisson(1.0, (52, 200)).astype(float)
    found = refit(matrix, np.ones(len(GRID)), outlier, counts, start)
    assert len(found) == 52
    for count, density in list(zip(counts, found, strict=True))[::10]:
        best = penalised(matrix, outlier, count, density)
        assert best > penalised(matrix, outlier, count, start)
        for change in (*rng.normal(scale=0.01, size=(5, len(GRID))), 0.05 * (LN - LN.mean()), np.full(len(GRID), -0.05)):
            near = Density(density.log_number + change, density.outlier, start.strength)
            assert penalised(matrix, outlier, count, near) < best + 1e-6
        assert density.outlier == pytest.approx([count[:10].sum(), 0], abs=0.1)
        assert np.exp(density.log_number).sum() == pytest.approx(count[10:].sum(), abs=0.1)


def test_refits_without_the_largest_or_the_smallest_tracks_are_at_their_maxima() -> None:
    # the tail that falls to nothing has far to go, and is not to hold up the rest
    rng = np.random.default_rng(21)
    truth = np.log(100.0) + 0.1 * rng.normal(size=400)
    truth[:3], truth[3:6] = np.log(900.0), np.log(30.0)
    matrix, outlier = tracks_of(truth, 0.1, seed=22), np.full((400, 2), 1e-12)
    start = fit_density(matrix, np.ones(len(GRID)), outlier)
    counts = rng.poisson(1.0, (2, 400)).astype(np.uint8)
    counts[0, :3], counts[1, 3:6] = 0, 0
    for count, density in zip(counts, refit(matrix.astype(np.float32), np.ones(len(GRID)), outlier, counts, start), strict=True):
        number, d3 = np.exp(density.log_number), np.diff(np.eye(len(GRID)), n=3, axis=0)
        mixed = matrix @ number + outlier @ density.outlier
        slope = number * ((count / mixed) @ matrix - 1) - start.strength * d3.T @ d3 @ density.log_number
        # what a step in the direction of the slope would still gain
        shares = matrix * number / mixed[:, None]
        curvature = (shares * count[:, None]).T @ shares + start.strength * d3.T @ d3 + 1e-6 * np.eye(len(GRID))
        assert slope @ np.linalg.solve(curvature, slope) < 1e-3


def test_refits_do_not_know_of_each_other() -> None:
    rng = np.random.default_rng(17)
    matrix, outlier = tracks_of(np.log(rng.uniform(80, 200, 150)), 0.2, seed=18), np.full((150, 2), 1e-9)
    start = fit_density(matrix, np.ones(len(GRID)), outlier)
    counts = rng.poisson(1.0, (55, 150)).astype(float)
    together = refit(matrix, np.ones(len(GRID)), outlier, counts, start)
    for i in (0, 49, 54):
        (alone,) = refit(matrix, np.ones(len(GRID)), outlier, counts[i : i + 1], start)
        assert alone.log_number == pytest.approx(together[i].log_number, abs=1e-4)


def test_likelihood_lies_within_its_bounds() -> None:
    truth = np.log(np.random.default_rng(19).uniform(80, 200, 200))
    matrix, outlier, ones = tracks_of(truth, 0.2, seed=20), np.full((200, 2), 1e-3), np.ones(200)
    expected = np.linspace(3, 1, len(GRID))
    at = np.full(len(GRID), 2.0), np.full(2, 1.0)
    before, bounds = -np.inf, []
    for steps in (1, 10, 100, 2000):
        at = expectation_steps(matrix, expected, outlier, ones, *at, steps)
        reached, most = likelihood_bounds(matrix, expected, outlier, ones, *at)
        by_hand = np.sum(np.log(matrix @ at[0] + outlier @ at[1])) - expected @ at[0] - at[1].sum()
        assert reached == pytest.approx(by_hand, rel=1e-12)
        assert before < reached <= most
        before = reached
        bounds.append(most)
    assert all(most >= before for most in bounds)
    assert bounds[-1] - before < 1.0 < bounds[0] - before
