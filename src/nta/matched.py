"""Frame, width -> the frame seen through a matched filter on a grid, with its level and noise, and the spots fitted to its maxima."""

from __future__ import annotations

import copy
import functools
import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from nta.background import MAD_TO_SD, shares, sorting_network

CUT = 2.3  # filter widths, up to the middle between two pixels; what is beyond would add 0.1 % to the squared signal-to-noise, an axis
TILE_PX = 80  # the level of a tile is then known to a tenth of the filtered noise
MOST_BEYOND = 1.3  # by which noise may differ at an edge from that of the outermost tile
SETTLING, SETTLED = 4, 2  # rounds of clipping at three SD, after which it is within 1 % of where it ends; from another frame's SD on


NONE = tuple(np.empty((0, 0), dtype) for dtype in (np.uint8, np.uint16, np.float32))


@dataclass(frozen=True)
class Seen:
    """A frame through the filter.

    Attributes
    ----------
    frame : (height, width), as it was
    filtered : (rows, columns) float32, the filtered frame at the points of the grid, particles positive, still background taken off
    level, variance : (tile rows, tile columns) float64, of `filtered` without its particles
    factor : by how much the frame is noisier than usual
    """

    frame: np.ndarray
    filtered: np.ndarray
    level: np.ndarray
    variance: np.ndarray
    factor: float = 1.0

    def turned(self) -> Seen:
        """Return the frame as a filter of the other sign shows it."""
        return replace(self, filtered=-self.filtered, level=-self.level)


@dataclass(frozen=True)
class Light:
    """What the video's spots are like, beyond their width.

    Attributes
    ----------
    per_grey : variance that light of one grey level adds to a pixel, one over the gain in electrons
    misfit : SD of a pixel about a Gaussian spot for other reasons, as a share of the spot's height there
    stretch : by how much single spots are longer than wide, a share of their width, as motion during the exposure makes them; infinite
        where it is not known, and no spot is taken for two
    width_sd : scatter of the spots' ln width
    """

    per_grey: float = 0.0
    misfit: float = 0.1
    stretch: float = np.inf
    width_sd: float = 0.5


