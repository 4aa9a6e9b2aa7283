"""Linked spots -> Odds: how likely steps, changes of brightness, ends and beginnings of tracks are in this video."""

from __future__ import annotations

from dataclasses import dataclass
from math import lgamma

import numpy as np

from nta.flow import find_cluster
from nta.spots import Spots

GATE_SD = 4.0  # exp(-4^2 / 2) = 0.03 % of the fastest steps are longer
TYPICAL = 0.55  # of the fastest step, where too few particles are seen twice to tell: 100 nm to 30 nm
FLOW_SPOTS, FLOW_PAIRS, FLOW_CROWD = 2000, (5, 40), 200  # spots, pairs of frames, spots of a frame that tell the flow without links
FLOW_FEWEST, FLOW_SMALLEST_PX = 20, 40  # spots, and size of the field, that tell it at all
LINKS_IN_BLOCK = 300  # of a piece of the flow, whose median then errs by 7 % of a step
SURVIVING, REAPPEARING = 0.9, 0.5  # shares before any is known: of particles seen in the next frame, of missed ones in the one after
WORTH = 5.0  # spots that the shares above are worth
BRIGHTNESSES = 12  # of which shares are measured
SHORTEST = 4  # steps of a track that tells how the tracks' speeds are spread
PRIOR_STEPS = (0.6, 10.0)  # fewer is no distribution; more would shut out what the video showed none of
TAILS = np.array([2.0, 3.0, 5.0, 10.0, 30.0])
SAMPLE = 4000  # links, or tracks, that tell a number well enough
LEVELS = 256  # of brightness, in tables


@dataclass(frozen=True)
class Clock:
    """Frames in turn, without those that repeat another: when each was taken, where its spots begin, and how far the run of frames goes.

    Attributes
    ----------
    time : (m,) int64, frame number
    first : (m + 1,) int64, the first row of each frame and the end of the last
    past, left : (m,) int64, frames before and after it in its run
    """

    time: np.ndarray
    first: np.ndarray
    past: np.ndarray
    left: np.ndarray

    @classmethod
    def of(cls, spots: Spots) -> Clock:
        """Return the frames of the whole video as one run."""
        time = spots.distinct.astype(np.int64)
        first = np.append(np.searchsorted(spots.frame, time), len(spots)).astype(np.int64)
        return cls(time, first, np.arange(len(time)), np.arange(len(time))[::-1])

    @property
    def number(self) -> np.ndarray:
        """(n,) which of the frames each spot is in."""
        return np.repeat(np.arange(len(self.time)), np.diff(self.first))

    def longest(self, gap: int) -> int:
        """Return the longest time that a link may span."""
        apart = min(gap + 1, len(self.time) - 1)
        return int((self.time[apart:] - self.time[:-apart]).max()) if apart > 0 else 1


@dataclass(frozen=True)
class Odds:
    """What a pass of linking takes for known.

    Attributes
    ----------
    path_px : (n_frames, 2), common motion
    share : of a brightness that changes in proportion: brightness is ``asinh(share SNR) / (share scale)``
    scale : of its change
    follow, tail, prior_steps : as in `nta.kernels.link.link`
    lowest, highest : brightness of the first and the last column of `table`
    table : (4, LEVELS) by brightness: ln of the odds to be seen in the next frame, and in the one after, ln of the density of new tracks,
        ln of the sum of the prior's squared steps
    """

    path_px: np.ndarray
    gate_px: float
    gap: int
    share: float
    scale: float
    follow: float
    tail: float
    prior_steps: float
    lowest: float
    highest: float
    table: np.ndarray

    def gates_px(self, clock: Clock) -> np.ndarray:
        """Return the longest step over 1, 2 ... frames, as far as a link may span."""
        return self.gate_px * np.sqrt(np.arange(1, clock.longest(self.gap) + 1))

    def brightness(self, snr: np.ndarray) -> np.ndarray:
        """Return the brightness of spots in units of its change."""
        return np.arcsinh(self.share * snr) / (self.share * self.scale)

    def level(self, brightness: np.ndarray) -> np.ndarray:
        """Return the column of the table nearest to each brightness."""
        step = max(self.highest - self.lowest, 1e-9) / (LEVELS - 1)
        return np.clip((brightness - self.lowest) / step + 0.5, 0, LEVELS - 1).astype(np.int16)


@dataclass(frozen=True)
class Pass:
    """What a pass made of the spots, by row of `Spots`, as `nta.kernels.link.link` writes it."""

    previous: np.ndarray
    particle: np.ndarray
    chance: np.ndarray


