"""Tracks -> Drift: the motion that all particles share, and the tracks without it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from nta.errors import Notice
from nta.spots import Spots
from nta.tracks import Tracks
from nta.video import Calibration


@dataclass(frozen=True)
class Drift:
    """Common displacement since the first frame: slow flow, and vibration where there is some.

    Attributes
    ----------
    x_px, y_px : (n_frames,) float64, position of the liquid relative to frame 0
    window_frames : width of the smoothing
    diffusion_share : share of the diffusion that was taken along with the vibration: a coefficient reads ``1 - diffusion_share`` of the
        true one in the mean over all steps and both axes; 0 where no vibration was removed
    vibration_px : RMS in x and y of the common displacement from frame to frame beyond the slow flow; 0 where none was found
    convection_px : RMS over the field of the flow's departure from its mean, px a frame; 0 where none was found
    carried_px : (n_spots, 2) float64, how far convection has carried each spot since its track began; (0, 2) where none was found
    """

    x_px: np.ndarray
    y_px: np.ndarray
    window_frames: int
    diffusion_share: float = 0.0
    vibration_px: tuple[float, float] = (0.0, 0.0)
    convection_px: float = 0.0
    carried_px: np.ndarray = field(default_factory=lambda: np.empty((0, 2)))
    notices: tuple[Notice, ...] = ()


SMALLEST_WINDOW_FRAMES = 31
PAIRS_IN_WINDOW = 1000  # a particle's own share in the drift that is taken from it is then 0.1 % of its diffusion
FEWEST_STEPS = 10  # for a change of the flow
SIGNIFICANT_SD = 3.0
CHANCE_OF_VIBRATION = 0.00135  # beyond 3 standard errors on one side, an axis
CHANCE_OF_CONVECTION = 1e-3
DEGREES = (1, 4)  # of the polynomials in x and y; the higher has 99 % of a sine across the field, two rolls
FEWEST_TRACKS = 64
ROOM = 8.0  # typical walks of a track in the field's shorter side
STUCK = 0.1  # of the mean squared step: whoever steps less does not follow the flow
MATTERS = 0.01  # of a diffusion coefficient
ROWS = 50_000  # places at a time


@dataclass(frozen=True)
class _Links:
    """Displacements between successive frames, ordered by track, then frame.

    `spots` are those of the tracks, `row` is the later one's, (n,), and `frame` its; `track`, (n,); `step_px` the step, (n, 2); `follows`
    tells of all rows but the last whether the next one is the same particle's next step, (n - 1,).
    """

    spots: Spots
    row: np.ndarray
    frame: np.ndarray
    track: np.ndarray
    step_px: np.ndarray
    follows: np.ndarray

    @property
    def n_frames(self) -> int:
        return self.spots.n_frames

    @property
    def at_px(self) -> np.ndarray:
        """(n, 2) middles of the steps."""
        return np.column_stack([(at[self.row] + at[self.row - 1]) / 2 for at in (self.spots.x_px, self.spots.y_px)])

    def less(self, steps_px: np.ndarray, common_px: np.ndarray) -> np.ndarray:
        """Return (n, 2) steps less what is common to each frame, (n_frames, 2)."""
        left = common_px[self.frame]
        return np.subtract(steps_px, left, out=left)

    def sums(self, values: np.ndarray, power: int = 1) -> np.ndarray:
        """Return the sums of (n, 2) `values` to some power over the links of each frame, (n_frames, 2)."""
        return np.column_stack([np.bincount(self.frame, v**power, minlength=self.n_frames) for v in values.T])

    @property
    def count(self) -> np.ndarray:
        """(n_frames,) links that end in each frame."""
        return np.bincount(self.frame, minlength=self.n_frames).astype(float)

    def neighbours(self, values: np.ndarray) -> np.ndarray:
        """Return products of (n, 2) `values` and those of the same particle's next step; 0 where there is none."""
        product = np.zeros_like(values)
        np.multiply(values[:-1], values[1:], out=product[1:], where=self.follows[:, None])
        return product


