"""path -> Video: lazy frames, plus what the file says of pixel size, frame rate, exposure and temperature."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import numpy as np

from nta.container import Container, name_of, open_container
from nta.errors import Notice, UsageError, VideoError
from nta.medium import viscosity_mpas
from nta.metadata import FileSays, differs
from nta.settings import KNOBS, Settings, Used
from nta.tiff import CHANNELS, one_line

FEW_FRAMES = 20  # a shorter video is analysed with a warning
SMALLEST_ROI_PX = 32
SAMPLED_FRAMES = 8
ASSUMED_C, ASSUMED_SD_C, GIVEN_SD_C = 25.0, 2.0, 0.3
PIXEL_SD, EXPOSURE_SD = 0.005, 0.02  # relative
LUMA = (299, 587, 114)  # Rec. 601, in thousandths: sums of integers stay exact


@dataclass(frozen=True)
class Calibration:
    """What turns pixels and frames into micrometres and seconds; ``None`` where unknown, sources and standard uncertainties inside.

    `pixel_size_um`, `fps`: never None in an opened video. `exposure_s` None: to be estimated.
    `temperature_c`: 25 C assumed when nobody said.
    """

    pixel_size_um: Used
    fps: Used
    exposure_s: Used | None
    temperature_c: Used


@dataclass(frozen=True, eq=False)
class Video:
    """Frames read as they are asked for, grey, within the region and range of frames chosen.

    Use it in a ``with`` statement, or `close` it.

    Attributes
    ----------
    path, name : as given, and what results are called
    height, width : px, of the region of interest
    n_frames : number of frames, of those chosen
    dtype : pixel type as stored, such as ``uint8``
    calibration : pixel size, frame rate, exposure, temperature
    ceiling : the largest value the camera can have stored, in grey levels; None where that cannot be told (float, 32-bit)
    """

    path: str
    name: str
    height: int
    width: int
    n_frames: int
    dtype: str
    calibration: Calibration
    ceiling: float | None
    _container: Container = field(repr=False)
    _first: int = field(repr=False)
    _left_px: int = field(repr=False)
    _top_px: int = field(repr=False)
    _channel: int | None = field(repr=False)
    _notices: tuple[Notice, ...] = field(repr=False)
    _not_finite: set[int] = field(repr=False, default_factory=set)

    @property
    def notices(self) -> tuple[Notice, ...]:
        """What the user should know: of the opening, and of the pixels read so far."""
        frames = tuple(self._not_finite)  # a copy: other threads may be reading
        if not frames:
            return self._notices
        hold = "frames hold" if len(frames) > 1 else "frame holds"
        text = f"{len(frames)} {hold} NaN or infinite pixels (the first: frame {min(frames)}); they take the frame's median"
        return (*self._notices, Notice("not_finite", text))

    @property
    def frame_dtype(self) -> np.dtype:
        """Pixel type of what `read` returns: as stored for grey integers, float32 for luminance and float."""
        stored = self._container.dtype
        luminance = len(self._container.shape) == 3 and self._channel is None
        return np.dtype(np.float32) if luminance or stored.kind == "f" else stored

    def read(self, i: int) -> np.ndarray:
        """Return frame `i` as a C-contiguous array of shape (height, width) and type `frame_dtype`. Thread-safe.

        Raises
        ------
        VideoError
            When the frame's data are corrupt.
        IndexError
            When there is no such frame.
        """
        if not 0 <= i < self.n_frames:
            raise IndexError(f"frame {i} of a video of {self.n_frames}")
        raw = _read_raw(self._container, self._first + i, self.path)
        raw = raw[self._top_px : self._top_px + self.height, self._left_px : self._left_px + self.width]
        grey = np.ascontiguousarray(self._grey(raw), dtype=self.frame_dtype)
        if grey.dtype.kind == "f":
            finite = np.isfinite(grey)
            if not finite.all():
                self._not_finite.add(i)
                grey = np.where(finite, grey, np.median(grey[finite]) if finite.any() else 0).astype(grey.dtype)
        return grey

    def _grey(self, raw: np.ndarray) -> np.ndarray:
        if raw.ndim == 3:
            with np.errstate(invalid="ignore", over="ignore"):
                raw = _luminance(raw) if self._channel is None else raw[..., self._channel]
        if raw.dtype.kind == "f":
            with np.errstate(invalid="ignore", over="ignore"):  # what float32 cannot hold is replaced with the other infinite pixels
                return raw.astype(np.float32)
        return raw

    def chunks(self, max_bytes: int = 64 * 2**20) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (number of its first frame, frames of shape (n, height, width)) over the whole video, in order.

        A loop still holds one chunk while the next is read: both together stay within `max_bytes`, but a chunk has at least one frame.
        """
        frame_bytes = self.height * self.width * self.frame_dtype.itemsize
        n = max(1, max_bytes // 2 // frame_bytes)
        for first in range(0, self.n_frames, n):
            chunk = np.empty((min(n, self.n_frames - first), self.height, self.width), self.frame_dtype)
            for i in range(len(chunk)):
                chunk[i] = self.read(first + i)
            yield first, chunk
            del chunk  # or it would live on while the next one is made

    def sha256(self) -> str:
        """Return the SHA-256 of the file; of several files, that of their names and contents in the order of names."""
        total = hashlib.sha256()
        files = sorted(self._container.files, key=lambda p: (os.fsencode(p.name), os.fsencode(p)))
        for file in files:
            if len(files) > 1:
                total.update(os.fsencode(file.name) + b"\0" + str(file.stat().st_size).encode() + b"\0")
            with file.open("rb") as stream:
                while block := stream.read(2**20):
                    total.update(block)
        return total.hexdigest()

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def __enter__(self) -> Video:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def open_video(path: str | os.PathLike[str], settings: Settings) -> Video:
    """Open a video; reads no more pixels than a few frames that show bit depth and colour.

    Parameters
    ----------
    path : TIFF file, video file such as AVI or MP4, folder of frames, or glob such as ``day1/*.png``
    settings : those of `[video]` and the temperature count here

    Raises
    ------
    UsageError
        When `path` does not exist or holds no images; when pixel size or frame rate are neither given nor in the file; when the
        frames, region or channel asked for are not in the video, or the exposure given is longer than a frame.
    VideoError
        When the file cannot be read as a video; see `nta.container.open_container`.
    """
    given = os.fspath(path)
    container = open_container(given, settings.video.channel)
    try:
        return video_of(container, given, name_of(given), settings)
    except BaseException:
        container.close()
        raise


def video_of(container: Container, path: str, name: str, settings: Settings) -> Video:
    """Return the video of an opened container; errors as in `open_video`."""
    if container.dtype.kind not in "uif" or (container.dtype.kind != "f" and container.dtype.itemsize > 4):
        kind = "1-bit black and white" if container.dtype.kind == "b" else str(container.dtype)
        raise VideoError(f"{path}: pixels are {kind}; 8, 16 or 32-bit integers or floats are needed")
    notices = list(container.notices)
    first, stop = _frame_range(settings.video.frames, container.n_frames)
    left, top, width, height = _region(settings.video.roi, container.shape[1], container.shape[0])
    calibration, metadata_notices = _calibrate(container.says, settings, path)
    notices += metadata_notices
    if stop - first < FEW_FRAMES:
        notices.append(Notice("short_video", f"only {stop - first} frames; a size distribution needs more (at least {FEW_FRAMES})"))

    samples = container.shape[2] if len(container.shape) == 3 else 1
    channel = None if samples >= 3 else 0
    if settings.video.channel is not None and not container.channel_used:
        if samples >= 3:
            channel = CHANNELS.index(settings.video.channel)
        else:
            notices.append(Notice("channel_ignored", f"--channel {settings.video.channel} has no effect: the video is grey"))
    look = _Look(container, samples)
    if samples >= 3 or (container.ceiling is None and container.dtype in (np.dtype(np.uint16), np.dtype(np.int16))):
        for i in np.unique(np.linspace(first, stop - 1, min(SAMPLED_FRAMES, stop - first)).round().astype(int)):
            look.at(_read_raw(container, int(i), path))
    if samples >= 3 and channel is None:
        if look.alike:
            channel = 0
        elif look.coloured:
            text = "the video's colours differ by more than noise; their luminance is analysed (--channel r, g or b picks one)"
            notices.append(Notice("colour", text))
    return Video(
        path=path,
        name=name,
        height=height,
        width=width,
        n_frames=stop - first,
        dtype=str(container.dtype),
        calibration=calibration,
        ceiling=look.ceiling(container.says.bit_depth) if container.ceiling is None else container.ceiling,
        _container=container,
        _first=first,
        _left_px=left,
        _top_px=top,
        _channel=channel,
        _notices=tuple(notices),
    )


def _read_raw(container: Container, frame: int, path: str) -> np.ndarray:
    try:
        return container.read(frame)
    except MemoryError:
        raise
    except VideoError:
        raise
    except Exception as error:  # every codec has its own way to say so
        raise VideoError(f"{path}: frame {frame} (the first is 0) cannot be decoded: {one_line(error)}") from None


def _luminance(colours: np.ndarray) -> np.ndarray:
    """Return the luminance of (height, width, 3 or 4) pixels; alpha is ignored."""
    exact = np.uint32 if colours.dtype.kind == "u" and colours.dtype.itemsize <= 2 else np.float64
    total: Any = colours[..., 0] * exact(LUMA[0])
    total += colours[..., 1] * exact(LUMA[1])
    total += colours[..., 2] * exact(LUMA[2])
    return np.divide(total, sum(LUMA), dtype=np.float32, casting="unsafe")


class _Look:
    """A first look at a few frames: how deep the camera is, and whether colour is more than noise."""

    def __init__(self, container: Container, samples: int) -> None:
        self.dtype, self.inverted = container.dtype, container.inverted
        self.alike = samples >= 3
        self.coloured = False
        self._bits = 0  # every bit that is set in any pixel
        self._highest = 0

    def at(self, frame: np.ndarray) -> None:
        if frame.ndim == 3:
            colours = [frame[..., k] for k in range(3)]
            pairs = [(colours[a], colours[b]) for a, b in ((0, 1), (1, 2), (0, 2))]
            if not all(np.array_equal(a, b, equal_nan=frame.dtype.kind == "f") for a, b in pairs):
                self.alike = False
                self.coloured = self.coloured or any(_differ(a, b) for a, b in pairs)
            frame = frame[..., :3]
        if frame.dtype.kind != "f":
            self._highest = max(self._highest, int(frame.max()))
            self._bits |= int(np.bitwise_or.reduce(frame, axis=None))

    def ceiling(self, stated_bits: int | None) -> float | None:
        """Return the largest value the camera can store, from the pixel type and, for 16 bits, the highest value seen."""
        if self.dtype.kind == "f" or self.dtype.itemsize > 2 or self.inverted:
            return None
        top = int(np.iinfo(self.dtype).max)
        if self.dtype.itemsize == 1:
            return float(min(top, 2**stated_bits - 1) if stated_bits else top)
        if stated_bits and stated_bits < 16 and self._highest < 2**stated_bits:
            return float(2**stated_bits - 1)
        for spare in (6, 4, 2):  # some cameras fill the upper bits: 12 of 16 leave the lower 4 at 0
            if self._highest > top // 2 and self._bits % 2**spare == 0:
                return float(top - 2**spare + 1)
        # 10 and 14 bits are rarer than 12 and 16, so they are believed only when pixels pile up at their ends
        for depth, sure in ((10, False), (12, True), (14, False)):
            end = 2**depth - 1
            if self._highest == end or (sure and self._highest < end):
                return float(end)
        return float(top)


def _differ(a: np.ndarray, b: np.ndarray) -> bool:
    """Tell whether two channels differ by more than their noise: all over (a tint), or somewhere (coloured particles)."""
    least = 3.0 if a.dtype.itemsize == 1 else 0.0  # lossy files and rounding leave up to 3 of 255 levels
    a, b = a.astype(np.float64), b.astype(np.float64)
    with np.errstate(invalid="ignore"):
        difference = (a - b)[np.isfinite(a) & np.isfinite(b)]
    if not difference.size:
        return False
    noise = math.hypot(_noise(a), _noise(b))
    offset = abs(float(np.median(difference)))
    extreme = float(np.quantile(np.abs(difference), 0.9997))  # a few dozen hot pixels are no colour, ten particles are
    return offset > max(noise, least) or extreme > 6 * noise + least


def _noise(channel: np.ndarray) -> float:
    """Return the noise SD of a frame from differences of neighbours, which particles and uneven light hardly touch."""
    with np.errstate(invalid="ignore"):
        steps = np.abs(np.diff(channel, axis=1))
    steps = steps[np.isfinite(steps)]
    return float(np.median(steps)) / (0.6745 * math.sqrt(2)) if steps.size else 0.0


def _frame_range(text: str | None, n: int) -> tuple[int, int]:
    """Return first and one-past-last frame of ``FIRST:STOP``, a form that the settings saw to, with Python's meaning of its ends."""
    if text is None:
        return 0, n
    first, stop, _ = slice(*(int(end) if end.strip() else None for end in text.split(":"))).indices(n)
    if stop - first < 2:
        raise UsageError(f"--frames {text}: keeps {max(0, stop - first)} frames, at least 2 are needed; the video has frames 0:{n}")
    return first, stop


def _region(text: str | None, width: int, height: int) -> tuple[int, int, int, int]:
    """Return left, top, width and height, in px, of ``X,Y,WIDTH,HEIGHT``, a form that the settings saw to."""
    if text is None:
        return 0, 0, width, height
    x, y, w, h = (int(n) for n in text.split(","))
    if min(w, h) < SMALLEST_ROI_PX:
        raise UsageError(f"--roi {text}: {w} x {h} px is too small; at least {SMALLEST_ROI_PX} x {SMALLEST_ROI_PX} are needed")
    if x + w > width or y + h > height:
        raise UsageError(f"--roi {text}: reaches beyond the field of {width} x {height} px")
    return x, y, w, h


_OPTION = {knob: "--" + knob.replace("_", "-") for knob in ("pixel_size_um", "fps", "exposure_ms", "temperature_c")}


def _calibrate(says: FileSays, settings: Settings, path: str) -> tuple[Calibration, list[Notice]]:
    """Decide each quantity: what a person chose beats what the file says, and a contradiction is told."""
    notices = list(says.notices)
    pixel, fps, exposure, temperature = (_decide(knob, says, settings, notices) for knob in _OPTION)
    if pixel is None or fps is None:
        raise UsageError(_missing([knob for knob, used in (("pixel_size_um", pixel), ("fps", fps)) if used is None], says, path))
    _check_square(says, settings, path, notices)
    if exposure is not None and exposure.value * fps.value > 1010:  # 1 % of slack for rounded values
        longer = f"{exposure.value:g} ms is longer than the {1e3 / fps.value:g} ms between frames (at {fps.value:g} frames per second)"
        if exposure.source != "file":
            raise UsageError(f"--exposure-ms {longer}; check --exposure-ms and --fps")
        notices.append(Notice("metadata_refused", f"the file's {says.values['exposure_ms'].where} {longer} and is not used"))
        exposure = None
    sd_c = settings.medium.temperature_sd_c
    if temperature is None:
        temperature = Used(ASSUMED_C, "assumed", ASSUMED_SD_C if sd_c is None else sd_c)
    else:
        temperature = Used(temperature.value, temperature.source, GIVEN_SD_C if sd_c is None else sd_c)
    _compare_viscosity(says, settings, temperature.value, notices)
    exposure_s = None if exposure is None else Used(exposure.value / 1e3, exposure.source, EXPOSURE_SD * exposure.value / 1e3)
    calibration = Calibration(
        pixel_size_um=Used(pixel.value, pixel.source, PIXEL_SD * pixel.value),
        fps=Used(fps.value, fps.source, 0.0),
        exposure_s=exposure_s,
        temperature_c=temperature,
    )
    return calibration, notices


def _decide(knob: str, says: FileSays, settings: Settings, notices: list[Notice]) -> Used | None:
    chosen, said = settings.value(knob), says.values.get(knob)
    if chosen is None:
        if said is None:
            return None
        if said.caveat:
            notices.append(Notice("playback_rate", said.caveat))
        return Used(said.value, "file")
    source = settings.chosen.get(knob, "option")
    if said is not None and differs(knob, chosen, said.value) and not said.caveat:
        who = "the protocol's" if source == "sop" else "the given"
        text = f"{who} {knob} {chosen:g} is used, but the file says {said.value:g} {KNOBS[knob].unit} ({said.where})"
        notices.append(Notice("metadata_disagrees", text))
    return Used(chosen, source)


def _compare_viscosity(says: FileSays, settings: Settings, celsius: float, notices: list[Notice]) -> None:
    """Tell where the viscosity that the file states, an operator's entry, is not the one used; it is never taken by itself."""
    said = says.values.get("viscosity_mpas")
    if said is None:
        return
    if settings.medium.viscosity_mpas is not None:
        _decide("viscosity_mpas", says, settings, notices)
        return
    used = viscosity_mpas(settings.medium.medium, celsius)
    if differs("viscosity_mpas", used, said.value):
        ours = f"the viscosity of {settings.medium.medium} at {celsius:g} C, {used:.4g} mPa s"
        text = f"{ours}, is used, but the file says {said.value:g} mPa s ({said.where}); --viscosity-mpas or --medium settles it"
        notices.append(Notice("metadata_disagrees", text))


def _missing(knobs: list[str], says: FileSays, path: str) -> str:
    nouns = {"pixel_size_um": "its pixel size", "fps": "its frame rate"}
    refused = [says.refused[knob] for knob in knobs if knob in says.refused]
    because = f" ({' and '.join(refused)} is not used)" if refused else ""
    says_not = f"does not say {nouns[knobs[0]]}" if len(knobs) == 1 else f"says neither {nouns[knobs[0]]} nor {nouns[knobs[1]]}"
    example = " ".join(f"{_OPTION[knob]} {KNOBS[knob].example}" for knob in knobs)
    return f"{path}: the file {says_not}{because}; give {' and '.join(_OPTION[knob] for knob in knobs)} (for example {example})"


def _check_square(says: FileSays, settings: Settings, path: str, notices: list[Notice]) -> None:
    wide, high = says.values.get("pixel_size_um"), says.pixel_height_um
    if wide is None or high is None or abs(high.value / wide.value - 1) <= 0.005:
        return
    sizes = f"{wide.value:g} um wide and {high.value:g} um high ({wide.where}, {high.where})"
    if settings.video.pixel_size_um is None:
        raise VideoError(f"{path}: non-square pixels, {sizes}, cannot be analysed; if they are square, give --pixel-size-um")
    notices.append(Notice("metadata_disagrees", f"the given pixel_size_um is used, but the file says non-square pixels: {sizes}"))
