"""Who else finds spots in frames, all called the same way and tuned by the same rule: the best F1 on frames they are not judged by.

A peer has a grid of options and gives spots with a rank; the rank to stop at is tuned with them. trackpy is there three times: tuned as it
is mostly run, tuned and made as fast as it can be, and with its defaults. A peer whose package is missing is left out, and named.
"""

from __future__ import annotations

import itertools
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import bench
import numpy as np
from scenes import Film
from scipy.ndimage import gaussian_filter, gaussian_laplace
from scipy.optimize import linear_sum_assignment
from scipy.sparse.csgraph import maximum_bipartite_matching
from scipy.spatial import KDTree

from nta.settings import Settings
from nta.spots import Spots, find_spots

RADIUS_PX = 2.0  # a spot found is a true one when it lies this near
SHARES = np.concatenate([np.linspace(0.5, 0.9, 6), np.linspace(0.92, 1.08, 9), np.linspace(1.15, 1.7, 6)])  # of the true number, in tuning
FINE = 0.06  # of the true number, either way, in the second round
LOSS = 0.002  # of F1, that speed or nearer places may cost
NEAR = 1.03  # of the error, that speed may cost

Places = list[tuple[np.ndarray, np.ndarray]]
Ranked = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Tuned:
    """A peer as it is run: its options, and the rank below which nothing is a spot."""

    name: str
    find: Callable[..., Ranked]
    options: dict[str, Any] = field(default_factory=dict)
    least: float = 0.0

    def __call__(self, frames: np.ndarray) -> Places:
        """Return columns and rows of the spots of each frame."""
        return [self.find(frame, self.least, **self.options)[:2] for frame in frames]

    def __str__(self) -> str:
        said = [f"{name} {value}" for name, value in self.options.items() if name != "characterize"]
        return ", ".join([*said, f"least {self.least:.3g}"])


def trackpy_locate(frame: np.ndarray, least: float, **options: Any) -> Ranked:
    """`trackpy.locate` of one frame, which is all that `trackpy.batch` with one process does; ranked by mass."""
    import trackpy

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = trackpy.locate(frame, minmass=least, engine="numba", **options)
    if not len(found):
        return np.empty(0), np.empty(0), np.empty(0)
    return found["x"].to_numpy(), found["y"].to_numpy(), found["mass"].to_numpy()


def blob_log(frame: np.ndarray, least: float, sigma: float) -> Ranked:
    """scikit-image's Laplacian of Gaussian at one width: whole pixels, ranked by it."""
    from skimage.feature import blob_log

    image = frame.astype(np.float32)
    found = blob_log(image, min_sigma=sigma, max_sigma=sigma, num_sigma=1, threshold=least, overlap=0.5)
    row, column = found[:, 0], found[:, 1]
    rank = -(sigma**2) * gaussian_laplace(image, sigma)[row.astype(int), column.astype(int)] if not least else np.zeros(len(row))
    return column, row, rank


def peak_local_max(frame: np.ndarray, least: float, sigma: float, min_distance: int) -> Ranked:
    """scikit-image's maxima of a smoothed frame: whole pixels, ranked by height."""
    from skimage.feature import peak_local_max

    smooth = gaussian_filter(frame.astype(np.float32), sigma)
    found = peak_local_max(smooth, min_distance=min_distance, threshold_abs=least, exclude_border=3)
    return found[:, 1].astype(float), found[:, 0].astype(float), smooth[found[:, 0], found[:, 1]]


def opencv(frame: np.ndarray, least: float, sigma: float, ratio: float, reach: int) -> Ranked:
    """Difference of two Gaussian blurs, its maxima, and the centroid of what is above zero about each; ranked by height."""
    import cv2

    image = frame.astype(np.float32)
    band = cv2.GaussianBlur(image, (0, 0), sigma)
    band -= cv2.GaussianBlur(image, (0, 0), ratio * sigma)
    size = 2 * reach + 1
    highest = cv2.dilate(band, np.ones((size, size), np.uint8))
    peak = (band == highest) & (band > least)
    margin = reach + 2
    row, column = np.nonzero(peak[margin:-margin, margin:-margin])
    row, column = row + margin, column + margin
    step = np.arange(-reach, reach + 1)
    around = np.maximum(band[row[:, None, None] + step[:, None], column[:, None, None] + step], 0.0)
    total = around.sum(axis=(1, 2))
    return column + around.sum(axis=1) @ step / total, row + around.sum(axis=2) @ step / total, band[row, column]