@dataclass(frozen=True)
class MatchedFilter:
    """A Gaussian of the spots' own width, for the frames of one video, evaluated on a grid no coarser than what it shows.

    Attributes
    ----------
    width_px : of the Gaussian
    still : (height, width) float32, what is taken off a frame
    sign : 1 where particles are bright, -1 where they are dark
    step : spacing of the grid, px
    grid, tiles : its rows and columns, and those of the tiles
    noise_gain : SD of what it shows of white noise, over that of a pixel
    row_edge, col_edge : where the tiles begin and end on the grid, within the rim
    row_mid, col_mid : where their centres lie
    rim_px : in which no spot is looked for, since half of it would lie outside
    """

    width_px: float
    still: np.ndarray
    sign: int
    step: int = field(init=False)
    grid: tuple[int, int] = field(init=False)
    tiles: tuple[int, int] = field(init=False)
    noise_gain: float = field(init=False)
    row_edge: np.ndarray = field(init=False)
    col_edge: np.ndarray = field(init=False)
    row_mid: np.ndarray = field(init=False)
    col_mid: np.ndarray = field(init=False)
    rim_px: int = field(init=False)
    _row_share: np.ndarray = field(init=False, repr=False)
    _col_share: np.ndarray = field(init=False, repr=False)
    _taps: np.ndarray = field(init=False, repr=False)
    _base: np.ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        from nta.kernels.filter import FIRST, NEXT

        put = functools.partial(object.__setattr__, self)
        passes = max(0, math.ceil((CUT * self.width_px - 0.5 - FIRST) / NEXT))
        taps = np.exp(-0.5 * (np.arange(FIRST + NEXT * passes + 1) / self.width_px) ** 2)
        taps /= taps[0] + 2 * taps[1:].sum()
        # a spot of the filter's width is seen sqrt(2) wider; points that far apart miss nothing
        step = max(1, int(np.sqrt(2) * self.width_px + 0.15))
        grid = (-(-self.shape[0] // step), -(-self.shape[1] // step))
        put("step", step)
        put("grid", grid)
        put("noise_gain", float(taps[0] ** 2 + 2 * np.sum(taps[1:] ** 2)))
        put("rim_px", find_rim_px(self.width_px))
        for name, n in zip(("row", "col"), grid, strict=True):
            # along the edges of a frame the filter mirrors it, and noise is up to 1.4 times as much
            edge = _edges(n, TILE_PX / step, min(self.rim_px // step, n // 4))
            put(f"{name}_edge", edge)
            middle = (edge[1:] + edge[:-1] - 1) / 2
            put(f"{name}_mid", middle)
            put(f"_{name}_share", shares(np.arange(n), middle))
        put("tiles", (len(self.row_mid), len(self.col_mid)))
        put("_taps", taps.astype(np.float32))
        put("_base", np.zeros(grid, np.float32))
        put("_base", self.filter(self.still).copy())

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of a frame, px."""
        height, width = self.still.shape
        return height, width

    def turned(self) -> MatchedFilter:
        """Return the filter of the other sign."""
        return self._with(sign=-self.sign, _base=-self._base)

    def plain(self) -> MatchedFilter:
        """Return the filter that takes nothing off, particles bright."""
        return self._with(sign=1, still=np.zeros(self.shape, np.float32), _base=np.zeros(self.grid, np.float32))

    def _with(self, **values: Any) -> MatchedFilter:
        other = copy.copy(self)
        for name, value in values.items():
            object.__setattr__(other, name, value)
        return other

    @property
    def area_px(self) -> float:
        """Area within the rim, px^2."""
        height, width = (max(1, n - 2 * self.rim_px) for n in self.shape)
        return float(height * width)

    def filter(self, image: np.ndarray, power: int = 1) -> np.ndarray:
        """Return the filtered image at the points of the grid, sign and still background taken off; taps to a `power`.

        The array is the calling thread's own, and holds until it calls any filter again.
        """
        return self.filter_and_level(image, np.zeros(self.tiles, np.float32), power)[0]

    def see(self, frame: np.ndarray, spread: np.ndarray) -> Seen:
        """Return a frame through the filter; `spread`, (tile rows, tile columns) float32, is about the SD of what will be seen.

        The filtered image is the calling thread's own, and holds until it calls any filter again.
        """
        return Seen(frame, *self.filter_and_level(frame, spread)[:3])

    def filter_and_level(self, image: np.ndarray, spread: np.ndarray, power: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
        """Return an image as `filter` does, and of that what `levels` returns."""
        from nta.kernels.filter import filter_image

        filtered, level, variance = _room("filtered", self.grid), np.empty(self.tiles), np.empty(self.tiles)
        taps = self._taps if power == 1 else self._taps**power
        of_tiles = spread, self.row_edge, self.col_edge, _order(), level, variance
        return filtered, level, variance, filter_image(image, self._base, taps, self.sign * taps, self.step, filtered, *of_tiles)

    def residual(self, frame: np.ndarray) -> np.ndarray:
        """Return a frame with sign and still background taken off, (height, width) float32."""
        return np.float32(self.sign) * (frame.astype(np.float32) - self.still)

    def levels(self, filtered: np.ndarray, spread: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        """Return level and variance of each tile of a filtered image, particles clipped, and the usual variance in squares of `spread`."""
        from nta.kernels.filter import find_levels

        level, variance = np.empty(self.tiles), np.empty(self.tiles)
        return level, variance, find_levels(filtered, spread, self.row_edge, self.col_edge, _order(), level, variance)

    def fit(
        self, seen: Seen, noise: np.ndarray, threshold: float, light: Light, ceiling: float = math.inf
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the spots that stand the threshold, a row each in the columns of `nta.kernels.fit`, and what tells their light.

        Parameters
        ----------
        noise : (rows, columns) float32, usual one of a filtered frame
        ceiling : least of ``sign * grey`` at which a pixel is saturated
        """
        from nta.kernels.frame import find_in_frame

        stored = _by_type(seen.frame)
        grid = seen.filtered, seen.level, self.row_mid, self.col_mid, noise
        told = seen.factor, threshold, 1.0 / self.noise_gain, self.width_px
        of_light = light.per_grey, light.misfit, light.stretch, 1.0 / light.width_sd**2
        found = _room("found", (seen.filtered.size // 4 + 1, 5), np.float64)
        room = found, _room("residual", self.shape), _room("model", self.shape)
        of_frame = self.still, float(self.sign), ceiling
        spots, tells = find_in_frame(*stored, *grid, *of_frame, *told, *of_light, self.step, self.rim_px, *room)
        return spots, tells

    def to_grid(self, tiles: np.ndarray) -> np.ndarray:
        """Interpolate a value of each tile to every point of the grid, constant beyond the tiles' centres, (rows, columns) float32."""
        return (self._row_share @ tiles @ self._col_share.T).astype(np.float32)

    def noise_to_grid(self, tiles: np.ndarray) -> np.ndarray:
        """Interpolate the noise of each tile to every point of the grid, (rows, columns) float32, in its logarithm.

        Beyond the tiles' centres it goes on as between the two next ones, but by no more than a factor of `MOST_BEYOND`.
        """
        log = np.log(tiles.astype(float))
        inner = self.to_grid(log)
        # both axes as rows
        for along, values, middle, share in ((inner, log, self.row_mid, self._col_share), (inner.T, log.T, self.col_mid, self._row_share)):
            if len(middle) == 1:
                continue
            slope = np.diff(values, axis=0) / np.diff(middle)[:, None]
            at = np.arange(len(along))
            for end, beyond in ((0, at[at < middle[0]]), (-1, at[at > middle[-1]])):
                more = np.multiply.outer(beyond - middle[end], share @ slope[end])
                along[beyond] += np.clip(more, -np.log(MOST_BEYOND), np.log(MOST_BEYOND))
        return np.exp(inner)


def find_rim_px(width_px: float) -> int:
    """Return the width of the rim of a frame in which a filter looks for no spot."""
    return 1 + math.ceil(2 * width_px)


@functools.cache
def _order() -> np.ndarray:
    """Return the pairs that sort the samples of a tile, (n, 2) int64."""
    from nta.kernels.filter import SAMPLES

    return np.array(sorting_network(SAMPLES), np.int64)


_own = threading.local()


def _room(name: str, shape: tuple[int, ...], dtype: type = np.float32) -> np.ndarray:
    """Return an array of the calling thread's own that all filters share, zero at first and as it was left after that."""
    size = math.prod(shape)
    room: np.ndarray | None = getattr(_own, name, None)
    if room is None or room.size < size:
        room = np.zeros(size, dtype)
        setattr(_own, name, room)
    return room[:size].reshape(shape)


def _by_type(frame: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a frame as bytes, words or floats, whichever it is or can be, and nothing for the other two."""
    bytes_, words, floats = NONE
    if frame.dtype == np.uint8:
        return frame, words, floats
    if frame.dtype == np.uint16:
        return bytes_, frame, floats
    return bytes_, words, frame.astype(np.float32, copy=False)


def _edges(n: int, size: float, rim: int) -> np.ndarray:
    """Return where the tiles of about `size` begin and end that `n` points within a rim are cut into, (tiles + 1,) int64."""
    return np.linspace(rim, n - rim, max(1, round(n / size)) + 1).round().astype(np.int64)


def spread_of(matched: MatchedFilter, images: Sequence[np.ndarray]) -> np.ndarray:
    """Return the SD of the filtered image in each tile, (tile rows, tile columns) float32: its median over frames, particles clipped."""
    spread, spreads = np.empty(0, np.float32), []
    for image in images:
        filtered = matched.filter(image)
        rounds = SETTLED
        if not len(spread):
            sample = filtered[::7, ::7]
            rounds, spread = SETTLING, np.full(matched.tiles, MAD_TO_SD * np.median(np.abs(sample - np.median(sample))), np.float32)
        for _ in range(rounds):
            spread = np.sqrt(matched.levels(filtered, spread)[1]).astype(np.float32)
        spreads.append(spread)
    return np.median(spreads, axis=0).astype(np.float32)