def find_drift(tracks: Tracks, calibration: Calibration) -> Drift:
    """Measure what all tracks do together: the slow flow, and what shakes them from frame to frame.

    A mean over the M particles of a frame carries 1/M of each one's diffusion away with it. The slow flow is therefore a straight line in
    time fitted to at least 1000 steps and 31 frames about each frame; what the means of single frames do beyond it is removed only
    where it is more than diffusion makes of them. Flow that differs from place to place is looked for, and warned about.
    """
    links = _links(tracks)
    if not len(links.frame):
        none = np.zeros(links.n_frames)
        return Drift(none, none.copy(), links.n_frames)
    slow, leverage, window = _slow(links)
    left = links.less(links.step_px, slow)
    flow, convection, warned = _convection(links, left, calibration)
    carried = np.empty((0, 2))
    if convection:
        # who is where changes from frame to frame, and the mean flow with it
        carried = _carried(tracks, flow)
        links = replace(links, step_px=links.step_px - flow(links.at_px))
        slow, leverage, window = _slow(links)
        left = links.less(links.step_px, slow)
    shake, vibration, share = _vibration(links, left, leverage)
    notices = warned + _vibration_notice(vibration, share, calibration)
    x, y = np.cumsum(slow + shake, axis=0).T
    return Drift(x, y, min(window, links.n_frames), share, vibration, convection, carried, notices)


def without_drift(tracks: Tracks, drift: Drift, inside: np.ndarray | slice = slice(None)) -> tuple[np.ndarray, np.ndarray]:
    """Return x and y in px of the spots, or of those `inside`, less the drift at their frame."""
    frame = tracks.spots.frame[inside]
    x, y = tracks.spots.x_px[inside] - drift.x_px[frame], tracks.spots.y_px[inside] - drift.y_px[frame]
    if len(drift.carried_px):
        x, y = x - drift.carried_px[inside, 0], y - drift.carried_px[inside, 1]
    return x, y


