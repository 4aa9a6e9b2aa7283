"""Spots -> Tracks: which spots are the same particle."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from nta import physics
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
    chosen : ``search_range_px, gap_frames, flow_x_px, flow_y_px, min_frames``
    """

    spots: Spots
    start: np.ndarray
    flags: np.ndarray
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


FASTEST_NM = 30.0  # the smallest vesicle of interest; a smaller particle's longest steps are cut, which the likelihood knows
GATE_SD = 4.0  # exp(-4^2 / 2) = 0.03 % of its steps are longer
UNRELATED_IN_GATE = 0.5  # other spots expected within the widest gate; above, most links at a track's end would be to strangers
UNRELATED_OVER_GAP = 0.1  # a missed detection is bridged only where strangers are rarer than this
IMPROBABLE_STEP = 2e-4  # cutting so few true steps takes 0.2 % off a diffusion coefficient
PRIOR_STEPS = 2.0  # what is known of a particle's steps before its track, worth this many of its own


def link_spots(
    spots: Spots,
    calibration: Calibration,
    viscosity_mpas: float,
    settings: Settings,
    progress: Callable[[str, int, int], None] | None = None,
) -> Tracks:
    """Link spots from frame to frame by trackpy (Crocker & Grier 1996), in the frame of the moving liquid, by place and brightness.

    A first pass with the widest gate that physics asks for and the density allows finds the common flow, how far particles step and how
    much their brightness changes from frame to frame. The last pass links what is left after the flow within the gate at which true
    steps sink below chance links, brightness standing as a third coordinate in which a typical change costs what a typical step does.

    Frames that repeat another are passed over: the frames on both sides of one follow each other, a step of two intervals apart. Where
    the steps show that frames are missing, tracks end.
    """
    if len(spots) == 0:
        return _tracks(spots, np.empty(0, np.int64), settings, {})
    distinct = spots.distinct
    shown = np.searchsorted(distinct, spots.frame)
    lapse = float(np.median(np.diff(distinct))) if len(distinct) > 1 else 1.0
    pixel_um, dt_s = calibration.pixel_size_um.value, lapse / calibration.fps.value
    fastest = physics.diffusion_um2_s(FASTEST_NM, calibration.temperature_c.value, viscosity_mpas)
    step_px = np.sqrt(2 * fastest * dt_s / pixel_um**2 + 2 * np.median(spots.x_sd_px) ** 2)
    density = len(spots) / len(distinct) / spots.area_px
    widest = min(GATE_SD * float(step_px), float(np.sqrt(UNRELATED_IN_GATE / (np.pi * density))))
    flow, gate, brightness = np.zeros(2), widest, np.zeros(len(spots))
    for attempt in range(3):
        if progress is not None:
            progress("link", attempt, 3)
        before, pairs = flow, _pairs(shown, _link(spots, shown, flow, brightness, gate, 0))
        if len(pairs):
            steps = np.column_stack([np.diff(c[pairs], axis=1)[:, 0] for c in (spots.x_px, spots.y_px)])
            lapses = np.diff(spots.frame[pairs], axis=1)
            flow = np.median(steps / lapses, axis=0)
            own = steps - flow * lapses
            gate = _gate(own, widest)
            brightness = _brightness_px(spots.snr, pairs, float(np.median(np.abs(own))))
        if np.hypot(*(flow - before)) < 0.1 and attempt > 0:
            break
    gap = 1 if np.pi * gate**2 * density < UNRELATED_OVER_GAP else 0
    particle = _cut_improbable(spots, _link(spots, shown, flow, brightness, gate, gap), flow)
    cadence = find_cadence(spots, particle)
    if progress is not None:
        progress("link", 3, 3)
    chosen = {
        "search_range_px": Used(round(gate, 3), "measured"),
        "gap_frames": Used(gap, "measured"),
        "flow_x_px": Used(round(float(flow[0]), 4), "measured"),
        "flow_y_px": Used(round(float(flow[1]), 4), "measured"),
    }
    return replace(_tracks(spots, cadence.cut(spots, particle), settings, chosen), notices=cadence.notices())


