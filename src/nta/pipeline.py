"""analyze(video, settings) -> Result: the whole flow on one screen."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import threadpool_limits

from nta import medium
from nta.classes import find_classes, parse_classes
from nta.concentration import find_concentration
from nta.diffusion import Diffusion, find_diffusion
from nta.distribution import Distribution, find_distribution
from nta.drift import find_drift
from nta.flags import Flag
from nta.limit import find_limit, without_peaks_at
from nta.presence import find_presence
from nta.quality import find_notices
from nta.result import Result, Source
from nta.settings import KNOBS, Settings, Used
from nta.sizes import Sizes, find_sizes
from nta.spots import find_spots
from nta.swaps import cut_swaps
from nta.tracks import Tracks, link_spots
from nta.video import Calibration, open_video

if TYPE_CHECKING:
    from nta.kernels.cache import Loader


def analyze(
    path: str | Path,
    settings: Settings | None = None,
    *,
    name: str | None = None,
    threads: int | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    **options: Any,
) -> Result:
    """Measure the sizes of the particles in a video.

    Parameters
    ----------
    path : a TIFF stack, an AVI, MOV, MP4, MKV or WMV file, or a folder or glob of images
    settings : the protocol; all automatic unless given
    name : the result's name; from the path unless given
    threads : how many frames are searched at a time; changes no result
    progress : called as ``progress(stage, done, total)``
    **options : single settings by name, as in ``analyze("video.tif", pixel_size_um=0.166, fps=25)``

    Raises
    ------
    UsageError
        For a missing path, an unknown setting, or a pixel size or frame rate that nobody told.
    VideoError
        For a file that cannot be analysed.
    """
    settings = (settings or Settings()).with_options(**options)
    parse_classes(settings.classes.classes)
    medium.parse_medium(settings.medium.medium)
    from nta.kernels.cache import DETECTION

    # small matrices: threads of the linear algebra would only get in each other's way, and make the last digits depend on the cores
    with _kernels(settings, progress) as kernels, threadpool_limits(limits=1, user_api="blas"):
        with open_video(str(path), settings) as video:
            kernels.load(*DETECTION, pixels=video.frame_dtype.name)
            calibration = video.calibration
            viscosity = _viscosity_mpas(settings, calibration)
            spots = [find_spots(video, settings, threads or len(os.sched_getaffinity(0)), progress)]
            source = Source(name or video.name, video.path, video.sha256(), video.n_frames, video.height, video.width, video.dtype)
            notices = video.notices
        kernels.load()
        report = progress or (lambda stage, done, total: None)
        # handed over: linking lets go of each column when it has put it in order
        tracks = link_spots(spots.pop(), calibration, viscosity, settings, report)
        result = _size(tracks, source, calibration, viscosity, settings, report)
    return replace(result, notices=notices + result.notices)


def _kernels(settings: Settings, progress: Callable[[str, int, int], None] | None) -> Loader:
    """Return what loads the kernels, and says so at once where they have to be compiled: opening a video may take its time."""
    from nta.kernels.cache import DETECTION, LINKING, SIZING, Loader

    linking = LINKING if settings.spots.engine == "nta" else ()
    return Loader(*DETECTION, *linking, *SIZING, progress=progress)


def _size(
    tracks: Tracks, source: Source, calibration: Calibration, viscosity: float, settings: Settings, report: Callable[[str, int, int], None]
) -> Result:
    """From tracks to the result."""
    spots = tracks.spots
    report("size", 0, 3)
    drift = find_drift(tracks, calibration)
    diffusion = find_diffusion(tracks, drift, calibration, viscosity)
    cut = cut_swaps(tracks, diffusion, drift, calibration)
    if len(cut) > len(tracks):
        tracks, diffusion = cut, find_diffusion(cut, drift, calibration, viscosity)
    report("size", 1, 3)
    presence = limit = None
    if len(diffusion):
        presence = find_presence(tracks, diffusion, calibration, settings.tracks.min_frames)
        limit = find_limit(presence)
        presence = presence.down_to(diffusion.grid_nm, limit.diameter_nm)
    report("size", 2, 3)
    distribution = without_peaks_at(limit, find_distribution(tracks, diffusion, presence, calibration, settings))
    result = Result(
        source=source,
        calibration=calibration,
        settings=settings,
        used=_used(settings, calibration, viscosity, [spots.chosen, tracks.chosen, diffusion.chosen, distribution.chosen]),
        spots=spots,
        tracks=tracks,
        drift=drift,
        diffusion=diffusion,
        sizes=_flag_outliers(find_sizes(tracks, diffusion), diffusion, distribution),
        distribution=distribution,
        classes=find_classes(distribution, diffusion, len(tracks), settings.classes.classes),
        concentration=find_concentration(distribution, presence, spots, calibration, settings),
        detection_limit=limit if not distribution.empty else None,
    )
    report("size", 3, 3)
    found = spots.notices + tracks.notices + drift.notices + diffusion.notices
    found += (presence.notices if presence is not None else ()) + distribution.notices
    return replace(result, notices=found + find_notices(result))


def _viscosity_mpas(settings: Settings, calibration: Calibration) -> float:
    """Return the viscosity given by hand, else the medium's at the temperature."""
    given = settings.medium.viscosity_mpas
    return given if given is not None else medium.viscosity_mpas(settings.medium.medium, calibration.temperature_c.value)


def _flag_outliers(sizes: Sizes, diffusion: Diffusion, distribution: Distribution) -> Sizes:
    """Flag tracks that are rather something else than freely diffusing particles, in the order of `Distribution.outlier`."""
    flags = sizes.flags.copy()
    for column, flag in enumerate((Flag.IMMOBILE, Flag.LINKED_NOISE, Flag.DIRECTED, Flag.CONFINED)):
        flags[diffusion.track[distribution.outlier[:, column] > 0.5]] |= np.uint32(flag)
    return replace(sizes, flags=flags)


def _used(settings: Settings, calibration: Calibration, viscosity: float, chosen: list[Any]) -> dict[str, dict[str, Used]]:
    """Return every value used by section, with its source: the knobs, what the file told, and what the video decided."""
    used: dict[str, dict[str, Used]] = {}
    for name, knob in KNOBS.items():
        used.setdefault(knob.section, {})[name] = settings.used(name)
    used["video"] |= {"pixel_size_um": calibration.pixel_size_um, "fps": calibration.fps}
    if (exposure := calibration.exposure_s) is not None:
        used["video"]["exposure_ms"] = Used(exposure.value * 1e3, exposure.source, None if exposure.sd is None else exposure.sd * 1e3)
    used["medium"]["temperature_c"] = calibration.temperature_c
    used["medium"]["viscosity_mpas"] = Used(viscosity, settings.chosen.get("viscosity_mpas", "default"))
    for section, values in zip(("spots", "tracks", "diffusion", "distribution"), chosen, strict=True):
        for name, value in values.items():
            # a knob that was left to the video shows what the video said
            used.setdefault(KNOBS[name].section if name in KNOBS else section, {})[name] = value
    return used
