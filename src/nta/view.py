"""Tracks -> View: how this video sees and follows a particle, whatever its size."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from nta.crowd import Crowd, find_crowd
from nta.settings import Used
from nta.tracks import Tracks
from nta.video import Calibration

CLEAR = 1.0  # ln of the signal-to-noise over the threshold, above which nobody leaves the light within a frame
GUESSED_MISSED, GUESSED_BROKEN, WORTH = 0.01, 0.002, 500  # shares where no spot is clear, and how many spots such a guess is worth
SOFT, HARD = 2.0, 32.0
HEIGHT_OF_PLACE = 1.5  # of the noise that a spot's light adds: in its height, 2/3, over that in its place, 4/9
# SD of ln of a smeared spot's height over x: of a walk's variance it is 0.894 of its mean, of two axes 0.632; the more smeared, the less
# it matters, by 1 / (1 + 1.75 x) within 3 % up to x = 0.6 (simulated walks)
SMEAR_SCATTER, SMEAR_SATURATION = 0.632, 1.75


@dataclass(frozen=True)
class View:
    """What decides whether a particle at a given depth is seen, and its track goes on.

    Attributes
    ----------
    threshold_snr : signal-to-noise from which a spot counts
    light : what the light of a signal-to-noise of 1 adds to the variance of a signal-to-noise, which is 1 without any
    spot_um : width of a spot
    dt_s, exposure_s : from frame to frame, and of one frame
    n_frames, gap_frames, min_frames : of the video, missed ones that are bridged, the fewest of a track that is sized
    missed_share : of the frames in which a clear particle that nobody hides is not found
    broken_share : of its links away from the field's edges at which its track ends all the same
    field_um, flow_um_s : (2,) sides of the field and common motion, x and y
    crowd : who is hidden by others beside
    edge : ln of the light falls off with this power of the depth: `SOFT`, a Gaussian, or `HARD`, even light with an end
    """

    threshold_snr: float
    light: float
    spot_um: float
    dt_s: float
    exposure_s: float
    n_frames: int
    gap_frames: int
    min_frames: int
    missed_share: float
    broken_share: float
    field_um: tuple[float, float]
    flow_um_s: tuple[float, float]
    crowd: Crowd = field(default_factory=Crowd)
    edge: float = SOFT

    def fall(self, widths: np.ndarray) -> np.ndarray:
        """Return by how much ln of the light is lower at so many widths from the middle."""
        return np.asarray(0.5 * widths**self.edge)

    def reach(self, log_peak: np.ndarray) -> np.ndarray:
        """Return at how many widths from the middle the light has fallen by `log_peak`, > 0."""
        return np.asarray((2 * log_peak) ** (1 / self.edge))

    def hardened(self) -> View:
        """Return the same in even light with an end: who stops being seen while it is clear has left it, and no link broke."""
        return replace(self, edge=HARD, broken_share=GUESSED_BROKEN)

    def smear(self, diffusion_um2_s: np.ndarray) -> np.ndarray:
        """Return x: a walk of the exposure lowers a spot in the matched filter to 1 / (1 + x) on average.

        Its variance about its mean is ``D te / 3`` along each axis, and the filter shows a spot with ``2 s^2`` of its own.
        """
        return np.asarray(diffusion_um2_s * self.exposure_s / (6 * self.spot_um**2))

    def snr_sd(self, snr: np.ndarray, smear: np.ndarray) -> np.ndarray:
        """Return the SD of signal-to-noise about its mean `snr`: of the background, of the spot's light, of how it smears."""
        uneven = SMEAR_SCATTER * smear / (1 + SMEAR_SATURATION * smear)
        return np.sqrt(1 + self.light * snr + (uneven * snr) ** 2)

    def covered_um(self, diffusion_um2_s: np.ndarray) -> np.ndarray:
        """Return (2, n_frames, k) how long a stretch of x and of y a walk of 0, 1 ... steps covers on average, seen once a frame.

        Its maximum less its minimum: ``sum_j E|S_j| / j`` over the steps, S_j its displacement after j of them (Spitzer 1956).
        """
        from scipy.special import erf

        step = np.arange(1, self.n_frames)[:, None]
        spread = np.sqrt(2 * diffusion_um2_s * self.dt_s * step)
        covered = np.zeros((2, self.n_frames, len(diffusion_um2_s)))
        for axis, flow in enumerate(self.flow_um_s):
            carried = abs(flow) * self.dt_s * step
            ratio = carried / spread
            away = spread * np.sqrt(2 / np.pi) * np.exp(-0.5 * ratio**2) + carried * erf(ratio / np.sqrt(2))
            covered[axis, 1:] = np.cumsum(away / step, axis=0)
        return covered

    def staying(self, diffusion_um2_s: np.ndarray) -> np.ndarray:
        """Return (n_frames + 1, k) the chance that who is in the field stays in it for 0, 1 ... n frames in succession.

        A walk is outside for the share of a side that it covers; exact while none covers a whole side.
        """
        stay = np.ones((self.n_frames + 1, len(diffusion_um2_s)))
        for side, covered in zip(self.field_um, self.covered_um(diffusion_um2_s), strict=True):
            stay[1:] *= np.maximum(1 - covered / side, 0.0)
        return stay

    def visiting(self, diffusion_um2_s: np.ndarray) -> np.ndarray:
        """Return (k,) how many different particles are in the field in the whole video, over those at a time."""
        covered = self.covered_um(diffusion_um2_s)[:, -1]
        return np.prod(1 + covered / np.array(self.field_um)[:, None], axis=0)

    def chosen(self) -> dict[str, Used]:
        """Return the shares, as a result lists them."""
        return {
            "missed_share": Used(round(self.missed_share, 5), "measured"),
            "broken_share": Used(round(self.broken_share, 5), "measured"),
        }


