"""Spots -> Links: which spot follows which, by how likely steps, changes of brightness, ends and beginnings are in this video."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from nta.odds import Clock, Odds, Pass, first_odds, learn_odds
from nta.spots import Spots


@dataclass(frozen=True)
class Links:
    """Which spot follows which.

    Attributes
    ----------
    particle : (n,) int64, number of the track of each spot, in the order of their first spots
    chance : (n,) float64, chance that the link to the track's spot before is right; 1 for a track's first
    path_px : (n_frames, 2) float64, common motion since the first frame
    gate_px : (k,) float64, longest step that could be linked over 1, 2 ... frames
    gap_frames : missed frames that are bridged
    """

    particle: np.ndarray
    chance: np.ndarray
    path_px: np.ndarray
    gate_px: np.ndarray
    gap_frames: int


SAMPLE_SPOTS = (3000, 6000)  # that the passes before the last look at; what the first one tells is only for the second
RUNS, FEWEST_RUNS, SHORTEST_RUN = 12, 3, 10  # of frames of such a sample
BREAK = 3  # frames without a spot, after which no track goes on


def find_links(spots: Spots, fastest_px: float) -> Links:
    """Link spots by likelihood, in passes: flow and typical step without links, then what the links of a pass tell the next one.

    `fastest_px` is the RMS step along an axis, over one frame, of the fastest particles of interest.
    """
    clock = Clock.of(spots)
    odds = first_odds(spots, clock, fastest_px)
    widest_px = odds.gate_px
    for n in SAMPLE_SPOTS:
        some, runs = _sample(spots, clock, n)
        odds = learn_odds(some, runs, _link(some, runs, odds), widest_px) or odds
    last = _link(spots, clock, odds)
    return Links(last.particle, last.chance, odds.path_px, odds.gates_px(clock), odds.gap)


def _sample(spots: Spots, clock: Clock, wanted: int) -> tuple[Spots, Clock]:
    """Return runs of frames spread over the video, with the spots `wanted` or more, and their clock; all where that is not much less."""
    n, m = len(spots), len(clock.time)
    run = max(SHORTEST_RUN, int(np.ceil(wanted / RUNS * m / n)))
    runs = int(np.clip(wanted * m / (n * run), FEWEST_RUNS, RUNS))
    if runs * run > 0.7 * m:
        return spots, clock
    begin = np.linspace(0, m - run, runs).astype(int)
    # frames of nothing between two runs, as many as it takes for every track to end
    number = (begin[:, None] + np.arange(run + BREAK)).ravel()
    inside = np.tile(np.arange(run + BREAK) < run, runs)
    number = np.minimum(number, m - 1)
    count = np.where(inside, np.diff(clock.first)[number], 0)
    rows = np.concatenate([np.arange(clock.first[b], clock.first[b + run]) for b in begin])
    some = replace(spots, **{name: getattr(spots, name)[rows] for name in Spots.ROWS})
    place = np.tile(np.arange(run + BREAK), runs)
    return some, Clock(clock.time[number], np.append(0, np.cumsum(count)), place, np.maximum(run - 1 - place, 0))


def _link(spots: Spots, clock: Clock, odds: Odds) -> Pass:
    """Run the kernel."""
    from nta.kernels.link import link

    n = len(spots)
    previous, particle, chance = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n)
    brightness = odds.brightness(spots.snr)
    link(
        spots.x_px,
        spots.y_px,
        odds.path_px[clock.time],
        spots.x_sd_px,
        spots.y_sd_px,
        brightness,
        odds.level(brightness),
        np.exp(odds.table[3]),
        odds.table[: odds.gap + 1],
        odds.table[2],
        clock.first,
        clock.time,
        odds.gates_px(clock),
        odds.prior_steps,
        odds.follow,
        odds.tail,
        False,
        previous,
        particle,
        chance,
    )
    return Pass(previous, particle, chance)
