"""Spots of pairs of frames -> Flow: the common motion, the typical step about it, and what shakes the picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nta.spots import Spots

REACH_PX = 64.0  # displacements looked at; a flow of half of it a frame is found
PEAK_PX = 3.0  # smoothing in which the flow is looked for first: a typical step
SURE = 5.0  # standard deviations by which the peak must stand out of chance
FEWEST = 10.0  # displacements of the same particle, of all pairs together
FEWEST_PAIRS = 5  # beyond the parabola's three


@dataclass(frozen=True)
class Flow:
    """How particles move from a frame to the next, from displacements of all spots of one frame to all of the next.

    Attributes
    ----------
    x_px, y_px : common displacement a frame
    sd_px : its standard error, along an axis
    step_px : RMS displacement about it along an axis, localisation errors in it
    same : number of displacements that are of one particle
    shake_px : RMS along an axis of what moves all particles of a frame alike, beyond a slow change; 0 where none was seen
    shake_least_px : what could have been seen
    """

    x_px: float
    y_px: float
    sd_px: float
    step_px: float
    same: float
    shake_px: float
    shake_least_px: float


def find_flow(spots: Spots, pairs: np.ndarray, size_px: int) -> Flow | None:
    """Measure the flow over pairs of consecutive frames; None where too few particles are seen twice to tell.

    Displacements to strangers lie evenly about, those of the same particle in a Gaussian about the flow: a mixture of both, by EM,
    needs no links. Where it is crowded this holds on longer than links do.

    Parameters
    ----------
    pairs : (n,) frames `i` of which ``i + 1`` is the next
    size_px : the shorter side of a frame
    """
    reach = min(REACH_PX, size_px / 4)
    pair, d = _displacements(spots, pairs, reach)
    centre = _peak(d, reach)
    if centre is None:
        return None
    near = np.hypot(*(d - centre).T) <= reach / 2
    pair, d = pair[near], d[near]
    mine, centre, step = _mixture(d, centre, reach / 2)
    same = float(mine.sum())
    if same < FEWEST:
        return None
    shake, least = _shake(pair, d, mine, step, reach / 2)
    return Flow(float(centre[0]), float(centre[1]), step / np.sqrt(same), step, same, shake, least)


def _displacements(spots: Spots, pairs: np.ndarray, reach_px: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the pair, (n,), and the x and y in px, (n, 2), of every displacement within reach."""
    from scipy.spatial import cKDTree

    start = np.searchsorted(spots.frame, np.arange(spots.n_frames + 1))
    place = np.column_stack([spots.x_px, spots.y_px])
    numbers, found = [np.empty(0, np.int64)], [np.empty((0, 2))]
    for i in pairs:
        here, there = place[start[i] : start[i + 1]], place[start[i + 1] : start[i + 2]]
        if len(here) and len(there):
            close = cKDTree(here).sparse_distance_matrix(cKDTree(there), reach_px, output_type="ndarray")
            found.append(there[close["j"]] - here[close["i"]])
            numbers.append(np.full(len(close), i))
    return np.concatenate(numbers), np.concatenate(found)


def _peak(d: np.ndarray, reach_px: float) -> np.ndarray | None:
    """Return the displacement about which most lie, None where it does not stand out of chance."""
    from scipy.ndimage import gaussian_filter

    edges = np.arange(-np.floor(reach_px) - 0.5, reach_px + 1)
    counts = np.histogram2d(d[:, 0], d[:, 1], [edges, edges])[0]
    smooth = gaussian_filter(counts, PEAK_PX, mode="constant")
    middle = (edges[1:] + edges[:-1]) / 2
    inside = np.hypot(middle[:, None], middle) <= reach_px - 2 * PEAK_PX
    chance = float(np.median(smooth[inside]))
    i, j = np.unravel_index(np.argmax(np.where(inside, smooth, 0)), smooth.shape)
    # a Poisson count seen through the filter keeps 1 / (4 pi s^2) of its variance
    noise = np.sqrt(max(chance, 1 / counts.size) / (4 * np.pi * PEAK_PX**2))
    return np.array([middle[i], middle[j]]) if smooth[i, j] > chance + SURE * noise else None


def _mixture(d: np.ndarray, centre: np.ndarray, radius_px: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Fit ``A N(d; centre, step^2) + B`` within the radius; return each one's chance to be of one particle, centre and step."""
    variance, inside = PEAK_PX**2, np.pi * radius_px**2
    count = 0.5 * len(d)
    mine = np.zeros(len(d))
    for _ in range(200):
        strangers = max(len(d) - count, 1e-9) / inside
        of_one = count * np.exp(-np.sum((d - centre) ** 2, axis=1) / (2 * variance)) / (2 * np.pi * variance)
        before, mine = mine, of_one / (of_one + strangers)
        count = max(float(mine.sum()), 1e-9)
        centre = mine @ d / count
        variance = max(float(mine @ np.sum((d - centre) ** 2, axis=1)) / (2 * count), 1e-4)
        if np.max(np.abs(mine - before), initial=0.0) < 1e-4:
            break
    return mine, centre, float(np.sqrt(variance))


def _shake(pair: np.ndarray, d: np.ndarray, mine: np.ndarray, step_px: float, radius_px: float) -> tuple[float, float]:
    """Return the RMS of what shakes all particles of a frame alike, and the least that could be seen: 2 standard errors.

    Each pair of frames gets a centre of its own, in the same mixture. The mean displacement of `m` particles scatters by
    ``step^2 / m``; what the centres scatter more, about a parabola in time, is common.
    """
    number, which = np.unique(pair, return_inverse=True)
    strangers = (len(d) - mine.sum()) / (len(number) * np.pi * radius_px**2)
    variance, particles = step_px**2, float(mine.sum()) / len(number)
    if particles * len(number) < len(number) + FEWEST:
        return 0.0, np.inf
    for _ in range(20):
        m = np.maximum(np.bincount(which, mine), 1e-9)
        centre = np.column_stack([np.bincount(which, mine * d[:, axis]) / m for axis in (0, 1)])
        left = np.sum((d - centre[which]) ** 2, axis=1)
        variance = float(mine @ left) / (2 * (mine.sum() - len(number)))  # a pair's centre takes one particle's worth of scatter
        of_one = particles * np.exp(-left / (2 * variance)) / (2 * np.pi * variance)
        mine = of_one / (of_one + strangers)
    enough = m > 1
    free = int(enough.sum()) - 3
    if free < FEWEST_PAIRS:
        return 0.0, np.inf
    # a centre's variance in a mixture, by the sandwich of slope and scatter of its score (Huber 1967): strangers add to step^2 / m
    slope = float(np.sum(mine * (1 - (1 - mine) * left / (2 * variance))))
    spread = float(np.sum(mine**2 * left)) / (2 * variance) * m.sum() / (m.sum() - len(number))
    expected = variance / m[enough] * spread * m.sum() / slope**2
    scatter = 0.0
    for axis in (0, 1):
        slow = np.polynomial.Polynomial.fit(number[enough], centre[enough, axis], 2, w=np.sqrt(m[enough]))
        scatter += float(np.sum((centre[enough, axis] - slow(number[enough])) ** 2 / expected)) / (2 * free)
    typical = float(1 / np.mean(1 / expected))
    error = np.sqrt(2 / (2 * free))
    least = float(np.sqrt(2 * error * typical))
    return (float(np.sqrt((scatter - 1) * typical)) if scatter - 1 > 2 * error else 0.0), least
