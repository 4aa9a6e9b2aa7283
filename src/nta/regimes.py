"""Steps -> how likely each track is of a particle that does not diffuse freely: in a trap, or with a velocity of its own."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nta.steps import Steps

VELOCITY_UM_S = 5.0  # standard deviation along an axis
SMALLEST_TRAP_UM, LARGEST_TRAP_UM = 0.05, 2.0  # standard deviation of where it is, along an axis
TRAPS, TRAP_COEFFICIENTS = 16, 10
RELAXED = 4.0  # times that a particle forgets where it was, fewer of which make no trap to be seen
FORGETFUL = 30.0  # times in an exposure
ANYWHERE_UM2 = 1e6  # variance of a first position that may be anywhere


LogKept = Callable[[np.ndarray], np.ndarray]
"""ln of the chance that a step of each variance along an axis is not lost"""


def directed_loglik(
    steps: Steps, variance_um2: np.ndarray, diffusion_um2_s: np.ndarray, dt_s: float, exposure_s: float, log_kept: LogKept
) -> np.ndarray:
    """Return the log-likelihood of diffusion and a constant velocity, (sub-tracks,).

    The velocity is normal about 0, of `VELOCITY_UM_S` along an axis; ln D is as likely anywhere in the range of `diffusion_um2_s`.
    """
    from nta.kernels.likelihood import LANES

    d = np.geomspace(diffusion_um2_s[0], diffusion_um2_s[-1], LANES)
    zero, one = np.zeros(LANES), np.ones(LANES)
    precision = (VELOCITY_UM_S * dt_s) ** -2.0
    walk, blur = 2 * d * dt_s, d * exposure_s / 3
    each = _loglik(steps, variance_um2, np.array([zero + ANYWHERE_UM2, one, zero, walk, blur, zero, one, zero + precision]))
    each -= steps.lapse[:, None] * log_kept(walk - 2 * blur)
    # what the kernel leaves out: densities of the first position and of the velocity
    return _mean(each, np.ones(each.shape, bool)) + np.log(ANYWHERE_UM2) + np.log(precision)


def confined_loglik(
    steps: Steps, variance_um2: np.ndarray, diffusion_um2_s: np.ndarray, dt_s: float, exposure_s: float, log_kept: LogKept
) -> np.ndarray:
    """Return the log-likelihood of diffusion in a harmonic trap whose centre may be anywhere, (sub-tracks,).

    ln D and the ln of the trap's standard deviation s are as likely anywhere in their ranges, as long as the relaxation time ``tau = s^2 /
    D`` goes four times into the track; -inf where none does. The mean of the position over an exposure has the covariance
    ``s^2 K exp(-t / tau)`` over a time t between frames and the variance ``s^2 V``, with ``a = te / tau``,
    ``K = (2 sinh(a / 2) / a)^2`` and ``V = 2 (a - 1 + exp(-a)) / a^2``: a process of variance ``s^2 K`` that forgets, and a localisation
    error that is less by ``s^2 (K - V)``.
    """
    d = np.repeat(np.geomspace(diffusion_um2_s[0], diffusion_um2_s[-1], TRAP_COEFFICIENTS), TRAPS)
    s2 = np.tile(np.geomspace(SMALLEST_TRAP_UM, LARGEST_TRAP_UM, TRAPS) ** 2, TRAP_COEFFICIENTS)
    tau = s2 / d
    a = np.maximum(min(exposure_s, dt_s) / tau, 1e-6)  # an effective exposure of correlated frames may be longer than a frame
    seen = s2 * 2 * (a + np.expm1(-a)) / a**2
    # what forgets within a small part of an exposure is noise
    few = np.minimum(a, FORGETFUL)
    ahead = np.where(a < FORGETFUL, s2 * (np.sinh(few / 2) / (few / 2)) ** 2, seen)
    zero = np.zeros(len(d))
    each = _loglik(steps, variance_um2, np.array([ahead, np.exp(-dt_s / tau), ahead, zero, ahead - seen, zero + 1, zero, zero]))
    each -= steps.lapse[:, None] * log_kept(2 * (seen - ahead * np.exp(-dt_s / tau)))
    return _mean(each, RELAXED * tau <= steps.lapse[:, None] * dt_s)


def _loglik(steps: Steps, variance_um2: np.ndarray, models: np.ndarray) -> np.ndarray:
    """Return the log-likelihood under each of some models, (sub-tracks, models)."""
    from nta.kernels.likelihood import LANES
    from nta.kernels.regimes import regime_loglik

    n = models.shape[1]
    batches = -(-n // LANES)
    # the last batch is filled up with what is not asked for
    rows = models[:, np.arange(batches * LANES) % n].reshape(len(models), batches, LANES).transpose(1, 0, 2).reshape(batches, -1)
    out = np.empty((len(steps.start) - 1, batches * LANES))
    regime_loglik(steps.x_um, steps.y_um, steps.frame, variance_um2, steps.start, np.ascontiguousarray(rows), out)
    return out[:, :n]


def _mean(loglik: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """Return the ln of the mean likelihood of the columns allowed in each row, -inf where there is none."""
    some = np.where(allowed, loglik, -np.inf)
    top = np.maximum(some.max(axis=1), -1e300)
    with np.errstate(divide="ignore"):
        return np.asarray(top + np.log(np.exp(some - top[:, None]).sum(axis=1) / np.maximum(allowed.sum(axis=1), 1)))
