"""Rows that compete for columns: the best choice of edges, and the chance of each one chosen."""

from __future__ import annotations

import math

import numpy as np
from numba import jit

from nta.kernels import INNER, JIT

DOUBT = 7.0  # ln; a choice e^7 = 1100 times less likely than the best takes nothing from a link's chance
STAGES = 7  # of growing loss, of 1 each
MOST_COLUMNS, MOST_ROWS = 6, 8  # of a group whose choices are summed over
IN_GROUP = -1  # in place of how many rows hear of a column: it is one of a doubtful row's
INTEGERS, FLOATS, LEAST_ROOM = 13, 6, 16  # of the arrays to work in


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


@jit("void(int64[::1], int64[::1], float64[::1], int64[::1], int64[::1], float64[::1], int64[:,::1], float64[:,::1])", **JIT)
def assign(
    start: np.ndarray,
    column: np.ndarray,
    gain: np.ndarray,
    row_of: np.ndarray,
    edge_of: np.ndarray,
    price: np.ndarray,
    whole: np.ndarray,
    real: np.ndarray,
) -> None:
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
    whole, real : (INTEGERS, n) and (FLOATS, n) to work in, n as many as there are edges, or rows and columns together, or more
    """
    n_rows, n_columns, n_beaten = len(start) - 1, len(row_of), 0
    for c in range(n_columns):
        row_of[c], price[c] = -1, 0.0
    beaten, reached, done, edge_to, row_to, scanned, item = whole[0], whole[1], whole[2], whole[3], whole[4], whole[5], whole[6]
    far, key = real[0], real[1]
    # the first come have what they like best, which paths from those who are beaten to it put right
    for row in range(n_rows):
        own, best = 0.0, -1
        for e in range(start[row], start[row + 1]):
            if gain[e] > own:
                own, best = gain[e], e
        edge_of[row] = best
        if best >= 0:
            if row_of[column[best]] < 0:
                row_of[column[best]] = row
            else:
                edge_of[row], beaten[n_beaten] = -1, row
                n_beaten += 1
    if n_beaten == 0:
        return
    for c in range(n_columns):
        reached[c], done[c] = -1, -1
    for b in range(n_beaten):
        root = beaten[b]
        own = 0.0
        for e in range(start[root], start[root + 1]):
            own = max(own, gain[e] - price[column[e]])
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


@jit("void(int64, int64[::1], int64[::1], int64[::1], int64[:,::1], float64[:,::1], float64[:,::1], float64[:,::1], float64[::1])", **INNER)
def _sum_over_group(
    root: int,
    start: np.ndarray,
    column: np.ndarray,
    edge_of: np.ndarray,
    whole: np.ndarray,
    real: np.ndarray,
    forward: np.ndarray,
    backward: np.ndarray,
    chance: np.ndarray,
) -> None:
    """Write the chance of each edge chosen in a group, summed over all choices within it, as `weigh` left them in `whole` and `real`.

    ``forward[r, s]`` is the weight of all choices of the group's first `r` rows that take the set `s` of its columns, `backward` that of
    the later rows, and of the columns that stay free, where the set `s` is taken before.
    """
    parent, member, head, after, place = whole[2], whole[5], whole[8], whole[9], whole[10]
    loss, likely, alone, spare = real[0], real[1], real[2], real[3]
    n_rows = len(start) - 1
    n, k, node, now = 0, 0, head[root], 0
    backward[0, 0] = 1.0
    while node >= 0:
        if node < n_rows:
            member[n] = node
            n += 1
        else:
            place[node - n_rows] = k
            for s in range(1 << k):
                backward[0, s + (1 << k)] = backward[0, s]
                backward[0, s] *= spare[node - n_rows]
            k += 1
        node = after[node]
    sets = 1 << k
    for s in range(sets):
        forward[0, s] = 0.0
    forward[0, 0] = 1.0
    for r in range(n):
        row = member[r]
        for s in range(sets):
            forward[r + 1, s] = forward[r, s] * alone[row]
        for e in range(start[row], start[row + 1]):
            if loss[e] < DOUBT and parent[n_rows + column[e]] == root:
                taken = 1 << place[column[e]]
                for s in range(sets):
                    if s & taken:
                        forward[r + 1, s] += forward[r, s - taken] * likely[e]
    for r in range(n - 1, -1, -1):
        row = member[r]
        total, with_it = 0.0, 0.0
        for s in range(sets):
            total += forward[r + 1, s] * backward[now, s]
            backward[1 - now, s] = backward[now, s] * alone[row]
        for e in range(start[row], start[row + 1]):
            if loss[e] < DOUBT and parent[n_rows + column[e]] == root:
                taken = 1 << place[column[e]]
                own = 0.0
                for s in range(sets):
                    if s & taken:
                        backward[1 - now, s - taken] += backward[now, s] * likely[e]
                        own += forward[r, s - taken] * backward[now, s]
                if e == edge_of[row]:
                    with_it = own * likely[e]
        if edge_of[row] >= 0:
            chance[row] = with_it / total
        now = 1 - now


@jit("void(int64[::1], int64[::1], float64[::1], int64[::1], int64[::1], float64[::1], float64[::1], int64[:,::1], float64[:,::1])", **JIT)
def weigh(
    start: np.ndarray,
    column: np.ndarray,
    gain: np.ndarray,
    row_of: np.ndarray,
    edge_of: np.ndarray,
    price: np.ndarray,
    chance: np.ndarray,
    whole: np.ndarray,
    real: np.ndarray,
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
    whole, real : as for `assign`
    """
    n_rows, n_columns = len(start) - 1, len(row_of)
    heard, doubtful, parent, rows, columns, near, near_row = whole[0], whole[1], whole[2], whole[3], whole[4], whole[5], whole[6]
    staged, head, after, said, stage_end = whole[7], whole[8], whole[9], whole[11], whole[12]
    # what a row has, and a column, when it is not taken within its group, at first without other groups' rivals
    loss, likely, alone, spare, unused, unclaimed = real[0], real[1], real[2], real[3], real[4], real[5]
    for c in range(n_columns):
        heard[c] = 0
    # the edges that count are listed, written before it is known that they do: no branches to be guessed
    n_near = 0
    for row in range(n_rows):
        e, said[row] = edge_of[row], 0
        own = 0.0 if e < 0 else gain[e] - price[column[e]]
        for e in range(start[row], start[row + 1]):
            loss[e] = max(own - (gain[e] - price[column[e]]), 0.0)
            near[n_near], near_row[n_near] = e, row
            n_near += loss[e] < DOUBT
            heard[column[e]] += loss[e] < DOUBT
    for i in range(n_near):
        said[near_row[i]] += heard[column[near[i]]]
    # a row is sure that hears of one column, of which no other hears; of the others alone the edges are kept
    n_doubtful, n_all, n_near = 0, n_near, 0
    for row in range(n_rows):
        doubtful[n_doubtful] = row
        n_doubtful += said[row] > 1
        if edge_of[row] >= 0:
            chance[row] = 1.0 / (1.0 + math.exp(-gain[edge_of[row]]))
    for i in range(n_all):
        near[n_near], near_row[n_near] = near[i], near_row[i]
        n_near += said[near_row[i]] > 1
    if n_doubtful == 0:
        return
    for stage in range(STAGES + 1):
        stage_end[stage] = 0
    for d in range(n_doubtful):
        row = doubtful[d]
        parent[row], rows[row], columns[row], alone[row], head[row] = row, 1, 0, 1.0, -1
    for i in range(n_near):
        e, c = near[i], column[near[i]]
        likely[e] = math.exp(-loss[e])
        stage_end[int(loss[e]) + 1] += 1
        parent[n_rows + c], rows[n_rows + c], columns[n_rows + c], spare[c], heard[c] = n_rows + c, 0, 1, 1.0, IN_GROUP
    for stage in range(STAGES):
        stage_end[stage + 1] += stage_end[stage]
    for i in range(n_near - 1, -1, -1):
        stage = int(loss[near[i]]) + 1
        stage_end[stage] -= 1
        staged[stage_end[stage]] = i
    for d in range(n_doubtful):
        row, e = doubtful[d], edge_of[doubtful[d]]
        if e >= 0:
            c = column[e]
            alone[row], spare[c] = math.exp(price[c] - gain[e]), math.exp(-price[c])
            parent[n_rows + c], columns[row], columns[n_rows + c] = row, 1, 0
        unused[row] = alone[row]
    for k in range(n_near):
        row, c = near_row[staged[k]], column[near[staged[k]]]
        unclaimed[c] = spare[c]
        a, b = _root(parent, row), _root(parent, n_rows + c)
        if a != b and rows[a] + rows[b] <= MOST_ROWS and columns[a] + columns[b] <= MOST_COLUMNS:
            parent[b] = a
            rows[a] += rows[b]
            columns[a] += columns[b]
    for i in range(n_near):
        # from here on every node knows its root
        row, c = near_row[i], column[near[i]]
        parent[row], parent[n_rows + c] = _root(parent, row), _root(parent, n_rows + c)
    for i in range(n_near):
        e, row, c = near[i], near_row[i], column[near[i]]
        if parent[row] != parent[n_rows + c]:
            alone[row] += likely[e] * (1.0 if row_of[c] < 0 else unused[row_of[c]])
            spare[c] += likely[e] * (1.0 if edge_of[row] < 0 else unclaimed[column[edge_of[row]]])
    # the nodes of each group in a row, its rows before its columns
    for c in range(n_columns - 1, -1, -1):
        if heard[c] == IN_GROUP and parent[n_rows + c] < n_rows:
            root = parent[n_rows + c]
            after[n_rows + c], head[root] = head[root], n_rows + c
    for d in range(n_doubtful - 1, -1, -1):
        row = doubtful[d]
        after[row], head[parent[row]] = head[parent[row]], row
    forward, backward = np.empty((MOST_ROWS + 1, 1 << MOST_COLUMNS)), np.empty((2, 1 << MOST_COLUMNS))
    for d in range(n_doubtful):
        root = doubtful[d]
        if parent[root] != root or columns[root] == 0:
            continue
        if rows[root] == 1 and columns[root] == 1:
            e = edge_of[root]
            if e >= 0:
                chance[root] = 1.0 / (1.0 + alone[root] * spare[column[e]])
            continue
        _sum_over_group(root, start, column, edge_of, whole, real, forward, backward, chance)
