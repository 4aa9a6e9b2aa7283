"""Tracks, Diffusion -> Brightness: how far above the threshold a particle of each size stands, in the middle of the light."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from nta.depth import BRIGHTEST, DIMMEST, Depth
from nta.view import View

KNEE = 4.0  # how sharply the small sizes' power of the diameter turns into the large ones'
RAYLEIGH = 6.0  # power of the diameter, of what is small against the wavelength; nobody's light grows faster
# ln of the peak of 100 nm over the threshold; exponents of light over diameter below and above the knee; ln of the knee over 100 nm.
# Above it about the 1st power, or none at the camera's ceiling
PRIOR_MEAN = np.array([0.5, RAYLEIGH, 1.0, np.log(2.0)])
PRIOR_SD = np.array([10.0, 2.0, 1.0, 0.7])
KNEES = np.log(np.geomspace(0.5, 4.0, 7))  # over 100 nm, among which it is averaged: many are often about as likely
LOWEST, STEP, SETTLED, ITERATIONS = 0.3, 1e-2, 0.02, 12  # of the first exponent; of numeric slopes; of the search
ASIDE = np.linspace(-1.5, 1.5, 7)  # of what they scatter by, where they are sought again
CERTAIN = 1e-6  # variance of what seems to be known exactly
SCATTER = 0.5  # of a track's mean ln SNR about its size's: where in the light it was
SPAN_CLASSES = np.array([8, 12, 18, 28, 50, 100])  # frames
REPEATS = 2  # of fitting the curve, and what tracks of each length differ from it by


@dataclass(frozen=True)
class Brightness:
    """Light over size, and by how much a moving particle smears it.

    Attributes
    ----------
    parameter : (4,) float64, ln of the peak of 100 nm over the threshold, exponents of the diameter below and above a knee, ln of the knee
        over 100 nm
    covariance : (4, 4) float64, of these
    view : how the video sees
    constant : diameter in nm times diffusion coefficient in um^2/s
    """

    parameter: np.ndarray
    covariance: np.ndarray
    view: View
    constant: float

    def log_peak(self, diameter_nm: np.ndarray) -> np.ndarray:
        """Return ln of the mean peak signal-to-noise over the threshold of particles that move."""
        return log_peak(self.parameter, diameter_nm, self.view.smear(self.constant / diameter_nm))

    def log_peak_sd(self, diameter_nm: np.ndarray) -> np.ndarray:
        """Return its standard uncertainty, (k,)."""
        slope = np.column_stack(
            [
                (log_light(self.parameter + h, diameter_nm) - log_light(self.parameter - h, diameter_nm)) / (2 * STEP)
                for h in STEP * np.eye(len(self.parameter))
            ]
        )
        return np.sqrt(np.einsum("ki,ij,kj->k", slope, self.covariance, slope))


def log_light(parameter: np.ndarray, diameter_nm: np.ndarray) -> np.ndarray:
    """Return ln of the peak of still particles over the threshold: one power of the diameter that turns into another at a knee."""
    peak, below, above, knee = parameter
    size = np.log(diameter_nm / 100.0)
    beyond = np.logaddexp(0.0, KNEE * (size - knee)) - np.logaddexp(0.0, -KNEE * knee)
    return np.asarray(peak + below * size - (below - above) * beyond / KNEE)


def log_peak(parameter: np.ndarray, diameter_nm: np.ndarray, smear: np.ndarray) -> np.ndarray:
    """Return ln of the peak of moving particles over the threshold, within what can be told apart."""
    return np.clip(log_light(parameter, diameter_nm) - np.log1p(smear), DIMMEST, BRIGHTEST)


Fit = tuple[np.ndarray, np.ndarray, float]
"""Parameters, slopes of the misfits, sum of their squares"""


@dataclass(frozen=True)
class Looks:
    """What tracks tell of brightness.

    Attributes
    ----------
    size_nm : (k,)
    chance : (m, k) of each size for each track, by its motion alone
    weight : (m,) spots that tell of a particle, over the mean of all
    log_snr : (m,) mean of ln(SNR / threshold)
    span : (m,) frames from first to last
    alike : whether one size explains all motion as well
    """

    size_nm: np.ndarray
    chance: np.ndarray
    weight: np.ndarray
    log_snr: np.ndarray
    span: np.ndarray
    alike: bool


def guess_brightness(looks: Looks, view: View, constant: float) -> Brightness:
    """Return what is known before the depth is: the light of 100 nm from the mean of all, as if their positions were even in the light.

    Where the light falls off as a Gaussian, ``ln(SNR / threshold)`` is ``ln q - z^2 / (2 w^2)`` up to where it is zero; ``z`` even in
    between, its mean is ``2/3 ln q``.
    """
    start = PRIOR_MEAN.copy()
    typical = np.exp(looks.weight @ looks.chance @ np.log(looks.size_nm) / looks.weight.sum())
    there = log_light(start, np.array([typical])) - np.log1p(view.smear(constant / typical))
    start[0] += 1.5 * np.average(looks.log_snr, weights=looks.weight) - there[0]
    return Brightness(start, np.diag(PRIOR_SD**2), view, constant)


def find_brightness(looks: Looks, near: Brightness, width_um: float) -> Brightness:
    """Regress the tracks' mean brightness on the mean that sizes would show, seen only above the threshold, by damped Gauss-Newton.

    What a track's size is, its motion tells, and not exactly: the mean is that over its possible sizes (regression calibration). Long
    tracks were deeper in the light and are brighter whatever their size, and their motion tells more: each class of lengths has a
    factor of its own, and together they show the mean of all. Where all are of one size nothing is learnt of the exponents.
    """
    view, constant = near.view, near.constant
    diffusion = constant / looks.size_nm
    root = np.sqrt(looks.weight) / SCATTER
    group = np.digitize(looks.span, SPAN_CLASSES)
    factor = np.ones(len(SPAN_CLASSES) + 1)

    def shown(p: np.ndarray) -> np.ndarray:
        """Return (m,) the mean brightness over the sizes that each track may be of."""
        return looks.chance @ Depth.of(view, width_um, diffusion, log_peak(p, looks.size_nm, view.smear(diffusion))).mean_log_snr()

    def misfit(p: np.ndarray) -> np.ndarray:
        return np.concatenate([root * (looks.log_snr - factor[group] * shown(p)), (p - PRIOR_MEAN) / PRIOR_SD])

    # of a sample of one size the light of that size is learnt, and nothing else: one of many knees is as good
    free, knees = (len(near.parameter), near.parameter[3:]) if looks.alike else (3, KNEES)
    fits = [_descend(misfit, np.append(near.parameter[:3], knee), free) for knee in knees]
    for repeat in range(REPEATS):
        best, likely = _average(fits)
        if repeat == REPEATS - 1:
            break
        seen, expected = (np.bincount(group, looks.weight * value, minlength=len(factor)) for value in (looks.log_snr, shown(best)))
        factor = np.where(expected > 0, seen / np.maximum(expected, 1e-300), 1.0)
        factor *= expected.sum() / np.maximum(factor @ expected, 1e-300)
        fits = [_descend(misfit, start, free) for start in (best[None] if looks.alike else _about(best, fits, likely))]
    off = np.array([fit[0] - best for fit in fits])
    covariance = (off.T * likely) @ off + CERTAIN * np.eye(len(best))
    covariance[:free, :free] += sum(share * np.linalg.inv(slope.T @ slope) for share, (_, slope, _) in zip(likely, fits, strict=True))
    return Brightness(best, covariance, view, constant)


def _average(fits: list[Fit]) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean parameters, and how likely each fit is."""
    rest = np.array([fit[2] for fit in fits])
    likely = np.exp(-0.5 * (rest - rest.min()))
    likely /= likely.sum()
    return likely @ np.array([fit[0] for fit in fits]), likely


