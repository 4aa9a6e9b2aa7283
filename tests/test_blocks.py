from __future__ import annotations

import numpy as np
import pytest

from nta.blocks import ROWS, blocks, expect

N, K = 2 * ROWS + 37, 23


@pytest.fixture(params=[np.float64, np.float32])
def matrix(request: pytest.FixtureRequest) -> np.ndarray:
    return np.random.default_rng(0).random((N, K)).astype(request.param)


def test_blocks_are_all_rows_once_in_double_precision(matrix: np.ndarray) -> None:
    some = list(blocks(matrix))
    assert [len(block) for _, block in some] == ([ROWS, ROWS, 37] if matrix.dtype == np.float32 else [N])
    assert all(block.dtype == np.float64 for _, block in some)
    assert np.array_equal(np.concatenate([block for _, block in some]), matrix)
    assert all(np.array_equal(matrix[rows], block) for rows, block in some)


def test_sums_are_those_of_the_whole_matrix(matrix: np.ndarray) -> None:
    rng = np.random.default_rng(1)
    outliers, count, number, other = rng.random((N, 2)), rng.poisson(1.0, N), rng.random(K), rng.random(2)
    whole = matrix.astype(float)
    mixed = whole @ number + outliers @ other
    fit, found, joined = expect(matrix, outliers, count, number, other)
    assert fit == pytest.approx(count @ np.log(mixed), rel=1e-12)
    assert found == pytest.approx((count / mixed) @ whole, rel=1e-12)
    assert joined == pytest.approx((count / mixed) @ outliers, rel=1e-12)
