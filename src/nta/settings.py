"""Every knob once: name, unit, default, range, help. TOML in and out.

A section is a stage. ``None`` is `auto`: the video itself, the physics or the file's metadata tells.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import tomli_w

from nta.errors import UsageError


@dataclass(frozen=True)
class Used:
    """A value that an analysis used, and where it came from.

    `source` is one of ``option, sop, file, measured, assumed, default``; `sd` its standard uncertainty in its own unit.
    """

    value: Any
    source: str
    sd: float | None = None


def _knob(
    default: Any,
    help: str,
    *,
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    example: str = "",
    auto: str = "",
    form: str = "",
    pattern: str = "",
) -> Any:
    """Declare a knob; `auto` says in words what ``None`` becomes, `form` and `pattern` how a text must look."""
    return field(
        default=default,
        metadata={
            "help": help,
            "unit": unit,
            "low": low,
            "high": high,
            "choices": choices,
            "example": example,
            "auto": auto,
            "form": form,
            "pattern": pattern,
        },
    )


@dataclass(frozen=True)
class VideoSettings:
    """What the camera and the microscope were."""

    pixel_size_um: float | None = _knob(
        None, "size of one pixel in the sample plane", unit="um", low=0.005, high=20, example="0.166", auto="from the file"
    )
    fps: float | None = _knob(None, "frames per second at capture", unit="1/s", low=0.01, high=100000, example="25", auto="from the file")
    exposure_ms: float | None = _knob(
        None, "exposure (shutter) time of a frame", unit="ms", low=0, high=100000, example="15", auto="from the file, else estimated"
    )
    polarity: str | None = _knob(
        None, "particles brighter or darker than their surroundings", choices=("bright", "dark"), example="dark", auto="from the video"
    )
    channel: str | None = _knob(None, "channel of a colour video", choices=("r", "g", "b"), example="g", auto="luminance")
    frames: str | None = _knob(
        None,
        "first and one-past-last frame to analyse",
        unit="frames",
        example="0:600",
        auto="all",
        form="FIRST:STOP",
        pattern=r"(-?\d+)?\s*:\s*(-?\d+)?",
    )
    roi: str | None = _knob(
        None,
        "region of interest: its left column, top row, width and height",
        unit="px",
        example="0,0,512,400",
        auto="the whole field",
        form="X,Y,W,H",
        pattern=r"\d+\s*,\s*\d+\s*,\s*\d+\s*,\s*\d+",
    )


@dataclass(frozen=True)
class SpotSettings:
    """How particles are found in a frame."""

    engine: str = _knob("nta", "who finds and links: nta, or trackpy for comparison", choices=("nta", "trackpy"), example="trackpy")
    false_spots_per_frame: float = _knob(
        0.1, "expected false detections in a frame; sets the threshold", unit="1/frame", low=1e-6, high=1000, example="0.1"
    )


@dataclass(frozen=True)
class TrackSettings:
    """How spots become tracks."""

    min_frames: int = _knob(5, "shortest track that is sized", unit="frames", low=3, high=10000, example="5")


@dataclass(frozen=True)
class MediumSettings:
    """The liquid: its viscosity enters every diameter."""

    temperature_c: float | None = _knob(
        None, "temperature of the sample", unit="C", low=-10, high=100, example="22", auto="from the file, else 25 C assumed"
    )
    temperature_sd_c: float | None = _knob(
        None, "standard uncertainty of the temperature", unit="C", low=0, high=20, example="0.5", auto="0.3 C given, 2 C assumed"
    )
    medium: str = _knob(
        "water",
        "the liquid: water, pbs, d2o, saline:MOL_PER_L, or glycerol, sucrose or ethanol with their mass fraction",
        example="saline:0.15",
        form="NAME[:AMOUNT]",
        pattern=r"\w+(\s*:\s*\S+)?",
    )
    viscosity_mpas: float | None = _knob(
        None, "viscosity, overrides the medium's", unit="mPa s", low=0.05, high=10000, example="0.89", auto="from medium and temperature"
    )


@dataclass(frozen=True)
class DistributionSettings:
    """How the size distribution is estimated and binned."""

    bin_width_nm: float = _knob(5.0, "bin width of histogram.csv", unit="nm", low=0.5, high=500, example="5")
    log_bins: bool = _knob(False, "bins of equal width in log diameter (40 a decade) instead")
    seed: int = _knob(0, "seed of the resampling behind the intervals", low=0, high=2**32 - 1, example="0")


@dataclass(frozen=True)
class ClassSettings:
    """Size classes whose fractions are reported."""

    classes: str = _knob(
        "exosome:30-100,microvesicle:100-1000,apoptotic_body:1000-",
        "size classes NAME:LOW-HIGH,... in nm, or misev (small EVs below 200 nm, large above)",
        unit="nm",
        example="small:30-200,large:200-",
        form="CLASSES",
    )


@dataclass(frozen=True)
class ConcentrationSettings:
    """What a concentration needs beyond the count."""

    depth_um: float | str | None = _knob(
        None,
        "depth of the detection volume, or fitted: that which the lengths of the tracks tell",
        unit="um",
        low=0.05,
        high=10000,
        choices=("fitted",),
        example="8",
        auto="no concentration",
        form="N",
    )
    dilution: float = _knob(1.0, "dilution factor of the sample, undiluted / diluted", low=1, high=1e12, example="1000")


_SECTION_TYPES: dict[str, type] = {
    "video": VideoSettings,
    "spots": SpotSettings,
    "tracks": TrackSettings,
    "medium": MediumSettings,
    "distribution": DistributionSettings,
    "classes": ClassSettings,
    "concentration": ConcentrationSettings,
}


@dataclass(frozen=True)
class Knob:
    """One setting as the registry describes it; `kind` is the Python type of a value."""

    section: str
    name: str
    kind: type
    default: Any
    help: str
    unit: str
    low: float | None
    high: float | None
    choices: tuple[str, ...]
    example: str
    auto: str
    form: str = ""
    pattern: str = ""

    @property
    def option(self) -> str:
        """The knob's name on the command line."""
        return "--" + self.name.replace("_", "-")

    def check(self, value: Any, label: str = "") -> Any:
        """Return `value` as this knob's type; ``None`` passes.

        Parameters
        ----------
        value : a number, a bool, or text as a person would type it
        label : what the message calls the knob; its option by default

        Raises
        ------
        UsageError
            When the value is of another kind or out of range; the message names the knob, the value and what is allowed.
        """
        if value is None:
            return None
        label = label or self.option
        if self.kind is bool:
            if not isinstance(value, bool):
                raise UsageError(f"{label}: {value!r} is neither true nor false")
            return value
        return self._check_text(value, label) if self.kind is str else self._check_number(value, label)

    def _check_text(self, value: Any, label: str) -> str:
        if isinstance(value, str) and value.strip():
            value = value.strip()
            if self.choices and value not in self.choices:
                allowed = (*(["auto"] if self.auto else []), *self.choices)
                raise UsageError(f"{label}: {value!r} is not one of {', '.join(allowed)}")
            if not self.pattern or re.fullmatch(self.pattern, value, re.ASCII):
                return value
        raise UsageError(f"{label}: {value!r} is not {self.form or 'text'}; an example is {self.example}")

    def _check_number(self, value: Any, label: str) -> int | float | str:
        if value in self.choices:
            return value
        noun = "a whole number" if self.kind is int else "a number"
        if self.choices:
            noun = f"{noun} or {', '.join(self.choices)}"
        try:
            if isinstance(value, bool):
                raise TypeError
            number: int | float = self.kind(value)
            if number != float(value):  # a fraction given to a whole number, and NaN
                raise ValueError
        except (TypeError, ValueError):
            comma = " (decimals take a point)" if isinstance(value, str) and "," in value else ""
            raise UsageError(f"{label}: {value!r} is not {noun}{comma}; an example is {self.example}") from None
        except OverflowError:
            raise UsageError(f"{label}: {value} is outside {self.range}") from None
        if (self.low is not None and number < self.low) or (self.high is not None and number > self.high):
            raise UsageError(f"{label}: {value} is outside {self.range}")
        return number

    @property
    def range(self) -> str:
        """The allowed values in words, with the unit; empty when anything goes."""
        if self.low is None and self.high is None:
            return ""
        low, high = (None if edge is None else f"{edge:.10g}" for edge in (self.low, self.high))
        words = f"{low} to {high}" if low and high else f"at least {low}" if low else f"at most {high}"
        return f"{words} {self.unit}".rstrip()