def find_view(tracks: Tracks, rows: np.ndarray, calibration: Calibration, exposure_s: float, min_frames: int) -> View:
    """Measure how sized tracks, of the numbers `rows`, go on: on clear spots, which nobody misses for want of light."""
    spots, pixel_um, dt_s = tracks.spots, calibration.pixel_size_um.value, 1 / calibration.fps.value
    threshold = spots.chosen["threshold_snr"].value
    clear = spots.snr > threshold * np.exp(CLEAR)
    owner = tracks.track_of_spot
    sized = np.isin(owner, rows)
    link = sized[1:] & (owner[1:] == owner[:-1]) & clear[1:] & clear[:-1]
    lapse = np.diff(spots.frame)
    missed, followed = np.count_nonzero(link & (lapse == 2)), np.count_nonzero(link & (lapse == 1))
    # near the edges a track may well end
    x, y, gate = spots.x_px, spots.y_px, tracks.gate_px[0]
    ends = np.array([x.min(), x.max(), y.min(), y.max()])
    inner = np.minimum.reduce([x - ends[0], ends[1] - x, y - ends[2], ends[3] - y]) > gate
    first, last = tracks.start[:-1][rows], tracks.start[1:][rows] - 1
    broken = np.count_nonzero((clear & inner)[last] & (spots.frame[last] < spots.n_frames - 2))
    broken += np.count_nonzero((clear & inner)[first] & (spots.frame[first] > 1))
    flow = [tracks.chosen[name].value * pixel_um / dt_s if name in tracks.chosen else 0.0 for name in ("flow_x_px", "flow_y_px")]
    # of what is missed and broken there, what others hide is told by itself
    crowd = find_crowd(spots, pixel_um)
    step = np.hypot(np.diff(x), np.diff(y))[link & (lapse == 1)] * pixel_um
    hidden = stays = 0.0
    if len(step):
        hidden = float(crowd.hidden(spots.snr[sized & clear]).mean())
        stays = float(crowd.staying(np.mean(step**2, keepdims=True) / (4 * dt_s), dt_s)[0])
    missed_share = max((missed + GUESSED_MISSED * WORTH) / (missed + followed + WORTH) - hidden * (1 - stays) ** 2, 0.0)
    broken_share = (broken / 2 + GUESSED_BROKEN * WORTH) / (np.count_nonzero(sized & clear & inner) + WORTH)
    # two missed in succession, by chance or hidden, end a track though no link breaks
    unbroken = hidden * stays * (1 - stays) + missed_share**2
    return View(
        threshold_snr=threshold,
        light=_light(spots.snr, spots.x_sd_px / spots.width_px),
        spot_um=spots.chosen["spot_width_px"].value * pixel_um,
        dt_s=dt_s,
        exposure_s=exposure_s,
        n_frames=spots.n_frames,
        gap_frames=tracks.chosen["gap_frames"].value,
        min_frames=min_frames,
        missed_share=float(missed_share),
        broken_share=max(float(broken_share - unbroken), 0.0),
        field_um=spots.field_um(pixel_um),
        flow_um_s=(flow[0], flow[1]),
        crowd=crowd,
    )


def _light(snr: np.ndarray, error: np.ndarray) -> float:
    """Return `View.light` from how the spots' relative errors in x fall with their brightness: as 1 / SNR without light of their own."""
    dim = snr <= np.quantile(snr, 0.9)  # of the brightest, that they are no Gaussians
    x, y = snr[dim], (error[dim] * snr[dim]) ** 2
    variance = float(np.var(x))
    if variance < 1.0:
        return 0.0
    slope = float(np.mean((x - x.mean()) * y)) / variance
    rest = float(y.mean() - slope * x.mean())
    return max(HEIGHT_OF_PLACE * slope / rest, 0.0) if rest > 0 else 0.0
