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

    def cut(self, frame: np.ndarray, start: np.ndarray) -> np.ndarray:
        """Return where tracks start with every one ended at the gaps: the length of a step across them is of an unknown time.

        `frame` and `start` are of spots ordered by track, then frame; those of a track's parts are already.
        """
        if not len(self.gaps):
            return start
        part = np.searchsorted(self.gaps, frame, side="right")
        begins = np.diff(part, prepend=-1) != 0
        begins[start[:-1]] = True
        return np.append(np.flatnonzero(begins), len(frame))

    def notices(self) -> tuple[Notice, ...]:
        """Say where frames are missing."""
        n = len(self.gaps)
        if n == 0:
            return ()
        where = f"before frame {self.gaps[0]}" if n == 1 else f"at {n} places, the first before frame {self.gaps[0]}"
        text = f"by the particles' steps, frames were dropped: about {self.missing.sum()} ({where}); tracks are cut there"
        return (Notice("dropped_frames", text),)


def find_cadence(spots: Spots, start: np.ndarray) -> Cadence:
    """Find the pairs of frames between which all particles step too far for one interval, less what they step in common.

    A squared step, over the sum S of the n others of its track, tells nothing of the particle's size: ``n ln(1 + s / S)`` is exponential
    of mean 1 (s / (S / n) is F with 2 and 2 n degrees of freedom), and its sum over the M links of a pair of frames a gamma variable.
    Its cube root is normal (Wilson & Hilferty 1931), and a pair stands out by its distance from the median over the pairs, in units
    of the spread below the median, where that is wider than chance makes it. After a lost frame the mean is twice as high.

    Nothing is looked for where steps two and three apart are alike: a compressed video follows the particles late, and catches up at
    its key frames.

    Parameters
    ----------
    spots : ordered by track, then frame
    start : (tracks + 1,) the first row of each track, and the number of rows
    """
    from scipy.special import ndtr

    from nta.kernels.tracks import sum_steps

    number = np.zeros(spots.n_frames, np.int64)
    number[spots.distinct] = np.arange(len(spots.distinct))
    m = len(spots.distinct)
    links, excess, lasted, alike = np.empty(m, np.int64), np.empty(m), np.empty(m), np.empty(2)
    sum_steps(spots.x_px, spots.y_px, spots.frame, number, start, FEWEST_STEPS, links, excess, lasted, alike)
    told = np.flatnonzero(links >= FEWEST_LINKS)
    # of two axes, each with half the mean square
    if not len(told) or alike[0] / np.sqrt(max(alike[1], 1.0) / 2.0) > LINGERING:
        return Cadence()
    mean, lasted = excess[told] / links[told], lasted[told] / links[told]
    n = links[told] - 1.0  # one went into the common motion
    score = (np.cbrt(mean) - 1.0 + 1.0 / (9 * n)) * 3 * np.sqrt(n)
    middle, low = np.quantile(score, [0.5, 0.1587])
    chance = ndtr((middle - score) / max(1.0, middle - low))
    gap = (chance < FALSE_ALARMS / len(score)) & (mean >= LEAST_RATIO * np.median(mean))
    # (n - 1) s / S has the mean 1: the time over which the particles stepped
    missing = np.maximum(np.rint(lasted / max(float(np.median(lasted)), 1e-12)) - 1, 1)
    return Cadence(spots.distinct[told][gap], missing[gap].astype(np.int64))
