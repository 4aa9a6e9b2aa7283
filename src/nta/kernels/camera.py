"""Light to grey levels: shot noise and read noise, exact, from random numbers that are the same on every machine.

Random bits are SplitMix64 (Steele, Lea & Flood 2014): a counter, multiplied and mixed. A key starts it, and no state is kept.
"""

from __future__ import annotations

import math

import numpy as np
from numba import int64, jit, uint64

from nta.kernels import JIT

_STEP = np.uint64(0x9E3779B97F4A7C15)
_FAST = {**JIT, "error_model": "numpy"}  # no check for division by zero: no divisor here can be


@jit("uint64(uint64)", **_FAST)
def bits(counter: np.uint64) -> np.uint64:
    """Return the 64 random bits that SplitMix64 makes of `counter`."""
    z = counter
    z = (z ^ (z >> uint64(30))) * uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> uint64(27))) * uint64(0x94D049BB133111EB)
    return z ^ (z >> uint64(31))


@jit("float64(uint64)", **_FAST)
def uniform(counter: np.uint64) -> float:
    """Return a number strictly between 0 and 1 of 52 of those bits."""
    return (float(int64(bits(counter) >> uint64(12))) + 0.5) * (1.0 / 4503599627370496.0)


@jit(
    "void(float64[:,::1], float64, uint64, float64[:,::1], uint8[:,::1], float64[:,::1], uint16[:,::1], float64[::1], float64[:,::1])",
    **_FAST,
)
def count_electrons(
    light: np.ndarray,
    electrons_per_grey: float,
    key: np.uint64,
    fine: np.ndarray,
    fine_guide: np.ndarray,
    coarse: np.ndarray,
    coarse_guide: np.ndarray,
    coarse_first: np.ndarray,
    electrons: np.ndarray,
) -> None:
    """Draw into `electrons` Poisson numbers of mean ``light * electrons_per_grey``.

    A Poisson number is the sum of independent ones whose means add up. The mean is cut into a multiple of 16, a multiple of 1/16 below
    that, and a rest; the first two are found by inversion in tables, the last by inversion from zero. Beyond the tables: transformed
    rejection (Hormann 1993, algorithm PTRS).

    Parameters
    ----------
    light : (height, width), grey levels, not negative
    key : where the counter starts
    fine : (256, k), row i the cumulative distribution of mean ``i / 16``, its last column 1
    fine_guide : (256, 256), where in the row to begin to look for a uniform number in ``[j, j + 1) / 256``
    coarse, coarse_guide : (n, m) and (n, 256), the same of mean ``16 i``
    coarse_first : (n,), the number that the first column of the row stands for
    """
    counter = key
    end = 16.0 * len(coarse)
    height, width = light.shape
    first, second = np.empty(width), np.empty(width)
    for r in range(height):
        line, counts = light[r], electrons[r]
        # a row's random numbers at once, in plain loops that the compiler vectorises
        for c in range(width):
            counter += _STEP
            first[c] = uniform(counter)
        for c in range(width):
            counter += _STEP
            second[c] = uniform(counter)
        for c in range(width):
            mean = line[c] * electrons_per_grey
            if mean < end:
                row = int(mean * 16.0)
                rest = mean - row / 16.0
                small, big = row & 255, row >> 8
                u = first[c]
                k = int(fine_guide[small, int(u * 256.0)])
                while u >= fine[small, k]:
                    k += 1
                n = float(k)
                if big > 0:
                    counter += _STEP
                    u = uniform(counter)
                    k = int(coarse_guide[big, int(u * 256.0)])
                    while u >= coarse[big, k]:
                        k += 1
                    n += coarse_first[big] + k
                u = second[c]
                if u >= 1.0 - rest:  # exp(-rest) is not below it
                    p = math.exp(-rest)
                    j = 1.0
                    while u >= p and j < 40.0:  # rounding could leave a rest of u that no term takes up
                        u -= p
                        p *= rest / j
                        j += 1.0
                        n += 1.0
                counts[c] = n
                continue
            b = 0.931 + 2.53 * math.sqrt(mean)
            a = -0.059 + 0.02483 * b
            while True:
                counter += _STEP
                u = uniform(counter) - 0.5
                counter += _STEP
                v = uniform(counter)
                s = 0.5 - abs(u)
                n = math.floor((2.0 * a / s + b) * u + mean + 0.43)
                if s >= 0.07 and v <= 0.9277 - 3.6224 / (b - 2.0):
                    break
                if n < 0.0 or (s < 0.013 and v > s):
                    continue
                accept = v * (1.1239 + 1.1328 / (b - 3.4)) / (a / (s * s) + b)
                if math.log(accept) <= n * math.log(mean) - mean - math.lgamma(n + 1.0):
                    break
            counts[c] = n


@jit("void(float64[:,::1], float64, float64, float64[:,::1], float64, uint64, float64[::1], uint16[:,::1])", **_FAST)
def read_out(
    electrons: np.ndarray,
    electrons_per_grey: float,
    read_noise: float,
    offset: np.ndarray,
    ceiling: float,
    key: np.uint64,
    strips: np.ndarray,
    grey: np.ndarray,
) -> None:
    """Write into `grey` the electrons in grey levels with Gaussian read noise and `offset`, rounded and cut to 0 and `ceiling`.

    Normal numbers by the ziggurat method (Marsaglia & Tsang 2000) in the form of Doornik 2005.

    Parameters
    ----------
    ceiling : a whole number
    key : where the counter starts
    strips : (n + 1,), right ends of n strips of equal area, n a power of 2; the first is that of the base strip as a rectangle
    """
    counter = key
    mask = uint64(len(strips) - 2)
    tail = strips[1]
    greys = 1.0 / electrons_per_grey
    for r in range(grey.shape[0]):
        line, above, levels = electrons[r], offset[r], grey[r]
        for c in range(grey.shape[1]):
            while True:
                counter += _STEP
                z = bits(counter)
                i = int64(z & mask)
                x = (float(int64(z) >> 11) + 0.5) * (1.0 / 4503599627370496.0) * strips[i]  # the upper 53 bits, with a sign
                if abs(x) < strips[i + 1]:
                    break
                if i == 0:
                    # beyond the last strip: Marsaglia's exact tail
                    while True:
                        counter += _STEP
                        far = -math.log(uniform(counter)) / tail
                        counter += _STEP
                        if -2.0 * math.log(uniform(counter)) > far * far:
                            break
                    x = tail + far if x > 0.0 else -tail - far
                    break
                # the strip's edges in units of the density at x
                low = math.exp(0.5 * (x * x - strips[i] * strips[i]))
                high = math.exp(0.5 * (x * x - strips[i + 1] * strips[i + 1]))
                counter += _STEP
                if low + uniform(counter) * (high - low) < 1.0:
                    break
            level = line[c] * greys + read_noise * x + above[c] + 0.5  # cut to a whole number, it is rounded
            levels[c] = int(min(max(level, 0.0), ceiling))
