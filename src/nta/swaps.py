"""Tracks, Diffusion -> Tracks: cut where a track goes on as another particle, which its speed before and after tells."""

from __future__ import annotations

import numpy as np

from nta.blocks import by_motion
from nta.diffusion import Diffusion
from nta.drift import Drift
from nta.shared import SharedModel
from nta.steps import gather_steps
from nta.tracks import Tracks
from nta.video import Calibration

SURE = 0.99  # a link more certain is not doubted
CLEARLY = 1.0  # ln of how much likelier two speeds are than one, where it is they that tell
SIZES = 41  # of the grid of sizes, among which the speeds before and after are compared
PASSES = 3  # a track may have been of several particles
TOGETHER = 1000  # links, before and after which the tracks are read at a time


def cut_swaps(tracks: Tracks, diffusion: Diffusion, drift: Drift, calibration: Calibration) -> Tracks:
    """Return the tracks, cut at links at which another particle is rather followed than the same.

    The chance of a link that linking tells compares its step with what else could have been. How fast the track was before and is after
    is compared here: with `rho` the shares of sizes, and `p` and `p'` the likelihoods of what comes before and after, the odds that a
    link is wrong, ``(1 - c) / c``, are multiplied by ``sum rho p sum rho p' / sum rho p p'``. Where the links' chances or the speeds
    of single frames are not known, nothing is cut.
    """
    model = diffusion.shared
    if model is None or model.stride > 1 or not len(diffusion) or np.isnan(tracks.link_chance).any():
        return tracks
    rho = by_motion(np.exp(diffusion.loglik.astype(float)), np.exp(np.minimum(diffusion.loglik_noise, 50.0))[:, None])[0]
    columns = np.unique(np.linspace(0, len(rho) - 1, SIZES).round().astype(int))
    nearest = np.abs(np.arange(len(rho))[:, None] - columns).argmin(axis=1)
    coarse = np.bincount(nearest, rho, minlength=len(columns))
    sizes = diffusion.grid_um2_s[columns], np.log(np.maximum(coarse, 1e-300))
    todo = np.ones(len(tracks), bool)
    for _ in range(PASSES):
        at = _swaps(tracks, drift, calibration, model, sizes, todo)
        if not len(at):
            break
        before = tracks.start
        tracks = tracks.cut(at)
        todo = ~np.isin(tracks.start[:-1], before) | np.isin(tracks.start[1:], at)
    return tracks


def _swaps(
    tracks: Tracks, drift: Drift, calibration: Calibration, model: SharedModel, sizes: tuple[np.ndarray, np.ndarray], todo: np.ndarray
) -> np.ndarray:
    """Return the first spots, rows of `tracks.spots`, of what goes on as another particle: in each of the tracks `todo`, once at most."""
    steps = gather_steps(tracks, drift, calibration.pixel_size_um.value)
    first = tracks.start[steps.owner]
    own = np.repeat(np.arange(len(first)), np.diff(steps.start))
    row = np.arange(len(own)) - steps.start[own] + first[own]
    chance = tracks.link_chance[row]
    place, count = row - first[own], np.diff(steps.start)[own]
    some = np.flatnonzero((chance < SURE) & (place > 1) & (place < count - 1) & todo[steps.owner[own]])
    if not len(some):
        return np.empty(0, np.int64)
    d, log_rho = sizes
    favour = np.empty(len(some))
    for part in (slice(i, i + TOGETHER) for i in range(0, len(some), TOGETHER)):
        at = some[part]
        before = model.loglik(steps.pieces(steps.start[own[at]], at, own[at]), d)
        after = model.loglik(steps.pieces(at, steps.start[own[at] + 1], own[at]), d)
        same = np.logaddexp.reduce(before + after + log_rho, axis=1)
        favour[part] = np.logaddexp.reduce(before + log_rho, axis=1) + np.logaddexp.reduce(after + log_rho, axis=1) - same
    likely = np.maximum(chance[some], 1e-6)
    odds = np.where(favour > CLEARLY, (1 - likely) / likely * np.exp(np.minimum(favour, 50.0)), 0.0)
    # of each track the likeliest place, if it is one at all
    cut = np.zeros(len(first))
    np.add.at(cut, own[some], odds)
    order = np.lexsort((-odds, own[some]))
    best = order[np.unique(own[some][order], return_index=True)[1]]
    return row[some[best[cut[own[some[best]]] > 1]]]
