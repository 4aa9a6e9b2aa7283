"""Spots to tracks: candidates on a uniform grid, the best assignment of each frame, the chance of each link."""

from __future__ import annotations

import math

import numpy as np
from numba import jit

from nta.kernels import INNER, JIT

STAGES, STEP = 7, 1.0  # ln; a choice e^7 = 1100 times less likely than the best takes nothing from a link's chance
MOST_COLUMNS, MOST_ROWS = 6, 8  # of a group whose choices are summed over
LEAST_MOTION = 0.1  # of a track's mean squared step; the error of its spots may be thought larger than it is


@jit("int64(float64[::1], int64[::1], int64, float64, int64)", **INNER)
def _push(key: np.ndarray, item: np.ndarray, n: int, new_key: float, new_item: int) -> int:
    """Add to a binary heap of `n` items, the smallest first; return how many there are."""
    at = n
    while at > 0 and key[(at - 1) // 2] > new_key:
        key[at], item[at] = key[(at - 1) // 2], item[(at - 1) // 2]
        at = (at - 1) // 2
    key[at], item[at] = new_key, new_item
    return n + 1


@jit("int64(float64[::1], int64[::1], int64)", **INNER)
def _pop(key: np.ndarray, item: np.ndarray, n: int) -> int:
    """Take the first off a binary heap of `n` items; return how many are left."""
    n -= 1
    last_key, last_item = key[n], item[n]
    at, child = 0, 1
    while child < n:
        if child + 1 < n and key[child + 1] < key[child]:
            child += 1
        if key[child] >= last_key:
            break
        key[at], item[at] = key[child], item[child]
        at, child = child, 2 * child + 1
    key[at], item[at] = last_key, last_item
    return n


@jit("void(int64[::1], int64[::1], float64[::1], int64[::1], int64[::1], float64[::1])", **JIT)
def assign(start: np.ndarray, column: np.ndarray, gain: np.ndarray, row_of: np.ndarray, edge_of: np.ndarray, price: np.ndarray) -> None:
    """Choose edges of the largest total gain, at most one in a row and in a column; exact.

    Shortest augmenting paths (Jonker & Volgenant 1987) over sparse rows, by Dijkstra's algorithm with a heap. A row may stay without an
    edge, at no gain: a path ends at the first row that is better off so or at the first free column, and stays within its neighbourhood.

    Parameters
    ----------
    start : (rows + 1,) the edges of row `i` are ``start[i]:start[i + 1]``
    column, gain : (edges,) those of gains of 0 or less are never chosen
    row_of : (columns,) written: the row of each column, -1 where it stays free
    edge_of : (rows,) written: the edge of each row, -1 where it has none
    price : (columns,) written: what the best rival would gain by each column (the dual solution), 0 where it is free
    """
    price[:] = 0.0
    far = np.empty(len(row_of))
    reached = np.full(len(row_of), -1, np.int64)
    edge_to, row_to = np.empty(len(row_of), np.int64), np.empty(len(row_of), np.int64)
    scanned, done = np.empty(len(row_of), np.int64), np.full(len(row_of), -1, np.int64)
    key, item = np.empty(len(column)), np.empty(len(column), np.int64)
    row_of[:] = -1
    edge_of[:] = -1
    for root in range(len(start) - 1):
        own, best = 0.0, -1
        for e in range(start[root], start[root + 1]):
            if gain[e] - price[column[e]] > own:
                own, best = gain[e] - price[column[e]], e
        if best < 0:
            continue
        if row_of[column[best]] < 0:
            row_of[column[best]], edge_of[root] = root, best
            continue
        row, here, n_scanned, n = root, 0.0, 0, 0
        shortest, end_row, end_column = own, root, -1
        while True:
            if here + own < shortest:
                shortest, end_row, end_column = here + own, row, -1
            for e in range(start[row], start[row + 1]):
                c = column[e]
                away = here + own - (gain[e] - price[c])
                if away < shortest and done[c] != root and (reached[c] != root or away < far[c]):
                    far[c], reached[c], edge_to[c], row_to[c] = away, root, e, row
                    if row_of[c] < 0:
                        shortest, end_column = away, c
                    else:
                        n = _push(key, item, n, away, c)
            while n > 0 and key[0] > far[item[0]]:
                n = _pop(key, item, n)  # reached on a shorter way since
            if n == 0 or key[0] >= shortest:
                break
            c, here = item[0], key[0]
            n = _pop(key, item, n)
            scanned[n_scanned], done[c] = c, root
            n_scanned += 1
            row = row_of[c]
            own = gain[edge_of[row]] - price[c]
        for i in range(n_scanned):
            price[scanned[i]] += shortest - far[scanned[i]]
        if end_column < 0 and end_row == root:
            continue
        c = end_column
        if c < 0:
            c = column[edge_of[end_row]]
            edge_of[end_row] = -1
        while True:
            row = row_to[c]
            left = -1 if row == root else column[edge_of[row]]
            row_of[c], edge_of[row] = row, edge_to[c]
            if row == root:
                break
            c = left


@jit("int64(int64[::1], int64)", **INNER)
def _root(parent: np.ndarray, node: int) -> int:
    """Return the root of a node in a forest, whose paths are halved on the way."""
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


@jit("void(int64[::1], int64[::1], float64[::1], int64[::1], int64[::1], float64[::1], float64[::1])", **JIT)
def weigh(
    start: np.ndarray, column: np.ndarray, gain: np.ndarray, row_of: np.ndarray, edge_of: np.ndarray, price: np.ndarray, chance: np.ndarray
) -> None:
    """Write the chance of each edge chosen, where any choice of edges is as likely as the exponential of its total gain.

    An edge's loss is what the best choice that has it is short of the best of all, at least: what its row would have less, at the prices
    of `assign`. Rows and columns are put together by edges of growing loss, up to `MOST_COLUMNS` and `MOST_ROWS`, and choices within each
    group are summed over exactly: row by row, over all sets of columns taken. An edge between groups counts on both sides as if who
    is left by it went without. (Belief propagation, Williams & Lau 2014, is sure of the best of two rows that could exchange their
    columns, however close the other way.)

    Parameters
    ----------
    start, column, gain, row_of, edge_of, price : as given to and left by `assign`
    chance : (rows,) written where a row has an edge
    """
    n_rows, n_columns = len(start) - 1, len(row_of)
    n_nodes = n_rows + n_columns
    alone, spare = np.ones(n_rows), np.ones(n_columns)
    loss, heard = np.empty(len(column)), np.zeros(n_columns, np.int64)
    for row in range(n_rows):
        e = edge_of[row]
        own = 0.0 if e < 0 else gain[e] - price[column[e]]
        for e in range(start[row], start[row + 1]):
            loss[e] = max(own - (gain[e] - price[column[e]]), 0.0)
            if loss[e] < STAGES * STEP:
                heard[column[e]] += 1
    parent = np.arange(n_nodes)
    rows, columns = np.zeros(n_nodes, np.int64), np.zeros(n_nodes, np.int64)
    doubtful, n_doubtful = np.empty(n_rows, np.int64), 0
    for row in range(n_rows):
        said = 0
        for e in range(start[row], start[row + 1]):
            if loss[e] < STAGES * STEP:
                said += heard[column[e]]
        e = edge_of[row]
        if said == 1 and e >= 0:
            chance[row] = 1.0 / (1.0 + math.exp(-gain[e]))
        if said <= 1:
            continue
        doubtful[n_doubtful], rows[row] = row, 1
        n_doubtful += 1
        if e >= 0:
            # what a row has, and a column, when it is not taken within its group
            alone[row], spare[column[e]] = math.exp(price[column[e]] - gain[e]), math.exp(-price[column[e]])
            parent[n_rows + column[e]], columns[row] = row, 1
    for d in range(n_doubtful):
        row = doubtful[d]
        for e in range(start[row], start[row + 1]):
            if row_of[column[e]] < 0:
                columns[n_rows + column[e]] = 1
    for stage in range(STAGES):
        for d in range(n_doubtful):
            row = doubtful[d]
            for e in range(start[row], start[row + 1]):
                if stage * STEP <= loss[e] < (stage + 1) * STEP:
                    a, b = _root(parent, row), _root(parent, n_rows + column[e])
                    if a != b and rows[a] + rows[b] <= MOST_ROWS and columns[a] + columns[b] <= MOST_COLUMNS:
                        parent[b] = a
                        rows[a] += rows[b]
                        columns[a] += columns[b]
    unused, unclaimed = alone.copy(), spare.copy()
    for d in range(n_doubtful):
        row = doubtful[d]
        for e in range(start[row], start[row + 1]):
            c = column[e]
            if loss[e] < STAGES * STEP and _root(parent, row) != _root(parent, n_rows + c):
                likely = math.exp(-loss[e])
                alone[row] += likely * (1.0 if row_of[c] < 0 else unused[row_of[c]])
                spare[c] += likely * (1.0 if edge_of[row] < 0 else unclaimed[column[edge_of[row]]])
    # the nodes of each group in a row, its rows before its columns
    head, after = np.full(n_nodes, -1, np.int64), np.full(n_nodes, -1, np.int64)
    for node in range(n_nodes - 1, -1, -1):
        root = _root(parent, node)
        after[node], head[root] = head[root], node
    place = np.empty(n_columns, np.int64)
    forward, backward = np.empty((MOST_ROWS + 1, 1 << MOST_COLUMNS)), np.empty((2, 1 << MOST_COLUMNS))
    member = np.empty(MOST_ROWS, np.int64)
    for root in range(n_nodes):
        if parent[root] != root or rows[root] == 0 or columns[root] == 0:
            continue
        if rows[root] == 1 and columns[root] == 1:
            row = head[root]
            if edge_of[row] >= 0:
                chance[row] = 1.0 / (1.0 + alone[row] * spare[column[edge_of[row]]])
            continue
        n, k, node = 0, 0, head[root]
        sets = 1 << columns[root]
        last = backward[0]
        last[0] = 1.0
        while node >= 0:
            if node < n_rows:
                member[n] = node
                n += 1
            else:
                place[node - n_rows] = k
                for s in range(1 << k):
                    last[s | 1 << k] = last[s]
                    last[s] *= spare[node - n_rows]
                k += 1
            node = after[node]
        forward[0, :sets] = 0.0
        forward[0, 0] = 1.0
        for r in range(n):
            row = member[r]
            for s in range(sets):
                forward[r + 1, s] = forward[r, s] * alone[row]
            for e in range(start[row], start[row + 1]):
                if loss[e] < STAGES * STEP and _root(parent, n_rows + column[e]) == root:
                    bit, weight = 1 << place[column[e]], math.exp(-loss[e])
                    for s in range(sets):
                        if s & bit == 0:
                            forward[r + 1, s | bit] += forward[r, s] * weight
        for r in range(n - 1, -1, -1):
            row = member[r]
            now, before = backward[(n - 1 - r) % 2], backward[(n - r) % 2]
            for s in range(sets):
                before[s] = now[s] * alone[row]
            whole, with_it = 0.0, 0.0
            for s in range(sets):
                whole += forward[r + 1, s] * now[s]
            for e in range(start[row], start[row + 1]):
                if loss[e] < STAGES * STEP and _root(parent, n_rows + column[e]) == root:
                    bit, weight = 1 << place[column[e]], math.exp(-loss[e])
                    for s in range(sets):
                        if s & bit == 0:
                            before[s] += now[s | bit] * weight
                            if e == edge_of[row]:
                                with_it += forward[r, s] * weight * now[s | bit]
            if edge_of[row] >= 0:
                chance[row] = with_it / whole


@jit("int64(float64[::1], float64[::1], int64, int64, float64, float64[::1], int64[::1], int64[::1], float64[::1], float64[::1])", **INNER)
def bin_spots(
    x: np.ndarray,
    y: np.ndarray,
    begin: int,
    end: int,
    least: float,
    grid: np.ndarray,
    bound: np.ndarray,
    order: np.ndarray,
    xs: np.ndarray,
    ys: np.ndarray,
) -> int:
    """Sort the spots ``begin:end`` into the cells of a grid, as many as there are spots or of the side `least`, and return its columns.

    Those of cell `c` are ``order[bound[c]:bound[c + 1]]``, at `xs` and `ys`; `grid` is written: left, top, side of a cell, rows.
    """
    n = end - begin
    left, top, right, bottom = x[begin], y[begin], x[begin], y[begin]
    for j in range(begin, end):
        left, right = min(left, x[j]), max(right, x[j])
        top, bottom = min(top, y[j]), max(bottom, y[j])
    wide, high = right - left, bottom - top
    side = max(least, math.sqrt(wide * high / n), max(wide, high) / n, 1e-9)
    rows, columns = int(high / side) + 1, int(wide / side) + 1
    grid[0], grid[1], grid[2], grid[3] = left, top, side, float(rows)
    cells = rows * columns
    for c in range(cells + 1):
        bound[c] = 0
    for j in range(begin, end):
        bound[int((y[j] - top) / side) * columns + int((x[j] - left) / side)] += 1
    for c in range(1, cells + 1):
        bound[c] += bound[c - 1]
    for j in range(end - 1, begin - 1, -1):
        # each cell is filled from its end, and its bound comes to its first
        c = int((y[j] - top) / side) * columns + int((x[j] - left) / side)
        k = bound[c] - 1
        bound[c], order[k], xs[k], ys[k] = k, j, x[j], y[j]
    return columns


@jit("Tuple((int64[::1], float64[::1]))(int64[::1], float64[::1], int64, int64)", **INNER)
def _longer(column: np.ndarray, gain: np.ndarray, n: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Return both with room for `length`, the first `n` kept."""
    new_column, new_gain = np.empty(length, np.int64), np.empty(length)
    for e in range(n):
        new_column[e], new_gain[e] = column[e], gain[e]
    return new_column, new_gain


@jit(
    "void(float64[::1], float64[::1], float64[::1], float64[::1], float64[::1], float64[:,::1], float64[::1], int64[::1], int64[::1], "
    "float64[::1], float64, float64, float64, boolean, int64[::1], int64[::1], float64[::1])",
    **JIT,
)
def link(
    x_px: np.ndarray,
    y_px: np.ndarray,
    variance_px2: np.ndarray,
    brightness: np.ndarray,
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
    x_px, y_px : (n,) in the order of frames, common motion taken off
    variance_px2 : (n,) of the position along an axis
    brightness : (n,) in units of the scale of its change
    prior_px2 : (n,) of a track that begins with the spot
    log_odds : (gap + 1, n) ln of the odds that a track that ends with the spot is seen 1, 2 ... frames later, not having been before
    log_new : (n,) ln of the density, per px^2 and unit of brightness, of new particles like the spot
    first, time : (frames + 1,) and (frames,) where the spots of a frame begin, and when it was taken
    gate_px : the longest step over 1, 2 ... units of time, the last one for any longer
    follow : share by which a track's brightness goes along with its next spot
    plain : gains are ``gate^2 - r^2`` instead: the least sum of squared steps
    previous : (n,) written: the spot before in the track, -1 for a track's first
    particle : (n,) written: number of the track, by its first spot
    chance : (n,) written: chance that the link to the spot before is right; 1 for a track's first
    """
    n_frames, gap = len(time), len(log_odds) - 1
    n_spots = len(x_px)
    total, steps, blur, level = np.empty(n_spots), np.empty(n_spots), np.empty(n_spots), np.empty(n_spots)
    seen = np.empty(n_spots, np.int64)
    live = np.empty(n_spots, np.int64)
    n_live, n_particles = 0, 0
    column, gain = np.empty(64, np.int64), np.empty(64)
    most = 0
    for f in range(n_frames):
        most = max(most, first[f + 1] - first[f])
    # a grid has a cell a spot, more where rows or columns are not filled
    grid, bound = np.empty(4), np.empty(4 * most + 4, np.int64)
    order, xs, ys = np.empty(most, np.int64), np.empty(most), np.empty(most)
    finest, coarsest, newest = variance_px2[0], variance_px2[0], log_new[0]
    for j in range(n_spots):
        finest, coarsest = min(finest, variance_px2[j]), max(coarsest, variance_px2[j])
        newest = min(newest, log_new[j])
    normal = math.lgamma(0.5 * (tail + 1.0)) - math.lgamma(0.5 * tail) - 0.5 * math.log(math.pi * tail)
    for f in range(n_frames):
        begin, n = first[f], first[f + 1] - first[f]
        n_kept = 0
        for r in range(n_live):
            if f - seen[live[r]] <= gap + 1:
                live[n_kept] = live[r]
                n_kept += 1
        n_live = n_kept
        start = np.zeros(n_live + 1, np.int64)
        row_of, edge_of = np.full(n, -1, np.int64), np.full(n_live, -1, np.int64)
        if n > 0 and n_live > 0:
            n_columns = bin_spots(x_px, y_px, begin, begin + n, 0.5 * gate_px[0], grid, bound, order, xs, ys)
            left, top, side, n_rows = grid[0], grid[1], grid[2], int(grid[3])
            crowded = n > n_rows * n_columns
            n_edges = 0
            for r in range(n_live):
                i = live[r]
                lapse = time[f] - time[seen[i]]
                gate = gate_px[min(lapse, len(gate_px)) - 1]
                waited = f - seen[i]
                limit, mean, motion = gate * gate, 1.0, 0.0
                if not plain:
                    mean = total[i] / steps[i]
                    motion = max(mean - blur[i] / steps[i], LEAST_MOTION * mean) * lapse
                    if crowded:
                        # no step beyond is worth a thought, however alike the spot
                        widest = motion + 2.0 * (variance_px2[i] + coarsest)
                        density = steps[i] / (math.pi * total[i]) * mean / (motion + 2.0 * (variance_px2[i] + finest))
                        room = (log_odds[waited - 1, i] + math.log(density) + normal - newest + STAGES * STEP) / (steps[i] + 1.0)
                        limit = min(limit, (math.exp(max(room, 0.0)) - 1.0) * widest * steps[i])
                        gate = math.sqrt(limit)
                column_0 = max(int(math.floor((x_px[i] - gate - left) / side)), 0)
                column_1 = min(int(math.floor((x_px[i] + gate - left) / side)), n_columns - 1)
                row_0 = max(int(math.floor((y_px[i] - gate - top) / side)), 0)
                row_1 = min(int(math.floor((y_px[i] + gate - top) / side)), n_rows - 1)
                if column_0 > column_1:
                    row_1 = row_0 - 1
                room_for = n_edges
                for row in range(row_0, row_1 + 1):
                    room_for += bound[row * n_columns + column_1 + 1] - bound[row * n_columns + column_0]
                if room_for > len(column):
                    column, gain = _longer(column, gain, n_edges, 2 * room_for)
                for row in range(row_0, row_1 + 1):
                    for k in range(bound[row * n_columns + column_0], bound[row * n_columns + column_1 + 1]):
                        square = (xs[k] - x_px[i]) ** 2 + (ys[k] - y_px[i]) ** 2
                        if square >= limit:
                            continue
                        value = limit - square
                        if not plain:
                            j = order[k]
                            scale = (motion + 2.0 * (variance_px2[i] + variance_px2[j])) / mean
                            change = brightness[j] - level[i]
                            value = log_odds[waited - 1, i] - log_new[j] + normal
                            value += math.log(steps[i] / (math.pi * total[i] * scale * math.sqrt(float(waited))))
                            value -= (steps[i] + 1.0) * math.log(1.0 + square / (scale * total[i]))
                            value -= 0.5 * (tail + 1.0) * math.log(1.0 + change * change / (tail * waited))
                            if value < -STAGES * STEP:
                                continue
                        column[n_edges], gain[n_edges] = order[k] - begin, value
                        n_edges += 1
                start[r + 1] = n_edges
            price, odds = np.empty(n), np.ones(n_live)
            assign(start, column[:n_edges], gain[:n_edges], row_of, edge_of, price)
            if not plain:
                weigh(start, column[:n_edges], gain[:n_edges], row_of, edge_of, price, odds)
            for j in range(n):
                if row_of[j] >= 0:
                    chance[begin + j] = odds[row_of[j]]
        for j in range(begin, begin + n):
            seen[j] = f
            if row_of[j - begin] < 0:
                previous[j], particle[j], chance[j] = -1, n_particles, 1.0
                n_particles += 1
                total[j], steps[j], level[j] = prior_px2[j], prior_steps, brightness[j]
                blur[j] = prior_steps * min(4.0 * variance_px2[j], prior_px2[j] / prior_steps)
                continue
            i = live[row_of[j - begin]]
            previous[j], particle[j] = i, particle[i]
            mean, known = total[i] / steps[i], blur[i] / steps[i]
            own = 2.0 * (variance_px2[i] + variance_px2[j])
            scale = (max(mean - known, LEAST_MOTION * mean) * (time[f] - time[seen[i]]) + own) / mean
            square = (x_px[j] - x_px[i]) ** 2 + (y_px[j] - y_px[i]) ** 2
            total[j], steps[j], blur[j] = total[i] + square / scale, steps[i] + 1.0, blur[i] + own
            level[j] = level[i] + follow * (brightness[j] - level[i])
        n_kept = 0
        for r in range(n_live):
            if edge_of[r] < 0:
                live[n_kept] = live[r]
                n_kept += 1
        for j in range(begin, begin + n):
            live[n_kept] = j
            n_kept += 1
        n_live = n_kept
