"""Who else links spots, all called the same way; a peer whose package is missing is left out.

trackpy is there as a script runs it (`tuned`: the range of the best F1 of links on a scene it is not judged by, memory 1, in compiled code,
shrinking the range where it would give up), and with its defaults at the same range.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import bench
import numpy as np
from link_scenes import VISCOSITY_MPAS, Scene, calibration, judge, make_spots

from nta.kernels.link import link
from nta.settings import Settings
from nta.spots import Spots
from nta.tracks import Tracks, link_spots

RANGES_PX = (5.0, 6.5, 8.0, 10.0, 13.0, 17.0)
Linker = Callable[[Spots], np.ndarray]  # the particle of each spot


def nta_tracks(spots: Spots, engine: str = "nta") -> Tracks:
    """All of nta's linking, from spots to tracks."""
    return link_spots(spots, calibration(), VISCOSITY_MPAS, Settings().with_options(engine=engine))


def nta_links(spots: Spots, engine: str = "nta") -> np.ndarray:
    """Return the particle of each spot."""
    tracks = nta_tracks(spots, engine)
    order = np.lexsort((tracks.spots.y_px, tracks.spots.x_px, tracks.spots.frame))
    particle = np.empty(len(spots), np.int64)
    particle[np.lexsort((spots.y_px, spots.x_px, spots.frame))] = tracks.track_of_spot[order]
    return particle


def least_squares(spots: Spots, range_px: float, memory: int = 1) -> np.ndarray:
    """nta's kernel with trackpy's costs: one pass, the least sum of squared steps."""
    n = len(spots)
    first = np.searchsorted(spots.frame, np.arange(spots.n_frames + 1)).astype(np.int64)
    one, previous, particle = np.ones(n), np.empty(n, np.int64), np.empty(n, np.int64)
    at = (spots.x_px, spots.y_px, np.zeros((spots.n_frames, 2)), one, one, one)
    odds = (np.zeros(n, np.int16), np.ones(1), np.zeros((memory + 1, 1)), np.ones(1))
    clock = (first, np.arange(spots.n_frames), np.array([range_px]))
    link(*at, *odds, *clock, 1.0, 1.0, 5.0, True, previous, particle, np.empty(n))
    return particle


def trackpy_links(spots: Spots, range_px: float, memory: int = 1, **options: Any) -> np.ndarray:
    import pandas as pd
    import trackpy

    trackpy.quiet()
    table = pd.DataFrame({"x": spots.x_px, "y": spots.y_px, "frame": spots.frame})
    return trackpy.link(table, search_range=range_px, memory=memory, **options)["particle"].sort_index().to_numpy()


def laptrack_links(spots: Spots, range_px: float, memory: int = 1) -> np.ndarray:
    import pandas as pd
    from laptrack import LapTrack

    table = pd.DataFrame({"x": spots.x_px, "y": spots.y_px, "frame": spots.frame})
    peer = LapTrack(cutoff=range_px**2, gap_closing_cutoff=range_px**2, gap_closing_max_frame_count=memory)
    tree = peer.predict_dataframe(table, ["x", "y"], frame_col="frame", only_coordinate_cols=False)[0]
    return tree.reset_index(drop=True)["track_id"].to_numpy()


def tuned_range(scene: Scene, n_frames: int) -> float:
    """Return the range of the best F1 of links by least squares, on the same scene with another seed."""
    spots, truth = make_spots(replace(scene, seed=scene.seed + 1000), n_frames)
    best = (0.0, RANGES_PX[0])
    for range_px in RANGES_PX:
        score = judge(spots, truth, least_squares(spots, range_px))
        recall, precision = score.found, 1 - score.wrong
        best = max(best, (2 * recall * precision / (recall + precision), range_px))
    return best[1]


def jobs(spots: Spots, range_px: float) -> dict[str, Callable[[], Any]]:
    """Return what is timed: each linker on these spots, by name."""
    timed = {who: partial(find, spots) for who, find in peers(range_px).items()}
    # in nta, tracks are the answer; the particles of spots in their order are for the judge
    return timed | {"nta": partial(nta_tracks, spots), "nta --engine trackpy": partial(nta_tracks, spots, "trackpy")}


def peers(range_px: float) -> dict[str, Linker]:
    """Return the linkers by name."""
    found: dict[str, Linker] = {
        "nta": nta_links,
        "nta --engine trackpy": lambda spots: nta_links(spots, "trackpy"),
        "nta's kernel, least squares": lambda spots: least_squares(spots, range_px),
        "trackpy, tuned": lambda spots: trackpy_links(
            spots, range_px, link_strategy="hybrid", adaptive_stop=range_px / 8, adaptive_step=0.8
        ),
        "trackpy, defaults": lambda spots: trackpy_links(spots, range_px, memory=0),
    }
    if bench.optional("laptrack") is not None:
        found["laptrack"] = lambda spots: laptrack_links(spots, range_px)
    return found
