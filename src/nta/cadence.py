"""Linked spots -> Cadence: where frames are missing, by what the particles' steps tell of the clock."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from nta.errors import Notice
from nta.spots import Spots

FALSE_ALARMS = 5e-3  # regular videos of which one is said to lack frames; at a fifth of that a third fewer gaps are found
LEAST_RATIO = 1.5  # half way from the mean squared step over one interval to that over two
FEWEST_LINKS = 10  # of a pair of frames; fewer hardly ever tell that one is missing, and little of what moves all
LINGERING = 3.0  # standard errors; steps further apart than neighbours are not alike in free diffusion
FEWEST_STEPS = 5  # of a track that tells how far its particle steps


@dataclass(frozen=True)
class Cadence:
    """Where the film lacks frames.

    Attributes
    ----------
    gaps : (n,) int64, ascending, frames before which others are missing
    missing : (n,) int64, how many there, one at least
    """

    gaps: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    missing: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))

    def cut(self, spots: Spots, particle: np.ndarray) -> np.ndarray:
        """Return the particle of each spot with every one ended at the gaps: the length of a step across them is of an unknown time."""
        if not len(self.gaps):
            return particle
        part = np.searchsorted(self.gaps, spots.frame, side="right")
        return np.unique(particle * (len(self.gaps) + 1) + part, return_inverse=True)[1]

    def notices(self) -> tuple[Notice, ...]:
        """Say where frames are missing."""
        n = len(self.gaps)
        if n == 0:
            return ()
        where = f"before frame {self.gaps[0]}" if n == 1 else f"at {n} places, the first before frame {self.gaps[0]}"
        text = f"by the particles' steps, frames were dropped: about {self.missing.sum()} ({where}); tracks are cut there"
        return (Notice("dropped_frames", text),)


def find_cadence(spots: Spots, particle: np.ndarray) -> Cadence:
    """Find the pairs of frames between which all particles step too far for one interval, less what they step in common.

    A squared step, over the sum S of the n others of its track, tells nothing of the particle's size: ``n ln(1 + s / S)`` is exponential
    of mean 1 (s / (S / n) is F with 2 and 2 n degrees of freedom), and its sum over the M links of a pair of frames a gamma variable.
    Its cube root is normal (Wilson & Hilferty 1931), and a pair stands out by its distance from the median over the pairs, in units
    of the spread below the median, where that is wider than chance makes it. After a lost frame the mean is twice as high.

    Nothing is looked for where steps two and three apart are alike: a compressed video follows the particles late, and catches up at
    its key frames.
    """
    order = np.lexsort((spots.frame, particle))
    shown = np.searchsorted(spots.distinct, spots.frame[order])
    linked = (np.diff(particle[order]) == 0) & (np.diff(shown) == 1)
    track, frame = particle[order][1:][linked], spots.frame[order][1:][linked]
    lapse = np.diff(spots.frame[order])[linked]
    steps = [np.diff(c[order])[linked] / np.sqrt(lapse) for c in (spots.x_px, spots.y_px)]
    enough = np.bincount(track)[track] > FEWEST_STEPS if len(track) else np.zeros(0, bool)
    _, pair, links = np.unique(frame[enough], return_inverse=True, return_counts=True)
    if not np.any(links >= FEWEST_LINKS):
        return Cadence()
    track = np.unique(track[enough], return_inverse=True)[1]
    others = np.bincount(track)[track] - 1.0
    weight = np.ones(len(track))
    # slow particles tell what is common best; which are slow is known once that is removed
    for _ in range(3):
        x, y = (_without_common(s[enough], pair, weight) for s in steps)
        squared = x**2 + y**2
        total = np.bincount(track, squared)[track]
        typical = np.maximum(total, 1e-12) / (others + 1.0)
        weight = 1.0 / typical
    if _lingering(x, y, typical, track, np.flatnonzero(linked)[enough]) > LINGERING:
        return Cadence()
    rest = np.maximum(total - squared, 1e-12)
    told = links >= FEWEST_LINKS
    mean = (np.bincount(pair, others * np.log1p(squared / rest)) / links)[told]
    n = links[told] - 1.0  # one went into the common motion
    score = (np.cbrt(mean) - 1.0 + 1.0 / (9 * n)) * 3 * np.sqrt(n)
    middle, low = np.quantile(score, [0.5, 0.1587])
    from scipy.special import ndtr

    chance = ndtr((middle - score) / max(1.0, middle - low))
    gap = (chance < FALSE_ALARMS / len(score)) & (mean >= LEAST_RATIO * np.median(mean))
    # (n - 1) s / S has the mean 1: the time over which the particles stepped
    lasted = (np.bincount(pair, (others - 1) * squared / rest) / links)[told]
    missing = np.maximum(np.rint(lasted / max(float(np.median(lasted)), 1e-12)) - 1, 1)
    return Cadence(np.unique(frame[enough])[told][gap].astype(np.int64), missing[gap].astype(np.int64))


def _without_common(step: np.ndarray, pair: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return the steps less the weighted mean of their pair of frames, as long on average as they would be without it."""
    share = weight / np.bincount(pair, weight)[pair]
    return (step - np.bincount(pair, share * step)[pair]) / np.sqrt(np.maximum(1.0 - share, 0.1))


def _lingering(x: np.ndarray, y: np.ndarray, typical: np.ndarray, track: np.ndarray, place: np.ndarray) -> float:
    """Return the mean product of steps 2 and 3 apart in units of its standard error; `place` numbers the steps, gaps left out."""
    found, n = 0.0, 0
    for apart in (2, 3):
        whole = (track[apart:] == track[:-apart]) & (place[apart:] - place[:-apart] == apart)
        found += float(np.sum(((x[apart:] * x[:-apart] + y[apart:] * y[:-apart]) / typical[apart:])[whole]))
        n += int(np.count_nonzero(whole))
    # of two axes, each with half the mean square
    return found / np.sqrt(max(n, 1) / 2.0)
