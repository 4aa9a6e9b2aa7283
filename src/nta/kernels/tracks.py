"""Links to tracks: their spots in a row, and sums over their steps, frame by frame, beyond what moved all particles."""

from __future__ import annotations

import math

import numpy as np
from numba import jit

from nta.kernels import JIT

PASSES = 3  # slow particles tell what is common best; which are slow is known once that is removed
LEAST_LEFT = 0.1  # of a squared step, where its track is nearly all that tells what is common
NOTHING_PX2 = 1e-12


@jit("void(int64[::1], int64[::1], int64[::1])", **JIT)
def sort_spots(particle: np.ndarray, start: np.ndarray, order: np.ndarray) -> None:
    """Order spots by track: write the rows of each track's into `order`, (n,), and where each track begins into `start`, (tracks + 1,)."""
    for p in range(len(start)):
        start[p] = 0
    for j in range(len(particle)):
        start[particle[j]] += 1
    for p in range(1, len(start)):
        start[p] += start[p - 1]
    for j in range(len(particle) - 1, -1, -1):
        # each track is filled from its end, and its start comes to its first
        start[particle[j]] -= 1
        order[start[particle[j]]] = j


@jit(
    "void(float64[::1], float64[::1], int32[::1], int64[::1], int64[::1], int64, int64[::1], float64[::1], float64[::1], float64[::1])",
    **JIT,
)
def sum_steps(
    x_px: np.ndarray,
    y_px: np.ndarray,
    frame: np.ndarray,
    number: np.ndarray,
    start: np.ndarray,
    fewest: int,
    links: np.ndarray,
    excess: np.ndarray,
    lasted: np.ndarray,
    alike: np.ndarray,
) -> None:
    """Sum up the squared steps that end in each frame, in units of the others of their tracks, less what all step in common.

    A step is one between successive frames, over the root of the time between. The common step is a mean weighted by the inverse of each
    track's mean square; what is left is made as long as it would be, on average, had nothing been taken.

    Parameters
    ----------
    x_px, y_px, frame : (n,) of spots, ordered by track, then frame
    number : (n_frames,) the number of each frame among the `frames` that are no repeats
    start : (tracks + 1,) the first row of each track, and the number of rows
    fewest : tracks of so few steps or fewer are left out
    links : (frames,) written: the number of steps
    excess : (frames,) written: the sum of ``n ln(1 + s / S)``, s the squared step and S the sum of the n others of its track
    lasted : (frames,) written: the sum of ``(n - 1) s / S``
    alike : (2,) written: the sum of the products of steps 2 and 3 apart, in units of the track's mean square, and their number
    """
    x, y, at = np.empty(len(x_px)), np.empty(len(x_px)), np.empty(len(x_px), np.int32)
    begin, n_tracks, n = np.zeros(len(start), np.int64), 0, 0
    for t in range(len(start) - 1):
        for j in range(start[t] + 1, start[t + 1]):
            at[n] = number[frame[j]]
            if at[n] - number[frame[j - 1]] == 1:
                x[n], y[n] = x_px[j] - x_px[j - 1], y_px[j] - y_px[j - 1]
                if frame[j] - frame[j - 1] > 1:
                    root = math.sqrt(float(frame[j] - frame[j - 1]))
                    x[n], y[n] = x[n] / root, y[n] / root
                n += 1
        if n - begin[n_tracks] > fewest:
            n_tracks += 1
            begin[n_tracks] = n
        else:
            n = begin[n_tracks]
    total, weight = np.empty(n_tracks), np.empty(n_tracks)
    for t in range(n_tracks):
        weight[t] = 1.0
    common_x, common_y, whole = np.empty(len(links)), np.empty(len(links)), np.empty(len(links))
    for turn in range(PASSES):
        for f in range(len(links)):
            common_x[f] = common_y[f] = whole[f] = 0.0
        for t in range(n_tracks):
            for i in range(begin[t], begin[t + 1]):
                common_x[at[i]] += weight[t] * x[i]
                common_y[at[i]] += weight[t] * y[i]
                whole[at[i]] += weight[t]
        for f in range(len(links)):
            if whole[f] > 0.0:
                whole[f] = 1.0 / whole[f]
                common_x[f], common_y[f] = common_x[f] * whole[f], common_y[f] * whole[f]
        for t in range(n_tracks):
            total[t] = 0.0
            for i in range(begin[t], begin[t + 1]):
                own_x, own_y = x[i] - common_x[at[i]], y[i] - common_y[at[i]]
                longer = 1.0 / max(1.0 - weight[t] * whole[at[i]], LEAST_LEFT)
                total[t] += (own_x * own_x + own_y * own_y) * longer
                if turn == PASSES - 1:
                    x[i], y[i] = own_x * math.sqrt(longer), own_y * math.sqrt(longer)
            weight[t] = (begin[t + 1] - begin[t]) / max(total[t], NOTHING_PX2)
    alike[0] = alike[1] = 0.0
    for f in range(len(links)):
        links[f], excess[f], lasted[f] = 0, 0.0, 0.0
    for t in range(n_tracks):
        others = float(begin[t + 1] - begin[t] - 1)
        for i in range(begin[t], begin[t + 1]):
            squared = x[i] * x[i] + y[i] * y[i]
            ratio = squared / max(total[t] - squared, NOTHING_PX2)
            links[at[i]] += 1
            excess[at[i]] += others * math.log(1.0 + ratio)
            lasted[at[i]] += (others - 1.0) * ratio
            for apart in range(2, min(4, i - begin[t] + 1)):
                if at[i] - at[i - apart] == apart:
                    alike[0] += (x[i] * x[i - apart] + y[i] * y[i - apart]) * weight[t]
                    alike[1] += 1.0
