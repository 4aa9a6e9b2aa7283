"""Kernels called one by one, as tests need them."""

from __future__ import annotations

import numpy as np

from nta.kernels.maxima import find_maxima
from nta.matched import MatchedFilter, Seen


def maxima_of(matched: MatchedFilter, seen: Seen, noise: np.ndarray, threshold: float) -> np.ndarray:
    """Return the maxima of a filtered frame, as `nta.kernels.frame.find_in_frame` finds them."""
    found = np.empty((seen.filtered.size // 4 + 1, 5))
    grid = seen.filtered, seen.level, matched.row_mid, matched.col_mid, noise
    n = find_maxima(*grid, seen.factor, threshold, matched.step, max(1, matched.rim_px // matched.step - 1), found)
    return found[:n]
