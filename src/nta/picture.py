"""Decoded frame -> array: grey and luma as they are, RGB, or the channel asked for of YUV."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nta.errors import VideoError

if TYPE_CHECKING:
    from av.video.format import VideoFormat
    from av.video.frame import VideoFrame

_LIMITED, _FULL = 1, 2  # FFmpeg's numbers of colour ranges
_WHITE, _LEVELS = 235, 256  # luma of white in limited range, of 8 bits
_LEAST_COLOUR = 3  # of 256 levels; lossy files and rounding leave as much
_PACKED = {"yuyv422": (0, 1, 3), "yvyu422": (0, 3, 1), "uyvy422": (1, 0, 2)}  # where luma, blue and red chroma are among 4 bytes
_HIGH_BITS = ("p0", "p2", "p4")  # formats with bits to spare, that fill the upper ones
_BT709, _WEIGHTS_709, _WEIGHTS_601 = 1, (0.2126, 0.0722), (0.299, 0.114)  # FFmpeg's number of the matrix; shares of red and blue in luma


class Picture:
    """How the frames of a video become arrays, and what was seen of them.

    Parameters
    ----------
    frame : the first of the video; all must be alike
    channel : ``r``, ``g`` or ``b``: YUV is converted to it; None: its luma is taken
    path : named in errors

    Attributes
    ----------
    dtype : of the arrays, native byte order
    channel_used : whether arrays are the channel asked for
    coloured : whether a YUV video, of which the luma is taken, has colour beyond noise

    Raises
    ------
    VideoError
        When the pixels are of a kind that is not read.
    """

    def __init__(self, frame: VideoFrame, channel: str | None, path: Path) -> None:
        kind = frame.format
        self.format, self.height, self.width = kind.name, frame.height, frame.width
        self.coloured = False
        self._highest = 0
        self._bits = max((c.bits for c in kind.components), default=0)
        self._float = kind.name.startswith(("grayf", "yaf", "gbrpf", "gbrapf"))
        self._grey = kind.name.startswith(("gray", "ya"))
        self._rgb = kind.is_rgb or kind.name == "pal8"
        self._yuv = not self._rgb and not self._grey
        if kind.is_bayer or kind.is_bit_stream or (self._yuv and not _has_luma_plane(kind) and kind.name not in _PACKED):
            raise VideoError(f"{path}: pixels of the kind {kind.name} are not read; export the video as grey (FFV1 of gray, for example)")
        self.channel_used = self._yuv and channel is not None
        self._channel = channel if self._yuv else None
        unsaid_is_limited = self._yuv and not kind.name.startswith("yuvj")
        self._limited = not self._rgb and (frame.color_range == _LIMITED or (frame.color_range != _FULL and unsaid_is_limited))
        self._weights = _WEIGHTS_709 if frame.colorspace == _BT709 else _WEIGHTS_601
        self._alike = self._rgb
        if self._float:
            self.dtype: np.dtype[np.generic] = np.dtype(np.float16 if self._bits == 16 else np.float32)
        else:
            self.dtype = np.dtype(np.uint8 if self._bits <= 8 else np.uint16)

    def __str__(self) -> str:
        return f"{self.width} x {self.height} px of {self.format}"

    @staticmethod
    def describe(frame: VideoFrame) -> str:
        """Return a frame's size and kind in words."""
        return f"{frame.width} x {frame.height} px of {frame.format.name}"

    def fits(self, frame: VideoFrame) -> bool:
        """Tell whether a frame is like the first."""
        return (frame.format.name, frame.height, frame.width) == (self.format, self.height, self.width)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of `collapsed` arrays: without a third axis where all colours looked at were grey."""
        return (self.height, self.width, 3) if self._rgb and not self._alike else (self.height, self.width)

    def pixels(self, frame: VideoFrame) -> np.ndarray:
        """Return a frame as a new array (height, width), or (height, width, 3) of colour."""
        name = self.format
        if name == "pal8":
            colours = np.frombuffer(memoryview(frame.planes[1]), np.uint32)  # of alpha, red, green, blue from the upper byte down
            if (colours == colours[0]).all():  # a palette that was left out
                colours = np.arange(256, dtype=np.uint32) * 0x010101
            return np.stack([(colours >> s).astype(np.uint8) for s in (16, 8, 0)], axis=-1)[self._plane(frame, 0)]
        if name.startswith(("gbrp", "gbrap")):
            return np.stack([self._plane(frame, k) for k in (2, 0, 1)], axis=-1)
        if self._rgb:
            return np.array(frame.to_ndarray(format="rgb24" if self._bits <= 8 else "rgb48le"))
        if name.startswith("ya"):
            return np.ascontiguousarray(self._plane(frame, 0, 2)[:, ::2])
        return self._luma(frame) if self._channel is None else self._channel_of_yuv(frame)

    def _luma(self, frame: VideoFrame) -> np.ndarray:
        if self.format in _PACKED:
            return np.ascontiguousarray(self._plane(frame, 0, 2)[:, _PACKED[self.format][0] :: 2])
        return self._plane(frame, 0)

    def _chroma(self, frame: VideoFrame) -> tuple[np.ndarray, np.ndarray]:
        """Return the blue and the red chroma plane, of whatever resolution."""
        if self.format in _PACKED:
            packed, (_, blue, red) = self._plane(frame, 0, 2), _PACKED[self.format]
            return packed[:, blue::4], packed[:, red::4]
        if len(frame.planes) == 2:
            both = self._plane(frame, 1, 2)
            return (both[:, 1::2], both[:, ::2]) if self.format in ("nv21", "nv42") else (both[:, ::2], both[:, 1::2])
        return self._plane(frame, 1), self._plane(frame, 2)

    def _channel_of_yuv(self, frame: VideoFrame) -> np.ndarray:
        """Return red, green or blue of a YUV frame (Rec. ITU-R BT.601 or BT.709), with each chroma pixel over the luma pixels it is for."""
        luma = self._luma(frame).astype(np.float64)
        levels, top = 2.0 ** (self._bits - 8), 2**self._bits - 1
        rows, columns = np.arange(self.height), np.arange(self.width)
        blue, red = (
            c[rows[:, None] * len(c) // self.height, columns * c.shape[1] // self.width] - 128 * levels for c in self._chroma(frame)
        )
        if self._limited:
            luma = (luma - 16 * levels) * (top / (219 * levels))
            blue, red = blue * (top / (224 * levels)), red * (top / (224 * levels))
        k_red, k_blue = self._weights
        if self._channel == "r":
            luma += 2 * (1 - k_red) * red
        elif self._channel == "b":
            luma += 2 * (1 - k_blue) * blue
        else:
            luma -= (2 * (1 - k_red) * k_red * red + 2 * (1 - k_blue) * k_blue * blue) / (1 - k_red - k_blue)
        return np.clip(np.rint(luma), 0, top).astype(self.dtype)

    def _plane(self, frame: VideoFrame, index: int, samples: int = 1) -> np.ndarray:
        """Return a plane's rows, top row first, without the padding at their ends, as a new array."""
        plane = frame.planes[index]
        stored = self.dtype.newbyteorder(">" if self.format.endswith("be") else "<")
        rows = np.frombuffer(memoryview(plane), stored).reshape(plane.height, -1)
        # a bottom-up film has its first row last in memory
        pixels = rows[:: -1 if plane.line_size < 0 else 1, : plane.width * samples].astype(self.dtype)
        return pixels >> np.uint16(16 - self._bits) if self.format.startswith(_HIGH_BITS) and self._bits < 16 else pixels

    def look_at(self, frame: VideoFrame, pixels: np.ndarray, colours: bool) -> None:
        """Take note of one frame: how bright it gets, whether RGB is grey, and of YUV, where `colours` asks for it, whether it has any."""
        if self._limited:
            self._highest = max(self._highest, int(pixels.max()))
        if self._alike:
            red = pixels[..., 0]
            self._alike = np.array_equal(red, pixels[..., 1]) and np.array_equal(red, pixels[..., 2])
        if colours and self._yuv and self._channel is None and not self.coloured:
            self.coloured = any(self._is_tinted(plane) for plane in self._chroma(frame))

    def _is_tinted(self, chroma: np.ndarray) -> bool:
        """Tell whether a chroma plane is off its middle by more than noise: all over, or somewhere."""
        off = chroma.astype(np.float32) / 2.0 ** (self._bits - 8) - 128
        noise = float(np.median(np.abs(np.diff(off, axis=1)))) if off.shape[1] > 1 else 0.0
        extreme = float(np.quantile(np.abs(off), 0.9997))  # a few dozen hot pixels are no colour, ten particles are
        return abs(float(np.median(off))) > max(noise, _LEAST_COLOUR) or extreme > 6 * noise + _LEAST_COLOUR

    def collapsed(self, pixels: np.ndarray) -> np.ndarray:
        """Return one channel of RGB that was grey in every frame looked at, else the pixels as they are."""
        return np.ascontiguousarray(pixels[..., 0]) if pixels.ndim == 3 and self._alike else pixels

    def ceiling(self, overshoot: float) -> float | None:
        """Return the largest value a pixel can have; None where the kind of pixels does not tell.

        In limited range that is white, 235 of 8 bits, unless pixels are brighter: there are cameras that use the full range and do not
        say so.

        Parameters
        ----------
        overshoot : share of the range by which lossy compression may have gone beyond white
        """
        if self._float or self._bits == 16:
            return None
        top = 2**self._bits - 1
        if self._limited and not self.channel_used:
            white = _WHITE * 2**self._bits / _LEVELS
            if self._highest <= white + overshoot * top:
                return white
        return float(top)


def _has_luma_plane(kind: VideoFormat) -> bool:
    """Tell whether the first plane holds luma and nothing else."""
    planes = [c.plane for c in kind.components]
    return planes[:1] == [0] and planes.count(0) == 1
