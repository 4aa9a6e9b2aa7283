"""Tracks -> Diffusion: how fast each particle diffuses, and how likely its track is at every size."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from nta import physics
from nta.drift import Drift, without_drift
from nta.errors import Notice
from nta.flags import REFUSED
from nta.settings import Used
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
    loglik_immobile, loglik_noise : (m,) float64, log-likelihood, less the same maximum, of a particle that does not move and of
        a chain of unrelated detections
    stokes_einstein_nm_um2_s : diameter in nm times diffusion coefficient
    chosen : ``exposure_ms, localisation_sd_px, stride_frames, viscosity_mpas ...``
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
    stokes_einstein_nm_um2_s: float
    chosen: Mapping[str, Used] = field(default_factory=dict)
    notices: tuple[Notice, ...] = ()

    def __len__(self) -> int:
        return len(self.track)

    def raw_diameters_nm(self) -> np.ndarray:
        """Return the maximum-likelihood diameters of the tracks whose motion is resolved, (<= m,)."""
        moving = self.d_um2_s > 0
        return self.stokes_einstein_nm_um2_s / self.d_um2_s[moving]


SMALLEST_NM, LARGEST_NM, GRID_POINTS = 15.0, 3500.0, 160
DROP_95 = 1.9207  # half the 95 % quantile of chi-square with one degree of freedom
FIT_TRACKS, FIT_GROUPS, FIT_GRID = 900, 8, 40
MOST_STRIDE = 30
# ln of the localisation floor in px, ln of the factor on a spot's own error, ln of the share of the exposure that blurs, logit of
# the share of wrong links. The peak of a smeared spot averages its path less than its centroid would: with true links its steps were
# those of 0.95 of the exposure (simulated beads of 60 and 100 nm)
PRIOR_MEAN, PRIOR_SD = np.array([np.log(0.05), np.log(1.5), np.log(0.95), -5.0]), np.array([1.0, 0.15, 0.05, 1.0])
FREE_LOGIT_SD = 1.8  # about uniform in the exposure between 0 and a frame
UNCORRELATED = 0.04  # correlations of the steps that shift a diffusion coefficient by less than this call for no longer stride


@dataclass(frozen=True)
class _Steps:
    """Sized tracks as the kernel wants them: um, frames, squared standard errors of the spots; sub-track i belongs to `owner[i]`."""

    x_um: np.ndarray
    y_um: np.ndarray
    frame: np.ndarray
    spot_variance_um2: np.ndarray
    start: np.ndarray
    owner: np.ndarray

    def some(self, rows: np.ndarray) -> _Steps:
        """Return only the sub-tracks `rows`."""
        take = np.concatenate([np.arange(self.start[r], self.start[r + 1]) for r in rows])
        start = np.concatenate([[0], np.cumsum(np.diff(self.start)[rows])])
        return _Steps(self.x_um[take], self.y_um[take], self.frame[take], self.spot_variance_um2[take], start, self.owner[rows])

    def strided(self, stride: int) -> _Steps:
        """Return the sub-tracks of every `stride`-th frame, at each offset, with frames counted in strides."""
        if stride == 1:
            return self
        track = np.repeat(np.arange(len(self.start) - 1), np.diff(self.start))
        since = self.frame - self.frame[self.start[:-1]][track]
        key = track * stride + since % stride
        order = np.lexsort((self.frame, key))
        key = key[order]
        first = np.flatnonzero(np.diff(key, prepend=-1))
        count = np.diff(np.append(first, len(key)))
        kept = np.flatnonzero(count >= 2)
        rows = np.concatenate([np.arange(first[i], first[i] + count[i]) for i in kept]) if len(kept) else np.empty(0, np.int64)
        take = order[rows]
        return _Steps(
            self.x_um[take],
            self.y_um[take],
            since[take] // stride,
            self.spot_variance_um2[take],
            np.concatenate([[0], np.cumsum(count[kept])]).astype(np.int64),
            self.owner[key[first[kept]] // stride],
        )


@dataclass(frozen=True)
class _Model:
    """What all tracks share. A spot's variance is ``floor_um^2 + factor^2`` times its own.

    The smear by motion during the exposure is in a spot's own variance already: it comes from the signal of the smeared spot.
    """

    dt_s: float
    spot_width_um: float
    gate_um: float
    floor_um: float
    factor: float
    exposure_s: float
    wrong_share: float

    def loglik(self, steps: _Steps, diffusion_um2_s: np.ndarray) -> np.ndarray:
        """Return the log-likelihood, (sub-tracks, coefficients)."""
        from nta.kernels.likelihood import track_loglik

        out = np.empty((len(steps.start) - 1, len(diffusion_um2_s)))
        track_loglik(
            steps.x_um,
            steps.y_um,
            steps.frame,
            self.floor_um**2 + self.factor**2 * steps.spot_variance_um2,
            steps.start,
            diffusion_um2_s,
            self.dt_s,
            self.exposure_s,
            self.gate_um,
            self.wrong_share,
            out,
        )
        return out

    def loglik_noise(self, steps: _Steps) -> np.ndarray:
        """Return the log-likelihood of steps that are anywhere in the gate, (sub-tracks,)."""
        return -np.log(np.pi * self.gate_um**2) * (np.diff(steps.start) - 1)


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
    steps = _steps(tracks, drift, calibration.pixel_size_um.value)
    coefficients = physics.diffusion_um2_s(grid, calibration.temperature_c.value, viscosity_mpas)
    constant = physics.stokes_einstein_constant(calibration.temperature_c.value, viscosity_mpas)
    if not len(steps.owner):
        none = np.empty(0)
        return Diffusion(
            steps.owner, none, none, none, np.empty(0, np.int64), grid, np.empty((0, len(grid)), np.float32), none, none, constant
        )
    stride, left = _stride(steps)
    strided = steps.strided(stride)
    model, chosen, notices = _fit_model(strided, stride, tracks, calibration, coefficients)
    if stride > 1:
        notices += (
            Notice(
                "correlated_frames",
                f"successive frames are correlated, as compression or duplicated frames make them; sizes are read from every {stride}th frame",
            ),
        )
    if left:
        notices += (
            Notice("correlated_steps", f"steps stay correlated up to {stride} frames; sizes may be off by {100 * abs(left):.0f} %"),
        )
    share = 1.0 / stride  # the sub-tracks of one track overlap in time: together they tell no more than one of them does
    everything = np.column_stack([model.loglik(strided, np.append(coefficients, 0.0)), model.loglik_noise(strided)])
    owners, row = np.unique(strided.owner, return_inverse=True)
    total = np.zeros((len(owners), everything.shape[1]))
    np.add.at(total, row, everything * share)
    best = total[:, : len(grid)].max(axis=1, keepdims=True)
    total -= best
    loglik = total[:, : len(grid)]
    d, low, high = _coefficient_intervals(loglik, total[:, -2], coefficients)
    steps_of = np.zeros(len(owners), np.int64)
    np.add.at(steps_of, row, np.diff(strided.start) - 1)
    return Diffusion(
        owners, d, low, high, steps_of, grid, loglik.astype(np.float32), total[:, -2], total[:, -1], constant,
        chosen={**chosen, "stride_frames": Used(stride, "measured"), "viscosity_mpas": Used(round(viscosity_mpas, 5), "measured")},
        notices=notices,
    )  # fmt: skip


def _steps(tracks: Tracks, drift: Drift, pixel_um: float) -> _Steps:
    """Gather the tracks that are not refused, drift removed."""
    x, y = without_drift(tracks, drift)
    sized = np.flatnonzero((tracks.flags & np.uint32(REFUSED)) == 0)
    spots = tracks.spots
    every = _Steps(
        x * pixel_um,
        y * pixel_um,
        spots.frame.astype(np.int64),
        (spots.x_sd_px**2 + spots.y_sd_px**2) / 2 * pixel_um**2,
        tracks.start,
        np.arange(len(tracks)),
    )
    return every.some(sized) if len(sized) else replace(every, owner=sized, start=np.zeros(1, np.int64))


def _stride(steps: _Steps) -> tuple[int, float]:
    """Return the shortest stride at which steps two and three apart are uncorrelated, and the bias left where there is none.

    Only neighbouring steps of a Brownian particle are correlated (blur, localisation error). Correlation beyond that, relative to the
    diffusive part ``C0 + 2 C1``, is by what a likelihood without it misreads D. It counts when it is 3 standard errors from zero.
    """
    missed = 0.0
    for stride in range(1, MOST_STRIDE + 1):
        sub = steps.strided(stride)
        lags, error = _covariances(sub)
        diffusive = lags[0] + 2 * lags[1]
        if diffusive <= 0 or not np.isfinite(error):
            return max(1, stride - 1), missed
        missed = 2 * (lags[2] + lags[3]) / diffusive
        if abs(missed) < max(UNCORRELATED, 3 * 2 * error / diffusive):
            return stride, 0.0
    return MOST_STRIDE, missed


def _covariances(steps: _Steps) -> tuple[np.ndarray, float]:
    """Return mean products of steps 0 to 3 apart (both axes, no gaps), um^2, and the standard error of the sum of the last two."""
    inside = np.ones(len(steps.frame) - 1, bool)
    inside[steps.start[1:-1] - 1] = False
    gapless = inside & (np.diff(steps.frame) == 1)
    dx, dy = np.diff(steps.x_um), np.diff(steps.y_um)
    lags, tail = np.zeros(4), np.zeros(len(steps.owner))
    track = np.repeat(np.arange(len(steps.owner)), np.diff(steps.start))[1:]
    for lag in range(4):
        n = len(dx) - lag
        # all steps from the first to the last of the pair must be whole, hence of one track
        whole = np.all([gapless[i : i + n] for i in range(lag + 1)], axis=0)
        if not whole.any():
            return lags, np.inf
        product = 0.5 * (dx[:n] * dx[lag:] + dy[:n] * dy[lag:])[whole]
        lags[lag] = product.mean()
        if lag >= 2:
            tail += np.bincount(track[:n][whole], product, minlength=len(tail)) / whole.sum()
    per_track = np.bincount(np.unique(steps.owner, return_inverse=True)[1], tail)
    return lags, float(np.sqrt(np.sum(per_track**2)))


def _fit_model(
    steps: _Steps, stride: int, tracks: Tracks, calibration: Calibration, coefficients: np.ndarray
) -> tuple[_Model, dict[str, Used], tuple[Notice, ...]]:
    """Fit localisation floor, factor and, where it is not known, exposure to a sample of the tracks."""
    from scipy.optimize import minimize

    pixel_um, dt_s = calibration.pixel_size_um.value, stride / calibration.fps.value
    known = calibration.exposure_s
    gate_px = tracks.chosen["search_range_px"].value
    base = _Model(
        dt_s=dt_s,
        spot_width_um=tracks.spots.chosen["spot_width_px"].value * pixel_um,
        # a stride is as many steps, each within the gate
        gate_um=gate_px * pixel_um * np.sqrt(stride),
        wrong_share=0.0,
        floor_um=0.0,
        factor=1.0,
        exposure_s=known.value if known is not None else 0.5 * dt_s,
    )
    sample = steps.some(_loneliest(tracks, steps.owner))
    group = _brightness_groups(sample)
    coarse = np.append(np.geomspace(coefficients[0], coefficients[-1], FIT_GRID), 0.0)
    fitted = known is None or stride > 1

    def model_at(p: np.ndarray) -> _Model:
        # unknown: anything up to the whole frame; known: how much of it blurs the peak of a spot, which is less than its centroid
        exposure = dt_s / (1 + np.exp(-p[2])) if fitted else min(dt_s, base.exposure_s * np.exp(p[2]))
        wrong = 1 / (1 + np.exp(-p[3]))
        return replace(base, floor_um=pixel_um * np.exp(p[0]), factor=np.exp(p[1]), exposure_s=exposure, wrong_share=wrong)

    def cost(p: np.ndarray) -> float:
        model = model_at(p)
        loglik = np.column_stack([model.loglik(sample, coarse), model.loglik_noise(sample)]) / stride
        return float(np.sum(0.5 * ((p - prior_mean) / prior_sd) ** 2)) - _profiled(loglik, group)

    prior_mean, prior_sd = PRIOR_MEAN.copy(), PRIOR_SD.copy()
    if fitted:
        prior_mean[2], prior_sd[2] = 0.0, FREE_LOGIT_SD
    simplex = prior_mean + np.vstack([np.zeros(4), np.diag(prior_sd)])
    fit = minimize(cost, prior_mean, method="Nelder-Mead", options={"initial_simplex": simplex, "xatol": 0.02, "fatol": 0.05, "maxfev": 160})
    # the loneliest met the fewest strangers: how often a link goes wrong is for all tracks to tell
    sample = steps.some(np.unique(np.linspace(0, len(steps.owner) - 1, FIT_TRACKS // 2).astype(int)))
    group = _brightness_groups(sample)
    logits = np.linspace(-8.0, -2.0, 7)
    fit.x[3] = logits[np.argmin([cost(np.array([*fit.x[:3], logit])) for logit in logits])]
    model = model_at(fit.x)
    chosen = {
        "localisation_floor_px": Used(round(float(model.floor_um / pixel_um), 4), "measured"),
        "localisation_factor": Used(round(float(model.factor), 3), "measured"),
        "wrong_link_share": Used(round(float(model.wrong_share), 5), "measured"),
    }
    if not fitted:
        return model, {**chosen, "blurring_exposure_ms": Used(round(float(model.exposure_s) * 1e3, 3), "measured")}, ()
    sd = _exposure_sd(cost, fit.x, dt_s)
    value = Used(round(float(model.exposure_s) * 1e3, 3), "measured", round(sd * 1e3, 3))
    chosen["exposure_ms" if stride == 1 else "effective_exposure_ms"] = value
    if known is not None or stride > 1:
        return model, chosen, ()
    text = f"exposure unknown: estimated from the tracks as {model.exposure_s * 1e3:.1f} +- {sd * 1e3:.1f} ms; give --exposure-ms"
    return model, chosen, (Notice("exposure_estimated", text),)


def _loneliest(tracks: Tracks, owner: np.ndarray) -> np.ndarray:
    """Return up to `FIT_TRACKS` of the rows of `owner`, those of the tracks that met the fewest other spots.

    A link to a stranger passes for localisation error; whom a particle meets does not depend on how it moves.
    """
    from scipy.spatial import cKDTree

    spots, reach = tracks.spots, tracks.chosen["search_range_px"].value / 2
    # frames far apart in a third coordinate: one tree for the whole video
    tree = cKDTree(np.column_stack([spots.x_px, spots.y_px, spots.frame * (4.0 * reach)]))
    met = np.zeros(len(spots), bool)
    met[np.unique(tree.query_pairs(reach, output_type="ndarray"))] = True
    share = (np.add.reduceat(met, tracks.start[:-1], dtype=float) / tracks.n_spots)[owner]
    allowed = np.flatnonzero(share <= np.sort(share)[min(FIT_TRACKS, len(share)) - 1])
    return allowed[np.unique(np.linspace(0, len(allowed) - 1, FIT_TRACKS).astype(int))]


def _profiled(loglik: np.ndarray, group: np.ndarray, iterations: int = 40) -> float:
    """Return the log-likelihood of all tracks under the best weights of the columns of `loglik`, free in each group (EM).

    The groups are of like brightness. Were the bright and the dim to share one size distribution, the brighter being the slower would
    pass for a noise that falls with brightness.
    """
    total = 0.0
    for g in range(group.max() + 1):
        rows = loglik[group == g]
        best = rows.max(axis=1, keepdims=True)
        density = np.exp(rows - best)
        weight = np.full(rows.shape[1], 1.0 / rows.shape[1])
        for _ in range(iterations):
            weight = weight * (density.T @ (1.0 / (density @ weight))) / len(density)
        total += float(np.sum(np.log(density @ weight)) + best.sum())
    return total


def _brightness_groups(steps: _Steps) -> np.ndarray:
    """Return a group number for each sub-track, up to `FIT_GROUPS` of equal size by the spots' own errors."""
    typical = np.add.reduceat(np.log(steps.spot_variance_um2), steps.start[:-1]) / np.diff(steps.start)
    groups = max(1, min(FIT_GROUPS, len(typical) // 25))
    rank = np.argsort(np.argsort(typical, kind="stable"), kind="stable")
    return rank * groups // len(typical)


def _exposure_sd(cost: Callable[[np.ndarray], float], best: np.ndarray, dt_s: float) -> float:
    """Return the standard uncertainty of the fitted exposure in s: the spread of its posterior along the logit, noise refitted."""
    from scipy.optimize import minimize

    offsets = np.array([-3.0, -1.5, -0.7, 0.0, 0.7, 1.5, 3.0])
    height = []
    for offset in offsets:
        simplex = best[:2] + np.vstack([np.zeros(2), np.diag(PRIOR_SD[:2])])
        options = {"maxfev": 40, "initial_simplex": simplex}
        fixed = best[2] + offset
        inner = minimize(lambda q, f=fixed: cost(np.array([*q, f, best[3]])), best[:2], method="Nelder-Mead", options=options)
        height.append(inner.fun)
    fine = np.linspace(best[2] - 3, best[2] + 3, 241)
    profile = np.interp(fine, best[2] + offsets, height)
    exposure = dt_s / (1 + np.exp(-fine))
    # uniform in the exposure itself between 0 and one frame
    weight = np.exp(profile.min() - profile) * exposure * (1 - exposure / dt_s)
    mean = np.sum(weight * exposure) / weight.sum()
    return float(np.sqrt(np.sum(weight * (exposure - mean) ** 2) / weight.sum()))


def _coefficient_intervals(loglik: np.ndarray, immobile: np.ndarray, d: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return each row's best diffusion coefficient and its 95 % likelihood interval; 0 where no motion is (also) likely enough."""
    n, k = loglik.shape
    ln_d = np.log(d)
    peak = np.clip(loglik.argmax(axis=1), 1, k - 2)
    rows = np.arange(n)
    before, at, after = (loglik[rows, peak + i] for i in (-1, 0, 1))
    bend = np.minimum(before - 2 * at + after, -1e-12)
    shift = np.clip(0.5 * (before - after) / bend, -1, 1)
    top = at - 0.125 * (before - after) ** 2 / bend
    value = np.exp(ln_d[peak] + shift * (ln_d[1] - ln_d[0]))
    still = immobile > top
    inside = loglik >= (np.maximum(top, immobile) - DROP_95)[:, None]
    first, last = inside.argmax(axis=1), k - 1 - inside[:, ::-1].argmax(axis=1)
    level = np.maximum(top, immobile) - DROP_95
    fastest = np.exp(_crossing(loglik, rows, first, first - 1, level, ln_d))
    slowest = np.exp(_crossing(loglik, rows, last, last + 1, level, ln_d))
    some = inside.any(axis=1)
    high = np.where(some, fastest, 0.0)
    low = np.where(some & (immobile < level), slowest, 0.0)
    return np.where(still, 0.0, value), low, high


def _crossing(
    loglik: np.ndarray, rows: np.ndarray, inner: np.ndarray, outer: np.ndarray, level: np.ndarray, ln_d: np.ndarray
) -> np.ndarray:
    """Return ln D at which the row crosses `level` between grid points `inner` (above it) and `outer`; the grid's end where there is none."""
    beyond = (outer < 0) | (outer >= loglik.shape[1])
    safe = np.clip(outer, 0, loglik.shape[1] - 1)
    a, b = loglik[rows, inner], loglik[rows, safe]
    share = np.where(beyond | (a <= b), 0.0, (a - level) / np.where(a > b, a - b, 1.0))
    return ln_d[inner] + np.clip(share, 0, 1) * (ln_d[safe] - ln_d[inner])
