"""Steps, SharedModel -> how well each track fits free diffusion with its own coefficient."""

from __future__ import annotations

import numpy as np

from nta.shared import SharedModel
from nta.steps import Steps

TESTS = 4
SLOW = 4  # the slowest of so many waves


def chance_to_fit_worse(steps: Steps, model: SharedModel, diffusion_um2_s: np.ndarray) -> np.ndarray:
    """Return the chance that a freely diffusing particle fits as badly or worse, (sub-tracks,); no less than it really is.

    The steps, whitened with the coefficient of the track (`whitened`), are independent standard normal numbers. Their power, both axes, is
    a sum of n exponential variables in whatever orthogonal directions. What coefficient was fitted scales it, but how it is shared out
    has distributions of its own, exact at any n: the share h of p of the n directions is Beta(p, n - p), and the largest step has more
    than the share g with a chance of at most ``n (1 - g)^(n - 1)`` (Fisher 1929). Four shares are looked at: that of the largest step;
    of one constant velocity; of the slowest quarter of the waves (a cosine transform), too much or too little; and of the first half
    of the steps, likewise. The smallest of the four chances counts four times (Bonferroni).
    """
    order = np.argsort(-np.diff(steps.start), kind="stable")
    sorted_steps = steps.some(order)
    n = np.diff(sorted_steps.start) - 1
    start = np.append(0, np.cumsum(n))
    x, y, time = whitened(sorted_steps, model, diffusion_um2_s[order])
    track = np.repeat(np.arange(len(n)), n)
    at = np.arange(len(x)) - start[track]

    def summed(value: np.ndarray) -> np.ndarray:
        return np.add.reduceat(value, start[: int(np.searchsorted(start, len(value)))])

    power = x**2 + y**2
    total = summed(power)
    largest = np.maximum.reduceat(power, start[:-1]) / total
    net = (summed(x * time) ** 2 + summed(y * time) ** 2) / (summed(time**2) * total)
    n_half = np.maximum(n // 2, 1)
    half = summed(np.where(at < n_half[track], power, 0.0)) / total
    n_slow = np.maximum(n // SLOW, 1)
    slow = np.zeros(len(n))
    for k in range(n_slow[0]):
        some = int(np.count_nonzero(n_slow > k))  # the longest
        rows = slice(0, start[some])
        wave = np.cos(np.pi * k * (at[rows] + 0.5) / n[track[rows]])
        slow[:some] += (summed(wave * x[rows]) ** 2 + summed(wave * y[rows]) ** 2) / n[:some] * (1 if k == 0 else 2)
    slow /= total
    with np.errstate(divide="ignore"):
        chances = np.array(
            [
                n * (1 - largest) ** (n - 1.0),
                (1 - np.minimum(net, 1)) ** (n - 1.0),
                _either_end(slow, n_slow, n),
                _either_end(half, n_half, n),
            ]
        )
    found = np.empty(len(n))
    # a single step fits whatever it is
    found[order] = np.where(n > 1, np.minimum(TESTS * chances.min(axis=0), 1.0), 1.0)
    return found


def _either_end(share: np.ndarray, p: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Return the chance of a share of the power in `p` of `n` directions that is as far out, at either end."""
    from scipy.special import betainc

    q, share = np.maximum(n - p, 1), np.clip(share, 0, 1)
    return 2 * np.minimum(betainc(p, q, share), betainc(q, p, 1 - share))


def whitened(steps: Steps, model: SharedModel, diffusion_um2_s: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the steps along x and y, and the time they take, whitened with the coefficient of each sub-track; the longest come first.

    With the covariance of the steps ``L P L^T`` (section 5 of the theory) that is ``P^-1/2 L^-1``: what each step has that those before it
    do not tell, over its standard deviation.
    """
    n, first = np.diff(steps.start) - 1, steps.start[:-1]
    start = np.append(0, np.cumsum(n))
    variance = model.variance_um2(steps)
    out = np.empty((3, start[-1]))
    third = diffusion_um2_s * model.exposure_s / 3
    pivot, left = np.ones(len(n)), np.zeros((3, len(n)))
    for j in range(n[0]):
        some = int(np.count_nonzero(n > j))
        a, d = first[:some] + j, diffusion_um2_s[:some]
        lapse = model.dt_s * (steps.frame[a + 1] - steps.frame[a])
        shared = third[:some] - variance[a] if j else np.zeros(some)
        ratio = shared / pivot[:some]
        pivot = 2 * d * lapse - 2 * third[:some] + variance[a] + variance[a + 1] - ratio * shared
        step = np.stack([steps.x_um[a + 1] - steps.x_um[a], steps.y_um[a + 1] - steps.y_um[a], lapse])
        left = step - ratio * left[:, :some]
        out[:, start[:some] + j] = left / np.sqrt(pivot)
    return out[0], out[1], out[2]
