"""Video -> Spots: where the particles are in every frame."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from nta.background import Background, find_background
from nta.errors import Notice
from nta.flags import Flag
from nta.look import Look, choose_look
from nta.matched import Seen
from nta.settings import Settings, Used
from nta.video import Video


@dataclass(frozen=True)
class Spots:
    """Detected spots, one row each, ordered by frame; pixel centres lie at integers.

    Attributes
    ----------
    frame : (n,) int32, frame number from the first analysed frame
    x_px, y_px : (n,) float64, sub-pixel position, column and row
    x_sd_px, y_sd_px : (n,) float64, standard error that the fit states
    signal : (n,) float64, fitted peak height over the background, grey levels (positive for dark particles too)
    snr : (n,) float64, matched-filter signal over local noise
    width_px : (n,) float64, Gaussian sigma
    flags : (n,) uint32 of `nta.flags.Flag`
    background, noise : (n_frames,) float64, typical grey level and its noise SD in each frame
    area_px : area of a frame in which spots are looked for, the rim excluded
    repeats : (n,) int64, frames that are the same as the one before, pixel by pixel; they have no spots of their own
    chosen : what the video decided: ``spot_width_px, threshold_snr, polarity``
    notices : what the user should know
    """

    frame: np.ndarray
    x_px: np.ndarray
    y_px: np.ndarray
    x_sd_px: np.ndarray
    y_sd_px: np.ndarray
    signal: np.ndarray
    snr: np.ndarray
    width_px: np.ndarray
    flags: np.ndarray
    background: np.ndarray
    noise: np.ndarray
    area_px: float
    repeats: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    chosen: Mapping[str, Used] = field(default_factory=dict)
    notices: tuple[Notice, ...] = ()

    ROWS: ClassVar[tuple[str, ...]] = ("frame", "x_px", "y_px", "x_sd_px", "y_sd_px", "signal", "snr", "width_px", "flags")

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def n_frames(self) -> int:
        """Number of frames looked at, empty ones and repeats included."""
        return len(self.background)

    def field_um(self, pixel_um: float) -> tuple[float, float]:
        """Return width and height of where spots are looked for: its area is known, and how wide and how high they lie."""
        wide, high = (float(np.ptp(at)) + 1.0 for at in (self.x_px, self.y_px))
        longer = float(np.sqrt(self.area_px / (wide * high)))
        return wide * longer * pixel_um, high * longer * pixel_um

    @property
    def per_frame(self) -> float:
        """Spots in a frame, on average over those that are no repeats."""
        return len(self) / max(self.n_frames - len(self.repeats), 1)

    @property
    def distinct(self) -> np.ndarray:
        """(n_frames - repeats,) int64, the frames that are no repeats."""
        return np.delete(np.arange(self.n_frames), self.repeats)


MANY_REPEATS = 0.3  # of the frames; a grabber that is late now and then repeats fewer, a frame rate that is not the camera's more
TYPICAL_OF = 17  # every so many pixels tell the typical grey level
TOGETHER, AHEAD = 16, 2  # frames that a thread is given at a time; how often, before the first are waited for
GROWTH = 2  # of a column that is full
PROGRESS = Callable[[str, int, int], None]


@dataclass(frozen=True)
class _Found:
    """What some frames that follow each other hold: rows of `Spots`, and of each frame level, noise, and a number that equal ones share."""

    rows: dict[str, np.ndarray]
    level: list[float]
    noise: list[float]
    mark: list[int]


class _Columns:
    """Columns of `Spots` that grow; room that is not filled yet is never touched, and so takes no memory."""

    def __init__(self) -> None:
        self.filled, self.columns = 0, dict.fromkeys(Spots.ROWS, np.empty(0))

    def add(self, rows: dict[str, np.ndarray]) -> None:
        end = self.filled + len(rows["frame"])
        for name, some in rows.items():
            column = self.columns[name]
            if end > len(column) or column.dtype != some.dtype:
                column = np.empty(max(end, GROWTH * len(column)), some.dtype)
                column[: self.filled] = self.columns[name][: self.filled]
                self.columns[name] = column
            column[self.filled : end] = some
        self.filled = end

    def rows(self) -> dict[str, Any]:
        return {name: column[: self.filled] for name, column in self.columns.items()}


def find_spots(
    video: Video, settings: Settings, threads: int = 1, progress: PROGRESS | None = None, background: Background | None = None
) -> Spots:
    """Find the particles of every frame: still background removed, matched filter, maxima above a local signal-to-noise, Gaussian fits.

    Spot width, polarity, noise, gain and threshold are measured on frames spread over the video (`look.choose_look`). A frame that
    repeats the one before shows nothing new: its spots are left out. `background` is the video's where it is known already.
    """
    search = _search
    if settings.spots.engine == "trackpy":
        from nta.trackpy_spots import search

    def some(frames: range) -> _Found:
        spots, level, variance = [], [], []
        for i in frames:
            frame = video.read(i)
            seen = look.see(frame)
            spots.append(search(frame, seen, look))
            level.append(seen.level.ravel())
            variance.append(seen.variance.ravel())
        middle = seen.level.size // 2
        levels, variances = (np.partition(np.stack(of), middle, axis=1)[:, middle] for of in (level, variance))
        rows = _rows(np.concatenate(spots), np.repeat(np.array(frames, np.int32), [len(one) for one in spots]))
        mark = [hash(one.tobytes() + other.tobytes()) for one, other in zip(level, variance, strict=True)]
        return _Found(rows, (typical + look.matched.sign * levels).tolist(), (np.sqrt(variances) / look.matched.noise_gain).tolist(), mark)

    columns, levels, noises, marks = _Columns(), [], [], []
    with ThreadPoolExecutor(threads) as pool:
        look = choose_look(video, background or find_background(video, pool.map), settings, pool.map)
        typical = float(np.median(look.matched.still.ravel()[::TYPICAL_OF]))
        # a bounded look-ahead keeps memory flat, and a stop short, however long the video is
        parts = [range(start, min(start + TOGETHER, video.n_frames)) for start in range(0, video.n_frames, TOGETHER)]
        for part, found in zip(parts, _in_order(pool, some, parts, AHEAD * threads), strict=True):
            columns.add(found.rows)
            levels += found.level
            noises += found.noise
            marks += found.mark
            if progress is not None:
                progress("find spots", part.stop, video.n_frames)
    repeats = [i + 1 for i, (a, b) in enumerate(itertools.pairwise(marks)) if a == b and _same(video, i)]
    rows = columns.rows()
    if repeats:
        fresh = ~np.isin(rows["frame"], repeats)
        rows = {name: column[fresh] for name, column in rows.items()}
    polarity = Used("bright" if look.matched.sign > 0 else "dark", settings.chosen.get("polarity", "measured"))
    return Spots(
        **rows,
        background=np.array(levels),
        noise=np.array(noises),
        area_px=look.matched.area_px,
        repeats=np.array(repeats, np.int64),
        chosen={
            "spot_width_px": Used(round(look.matched.width_px, 3), "measured"),
            "threshold_snr": Used(round(look.threshold, 3), "measured"),
            "polarity": polarity,
        },
        notices=_tell_repeats(len(repeats), video.n_frames),
    )


def _in_order(pool: ThreadPoolExecutor, work: Callable[[range], _Found], parts: list[range], ahead: int) -> Iterator[_Found]:
    """Yield what is found in each part, in order; never more than `ahead` are begun or wait to be fetched."""
    begun: deque[Future[_Found]] = deque()
    for part in parts:
        if len(begun) == ahead:
            yield begun.popleft().result()
        begun.append(pool.submit(work, part))
    while begun:
        yield begun.popleft().result()


def _same(video: Video, i: int) -> bool:
    """Tell whether frame `i` and the next are the same pixel by pixel; frames of a single grey are alike, and repeat nothing."""
    frame = video.read(i)
    return bool(np.array_equal(frame, video.read(i + 1)) and np.any(frame != frame[0, 0]))


def _tell_repeats(n: int, n_frames: int) -> tuple[Notice, ...]:
    """Say what repeated frames there are."""
    if n == 0:
        return ()
    if n == n_frames - 1:
        return (Notice("duplicated_frames", f"all {n_frames} frames are the same, pixel by pixel: nothing moves in this video"),)
    text = f"{n} of {n_frames} frames repeat the one before, pixel by pixel, and were left out; time is taken to go on"
    if n > MANY_REPEATS * n_frames:
        text += f"; the camera's frame rate seems to be {100 * (1 - n / n_frames):.0f} % of the file's"
    return (Notice("duplicated_frames", text),)


def _search(frame: np.ndarray, seen: Seen, look: Look) -> np.ndarray:
    """Return the spots of a frame, a row each in the columns of `nta.kernels.fit`."""
    return look.fit(seen)[0]


def _rows(spots: np.ndarray, frame: np.ndarray) -> dict[str, np.ndarray]:
    """Return fitted spots, with the number of the frame of each, as rows of `Spots`."""
    from nta.kernels import fit

    flags = np.where(spots[:, fit.SATURATED] > 0, np.uint32(Flag.SATURATED), np.uint32(0))
    columns = {
        "x_px": fit.X,
        "y_px": fit.Y,
        "x_sd_px": fit.X_SD,
        "y_sd_px": fit.Y_SD,
        "signal": fit.PEAK,
        "snr": fit.SNR,
        "width_px": fit.WIDTH,
    }
    return {"frame": frame, **{name: spots[:, c] for name, c in columns.items()}, "flags": flags.astype(np.uint32)}
