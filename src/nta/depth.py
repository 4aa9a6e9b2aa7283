"""View, speed and brightness -> Depth: where in the light a particle is seen, and how many tracks of each length it makes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nta.view import SMEAR_SATURATION, SMEAR_SCATTER, View

DEPTH_CELLS = 40
FAINT = 0.45  # ln; a particle that much below the threshold is hardly ever seen
MOST_SLOWED = 0.3  # beyond it a first order means little
NODES, NODE_SHARES = np.polynomial.legendre.leggauss(12)
DIMMEST, BRIGHTEST = -2.0, 4.5  # ln of a peak over the threshold


@dataclass(frozen=True)
class Depth:
    """Cells of depth, from the middle of the light outwards, in which a particle of each size diffuses.

    Attributes
    ----------
    view : how the video sees
    diffusion_um2_s : (k,)
    cell_um : (k,) width of a cell
    z_um : (k, DEPTH_CELLS) their middles
    snr, sd : (k, DEPTH_CELLS) mean and SD of the signal-to-noise there
    missed : (k, DEPTH_CELLS) share of those bright enough that are not found all the same
    seen : (k, DEPTH_CELLS) chance to be found
    held : (k, DEPTH_CELLS) root of the chance that a link between two detections there holds
    move : (k, DEPTH_CELLS, DEPTH_CELLS) chance to get from one cell into another, or its mirror image, in a frame
    """

    view: View
    diffusion_um2_s: np.ndarray
    cell_um: np.ndarray
    z_um: np.ndarray
    snr: np.ndarray
    sd: np.ndarray
    missed: np.ndarray
    seen: np.ndarray
    held: np.ndarray
    move: np.ndarray

    @classmethod
    def of(cls, view: View, width_um: float, diffusion_um2_s: np.ndarray, log_peak: np.ndarray) -> Depth:
        """Return the depth of particles whose peak signal-to-noise is ``exp(log_peak)`` times the threshold, in light of SD `width_um`."""
        from scipy.special import ndtr

        step = np.sqrt(2 * diffusion_um2_s * view.dt_s)
        cell = (width_um * view.reach(np.maximum(log_peak + FAINT, 0.05)) + 3.0 * step) / DEPTH_CELLS
        z = (np.arange(DEPTH_CELLS) + 0.5) * cell[:, None]
        snr = view.threshold_snr * np.exp(log_peak[:, None] - view.fall(z / width_um))
        sd = view.snr_sd(snr, view.smear(diffusion_um2_s)[:, None])
        hidden = view.crowd.hidden(snr)
        missed = 1 - (1 - view.missed_share) * (1 - hidden)
        bright = ndtr((snr - view.threshold_snr) / sd)
        seen = (1 - missed) * bright
        # who is hidden stays so: more are missed twice in succession than by chance
        stays = view.crowd.staying(diffusion_um2_s, view.dt_s)[:, None]
        held = np.sqrt(1 - view.gap_frames * hidden * np.maximum(stays * (1 - stays) - hidden, 0.0))
        return cls(view, diffusion_um2_s, cell, z, snr, sd, missed, seen, held, moves(cell / step, DEPTH_CELLS))

    def full_um(self) -> np.ndarray:
        """Return (k,) the depth in which detections are made, as if all were made within and none beyond it."""
        return np.asarray(2 * self.cell_um * np.sum(self.seen / (1 - self.missed), axis=1))

    def visitors_um(self) -> np.ndarray:
        """Return (k,) how many different particles come through in the whole video, per particle per um of depth in the field.

        In depth those within it and, on both sides, the mean largest excursion in the video, sqrt(4 D T / pi).
        """
        view = self.view
        crossed = self.full_um() + 2 * np.sqrt(4 * self.diffusion_um2_s * view.n_frames * view.dt_s / np.pi)
        return np.asarray(crossed * view.visiting(self.diffusion_um2_s))

    def expected(self, staying: np.ndarray) -> np.ndarray:
        """Return (n_frames + 1, k) expected number of tracks of each span, for one particle per um of depth and field.

        Of those of `min_frames` or more only tracks of as many spots. A track ends after `gap_frames` + 1 frames (gaps of 0 or 1) without
        detection, where a link breaks, or where the particle leaves the field, by the chances of `View.staying`. Tracks cut by the start or
        end of the video are counted.
        """
        view, seen, move = self.view, self.seen, self.move
        soon, gone = self._unseen()
        beside = np.stack([np.ones_like(seen), 1 - soon, gone], axis=2)
        counts = np.zeros((view.n_frames + 1, len(seen)))
        for k in range(len(seen)):
            ends = _symmetric(move[k], seen[k], self.held[k], view.gap_frames, beside[k])
            counts[1:, k] = _spans(_power_products(*ends, view.n_frames), view.gap_frames)
        counts = self._cut_short(np.maximum(counts, 0.0) * 2 * self.cell_um, staying)  # both halves of the light
        enough = self._enough_spots(gone)
        shortest = counts[view.min_frames : view.min_frames + len(enough)]
        shortest *= enough[: len(shortest)]
        return counts

    def _enough_spots(self, gone: np.ndarray) -> np.ndarray:
        """Return (j, k) the share of tracks of `min_frames` frames, one more ... in which at least as many spots are found.

        Of longer ones all have them, since no two frames in succession are missed.
        """
        view, least = self.view, self.view.min_frames
        shares = np.ones((max(least - 1, 0), len(self.seen)))
        if not view.gap_frames:
            return shares
        # who is found in the n-th frame of a track, by how many spots it has so far, and who is missed in it
        found = np.zeros((len(self.seen), least + 1, DEPTH_CELLS))
        found[:, 1] = self.seen * gone
        missed = np.zeros_like(found)
        for n in range(2, 2 * least - 1):
            onwards = np.matmul(found, self.move)  # it is symmetric
            further = (onwards + np.matmul(missed, self.move)) * self.seen[:, None]
            missed = onwards * (1 - self.seen)[:, None]
            found[:, 1:], found[:, 0] = further[:, :-1], 0.0
            found[:, least] += further[:, least]
            if n >= least:
                ends = np.sum(found * gone[:, None], axis=2)
                shares[n - least] = ends[:, least] / np.maximum(ends.sum(axis=1), 1e-300)
        return shares

    def _cut_short(self, counts: np.ndarray, staying: np.ndarray) -> np.ndarray:
        """Return numbers of tracks where links break and particles leave the field, of those where they do not, (n_frames + 1, k).

        Stretches of m frames within tracks, ``sum_n (n - m + 1) E_n``, are fewer by the chance that such a stretch holds; their second
        differences are tracks again.
        """
        within = np.cumsum(np.cumsum(counts[::-1], axis=0), axis=0)[::-1]
        links = np.maximum(np.arange(len(counts)) - 1.0, 0.0)[:, None]
        within = within * (1 - self.view.broken_share) ** links * staying
        within = np.concatenate([within, np.zeros((2, within.shape[1]))])
        tracks = within[:-2] - 2 * within[1:-1] + within[2:]
        tracks[0] = 0.0
        return np.maximum(tracks, 0.0)

    def followed(self) -> np.ndarray:
        """Return (k, DEPTH_CELLS) the chance to be found, in a track of enough spots to be sized."""
        view, least = self.view, self.view.min_frames
        on = [np.ones_like(self.seen)]  # a track goes on for 0, 1 ... spots or more
        for n in range(1, least):
            soon = self._next(self.seen * self.held * on[n - 1])
            later = view.gap_frames * self._next((1 - self.seen) * soon)
            on.append((1 - view.broken_share) * self.held * (soon + later))
        # backwards as forwards: together they make it long enough
        long = on[-1].copy()
        for n in range(least - 1):
            long += (on[n] - on[n + 1]) * on[least - 1 - n]
        return np.asarray(self.seen * long)

    def mean_log_snr(self) -> np.ndarray:
        """Return (k,) the mean of ln(SNR / threshold) of the detections in sized tracks."""
        threshold, followed = self.view.threshold_snr, self.followed()
        # of what is above the threshold, and within 4 SD
        high = np.maximum(self.snr + 4 * self.sd, 1.02 * threshold)
        low = np.minimum(np.maximum(self.snr - 4 * self.sd, threshold), high - 1e-3)
        value = 0.5 * (high + low)[..., None] + 0.5 * (high - low)[..., None] * NODES
        density = np.exp(-0.5 * ((value - self.snr[..., None]) / self.sd[..., None]) ** 2) * NODE_SHARES
        mean = np.sum(density * np.log(value / threshold), axis=2) / np.maximum(density.sum(axis=2), 1e-300)
        return np.asarray(np.sum(followed * mean, axis=1) / np.maximum(followed.sum(axis=1), 1e-300))

    def slowed(self) -> np.ndarray:
        """Return (k,) by how much less than all steps the steps of what is followed vary: who moves fast while it is lit is seen less.

        A walk's variance S in an exposure scatters by 0.632 of its mean, and ln of the spot's height by ``x / (1 + 1.75 x)`` of that.
        Of those seen at a depth the mean of S is lower by both SD times how steeply the chance to be seen rises with ln of the height. What
        moved in the exposures makes ``(2 te / 3) / (dt - te / 3)`` of a step's variance.
        """
        from scipy.special import log_ndtr

        view, followed, x = self.view, self.followed(), self.view.smear(self.diffusion_um2_s)
        above = (self.snr - view.threshold_snr) / self.sd
        steep = np.exp(-0.5 * above**2 - log_ndtr(above)) / np.sqrt(2 * np.pi) * self.snr / self.sd
        scatter = SMEAR_SCATTER**2 * x / (1 + SMEAR_SATURATION * x)
        less = np.sum(followed * steep, axis=1) / np.maximum(followed.sum(axis=1), 1e-300) * scatter
        return np.minimum(less * 2 * view.exposure_s / (3 * view.dt_s - view.exposure_s), MOST_SLOWED)

    def _next(self, value: np.ndarray) -> np.ndarray:
        """Return (k, DEPTH_CELLS) the mean of what is in the next frame."""
        return np.asarray(np.matmul(self.move, value[:, :, None])[:, :, 0])

    def _unseen(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the chances to be found in the next frame, and that a track ends: neither in it nor, if waited for, in the one after."""
        linked = self._next(self.seen * self.held)
        soon, later = self.held * linked, self.held * self._next((1 - self.seen) * linked)
        return soon, 1 - soon - self.view.gap_frames * later


