"""Results with known numbers, built without a video: the stages' outputs are made up, the containers are real."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from nta.classes import Classes, SizeClass
from nta.concentration import Concentration
from nta.diffusion import Diffusion
from nta.distribution import Distribution, Interval, Peak
from nta.drift import Drift
from nta.errors import Notice
from nta.flags import Flag
from nta.result import Result, Source
from nta.settings import Settings, Used
from nta.sizes import Sizes
from nta.spots import Spots
from nta.tracks import Tracks
from nta.video import Calibration

CLASSES = (
    SizeClass("below_30", 0.0, 30.0),
    SizeClass("exosome", 30.0, 100.0),
    SizeClass("microvesicle", 100.0, 1000.0),
    SizeClass("apoptotic_body", 1000.0, np.inf),
)

SAMPLES: dict[str, tuple[tuple[float, float, float], ...]] = {
    "ev": ((1.0, 95.0, 1.45),),
    "bead": ((1.0, 100.0, 1.04),),
    "bimodal": ((0.7, 80.0, 1.08), (0.3, 200.0, 1.08)),
    "wide": ((0.5, 90.0, 1.7), (0.3, 300.0, 1.6), (0.2, 900.0, 1.5)),
    "large": ((1.0, 1050.0, 1.06),),
}
"""Mixtures of log-normals: fraction, median diameter in nm, geometric standard deviation."""

MARKED = (Flag.TOO_SHORT, Flag.IMMOBILE, Flag.LINKED_NOISE, Flag.TOO_SHORT | Flag.IMMOBILE, Flag.NO_MOTION_RESOLVED)
"""Flags of the first tracks that are made."""

GRID_NM = np.geomspace(15.0, 3500.0, 160)
PIXEL_UM, FPS, N_FRAMES = 0.166, 25.0, 60


def fake_result(
    sample: str = "ev",
    n_tracks: int = 40,
    *,
    seed: int = 0,
    name: str = "video",
    path: str = "day1/video.tif",
    sha256: str = "0" * 64,
    settings: Settings | None = None,
    per_ml: float | None = None,
    spread: float = 0.08,
) -> Result:
    """Build a result of `n_tracks` tracks of two or more spots and as many unlinked spots.

    Of the tracks, the first five made (they lie anywhere in the result) are too short, immobile, linked noise, both too short and immobile,
    and without resolved motion; the others are sized. `spread` is the relative scatter of the replicates, a stand-in for the resampling.
    """
    rng = np.random.default_rng(seed)
    settings = settings or Settings()
    n_spots = np.concatenate([rng.integers(6, 20, n_tracks), np.ones(n_tracks, dtype=np.int64)])
    n_spots[[0, 3]] = 2, 3
    kept = rng.permutation(2 * n_tracks)  # unlinked spots lie anywhere between the tracks
    n_spots, original = n_spots[kept], kept
    tracks = _tracks(rng, n_spots)
    kind = np.where(original < n_tracks, original, -1)
    flags = np.zeros(2 * n_tracks, dtype=np.uint32)
    for number, mask in enumerate(MARKED):
        flags[kind == number] = int(mask)
    flags[kind == -1] = int(Flag.UNLINKED)

    dist = fake_distribution(rng, SAMPLES[sample], n_tracks - 4, spread)
    counted = (kind >= 4) & (kind < n_tracks)
    diameter, low, high = (np.full(2 * n_tracks, np.nan) for _ in range(3))
    diameter[counted] = dist.raw_nm
    diameter[kind == 4] = np.nan
    low[counted], high[counted] = 0.8 * dist.raw_nm, 1.3 * dist.raw_nm
    high[kind == 4] = np.inf
    label = np.where(counted, 1 + (diameter >= 100).astype(int) + (diameter >= 1000), -1)
    p_class = np.full((2 * n_tracks, len(CLASSES)), np.nan)
    p_class[counted] = 0.1
    p_class[counted, label[counted]] = 0.7

    track = np.flatnonzero(counted)
    notices = () if sample == "bead" else (Notice("temperature_assumed", "25 C was assumed; give --temperature-c."),)
    return Result(
        source=Source(name, path, sha256, N_FRAMES, 480, 640, "uint8"),
        calibration=Calibration(
            Used(PIXEL_UM, "option", 0.00083), Used(FPS, "file", None), Used(0.015, "option", 0.0003), Used(25.0, "assumed", 2.0)
        ),
        settings=settings,
        used={
            "video": {"pixel_size_um": Used(PIXEL_UM, "option", 0.00083), "polarity": Used("bright", "measured")},
            "tracks": {"min_frames": settings.used("min_frames"), "search_range_px": Used(7.5, "measured")},
            "medium": {"temperature_c": Used(25.0, "assumed", 2.0), "viscosity_mpas": Used(0.89, "default", 0.04)},
        },
        spots=tracks.spots,
        tracks=replace(tracks, flags=flags & int(Flag.UNLINKED | Flag.TOO_SHORT)),
        drift=Drift(np.linspace(0, 3, N_FRAMES), np.linspace(0, -1, N_FRAMES), 30),
        diffusion=Diffusion(
            track=track,
            d_um2_s=490.0 / dist.raw_nm,
            low=380.0 / dist.raw_nm,
            high=610.0 / dist.raw_nm,
            n_steps=n_spots[track] - 1,
            grid_nm=GRID_NM,
            loglik=np.zeros((len(track), len(GRID_NM)), dtype=np.float32),
            loglik_immobile=np.full(len(track), -50.0),
            loglik_noise=np.full(len(track), -50.0),
            loglik_directed=np.full(len(track), -50.0),
            loglik_confined=np.full(len(track), -50.0),
            p_fit=np.linspace(0.01, 1.0, len(track)),
            stokes_einstein_nm_um2_s=490.0,
        ),
        sizes=Sizes(diameter, low, high, flags),
        distribution=dist,
        classes=Classes(CLASSES, tuple(dist.share(c.low_nm, c.high_nm) for c in CLASSES), p_class, label),
        concentration=Concentration(
            None if per_ml is None else Interval(per_ml, 0.8 * per_ml, 1.25 * per_ml, 0.85 * per_ml, 1.2 * per_ml),
            "" if per_ml is not None else "the depth of the detection volume is not known; give --depth-um",
        ),
        notices=notices,
    )


def empty_result(*, name: str = "black", path: str = "black.tif", sha256: str = "e" * 64, settings: Settings | None = None) -> Result:
    """Build the result of a video in which nothing was found."""
    full = fake_result(name=name, path=path, sha256=sha256, settings=settings)
    nothing, no_int = np.zeros(0), np.zeros(0, dtype=np.int64)
    spots = replace(full.spots, **{name: getattr(full.spots, name)[:0] for name in Spots.ROWS})
    dist = Distribution(
        GRID_NM,
        np.zeros_like(GRID_NM),
        np.zeros_like(GRID_NM),
        np.zeros((0, len(GRID_NM))),
        nothing,
        0.04,
        nothing,
        Interval(0.0, 0.0, 0.0, 0.0, 0.0),
    )
    return replace(
        full,
        spots=spots,
        tracks=Tracks(spots, np.zeros(1, dtype=np.int64), no_int.astype(np.uint32), nothing, np.ones(1)),
        drift=Drift(np.zeros(N_FRAMES), np.zeros(N_FRAMES), 30),
        diffusion=replace(
            full.diffusion,
            track=no_int,
            d_um2_s=nothing,
            low=nothing,
            high=nothing,
            n_steps=no_int,
            loglik=np.zeros((0, len(GRID_NM)), dtype=np.float32),
            loglik_immobile=nothing,
            loglik_noise=nothing,
            loglik_directed=nothing,
            loglik_confined=nothing,
            p_fit=nothing,
        ),
        sizes=Sizes(nothing, nothing, nothing, no_int.astype(np.uint32)),
        distribution=dist,
        classes=Classes(CLASSES, tuple(dist.share(c.low_nm, c.high_nm) for c in CLASSES), np.zeros((0, len(CLASSES))), no_int),
        concentration=Concentration(None, "no particle was sized"),
        notices=(Notice("no_particles", "No particle was found."),),
    )


def fake_distribution(rng: np.random.Generator, mixture: tuple[tuple[float, float, float], ...], n_raw: int, spread: float) -> Distribution:
    """Build a distribution whose weights are a log-normal mixture, with scattered replicates and a broadened raw sample."""
    replicates = np.array([_weights(_jitter(rng, mixture, spread)) for _ in range(200)])
    part = rng.choice(len(mixture), n_raw, p=[f for f, _, _ in mixture])
    median, gsd = (np.array([c[i] for c in mixture])[part] for i in (1, 2))
    raw = np.clip(median * gsd ** rng.standard_normal(n_raw) * np.exp(0.22 * rng.standard_normal(n_raw)), GRID_NM[0], GRID_NM[-1])
    weight = _weights(mixture)
    unweighted = weight / GRID_NM
    return Distribution(
        grid_nm=GRID_NM,
        weight=weight,
        unweighted=unweighted / unweighted.sum(),
        replicates=replicates,
        scale=np.exp(0.04 * rng.standard_normal(len(replicates))),
        scale_sd=0.04,
        raw_nm=raw,
        number_in_view=Interval(20.0, 17.0, 23.0, 17.5, 22.5),
        peaks=tuple(Peak(d, f, g) for f, d, g in mixture),
    )


def _jitter(rng: np.random.Generator, mixture: tuple[tuple[float, float, float], ...], spread: float) -> list[tuple[float, float, float]]:
    factor = 1.0 + spread * rng.standard_normal((len(mixture), 3)) * np.array([2.0, 0.0, 0.0])
    shift = np.exp(0.5 * spread * rng.standard_normal(len(mixture)))
    part = np.array([f for f, _, _ in mixture]) * np.abs(factor[:, 0])
    wider = np.exp(spread * rng.standard_normal(len(mixture)))
    return [(p, d * s, g**w) for p, (_, d, g), s, w in zip(part / part.sum(), mixture, shift, wider, strict=True)]


def _weights(mixture: tuple[tuple[float, float, float], ...] | list[tuple[float, float, float]]) -> np.ndarray:
    x = np.log(GRID_NM)
    weight = sum(f * np.exp(-0.5 * ((x - np.log(d)) / np.log(g)) ** 2) / np.log(g) for f, d, g in mixture)
    return np.asarray(weight / np.sum(weight))


def _tracks(rng: np.random.Generator, n_spots: np.ndarray) -> Tracks:
    start = np.concatenate([[0], np.cumsum(n_spots)])
    total = int(start[-1])
    frame, x, y = np.zeros(total, dtype=np.int32), np.zeros(total), np.zeros(total)
    for i, n in enumerate(n_spots):
        rows = slice(start[i], start[i + 1])
        frame[rows] = rng.integers(0, N_FRAMES - n + 1) + np.arange(n)
        x[rows] = rng.uniform(20, 620) + np.cumsum(rng.normal(0, 3, n))
        y[rows] = rng.uniform(20, 460) + np.cumsum(rng.normal(0, 3, n))
    flags = np.where(rng.random(total) < 0.05, int(Flag.SATURATED), 0).astype(np.uint32)
    spots = Spots(
        frame=frame,
        x_px=x,
        y_px=y,
        x_sd_px=np.full(total, 0.12),
        y_sd_px=np.full(total, 0.13),
        signal=rng.uniform(20, 200, total),
        snr=rng.uniform(6, 60, total),
        width_px=rng.normal(1.5, 0.05, total),
        flags=flags,
        background=np.full(N_FRAMES, 12.0),
        noise=np.full(N_FRAMES, 1.5),
        area_px=460.0 * 620.0,
    )
    chance = rng.uniform(0.999, 1, total)
    chance[start[:-1]] = 1
    return Tracks(spots, start, np.zeros(len(n_spots), dtype=np.uint32), chance, np.full(1, 7.5))