@dataclass(frozen=True)
class Peer:
    """Someone to compare with; `grid` has a list of values for every option, `needs` is the package."""

    name: str
    needs: str
    find: Callable[..., Ranked]
    grid: dict[str, tuple[Any, ...]]

    def choices(self) -> Iterator[dict[str, Any]]:
        for values in itertools.product(*self.grid.values()):
            yield dict(zip(self.grid, values, strict=True))


PEERS = (
    Peer("trackpy", "trackpy", trackpy_locate, {"diameter": (5, 7, 9, 11, 13, 15), "separation": (3, 4, None)}),
    Peer("blob_log", "skimage", blob_log, {"sigma": (1.2, 1.6, 2.0)}),
    Peer("peak_local_max", "skimage", peak_local_max, {"sigma": (1.0, 1.4, 2.0), "min_distance": (2,)}),
    Peer("opencv", "cv2", opencv, {"sigma": (1.0, 1.4, 1.8), "ratio": (1.6, 2.5, 4.0), "reach": (2, 3)}),
)


def tune(peer: Peer, training: Film) -> tuple[Tuned, float]:
    """Return the peer with the options and the least rank of the best F1 on `training`, and that F1.

    Of options that are as good within `LOSS`, and whose places are as near to the truth within `NEAR`, the fastest.
    """
    tried: list[tuple[float, float, dict[str, Any], list[Ranked]]] = []
    for options in peer.choices():
        ranked = [peer.find(frame, 0.0, **options) for frame in training.frames]
        tried.append((*_least(ranked, SHARES, training), options, ranked))
    best = max(score for score, *_ in tried)
    choices = []
    for score, least, options, ranked in tried:
        if score >= best - LOSS:
            # as fine as can be about what was good; more spots than in the grid's steps are not at stake
            kept = sum(int(np.sum(rank > least)) for _, _, rank in ranked) / training.x_px.size
            score, least = _least(ranked, np.linspace(kept - FINE, kept + FINE, 61), training)
            tuned = Tuned(peer.name, peer.find, options, least)
            begun = time.process_time()
            places = tuned(training.frames)
            choices.append((time.process_time() - begun, rmse_px(places, training), score, tuned))
    best = max(score for _, _, score, _ in choices)
    choices = [c for c in choices if c[2] >= best - LOSS]
    nearest = min(rmse for _, rmse, _, _ in choices)
    _, _, score, chosen = min((c for c in choices if c[1] <= NEAR * nearest), key=lambda c: c[0])
    return chosen, score