def moves(cell: np.ndarray, n: int) -> np.ndarray:
    """Return (k, n, n) chances to get from one cell into another, or its mirror image behind the middle.

    `cell` is the width of a cell in SD of a step, (k,).
    """
    from scipy.special import ndtr

    edge = np.arange(2 * n + 1) - 0.5
    below = ndtr(-edge * cell[:, None])
    across = below[:, :-1] - below[:, 1:]  # so many cells further
    i = np.arange(n)
    return np.asarray(across[:, np.abs(i - i[:, None])] + across[:, i + i[:, None] + 1])


def _spans(chance: np.ndarray, gap: int) -> np.ndarray:
    """Return (n,) how many tracks of 1, 2 ... n frames a video of n has, of their chances by what is beside either end, (n, 3, 3).

    That is the video's end, or one frame and the video's end, which only counts where one is waited for, or two frames. A track read
    backwards is as likely.
    """
    n = len(chance)
    counts = np.arange(n - 2 - 2 * gap, -2 - 2 * gap, -1) * chance[:, 2, 2] + 2 * (chance[:, 0, 2] + gap * chance[:, 1, 2])
    if gap:
        counts[-3:-2] = 2 * chance[-3:-2, 0, 2] + chance[-3:-2, 1, 1]
        counts[-2:-1] = 2 * chance[-2:-1, 0, 1]
    counts[-1] = chance[-1, 0, 0]
    return np.asarray(counts)


