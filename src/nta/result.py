"""Result: settings, every stage, tally; its tables as pandas frames and its summary as a dictionary."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nta import flags
from nta.classes import Classes
from nta.concentration import Concentration
from nta.diffusion import Diffusion
from nta.distribution import Distribution, Interval
from nta.drift import Drift
from nta.errors import Notice
from nta.flags import Flag
from nta.limit import DetectionLimit
from nta.settings import Settings, Used
from nta.sizes import Sizes
from nta.spots import Spots
from nta.tracks import Tracks
from nta.video import Calibration

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from matplotlib.figure import Figure

SCHEMA = "nta-result/1"
"""Value of `schema` in summary.json; the part before the slash tells that a folder is ours."""

STATISTICS = ("mean", "mode", "sd", "d10", "d50", "d90", "span")

LEFT_OUT = (Flag.TOO_SHORT, Flag.IMMOBILE, Flag.LINKED_NOISE, Flag.DIRECTED, Flag.CONFINED)
"""Why a track of two or more spots is not sized, in order of precedence: each such track is counted under the first that holds."""

_PACKAGES = ("numpy", "numba", "scipy", "trackpy", "scikit-image", "tifffile")
_BINS_A_DECADE = 40
_TAIL = 1e-7  # the histogram ends where less than this share is left, so that its fractions sum to 1 within 1e-6


@dataclass(frozen=True)
class Source:
    """What was analysed; `n_frames, height, width` and `dtype` are the file's, `path` is as it was given."""

    name: str
    path: str
    sha256: str
    n_frames: int
    height: int
    width: int
    dtype: str