def _link(spots: Spots, shown: np.ndarray, flow_px: np.ndarray, brightness_px: np.ndarray, gate_px: float, gap_frames: int) -> np.ndarray:
    """Return the particle number of each spot, by trackpy; `shown` counts frames without those that repeat another."""
    import pandas as pd
    import trackpy

    trackpy.quiet()
    table = pd.DataFrame(
        {
            "x": spots.x_px - flow_px[0] * spots.frame,
            "y": spots.y_px - flow_px[1] * spots.frame,
            "brightness": brightness_px,
            "frame": shown,
        }
    )
    # where a sub-network is too large to solve, trackpy shrinks the gate there instead of giving up
    linked = trackpy.link(
        table,
        search_range=gate_px,
        memory=gap_frames,
        pos_columns=["x", "y", "brightness"],
        link_strategy="hybrid",
        adaptive_stop=gate_px / 8,
        adaptive_step=0.8,
    )
    # trackpy numbers the tracks of a frame in the order of a set, which changes from run to run; here in the order of their first spots
    _, first, particle = np.unique(linked["particle"].sort_index().to_numpy(np.int64), return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[particle].astype(np.int64)


def _cut_improbable(spots: Spots, particle: np.ndarray, flow_px: np.ndarray) -> np.ndarray:
    """Cut tracks at steps that their other steps make improbable, mostly where one particle faded and a stranger was taken for it.

    With a gamma prior on the inverse variance, a squared step exceeds r^2 with probability ``(1 + r^2 / S)^-(n + n0)``, S the sum of
    the n other squared steps and of the prior's n0 (Lomax distribution, the predictive of the exponential).
    """
    order = np.lexsort((spots.frame, particle))
    number = particle[order]
    for _ in range(2):
        same = np.diff(number) == 0
        if not same.any():
            break
        lapse = np.diff(spots.frame[order])[same]
        squared = sum((np.diff(c[order])[same] - v * lapse) ** 2 for c, v in zip((spots.x_px, spots.y_px), flow_px, strict=True)) / lapse
        owner = number[1:][same]
        count = np.bincount(owner, minlength=number.max() + 1)
        total = np.bincount(owner, squared, minlength=len(count))
        typical = max(float(np.median(squared)) / np.log(2), 1e-12)  # frames that stand twice have no steps
        others, sum_of_others = count[owner] - 1, total[owner] - squared
        log_chance = -(others + PRIOR_STEPS) * np.log1p(squared / (sum_of_others + PRIOR_STEPS * typical))
        bad = np.zeros(len(same), bool)
        bad[same] = log_chance < np.log(IMPROBABLE_STEP)
        number = np.cumsum(np.concatenate([[0], ((~same) | bad).astype(np.int64)]))
    cut = np.empty_like(number)
    cut[order] = number
    return cut


def _pairs(shown: np.ndarray, particle: np.ndarray) -> np.ndarray:
    """Return (n, 2) row numbers of linked spots in successive frames, of tracks of at least 3 spots."""
    order = np.lexsort((shown, particle))
    same = (np.diff(particle[order]) == 0) & (np.diff(shown[order]) == 1)
    keep = same & (np.bincount(particle)[particle[order]] >= 3)[1:]
    return np.column_stack([order[:-1][keep], order[1:][keep]])


def _brightness_px(snr: np.ndarray, pairs: np.ndarray, typical_step_px: float) -> np.ndarray:
    """Return brightness as a length: a typical change between frames is as long as a typical step along one axis.

    The change has a constant part, the noise, and one in proportion, the walk through the light; asinh makes one scale of both.
    """
    bright = snr[pairs].min(axis=1) >= np.median(snr[pairs])
    share = np.median(np.abs(np.diff(np.log(snr[pairs[bright]]), axis=1))) / (0.6745 * np.sqrt(2)) if bright.any() else 0.2
    share = float(np.clip(share, 0.02, 1.0))
    stable = np.arcsinh(share * snr) / share
    change = float(np.median(np.abs(np.diff(stable[pairs], axis=1))))
    return stable * typical_step_px / max(change, 0.5)


def _gate(steps_px: np.ndarray, widest_px: float) -> float:
    """Return the radius at which steps become as rare, per area, as twice the chance links in the outer rim of the widest gate."""
    length = np.hypot(steps_px[:, 0], steps_px[:, 1])
    if len(length) < 100:
        return widest_px
    edges = np.linspace(0, widest_px, 41)
    density = np.histogram(length, edges)[0] / np.diff(edges**2)
    chance = np.sum(length > 0.8 * widest_px) / (0.36 * widest_px**2)
    above = np.flatnonzero(density > 2 * chance)
    # a quarter more: what lies between is a true step as often as not, and the likelihood knows where it was cut
    return float(min(widest_px, 1.25 * edges[above[-1] + 1])) if len(above) else widest_px


def _tracks(spots: Spots, particle: np.ndarray, settings: Settings, chosen: dict[str, Used]) -> Tracks:
    """Order `spots` by track and flag what is too short."""
    order = np.lexsort((spots.frame, particle))
    particle = particle[order]
    start = np.concatenate([np.flatnonzero(np.diff(particle, prepend=-1)), [len(particle)]]).astype(np.int64)
    count = np.diff(start)
    flags = np.zeros(len(count), np.uint32)
    flags[count == 1] |= np.uint32(Flag.UNLINKED)
    flags[(count > 1) & (count < settings.tracks.min_frames)] |= np.uint32(Flag.TOO_SHORT)
    ordered = replace(spots, **{name: getattr(spots, name)[order] for name in Spots.ROWS})
    return Tracks(ordered, start, flags, {**chosen, "min_frames": settings.used("min_frames")})
