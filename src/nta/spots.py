"""Video -> Spots: where the particles are in every frame."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from nta.background import Background, find_background, local_level, local_sd, typical_sd
from nta.errors import Notice
from nta.flags import Flag
from nta.settings import Settings, Used
from nta.video import Video


@dataclass(frozen=True)
class Spots:
    """Detected spots, one row each, ordered by frame; pixel centres lie at integers.

    Attributes
    ----------
    frame : (n,) int32, frame number from the first analysed frame
    x_px, y_px : (n,) float64, sub-pixel position, column and row
    x_sd_px, y_sd_px : (n,) float64, standard error expected from the noise
    signal : (n,) float64, peak height over the background, grey levels (positive for dark particles too)
    snr : (n,) float64, matched-filter signal over local noise
    width_px : (n,) float64, Gaussian sigma
    flags : (n,) uint32 of `nta.flags.Flag`
    background, noise : (n_frames,) float64, typical grey level and its noise SD in each frame
    area_px : area of a frame in which spots are looked for, the rim excluded
    repeats : (n,) int64, frames that are the same as the one before, pixel by pixel; they have no spots of their own
    chosen : what the video decided: ``spot_width_px, threshold_snr, polarity``
    notices : what the user should know
    """

    frame: np.ndarray
    x_px: np.ndarray
    y_px: np.ndarray
    x_sd_px: np.ndarray
    y_sd_px: np.ndarray
    signal: np.ndarray
    snr: np.ndarray
    width_px: np.ndarray
    flags: np.ndarray
    background: np.ndarray
    noise: np.ndarray
    area_px: float
    repeats: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    chosen: Mapping[str, Used] = field(default_factory=dict)
    notices: tuple[Notice, ...] = ()

    ROWS: ClassVar[tuple[str, ...]] = ("frame", "x_px", "y_px", "x_sd_px", "y_sd_px", "signal", "snr", "width_px", "flags")

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def n_frames(self) -> int:
        """Number of frames looked at, empty ones and repeats included."""
        return len(self.background)

    @property
    def distinct(self) -> np.ndarray:
        """(n_frames - repeats,) int64, the frames that are no repeats."""
        return np.delete(np.arange(self.n_frames), self.repeats)


WIDTHS_PX = (0.8, 1.1, 1.5, 2.0, 2.7, 3.6, 4.8)  # tried before refinement: factors of 4/3, over which a matched filter loses < 4 %
FIRST_LOOK_SNR = 6.0
MANY_REPEATS = 0.3  # of the frames; a grabber that is late now and then repeats fewer, a frame rate that is not the camera's more
PROGRESS = Callable[[str, int, int], None]


@dataclass(frozen=True)
class _Look:
    """How a frame is searched: filter width, sign of the particles, threshold, noise of the filtered image around each pixel."""

    width_px: float
    sign: int
    threshold: float
    noise: np.ndarray


@dataclass(frozen=True)
class _Found:
    """What a frame holds: rows of `Spots`, background level, noise in grey levels, and its checksum, ``None`` if it is all of one grey."""

    rows: dict[str, np.ndarray]
    level: float
    noise: float
    checksum: int | None


def find_spots(
    video: Video, settings: Settings, threads: int = 1, progress: PROGRESS | None = None, background: Background | None = None
) -> Spots:
    """Find the particles of every frame: still background removed, matched filter, maxima above a local signal-to-noise.

    Spot width and polarity are measured on frames spread over the video, the threshold follows from the false detections a frame may
    have. Maxima are trackpy's; positions are the sub-pixel peak of the matched filter, which for white noise is the maximum-likelihood
    position (Thompson et al. 2002 give its variance). A frame that repeats the one before shows nothing new: its spots are left out.
    `background` is the video's where it is known already.
    """
    background = background or find_background(video)
    look = _choose_look(video, background, settings)
    ceiling = video.ceiling

    def one(i: int) -> _Found:
        return _search(video.read(i), background.still, look, i, ceiling)

    found: list[_Found] = []
    with ThreadPoolExecutor(threads) as pool:
        # a bounded look-ahead keeps memory flat, and a stop short, however long the video is
        for first in range(0, video.n_frames, 8 * threads):
            found += pool.map(one, range(first, min(first + 8 * threads, video.n_frames)))
            if progress is not None:
                progress("find spots", len(found), video.n_frames)
    again = [False, *(a.checksum == b.checksum and b.checksum is not None for a, b in itertools.pairwise(found))]
    rows: dict[str, Any] = {
        name: np.concatenate([f.rows[name][: 0 if repeat else None] for f, repeat in zip(found, again, strict=True)]) for name in Spots.ROWS
    }
    polarity = Used("bright" if look.sign > 0 else "dark", settings.chosen.get("polarity", "measured"))
    return Spots(
        **rows,
        background=np.array([f.level for f in found]),
        noise=np.array([f.noise for f in found]),
        area_px=_area_px(video, look.width_px),
        repeats=np.flatnonzero(again),
        chosen={
            "spot_width_px": Used(round(look.width_px, 3), "measured"),
            "threshold_snr": Used(round(look.threshold, 3), "measured"),
            "polarity": polarity,
        },
        notices=_tell_repeats(sum(again), len(found)),
    )


def _tell_repeats(n: int, n_frames: int) -> tuple[Notice, ...]:
    """Say what repeated frames there are."""
    if n == 0:
        return ()
    if n == n_frames - 1:
        return (Notice("duplicated_frames", f"all {n_frames} frames are the same, pixel by pixel: nothing moves in this video"),)
    text = f"{n} of {n_frames} frames repeat the one before, pixel by pixel, and were left out; time is taken to go on"
    if n > MANY_REPEATS * n_frames:
        text += f"; the camera's frame rate seems to be {100 * (1 - n / n_frames):.0f} % of the file's"
    return (Notice("duplicated_frames", text),)


def threshold_for(false_spots: float, area_px: float, width_px: float) -> float:
    """Return the signal-to-noise above which Gaussian noise of `area_px`, seen through the filter, has `false_spots` maxima.

    Expected maxima above a level u of a smooth Gaussian field, per correlation area: Adler 1981, eq. 6.9.4 (Euler characteristic),
    ``N = area / (2 s^2) (2 pi)^(-3/2) u exp(-u^2 / 2)``. Never below 3.
    """
    cells = area_px / (2 * width_px**2) / (2 * np.pi) ** 1.5
    u = 6.0
    for _ in range(50):
        u = np.sqrt(2 * max(np.log(cells * u / false_spots), 4.5))
    return float(u)


def _filtered(frame: np.ndarray, still: np.ndarray, width_px: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the residual over still and local background, and the same seen through the matched filter, (height, width) float32."""
    from scipy.ndimage import gaussian_filter

    residual = frame.astype(np.float32) - still
    residual -= local_level(residual)
    return residual, gaussian_filter(residual, width_px, truncate=3.5)