@dataclass(frozen=True)
class Result:
    """Everything one analysis knows: what was read, used, measured and refused.

    Attributes
    ----------
    used : section -> name -> `Used`, every value that took part, with its source
    spots : those of `tracks`, in their order
    notices : all warnings, those of the stages included
    detection_limit : smallest diameter the video can show, ``None`` where not known
    """

    source: Source
    calibration: Calibration
    settings: Settings
    used: Mapping[str, Mapping[str, Used]]
    spots: Spots
    tracks: Tracks
    drift: Drift
    diffusion: Diffusion
    sizes: Sizes
    distribution: Distribution
    classes: Classes
    concentration: Concentration
    notices: tuple[Notice, ...] = ()
    detection_limit: DetectionLimit | None = None

    @property
    def detection_limit_nm(self) -> float | None:
        """Smallest diameter the video can show, ``None`` where not known."""
        return None if self.detection_limit is None else self.detection_limit.diameter_nm

    @property
    def exposure_ms(self) -> Used | None:
        """Exposure in ms: the known one, else the one that the tracks told, else ``None``."""
        known = self.calibration.exposure_s
        if known is None:
            return self.diffusion.chosen.get("exposure_ms")
        return Used(known.value * 1e3, known.source, None if known.sd is None else known.sd * 1e3)

    @property
    def linked(self) -> np.ndarray:
        """(p,) numbers of the tracks of two or more spots: the rows of `particles_frame`; a spot that never linked is no track."""
        return np.flatnonzero(self.tracks.n_spots >= 2)

    def counts(self) -> dict[str, Any]:
        """Tally: ``spots = spots_in_tracks + unlinked`` and ``tracks = tracks_sized + sum(rejected.values())``.

        `tracks_sized` are the tracks that count in the distribution, `no_motion_resolved` of them without a diameter of their own.
        """
        in_tracks = int(self.tracks.n_spots[self.linked].sum())
        flags_ = self.sizes.flags[self.linked].astype(np.int64)
        left_out = flags_ & int(sum(LEFT_OUT))
        reason = left_out & -left_out  # the lowest bit, hence the order of LEFT_OUT
        rejected = {flags.names(flag): int(np.count_nonzero(reason == flag)) for flag in LEFT_OUT}
        n_frames = self.spots.n_frames
        return {
            "frames": n_frames,
            "spots": len(self.spots),
            "spots_per_frame": len(self.spots) / len(self.spots.distinct) if n_frames else math.nan,
            "spots_in_tracks": in_tracks,
            "unlinked": len(self.spots) - in_tracks,
            "tracks": len(self.linked),
            "tracks_sized": int(np.count_nonzero(reason == 0)),
            "no_motion_resolved": int(np.count_nonzero((reason == 0) & (flags_ & Flag.NO_MOTION_RESOLVED > 0))),
            "rejected": rejected,
        }

    def particles_frame(self) -> pd.DataFrame:
        """Return one row a track of two or more spots: where, how fast, how large, which class, and why refused.

        `particle` is a running number, the same as in `tracks_frame`; `frames` the number of spots, `one_particle`
        the chance that all its links are right, `x_um, y_um` their mean position,
        `signal, snr` their medians. ``class`` is empty and ``p_<class>`` NaN where the track was not sized.
        """
        import pandas as pd

        tracks, spots, rows = self.tracks, self.tracks.spots, self.linked
        first, last = tracks.start[:-1][rows], tracks.start[1:][rows] - 1
        speed = np.full(len(tracks), np.nan)
        speed[self.diffusion.track] = self.diffusion.d_um2_s
        names = np.array(["", *(c.name for c in self.classes.classes)], dtype=object)
        um = float(self.calibration.pixel_size_um.value)
        columns: dict[str, Any] = {
            "particle": np.arange(len(rows)),
            "first_frame": spots.frame[first],
            "last_frame": spots.frame[last],
            "frames": tracks.n_spots[rows],
            "one_particle": tracks.one_particle[rows],
            "x_um": _means(tracks, spots.x_px)[rows] * um,
            "y_um": _means(tracks, spots.y_px)[rows] * um,
            "diffusion_um2_s": speed[rows],
            "diameter_nm": self.sizes.diameter_nm[rows],
            "diameter_low_nm": self.sizes.low_nm[rows],
            "diameter_high_nm": self.sizes.high_nm[rows],
            "class": names[self.classes.label[rows] + 1],
        }
        for k, c in enumerate(self.classes.classes):
            columns[f"p_{c.name}"] = self.classes.p_class[rows, k]
        columns["signal"] = _medians(tracks, spots.signal)[rows]
        columns["snr"] = _medians(tracks, spots.snr)[rows]
        columns["flags"] = _words(self.sizes.flags[rows])
        return pd.DataFrame(columns)

    def tracks_frame(self) -> pd.DataFrame:
        """Return one row a spot of a track of two or more, as trackpy reads it: pixels, centres at integers, drift not removed."""
        import pandas as pd

        spots, number = self.tracks.spots, np.full(len(self.tracks), -1)
        number[self.linked] = np.arange(len(self.linked))
        particle = number[self.tracks.track_of_spot]
        keep = particle >= 0
        columns: dict[str, Any] = {
            "frame": spots.frame[keep],
            "particle": particle[keep],
            "x": spots.x_px[keep],
            "y": spots.y_px[keep],
            "signal": spots.signal[keep],
            "snr": spots.snr[keep],
            "x_sd_px": spots.x_sd_px[keep],
            "y_sd_px": spots.y_sd_px[keep],
            "width_px": spots.width_px[keep],
            "flags": _words(spots.flags[keep]),
        }
        return pd.DataFrame(columns)

    def frames_frame(self) -> pd.DataFrame:
        """Return one row a frame: its time, spots found, background and noise in grey levels, drift since the first frame."""
        import pandas as pd

        frame = np.arange(self.spots.n_frames)
        columns = {
            "frame": frame,
            "time_s": frame / float(self.calibration.fps.value),
            "spots": np.bincount(self.spots.frame, minlength=len(frame)).astype(np.int64),
            "background": self.spots.background,
            "noise": self.spots.noise,
            "drift_x_px": self.drift.x_px,
            "drift_y_px": self.drift.y_px,
        }
        return pd.DataFrame(columns)

    def histogram_edges(self) -> np.ndarray:
        """Return the bin edges in nm: everything lies inside, and any two results of one bin setting agree bin by bin.

        Edges are 0, w, 2w, ... for the bin width w (or, with `log_bins`, 40 a decade through 10 nm). They reach 1000 nm, and
        where the distribution or a raw diameter goes on, to the next 100 nm above the last one.
        """
        dist, knobs = self.distribution, self.settings.distribution
        raw = _finite(dist.raw_nm)
        low, high = np.inf, 0.0
        if not dist.empty:
            inside = np.flatnonzero(np.cumsum(dist.weight[::-1])[::-1] > _TAIL)
            step = dist.grid_nm[1] / dist.grid_nm[0]  # a whole cell more than the half that a grid point's own cell reaches
            low, high = dist.grid_nm[0] / step, dist.grid_nm[inside[-1]] * step
        low, high = min(low, raw.min(initial=np.inf)), max(high, raw.max(initial=0.0))
        top = max(1000.0, 100.0 * (math.floor(high / 100) + 1))
        if not knobs.log_bins:
            return np.arange(math.ceil(round(top / knobs.bin_width_nm, 6)) + 1) * knobs.bin_width_nm
        first = min(0, math.floor(_BINS_A_DECADE * math.log10(low / 10))) if np.isfinite(low) else 0
        last = math.ceil(round(_BINS_A_DECADE * math.log10(top / 10), 6))
        return 10.0 * 10.0 ** (np.arange(first, last + 1) / _BINS_A_DECADE)

    def histogram_frame(self) -> pd.DataFrame:
        """Return one row a size bin ``[low, high)``: share of the distribution with its interval, raw count, concentration.

        `fraction` sums to 1, over the bins of a class to the fraction of the class; NaN when nothing was sized.
        Concentrations are NaN where there is none.
        """
        import pandas as pd

        edges, dist = self.histogram_edges(), self.distribution
        low, high = edges[:-1], edges[1:]
        share = dist.shares([*low, high[-1]])
        per_ml = [self.per_ml(s) for s in share]
        raw = _finite(dist.raw_nm)
        count = np.histogram(raw, edges)[0]
        fraction = np.array([s.value for s in share])
        columns: dict[str, Any] = {
            "diameter_low_nm": low,
            "diameter_nm": self._centres(edges),
            "diameter_high_nm": high,
            "fraction": fraction,
            "fraction_low": [s.low for s in share],
            "fraction_high": [s.high for s in share],
            "density_per_nm": fraction / (high - low),
            "raw_count": count,
            "raw_fraction": count / len(raw) if len(raw) else np.full(len(count), np.nan),
            "concentration_per_ml": [c.value for c in per_ml],
            "concentration_low_per_ml": [c.low for c in per_ml],
            "concentration_high_per_ml": [c.high for c in per_ml],
        }
        return pd.DataFrame(columns)

    def _centres(self, edges: np.ndarray) -> np.ndarray:
        low, high = edges[:-1], edges[1:]
        return np.sqrt(low * high) if self.settings.distribution.log_bins else (low + high) / 2

    def per_ml(self, share: Interval) -> Interval:
        """Return the concentration of a share of the distribution, particles per mL; NaN where there is none.

        The intervals of the share and of the whole are independent to first order: their widths add in quadrature.
        """
        whole = self.concentration.per_ml
        if whole is None:
            return Interval(*[math.nan] * 5)
        value = share.value * whole.value

        def away(s: float, w: float) -> float:
            return math.hypot(whole.value * (s - share.value), share.value * (w - whole.value))

        return Interval(
            value=value,
            low=max(0.0, value - away(share.low, whole.low)),
            high=value + away(share.high, whole.high),
            low_stat=max(0.0, value - away(share.low_stat, whole.low_stat)),
            high_stat=value + away(share.high_stat, whole.high_stat),
        )

    def raw_size_nm(self) -> dict[str, float]:
        """Return mean, mode, SD, D10, D50, D90 of the plain per-track diameters; NaN where there are too few.

        The mode is the centre of the fullest bin of `histogram_frame`, the smallest of equally full ones; the SD has n - 1 below.
        """
        raw = _finite(self.distribution.raw_nm)
        if not len(raw):
            return dict.fromkeys(("mean", "mode", "sd", "d10", "d50", "d90"), math.nan)
        edges = self.histogram_edges()
        fullest = int(np.argmax(np.histogram(raw, edges)[0]))
        mode = self._centres(edges)[fullest]
        d10, d50, d90 = np.quantile(raw, [0.1, 0.5, 0.9])
        sd = raw.std(ddof=1) if len(raw) > 1 else math.nan
        named = {"mean": raw.mean(), "mode": mode, "sd": sd, "d10": d10, "d50": d50, "d90": d90}
        return {name: float(value) for name, value in named.items()}

    def summary_frame(self) -> pd.DataFrame:
        """Return one row, the video: counts, statistics and class fractions with intervals, calibration, codes of the warnings."""
        import pandas as pd

        counts, exposure = self.counts(), self.exposure_ms
        row: dict[str, Any] = {"video": self.source.name, **{k: counts[k] for k in ("frames", "tracks", "tracks_sized")}}
        for name in ("mean", "mode", "d10", "d50", "d90", "sd"):
            stat = self.distribution.statistic(name)
            row |= {f"{name}_nm": stat.value, f"{name}_low_nm": stat.low, f"{name}_high_nm": stat.high}
        for c, share in zip(self.classes.classes, self.classes.fraction, strict=True):
            name = f"fraction_{c.name}"
            row |= {name: share.value, f"{name}_low": share.low, f"{name}_high": share.high}
        per_ml = self.per_ml(Interval(1.0, 1.0, 1.0, 1.0, 1.0))
        row |= {
            "concentration_per_ml": per_ml.value,
            "concentration_low_per_ml": per_ml.low,
            "concentration_high_per_ml": per_ml.high,
            "temperature_c": float(self.calibration.temperature_c.value),
            "pixel_size_um": float(self.calibration.pixel_size_um.value),
            "fps": float(self.calibration.fps.value),
            "exposure_ms": math.nan if exposure is None else float(exposure.value),
            "warnings": "|".join(dict.fromkeys(n.code for n in self.notices)),
        }
        return pd.DataFrame({name: [value] for name, value in row.items()})

    def summary(self) -> dict[str, Any]:
        """Return the content of summary.json: plain Python values, ``None`` for what is not known."""
        cal, source = self.calibration, self.source
        size: dict[str, Any] = {name: asdict(self.distribution.statistic(name)) for name in STATISTICS}
        size["peaks"] = [asdict(peak) for peak in self.distribution.peaks]
        classes = [
            {"name": c.name, "low_nm": c.low_nm, "high_nm": c.high_nm, "fraction": asdict(share), "per_ml": self._per_ml_or_none(share)}
            for c, share in zip(self.classes.classes, self.classes.fraction, strict=True)
        ]
        summary = {
            "schema": SCHEMA,
            "software": _versions(),
            "input": {
                "name": source.name,
                "path": source.path,
                "sha256": source.sha256,
                "frames": source.n_frames,
                "height": source.height,
                "width": source.width,
                "dtype": source.dtype,
            },
            "calibration": {
                "pixel_size_um": _used(cal.pixel_size_um),
                "fps": _used(cal.fps),
                "exposure_ms": _used(self.exposure_ms),
                "temperature_c": _used(cal.temperature_c),
            },
            "settings": {section: {name: _used(u) for name, u in values.items()} for section, values in self.used.items()},
            "counts": self.counts(),
            "size_nm": size,
            "raw_size_nm": self.raw_size_nm(),
            "classes": classes,
            "concentration_per_ml": self._per_ml_or_none(Interval(1.0, 1.0, 1.0, 1.0, 1.0)),
            "concentration_why_not": self.concentration.why_not or None,
            "detection_limit_nm": None if self.detection_limit is None else asdict(self.detection_limit),
            "warnings": [asdict(notice) for notice in self.notices],
        }
        return {key: plain(value) for key, value in summary.items()}

    def figure(self, path: str | Path | None = None) -> Figure:
        """Return the publication figure as a Matplotlib figure, and save it to `path` (its suffix says how) if given.

        The one import against the flow: a figure belongs to a result for whoever types ``result.figure()``.
        """
        from nta import figure

        drawn = figure.draw(self)
        if path is not None:
            figure.save_as(drawn, path)
        return drawn

    def _per_ml_or_none(self, share: Interval) -> dict[str, float] | None:
        return None if self.concentration.per_ml is None else asdict(self.per_ml(share))


