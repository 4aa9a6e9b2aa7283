"""Steps -> SharedModel: what all tracks of a video share: localisation error, wrong links and, where it is unknown, the exposure."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from nta.errors import Notice
from nta.regimes import confined_loglik, directed_loglik
from nta.settings import Used
from nta.steps import MOST_EXPOSED, Steps
from nta.tracks import Tracks
from nta.video import Calibration

CLEARLY = 3.0  # ln of a ratio of likelihoods
FIT_TRACKS, FIT_GROUPS, FIT_GRID = 600, 6, 40
# ln of the localisation floor in px, ln of the factor on a spot's own error, logit of the share of wrong links. Simulated spots that smear
# by their motion err by 1.19 to 1.28 times their own error, root mean square; in correlated frames, where noise is smoothed with the
# motion, next to nothing is known
PRIOR = (np.array([np.log(0.05), np.log(1.22), -5.0]), np.array([0.5, 0.05, 1.0]))
CORRELATED_PRIOR = (np.array([np.log(0.05), np.log(0.5), -5.0]), np.array([1.0, 1.5, 1.0]))
BLOCK_SPOTS = 50_000  # whose neighbours are looked for at a time
EXPOSURES = 13  # tried from none to a whole frame
EXPOSURE_SHORT = 0.06  # frames; false links and missed smears shorten what is read by 0.03 at 100 and 200 nm, 0.13 at 60 nm


@dataclass(frozen=True)
class SharedModel:
    """What all tracks share. A spot's variance is ``floor_um^2 + factor^2`` times its own, `gate_um` the longest step over 1, 2 ... `dt_s`.

    The smear by motion during the exposure is in a spot's own variance already: it comes from a fit to the smeared spot. `field_um` are the
    sides of the field, out of which no step is seen to lead; a step is over `stride` frames.
    """

    dt_s: float
    gate_um: np.ndarray
    floor_um: float
    factor: float
    exposure_s: float
    wrong_share: float
    field_um: tuple[float, float] = (np.inf, np.inf)
    stride: int = 1

    def variance_um2(self, steps: Steps) -> np.ndarray:
        """Return the localisation variance of each spot along an axis."""
        return self.floor_um**2 + self.factor**2 * steps.spot_variance_um2

    def loglik(self, steps: Steps, diffusion_um2_s: np.ndarray) -> np.ndarray:
        """Return the log-likelihood, (sub-tracks, coefficients)."""
        from nta.kernels.likelihood import track_loglik

        out = np.empty((len(steps.start) - 1, len(diffusion_um2_s)))
        track_loglik(
            steps.x_um,
            steps.y_um,
            steps.frame,
            self.variance_um2(steps),
            steps.start,
            diffusion_um2_s,
            self.dt_s,
            self.exposure_s,
            self.gate_um,
            self.wrong_share,
            out,
        )
        return out - steps.lapse[:, None] * self._log_kept(2 * diffusion_um2_s * (self.dt_s - self.exposure_s / 3))

    def _log_kept(self, variance_um2: np.ndarray) -> np.ndarray:
        """Return ln of the chance that steps of each variance along an axis, from anywhere in the field, stay in it.

        ``erf(u) - (1 - exp(-u^2)) / (u sqrt(pi))`` for a side of ``u sqrt(2)`` standard deviations; over j frames a walk covers
        ``1 + 1 / sqrt(2) + ... + 1 / sqrt(j)`` times as much as over one (Spitzer 1956).
        """
        from scipy.special import erf

        u = np.array(self.field_um)[:, None] / np.sqrt(2 * np.maximum(variance_um2, 1e-12) / self.stride)
        inside = erf(u) + np.expm1(-(u**2)) / (u * np.sqrt(np.pi))
        covered = np.sum(np.arange(1, self.stride + 1) ** -0.5)
        return np.asarray(covered * np.log(np.maximum(inside, 1e-12)).sum(axis=0))

    def loglik_directed(self, steps: Steps, diffusion_um2_s: np.ndarray) -> np.ndarray:
        """Return the log-likelihood of diffusion with a velocity, at any coefficient between those given, (sub-tracks,)."""
        model = self.variance_um2(steps), diffusion_um2_s, self.dt_s, self.exposure_s, self._log_kept
        return directed_loglik(steps, *model) + self._all_true(steps)

    def loglik_confined(self, steps: Steps, diffusion_um2_s: np.ndarray) -> np.ndarray:
        """Return the same of diffusion in a trap."""
        model = self.variance_um2(steps), diffusion_um2_s, self.dt_s, self.exposure_s, self._log_kept
        return confined_loglik(steps, *model) + self._all_true(steps)

    def _all_true(self, steps: Steps) -> np.ndarray:
        """Return the ln of the chance that no link is wrong."""
        return (np.diff(steps.start) - 1) * np.log1p(-self.wrong_share)

    def loglik_noise(self, steps: Steps) -> np.ndarray:
        """Return the log-likelihood of steps that are anywhere in the gate, (sub-tracks,)."""
        lapse = np.diff(steps.frame, append=0)
        lapse[steps.start[1:] - 1] = 0
        log_area = np.append(0.0, np.log(np.pi * self.gate_um**2))
        return -np.add.reduceat(log_area[np.minimum(lapse, len(self.gate_um))], steps.start[:-1])


def guess_shared(tracks: Tracks, calibration: Calibration, stride: int = 1) -> SharedModel:
    """Return what is known before the tracks are asked; of an exposure that nobody told, half a frame."""
    pixel_um, dt_s = calibration.pixel_size_um.value, stride / calibration.fps.value
    prior = PRIOR if stride == 1 else CORRELATED_PRIOR
    return SharedModel(
        dt_s=dt_s,
        # a stride is as many steps, each within the gate
        gate_um=tracks.gate_px * pixel_um * np.sqrt(stride),
        floor_um=pixel_um * np.exp(prior[0][0]),
        factor=np.exp(prior[0][1]),
        wrong_share=_logistic(prior[0][2]),
        field_um=tracks.spots.field_um(pixel_um),
        stride=stride,
        exposure_s=dt_s / 2 if calibration.exposure_s is None else calibration.exposure_s.value,
    )


def seem_free(steps: Steps, model: SharedModel, coefficients: np.ndarray) -> np.ndarray:
    """Return the rows of `steps` that are not clearly better explained by a velocity or a trap than by free diffusion at its best."""
    n = len(steps.owner)
    free = np.empty(n, bool)
    for first in range(0, n, FIT_TRACKS):
        some = steps.part(first, min(first + FIT_TRACKS, n))
        other = np.maximum(model.loglik_directed(some, coefficients), model.loglik_confined(some, coefficients))
        free[first : first + FIT_TRACKS] = other < model.loglik(some, _coarse(coefficients)).max(axis=1) + CLEARLY
    return np.flatnonzero(free)


def _coarse(coefficients: np.ndarray) -> np.ndarray:
    return np.append(np.geomspace(coefficients[0], coefficients[-1], FIT_GRID), 0.0)


def fit_shared(
    steps: Steps, stride: int, tracks: Tracks, calibration: Calibration, coefficients: np.ndarray
) -> tuple[SharedModel, dict[str, Used], tuple[Notice, ...]]:
    """Fit localisation floor and factor and the share of wrong links to a sample of the tracks; where it is not known, the exposure too."""
    pixel_um, dt_s = calibration.pixel_size_um.value, stride / calibration.fps.value
    known = calibration.exposure_s
    fitted = known is None or stride > 1
    longest_s, prior = (dt_s, PRIOR) if stride == 1 else (dt_s * MOST_EXPOSED, CORRELATED_PRIOR)
    model = guess_shared(tracks, calibration, stride)
    coarse = _coarse(coefficients)
    whole = np.append(coefficients, 0.0)  # steps of a size between coarse points would pass for less blur
    everyone = _Sample.of(steps, _spread(len(steps.owner)), stride, model, coefficients)
    # what compression does is not the same for all particles; at a stride its effect on all together is sought
    lonely = _Sample.of(steps, _loneliest(tracks, steps.owner), stride, model, coefficients) if stride == 1 else everyone
    if fitted:
        telling = _Sample.of(steps, _brightest(steps), stride, model, coefficients) if stride == 1 else everyone
        # the exposure first: what localisation error there is hardly matters to bright spots
        for _ in range(2):
            exposure_s, sd_s = _fit_exposure(telling, model, longest_s, whole)
            if stride == 1:
                exposure_s = min(exposure_s + EXPOSURE_SHORT * dt_s, longest_s)
            model = _fit_noise(lonely, replace(model, exposure_s=exposure_s), pixel_um, prior, coarse)
    else:
        model = _fit_noise(lonely, model, pixel_um, prior, coarse)
    # the loneliest met the fewest strangers: how often a link goes wrong is for all tracks to tell
    logits = np.linspace(-8.0, -2.0, 7)
    fits = [everyone.loglik(replace(model, wrong_share=_logistic(w)), coarse) - _misfit(w, prior[0][2], prior[1][2]) for w in logits]
    model = replace(model, wrong_share=_logistic(logits[np.argmax(fits)]))
    chosen = {
        "localisation_floor_px": Used(round(float(model.floor_um / pixel_um), 4), "measured"),
        "localisation_factor": Used(round(float(model.factor), 3), "measured"),
        "wrong_link_share": Used(round(float(model.wrong_share), 5), "measured"),
    }
    if not fitted:
        return model, chosen, ()
    value = Used(round(float(model.exposure_s) * 1e3, 2), "measured", round(sd_s * 1e3, 2))
    chosen["exposure_ms" if stride == 1 else "effective_exposure_ms"] = value
    if known is not None or stride > 1:
        return model, chosen, ()
    text = f"exposure unknown: estimated from the tracks as {value.value:.1f} +- {value.sd:.1f} ms; give --exposure-ms"
    return model, chosen, (Notice("exposure_estimated", text),)


@dataclass(frozen=True)
class _Sample:
    """Some sub-tracks, each in a group of like brightness; those of one track overlap in time and count `1 / stride` each."""

    steps: Steps
    group: np.ndarray
    stride: int
    others: np.ndarray  # log-likelihood of what does not diffuse freely, by what is known beforehand of noise: it must not pass for it

    @classmethod
    def of(cls, steps: Steps, rows: np.ndarray, stride: int, model: SharedModel, coefficients: np.ndarray) -> _Sample:
        some = steps.some(rows)
        others = np.empty((len(rows), 0))
        # of the noise of correlated frames too little is known beforehand
        if stride == 1:
            others = np.column_stack([model.loglik_directed(some, coefficients), model.loglik_confined(some, coefficients)])
        return cls(some, _brightness_groups(some), stride, others)

    def loglik(self, model: SharedModel, coefficients: np.ndarray) -> float:
        """Return the log-likelihood under the best distribution of sizes, and of chance links and what does not diffuse freely."""
        matrix = np.column_stack([model.loglik(self.steps, coefficients), model.loglik_noise(self.steps), self.others])
        return _profiled(matrix / self.stride, self.group)


def _misfit(p: np.ndarray, mean: np.ndarray, sd: np.ndarray) -> float:
    """Return minus the log of a normal prior, less its constant."""
    return float(np.sum(0.5 * ((p - mean) / sd) ** 2))


def _fit_noise(
    sample: _Sample, model: SharedModel, pixel_um: float, prior: tuple[np.ndarray, np.ndarray], coefficients: np.ndarray
) -> SharedModel:
    """Return `model` with the localisation floor and factor and the share of wrong links that make the sample most likely."""
    from scipy.optimize import minimize

    def model_at(p: np.ndarray) -> SharedModel:
        return replace(model, floor_um=pixel_um * np.exp(p[0]), factor=np.exp(p[1]), wrong_share=_logistic(p[2]))

    def cost(p: np.ndarray) -> float:
        return _misfit(p, *prior) - sample.loglik(model_at(p), coefficients)

    simplex = prior[0] + np.vstack([np.zeros(3), np.diag(prior[1])])
    options = {"initial_simplex": simplex, "xatol": 0.02, "fatol": 0.05, "maxfev": 120}
    return model_at(minimize(cost, prior[0], method="Nelder-Mead", options=options).x)


def _fit_exposure(sample: _Sample, model: SharedModel, longest_s: float, coefficients: np.ndarray) -> tuple[float, float]:
    """Return the posterior mean of the exposure and its standard uncertainty, s; before the tracks spoke, anything up to `longest_s`."""
    from scipy.interpolate import CubicSpline

    some = np.linspace(0.0, 1.0, EXPOSURES) * longest_s
    height = np.array([sample.loglik(replace(model, exposure_s=float(e)), coefficients) for e in some])
    fine = np.linspace(0.0, longest_s, 401)
    profile = CubicSpline(some, height)(fine)
    weight = np.exp(profile - profile.max())
    mean = float(np.sum(weight * fine) / weight.sum())
    variance = float(np.sum(weight * (fine - mean) ** 2) / weight.sum())
    return mean, float(np.hypot(np.sqrt(variance), EXPOSURE_SHORT * model.dt_s))


def _brightest(steps: Steps) -> np.ndarray:
    """Return up to `FIT_TRACKS` of the rows of `steps`, of the brighter half of the longer half.

    The product of neighbouring steps tells the exposure less the localisation error, which bright spots have least of; nor are they
    missed when they smear. Length and brightness may go with size, but the exposure is the same for all.
    """
    count = np.diff(steps.start)
    typical = np.add.reduceat(np.log(steps.spot_variance_um2), steps.start[:-1]) / count
    long = np.flatnonzero(count >= np.median(count))
    bright = long[typical[long] <= np.median(typical[long])]
    return bright[_spread(len(bright))]


def _loneliest(tracks: Tracks, owner: np.ndarray) -> np.ndarray:
    """Return up to `FIT_TRACKS` of the rows of `owner`, those of the tracks that met the fewest other spots.

    A link to a stranger passes for localisation error; whom a particle meets does not depend on how it moves.
    """
    from scipy.spatial import cKDTree

    spots, reach = tracks.spots, tracks.gate_px[0] / 2
    order = np.argsort(spots.frame, kind="stable")
    met = np.zeros(len(spots), bool)
    blocks = np.linspace(0, spots.n_frames, 2 + len(spots) // BLOCK_SPOTS).astype(int)
    for some in np.split(order, np.searchsorted(spots.frame[order], blocks[1:-1])):
        # frames far apart in a third coordinate: one tree for many of them
        tree = cKDTree(np.column_stack([spots.x_px[some], spots.y_px[some], spots.frame[some] * (4.0 * reach)]))
        met[some[np.unique(tree.query_pairs(reach, output_type="ndarray"))]] = True
    share = (np.add.reduceat(met, tracks.start[:-1], dtype=float) / tracks.n_spots)[owner]
    allowed = np.flatnonzero(share <= np.sort(share)[min(FIT_TRACKS, len(share)) - 1])
    return allowed[_spread(len(allowed))]


def _spread(n: int) -> np.ndarray:
    """Return up to `FIT_TRACKS` of the numbers below `n`, evenly."""
    return np.unique(np.linspace(0, n - 1, FIT_TRACKS).astype(int))


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


def _brightness_groups(steps: Steps) -> np.ndarray:
    """Return a group number for each sub-track, up to `FIT_GROUPS` of equal size by the spots' own errors."""
    typical = np.add.reduceat(np.log(steps.spot_variance_um2), steps.start[:-1]) / np.diff(steps.start)
    groups = max(1, min(FIT_GROUPS, len(typical) // 25))
    rank = np.argsort(np.argsort(typical, kind="stable"), kind="stable")
    return rank * groups // len(typical)


def _logistic(x: float) -> float:
    return float(1 / (1 + np.exp(-x)))