def _least(ranked: list[Ranked], shares: np.ndarray, training: Film) -> tuple[float, float]:
    """Return the best F1 when `shares` of the true number are kept, and the rank to stop at, midway between kept and not."""
    ranks = np.sort(np.concatenate([rank for _, _, rank in ranked]))[::-1]
    if len(ranks) < 2:
        return 0.0, 0.0
    last = np.unique(np.clip((shares * training.x_px.size).astype(int), 1, len(ranks) - 1))
    middle = (ranks[last - 1] + ranks[last]) / 2
    scores = np.array([f1([(x[rank > least], y[rank > least]) for x, y, rank in ranked], training)[0] for least in middle])
    as_good = np.flatnonzero(scores == scores.max())
    return float(scores.max()), float(middle[as_good[len(as_good) // 2]])


def hasten(trackpy: Tuned, training: Film, f1_tuned: float) -> Tuned:
    """Return trackpy without what it measures beside, and with the percentile and iterations that are the fastest at the same F1."""
    fastest, least_s = trackpy, np.inf
    for percentile, max_iterations in itertools.product((64, 90, 97, 99), (10, 2)):
        options = {**trackpy.options, "characterize": False, "percentile": percentile, "max_iterations": max_iterations}
        tried = Tuned("trackpy, fast", trackpy.find, options, trackpy.least)
        if f1(tried(training.frames), training)[0] < f1_tuned - LOSS:
            continue
        cpu_s = bench.in_turns({"it": lambda tried=tried: tried(training.frames)}, 3)["it"].cpu_s
        if cpu_s < least_s:
            fastest, least_s = tried, cpu_s
    return fastest


def tuned_peers(training: Film, only: tuple[str, ...] = ()) -> list[Tuned]:
    """Return every peer there is, tuned on `training`, trackpy three times; those that are missing are named on a line."""
    peers: list[Tuned] = []
    for peer in PEERS:
        if only and peer.name not in only:
            continue
        if bench.optional(peer.needs) is None:
            bench.say(f"{peer.name}: left out, {peer.needs} is not installed")
            continue
        tuned, score = tune(peer, training)
        peers.append(tuned)
        if peer.name == "trackpy":
            peers.append(hasten(tuned, training, score))
            peers.append(Tuned("trackpy, defaults", peer.find, {"diameter": tuned.options["diameter"]}))
    return peers


def match(x: np.ndarray, y: np.ndarray, true_x: np.ndarray, true_y: np.ndarray, radius: float = RADIUS_PX) -> tuple[np.ndarray, np.ndarray]:
    """Return numbers of found and true spots that belong together: as many pairs as can be within `radius`, of those the nearest."""
    square = (x[:, None] - true_x) ** 2 + (y[:, None] - true_y) ** 2
    found, true = linear_sum_assignment(np.where(square <= radius**2, square - 1e6, 0.0))
    near = square[found, true] <= radius**2
    return found[near], true[near]


def f1(places: Places, film: Film) -> tuple[float, float, float]:
    """Return F1, precision and recall of what was found in the first frames of a film: as many pairs as can be."""
    hits = 0
    for i, (x, y) in enumerate(places):
        if len(x) and film.x_px.shape[1]:
            near = KDTree(np.column_stack([x, y])).sparse_distance_matrix(KDTree(np.column_stack([film.x_px[i], film.y_px[i]])), RADIUS_PX)
            hits += int(np.sum(maximum_bipartite_matching(near.tocsr() != 0) >= 0))
    found, true = sum(len(x) for x, _ in places), film.x_px[: len(places)].size
    return 2 * hits / max(1, found + true), hits / max(1, found), hits / max(1, true)


def errors_px(places: Places, film: Film) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the errors of x of what was found of the truth, and frame and number of the true spots."""
    pairs = [match(x, y, film.x_px[i], film.y_px[i]) for i, (x, y) in enumerate(places)]
    error = [x[found] - film.x_px[i][true] for i, ((x, _), (found, true)) in enumerate(zip(places, pairs, strict=True))]
    frame = [np.full(len(true), i) for i, (_, true) in enumerate(pairs)]
    return np.concatenate(error), np.concatenate(frame), np.concatenate([true for _, true in pairs])


def rmse_px(places: Places, film: Film) -> float:
    error = errors_px(places, film)[0]
    return float(np.sqrt(np.mean(error**2))) if len(error) else np.inf


def nta_spots(film: Film, threads: int = 1, **options: object) -> Spots:
    """Find a film's spots as nta does: everything that it does once a film included."""
    return find_spots(film, Settings().with_options(**options), threads)  # type: ignore[arg-type]


def by_frame(spots: Spots) -> Places:
    """Return columns and rows, frame by frame."""
    edge = np.searchsorted(spots.frame, np.arange(spots.n_frames + 1))
    return [(spots.x_px[a:b], spots.y_px[a:b]) for a, b in itertools.pairwise(edge)]


def main() -> None:
    """Tune every peer on one scene, and print what was chosen."""
    import argparse

    from scenes import Scene, make_film

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--snr", type=float, default=10.0)
    parser.add_argument("--spots", type=int, default=60)
    options = parser.parse_args()
    bench.one_thread()
    film = make_film(Scene(snr=options.snr, spots=options.spots, seed=1), 6)
    bench.say(bench.head("peer", "chosen", "F1 in training"))
    for peer in tuned_peers(film):
        bench.say(bench.row(peer.name, peer, f"{f1(peer(film.frames), film)[0]:.3f}"))


if __name__ == "__main__":
    main()
