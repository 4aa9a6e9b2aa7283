"""Draw Gaussian spots into a frame."""

from __future__ import annotations

import math

import numpy as np
from numba import jit

from nta.kernels import JIT


@jit("void(float64[:,::1], float64[::1], float64[::1], float64[::1], float64[::1])", **JIT)
def add_gaussians(image: np.ndarray, x_px: np.ndarray, y_px: np.ndarray, sigma_px: np.ndarray, peak: np.ndarray) -> None:
    """Add spots of height `peak` and width `sigma_px` at (`x_px`, `y_px`) to `image`, in place; cut at 4.5 sigma."""
    height, width = image.shape
    profile = np.empty(width)
    for i in range(len(x_px)):
        reach = 4.5 * sigma_px[i]
        left, right = max(0, int(math.ceil(x_px[i] - reach))), min(width - 1, int(math.floor(x_px[i] + reach)))
        top, bottom = max(0, int(math.ceil(y_px[i] - reach))), min(height - 1, int(math.floor(y_px[i] + reach)))
        if left > right or top > bottom:
            continue
        scale = -0.5 / (sigma_px[i] * sigma_px[i])
        n = right - left + 1
        for c in range(n):
            profile[c] = math.exp(scale * (left + c - x_px[i]) ** 2)
        for r in range(top, bottom + 1):
            height_here = peak[i] * math.exp(scale * (r - y_px[i]) ** 2)
            line = image[r, left : right + 1]  # counted from 0, so that the compiler sees a plain loop
            for c in range(n):
                line[c] += height_here * profile[c]
