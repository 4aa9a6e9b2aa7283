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
class Cluster:
    """Displacements from all spots of one frame to all of the next, where those of the same particle lie close together.

    Attributes
    ----------
    x_px, y_px : (n,) displacements near the centre
    pair : (n,) int64, which pair of frames each is of
    mine : (n,) float64, chance that it is of one particle
    centre : x and y of the common displacement
    step_px : RMS displacement about it along an axis, localisation errors in it
    same : number of displacements that are of one particle
    radius_px : how far from the centre they are
    """

    x_px: np.ndarray
    y_px: np.ndarray
    pair: np.ndarray
    mine: np.ndarray
    centre: tuple[float, float]
    step_px: float
    same: float
    radius_px: float


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

    Parameters
    ----------
    pairs : (n,) frames `i` of which ``i + 1`` is the next
    size_px : the shorter side of a frame
    """
    cluster = find_cluster(spots.frame, spots.x_px, spots.y_px, pairs, size_px)
    if cluster is None:
        return None
    return Flow(*cluster.centre, cluster.step_px / np.sqrt(cluster.same), cluster.step_px, cluster.same, *_shake(cluster))


def find_cluster(frame: np.ndarray, x_px: np.ndarray, y_px: np.ndarray, pairs: np.ndarray, size_px: int) -> Cluster | None:
    """Find the displacements of the same particle over pairs of consecutive frames; None where there are too few to tell.

    Displacements to strangers lie evenly about, those of the same particle in a Gaussian about the flow: a mixture of both, by EM,
    needs no links. Where it is crowded this holds on longer than links do.

    Parameters
    ----------
    frame, x_px, y_px : (n,) of the spots, in the order of frames
    pairs, size_px : as for `find_flow`
    """
    reach = min(REACH_PX, size_px / 4)
    pair, x, y = _displacements(frame, x_px, y_px, pairs, reach)
    centre = _peak(x, y, reach)
    if centre is None:
        return None
    near = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 <= (reach / 2) ** 2
    pair, x, y = pair[near], x[near], y[near]
    mine, centre, step = _mixture(x, y, centre, reach / 2)
    same = float(mine.sum())
    return Cluster(x, y, pair, mine, centre, step, same, reach / 2) if same >= FEWEST else None


def _displacements(
    frame: np.ndarray, x_px: np.ndarray, y_px: np.ndarray, pairs: np.ndarray, reach_px: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the pair, the x and the y in px of every displacement within reach."""
    from scipy.spatial import cKDTree

    first, middle, end = (np.searchsorted(frame, pairs + k) for k in range(3))
    here, of_here = _rows(first, middle)
    there, of_there = _rows(middle, end)
    if not (len(here) and len(there)):
        return np.empty(0, np.int64), np.empty(0), np.empty(0)
    # pairs of frames lie out of reach of each other in a third coordinate
    one, other = (cKDTree(np.column_stack([x_px[r], y_px[r], 2 * reach_px * of])) for r, of in ((here, of_here), (there, of_there)))
    close = one.sparse_distance_matrix(other, reach_px, output_type="ndarray")
    i, j = here[close["i"]], there[close["j"]]
    return pairs[of_here[close["i"]]], x_px[j] - x_px[i], y_px[j] - y_px[i]


def _rows(begin: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of several stretches, one after the other, and which stretch each is of."""
    stretch = np.repeat(np.arange(len(begin)), end - begin)
    return np.arange(len(stretch)) + (begin - np.append(0, np.cumsum(end - begin)[:-1]))[stretch], stretch


def _peak(x: np.ndarray, y: np.ndarray, reach_px: float) -> tuple[float, float] | None:
    """Return the displacement about which most lie, None where it does not stand out of chance."""
    from scipy.ndimage import gaussian_filter

    most = int(np.rint(reach_px))
    side = 2 * most + 1
    column, row = np.rint(x).astype(np.int64) + most, np.rint(y).astype(np.int64) + most
    counts = np.bincount(column * side + row, minlength=side * side).reshape(side, side).astype(float)
    smooth = gaussian_filter(counts, PEAK_PX, mode="constant")
    middle = np.arange(-most, most + 1)
    inside = np.hypot(middle[:, None], middle) <= reach_px - 2 * PEAK_PX
    chance = float(np.median(smooth[inside]))
    i, j = np.unravel_index(np.argmax(np.where(inside, smooth, 0)), smooth.shape)
    # a Poisson count seen through the filter keeps 1 / (4 pi s^2) of its variance
    noise = np.sqrt(max(chance, 1 / counts.size) / (4 * np.pi * PEAK_PX**2))
    return (float(middle[i]), float(middle[j])) if smooth[i, j] > chance + SURE * noise else None


def _mixture(x: np.ndarray, y: np.ndarray, centre: tuple[float, float], radius_px: float) -> tuple[np.ndarray, tuple[float, float], float]:
    """Fit ``A N(d; centre, step^2) + B`` within the radius; return each one's chance to be of one particle, centre and step."""
    variance, inside = PEAK_PX**2, np.pi * radius_px**2
    count = 0.5 * len(x)
    mine = np.zeros(len(x))
    square = (x - centre[0]) ** 2 + (y - centre[1]) ** 2
    for _ in range(200):
        strangers = max(len(x) - count, 1e-9) / inside
        of_one = np.exp(square / (-2 * variance)) * (count / (2 * np.pi * variance))
        before, mine = mine, of_one / (of_one + strangers)
        count = max(float(mine.sum()), 1e-9)
        centre = (float(mine @ x) / count, float(mine @ y) / count)
        square = (x - centre[0]) ** 2 + (y - centre[1]) ** 2
        variance = max(float(mine @ square) / (2 * count), 1e-4)
        if np.max(np.abs(mine - before), initial=0.0) < 1e-4:
            break
    return mine, centre, float(np.sqrt(variance))


def _shake(cluster: Cluster) -> tuple[float, float]:
    """Return the RMS of what shakes all particles of a frame alike, and the least that could be seen: 2 standard errors.

    Each pair of frames gets a centre of its own, in the same mixture. The mean displacement of `m` particles scatters by
    ``step^2 / m``; what the centres scatter more, about a parabola in time, is common.
    """
    x, y, mine = cluster.x_px, cluster.y_px, cluster.mine
    number, which = np.unique(cluster.pair, return_inverse=True)
    strangers = (len(x) - mine.sum()) / (len(number) * np.pi * cluster.radius_px**2)
    variance, particles = cluster.step_px**2, float(mine.sum()) / len(number)
    if particles * len(number) < len(number) + FEWEST:
        return 0.0, np.inf
    for _ in range(20):
        m = np.maximum(np.bincount(which, mine), 1e-9)
        centre = [np.bincount(which, mine * along) / m for along in (x, y)]
        left = (x - centre[0][which]) ** 2 + (y - centre[1][which]) ** 2
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
    for along in centre:
        slow = np.polynomial.Polynomial.fit(number[enough], along[enough], 2, w=np.sqrt(m[enough]))
        scatter += float(np.sum((along[enough] - slow(number[enough])) ** 2 / expected)) / (2 * free)
    typical = float(1 / np.mean(1 / expected))
    error = np.sqrt(2 / (2 * free))
    least = float(np.sqrt(2 * error * typical))
    return (float(np.sqrt((scatter - 1) * typical)) if scatter - 1 > 2 * error else 0.0), least
