from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from nta.chance import gaussian_threshold
from nta.trackpy_spots import _maxima


def test_a_maximum_of_one_pixel_counts_also_when_it_is_the_only_one() -> None:
    snr = np.zeros((40, 50), np.float32)
    snr[20, 30] = 6.0
    y, x = _maxima(snr, 5.0, 1.5, 4)
    assert (list(y), list(x)) == ([20], [30])
    snr[10, 12] = 9.0
    y, x = _maxima(snr, 5.0, 1.5, 4)
    assert (list(y), list(x)) == ([10, 20], [12, 30])
    snr[20, 31] = 5.5  # its own slope is no second maximum
    assert len(_maxima(snr, 5.0, 1.5, 4)[0]) == 2
    assert len(_maxima(snr, 9.5, 1.5, 4)[0]) == 0


def test_frames_whose_maxima_lie_in_the_rim_have_none_and_warn_of_nothing_in_any_thread() -> None:
    snr = np.zeros((40, 50), np.float32)
    snr[:8, 20] = np.linspace(9, 6, 8)  # its slope reaches into the field
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: _maxima(snr, 5.0, 1.5, 4), range(200)))
    assert all(len(y) == len(x) == 0 for y, x in found)


@pytest.mark.parametrize("width_px", [1.4, 2.0])
def test_pure_noise_has_the_false_spots_asked_for(width_px: float) -> None:
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(8)
    for false_spots in (0.5, 5.0):
        n = 0
        for _ in range(24):
            smooth = gaussian_filter(rng.normal(size=(256, 256)), width_px, truncate=3.5, mode="wrap")
            snr = (smooth * 2 * width_px * math.sqrt(math.pi)).astype(np.float32)
            n += len(_maxima(snr, gaussian_threshold(false_spots, 250.0 * 250.0, width_px), width_px, 1 + math.ceil(2 * width_px))[0])
        assert 24 * false_spots / 3 < n < 24 * false_spots * 3
