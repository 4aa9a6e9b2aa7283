"""A frame's spots in one piece: the same as by its kernels one by one; what is taken off a frame, and where."""

from __future__ import annotations

import math

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_calls import maxima_of

from nta.kernels import doubles, fit, spots
from nta.kernels.filter import middle_of
from nta.kernels.frame import CRUMBS, NEAR, WIDE, subtract
from nta.matched import Light, MatchedFilter, _by_type

LIGHT = Light(per_grey=0.3, misfit=0.03, stretch=0.05, width_sd=0.2)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.int16, np.float64])
@pytest.mark.parametrize(("n", "reach"), [(3, 4), (2, 9), (40, 7)], ids=["short", "long", "whole"])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_subtract_takes_the_still_background_off_about_the_starts(dtype: type, n: int, reach: int, sign: float) -> None:
    rng = np.random.default_rng(n)
    frame, still = rng.integers(0, 200, (60, 90)).astype(dtype), rng.uniform(0, 50, (60, 90)).astype(np.float32)
    start = np.ascontiguousarray(rng.uniform(0, 1, (n, 5)) * (89, 59, 1, 1, 1))
    out = np.full(frame.shape, np.nan, np.float32)
    told = subtract(*_by_type(frame), still, sign, math.inf, start, reach, out)
    assert not told
    expected = np.float32(sign) * (frame.astype(np.float32) - still)
    about = np.zeros(frame.shape, bool)
    for x, y in start[:, :2].astype(int):
        about[max(y - reach, 0) : y + reach + 1, max(x - reach, 0) : x + reach + 1] = True
    assert np.array_equal(out[about], expected[about])
    written = np.isfinite(out)
    assert np.array_equal(out[written], expected[written])
    highest = (np.float32(sign) * frame.astype(np.float32))[written].max()
    for ceiling in (highest, highest + 0.5):
        assert subtract(*_by_type(frame), still, sign, float(ceiling), start, reach, out) == (ceiling <= highest)


@given(st.lists(st.integers(0, 12), min_size=1, max_size=60))
def test_middle_of_is_the_upper_median(values: list[int]) -> None:
    array = np.array(values, float)
    assert middle_of(array) == sorted(values)[len(values) // 2]
    assert sorted(array) == sorted(values)


def one_by_one(matched: MatchedFilter, frame: np.ndarray, noise: np.ndarray, ceiling: float) -> list[np.ndarray]:
    """Return spots and what tells of them, kernel after kernel."""
    seen = matched.see(frame, np.full(matched.tiles, matched.noise_gain, np.float32))
    found = maxima_of(matched, seen, noise, 4.0)
    residual, model = matched.residual(frame), np.zeros(frame.shape, np.float32)
    most = np.float32(ceiling) - np.float32(matched.sign) * matched.still
    capacity = 2 * len(found) + 1
    rows, tells = np.empty((capacity, fit.COLUMNS)), np.empty((capacity, fit.DIAGNOSTICS))
    parent, lone = np.empty(capacity, np.int64), np.empty(capacity, np.uint8)
    told = 1 / matched.noise_gain, 4.0, matched.width_px, LIGHT.per_grey, LIGHT.misfit
    out = matched.rim_px, rows, tells, parent, lone
    n = spots.fit_spots(residual, model, most, found, len(found), *told, 1 / LIGHT.width_sd**2, *out)
    doubtful = np.empty(n, np.int64)
    m = doubles.find_doubtful(rows, n, matched.width_px, LIGHT.stretch, doubtful)
    n = doubles.look_again(residual, model, most, found, *told, LIGHT.stretch, 1 / LIGHT.width_sd**2, *out, n, doubtful, m)
    spots.wipe(model, rows, lone, n, math.ceil(CRUMBS * matched.width_px))
    return [rows[:n], tells[:n]]


@given(st.integers(0, 2**32 - 1), st.sampled_from([1, -1]), st.sampled_from([math.inf, 60.0]), st.sampled_from([np.uint8, np.float32]))
@settings(max_examples=20)
def test_spots_in_one_piece_are_those_of_the_kernels_one_by_one(seed: int, sign: int, ceiling: float, dtype: type) -> None:
    rng = np.random.default_rng(seed)
    n, shape, width = 14, (80, 110), 1.4
    still = rng.uniform(95, 105, shape).astype(np.float32)
    light = naive.add_gaussians(
        np.zeros(shape), *(rng.uniform(5, n - 5, k) for n, k in ((110, n), (80, n))), np.full(n, width), rng.uniform(8, 90, n)
    )
    frame = np.clip(still + sign * light + rng.normal(size=shape), 0, 250)
    frame = np.clip(frame, None, 100 + ceiling) if sign > 0 else np.clip(frame, 100 - ceiling, None)
    frame = np.rint(frame).astype(dtype)
    matched = MatchedFilter(width, still, sign)
    noise = np.full(matched.grid, matched.noise_gain, np.float32)
    limit = sign * 100 + ceiling
    seen = matched.see(frame, np.full(matched.tiles, matched.noise_gain, np.float32))
    found = matched.fit(seen, noise, 4.0, LIGHT, limit)
    assert len(found[0]) > 3
    for one, other in zip(found, one_by_one(matched, frame, noise, limit), strict=True):
        assert np.array_equal(one, other)


def test_reaches_hold_what_is_looked_at() -> None:
    from nta.kernels.doubles import BEYOND
    from nta.kernels.pairs import BESIDE
    from nta.kernels.spots import ASTRAY, REACH

    assert ASTRAY + REACH <= NEAR
    assert ASTRAY + REACH <= CRUMBS
    assert BESIDE + BEYOND <= WIDE
