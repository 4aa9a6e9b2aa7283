"""Spots -> Tracks: which spots are the same particle."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from nta import links, physics, trackpy_links
from nta.cadence import find_cadence
from nta.errors import Notice
from nta.flags import Flag
from nta.settings import Settings, Used
from nta.spots import Spots
from nta.video import Calibration


@dataclass(frozen=True)
class Tracks:
    """Ragged tracks: track `i` is the spots ``start[i]:start[i + 1]`` of `spots`, in order of frame.

    Attributes
    ----------
    spots : the spots, ordered by track, then frame; a single unlinked spot is a track of one row
    start : (n + 1,) int64
    flags : (n,) uint32 of `nta.flags.Flag`
    link_chance : (n_spots,) float64, chance that a spot is of the same particle as the one before in its track; 1 for a track's first,
        NaN where nobody knows
    gate_px : (k,) float64, longest step that could be linked over 1, 2 ... frames, and of the last over any more
    chosen : ``search_range_px, gap_frames, flow_x_px, flow_y_px, min_frames``
    """

    spots: Spots
    start: np.ndarray
    flags: np.ndarray
    link_chance: np.ndarray
    gate_px: np.ndarray
    chosen: Mapping[str, Used] = field(default_factory=dict)
    notices: tuple[Notice, ...] = ()

    def __len__(self) -> int:
        return len(self.start) - 1

    @property
    def n_spots(self) -> np.ndarray:
        """(n,) number of spots of each track."""
        return np.diff(self.start)

    @property
    def track_of_spot(self) -> np.ndarray:
        """(n_spots,) number of the track each spot belongs to."""
        return np.repeat(np.arange(len(self)), self.n_spots)

    def cut(self, at: np.ndarray) -> Tracks:
        """Return the same with tracks that begin anew at the rows `at` of the spots."""
        start = np.union1d(self.start, at)
        chance = self.link_chance.copy()
        chance[start[:-1]] = 1.0
        return replace(self, start=start, flags=_flags(np.diff(start), self.chosen["min_frames"].value), link_chance=chance)

    @property
    def one_particle(self) -> np.ndarray:
        """(n,) chance that all links of a track are right, so that it is one particle; NaN where nobody knows."""
        return np.multiply.reduceat(self.link_chance, self.start[:-1]) if len(self) else np.empty(0)


FASTEST_NM = 30.0  # the smallest vesicle of interest; a smaller particle's longest steps are cut, which the likelihood knows

ERRORS = 5000  # of spots, whose median is that of all within 2 %


def link_spots(
    spots: Spots,
    calibration: Calibration,
    viscosity_mpas: float,
    settings: Settings,
    progress: Callable[[str, int, int], None] | None = None,
) -> Tracks:
    """Link the spots of each particle, by our own likelihood or by trackpy.

    Frames that repeat another are passed over: the frames on both sides of one follow each other, a step of two intervals apart. Where
    the steps show that frames are missing, tracks end.
    """
    if len(spots) == 0:
        return _tracks(spots, np.zeros(1, np.int64), np.empty(0), np.ones(1), settings, {})
    if progress is not None:
        progress("link", 0, 2)
    pixel_um, dt_s = calibration.pixel_size_um.value, 1 / calibration.fps.value
    fastest = physics.diffusion_um2_s(FASTEST_NM, calibration.temperature_c.value, viscosity_mpas)
    error_px = float(np.median(spots.x_sd_px[:: max(1, len(spots) // ERRORS)]))
    fastest_px = float(np.sqrt(2 * fastest * dt_s / pixel_um**2 + 2 * error_px**2))
    find_links = trackpy_links.find_links if settings.spots.engine == "trackpy" else links.find_links
    linked = find_links(spots, fastest_px)
    if progress is not None:
        progress("link", 1, 2)
    order, start = _by_track(linked.particle)
    flow = linked.path_px[-1] / max(spots.n_frames - 1, 1)
    chance = linked.chance[order]
    columns: dict[str, Any] = vars(spots).copy()
    # a column at a time, so that only one is there twice where nobody else holds the spots
    del spots
    for name in Spots.ROWS:
        columns[name] = columns[name][order]
    ordered = Spots(**columns)
    cadence = find_cadence(ordered, start)
    if progress is not None:
        progress("link", 2, 2)
    chosen = {
        "search_range_px": Used(round(float(linked.gate_px[0]), 3), "measured"),
        "gap_frames": Used(linked.gap_frames, "measured"),
        "flow_x_px": Used(round(float(flow[0]), 4), "measured"),
        "flow_y_px": Used(round(float(flow[1]), 4), "measured"),
    }
    tracks = _tracks(ordered, cadence.cut(ordered.frame, start), chance, linked.gate_px, settings, chosen)
    return replace(tracks, notices=cadence.notices())


def _by_track(particle: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of spots, which are in the order of frames, ordered by track, and where each track begins."""
    from nta.kernels.tracks import sort_spots

    order, start = np.empty(len(particle), np.int64), np.empty(particle.max() + 2, np.int64)
    sort_spots(particle, start, order)
    return order, start


def _tracks(
    spots: Spots, start: np.ndarray, chance: np.ndarray, gate_px: np.ndarray, settings: Settings, chosen: dict[str, Used]
) -> Tracks:
    """Flag what is too short; `spots` are ordered by track, `chance` is theirs."""
    flags = _flags(np.diff(start), settings.tracks.min_frames)
    chance[start[:-1]] = 1.0
    return Tracks(spots, start, flags, chance, gate_px, {**chosen, "min_frames": settings.used("min_frames")})


def _flags(n_spots: np.ndarray, least: int) -> np.ndarray:
    """Return the flags of tracks of so many spots, of which `least` are needed."""
    flags = np.zeros(len(n_spots), np.uint32)
    flags[n_spots == 1] |= np.uint32(Flag.UNLINKED)
    flags[(n_spots > 1) & (n_spots < least)] |= np.uint32(Flag.TOO_SHORT)
    return flags
