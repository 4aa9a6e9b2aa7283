"""Spots to tracks: candidates on a uniform grid, from frame to frame those of the largest total gain."""

from __future__ import annotations

import math

import numpy as np
from numba import jit

from nta.kernels import INNER, JIT
from nta.kernels.choice import DOUBT, FLOATS, INTEGERS, LEAST_ROOM, assign, weigh

LEAST_MOTION = 0.1  # of a track's mean squared step; the error of its spots may be thought larger than it is


@jit(
    "int64(float64[::1], float64[::1], int64, float64, float64[::1], int64[::1], int64[::1], int64[::1], float64[::1], float64[::1])",
    **INNER,
)
def bin_spots(
    x: np.ndarray,
    y: np.ndarray,
    n: int,
    least: float,
    grid: np.ndarray,
    cell: np.ndarray,
    bound: np.ndarray,
    order: np.ndarray,
    xs: np.ndarray,
    ys: np.ndarray,
) -> int:
    """Sort the first `n` spots into the cells of a grid, as many as there are spots or of the side `least`, and return its columns.

    Those of cell `c` are ``order[bound[c]:bound[c + 1]]``, at `xs` and `ys`; `grid` is written: left, top, cells a px, rows; `cell` is
    written: that of each spot.
    """
    left, top, right, bottom = x[0], y[0], x[0], y[0]
    for j in range(n):
        left, right = min(left, x[j]), max(right, x[j])
        top, bottom = min(top, y[j]), max(bottom, y[j])
    wide, high = right - left, bottom - top
    per_px = 1.0 / max(least, math.sqrt(wide * high / n), max(wide, high) / n, 1e-9)
    rows, columns = int(high * per_px) + 1, int(wide * per_px) + 1
    grid[0], grid[1], grid[2], grid[3] = left, top, per_px, float(rows)
    for c in range(rows * columns + 1):
        bound[c] = 0
    for j in range(n):
        cell[j] = int((y[j] - top) * per_px) * columns + int((x[j] - left) * per_px)
        bound[cell[j]] += 1
    for c in range(1, rows * columns + 1):
        bound[c] += bound[c - 1]
    for j in range(n - 1, -1, -1):
        # each cell is filled from its end, and its bound comes to its first
        k = bound[cell[j]] - 1
        bound[cell[j]], order[k], xs[k], ys[k] = k, j, x[j], y[j]
    return columns