def _filtered_noise(smooths: list[np.ndarray], width_px: float, quantum: float) -> np.ndarray:
    """Return the noise of filtered frames around each pixel: the median over the frames given. `quantum` is a step of the camera's."""
    noise = np.median([local_sd(smooth) for smooth in smooths], axis=0)
    # an exactly flat region has no noise of its own: the rounding to a grey level is the least there can be
    return np.maximum(noise, quantum * 0.29 / (2 * width_px * np.sqrt(np.pi))).astype(np.float32)


def _choose_look(video: Video, background: Background, settings: Settings) -> _Look:
    """Measure spot width, polarity and noise on up to 12 of the sampled frames."""
    numbers = background.sampled[:: max(1, len(background.sampled) // 12)][:12]
    images = [video.read(int(i)) for i in numbers]
    # floating-point pixels have no step; some floor is needed where a region is exactly flat
    quantum = 1.0 if np.issubdtype(images[0].dtype, np.integer) else 1e-4 * max(float(np.ptp(images[0])), 1e-30)
    signs = {"bright": (1,), "dark": (-1,)}.get(settings.video.polarity or "", (1, -1))
    score: dict[tuple[int, float], float] = {}
    for width in WIDTHS_PX:
        smooths = [_filtered(image, background.still, width)[1] for image in images[:6]]
        noise = _filtered_noise(smooths, width, quantum)
        for sign in signs:
            # the squared signal-to-noise is the evidence a filter finds; its sum is largest at the particles' own width
            score[sign, width] = sum(float(np.sum(_maxima(sign * s / noise, FIRST_LOOK_SNR, width)[2] ** 2)) for s in smooths)
    sign, width = max(score, key=lambda key: (score[key], key))
    if score[sign, width] == 0:
        sign, width = signs[0], 1.5
    for _ in range(3):
        smooths = [_filtered(image, background.still, width)[1] for image in images]
        noise = _filtered_noise(smooths, width, quantum)
        seen = np.concatenate([_peak_fit(sign * s, *_maxima(sign * s / noise, FIRST_LOOK_SNR, width)[:2], width)[2] for s in smooths])
        refined = float(np.clip(np.median(seen), 0.6, 8.0)) if len(seen) else width
        if abs(refined / width - 1) < 0.02:
            break
        width = refined
    return _Look(width, sign, threshold_for(settings.spots.false_spots_per_frame, _area_px(video, width), width), noise)


def _area_px(video: Video, width_px: float) -> float:
    """Return the area within the rim, px^2."""
    margin = 2 * _margin(width_px)
    return float(max(1, video.height - margin) * max(1, video.width - margin))


def _margin(width_px: float) -> int:
    """Return the rim in px where no spot is looked for, since half of it would lie outside."""
    return 1 + int(np.ceil(2 * width_px))


def _maxima(snr: np.ndarray, threshold: float, width_px: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return row, column and value of the maxima of `snr` above `threshold`, by trackpy's rule, away from the border.

    A maximum equals its grey dilation; of two closer than the separation the brighter stays (Crocker & Grier 1996, sect. 2). The steps of
    `trackpy.find.grey_dilation`, without its warnings of frames that have no maxima: filters for warnings are not safe in threads.
    """
    from scipy.ndimage import grey_dilation
    from trackpy.find import drop_close

    separation = max(3.0, 2.5 * width_px)
    # thousandths of a signal-to-noise: level noise makes no plateau of two maxima
    level = np.where(snr > threshold, snr * 1000.0, 0.0).astype(np.int32)
    peak = (level > 0) & (level == grey_dilation(level, size=int(2 * separation / np.sqrt(2.0)), mode="constant"))
    margin = _margin(width_px)
    peak[:margin] = peak[-margin:] = False
    peak[:, :margin] = peak[:, -margin:] = False
    where = np.argwhere(peak)
    where = drop_close(where, separation, level[peak])
    return where[:, 0], where[:, 1], snr[where[:, 0], where[:, 1]]


def _peak_fit(smooth: np.ndarray, y: np.ndarray, x: np.ndarray, width_px: float) -> tuple[np.ndarray, ...]:
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


def _search(frame: np.ndarray, still: np.ndarray, look: _Look, number: int, ceiling: float | None) -> _Found:
    """Search one frame."""
    residual, smooth = _filtered(frame, still, look.width_px)
    smooth *= look.sign
    snr = smooth / look.noise
    y, x, _ = _maxima(snr, look.threshold, look.width_px)
    row, column, width = _peak_fit(smooth, y, x, look.width_px)
    peak_snr = snr[y, x].astype(np.float64)
    # variance of the peak of a filtered field: sqrt(2) width / SNR, from the curvature of signal and noise
    sd = np.sqrt(2.0) * look.width_px / peak_snr
    flags = np.zeros(len(y), np.uint32)
    if ceiling is not None and len(y):
        around = [frame[y + dy, x + dx] for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
        extreme = np.max(around, axis=0) >= ceiling if look.sign > 0 else np.min(around, axis=0) <= 0
        flags[extreme] |= np.uint32(Flag.SATURATED)
    rows = {
        "frame": np.full(len(y), number, np.int32),
        "x_px": column.astype(np.float64),
        "y_px": row.astype(np.float64),
        "x_sd_px": sd,
        "y_sd_px": sd,
        # a filter of the spot's own width halves its peak
        "signal": 2.0 * smooth[y, x].astype(np.float64),
        "snr": peak_snr,
        "width_px": width.astype(np.float64),
        "flags": flags,
    }
    # dark frames in which there is nothing are alike, and repeat nothing
    checksum = zlib.crc32(frame.data) if np.any(frame != frame[0, 0]) else None
    return _Found(rows, float(np.median(frame[::3, ::3])), typical_sd(residual), checksum)
