"""Tracks -> Diffusion: how fast each particle diffuses, and how likely its track is at every size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from nta import physics
from nta.drift import Drift
from nta.errors import Notice
from nta.intervals import allowed_drops, coefficient_intervals
from nta.misfit import chance_to_fit_worse
from nta.settings import Used
from nta.shared import SharedModel, fit_shared, guess_shared, seem_free
from nta.steps import Stride, gather_steps, shortest_stride
from nta.tracks import Tracks
from nta.video import Calibration


@dataclass(frozen=True)
class Diffusion:
    """One row per sized track.

    Attributes
    ----------
    track : (m,) int64, number of the track in `Tracks`
    d_um2_s, low, high : (m,) float64, maximum-likelihood diffusion coefficient and its 95 % likelihood interval, um^2/s
    n_steps : (m,) int64, displacements used
    grid_nm : (k,) float64, log-spaced diameters
    loglik : (m, k) float32, log-likelihood of the track at each diameter, less its row maximum
    loglik_immobile, loglik_noise, loglik_directed, loglik_confined : (m,) float64, log-likelihood, less the same maximum, of a particle
        that does not move, of a chain of unrelated detections, of diffusion with a velocity of its own and of that in a trap
    p_fit : (m,) float64, chance that a freely diffusing particle of this coefficient fits as badly or worse
    stokes_einstein_nm_um2_s : diameter in nm times diffusion coefficient
    shared : what all tracks share
    chosen : ``localisation_floor_px, localisation_factor, wrong_link_share, stride_frames``, and the exposure where it is estimated
    """

    track: np.ndarray
    d_um2_s: np.ndarray
    low: np.ndarray
    high: np.ndarray
    n_steps: np.ndarray
    grid_nm: np.ndarray
    loglik: np.ndarray
    loglik_immobile: np.ndarray
    loglik_noise: np.ndarray
    loglik_directed: np.ndarray
    loglik_confined: np.ndarray
    p_fit: np.ndarray
    stokes_einstein_nm_um2_s: float
    shared: SharedModel | None = None
    chosen: Mapping[str, Used] = field(default_factory=dict)
    notices: tuple[Notice, ...] = ()

    def __len__(self) -> int:
        return len(self.track)

    @property
    def grid_um2_s(self) -> np.ndarray:
        """(k,) diffusion coefficients of the diameters of the grid."""
        return self.stokes_einstein_nm_um2_s / self.grid_nm

    def exposure_s(self, calibration: Calibration) -> Used | None:
        """Return the exposure: the known one, else the one that the tracks told, else ``None``."""
        told = self.chosen.get("exposure_ms")
        if calibration.exposure_s is not None or told is None:
            return calibration.exposure_s
        return Used(told.value / 1e3, told.source, (told.sd or 0.0) / 1e3)

    def raw_diameters_nm(self) -> np.ndarray:
        """Return the maximum-likelihood diameters of the tracks whose motion is resolved, (<= m,)."""
        moving = self.d_um2_s > 0
        return self.stokes_einstein_nm_um2_s / self.d_um2_s[moving]


SMALLEST_NM, LARGEST_NM, GRID_POINTS = 15.0, 3500.0, 160
BLOCK_TRACKS = 1024  # that are read at a time


def size_grid_nm() -> np.ndarray:
    """Return the log-spaced diameters on which every likelihood and distribution is given, nm."""
    return np.geomspace(SMALLEST_NM, LARGEST_NM, GRID_POINTS)


def find_diffusion(tracks: Tracks, drift: Drift, calibration: Calibration, viscosity_mpas: float) -> Diffusion:
    """Evaluate the exact likelihood of every sized track on the size grid.

    Localisation error is pooled over the video: a floor and a factor on the spots' own errors, and the exposure where it is unknown,
    are those under which all tracks together are most likely, whatever the size of each. Where successive frames
    are correlated (compressed video) the tracks are read at the shortest stride at which that no longer matters.
    """
    grid = size_grid_nm()
    steps = gather_steps(tracks, drift, calibration.pixel_size_um.value)
    constant = physics.stokes_einstein_constant(calibration.temperature_c.value, viscosity_mpas)
    coefficients = constant / grid
    if not len(steps.owner):
        none, no_rows = np.empty(0), np.empty((0, len(grid)), np.float32)
        return Diffusion(steps.owner, none, none, none, steps.owner, grid, no_rows, none, none, none, none, none, constant)
    exposure = calibration.exposure_s
    exposed = exposure.value * calibration.fps.value if exposure is not None else 1.0
    apart = shortest_stride(steps, exposed)
    if apart != Stride(1):
        # what a few do that have a way of their own passes for a correlation of all
        free = seem_free(steps, guess_shared(tracks, calibration), coefficients)
        without = shortest_stride(steps.some(free), exposed) if 2 * len(free) > len(steps.owner) else apart
        apart = without if without == Stride(1) else apart
    stride = apart.frames
    strided = steps.strided(stride)
    model, chosen, notices = fit_shared(strided, stride, tracks, calibration, coefficients)
    if stride > 1:
        text = "successive frames are correlated, as compression or duplicated frames make them"
        notices += (Notice("correlated_frames", f"{text}; sizes are read at a stride of {stride} frames"),)
    if not apart.settled:
        text = f"steps stay correlated up to {stride} frames; sizes may be off by {100 * apart.doubt:.0f} %"
        notices += (Notice("correlated_steps", text),)
    share = 1.0 / stride  # the sub-tracks of one track overlap in time: together they tell no more than one of them does
    # the rows of each owner follow each other
    first = np.flatnonzero(np.diff(strided.owner, prepend=-1))
    edges = np.append(first, len(strided.owner))
    m, k = len(first), len(grid)
    n_steps = np.add.reduceat(np.diff(strided.start) - 1, first)
    lapse = np.add.reduceat(strided.lapse, first) / n_steps
    spots = np.append(strided.start[first], strided.start[-1])
    noise = np.add.reduceat(model.variance_um2(strided), spots[:-1]) / np.diff(spots) / (lapse * model.dt_s)
    loglik, others, (d, low, high, p_fit) = np.empty((m, k), np.float32), np.empty((4, m)), np.empty((4, m))
    for some in (slice(i, min(i + BLOCK_TRACKS, m)) for i in range(0, m, BLOCK_TRACKS)):
        part = strided.part(edges[some.start], edges[some.stop])
        total = np.column_stack(
            [
                model.loglik(part, np.append(coefficients, 0.0)),
                model.loglik_noise(part),
                model.loglik_directed(part, coefficients),
                model.loglik_confined(part, coefficients),
            ]
        )
        total *= share
        if len(total) > some.stop - some.start:
            total = np.add.reduceat(total, first[some] - edges[some.start])
        total -= total[:, :k].max(axis=1, keepdims=True)
        loglik[some], others[:, some] = total[:, :k], total[:, k:].T
        drop = allowed_drops(n_steps[some] * share, noise[some], coefficients, model.exposure_s / model.dt_s)
        d[some], low[some], high[some] = coefficient_intervals(total[:, :k], total[:, k], coefficients, drop)
        # any of the sub-tracks of one track may fit badly
        parts = np.diff(edges[some.start : some.stop + 1])
        each = chance_to_fit_worse(part, model, np.repeat(d[some], parts))
        p_fit[some] = np.minimum(np.minimum.reduceat(each, first[some] - edges[some.start]) * parts, 1.0)
    immobile, chain, directed, confined = others
    return Diffusion(
        strided.owner[first], d, low, high, n_steps, grid, loglik, immobile, chain, directed, confined, p_fit, constant, model,
        chosen={**chosen, "stride_frames": Used(stride, "measured"), "correlation_doubt": Used(round(apart.doubt, 4), "measured")},
        notices=notices,
    )  # fmt: skip