def _kind(annotation: str) -> type:
    return {"float": float, "int": int, "str": str, "bool": bool}[annotation.split(" ")[0]]


KNOBS: dict[str, Knob] = {
    f.name: Knob(section=section, name=f.name, kind=_kind(str(f.type)), default=f.default, **f.metadata)
    for section, cls in _SECTION_TYPES.items()
    for f in fields(cls)
}
"""Every knob by its name; names are unique over all sections."""


@dataclass(frozen=True)
class Settings:
    """All knobs of an analysis. Immutable; `chosen` tells which ones a person set, and how (``option`` or ``sop``)."""

    video: VideoSettings = VideoSettings()
    spots: SpotSettings = SpotSettings()
    tracks: TrackSettings = TrackSettings()
    medium: MediumSettings = MediumSettings()
    distribution: DistributionSettings = DistributionSettings()
    classes: ClassSettings = ClassSettings()
    concentration: ConcentrationSettings = ConcentrationSettings()
    chosen: Mapping[str, str] = field(default_factory=dict)

    def with_options(self, source: str = "option", **options: Any) -> Settings:
        """Return a copy with `options` (knob name to value) set and checked.

        ``None`` leaves a knob alone; the word ``"auto"`` puts it back to its default, as if nobody had set it.

        Raises
        ------
        UsageError
            For an unknown name (with the nearest known one) or a value out of range.
        """
        sections: dict[str, dict[str, Any]] = {}
        chosen = dict(self.chosen)
        for name, value in options.items():
            knob = KNOBS.get(name)
            if knob is None:
                raise UsageError(f"unknown setting {name!r}{nearest_hint(name, KNOBS)}")
            if value is None:
                continue
            if isinstance(value, str) and value == "auto":
                sections.setdefault(knob.section, {})[name] = knob.default
                chosen.pop(name, None)
            else:
                sections.setdefault(knob.section, {})[name] = knob.check(value)
                chosen[name] = source
        changed = {s: replace(getattr(self, s), **values) for s, values in sections.items()}
        return replace(self, chosen=chosen, **changed)

    @classmethod
    def from_toml(cls, path: str | Path) -> Settings:
        """Read a protocol (SOP) file.

        Raises
        ------
        UsageError
            When the file is missing or no TOML, or has an unknown section or key, or a value out of range.
        """
        try:
            # Windows editors put a byte-order mark in front, which TOML refuses
            table = tomllib.loads(Path(path).read_text(encoding="utf-8-sig"))
        except FileNotFoundError:
            raise UsageError(f"--sop: no such file: {path}") from None
        except OSError as error:
            raise UsageError(f"--sop: {path} cannot be read ({error.strerror})") from None
        except ValueError as error:  # no TOML, or no UTF-8
            raise UsageError(f"--sop: {path} is not a TOML file ({error})") from None
        settings = cls()
        for section, values in table.items():
            if section not in _SECTION_TYPES:
                raise UsageError(f"--sop: {path}: {_stranger(section)}")
            if not isinstance(values, dict):
                raise UsageError(f"--sop: {path}: [{section}] must be a table of settings")
            for name, value in values.items():
                if name not in KNOBS or KNOBS[name].section != section:
                    raise UsageError(f"--sop: {path}: {_misplaced(name, section)}")
                if value != "auto":
                    KNOBS[name].check(value, label=f"--sop: {path}: {name}")
            settings = settings.with_options(source="sop", **values)
        return settings

    def to_toml(self) -> str:
        """Return the protocol as TOML: only what a person chose; everything else stays `auto`."""
        table: dict[str, dict[str, Any]] = {}
        for name, knob in KNOBS.items():
            if name in self.chosen:
                table.setdefault(knob.section, {})[name] = self.value(name)
        return tomli_w.dumps(table)

    def value(self, name: str) -> Any:
        """Return the value of the knob `name`; ``None`` is `auto`."""
        return getattr(getattr(self, KNOBS[name].section), name)

    def used(self, name: str) -> Used:
        """Return the value of the knob `name` with its source (``option``, ``sop`` or ``default``)."""
        return Used(self.value(name), self.chosen.get(name, "default"))


def _stranger(section: str) -> str:
    if section in KNOBS:
        return f"{section!r} belongs under [{KNOBS[section].section}]"
    return f"unknown section [{section}]{nearest_hint(section, _SECTION_TYPES)}"


def _misplaced(name: str, section: str) -> str:
    if name in KNOBS:
        return f"{name!r} belongs under [{KNOBS[name].section}], not [{section}]"
    return f"unknown setting {name!r} in [{section}]{nearest_hint(name, [k for k, knob in KNOBS.items() if knob.section == section])}"


def nearest_hint(name: str, known: Any) -> str:
    """Return words that point from an unknown `name` to the nearest known one, to end an error message."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(known)}"
