"""Time stamps of frames -> Clock: the frame rate they tell, dropped frames, and intervals that vary."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from nta.errors import Notice

TOLERANCE = 0.1  # of an interval; less jitter than this does not touch a mean squared displacement


class Clock:
    """The intervals between frames.

    Parameters
    ----------
    stamps : increasing, in ticks, one a frame; empty where they are not known
    tick_s : s, length of a tick

    Attributes
    ----------
    typical : ticks between frames without those that were dropped; 0 where unknown
    last : the last stamp, or None
    n_dropped : frames missing in gaps that are whole multiples of the typical interval
    """

    def __init__(self, stamps: Sequence[int], tick_s: Fraction) -> None:
        self._tick_s = tick_s
        stamped = np.asarray(stamps, np.int64)
        self._steps = stamped[1:] - stamped[:-1]
        self.last = stamps[-1] if len(stamps) else None
        self.typical = 0.0
        self._lost, self._even = np.zeros(0, int), np.zeros(0, bool)
        if len(self._steps) and tick_s:
            self._judge()
        self.n_dropped = int(self._lost.sum())

    def _judge(self) -> None:
        """Sort the intervals into typical ones, gaps and odd ones."""
        steps = self._steps
        middle = float(np.median(steps))
        # neither a gap nor rounding to whole milliseconds bends the mean of what is near the median
        self.typical = typical = float(steps[np.abs(steps - middle) <= 0.5 * middle].mean())
        # constant intervals rounded to a grain of time are off by less than a grain
        slack = max(TOLERANCE * typical, float(np.gcd.reduce(steps)) * (1 - 1 / (len(steps) + 1)))
        multiple = np.rint(steps / typical)
        self._even = (multiple >= 1) & (np.abs(steps - multiple * typical) <= slack)
        self._lost = np.where(self._even, multiple - 1, 0).astype(int)

    @property
    def rate_hz(self) -> float:
        """Frames per second that the stamps tell; 0 where unknown."""
        return 1.0 / (self.typical * float(self._tick_s)) if self.typical else 0.0

    def notices(self) -> list[Notice]:
        """Return what the user should know of the intervals."""
        found = []
        if self.n_dropped:
            gaps = np.flatnonzero(self._lost)
            count = f"frames were dropped: {self.n_dropped} (gaps: {len(gaps)}, the first after frame {gaps[0]})"
            text = f"by the time stamps, {count}; a step across a gap is taken for one between neighbours"
            found.append(Notice("dropped_frames", text))
        if not self._even.all():
            low, mid, high = (1e3 * float(self._tick_s) * float(t) for t in (self._steps.min(), self.typical, self._steps.max()))
            count = f"{np.count_nonzero(~self._even)} of {len(self._steps)} intervals between frames are odd"
            text = f"{count}: from {low:.4g} to {high:.4g} ms, typically {mid:.4g} ms; all are taken as equal"
            found.append(Notice("variable_frame_rate", text))
        return found
