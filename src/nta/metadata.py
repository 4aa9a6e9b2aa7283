"""What a file states of its own calibration: values with their place, implausible ones refused by name, contradictions told."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from nta.errors import Notice
from nta.settings import KNOBS


@dataclass(frozen=True)
class Statement:
    """One value a file states: `value` in the unit of the knob it answers, `where` it stands, `caveat` if it proves less than it seems."""

    value: float
    where: str
    caveat: str = ""


@dataclass(frozen=True)
class FileSays:
    """Everything a file states that an analysis can use.

    Attributes
    ----------
    values : knob name (``pixel_size_um, fps, exposure_ms, temperature_c, viscosity_mpas``) to `Statement`
    pixel_height_um : Statement or None, the pixel's height where the file states it apart from the width
    refused : knob name to the words, such as ``its ImageJ finterval 0``, of a value that cannot be
    notices : one for every refused value, and one for every two statements that contradict each other
    bit_depth : int or None, bits a camera filled of each stored pixel, where stated
    """

    values: Mapping[str, Statement] = field(default_factory=dict)
    pixel_height_um: Statement | None = None
    refused: Mapping[str, str] = field(default_factory=dict)
    notices: tuple[Notice, ...] = ()
    bit_depth: int | None = None


METRE_UM = {
    "m": 1e6,
    "cm": 1e4,
    "mm": 1e3,
    "um": 1.0,
    "micron": 1.0,
    "microns": 1.0,
    "micrometer": 1.0,
    "micrometers": 1.0,
    "micrometre": 1.0,
    "micrometres": 1.0,
    "nm": 1e-3,
    "nanometer": 1e-3,
    "nanometers": 1e-3,
    "nanometre": 1e-3,
    "nanometres": 1e-3,
    "pm": 1e-6,
    "å": 1e-4,
    "inch": 25400.0,
    "in": 25400.0,
}
SECOND_S = {
    "s": 1.0,
    "sec": 1.0,
    "second": 1.0,
    "seconds": 1.0,
    "ms": 1e-3,
    "msec": 1e-3,
    "millisecond": 1e-3,
    "milliseconds": 1e-3,
    "us": 1e-6,
    "usec": 1e-6,
    "microseconds": 1e-6,
    "ns": 1e-9,
    "min": 60.0,
    "minute": 60.0,
    "minutes": 60.0,
    "h": 3600.0,
    "hr": 3600.0,
    "hour": 3600.0,
}
NO_UNIT = {"", "pixel", "pixels", "px", "unknown", "reference frame"}  # words by which a program says "not calibrated"
_NOUN = {
    "pixel_size_um": "a pixel size",
    "fps": "a frame rate",
    "exposure_ms": "an exposure",
    "temperature_c": "a sample's temperature",
    "viscosity_mpas": "a viscosity",
}


def unit_of(text: object) -> str:
    """Return a unit in one spelling: both mu signs and ImageJ's escaped one as ``u``, lower case but for nothing else."""
    plain = re.sub(r"\\u([0-9A-Fa-f]{4})", lambda m: chr(int(m[1], 16)), str(text)).strip()
    return plain.replace("\u00b5", "u").replace("\u03bc", "u").lower()


def number(text: object) -> float:
    """Return `text` as a number, NaN when it is none."""
    try:
        return math.nan if isinstance(text, bool) else float(str(text))
    except ValueError:
        return math.nan


def differs(knob: str, one: float, other: float) -> bool:
    """Tell whether two values of a knob contradict each other: by more than 0.5 C, or 1 % of the `other`."""
    return abs(one - other) > (0.5 if knob == "temperature_c" else 0.01 * other)


