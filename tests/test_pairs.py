from __future__ import annotations

import math

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nta.kernels import fit, pairs

SIDE, WIDTH = 19, 1.5
LIGHT = np.array([0.0, 0.0, WIDTH, 1.0])


def fitted(value: np.ndarray, places: list[tuple[float, float]], peak: float) -> tuple[bool, np.ndarray]:
    """Return whether two spots could be fitted to a window of noise 1, starting from `places`, and their rows."""
    rows = np.zeros((2, fit.COLUMNS))
    rows[:, fit.X], rows[:, fit.Y] = np.transpose(places)
    rows[:, fit.PEAK], rows[:, fit.WIDTH] = peak, WIDTH
    room = np.empty((8, 8)), np.empty(8), np.empty(SIDE, np.float32), np.zeros((pairs.PAIR_ROWS, SIDE * SIDE), np.float32)
    flat = value.astype(np.float32).ravel()
    there = pairs.fit_pair(flat, np.ones_like(flat), 0, 0, SIDE, LIGHT, rows[0], rows[1], *room)
    return there, rows


@given(st.integers(0, 2**32 - 1), st.integers(1, 8))
@settings(max_examples=40)
def test_solve_inverts(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(n, n + 3))
    matrix, vector = root @ root.T, rng.normal(size=n)
    inverse, solution = matrix.copy(), vector.copy()
    assert pairs.solve(inverse, solution)
    assert inverse == pytest.approx(np.linalg.inv(matrix), rel=1e-5, abs=1e-7)
    assert solution == pytest.approx(np.linalg.solve(matrix, vector), rel=1e-5, abs=1e-7)
    assert not pairs.solve(np.zeros((n, n)), np.zeros(n))


@pytest.mark.parametrize("apart", [2.5, 3.0, 4.0])
@pytest.mark.parametrize("second", [40.0, 80.0])
def test_errors_of_two_that_overlap_are_those_told(apart: float, second: float) -> None:
    x, y = 9 + apart / 2 * np.array([-0.8, 0.8]), 9 + apart / 2 * np.array([-0.6, 0.6])
    true = 80 * naive.gaussian(x[0], y[0], WIDTH, (SIDE, SIDE)) + second * naive.gaussian(x[1], y[1], WIDTH, (SIDE, SIDE))
    pulls = []
    for seed in range(60):
        noise = np.random.default_rng(seed).normal(size=(SIDE, SIDE))
        there, rows = fitted(true + noise, [(x[0] - 0.4, y[0]), (x[1] + 0.4, y[1])], 60.0)
        assert there
        for row, at in zip(rows, np.column_stack([x, y]), strict=True):
            pulls += [(row[fit.X] - at[0]) / row[fit.X_SD], (row[fit.Y] - at[1]) / row[fit.Y_SD]]
    # 240 pulls, those of a pair correlated
    assert 0.85 < np.std(pulls) < 1.2
    assert abs(np.mean(pulls)) < 0.3


def test_far_apart_each_is_fitted_as_if_alone() -> None:
    shape = (SIDE, SIDE)
    value = 80 * naive.gaussian(4.3, 5.2, WIDTH, shape) + 50 * naive.gaussian(13.6, 13.1, WIDTH, shape)
    there, rows = fitted(value, [(4, 5), (14, 13)], 60.0)
    assert there
    assert rows[:, [fit.X, fit.Y]] == pytest.approx(np.array([[4.3, 5.2], [13.6, 13.1]]), abs=2e-3)
    assert rows[:, fit.PEAK] == pytest.approx([80, 50], rel=1e-3)
    # Cramer-Rao of one: sqrt(2 / pi) noise / peak
    assert rows[:, fit.X_SD] == pytest.approx(math.sqrt(2 / math.pi) / np.array([80, 50]), rel=0.05)


def test_two_starts_on_one_place_give_nothing() -> None:
    there, _ = fitted(np.zeros((SIDE, SIDE)), [(9, 9), (9, 9)], 0.0)
    assert not there
