from __future__ import annotations

import math
from typing import Any

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nta.kernels import LANES, fit, window

SIDE = 13
NONE = np.empty((0, 0), np.float32)
LEFT_OVER = {15.0: 0.03, 60.0: 0.02, 400.0: 0.01}  # of a standard error, by peak over noise
GRID = np.stack([np.tile(np.arange(SIDE), SIDE), np.repeat(np.arange(SIDE), SIDE)]).astype(np.float32)


def fitted(
    value: np.ndarray,
    base: np.ndarray | float = 1.0,
    *,
    start: tuple[float, float, float] | None = None,
    light: float = 0.0,
    misfit2: float = 0.0,
    filter_width: float = 1.5,
    prior: float = 0.0,
    left: int = 0,
    top: int = 0,
) -> tuple[bool, np.ndarray, np.ndarray]:
    """Return whether there was anything to fit, the spot and its diagnostics; `start` is x, y and peak."""
    x, y, peak = start or (SIDE // 2, SIDE // 2, max(float(value[SIDE // 2, SIDE // 2]), 1.0))
    spot, diagnostic = np.zeros(fit.COLUMNS), np.zeros(fit.DIAGNOSTICS)
    spot[[fit.X, fit.Y, fit.PEAK, fit.WIDTH]] = left + x, top + y, peak, filter_width
    flat = [np.ascontiguousarray(np.broadcast_to(a, value.shape).ravel(), np.float32) for a in (value, base)]
    room = np.empty((4, 4)), np.empty(4), np.empty(SIDE, np.float32), np.empty(SIDE * SIDE, np.float32)
    told = fit.fit_gaussian(*flat, left, top, SIDE, light, misfit2, filter_width, prior, spot, diagnostic, *room, GRID)
    return told, spot, diagnostic


def judged(
    value: np.ndarray, base: np.ndarray, x: float, y: float, peak: float, width: float, light: float = 0.0, misfit2: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    spot, diagnostic = np.zeros(fit.COLUMNS), np.zeros(fit.DIAGNOSTICS)
    flat = [a.astype(np.float32).ravel() for a in (value, base, naive.gaussian(x, y, width, value.shape))]
    place = np.array([x, y, 1 / width**2], np.float32)
    fit.judge(*flat, GRID[0], GRID[1], peak, light, misfit2, place, spot, diagnostic)
    return spot, diagnostic


# --- solve4 ---


@given(st.integers(0, 2**32 - 1), st.floats(-4, 4))
@settings(max_examples=100)
def test_solve4_equals_a_dense_solver_and_leaves_the_diagonal_of_the_inverse(seed: int, decade: float) -> None:
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(4, 6)) * 10.0 ** rng.uniform(-1, 1, (4, 1))
    matrix, vector = 10**decade * root @ root.T, rng.normal(size=4)
    solved, inverse = np.linalg.solve(matrix, vector), np.diag(np.linalg.inv(matrix))
    accuracy = 1e-13 * np.linalg.cond(matrix) + 1e-12
    # what stands above the diagonal is not looked at
    given_, answer = np.tril(matrix), vector.copy()
    fit.solve4(given_, answer)
    assert answer == pytest.approx(solved, rel=accuracy, abs=accuracy * np.abs(solved).max())
    assert np.diag(given_) == pytest.approx(inverse, rel=accuracy)


def test_solve4_of_a_diagonal_is_a_division() -> None:
    matrix, vector = np.diag([1.0, 2.0, 4.0, 8.0]), np.array([3.0, 3.0, 3.0, 3.0])
    fit.solve4(matrix, vector)
    assert vector.tolist() == [3.0, 1.5, 0.75, 0.375]
    assert np.diag(matrix).tolist() == [1.0, 0.5, 0.25, 0.125]


# --- Gaussians ---


@given(st.floats(0, SIDE - 1), st.floats(0, SIDE - 1), st.floats(0.3, 9.0))
@settings(max_examples=60)
def test_draw_equals_the_gaussian(x: float, y: float, width: float) -> None:
    across, shape = np.empty(SIDE, np.float32), np.empty(SIDE * SIDE, np.float32)
    window.draw(x, y, width, SIDE, across, shape)
    # a step of the recursion loses a last digit of a double; the rest is rounding to single precision
    assert shape.reshape(SIDE, SIDE) == pytest.approx(naive.gaussian(x, y, width, (SIDE, SIDE)), rel=5e-7, abs=1e-37)


@given(st.floats(-1.4, 30), st.floats(-9, 26), st.floats(-50, 300), st.floats(0.5, 3.0), st.integers(1, 8))
@settings(max_examples=60)
def test_add_spot_adds_a_gaussian_within_reach_of_its_pixel(x: float, y: float, peak: float, width: float, reach: int) -> None:
    before = np.random.default_rng(0).normal(size=(17, 21)).astype(np.float32)
    model = before.copy()
    window.add_spot(model, x, y, peak, width, reach, np.full(window.room_of(2 * reach + 1), np.nan, np.float32))
    tight = before.copy()
    window.add_spot(tight, x, y, peak, width, reach, np.empty(2 * reach + 1, np.float32))
    assert np.array_equal(model, tight)
    row, column = np.mgrid[:17, :21]
    inside = (np.abs(row - round(y)) <= reach) & (np.abs(column - round(x)) <= reach)
    assert np.array_equal(model[~inside], before[~inside])
    expected = before + peak * naive.gaussian(x, y, width, (17, 21))
    assert model[inside] == pytest.approx(expected[inside], rel=1e-6, abs=2e-7 * abs(peak) + 1e-6)


def test_what_is_added_is_taken_off_but_for_crumbs() -> None:
    model = np.zeros((30, 30), np.float32)
    for sign in (1, 1, -1, -1):
        window.add_spot(model, 12.3, 14.8, sign * 100.0, 1.5, 6, np.empty(13, np.float32))
    assert np.abs(model).max() < 1e-4


# --- gather ---


def gathered(
    image: np.ndarray, model: np.ndarray, most: np.ndarray, left: int, top: int, *, light: float = 0.2, misfit2: float = 0.01
) -> tuple[int, np.ndarray, np.ndarray]:
    n = SIDE * SIDE
    value, base = np.full((2, window.room_of(SIDE)), np.nan, np.float32)
    told = window.gather(image, model, most, 1.5, 4.0, light, misfit2, left, top, SIDE, value, base)
    # nothing beyond the window, and the same without room to go on
    assert not value[n:].any()
    assert np.all(base[n:] == np.float32(window.UNKNOWN))
    tight = np.full((2, n), np.nan, np.float32)
    assert window.gather(image, model, most, 1.5, 4.0, light, misfit2, left, top, SIDE, *tight) & window.CLIPPED == told & window.CLIPPED
    assert np.array_equal(tight, [value[:n], base[:n]])
    return told, value[:n].reshape(SIDE, SIDE), base[:n].reshape(SIDE, SIDE)


@given(st.integers(-20, 30), st.integers(-20, 30), st.integers(0, 2**32 - 1))
@settings(max_examples=40)
def test_gather_takes_level_and_neighbours_off_and_knows_nothing_outside(left: int, top: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    image, model = rng.normal(size=(2, 22, 19)).astype(np.float32)
    model = np.abs(model)
    told, value, base = gathered(image, model, NONE, left, top)
    assert told == (window.LIT if -SIDE < left < 19 and -SIDE < top < 22 else 0)
    for i in range(SIDE):
        for j in range(SIDE):
            r, c = top + i, left + j
            if 0 <= r < 22 and 0 <= c < 19:
                m = float(model[r, c])
                assert value[i, j] == pytest.approx(image[r, c] - 1.5 - m, abs=1e-6)
                assert base[i, j] == pytest.approx(4 + 0.2 * m + 0.01 * m * m, rel=1e-6)
            else:
                assert (value[i, j], base[i, j]) == (0, np.float32(window.UNKNOWN))


def test_gather_tells_saturated_pixels_of_the_window_and_no_others() -> None:
    image, model = np.zeros((30, 30), np.float32), np.zeros((30, 30), np.float32)
    most = np.full((30, 30), 50.0, np.float32)
    image[10, 11], image[25, 25] = 50.0, 60.0
    told, _, base = gathered(image, model, most, 6, 5)
    assert told == window.CLIPPED
    assert np.argwhere(base == np.float32(window.UNKNOWN)).tolist() == [[5, 5]]
    most[10, 11] = 50.1  # another still background, another ceiling
    told, _, base = gathered(image, model, most, 6, 5)
    assert not told
    assert np.all(base == 4.0)
    # at the edge as well
    image[0, 0] = 99.0
    told, _, base = gathered(image, model, most, -3, -2)
    assert told == window.CLIPPED
    assert base[2, 3] == np.float32(window.UNKNOWN)


@pytest.mark.parametrize("side", [1, 3, 11, 13, 15, 16, 17, 19, 31, 33])
def test_room_of_a_window_is_whole_vectors_and_holds_its_last_row_of_them(side: int) -> None:
    room, row = window.room_of(side), -(-side // LANES) * LANES
    assert room % LANES == 0
    assert max(side * side, (side - 1) * side + row) <= room < side * side + 2 * LANES


# --- score ---


@given(
    st.integers(0, 2**32 - 1), st.floats(3, 9), st.floats(3, 9), st.floats(0.8, 3.0), st.floats(1, 300),
    st.sampled_from([0.0, 0.3]), st.sampled_from([0.0, 0.01]),
)  # fmt: skip
@settings(max_examples=40)
def test_score_and_information_equal_differences_of_the_likelihood(
    seed: int, x: float, y: float, width: float, peak: float, light: float, misfit2: float
) -> None:
    rng = np.random.default_rng(seed)
    base = rng.uniform(0.5, 4.0, (SIDE, SIDE))
    theta = np.array([peak, x, y, math.log(width)])
    m = peak * naive.gaussian(x, y, width, (SIDE, SIDE))
    value = m + rng.normal(scale=np.sqrt(base + light * m))
    matrix, vector = np.full((4, 4), np.nan), np.full(4, np.nan)
    flat = [a.astype(np.float32).ravel() for a in (value, base, m / peak)]
    fit.score(*flat, GRID[0], GRID[1], peak, light, misfit2, matrix, vector, np.array([x, y, 1 / width**2], np.float32))
    expected = naive.information(theta, base, light, misfit2)
    scale = np.sqrt(np.diag(expected))
    lower = np.tril_indices(4)
    assert (matrix / np.outer(scale, scale))[lower] == pytest.approx((expected / np.outer(scale, scale))[lower], abs=2e-5)
    # in standard errors of the score
    assert vector / scale == pytest.approx(naive.score(theta, value, base, light, misfit2) / scale, abs=2e-3)


# --- fit_gaussian ---


@pytest.mark.parametrize("x", [6.0, 6.5, 5.61, 7.2])
@pytest.mark.parametrize("width", [1.0, 1.5, 2.0])
def test_a_spot_without_noise_is_found_where_it_is(x: float, width: float) -> None:
    y = 12.4 - x
    told, spot, _ = fitted(80 * naive.gaussian(x, y, width, (SIDE, SIDE)), start=(6.0, 6.0, 60.0), left=40, top=-3)
    assert told
    assert spot[[fit.X, fit.Y]] == pytest.approx([40 + x, y - 3], abs=1e-4)
    assert spot[fit.PEAK] == pytest.approx(80, rel=1e-3)
    assert spot[fit.WIDTH] == pytest.approx(width, rel=1e-3)
    assert spot[fit.MISFIT] < 1e-3
    assert spot[fit.STRETCH] < 1e-3
    # Cramer-Rao for a Gaussian spot in white noise: sqrt(2 / pi) noise / peak, 13 px hold all of it
    assert spot[[fit.X_SD, fit.Y_SD]] == pytest.approx(np.full(2, math.sqrt(2 / math.pi) / 80), rel=0.02)


@given(
    st.integers(0, 2**32 - 1), st.sampled_from([15.0, 60.0, 400.0]), st.floats(1.1, 2.2),
    st.sampled_from([(0.0, 0.0), (0.4, 0.0), (0.2, 0.003)]), st.sampled_from([0.0, 4.0, 30.0]),
)  # fmt: skip
@settings(max_examples=40)
def test_the_fit_ends_where_least_squares_end(seed: int, peak: float, width: float, more: tuple[float, float], prior: float) -> None:
    rng = np.random.default_rng(seed)
    light, misfit2 = more
    x, y = rng.uniform(5.3, 6.7, 2)
    m = peak * naive.gaussian(x, y, width, (SIDE, SIDE))
    base = rng.uniform(0.7, 1.5, (SIDE, SIDE))
    value = m + rng.normal(scale=np.sqrt(base + light * m + misfit2 * m * m))
    _, spot, _ = fitted(value, base, light=light, misfit2=misfit2, prior=prior)
    value, base = value.astype(np.float32).astype(float), base.astype(np.float32).astype(float)
    ended = np.array([spot[fit.PEAK], spot[fit.X], spot[fit.Y], math.log(spot[fit.WIDTH])])
    best = naive.fit_spot(value, base, ended, light, misfit2, math.log(1.5), prior)
    sd = np.sqrt(np.diag(np.linalg.inv(naive.information(best, base, light, misfit2) + np.diag([0, 0, 0, prior]))))
    # the last step is shorter than a tenth of an error, and each is a small share of the one before: smaller, the clearer the spot
    assert (ended - best) / sd == pytest.approx(np.zeros(4), abs=LEFT_OVER[peak])
    assert spot[[fit.X_SD, fit.Y_SD]] == pytest.approx(sd[1:3], rel=0.02)


@pytest.mark.parametrize(("peak", "light"), [(12.0, 0.0), (40.0, 0.0), (40.0, 0.5)])
def test_errors_are_those_of_the_cramer_rao_bound_and_as_stated_at_every_phase(peak: float, light: float) -> None:
    rng = np.random.default_rng(7)
    n = 1500
    at = rng.uniform(5.5, 6.5, (n, 2))
    row = np.empty((n, 4))
    for k in range(n):
        m = peak * naive.gaussian(at[k, 0], at[k, 1], 1.5, (SIDE, SIDE))
        told, spot, _ = fitted(m + np.sqrt(1 + light * m) * rng.normal(size=m.shape), light=light, prior=1e-3)
        assert told
        row[k] = spot[[fit.X, fit.Y, fit.X_SD, fit.Y_SD]]
    error = row[:, :2] - at
    theta = np.array([peak, 6.0, 6.0, math.log(1.5)])
    bound = math.sqrt(np.linalg.inv(naive.information(theta, np.ones((SIDE, SIDE)), light))[1, 1])
    # 3000 errors tell their SD to 1.3 %
    assert np.sqrt(np.mean(error**2)) / bound == pytest.approx(1, abs=0.06)
    assert np.sqrt(np.mean((error / row[:, 2:]) ** 2)) == pytest.approx(1, abs=0.06)
    assert abs(error.mean()) < 4 * bound / math.sqrt(2 * n)
    for wave in (np.sin, np.cos):
        assert abs(np.mean(error * wave(2 * math.pi * at))) < 4 * bound / math.sqrt(4 * n)
    near = np.abs(at - 6.0) < 0.25
    assert error[near].std() / error[~near].std() == pytest.approx(1, abs=0.1)  # 4 SD


def test_error_is_that_of_the_information_with_its_second_order() -> None:
    assert fit.error(1e-6, 1.5) == pytest.approx(1e-3, rel=1e-5)
    # e = 0.09 / (2 * 1.5^2) = 0.02
    assert fit.error(0.09, 1.5) == pytest.approx(0.3 * math.sqrt(1 + 5 * 0.02))


def test_errors_of_the_dimmest_are_as_stated() -> None:
    # seven times the noise in the filter: e = 1 / 49
    peak, n, rng = 7 / (math.sqrt(math.pi) * 1.5), 5000, np.random.default_rng(17)
    pull, plain = [], []
    for _ in range(n):
        at = rng.uniform(5.5, 6.5, 2)
        m = peak * naive.gaussian(*at, 1.5, (SIDE, SIDE))
        told, spot, _ = fitted(m + rng.normal(size=m.shape), start=(*at, peak), prior=1e6)
        assert told
        pull.append((spot[:2] - at) / spot[[fit.X_SD, fit.Y_SD]])
        plain.append((spot[:2] - at) * spot[fit.PEAK] / math.sqrt(2 / math.pi))
    # known to 0.7 %; the inverse information at the fitted height is too small by 1 + 5 e
    assert np.std(pull) == pytest.approx(1, abs=0.025)
    assert np.std(plain) == pytest.approx(math.sqrt(1 + 5 / 49), abs=0.025)


def test_a_prior_holds_the_width_where_little_is_seen() -> None:
    value = 30 * naive.gaussian(6.2, 5.9, 1.9, (SIDE, SIDE))
    free, held, fixed = (fitted(value, prior=prior)[1][fit.WIDTH] for prior in (0.0, 1e3, 1e7))
    assert free == pytest.approx(1.9, rel=1e-3)
    # peak given up, the information on ln width is pi peak^2 width^2; the prior's weight beside it
    known = math.pi * 30**2 * 1.9**2
    assert math.log(held) == pytest.approx((known * math.log(1.9) + 1e3 * math.log(1.5)) / (known + 1e3), abs=1e-3)
    assert fixed == pytest.approx(1.5, rel=1e-3)


def test_of_nothing_nothing_is_fitted() -> None:
    before = np.zeros(fit.COLUMNS)
    before[[fit.X, fit.Y, fit.PEAK, fit.WIDTH]] = 6, 6, 0.5, 1.5
    told, spot, diagnostic = fitted(np.zeros((SIDE, SIDE)), window.UNKNOWN, start=(6.0, 6.0, 0.5))
    assert not told
    assert np.array_equal(spot, before)
    assert not diagnostic.any()
    assert not fitted(np.full((SIDE, SIDE), np.nan), start=(6.0, 6.0, 5.0))[0]


def test_unknown_pixels_tell_nothing() -> None:
    rng = np.random.default_rng(3)
    value = 60 * naive.gaussian(6.3, 5.8, 1.5, (SIDE, SIDE)) + rng.normal(size=(SIDE, SIDE))
    base = np.ones((SIDE, SIDE))
    base[4:9, 8] = base[:, 0] = window.UNKNOWN
    rest = value.copy()
    rest[base > 1] = 1e4
    with_, without = fitted(value, base)[1], fitted(rest, base, start=(6.0, 6.0, 50.0))[1]
    assert without[:4] == pytest.approx(with_[:4], rel=1e-3)
    assert with_[fit.X] == pytest.approx(6.3, abs=4 * with_[fit.X_SD])
    assert with_[fit.Y] == pytest.approx(5.8, abs=4 * with_[fit.Y_SD])
    # and leave the errors larger
    assert with_[fit.X_SD] > 1.05 * fitted(value)[1][fit.X_SD]


# --- judge ---


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.3]), st.sampled_from([0.0, 0.01]), st.integers(0, 20))
@settings(max_examples=30)
def test_judgement_equals_plain_sums(seed: int, light: float, misfit2: float, n_unknown: int) -> None:
    rng = np.random.default_rng(seed)
    x, y, width, peak = *rng.uniform(4, 8, 2), rng.uniform(1, 2), rng.uniform(5, 100)
    m = peak * naive.gaussian(x, y, width, (SIDE, SIDE))
    base = rng.uniform(0.5, 2, (SIDE, SIDE))
    base.flat[rng.choice(base.size, n_unknown, replace=False)] = window.UNKNOWN
    value = m + rng.normal(size=m.shape)
    spot, diagnostic = judged(value, base, x, y, peak, width, light, misfit2)
    known = base < 1e29
    variance = base + light * m + misfit2 * m * m
    off = value - m
    assert spot[fit.MISFIT] == pytest.approx(np.mean((off**2 / variance)[known]), rel=1e-4)
    assert diagnostic[fit.LIGHT] == pytest.approx((m**2)[known].sum(), rel=1e-4)
    assert diagnostic[fit.MISFITS] == pytest.approx((m**3)[known].sum(), rel=1e-4)
    assert diagnostic[fit.EXCESS] == pytest.approx((m * (off**2 - base))[known].sum(), rel=1e-3, abs=1e-4 * m.sum())
    # least squares of what is left on the slopes towards a longer Gaussian, along the axes and along the diagonals
    h = 1e-4
    share, sums = [], []
    for along in (0.0, math.pi / 4):
        longer, shorter = (naive.gaussian(x, y, width, (SIDE, SIDE), longer=s * h, along=along) for s in (1, -1))
        slope = peak * (longer - shorter) / (2 * h)
        sums.append(np.sum((slope**2 / variance)[known]))
        share.append(np.sum((slope * off / variance)[known]) / sums[-1])
    assert spot[fit.STRETCH] == pytest.approx(math.hypot(*share), rel=1e-3, abs=1e-6)
    assert spot[fit.TELLS_STRETCH] == pytest.approx(np.mean(sums), rel=1e-3)
    turned = 2 * spot[fit.ALONG] - math.atan2(share[1], share[0])
    assert math.cos(turned) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("longer", [0.03, 0.1])