def _symmetric(move: np.ndarray, seen: np.ndarray, held: np.ndarray, gap: int, beside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the (d, d) matrix of a step between seen and, where one is waited for, missed, and what is `beside` tracks, (d, j).

    In the roots of the chances to be seen and missed it is symmetric, since `move` is. After two misses in succession there is no track.
    """
    c = len(seen)
    root = np.concatenate([np.sqrt(seen) * held, np.sqrt(1 - seen)])[: (1 + gap) * c]
    step, ends = np.zeros((len(root), len(root))), np.zeros((len(root), beside.shape[1]))
    step[:c] = np.concatenate([move] * (1 + gap), axis=1) * root[:c, None] * root
    step[c:, :c] = step[:c, c:].T
    ends[:c] = beside * np.sqrt(seen)[:, None]
    return step, ends


def _power_products(step: np.ndarray, ends: np.ndarray, n: int) -> np.ndarray:
    """Return (n, j, j) the products ``ends^T step^i ends`` for i below `n`, of a symmetric (d, d) matrix and j vectors, (d, j).

    About sqrt(n) powers on either side: those below m, and the multiples of m.
    """
    few, power, m = ends, step, 1
    while m * m < n:
        few = np.concatenate([few, power @ few], axis=1)
        power, m = power @ power, 2 * m
    many = [ends]
    while len(many) * m < n:
        many.append(power @ many[-1])
    j = ends.shape[1]
    products = np.concatenate(many, axis=1).T @ few
    return np.asarray(products.reshape(len(many), j, m, j).transpose(0, 2, 1, 3).reshape(-1, j, j)[:n])
