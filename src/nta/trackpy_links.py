"""Spots -> Links, by trackpy: place and brightness within one search range, for comparison."""

from __future__ import annotations

import numpy as np

from nta.links import Links
from nta.odds import GATE_SD, brightness_share, measured_gate
from nta.spots import Spots

UNRELATED_IN_GATE = 0.5  # other spots expected within the widest gate; above, most links at a track's end would be to strangers
UNRELATED_OVER_GAP = 0.1  # a missed detection is bridged only where strangers are rarer than this
IMPROBABLE_STEP = 2e-4  # cutting so few true steps takes 0.2 % off a diffusion coefficient
PRIOR_STEPS = 2.0  # what is known of a particle's steps before its track, worth this many of its own


def find_links(spots: Spots, fastest_px: float) -> Links:
    """Link spots from frame to frame by trackpy (Crocker & Grier 1996), in the frame of the moving liquid, by place and brightness.

    A first pass with the widest gate that physics asks for and the density allows finds the common flow, how far particles step and how
    much their brightness changes from frame to frame. The last pass links what is left after the flow within the gate at which true
    steps sink below chance links, brightness standing as a third coordinate in which a typical change costs what a typical step does.
    Tracks are cut at steps that their other steps make improbable.
    """
    distinct = spots.distinct
    shown = np.searchsorted(distinct, spots.frame)
    apart = np.diff(distinct)
    lapse = float(np.median(apart)) if len(apart) else 1.0
    density = len(spots) / len(distinct) / spots.area_px
    widest = min(GATE_SD * fastest_px * float(np.sqrt(lapse)), float(np.sqrt(UNRELATED_IN_GATE / (np.pi * density))))
    flow, gate, brightness = np.zeros(2), widest, np.zeros(len(spots))
    for attempt in range(3):
        before, pairs = flow, _pairs(shown, _link(spots, shown, flow, brightness, gate, 0))
        if len(pairs):
            steps = np.column_stack([np.diff(c[pairs], axis=1)[:, 0] for c in (spots.x_px, spots.y_px)])
            lapses = np.diff(spots.frame[pairs], axis=1)
            flow = np.median(steps / lapses, axis=0)
            own = steps - flow * lapses
            gate = measured_gate(own, widest)
            brightness = _brightness_px(spots.snr, pairs, float(np.median(np.abs(own))))
        if np.hypot(*(flow - before)) < 0.1 and attempt > 0:
            break
    gap = 1 if np.pi * gate**2 * density < UNRELATED_OVER_GAP else 0
    path = np.outer(np.arange(spots.n_frames), flow)
    particle = _cut_improbable(spots, _link(spots, shown, flow, brightness, gate, gap), path)
    # one search range for any time between
    gates = np.full(int(apart.max(initial=1)) * (gap + 1), gate)
    return Links(particle, np.full(len(spots), np.nan), path, gates, gap)


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


def _cut_improbable(spots: Spots, particle: np.ndarray, path_px: np.ndarray) -> np.ndarray:
    """Cut tracks at steps that their other steps make improbable, mostly where one particle faded and a stranger was taken for it.

    With a gamma prior on the inverse variance, a squared step exceeds r^2 with probability ``(1 + r^2 / S)^-(n + n0)``, S the sum of
    the n other squared steps and of the prior's n0 (Lomax distribution, the predictive of the exponential).
    """
    order = np.argsort(particle, kind="stable")
    number, frame = particle[order], spots.frame[order]
    square = np.diff(spots.x_px[order] - path_px[frame, 0]) ** 2 + np.diff(spots.y_px[order] - path_px[frame, 1]) ** 2
    lapse = np.diff(frame)
    for _ in range(2):
        same = np.diff(number) == 0
        if not same.any():
            break
        squared = square[same] / lapse[same]
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
    """Return brightness as a length: a typical change between frames is as long as a typical step along one axis."""
    share = brightness_share(snr, *pairs.T)
    stable = np.arcsinh(share * snr) / share
    change = float(np.median(np.abs(np.diff(stable[pairs], axis=1))))
    return stable * typical_step_px / max(change, 0.5)