def at_rest(spots: Spots, path_px: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return x and y in px without the common motion."""
    return spots.x_px - path_px[spots.frame, 0], spots.y_px - path_px[spots.frame, 1]


def first_odds(spots: Spots, clock: Clock, fastest_px: float) -> Odds:
    """Return what is known before there are links: flow and typical step from the displacements between all spots of two frames."""
    flow, step = _flow_without_links(spots, clock)
    density = len(spots) / len(clock.time) / spots.area_px
    table = [
        np.log(SURVIVING / (1 - SURVIVING)),
        np.log(REAPPEARING / (1 - REAPPEARING)),
        # a spot is as likely new as a track ends; of its brightness nothing is said, as it does not change on so coarse a scale
        np.log((1 - SURVIVING) * density) + _log_student(TAILS[1]),
        np.log(2.0 * (step or TYPICAL * fastest_px) ** 2),
    ]
    return Odds(
        path_px=np.outer(np.arange(spots.n_frames), flow),
        gate_px=_widest(density, fastest_px),
        gap=1,
        share=1.0,
        scale=1e6,
        follow=1.0,
        tail=TAILS[1],
        prior_steps=1.0,
        lowest=0.0,
        highest=1.0,
        table=np.repeat(np.array(table)[:, None], LEVELS, axis=1),
    )


def _log_student(tail: float) -> float:
    """Return the log of the height of Student's distribution of scale 1."""
    return lgamma(0.5 * (tail + 1)) - lgamma(0.5 * tail) - 0.5 * float(np.log(np.pi * tail))


def _flow_without_links(spots: Spots, clock: Clock) -> tuple[np.ndarray, float | None]:
    """Return the flow in px a frame and the step along an axis, as pairs of frames spread over the video tell them."""
    apart = np.diff(clock.time)
    lapse = int(np.median(apart)) if len(apart) else 1
    pairs = np.flatnonzero(apart == lapse)
    in_frame = min(len(spots) / len(clock.time), float(FLOW_CROWD))
    n_pairs = int(np.clip(FLOW_SPOTS / (2 * in_frame), *FLOW_PAIRS))
    pairs = pairs[np.unique(np.linspace(0, len(pairs) - 1, n_pairs).astype(int))] if len(pairs) else pairs
    frames = np.unique(np.concatenate([pairs, pairs + 1]))
    rows = np.concatenate([np.empty(0, np.int64), *(np.arange(clock.first[f], clock.first[f + 1]) for f in frames)])
    number = np.repeat(frames, np.diff(clock.first)[frames])
    x, y = spots.x_px[rows], spots.y_px[rows]
    (left, wide), (top, high) = ((float(c.min()), float(np.ptp(c))) for c in (spots.x_px, spots.y_px))
    # of a crowd the middle is enough
    share = min(1.0, float(np.sqrt(FLOW_CROWD * 2 * n_pairs / max(len(rows), 1))))
    size = int(share * min(wide, high))
    middle = (np.abs(x - left - wide / 2) <= share * wide / 2) & (np.abs(y - top - high / 2) <= share * high / 2)
    if np.count_nonzero(middle) < FLOW_FEWEST or size < FLOW_SMALLEST_PX:
        return np.zeros(2), None
    found = find_cluster(number[middle], x[middle], y[middle], pairs, size)
    return (np.zeros(2), None) if found is None else (np.array(found.centre) / lapse, found.step_px / np.sqrt(lapse))


def _widest(density: float, fastest_px: float) -> float:
    """Return the gate that few of the fastest steps are beyond, or where a step of theirs would sooner be an end and a new particle."""
    rival = (1 - SURVIVING) ** 2 / SURVIVING * density
    room = float(np.log(1 / (2 * np.pi * fastest_px**2 * rival)))
    return fastest_px * min(GATE_SD, float(np.sqrt(2 * max(room, 0.5))))


def learn_odds(spots: Spots, clock: Clock, links: Pass, widest_px: float) -> Odds | None:
    """Return what the links of a pass tell of the video; None where there are too few."""
    number = clock.number
    after = np.flatnonzero(links.previous >= 0)
    before = links.previous[after]
    waited = number[after] - number[before]
    # the one link of two spots is a stranger's as often as not
    length = np.bincount(links.particle, minlength=1)[links.particle[after]]
    good = (waited == 1) & (length >= 3)
    if not good.any():
        return None
    i, j = before[good], after[good]
    path = _follow_flow(spots, i, j)
    x, y = at_rest(spots, path)
    own = np.column_stack([x[j] - x[i], y[j] - y[i]])
    own /= np.sqrt(spots.frame[j] - spots.frame[i])[:, None]
    gate = measured_gate(own[:: max(1, len(own) // (5 * SAMPLE))], widest_px)
    share, scale, follow, tail = _learn_brightness(spots.snr, i, j)
    brightness = np.arcsinh(share * spots.snr) / (share * scale)
    ordered = np.sort(brightness[:: max(1, len(brightness) // SAMPLE)])
    low, high = _quantiles(ordered, np.array([0.001, 0.999]))
    grid = np.linspace(low, high, LEVELS)
    steps, prior = _learn_speeds(links.particle, j, np.sum(own**2, axis=1), brightness, grid)
    bridged = waited == 2
    gap = int(bridged.any() and links.chance[after[bridged]].mean() > 0.5)
    ends = _learn_ends(spots, clock, links, brightness, ordered, grid)
    return Odds(path, gate, gap, share, scale, follow, tail, steps, float(grid[0]), float(grid[-1]), np.vstack([ends, prior]))


def _follow_flow(spots: Spots, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """Return the path of the common motion: the median velocity of the steps from spots `i` to `j` in pieces of the video, interpolated."""
    pieces = max(1, len(j) // LINKS_IN_BLOCK)
    length = len(j) // pieces
    rows = np.linspace(0, len(j) - length, pieces).astype(int)[:, None] + np.arange(length)
    middle = 0.5 * (spots.frame[j[rows[:, 0]]] + spots.frame[j[rows[:, -1]]]) - 0.5
    lapse = spots.frame[j] - spots.frame[i]
    velocity = np.empty((spots.n_frames - 1, 2))
    for axis, at in enumerate((spots.x_px, spots.y_px)):
        each = np.median(((at[j] - at[i]) / lapse)[rows], axis=1)
        velocity[:, axis] = np.interp(np.arange(spots.n_frames - 1) + 0.5, middle, each)
    return np.vstack([np.zeros(2), np.cumsum(velocity, axis=0)])


def measured_gate(steps_px: np.ndarray, widest_px: float) -> float:
    """Return the radius at which steps become as rare, per area, as twice the chance links in the outer rim of the widest gate."""
    length = np.sqrt(np.sum(steps_px**2, axis=1))
    if len(length) < 100:
        return widest_px
    width = widest_px / 40
    count = np.bincount((length / width).astype(np.int64), minlength=40)[:40]
    density = count / (width**2 * np.arange(1, 80, 2))
    chance = np.sum(length > 0.8 * widest_px) / (0.36 * widest_px**2)
    above = np.flatnonzero(density > 2 * chance)
    # a quarter more: what lies between is a true step as often as not, and the likelihood knows where it was cut
    return float(min(widest_px, 1.25 * width * (above[-1] + 1))) if len(above) else widest_px


def brightness_share(snr: np.ndarray, i: np.ndarray, j: np.ndarray) -> float:
    """Return the share `s` for which changes of ``asinh(s SNR) / s`` from spots `i` to `j` are alike for the bright and the dim.

    The change has a constant part, the noise, and one in proportion, the walk through the light; asinh makes one scale of both.
    """
    dimmer = np.minimum(snr[i], snr[j])
    bright = dimmer >= np.median(np.concatenate([snr[i], snr[j]]))
    share = np.median(np.abs(np.log(snr[j[bright]] / snr[i[bright]]))) / (0.6745 * np.sqrt(2)) if bright.any() else 0.2
    return float(np.clip(share, 0.02, 1.0))


def _learn_brightness(snr: np.ndarray, i: np.ndarray, j: np.ndarray) -> tuple[float, float, float, float]:
    """Return share and scale of the change of brightness, how far a track's goes along with a spot, and the change's degrees of freedom.

    A walk seen with noise: successive changes are correlated by ``-t / (1 + t^2)``, the best forecast goes a share ``1 - t`` along with
    each spot, and errs by the change's scale over ``sqrt(1 + t^2)`` (a moving average of first order).
    """
    some = slice(None, None, max(1, len(j) // SAMPLE))
    share = brightness_share(snr, i[some], j[some])
    stable = np.arcsinh(share * snr) / share
    change = stable[j] - stable[i]
    typical = max(float(np.median(np.abs(change[some]))) / 0.6745, 0.5)
    clipped = np.clip(change / typical, -3, 3)
    into = np.full(len(snr), np.nan)
    into[j] = clipped
    pair = into[i] * clipped
    told = np.isfinite(pair)
    together = float(np.sum(pair[told])) / max(float(np.sum(clipped[told] ** 2)), 1.0) if told.any() else 0.0
    together = float(np.clip(-together, 1e-6, 0.49))
    lag = (1 - np.sqrt(1 - 4 * together**2)) / (2 * together)
    scale, tail = _fit_student(change[some] / np.sqrt(1 + lag**2))
    return share, max(scale, 0.35), 1 - lag, tail


def _fit_student(z: np.ndarray) -> tuple[float, float]:
    """Return scale and degrees of freedom of Student's distribution about 0 under which `z` is likeliest."""
    best = (-np.inf, 1.0, TAILS[1])
    square = z**2
    variance = max(float(np.median(square)), 1e-6)
    for tail in TAILS:
        for _ in range(20):
            # what the weighted mean of squares is over the variance, raised to what makes it Fisher's scoring in its logarithm
            ratio = (tail + 1) * float(np.mean(square / (square + tail * variance)))
            variance = max(variance * ratio ** (1 + 3 / tail), 1e-6)
            if abs(ratio - 1) < 1e-4:
                break
        fit = _log_student(tail) - 0.5 * np.log(variance) - 0.5 * (tail + 1) * float(np.mean(np.log1p(square / (tail * variance))))
        if fit < best[0]:
            break  # likelihood has one peak
        best = (fit, float(np.sqrt(variance)), float(tail))
    return best[1], best[2]


def _learn_speeds(
    particle: np.ndarray, j: np.ndarray, square: np.ndarray, brightness: np.ndarray, grid: np.ndarray
) -> tuple[float, np.ndarray]:
    """Return the prior of a track's steps: how many it is worth, and ln of the sum of their squares at each brightness of the grid.

    The log of the sum of n squared steps has the mean ``ln S0 + psi(n) - psi(a)`` and the variance ``psi'(n) + psi'(a)`` under the
    gamma prior; the mean is a straight line in brightness.
    """
    from scipy.special import digamma, polygamma

    count = np.bincount(particle[j])
    track = np.flatnonzero(count >= min(SHORTEST, count.max()))
    track = track[:: max(1, len(track) // SAMPLE)]
    n = count[track].astype(float)
    level = np.bincount(particle[j], brightness[j])[track] / n
    log_sum = np.log(np.maximum(np.bincount(particle[j], square)[track], 1e-9)) - digamma(n)
    spread = level - level.mean()
    slope = float(np.sum(spread * log_sum)) / (float(np.sum(spread**2)) + 5.0 * max(float(np.var(level)), 1.0))
    rest = log_sum - log_sum.mean() - slope * spread
    by_chance = polygamma(1, np.arange(1, count.max() + 1))[count[track] - 1]
    between = max(float(np.mean(rest**2 - by_chance)), 1e-3)
    some = np.geomspace(*PRIOR_STEPS, 30)
    steps = float(np.interp(-between, -polygamma(1, some), some))
    centre = log_sum.mean() + float(digamma(steps))
    low, high = np.quantile(level, [0.02, 0.98])
    return steps, centre + slope * (np.clip(grid, low, high) - level.mean())


def _quantiles(ordered: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Return the values below which `shares` of a sorted sample lie."""
    return np.interp(shares * (len(ordered) - 1), np.arange(len(ordered)), ordered)


def _learn_ends(spots: Spots, clock: Clock, links: Pass, brightness: np.ndarray, ordered: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Return, at each brightness of the grid, ln of the odds to be seen 1 and 2 frames later, and of the density of new tracks.

    Tracks begin and end where particles are dim. `ordered` is a sorted sample of the brightness.
    """
    n, number = len(spots), clock.number
    waited = np.zeros(n, np.int64)
    linked = np.flatnonzero(links.previous >= 0)
    waited[links.previous[linked]] = number[linked] - number[links.previous[linked]]
    bins = int(np.clip(n // 50, 1, BRIGHTNESSES))
    edges = _quantiles(ordered, np.linspace(0, 1, bins + 1))
    bin_of = np.clip(np.searchsorted(edges, brightness, side="right") - 1, 0, bins - 1)
    middle = np.maximum.accumulate(0.5 * (edges[1:] + edges[:-1]) + 1e-9 * np.arange(bins))

    def share(of: np.ndarray, among: np.ndarray, usual: float) -> np.ndarray:
        whole = np.bincount(bin_of[among], minlength=bins)
        return (np.bincount(bin_of[of & among], minlength=bins) + WORTH * usual) / (whole + WORTH)

    left = clock.left[number]
    seen = share(waited == 1, left > 0, SURVIVING)
    back = share(waited == 2, (waited != 1) & (left > 1), REAPPEARING)
    new = share(links.previous < 0, clock.past[number] > 0, 1 - SURVIVING)
    frames = np.count_nonzero(np.diff(clock.first))
    density = np.bincount(bin_of, minlength=bins) / frames / spots.area_px / np.maximum(np.diff(edges), 0.1)
    values = np.log([seen / (1 - seen), back / (1 - back), new * np.maximum(density, 1e-12)])
    return np.array([np.interp(grid, middle, value) for value in values])