@jit("Tuple((int64[::1], int64[::1], float64[::1]))(int64[::1], int64[::1], float64[::1], int64, int64)", **INNER)
def _longer(row: np.ndarray, column: np.ndarray, gain: np.ndarray, n: int, length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return all with room for `length`, the first `n` kept."""
    new_row, new_column, new_gain = np.empty(length, np.int64), np.empty(length, np.int64), np.empty(length)
    for e in range(n):
        new_row[e], new_column[e], new_gain[e] = row[e], column[e], gain[e]
    return new_row, new_column, new_gain


@jit(
    "void(float64[::1], float64[::1], float64[:,::1], float64[::1], float64[::1], float64[::1], int16[::1], float64[::1], float64[:,::1], "
    "float64[::1], int64[::1], int64[::1], float64[::1], float64, float64, float64, boolean, int64[::1], int64[::1], float64[::1])",
    **JIT,
)
def link(
    x_px: np.ndarray,
    y_px: np.ndarray,
    path_px: np.ndarray,
    x_sd_px: np.ndarray,
    y_sd_px: np.ndarray,
    brightness: np.ndarray,
    level: np.ndarray,
    prior_px2: np.ndarray,
    log_odds: np.ndarray,
    log_new: np.ndarray,
    first: np.ndarray,
    time: np.ndarray,
    gate_px: np.ndarray,
    prior_steps: float,
    follow: float,
    tail: float,
    plain: bool,
    previous: np.ndarray,
    particle: np.ndarray,
    chance: np.ndarray,
) -> None:
    """Link the spots of each frame to the tracks before it, such that the total gain of all links of the frame is largest.

    A link gains the log of how much likelier it is than a track's end and a new particle: that the track is seen, its step and its
    change of brightness, over that it is not and that such a spot appears. Squared steps of one particle are exponential, the inverse of
    their mean has a gamma prior worth `prior_steps` steps of the sum `prior_px2`: the next one, after n of the sum S, has the density
    ``a / (pi S') (1 + r^2 / S')^-(a + 1)``, ``a = prior_steps + n``, ``S' = prior_px2 + S`` (Lomax), both over the time between and with
    the errors of the spots at hand. Changes of brightness are Student's with `tail` degrees of freedom.

    Parameters
    ----------
    x_px, y_px, x_sd_px, y_sd_px : (n,) places and their errors, in the order of frames
    path_px : (frames, 2) common motion, which is taken off
    brightness : (n,) in units of the scale of its change
    level : (n,) which of the `levels` of brightness below a spot is at
    prior_px2 : (levels,) of a track that begins with the spot
    log_odds : (gap + 1, levels) ln of the odds that a track that ends with the spot is seen 1, 2 ... frames later, not having been before
    log_new : (levels,) ln of the density, per px^2 and unit of brightness, of new particles like the spot
    first, time : (frames + 1,) and (frames,) where the spots of a frame begin, and when it was taken
    gate_px : the longest step over 1, 2 ... units of time, the last one for any longer
    follow : share by which a track's brightness goes along with its next spot
    plain : gains are ``gate^2 - r^2`` instead: the least sum of squared steps
    previous : (n,) written: the spot before in the track, -1 for a track's first
    particle : (n,) written: number of the track, by its first spot
    chance : (n,) written: chance that the link to the spot before is right; 1 for a track's first
    """
    n_frames, gap = len(time), len(log_odds) - 1
    most = 0
    for f in range(n_frames):
        most = max(most, first[f + 1] - first[f])
    # of a track its last spot is kept, one of those of the last frames: that of row `i` at ``i & ring``
    room = 1
    while room < (gap + 2) * most:
        room *= 2
    ring = room - 1
    x, y, variance = np.empty(room), np.empty(room), np.empty(room)
    total, steps, blur, usual = np.empty(room), np.empty(room), np.empty(room), np.empty(room)
    seen, live = np.empty(room, np.int64), np.empty(room, np.int64)
    start, edge_of, odds = np.zeros(room + 1, np.int64), np.empty(room, np.int64), np.empty(room)
    x_here, y_here, row_of, price = np.empty(most), np.empty(most), np.empty(most, np.int64), np.empty(most)
    # a grid has a cell a spot, more where rows or columns are not filled
    grid, bound, cell = np.empty(4), np.empty(4 * most + 4, np.int64), np.empty(most, np.int64)
    order, xs, ys = np.empty(most, np.int64), np.empty(most), np.empty(most)
    row_at, column, gain = np.empty(4 * most, np.int64), np.empty(4 * most, np.int64), np.empty(4 * most)
    mean, motion, seen_odds, waits = np.ones(room), np.empty(room), np.empty(room), np.empty(room)
    length = LEAST_ROOM + max(len(column), room + most)
    whole, real = np.empty((INTEGERS, length), np.int64), np.empty((FLOATS, length))
    n_live, n_particles = 0, 0
    normal = math.lgamma(0.5 * (tail + 1.0)) - math.lgamma(0.5 * tail) - 0.5 * math.log(math.pi * tail)
    for f in range(n_frames):
        begin, n = first[f], first[f + 1] - first[f]
        n_kept = 0
        for r in range(n_live):
            live[n_kept] = live[r]
            n_kept += f - seen[live[r] & ring] <= gap + 1
        n_live = n_kept
        for c in range(n):
            j = begin + c
            x_here[c], y_here[c] = x_px[j] - path_px[f, 0], y_px[j] - path_px[f, 1]
            x[j & ring], y[j & ring], seen[j & ring] = x_here[c], y_here[c], f
            row_of[c] = -1
        for r in range(n_live):
            edge_of[r] = -1
        finest, coarsest, newest = math.inf, 0.0, math.inf
        if not plain:
            for j in range(begin, begin + n):
                own = 0.5 * (x_sd_px[j] * x_sd_px[j] + y_sd_px[j] * y_sd_px[j])
                variance[j & ring] = own
                finest, coarsest, newest = min(finest, own), max(coarsest, own), min(newest, log_new[level[j]])
        if n > 0 and n_live > 0:
            n_columns = bin_spots(x_here, y_here, n, 0.5 * gate_px[0], grid, cell, bound, order, xs, ys)
            left, top, per_px, n_rows = grid[0], grid[1], grid[2], int(grid[3])
            crowded = n > n_rows * n_columns
            n_edges = 0
            for r in range(n_live):
                i, at = live[r], live[r] & ring
                lapse, waited = time[f] - time[seen[at]], f - seen[at]
                gate = gate_px[min(lapse, len(gate_px)) - 1]
                limit = gate * gate
                if not plain:
                    mean[r], waits[r], seen_odds[r] = total[at] / steps[at], float(waited), log_odds[waited - 1, level[i]]
                    motion[r] = max(mean[r] - blur[at] / steps[at], LEAST_MOTION * mean[r]) * lapse
                    if crowded:
                        # no step beyond is worth a thought, however alike the spot
                        widest = motion[r] + 2.0 * (variance[at] + coarsest)
                        density = steps[at] / (math.pi * total[at]) * mean[r] / (motion[r] + 2.0 * (variance[at] + finest))
                        free = (seen_odds[r] + math.log(density) + normal - newest + DOUBT) / (steps[at] + 1.0)
                        limit = min(limit, (math.exp(max(free, 0.0)) - 1.0) * widest * steps[at])
                        gate = math.sqrt(limit)
                here_x, here_y = x[at], y[at]
                column_0 = max(int((here_x - gate - left) * per_px), 0)
                column_1 = min(int((here_x + gate - left) * per_px + 1.0), n_columns)
                row_0 = max(int((here_y - gate - top) * per_px), 0)
                row_1 = min(int((here_y + gate - top) * per_px + 1.0), n_rows)
                if n_edges + n > len(column):
                    row_at, column, gain = _longer(row_at, column, gain, n_edges, 2 * (n_edges + n))
                if column_0 < column_1:
                    for row in range(row_0, row_1):
                        for k in range(bound[row * n_columns + column_0], bound[row * n_columns + column_1]):
                            # written before it is known to stay: no branch to be guessed
                            square = (xs[k] - here_x) ** 2 + (ys[k] - here_y) ** 2
                            row_at[n_edges], column[n_edges], gain[n_edges] = r, order[k], limit - square if plain else square
                            n_edges += square < limit
                start[r + 1] = n_edges
            if not plain:
                n_near, n_edges = n_edges, 0
                for r in range(n_live):
                    start[r + 1] = 0
                for e in range(n_near):
                    r, square, j = row_at[e], gain[e], begin + column[e]
                    at = live[r] & ring
                    scale = (motion[r] + 2.0 * (variance[at] + variance[j & ring])) / mean[r]
                    change = brightness[j] - usual[at]
                    value = seen_odds[r] - log_new[level[j]] + normal
                    value += math.log(steps[at] / (math.pi * total[at] * scale * math.sqrt(waits[r])))
                    value -= (steps[at] + 1.0) * math.log(1.0 + square / (scale * total[at]))
                    value -= 0.5 * (tail + 1.0) * math.log(1.0 + change * change / (tail * waits[r]))
                    column[n_edges], gain[n_edges] = column[e], value
                    n_edges += value >= -DOUBT
                    start[r + 1] += value >= -DOUBT
                for r in range(n_live):
                    start[r + 1] += start[r]
            if n_edges > whole.shape[1]:
                whole, real = np.empty((INTEGERS, len(column)), np.int64), np.empty((FLOATS, len(column)))
            edges = start[: n_live + 1], column[:n_edges], gain[:n_edges], row_of[:n], edge_of[:n_live], price[:n]
            assign(*edges, whole, real)
            if not plain:
                weigh(*edges, odds[:n_live], whole, real)
        for j in range(begin, begin + n):
            at, r = j & ring, row_of[j - begin]
            if r < 0:
                previous[j], particle[j], chance[j] = -1, n_particles, 1.0
                n_particles += 1
                if not plain:
                    prior = prior_px2[level[j]]
                    total[at], steps[at], usual[at] = prior, prior_steps, brightness[j]
                    blur[at] = prior_steps * min(4.0 * variance[at], prior / prior_steps)
                continue
            i, last = live[r], live[r] & ring
            previous[j], particle[j], chance[j] = i, particle[i], 1.0 if plain else odds[r]
            if not plain:
                own = 2.0 * (variance[last] + variance[at])
                scale = (motion[r] + own) / mean[r]
                square = (x[at] - x[last]) ** 2 + (y[at] - y[last]) ** 2
                total[at], steps[at], blur[at] = total[last] + square / scale, steps[last] + 1.0, blur[last] + own
                usual[at] = usual[last] + follow * (brightness[j] - usual[last])
        n_kept = 0
        for r in range(n_live):
            live[n_kept] = live[r]
            n_kept += edge_of[r] < 0
        for j in range(begin, begin + n):
            live[n_kept + j - begin] = j
        n_live = n_kept + n