class Listener:
    """Collects statements: the first plausible one for each knob is kept, implausible ones are refused by name.

    Whoever is trusted most is to be heard first.
    """

    def __init__(self) -> None:
        self.values: dict[str, Statement] = {}
        self.refused: dict[str, str] = {}
        self.notices: list[Notice] = []
        self.pixel_height_um: Statement | None = None
        self.bit_depth: int | None = None

    def says(self) -> FileSays:
        """Return what was heard."""
        refused = {knob: words for knob, words in self.refused.items() if knob not in self.values}
        return FileSays(self.values, self.pixel_height_um, refused, tuple(self.notices), self.bit_depth)

    def refuse(self, knob: str, where: str, given: object, why: str) -> None:
        """Note that a value is not used; silent where the knob has one already."""
        if knob in self.values:
            return
        words = f"{where} {given}".rstrip()
        self.refused.setdefault(knob, words)
        self.notices.append(Notice("metadata_refused", f"the file's {words} is not used: {why}"))

    def hear(self, knob: str, value: float, where: str, given: object, caveat: str = "") -> None:
        """Take `value` for `knob` if nobody said it yet; `given` is the text in the file."""
        if self._plausible(knob, value, where, given):
            said = Statement(value, where, caveat)
            self.notices += _contradiction(knob, self.values.setdefault(knob, said), said)

    def hear_interval(self, value_s: float, where: str, given: object) -> None:
        """Take a time between frames for the frame rate."""
        self.hear("fps", 1.0 / value_s if value_s else math.inf, where, given)

    def hear_height(self, value_um: float, where: str, given: object) -> None:
        """Take the height of a pixel if nobody said it yet."""
        if self.pixel_height_um is None and self._plausible("pixel_size_um", value_um, where, given):
            self.pixel_height_um = Statement(value_um, where)

    def hear_bits(self, bits: float, where: str, given: object) -> None:
        """Take the bits a camera fills of each pixel if nobody said them yet."""
        if self.bit_depth is not None:
            return
        if 8 <= bits <= 32 and bits == int(bits):
            self.bit_depth = int(bits)
        else:
            self.notices.append(Notice("metadata_refused", f"the file's {where} {given} is not used: a camera fills 8 to 32 bits"))

    def hear_temperature(self, value: float, unit: str, where: str, given: object) -> None:
        """Take a temperature in C, K or F, however the degree is written; a unit that is none of these is passed over."""
        unit = re.sub(r"°|º|deg(rees?)?|\s|\bo(?=[ckf])", "", unit)
        if unit in ("k", "kelvin"):
            value -= 273.15
        elif unit in ("f", "fahrenheit"):
            value = (value - 32) / 1.8
        elif unit not in ("", "c", "celsius"):
            return
        self.hear("temperature_c", value, where, given)

    def hear_stamps(self, stamps_s: Iterable[float], where: str) -> None:
        """Take the frame interval from the frames' time stamps, in s and in the order of frames.

        It is the mean of those steps within half of their median, which neither a dropped frame nor stamps in whole milliseconds can bend.
        """
        steps = [b - a for a, b in pairwise(stamps_s)]
        if steps:
            typical = median(steps)
            near = [s for s in steps if abs(s - typical) <= 0.5 * abs(typical)]
            step = sum(near) / len(near) if near else typical
            self.hear_interval(step, where, f"step {step:g} s")

    def _plausible(self, knob: str, value: float, where: str, given: object) -> bool:
        low, high, unit = KNOBS[knob].low or 0.0, KNOBS[knob].high or math.inf, KNOBS[knob].unit
        # 0 is how software writes "unknown", and what is below freezing is the camera's sensor, not the sample
        if math.isfinite(value) and value > 0 and low <= value <= high:
            return True
        bounds = f"is above 0 and at most {high:g}" if low <= 0 else f"lies between {low:g} and {high:g}"
        self.refuse(knob, where, given, f"{_NOUN[knob]} {bounds} {unit}")
        return False


def merge(first: FileSays, second: FileSays) -> FileSays:
    """Return what two sources state together; `first`, such as a file beside the video, is believed where both speak."""
    notices = list(first.notices)
    told = {knob: words for knob, words in second.refused.items() if knob in first.values}
    notices += [n for n in second.notices if not any(words in n.message for words in told.values())]
    for knob in first.values:
        if knob in second.values:
            notices += _contradiction(knob, first.values[knob], second.values[knob])
    values = {**second.values, **first.values}
    # a height belongs to the width beside it
    height = first.pixel_height_um if "pixel_size_um" in first.values else second.pixel_height_um
    return FileSays(
        values=values,
        pixel_height_um=height,
        refused={knob: words for knob, words in {**second.refused, **first.refused}.items() if knob not in values},
        notices=tuple(notices),
        bit_depth=first.bit_depth or second.bit_depth,
    )


def _contradiction(knob: str, used: Statement, other: Statement) -> list[Notice]:
    if not differs(knob, used.value, other.value):
        return []
    unit = KNOBS[knob].unit
    text = f"the file's {used.where}, {used.value:g} {unit}, is used, though its {other.where} says {other.value:g} {unit}"
    return [Notice("metadata_disagrees", text)]


def median(values: Iterable[float]) -> float:
    """Return the median, NaN where any value is."""
    ordered = sorted(values)
    if any(math.isnan(v) for v in ordered):
        return math.nan
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else 0.5 * (ordered[half - 1] + ordered[half])
