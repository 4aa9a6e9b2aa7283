"""path -> Inspection: what the file says, a first look at quality, and the command that analyses it.

Pixel size and frame rate may be missing: what needs them is left out, the rest is told in pixels and frames.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from nta.background import Background, find_background, local_level
from nta.container import Container, name_of, open_container
from nta.errors import Notice
from nta.excerpt import Excerpt, take_excerpt
from nta.flow import find_flow
from nta.footage import Light, Still, find_still, measure_light, measure_noise
from nta.settings import KNOBS, Settings, Used
from nta.spots import Spots, find_spots
from nta.verdict import Finding, judge
from nta.video import SMALLEST_ROI_PX, Video, video_of

SCHEMA = "nta-inspect/1"
CALIBRATION = ("pixel_size_um", "fps", "exposure_ms", "temperature_c")
NEEDED = ("pixel_size_um", "fps")
STAND_IN = {"pixel_size_um": 1.0, "fps": 0.01}
"""What an unknown value is opened with and never told; at the lowest frame rate no exposure is longer than a frame."""
STEADY = 0.5  # a frame at either end whose brightness is off by more is not of the sample: light off, or a shutter
CHANNEL_GAIN = 1.1  # a channel that sees particles by less than 10 % better is not worth an option


@dataclass(frozen=True)
class Known:
    """A value of the calibration: `used`, and `where` it stands, in words."""

    used: Used
    where: str


@dataclass(frozen=True, eq=False)
class Inspection:
    """A first look at a video.

    Attributes
    ----------
    path, name : as given, and what results are called
    kind : what the file is, in words
    n_frames, height, width, dtype : of what would be analysed: the frames and the region chosen
    calibration : each of `CALIBRATION` to what is known of it, None where nothing is
    refused : knob to the words of the file that were not believed
    notices : what opening and reading had to say
    sampled : number of frames in which particles were looked for
    polarity : ``bright`` or ``dark``
    findings : the quality, figure by figure
    suggestion : the command line for `nta analyze`; ``?`` stands for what only the user knows
    frame, cleaned : (height, width), the first frame, and the same without background
    spots : those of the excerpt, frame 0 being `frame`
    light : brightness of the frames
    still : what does not move, None for a short video
    """

    path: str
    name: str
    kind: str
    n_frames: int
    height: int
    width: int
    dtype: str
    calibration: Mapping[str, Known | None]
    refused: Mapping[str, str]
    notices: tuple[Notice, ...]
    sampled: int
    polarity: str
    findings: tuple[Finding, ...]
    suggestion: str
    frame: np.ndarray
    cleaned: np.ndarray
    spots: Spots
    light: Light
    still: Still | None

    def value(self, knob: str) -> float | None:
        """Return a value of the calibration, None where it is not known."""
        known = self.calibration[knob]
        return None if known is None else float(known.used.value)

    @property
    def length_s(self) -> float | None:
        """Length of the video; None without a frame rate."""
        fps = self.value("fps")
        return None if fps is None else self.n_frames / fps

    def summary(self) -> dict[str, Any]:
        """Return the inspection in plain values, as ``--json`` prints them."""
        calibration = {
            knob: None if known is None else {**asdict(known.used), "where": known.where} for knob, known in self.calibration.items()
        }
        return {
            "schema": SCHEMA,
            "input": {
                "name": self.name,
                "path": self.path,
                "kind": self.kind,
                "frames": self.n_frames,
                "height": self.height,
                "width": self.width,
                "dtype": self.dtype,
                "length_s": self.length_s,
            },
            "calibration": calibration,
            "refused": dict(self.refused),
            "missing": [KNOBS[knob].option for knob in CALIBRATION if self.calibration[knob] is None],
            "sampled_frames": self.sampled,
            "polarity": self.polarity,
            "quality": {f.name: {key: value for key, value in asdict(f).items() if key != "name"} for f in self.findings},
            "suggestion": self.suggestion,
            "warnings": [asdict(notice) for notice in self.notices],
        }


def inspect(
    path: str | Path,
    settings: Settings | None = None,
    *,
    threads: int | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    **options: Any,
) -> Inspection:
    """Look at a video before it is analysed.

    Parameters
    ----------
    path : a video, a folder or a glob of images
    settings : the protocol; all automatic unless given
    threads : how many frames are read and searched at a time; changes no figure
    progress : called as ``progress(stage, done, total)``
    **options : single settings by name, as in ``inspect("video.tif", polarity="dark")``

    Raises
    ------
    UsageError
        For a missing path, an unknown setting, or frames, a region or a channel that the video has not.
    VideoError
        For a file that cannot be read as a video.
    """
    from nta.kernels.cache import DETECTION, Loader

    settings = (settings or Settings()).with_options(**options)
    given, threads = os.fspath(path), threads or len(os.sched_getaffinity(0))
    # as in `pipeline.analyze`
    with (
        Loader(*DETECTION, progress=progress) as kernels,
        threadpool_limits(limits=1, user_api="blas"),
        closing(open_container(given, settings.video.channel)) as container,
    ):
        kernels.load(pixels=container.dtype.name)
        return _inspect(container, given, settings, threads, progress)


def _inspect(
    container: Container, path: str, settings: Settings, threads: int, progress: Callable[[str, int, int], None] | None
) -> Inspection:
    said = container.says.values
    stand_in: dict[str, Any] = {knob: STAND_IN[knob] for knob in NEEDED if settings.value(knob) is None and knob not in said}
    opened = settings.with_options(**stand_in)
    video = video_of(container, path, name_of(path), opened)
    calibration = _calibration(video, container, settings)
    excerpt = take_excerpt(video)
    light = measure_light(excerpt, threads, progress)
    background = find_background(excerpt)
    spots = find_spots(excerpt, opened, threads, progress, background)
    noise = measure_noise(excerpt, background.still)
    still = find_still(background, excerpt, noise, spots.chosen["spot_width_px"].value)
    flow = find_flow(spots, excerpt.pairs, min(video.height, video.width))
    pixel_um, fps = (None if (known := calibration[knob]) is None else float(known.used.value) for knob in NEEDED)
    advice = {
        "polarity": _polarity(spots, settings),
        "channel": _channel(container, opened, excerpt, spots),
        "frames": _steady_frames(light, video, settings),
        "roi": _clear_region(still, video, settings),
    }
    return Inspection(
        path=path,
        name=video.name,
        kind=_kind(container),
        n_frames=video.n_frames,
        height=video.height,
        width=video.width,
        dtype=video.dtype,
        calibration=calibration,
        refused=container.says.refused,
        notices=video.notices,
        sampled=excerpt.n_frames,
        polarity=spots.chosen["polarity"].value,
        findings=judge(spots, flow, light, noise, still, excerpt, (pixel_um, fps)),
        suggestion=_command(path, settings, calibration, advice),
        frame=excerpt.read(0),
        cleaned=_cleaned(excerpt, background),
        spots=spots,
        light=light,
        still=still,
    )


def _kind(container: Container) -> str:
    """Return what the file is, in words: TIFF, 300 PNG files."""
    suffix = container.files[0].suffix.lstrip(".").upper()
    kind = {"TIF": "TIFF", "JPG": "JPEG"}.get(suffix, suffix)
    return kind if len(container.files) == 1 else f"{len(container.files)} {kind} files"


def _calibration(video: Video, container: Container, settings: Settings) -> dict[str, Known | None]:
    """Return what is known of pixel size, frame rate, exposure and temperature, and where it stands."""
    opened = video.calibration
    exposure = opened.exposure_s
    used: dict[str, Used | None] = {
        "pixel_size_um": opened.pixel_size_um,
        "fps": opened.fps,
        "exposure_ms": None if exposure is None else Used(exposure.value * 1e3, exposure.source, (exposure.sd or 0.0) * 1e3),
        "temperature_c": None if opened.temperature_c.source == "assumed" else opened.temperature_c,
    }
    known: dict[str, Known | None] = {}
    for knob, value in used.items():
        said = container.says.values.get(knob)
        stand_in = knob in NEEDED and settings.value(knob) is None and said is None
        where = said.where if said is not None and value is not None and value.source == "file" else KNOBS[knob].option
        known[knob] = None if value is None or stand_in else Known(value, where)
    return known


def _cleaned(excerpt: Excerpt, background: Background) -> np.ndarray:
    residual = excerpt.read(0).astype(np.float32) - background.still
    return residual - local_level(residual)


# --- what to analyse it with ---


def _polarity(spots: Spots, settings: Settings) -> str | None:
    """Return ``dark`` where that was seen: an option keeps a series of videos from being read one so, one so."""
    dark = spots.chosen["polarity"].value == "dark" and len(spots) > 0
    return "dark" if dark and settings.video.polarity is None else None


def _channel(container: Container, settings: Settings, excerpt: Excerpt, spots: Spots) -> str | None:
    """Return the colour in which the particles stand out clearly more than in the luminance, None where there is none."""
    from scipy.ndimage import gaussian_filter

    # a compressed video's brightness is stored by itself, and is sharper than its colours
    coloured = len(container.shape) == 3 and any(notice.code == "colour" for notice in excerpt.notices)
    if not coloured or settings.video.channel is not None or len(spots) == 0:
        return None
    height: dict[str, float] = {}
    width = float(spots.chosen["spot_width_px"].value)
    row, column = (np.rint(c).astype(int) for c in (spots.y_px, spots.x_px))
    for channel in ("auto", "r", "g", "b"):
        video = video_of(container, excerpt.path, excerpt.name, settings.with_options(channel=channel))
        seen = []
        for i in range(0, excerpt.n_frames, max(1, excerpt.n_frames // 4)):
            smooth = gaussian_filter(video.read(int(excerpt.numbers[i])).astype(np.float32), width)
            smooth -= local_level(smooth)
            here = spots.frame == i
            noise = 1.4826 * float(np.median(np.abs(smooth)))
            seen.append(np.abs(smooth[row[here], column[here]]) / max(noise, 1e-6))
        height[channel] = float(np.median(np.concatenate(seen)))
    best = max(height, key=lambda channel: height[channel])
    return best if best != "auto" and height[best] > CHANNEL_GAIN * height["auto"] else None


def _steady_frames(light: Light, video: Video, settings: Settings) -> str | None:
    """Return the frames between those at either end in which the light is off, or another; None where there are none."""
    typical = float(np.median(light.grey))
    if settings.video.frames is not None or len(light.frame) < video.n_frames or typical <= 0:
        return None
    lit = np.flatnonzero(np.abs(light.grey / typical - 1) <= STEADY)
    if len(lit) < 2 or (lit[0] == 0 and lit[-1] == video.n_frames - 1):
        return None
    return f"{lit[0]}:{lit[-1] + 1}"


def _clear_region(still: Still | None, video: Video, settings: Settings) -> str | None:
    """Return the largest region without burnt-in text, each text cut off with the strip that costs least; None without text."""
    if still is None or len(still.texts) == 0 or settings.video.roi is not None:
        return None
    top, left, bottom, right = 0, 0, video.height, video.width
    for y0, x0, y1, x1 in still.texts.tolist():
        if y1 <= top or y0 >= bottom or x1 <= left or x0 >= right:
            continue
        cuts = [(y1, left, bottom, right), (top, left, y0, right), (top, x1, bottom, right), (top, left, bottom, x0)]
        top, left, bottom, right = max(cuts, key=lambda c: (c[2] - c[0]) * (c[3] - c[1]))
    if min(right - left, bottom - top) < SMALLEST_ROI_PX:
        return None
    return f"{left},{top},{right - left},{bottom - top}"


def _command(path: str, settings: Settings, calibration: Mapping[str, Known | None], advice: Mapping[str, str | None]) -> str:
    """Return the command line: what was given, what is missing as ``?``, and what is advised."""
    words = ["nta", "analyze", shlex.quote(path)]
    for name, knob in KNOBS.items():
        if name in settings.chosen:
            value = settings.value(name)
            if knob.kind is bool:
                words.append(knob.option if value else f"--no-{knob.option[2:]}")
            else:
                words += [knob.option, shlex.quote(f"{value:.10g}" if knob.kind is float else str(value))]
        elif name in CALIBRATION and calibration[name] is None:
            words += [knob.option, "?"]
        elif advice.get(name):
            words += [knob.option, str(advice[name])]
    return " ".join(words)