def _about(best: np.ndarray, fits: list[Fit], likely: np.ndarray) -> np.ndarray:
    """Return parameters with knees about the likely ones, closer together where they are known better."""
    spread = max(float(np.sqrt(likely @ (np.array([fit[0][3] for fit in fits]) - best[3]) ** 2)), KNEES[1] - KNEES[0])
    starts = np.repeat(best[None], len(ASIDE), axis=0)
    starts[:, 3] = np.clip(best[3] + ASIDE * spread, KNEES[0], KNEES[-1])
    return starts


def _descend(misfit: Callable[[np.ndarray], np.ndarray], start: np.ndarray, free: int) -> Fit:
    """Return the parameters of least squares, of which the first `free` are sought, the slopes of the misfits, and the sum of squares."""
    best, damping, rest = start, 1e-3, misfit(start)
    slope = np.empty((len(rest), 0))
    for _ in range(ITERATIONS):
        slope = np.column_stack([(misfit(best + h) - rest) / STEP for h in STEP * np.eye(len(best))[:free]])
        normal = slope.T @ slope
        step = np.clip(np.linalg.solve(normal + damping * np.diag(np.diag(normal)), -slope.T @ rest), -1.0, 1.0)
        trial = best.copy()
        trial[:free] += step
        trial[1] = min(max(trial[1], LOWEST), RAYLEIGH)
        trial[2] = min(max(trial[2], 0.0), trial[1])
        there = misfit(trial)
        if there @ there >= rest @ rest:
            damping *= 8
            continue
        best, rest, damping = trial, there, damping / 5
        if np.abs(step).max() < SETTLED:
            break
    return best, slope, float(rest @ rest)