@pytest.mark.parametrize("along", [-1.4, -0.6, 0.0, 0.3, math.pi / 4, 1.2])
def test_a_stretched_gaussian_is_told_by_its_size_and_direction(longer: float, along: float) -> None:
    value = 200 * naive.gaussian(6.2, 5.7, 1.5, (SIDE, SIDE), longer=longer, along=along)
    _, spot, _ = fitted(value, start=(6.0, 6.0, 150.0))
    assert spot[[fit.X, fit.Y]] == pytest.approx([6.2, 5.7], abs=1e-3)
    # to first order: half of what it is longer than wide, over its width
    assert spot[fit.STRETCH] == pytest.approx(longer, rel=0.03)
    assert math.cos(2 * (spot[fit.ALONG] - along)) == pytest.approx(1, abs=1e-3)
    assert -math.pi / 2 <= spot[fit.ALONG] <= math.pi / 2


def test_of_round_spots_misfit_is_one_and_stretch_as_small_as_its_information_says() -> None:
    rng = np.random.default_rng(9)
    misfit, square, along = [], [], []
    for _ in range(800):
        m = 50 * naive.gaussian(*rng.uniform(5.5, 6.5, 2), 1.5, (SIDE, SIDE))
        _, spot, _ = fitted(m + rng.normal(size=m.shape), prior=1e-3)
        misfit.append(spot[fit.MISFIT])
        square.append(spot[fit.STRETCH] ** 2 * spot[fit.TELLS_STRETCH])
        along.append(spot[fit.ALONG])
    n = SIDE * SIDE
    # four parameters took four pixels' worth of noise
    assert np.mean(misfit) == pytest.approx((n - 4) / n, abs=4 * math.sqrt(2 / n / 800))
    assert np.std(misfit) == pytest.approx(math.sqrt(2 / n), rel=0.1)
    # a chi-square with two degrees of freedom: mean 2, SD 2
    assert np.mean(square) == pytest.approx(2, abs=4 * 2 / math.sqrt(800))
    assert np.mean(np.array(square) > 2 * math.log(20)) == pytest.approx(0.05, abs=4 * 0.0077)
    # in no direction
    assert abs(np.mean(np.exp(2j * np.array(along)))) < 3.5 / math.sqrt(800)


