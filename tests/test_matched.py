from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_calls import maxima_of

from nta.kernels.fit import COLUMNS, SNR, X, Y
from nta.kernels.maxima import BETWEEN, GUESSED
from nta.matched import Light, MatchedFilter, Seen, spread_of

WIDTHS_PX = [0.6, 1.0, 1.5, 2.2, 4.8]


def plain(width_px: float, shape: tuple[int, int], sign: int = 1) -> MatchedFilter:
    return MatchedFilter(width_px, np.zeros(shape, np.float32), sign)


def even(matched: MatchedFilter, sd: float) -> np.ndarray:
    return np.full(matched.tiles, sd, np.float32)


@pytest.mark.parametrize("width_px", WIDTHS_PX)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("shape", [(64, 80), (61, 83), (7, 9), (1, 30), (5, 2)])
def test_a_frame_is_seen_through_a_gaussian_at_every_so_many_pixels(width_px: float, dtype: type, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    top = {np.uint8: 255, np.uint16: 65535, np.float32: 1}[dtype]
    frame = (rng.uniform(0, top, shape)).astype(dtype)
    still = (rng.uniform(0, top, shape)).astype(np.float32)
    for sign in (1, -1):
        matched = MatchedFilter(width_px, still, sign)
        seen = matched.filter(frame)
        assert seen.dtype == np.float32
        assert seen.shape == matched.grid == tuple(-(-n // matched.step) for n in shape)
        # a sum of some hundreds of products in single precision
        assert seen == pytest.approx(naive.matched_filter(frame, still, sign, width_px, matched.step), abs=2e-6 * top)


def test_the_grid_is_no_coarser_than_a_spot_is_wide() -> None:
    assert [plain(w, (50, 60)).step for w in WIDTHS_PX] == [1, 1, 2, 3, 6]
    for width in np.linspace(0.5, 8, 76):
        assert 1 <= plain(width, (40, 40)).step <= max(1, math.sqrt(2) * width + 0.15)


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 40), st.floats(0.5, 6.0), st.sampled_from([1, -1]))
@settings(max_examples=40)
def test_any_size_and_width(seed: int, height: int, width: int, width_px: float, sign: int) -> None:
    rng = np.random.default_rng(seed)
    frame, still = rng.integers(0, 256, (height, width)).astype(np.uint8), rng.uniform(0, 255, (height, width)).astype(np.float32)
    matched = MatchedFilter(width_px, still, sign)
    assert matched.filter(frame) == pytest.approx(naive.matched_filter(frame, still, sign, width_px, matched.step), abs=5e-4)


def test_the_still_image_is_taken_off_and_the_other_sign_turns_it_round() -> None:
    rng = np.random.default_rng(2)
    still = rng.uniform(0, 200, (50, 66)).astype(np.float32)
    assert np.abs(MatchedFilter(1.5, still, 1).filter(still)).max() < 5e-4
    frame = rng.uniform(0, 200, (50, 66)).astype(np.float32)
    bright, dark = MatchedFilter(1.5, still, 1), MatchedFilter(1.5, still, -1)
    seen = bright.filter(frame).copy()
    assert np.array_equal(seen, -dark.filter(frame))
    assert np.array_equal(seen, -bright.turned().filter(frame))
    assert np.array_equal(bright.residual(frame), -dark.residual(frame))
    assert np.array_equal(bright.residual(frame), frame - still)


@pytest.mark.parametrize("width_px", WIDTHS_PX[1:])
def test_a_spot_of_the_filters_width_is_seen_at_half_its_height(width_px: float) -> None:
    matched = plain(width_px, (71, 71))
    centre = 35 // matched.step * matched.step
    seen = matched.filter((100 * naive.gaussian(centre, centre, width_px, (71, 71))).astype(np.float32))
    assert seen.max() == seen[centre // matched.step, centre // matched.step]
    # s^2 / (s^2 + s^2), and some more since the filter ends
    assert 0.499 < seen.max() / 100 < 0.525
    # which costs next to nothing of the signal-to-noise of a whole Gaussian, h s sqrt(pi)
    assert 0.996 < seen.max() / 100 / matched.noise_gain / (width_px * math.sqrt(math.pi)) < 1.001


@pytest.mark.parametrize("width_px", WIDTHS_PX)
def test_noise_gain_is_what_white_noise_keeps(width_px: float) -> None:
    rng = np.random.default_rng(3)
    matched = plain(width_px, (240, 240))
    inner = np.s_[30 // matched.step : -(30 // matched.step), 30 // matched.step : -(30 // matched.step)]
    variance = np.mean([np.mean(matched.filter(rng.normal(size=(240, 240)).astype(np.float32))[inner] ** 2) for _ in range(8)])
    # squares of a field that is alike over exp(-d^2 / 4 s^2) are so over its square
    independent = 8 * 180**2 / (2 * math.pi * width_px**2)
    assert variance == pytest.approx(matched.noise_gain**2, rel=4 * math.sqrt(2 / independent))
    assert 0.98 < matched.noise_gain * 2 * math.sqrt(math.pi) * width_px < (1.05 if width_px > 0.8 else 1.1)


@pytest.mark.parametrize("sd", [0.01, 1.0, 50.0])
def test_levels_of_an_even_image(sd: float) -> None:
    matched = plain(1.5, (190, 250))
    level, variance = matched.levels(np.full(matched.grid, 7.25, np.float32), even(matched, sd))[:2]
    assert matched.tiles == level.shape == variance.shape == (2, 3)
    assert np.all(level == 7.25)
    assert not variance.any()


@pytest.mark.parametrize("width_px", [1.0, 1.5, 2.2])
def test_levels_of_noise_are_those_of_a_gaussian_that_lost_its_tails(width_px: float) -> None:
    rng = np.random.default_rng(4)
    matched = plain(width_px, (320, 400))
    sd = 3 * matched.noise_gain
    frames = [matched.filter((40 + 3 * rng.normal(size=(320, 400))).astype(np.float32)).copy() for _ in range(6)]
    levels, variances, _ = zip(*(matched.levels(frame, even(matched, sd)) for frame in frames), strict=True)
    independent = 80 * 80 / (4 * math.pi * width_px**2)  # points in a tile
    assert np.mean(levels) == pytest.approx(40, abs=4 * sd / math.sqrt(independent * np.size(levels)))
    assert np.std(levels) == pytest.approx(sd / math.sqrt(independent), rel=0.3)
    # squares are alike over half the area; without the tails they scatter less, by 0.86
    assert np.mean(variances) == pytest.approx(sd**2, rel=4 * math.sqrt(1 / (independent * np.size(levels))))
    assert np.std(variances) / sd**2 == pytest.approx(0.86 * math.sqrt(1 / independent), rel=0.3)
    # from twice too large and too small a guess the spread settles where it is
    spread = spread_of(matched, [(40 + 3 * rng.normal(size=(320, 400))).astype(np.float32) for _ in range(5)])
    assert spread.shape == matched.tiles
    assert spread == pytest.approx(np.full(matched.tiles, sd), rel=5 * math.sqrt(0.5 / independent))
    assert spread.mean() == pytest.approx(sd, rel=0.03)


def test_levels_of_a_slope_are_those_at_the_tiles_centres() -> None:
    matched = plain(1.5, (160, 240))
    y, x = np.mgrid[: matched.grid[0], : matched.grid[1]]
    image = (5 + 0.02 * x - 0.0137 * y).astype(np.float32)
    level, variance = matched.levels(image, even(matched, 10.0))[:2]
    # every second row of a tile is looked at: half a row off
    expected = 5 + 0.02 * matched.col_mid - 0.0137 * (matched.row_mid[:, None] - 0.5)
    assert level == pytest.approx(expected, abs=0.006)
    high, wide = np.diff(matched.row_edge)[:, None], np.diff(matched.col_edge)
    assert variance == pytest.approx((0.02**2 * wide**2 + 0.0137**2 * high**2) / 12 / 0.9733, rel=0.01)


@pytest.mark.parametrize("width", [1.5, 3.0])
def test_noise_is_that_within_the_rim(width: float) -> None:
    # a strip, whose edges are a large part of it: mirrored there, noise is up to 1.4 times as much
    matched, rng = plain(width, (96, 320)), np.random.default_rng(8)
    spread = spread_of(matched, [rng.normal(size=(96, 320)).astype(np.float32) for _ in range(60)])
    # 96 * 320 / (4 pi s^2) independent points in each of 60 frames, half of them looked at: at 1.5 px known to 0.4 %
    assert spread.mean() / matched.noise_gain == pytest.approx(1, abs=0.006 * width)


def test_particles_are_clipped_out_of_the_levels() -> None:
    rng = np.random.default_rng(5)
    matched = plain(1.5, (240, 240))
    noise = 20 + 2 * rng.normal(size=(240, 240))
    spots = naive.add_gaussians(np.zeros((240, 240)), *rng.uniform(5, 235, (2, 60)), np.full(60, 1.5), np.full(60, 400.0))
    sd = 2 * matched.noise_gain
    before = matched.levels(matched.filter(noise.astype(np.float32)), even(matched, sd))[:2]
    after = matched.levels(matched.filter((noise + spots).astype(np.float32)), even(matched, sd))[:2]
    # of a spot 530 SD high and 2.1 px wide the ring from 6.8 to 8.2 px stays, some 1.1 SD high: 7 % of the points
    assert np.mean(after[0] - before[0]) == pytest.approx(0.076 * sd, rel=0.4)
    assert np.abs(after[0] - before[0]).max() < 0.2 * sd
    assert np.mean(after[1] / before[1]) == pytest.approx(1.1, abs=0.08)


def between_centres(matched: MatchedFilter) -> np.ndarray:
    """Return which points of the grid lie between the centres of tiles, along an axis that has several."""
    rows, columns = (
        (np.arange(n) >= mid[0]) & (np.arange(n) <= mid[-1]) if len(mid) > 1 else np.full(n, True)
        for n, mid in zip(matched.grid, (matched.row_mid, matched.col_mid), strict=True)
    )
    return np.asarray(rows[:, None] & columns)


def test_to_grid_goes_straight_from_tile_to_tile() -> None:
    matched = plain(1.0, (170, 240))
    tiles = np.random.default_rng(6).uniform(1, 9, matched.tiles)
    wide = matched.to_grid(tiles)
    assert matched.tiles == (2, 3)
    assert wide.shape == matched.grid
    assert wide.dtype == np.float32
    inside = between_centres(matched)
    assert wide[inside] == pytest.approx(naive.bilinear(tiles, matched.row_mid, matched.col_mid, matched.grid)[inside], rel=1e-6)
    assert np.all(plain(2.2, (50, 40)).to_grid(np.array([[3.5]])) == 3.5)


# --- maxima ---


def maxima(
    matched: MatchedFilter, filtered: np.ndarray, noise: np.ndarray, threshold: float, level: np.ndarray | None = None
) -> np.ndarray:
    level = np.zeros(matched.tiles) if level is None else level
    return maxima_of(matched, Seen(np.zeros(matched.shape, np.uint8), filtered, level, np.ones(matched.tiles)), noise, threshold)


@given(st.integers(0, 2**32 - 1), st.sampled_from(WIDTHS_PX), st.integers(20, 230), st.integers(20, 230), st.booleans())
@settings(max_examples=25)
def test_maxima_are_those_of_a_search_point_by_point(seed: int, width_px: float, height: int, width: int, coarse: bool) -> None:
    rng = np.random.default_rng(seed)
    matched = plain(width_px, (height, width))
    filtered = rng.normal(size=matched.grid)
    # many neighbours that are equal
    filtered = (np.rint(2 * filtered) / 2 if coarse else filtered).astype(np.float32)
    noise = rng.uniform(0.5, 1.5, matched.grid).astype(np.float32)
    level = rng.normal(scale=0.3, size=matched.tiles)
    seen = Seen(np.zeros((height, width), np.uint8), filtered, level, np.ones(matched.tiles), 1.1)
    found = maxima_of(matched, seen, noise, 1.51)
    rim = max(1, matched.rim_px // matched.step - 1)
    wide = naive.bilinear(level, matched.row_mid, matched.col_mid, matched.grid)
    expected = naive.find_maxima(filtered, wide, 1.1 * noise, 1.51, matched.step, rim, BETWEEN, GUESSED)
    assert np.all(np.diff(found[:, 2]) <= 0)
    inside = between_centres(matched)
    found, expected = (rows[inside[tuple(np.rint(rows[:, 1::-1] / matched.step).astype(int).T)]] for rows in (found, expected))
    assert len(found) == len(expected)
    # of those as high as each other the order is free
    order = [np.lexsort((rows[:, 0].round(3), rows[:, 1].round(3))) for rows in (found, expected)]
    assert found[order[0]] == pytest.approx(expected[order[1]], rel=1e-4, abs=1e-5)


def test_a_maximum_counts_by_what_the_parabola_says() -> None:
    matched = plain(1.0, (40, 40))
    filtered = np.zeros((40, 40), np.float32)
    filtered[20, 19:22] = 2.0, 4.0, 3.0
    noise = np.ones((40, 40), np.float32)
    # along the row: slope 0.5, bend -3; down: none and -8
    least = 4.0 / BETWEEN, (4 + 1 / 24) / GUESSED
    for threshold in (2.0, 4.0, 0.999 * min(least)):
        assert maxima(matched, filtered, noise, threshold) == pytest.approx(np.array([[20 + 1 / 6, 20, 4 + 1 / 24, 0, 1]]))
    assert len(maxima(matched, filtered, noise, 1.001 * min(least))) == 0
    assert maxima(matched, filtered, noise, 2.0, np.full(matched.tiles, 1.0))[0, 2:] == pytest.approx([3 + 1 / 24, 1, 1])
    assert len(maxima(matched, filtered, 2 * noise, 0.501 * min(least))) == 0


def test_of_a_plateau_the_first_point_counts() -> None:
    matched = plain(1.0, (40, 40))
    noise = np.ones((40, 40), np.float32)
    # half-way between equal neighbours along an axis
    for others, x, y in (
        ([(20, 21)], 20.5, 20),
        ([(21, 20)], 20, 20.5),
        ([(21, 19)], 20, 20),
        ([(20, 21), (21, 20), (21, 21)], 20.5, 20.5),
    ):
        filtered = np.zeros((40, 40), np.float32)
        for at in [(20, 20), *others]:
            filtered[at] = 5.0
        assert maxima(matched, filtered, noise, 3.0)[:, :2].tolist() == [[x, y]]


@pytest.mark.parametrize("width_px", [0.6, 1.0, 1.5, 2.2])
def test_no_maximum_is_told_in_the_rim(width_px: float) -> None:
    matched = plain(width_px, (100, 120))
    rim = max(1, matched.rim_px // matched.step - 1)
    filtered = np.zeros(matched.grid, np.float32)
    filtered[::2, ::2] = 9.0  # a maximum every second point
    found = maxima(matched, filtered, np.ones(matched.grid, np.float32), 5.0)
    rows, columns = (np.arange(0, n, 2) for n in matched.grid)
    inside = [np.count_nonzero((at >= rim) & (at < n - rim)) for at, n in zip((rows, columns), matched.grid, strict=True)]
    assert len(found) == inside[0] * inside[1]
    assert found[:, 0].min() >= rim * matched.step
    assert found[:, 1].max() <= (matched.grid[0] - 1 - rim) * matched.step
    # and nothing that the fit would take is missed: the rim's border lies within it
    assert (rim + 1) * matched.step <= matched.rim_px + matched.step


# --- threads ---


def test_results_do_not_depend_on_the_thread() -> None:
    rng = np.random.default_rng(8)
    matched = MatchedFilter(1.5, rng.uniform(10, 20, (90, 110)).astype(np.float32), 1)
    frames = [(20 + 2 * rng.normal(size=(90, 110))).astype(np.float32) for _ in range(24)]
    for frame in frames:
        frame[:] = naive.add_gaussians(frame, *rng.uniform(8, 80, (2, 6)), np.full(6, 1.5), np.full(6, 40.0))
    noise = np.full(matched.grid, 2 * matched.noise_gain, np.float32)
    light = Light(0.05, 0.02, 0.1, 0.3)

    def one(frame: np.ndarray) -> list[bytes]:
        seen = matched.see(frame, even(matched, 2 * matched.noise_gain))
        parts = [seen.filtered, seen.level, seen.variance]
        told = [part.tobytes() for part in parts]
        return told + [part.tobytes() for part in matched.fit(seen, noise, 4.0, light)]

    alone = [one(frame) for frame in frames]
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(one, frames * 3)) == alone * 3
    assert [one(frame) for frame in reversed(frames)] == alone[::-1]


def test_a_thread_keeps_what_it_saw_until_it_looks_again() -> None:
    matched = plain(1.5, (40, 50))
    first = matched.filter(np.full((40, 50), 3, np.uint8))
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(matched.filter, np.full((40, 50), 8, np.uint8)).result()
    assert first == pytest.approx(np.full((20, 25), 3.0))
    assert other == pytest.approx(np.full((20, 25), 8.0))
    plain(1.5, (40, 50)).filter(np.full((40, 50), 5, np.uint8))
    assert first == pytest.approx(np.full((20, 25), 5.0))


def test_fitted_spots_stand_the_threshold_and_lie_where_the_spots_are() -> None:
    matched = plain(1.5, (60, 60))
    frame = (80 * naive.gaussian(30.3, 27.8, 1.5, (60, 60)) + np.random.default_rng(0).normal(size=(60, 60))).astype(np.float32)
    seen = matched.see(frame, even(matched, matched.noise_gain))
    noise = np.full(matched.grid, matched.noise_gain, np.float32)
    spots, tells = matched.fit(seen, noise, 6.0, Light())
    assert spots.shape == (1, COLUMNS)
    assert len(tells) == 1
    assert spots[0, [X, Y]] == pytest.approx([30.3, 27.8], abs=4 * math.sqrt(2 / math.pi) / 80)
    # peak * width * sqrt(pi) / noise
    assert spots[0, SNR] == pytest.approx(80 * 1.5 * math.sqrt(math.pi), abs=4 + 0.03 * 212)
    assert len(matched.fit(seen, noise, 1.1 * spots[0, SNR], Light())[0]) == 0
    assert len(matched.fit(replace(seen, factor=40.0), noise, 6.0, Light())[0]) == 0