def plain(value: Any) -> Any:
    """Return `value` as JSON knows it: numpy scalars and arrays as Python's, floats to 9 digits, NaN and infinities as ``None``."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(v) for v in value]
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(f"{value:.9g}") if math.isfinite(value) else None
    return value if value is None else str(value)


def _used(used: Used | None) -> dict[str, Any] | None:
    return None if used is None else asdict(used)


def _versions() -> dict[str, str | None]:
    from importlib.metadata import PackageNotFoundError, version

    from nta import __version__

    found: dict[str, str | None] = {"nta": __version__}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def _finite(values: np.ndarray) -> np.ndarray:
    return values[np.isfinite(values)]


def _words(masks: np.ndarray) -> np.ndarray:
    """Return the flag names of each row; a few distinct masks fill many rows."""
    distinct, which = np.unique(masks, return_inverse=True)
    return np.array([flags.names(int(mask)) for mask in distinct], dtype=object)[which]


def _means(tracks: Tracks, values: np.ndarray) -> np.ndarray:
    return np.bincount(tracks.track_of_spot, values, minlength=len(tracks)) / tracks.n_spots


def _medians(tracks: Tracks, values: np.ndarray) -> np.ndarray:
    """Return the median of `values` in each track, by one sort of all of them."""
    ordered = values[np.lexsort((values, tracks.track_of_spot))]
    n, start = tracks.n_spots, tracks.start[:-1]
    return (ordered[start + (n - 1) // 2] + ordered[start + n // 2]) / 2