def test_what_is_wider_than_a_gaussian_fits_worse() -> None:
    ring = naive.gaussian(6, 6, 2.2, (SIDE, SIDE)) - 0.7 * naive.gaussian(6, 6, 1.2, (SIDE, SIDE))
    _, spot, diagnostic = fitted(100 * ring, start=(6.0, 6.0, 30.0))
    assert spot[fit.MISFIT] > 3
    assert diagnostic[fit.EXCESS] > 0
    # as much as a misfit of that share of the model explains
    _, easy, _ = fitted(100 * ring, start=(6.0, 6.0, 30.0), misfit2=1.0)
    assert 0 < easy[fit.MISFIT] < 0.2 * spot[fit.MISFIT]


# --- deviance ---


@given(st.integers(0, 2**32 - 1), st.integers(-8, 20), st.integers(-8, 20), st.booleans())
@settings(max_examples=30)
def test_deviance_equals_plain_sums(seed: int, left: int, top: int, saturated: bool) -> None:
    rng = np.random.default_rng(seed)
    image, model = rng.normal(size=(18, 23)).astype(np.float32), rng.uniform(0, 9, (18, 23)).astype(np.float32)
    most = np.full((18, 23), 1.0, np.float32) if saturated else NONE
    total = 0.0
    for r in range(max(top, 0), min(top + SIDE, 18)):
        for c in range(max(left, 0), min(left + SIDE, 23)):
            if not (saturated and image[r, c] >= 1.0):
                v = 1.3 + 0.2 * float(model[r, c]) + 0.01 * float(model[r, c]) ** 2
                total += (float(image[r, c]) - 0.5 - float(model[r, c])) ** 2 / v + math.log(v)
    assert window.deviance(image, model, most, 0.5, 1.3, 0.2, 0.01, left, top, SIDE) == pytest.approx(total, rel=1e-5, abs=1e-4)


