"""Tracks -> Drift: the motion that all particles share, and the tracks without it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nta.tracks import Tracks


@dataclass(frozen=True)
class Drift:
    """Common displacement since the first frame.

    Attributes
    ----------
    x_px, y_px : (n_frames,) float64, position of the liquid relative to frame 0
    window_frames : width of the smoothing
    """

    x_px: np.ndarray
    y_px: np.ndarray
    window_frames: int


SMALLEST_WINDOW_FRAMES = 31
PAIRS_IN_WINDOW = 1000  # a particle's own share in the drift that is taken from it is then 0.1 % of its diffusion


def find_drift(tracks: Tracks) -> Drift:
    """Measure the common drift as the mean step of all tracks, smoothed over a window.

    A mean over the M particles of a frame would carry 1/M of each one's diffusion away with it; the window is therefore as wide as it
    takes to hold 1000 steps, and at least 31 frames.
    """
    spots, n_frames = tracks.spots, tracks.spots.n_frames
    linked = (np.diff(tracks.track_of_spot) == 0) & (np.diff(spots.frame) == 1)
    frame = spots.frame[1:][linked]
    count = np.bincount(frame, minlength=n_frames).astype(float)
    total = count.sum()
    if total == 0:
        return Drift(np.zeros(n_frames), np.zeros(n_frames), n_frames)
    window = int(max(SMALLEST_WINDOW_FRAMES, np.ceil(PAIRS_IN_WINDOW * n_frames / total)))
    window += 1 - window % 2
    position = []
    for coordinate in (spots.x_px, spots.y_px):
        step = np.bincount(frame, np.diff(coordinate)[linked], minlength=n_frames)
        position.append(np.cumsum(_windowed_mean(step, count, window)))
    return Drift(position[0], position[1], min(window, n_frames))


def _windowed_mean(step_sum: np.ndarray, count: np.ndarray, window: int) -> np.ndarray:
    """Return the mean step in a window about each frame; the mean of all where the window is wider than the video."""
    if window >= len(count):
        mean = np.full(len(count), step_sum.sum() / count.sum())
    else:
        kernel = np.ones(window)
        pairs = np.convolve(count, kernel, mode="same")
        overall = step_sum.sum() / count.sum()
        mean = np.where(pairs > 0, np.convolve(step_sum, kernel, mode="same") / np.maximum(pairs, 1), overall)
    mean[0] = 0.0
    return mean


def without_drift(tracks: Tracks, drift: Drift) -> tuple[np.ndarray, np.ndarray]:
    """Return the spots' x and y in px less the drift at their frame, (n_spots,) each."""
    frame = tracks.spots.frame
    return tracks.spots.x_px - drift.x_px[frame], tracks.spots.y_px - drift.y_px[frame]
