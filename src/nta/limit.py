"""Presence -> DetectionLimit: the smallest particle that this video could have shown."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from nta.brightness import LOWEST, Brightness
from nta.depth import Depth, moves
from nta.distribution import Distribution
from nta.errors import Notice
from nta.presence import Presence

FOUND = 0.5  # of those present
CELLS = 120  # of depth
WANDER, FARTHEST = 2.5, 20.0  # how far who is present may come: SD of a walk in the whole video, and widths of the light at most
MOMENTS = (0.1, 0.3, 0.5, 0.7, 0.9)  # of the video, at which somebody is present
AT_LIMIT = 1.05  # a cell and a half of the grid of sizes
SMALLEST_NM, LARGEST_NM, PRECISION = 5.0, 2000.0, 0.01  # of the search, and of ln of the limit


@dataclass(frozen=True)
class DetectionLimit:
    """The diameter of which half of the particles present are found, in nm, with its 95 % interval."""

    diameter_nm: float
    low_nm: float
    high_nm: float


def find_limit(presence: Presence) -> DetectionLimit:
    """Find the size of which half of the particles that are in the middle of the light, within its SD, at some time have a sized track.

    Its interval is that of the brightness of such a particle.
    """
    brightness = presence.brightness
    assert brightness is not None
    low, high = np.log(SMALLEST_NM), np.log(LARGEST_NM)
    while high - low > PRECISION:
        middle = (low + high) / 2
        if found_share(brightness, presence.width_um, float(np.exp(middle))) < FOUND:
            low = middle
        else:
            high = middle
    diameter = float(np.exp((low + high) / 2))
    around = diameter * np.exp(np.array([-0.05, 0.05]))
    slope = float(np.diff(brightness.log_peak(around))[0]) / 0.1
    sd = float(brightness.log_peak_sd(np.array([diameter]))[0]) / max(slope, LOWEST)
    return DetectionLimit(diameter, diameter * float(np.exp(-1.96 * sd)), diameter * float(np.exp(1.96 * sd)))


def found_share(brightness: Brightness, width_um: float, diameter_nm: float) -> float:
    """Return the share of those who are within `width_um` of the middle of the light at some time that have a sized track, then or ever.

    A particle is looked for once in as many frames as a sized track has at least; where it is then, it is in such a track or not.
    """
    view, diffusion = brightness.view, np.array([brightness.constant / diameter_nm])
    apart = view.min_frames
    step = np.sqrt(2 * diffusion[0] * view.dt_s)
    end = width_um + min(WANDER * step * np.sqrt(view.n_frames), FARTHEST * width_um)
    depth = Depth.of(view, width_um, diffusion, brightness.log_peak(np.array([diameter_nm])))
    cell = end / CELLS
    z = (np.arange(CELLS) + 0.5) * cell
    missed = 1 - np.interp(z, depth.z_um[0], depth.followed()[0], right=0.0)
    move = moves(np.array([cell / (step * np.sqrt(apart))]), CELLS)[0]
    move /= move.sum(axis=1, keepdims=True)  # who is as far away as that is never found
    looks = max(view.n_frames // apart, 1)
    never = [np.ones(CELLS)]  # not found in 0, 1 ... looks before, or after
    for _ in range(looks):
        never.append(move @ (missed * never[-1]))
    there = z < width_um
    before = [round(moment * looks) for moment in MOMENTS]
    return float(1 - np.mean([np.mean((never[n] * missed * never[looks - n])[there]) for n in before]))


def without_peaks_at(limit: DetectionLimit | None, distribution: Distribution) -> Distribution:
    """Return the distribution without the peaks at the limit, where numbers end because nothing smaller is seen, and say so."""
    if limit is None or distribution.empty:
        return distribution
    edge = AT_LIMIT * limit.diameter_nm
    peaks = tuple(peak for peak in distribution.peaks if peak.diameter_nm > edge)
    if len(peaks) == len(distribution.peaks) and distribution.statistic("mode").value > edge:
        return distribution
    text = f"numbers rise down to the smallest size that this video can show, about {limit.diameter_nm:.0f} nm: no population of its own"
    return replace(distribution, peaks=peaks, notices=(*distribution.notices, Notice("peak_at_limit", text)))
