"""Result -> what the user should know before trusting it."""

from __future__ import annotations

import itertools

import numpy as np

from nta.errors import Notice
from nta.flags import REFUSED, Flag
from nta.result import Result
from nta.sizes import POOR
from nta.tracks import Tracks

FEW_PARTICLES = 50
SATURATED_SHARE = 0.2
AT_THE_END = 1.1  # of the grid: a size's own error
CROWDED = 0.01  # share of wrong links; one in ten tracks of ten frames then is of two particles
UNLIKE = 0.02  # share of tracks; fewer, and there are always some of two particles, hardly shift a size


def find_notices(result: Result) -> tuple[Notice, ...]:
    """Return the warnings of the whole analysis, in the order of its stages."""
    found: list[Notice] = []

    def warn(code: str, message: str) -> None:
        found.append(Notice(code, message))

    calibration, spots, tracks, distribution = result.calibration, result.spots, result.tracks, result.distribution
    if calibration.temperature_c.source == "assumed" and result.settings.medium.viscosity_mpas is None:
        warn(
            "temperature_assumed",
            f"temperature unknown: {calibration.temperature_c.value:g} C assumed, +- 2 C, 5 % in size; give --temperature-c",
        )
    if len(spots) == 0:
        warn("no_particles", "no particles found in any frame; if there are some, see --polarity and --false-spots-per-frame")
        return tuple(found)
    if len(result.diffusion) == 0:
        longest = int(tracks.n_spots.max())
        warn(
            "no_tracks",
            f"no track of {result.settings.tracks.min_frames} frames or more: nothing is sized; the longest has {longest} (--min-frames)",
        )
        return tuple(found)
    saturated = float(np.mean(spots.flags & np.uint32(Flag.SATURATED) > 0))
    if saturated > SATURATED_SHARE:
        warn("saturated", f"{100 * saturated:.0f} % of the spots reach the camera's ceiling; lower the gain or the exposure")
    # by how well steps fit their tracks, and by who else was near
    wrong = max(result.diffusion.chosen["wrong_link_share"].value, _doubtful_links(tracks))
    if wrong > CROWDED:
        warn("crowded", f"crowded: {100 * wrong:.1f} % of the links lead to another particle; dilute the sample")
    unlike = np.mean(result.sizes.flags[result.diffusion.track] & np.uint32(Flag.POOR_FIT | Flag.DIRECTED | Flag.CONFINED) > 0) - POOR
    if unlike > max(UNLIKE, 3 * np.sqrt(POOR / len(result.diffusion))):
        text = f"{100 * (unlike + POOR):.1f} % of the tracks are not of free diffusion, where chance gives {100 * POOR:g} %"
        warn(
            "model_misfit", f"{text}: particles held or carried, or two in one track; see poor_fit, confined and directed in particles.csv"
        )
    particles = distribution.independent_particles
    if particles < FEW_PARTICLES:
        warn("few_particles", f"the tracks are of about {particles:.0f} different particles only; film longer or at more places")
    if distribution.share(distribution.grid_nm[-1] / AT_THE_END, np.inf).value > 0.01:
        warn("beyond_grid", f"more than 1 % of the particles are at the upper end of the sizes considered, {distribution.grid_nm[-1]:g} nm")
    if distribution.share(0.0, distribution.grid_nm[0] * AT_THE_END).value > 0.01:
        warn("below_grid", f"more than 1 % of the particles are at the lower end of the sizes considered, {distribution.grid_nm[0]:g} nm")
    return (*found, *_median_in_gap(result), *_weightings(result))


def _doubtful_links(tracks: Tracks) -> float:
    """Return the share of links that lead to another particle, by the chances that linking gave them; 0 where it gave none."""
    sized = (tracks.flags & np.uint32(REFUSED)) == 0
    inside = np.repeat(sized, tracks.n_spots)
    inside[tracks.start[:-1]] = False
    chance = tracks.link_chance[inside]
    return 1.0 - float(np.nan_to_num(chance, copy=False, nan=1.0).mean()) if len(chance) else 0.0


def _weightings(result: Result) -> list[Notice]:
    """Say so where other ways to count put the median beyond its interval: lengths of tracks left out, or tracks instead of particles."""
    found: list[Notice] = []
    dist = result.distribution
    if dist.empty or not len(dist.simple):
        return found
    d50 = dist.statistic("d50")
    # either way errs as much
    far = np.sqrt(2) * max(np.log(d50.high / d50.value), np.log(d50.value / d50.low))
    simple, unweighted, raw = dist.median_of(dist.simple), dist.median_of(dist.unweighted), result.raw_size_nm()["d50"]
    if abs(np.log(simple / d50.value)) > far:
        text = f"D50 is {d50.value:.0f} nm by numbers of tracks and {simple:.0f} nm by time in view: depth and track lengths do not agree"
        found.append(Notice("weightings_disagree", text))
    if max(abs(np.log(value / d50.value)) for value in (raw, unweighted)) > far:
        text = f"D50 is {raw:.0f} nm in the plain histogram of tracks, {unweighted:.0f} nm by tracks without their scatter"
        found.append(Notice("tracks_are_not_particles", f"{text} and {d50.value:.0f} nm by particles: compare like with like"))
    return found


def _median_in_gap(result: Result) -> list[Notice]:
    """Say so where the interval of the median spans the gap between two populations."""
    found = []
    median, peaks = result.distribution.statistic("d50"), result.distribution.peaks
    for left, right in itertools.pairwise(peaks):
        middle = (left.diameter_nm * right.diameter_nm) ** 0.5
        apart = right.diameter_nm / left.diameter_nm > (left.gsd * right.gsd) ** 2
        if apart and median.low < middle < median.high:
            text = f"D50 lies between populations at {left.diameter_nm:.0f} and {right.diameter_nm:.0f} nm and means little; read the peaks"
            found.append(Notice("median_in_gap", text))
    return found