def test_deviance_of_noise_is_a_pixel_each() -> None:
    rng = np.random.default_rng(11)
    model = np.zeros((300, 300), np.float32)
    image = (2 + 3 * rng.normal(size=(300, 300))).astype(np.float32)
    each = window.deviance(image, model, NONE, 2.0, 9.0, 0.0, 0.0, 0, 0, 300) / 300**2 - math.log(9)
    assert each == pytest.approx(1, abs=4 * math.sqrt(2) / 300)


# --- climb ---


@pytest.mark.parametrize("width", [1.0, 1.5, 2.0])
def test_climbing_ends_on_the_spot_with_its_signal_to_noise(width: float) -> None:
    value = 50 * naive.gaussian(6.3, 5.8, width, (SIDE, SIDE))
    centred = naive.gaussian(SIDE // 2, SIDE // 2, width, (SIDE, SIDE)).astype(np.float32).ravel()
    room: tuple[Any, ...] = centred, np.empty(6), np.empty(SIDE, np.float32), np.empty(SIDE * SIDE, np.float32), GRID
    noise = 2.0 / (2 * math.sqrt(math.pi) * width)  # of the filter, where a pixel's is 2
    flat = value.astype(np.float32).ravel()
    for steps, away in ((1, 0.03), (3, 0.003)):
        spot = np.zeros(fit.COLUMNS)
        spot[fit.X], spot[fit.Y] = 106.0, 56.0
        fit.climb(flat, np.full(SIDE * SIDE, 4.0, np.float32), 100, 50, SIDE, width, noise, 4.0, steps, spot, *room)
        assert spot[[fit.X, fit.Y]] == pytest.approx([106.3, 55.8], abs=away)
        assert spot[fit.PEAK] == pytest.approx(50, rel=0.01)
        assert spot[fit.SNR] == pytest.approx(50 * width * math.sqrt(math.pi) / 2, rel=0.01)
    # four times the variance, half the signal-to-noise
    fit.climb(flat, np.full(SIDE * SIDE, 16.0, np.float32), 100, 50, SIDE, width, noise, 4.0, 3, spot, *room)
    assert spot[fit.SNR] == pytest.approx(50 * width * math.sqrt(math.pi) / 4, rel=0.01)