def _carried(tracks: Tracks, flow: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Return how far `flow`, px a frame at (n, 2) places, has carried each spot since its track began, (n_spots, 2)."""
    spots = tracks.spots
    at = np.column_stack([spots.x_px, spots.y_px])
    path = np.zeros_like(at)
    # across the end of a track the sum runs on; only differences within a track remain
    path[1:] = np.cumsum(flow((at[1:] + at[:-1]) / 2) * np.diff(spots.frame)[:, None], axis=0)
    return path - np.repeat(path[tracks.start[:-1]], tracks.n_spots, axis=0)


def _links(tracks: Tracks) -> _Links:
    spots = tracks.spots
    linked = np.diff(spots.frame, prepend=-2) == 1
    linked[tracks.start[:-1]] = False
    row = np.flatnonzero(linked)
    frame = spots.frame[row]
    track = np.repeat(np.arange(len(tracks), dtype=np.int32), np.add.reduceat(linked, tracks.start[:-1], dtype=int))
    follows = (np.diff(track) == 0) & (np.diff(frame) == 1)
    step = np.empty((len(row), 2))
    for axis, at in enumerate((spots.x_px, spots.y_px)):
        step[:, axis] = at[row] - at[row - 1]
    return _Links(spots, row, frame, track, step, follows)


def _slow(links: _Links) -> tuple[np.ndarray, np.ndarray, int]:
    """Return the smooth common step to each frame, (n_frames, 2), each single step's own share in it, (n_frames,), and the window.

    A straight line in a window about each frame (Cleveland 1979, with even weights): at the ends of the video, where the window is not
    about the frame, a mean would lag behind a flow that changes. Where the window is the whole video, so few steps carry a slope only
    if it is 3 standard errors from zero.
    """
    n, count = links.n_frames, links.count
    window = int(max(SMALLEST_WINDOW_FRAMES, np.ceil(PAIRS_IN_WINDOW * n / count.sum())))
    window += 1 - window % 2
    whole = window >= n - 1
    time = np.arange(n) - n / 2
    first = np.ones(n, np.int64) if whole else np.clip(np.arange(n) - window // 2, 1, n - window)
    last = np.full(n, n) if whole else first + window
    step = links.sums(links.step_px)

    def inside(values: np.ndarray) -> np.ndarray:
        total = np.concatenate([np.zeros((1, *values.shape[1:])), np.cumsum(values, axis=0)])
        return np.asarray(total[last] - total[first])

    steps = inside(count)
    some = np.maximum(steps, 1)
    middle = inside(count * time) / some
    spread = inside(count * time**2) - steps * middle**2
    mean = inside(step) / some[:, None]
    slope = (inside(step * time[:, None]) - middle[:, None] * inside(step)) / np.maximum(spread, 1e-9)[:, None]
    away = time - middle
    leverage = 1 / some + away**2 / np.maximum(spread, 1e-9)
    # the ends of an even window have 4 times the leverage of its middle; beyond that the line would be continued to where nothing is seen
    straight = (leverage <= 5 / some) & (steps >= FEWEST_STEPS)
    if whole:
        _, diffusive = _covariances(links, links.less(links.step_px, mean))
        sure = slope**2 * spread[:, None] > SIGNIFICANT_SD**2 * diffusive
        slope = np.where(sure, slope, 0.0)
        straight &= sure.any(axis=1)
    mean += np.where(straight, away, 0.0)[:, None] * slope
    mean[steps == 0] = step.sum(axis=0) / count.sum()
    mean[0] = 0.0
    return mean, np.where(straight, leverage, 1 / some), window


def _covariances(links: _Links, steps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a step's variance and the growth per frame of a long displacement's, ``C0 + 2 C1``, px^2, (2,) each, for steps of mean 0.

    Blur and localisation error correlate successive steps and no others (Berglund 2010).
    """
    variance = np.einsum("ij,ij->j", steps, steps) / len(steps)
    neighbour = np.einsum("ij,ij,i->j", steps[:-1], steps[1:], links.follows) / max(np.count_nonzero(links.follows), 1)
    return variance, np.clip(variance + 2 * neighbour, 0.02 * variance, 2 * variance)


def _vibration(links: _Links, left: np.ndarray, leverage: np.ndarray) -> tuple[np.ndarray, tuple[float, float], float]:
    """Return the common step to each frame beyond the slow flow, (n_frames, 2), its RMS in x and y, and the share of the diffusion in it.

    The mean product of the steps of different particles is the variance of what they have in common, whatever their sizes, blur and
    localisation errors. Where chance makes it that large once in 740, or more often, nothing is removed.
    """
    from scipy.special import chdtri

    count = links.count
    couples = float(np.sum(count * (count - 1)))
    none = np.zeros((links.n_frames, 2)), (0.0, 0.0), 0.0
    if np.count_nonzero(count > 1) < FEWEST_STEPS:
        return none
    total, squares = links.sums(left), links.sums(left, 2)
    mean = total / np.maximum(count, 1)[:, None]
    # one particle's variance, about the frames' means; then the variance in common, less what the slow flow took of it
    own = np.sum(squares - total * mean, axis=0) / np.sum(np.maximum(count - 1, 0))
    _, diffusive = _covariances(links, links.less(left, mean))
    taken = diffusive * np.sum(count * (count - 1) * leverage) / couples
    common = np.sum(total**2 - squares, axis=0) / couples + taken
    # products of different couples do not correlate, nor those of the same one, but for its next step's (blur, localisation error)
    product = links.neighbours(left)
    same_step = np.sum(squares**2 - links.sums(left, 4), axis=0)
    next_step = np.sum(links.sums(product) ** 2 - links.sums(product, 2), axis=0)
    error2 = 2 * (same_step + 2 * np.maximum(next_step, 0)) / couples**2
    # chance alone makes it a chi-square's departure from its mean, which reaches further up than a normal
    chance = own * np.sum(np.maximum(count - 1, 0)) / couples
    freedom = np.maximum(2 * chance**2 / np.maximum(error2, 1e-300), 1.0)
    limit = (chdtri(freedom, CHANCE_OF_VIBRATION) - freedom) / np.sqrt(2 * freedom)
    variance = np.where(common > limit * np.sqrt(error2), common, 0.0)
    if not variance.any():
        return none
    weight = count[:, None] * variance / np.maximum(count[:, None] * variance + own, 1e-300)  # Wiener: V / (V + own / M)
    share = float(np.sum((2 * weight - weight**2)[count > 0]) / (2 * count.sum()))
    x, y = np.sqrt(variance)
    return weight * mean, (float(x), float(y)), share


def _vibration_notice(vibration_px: tuple[float, float], share: float, calibration: Calibration) -> tuple[Notice, ...]:
    if not any(vibration_px):
        return ()
    um = calibration.pixel_size_um.value
    x, y = vibration_px
    text = (
        f"vibration: all particles shake together, by {x:.3f} px in x and {y:.3f} px in y from frame to frame "
        f"({x * um:.3f} and {y * um:.3f} um, RMS); removed, and {100 * share:.1f} % of the diffusion with it; "
        f"the slowest particles are left with some of the mean motion of the others"
    )
    return (Notice("vibration", text),)


def _convection(
    links: _Links, left: np.ndarray, calibration: Calibration
) -> tuple[Callable[[np.ndarray], np.ndarray], float, tuple[Notice, ...]]:
    """Return the flow's departure from its mean, (n, 2) px a frame at (n, 2) places, its RMS over the field, and the warning.

    The mean velocity of each track, relative to all particles in its frames, is fitted by a linear field, then by polynomials of degree 4
    at its mean place; what is found is fitted again along the tracks. The F-tests take their error from the tracks' own scatter: a track
    counts once, however its steps are correlated.
    """
    from scipy.special import eval_legendre, fdtrc

    none = np.zeros_like, 0.0, ()
    count = links.count
    apart = links.less(left, links.sums(left) / np.maximum(count, 1)[:, None])  # vibration is in no difference
    which = np.cumsum(np.diff(links.track, prepend=links.track[0]) > 0)
    steps = np.bincount(which)

    def per_track(values: np.ndarray) -> np.ndarray:
        return np.column_stack([np.bincount(which, v) for v in values.T]) / steps[:, None]

    squared = np.einsum("ij,ij->i", links.step_px, links.step_px)
    moving = np.bincount(which, squared) / steps > STUCK * squared.mean()
    variance, diffusive = (float(v.mean()) for v in _covariances(links, apart))
    if np.count_nonzero(moving) < FEWEST_TRACKS or variance == 0:
        return none
    weight = moving * steps**2 / (steps * diffusive + (variance - diffusive))
    velocity = per_track(apart)
    del apart
    at = per_track(links.at_px)
    low, high = at.min(axis=0), at.max(axis=0)
    walk = np.sqrt(diffusive * np.median(steps[moving]))
    if ROOM * walk > np.min(high - low):
        return none  # of a crowd from one place, those are outside who went there

    def terms(at_px: np.ndarray, degree: int) -> Iterator[np.ndarray]:
        u, v = (2 * np.clip((at_px - low) / (high - low), 0, 1) - 1).T
        for i, j in itertools.product(range(degree + 1), repeat=2):
            if i + j <= degree:
                yield eval_legendre(i, u) * eval_legendre(j, v)

    root = np.sqrt(weight)[:, None]
    mean = np.sum(weight[:, None] * velocity, axis=0) / weight.sum()
    total = rest_before = float(np.sum((root * (velocity - mean)) ** 2))
    rank_before, found = 1, None
    for degree in DEGREES:
        design = root * np.column_stack(list(terms(at, degree)))
        fit, _, rank, _ = np.linalg.lstsq(design, root * velocity, rcond=1e-9)
        rest = float(np.sum((root * velocity - design @ fit) ** 2))
        more, spare = 2 * (int(rank) - rank_before), 2 * (np.count_nonzero(moving) - int(rank))
        if more and fdtrc(more, spare, (rest_before - rest) / more / max(rest / spare, 1e-300)) < CHANCE_OF_CONVECTION / len(DEGREES):
            explained = total - rest - 2 * (rank - 1) * rest / spare
            found, rest_before, rank_before = degree, rest, int(rank)
    if found is None:
        return none
    rms = float(np.sqrt(explained / weight.sum()))
    along = root * np.column_stack([np.bincount(which, term) / steps for term in terms(links.at_px, found)])
    fit = np.linalg.lstsq(along, root * velocity, rcond=1e-9)[0]

    def flow(at_px: np.ndarray) -> np.ndarray:
        moved = np.tile(-mean, (len(at_px), 1))
        for some in (slice(first, first + ROWS) for first in range(0, len(at_px), ROWS)):
            for term, coefficient in zip(terms(at_px[some], found), fit, strict=True):
                moved[some] += term[:, None] * coefficient
        return moved

    shift = rms**2 / 2 / diffusive * _coherence(int(np.median(steps[moving])), variance, diffusive)
    if shift < MATTERS:
        return flow, rms, ()
    speed = rms * calibration.pixel_size_um.value * calibration.fps.value
    text = (
        f"convection: the flow varies over the field by {rms:.3f} px a frame ({speed:.2f} um/s, RMS), which would add about "
        f"{100 * shift:.0f} % to the diffusion of a typical particle and ten times that to one ten times as large; "
        f"taken off as far as it shows, a part is left"
    )
    return flow, rms, (Notice("convection", text),)


def _coherence(n_steps: int, variance: float, diffusive: float) -> float:
    """Return how much more a constant velocity adds to D than its square over a step's diffusive variance does, for `n_steps` steps.

    In the cosine transform of the steps a likelihood weighs each mode by its inverse squared variance (Berglund 2010): with
    localisation errors the slow modes, in which a velocity is, weigh most. 1 without them, at most `n_steps`.
    """
    k = np.arange(1, n_steps + 1)
    turn = np.pi * k / (n_steps + 1)
    weight = 1 / (variance + (diffusive - variance) * np.cos(turn)) ** 2
    power = 2 / (n_steps + 1) * np.sin(np.outer(turn, k)).sum(axis=1) ** 2
    return float(weight @ power / weight.sum())
