"""Spots -> Crowd: how often a particle is not found because a brighter one is beside it, and for how long."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from nta.spots import Spots

BESIDE = 6.0  # widths of a spot, within which one may hide another
UNLIKE, LEVELS = 5, 64  # classes of how unlike two spots are, and levels of brightness
BLOCK_SPOTS = 20_000  # whose neighbours are looked for at a time


@dataclass(frozen=True)
class Crowd:
    """Who is hidden by whom; nobody unless it was measured.

    Attributes
    ----------
    log_snr : (j,) float64, ascending
    share : (j,) float64, of the particles of such ln of the signal-to-noise that a brighter one hides
    area_um2 : around a spot, in which another one is hidden, on average over how bright they are
    """

    log_snr: np.ndarray = field(default_factory=lambda: np.zeros(1))
    share: np.ndarray = field(default_factory=lambda: np.zeros(1))
    area_um2: float = 0.0

    def hidden(self, snr: np.ndarray) -> np.ndarray:
        """Return the share of the particles of such signal-to-noise that are hidden in a frame."""
        return np.asarray(np.interp(np.log(np.maximum(snr, 1e-3)), self.log_snr, self.share))

    def staying(self, diffusion_um2_s: np.ndarray, dt_s: float) -> np.ndarray:
        """Return (k,) the chance that who is hidden is so in the next frame too: that the two are as near each other again.

        From somewhere in a disc of radius R a step of variance s^2 along each axis leads into the disc with ``1 - e^-t (I0(t) + I1(t))``,
        ``t = R^2 / s^2``. The other one is taken to be as fast.
        """
        from scipy.special import i0e, i1e

        t = self.area_um2 / np.pi / np.maximum(4 * diffusion_um2_s * dt_s, 1e-12)
        return np.asarray(1 - i0e(t) - i1e(t))


def find_crowd(spots: Spots, pixel_um: float) -> Crowd:
    """Measure it: fewer pairs of spots are near each other than farther apart, and the fewer the less alike they are.

    Of each pair that is missing, the brighter one hides the other.
    """
    near_px = BESIDE * spots.chosen["spot_width_px"].value
    log_snr = np.log(spots.snr)
    square, apart = _pairs(spots, 2 * near_px, log_snr)
    around = square > near_px**2
    if not around.any():
        return Crowd()
    edges = np.quantile(apart[around], np.linspace(0, 1, UNLIKE + 1))
    edges[-1] = np.inf
    usual, found = (np.histogram(apart[which], edges)[0] for which in (around, ~around))
    # the ring is three times as large
    area_px2 = np.pi * near_px**2 * np.clip(1 - (found + 1) / (usual / 3 + 1), 0.0, 1.0)
    others = np.quantile(log_snr, (np.arange(LEVELS) + 0.5) / LEVELS)
    levels = np.linspace(log_snr.min(), log_snr.max(), LEVELS)
    brighter = others - levels[:, None]
    each = area_px2[np.clip(np.searchsorted(edges, brighter, side="right") - 1, 0, UNLIKE - 1)] * (brighter > 0)
    covered = spots.per_frame / spots.area_px * each.mean(axis=1)
    return Crowd(levels, -np.expm1(-covered), float(area_px2.mean()) * pixel_um**2)


def _pairs(spots: Spots, reach_px: float, log_snr: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return, of each two spots of a frame within `reach_px`, the squared distance in px^2 and how far ln of their brightness is apart."""
    from scipy.spatial import cKDTree

    order = np.argsort(spots.frame, kind="stable")
    square, apart = [np.empty(0)], [np.empty(0)]
    blocks = np.linspace(0, spots.n_frames, 2 + len(spots) // BLOCK_SPOTS).astype(int)
    for some in np.split(order, np.searchsorted(spots.frame[order], blocks[1:-1])):
        # frames far apart in a third coordinate: one tree for many of them
        at = np.column_stack([spots.x_px[some], spots.y_px[some], spots.frame[some] * (4.0 * reach_px)])
        i, j = cKDTree(at).query_pairs(reach_px, output_type="ndarray").T
        square.append(np.sum((at[i] - at[j]) ** 2, axis=1))
        apart.append(np.abs(log_snr[some[i]] - log_snr[some[j]]))
    return np.concatenate(square), np.concatenate(apart)
