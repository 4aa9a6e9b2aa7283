"""Seen frame -> spots, by trackpy's rule for maxima and a parabola through each: the engine that ours is compared with."""

from __future__ import annotations

import numpy as np

from nta.look import Look
from nta.matched import Seen

PIXEL_BY_PIXEL = 1.25  # by how much more the peak of three noisy pixels errs than that of a fit


def search(frame: np.ndarray, seen: Seen, look: Look) -> np.ndarray:
    """Return the spots of a frame, a row each in the columns of `nta.kernels.fit`.

    The position is the sub-pixel peak of the matched filter, which for white noise is the maximum-likelihood position (Thompson et al.
    2002 give its variance).
    """
    from scipy.ndimage import gaussian_filter

    from nta.background import interpolate
    from nta.kernels import fit

    matched, width = look.matched, look.matched.width_px
    residual = matched.residual(frame)
    to_px = matched.row_mid * matched.step, matched.col_mid * matched.step
    smooth = gaussian_filter(residual, width, truncate=3.5) - interpolate(seen.level, *to_px, matched.shape)
    noise = np.repeat(np.repeat(look.noise, matched.step, axis=0), matched.step, axis=1)[: matched.shape[0], : matched.shape[1]]
    snr = smooth / (noise * seen.factor)
    y, x = _maxima(snr, look.threshold, width, matched.rim_px)
    row, column, spot_width = _peak_fit(smooth, y, x, width)
    spots = np.zeros((len(y), fit.COLUMNS))
    spots[:, fit.X], spots[:, fit.Y], spots[:, fit.WIDTH] = column, row, spot_width
    spots[:, fit.SNR] = snr[y, x]
    # variance of the peak of a filtered field: sqrt(2) width / SNR, from the curvature of signal and noise
    spots[:, fit.X_SD] = spots[:, fit.Y_SD] = PIXEL_BY_PIXEL * np.sqrt(2.0) * width / spots[:, fit.SNR]
    spots[:, fit.PEAK] = 2.0 * smooth[y, x]  # a filter of the spot's own width halves its peak
    around = [matched.sign * frame[y + dy, x + dx].astype(float) >= look.ceiling for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    spots[:, fit.SATURATED] = np.any(around, axis=0)
    return spots


def _maxima(snr: np.ndarray, threshold: float, width_px: float, rim_px: int) -> tuple[np.ndarray, np.ndarray]:
    """Return row and column of the maxima of `snr` above `threshold`, by trackpy's rule, away from the border.

    A maximum equals its grey dilation; of two closer than the separation the brighter stays (Crocker & Grier 1996, sect. 2). The steps of
    `trackpy.find.grey_dilation`, without its warnings of frames that have no maxima: filters for warnings are not safe in threads.
    """
    from scipy.ndimage import grey_dilation
    from trackpy.find import drop_close

    separation = max(3.0, 2.5 * width_px)
    # thousandths of a signal-to-noise: level noise makes no plateau of two maxima
    level = np.where(snr > threshold, snr * 1000.0, 0.0).astype(np.int32)
    peak = (level > 0) & (level == grey_dilation(level, size=int(2 * separation / np.sqrt(2.0)), mode="constant"))
    peak[:rim_px] = peak[-rim_px:] = False
    peak[:, :rim_px] = peak[:, -rim_px:] = False
    where = drop_close(np.argwhere(peak), separation, level[peak])
    return where[:, 0], where[:, 1]


def _peak_fit(smooth: np.ndarray, y: np.ndarray, x: np.ndarray, width_px: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return sub-pixel row, column and spot width from a log-parabola through the 3x3 pixels around each maximum.

    A Gaussian spot of width s filtered at width f is a Gaussian of variance s^2 + f^2, of which a log-parabola is exact.
    """
    tiny = 1e-3 * np.maximum(smooth[y, x], 1e-12)
    centre = np.log(np.maximum(smooth[y, x], tiny))
    shift, curvature = [], []
    for dy, dx in ((1, 0), (0, 1)):
        before = np.log(np.maximum(smooth[y - dy, x - dx], tiny))
        after = np.log(np.maximum(smooth[y + dy, x + dx], tiny))
        bend = np.minimum(before - 2 * centre + after, -1e-6)
        shift.append(np.clip(0.5 * (before - after) / bend, -0.6, 0.6))
        curvature.append(bend)
    variance = -2.0 / (curvature[0] + curvature[1])
    spot_variance = np.clip(variance - width_px**2, 0.04, (4 * width_px) ** 2)
    return y + shift[0], x + shift[1], np.sqrt(spot_variance)
