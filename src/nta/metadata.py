"""ImageJ or OME text -> FileSays: what a file states of its own calibration, with implausible values refused by name."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from xml.etree import ElementTree

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
    values : knob name (``pixel_size_um, fps, exposure_ms, temperature_c``) to `Statement`
    pixel_height_um : Statement or None, the pixel's height where the file states it apart from the width
    refused : knob name to the words, such as ``its ImageJ finterval 0``, of a value that cannot be
    notices : one for every refused value
    bit_depth : int or None, bits a camera filled of each stored pixel, where stated
    """

    values: Mapping[str, Statement] = field(default_factory=dict)
    pixel_height_um: Statement | None = None
    refused: Mapping[str, str] = field(default_factory=dict)
    notices: tuple[Notice, ...] = ()
    bit_depth: int | None = None


_METRE_UM = {
    "m": 1e6,
    "cm": 1e4,
    "mm": 1e3,
    "um": 1.0,
    "micron": 1.0,
    "microns": 1.0,
    "micrometer": 1.0,
    "micrometers": 1.0,
    "micrometre": 1.0,
    "nm": 1e-3,
    "nanometer": 1e-3,
    "pm": 1e-6,
    "å": 1e-4,
    "inch": 25400.0,
    "in": 25400.0,
}
_SECOND_S = {
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
_NOUN = {"pixel_size_um": "a pixel size", "fps": "a frame rate", "exposure_ms": "an exposure", "temperature_c": "a sample's temperature"}
_NO_UNIT = {"", "pixel", "pixels", "px", "unknown", "reference frame"}  # words by which a program says "not calibrated"


def _unit(text: object) -> str:
    """Return a unit in one spelling: both mu signs and ImageJ's escaped one as ``u``, lower case but for nothing else."""
    plain = re.sub(r"\\u([0-9A-Fa-f]{4})", lambda m: chr(int(m[1], 16)), str(text)).strip()
    return plain.replace("\u00b5", "u").replace("\u03bc", "u").lower()


def _number(text: object) -> float:
    """Return `text` as a number, NaN when it is none."""
    try:
        return float(str(text))
    except ValueError:
        return math.nan


class _Listener:
    """Collects statements: the first plausible one for each knob is kept, implausible ones are refused by name."""

    def __init__(self) -> None:
        self.values: dict[str, Statement] = {}
        self.refused: dict[str, str] = {}
        self.notices: list[Notice] = []
        self.pixel_height_um: Statement | None = None
        self.bit_depth: int | None = None

    def says(self) -> FileSays:
        refused = {knob: words for knob, words in self.refused.items() if knob not in self.values}
        return FileSays(self.values, self.pixel_height_um, refused, tuple(self.notices), self.bit_depth)

    def refuse(self, knob: str, where: str, given: object, why: str) -> None:
        words = f"{where} {given}"
        self.refused.setdefault(knob, words)
        self.notices.append(Notice("metadata_refused", f"the file's {words} is not used: {why}"))

    def hear(self, knob: str, value: float, where: str, given: object, caveat: str = "") -> None:
        """Take `value` for `knob` if nobody said it yet; `given` is the text in the file."""
        if knob in self.values:
            return
        if self.plausible(knob, value, where, given):
            self.values[knob] = Statement(value, where, caveat)

    def plausible(self, knob: str, value: float, where: str, given: object) -> bool:
        low, high, unit = KNOBS[knob].low or 0.0, KNOBS[knob].high or math.inf, KNOBS[knob].unit
        # 0 is how software writes "unknown", and what is below freezing is the camera's sensor, not the sample
        if math.isfinite(value) and value > 0 and low <= value <= high:
            return True
        bounds = f"is above 0 and at most {high:g}" if low <= 0 else f"lies between {low:g} and {high:g}"
        self.refuse(knob, where, given, f"{_NOUN[knob]} {bounds} {unit}")
        return False


def imagej(meta: Mapping[str, object], resolution: tuple[object, object], into: _Listener | None = None) -> FileSays:
    """Return what an ImageJ description states.

    Parameters
    ----------
    meta : mapping of the description's keys (``unit, finterval, fps ...``) and ``Info``, ImageJ's free text
    resolution : the TIFF tags XResolution and YResolution, each a (pixels, units) fraction or None; they count only where ImageJ states
        a `unit`, since a resolution alone is a printer's
    """
    heard = into or _Listener()
    unit = _unit(meta.get("unit", ""))
    if unit not in _NO_UNIT:
        if unit in _METRE_UM:
            height_unit = _unit(meta.get("yunit", unit))
            _pixel(heard, _per(resolution[0], _METRE_UM[unit]), "ImageJ resolution", _fraction(resolution[0], unit))
            if resolution[1] is not None and height_unit in _METRE_UM:
                _height(heard, _per(resolution[1], _METRE_UM[height_unit]), "ImageJ YResolution", _fraction(resolution[1], height_unit))
        else:
            heard.refuse("pixel_size_um", "ImageJ unit", repr(meta["unit"]), "not a unit of length that is known here")
    time_unit = _unit(meta.get("tunit", "s"))
    if "finterval" in meta:
        given = meta["finterval"] if "tunit" not in meta else f"{meta['finterval']} {meta['tunit']}"
        _interval(heard, _number(meta["finterval"]) * _SECOND_S.get(time_unit, math.nan), "ImageJ finterval", given)
    if "fps" in meta:
        caveat = f"the frame rate {meta['fps']} is ImageJ's playback rate; give --fps if the camera's was another"
        heard.hear("fps", _number(meta["fps"]), "ImageJ fps", meta["fps"], caveat)
    for line in str(meta.get("Info", "")).splitlines():
        _info_line(heard, line)
    return heard.says()


def _per(fraction: object, unit_um: float) -> float:
    """Return the pixel size in um of a (pixels, units) fraction; NaN for 0 pixels or no fraction."""
    if not isinstance(fraction, tuple) or len(fraction) != 2 or not fraction[0]:
        return math.nan
    return float(fraction[1] / fraction[0]) * unit_um


def _fraction(fraction: object, unit: str) -> str:
    return f"{fraction[0]}/{fraction[1]} pixels per {unit}" if isinstance(fraction, tuple) else "(none)"


def _pixel(heard: _Listener, value_um: float, where: str, given: object) -> None:
    heard.hear("pixel_size_um", value_um, where, given)


def _height(heard: _Listener, value_um: float, where: str, given: object) -> None:
    if heard.pixel_height_um is None and heard.plausible("pixel_size_um", value_um, where, given):
        heard.pixel_height_um = Statement(value_um, where)


def _interval(heard: _Listener, value_s: float, where: str, given: object) -> None:
    heard.hear("fps", 1.0 / value_s if value_s else math.inf, where, given)


_INFO = re.compile(
    r"\s*(?P<key>exposure_ms|exposure(?:[ _-]?time)?|temperature_c|temperature)\s*[:=]\s*"
    r"(?P<value>[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?|nan|[-+]?inf)\s*(?P<unit>[a-zµμ° ]*?)\s*",
    re.IGNORECASE | re.ASCII,
)


def _info_line(heard: _Listener, line: str) -> None:
    """Take ``Exposure = 15 ms`` or ``temperature_c = 25``; a line that leaves its unit to be guessed is passed over."""
    match = _INFO.fullmatch(line)
    if match is None:
        return
    key, given, unit = match["key"].lower(), f"{match['value']} {match['unit']}".strip(), _unit(match["unit"])
    value = _number(match["value"])
    if key.startswith("exposure"):
        if key == "exposure_ms":
            unit = unit or "ms"
        if unit in _SECOND_S:
            heard.hear("exposure_ms", value * _SECOND_S[unit] * 1e3, f"ImageJ Info {match['key']}", given)
        return
    _temperature(heard, value, unit, f"ImageJ Info {match['key']}", given)


def _temperature(heard: _Listener, value: float, unit: str, where: str, given: object) -> None:
    unit = unit.replace("°", "").replace("deg", "").strip()
    if unit == "k":
        value -= 273.15
    elif unit == "f":
        value = (value - 32) / 1.8
    elif unit not in ("", "c", "celsius"):
        return
    heard.hear("temperature_c", value, where, given)


def ome(xml: str, into: _Listener | None = None) -> FileSays:
    """Return what OME-XML states of its first image.

    The frame interval is `TimeIncrement`, else the planes' `DeltaT`: the mean of those differences within half of their median, which
    neither a dropped frame nor time stamps in whole milliseconds can bend.
    """
    heard = into or _Listener()
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError:
        return heard.says()
    image = next((e for e in root if _tag(e) == "Image"), None)
    pixels = next((e for e in image if _tag(e) == "Pixels"), None) if image is not None else None
    if image is None or pixels is None:
        return heard.says()
    for axis in "XY":
        given = pixels.get(f"PhysicalSize{axis}")
        unit = _unit(pixels.get(f"PhysicalSize{axis}Unit", "um"))
        if given is None or unit in _NO_UNIT:
            continue
        take = _pixel if axis == "X" else _height
        take(heard, _number(given) * _METRE_UM.get(unit, math.nan), f"OME PhysicalSize{axis}", _with_unit(given, unit, "um"))
    given = pixels.get("TimeIncrement")
    if given is not None:
        unit = _unit(pixels.get("TimeIncrementUnit", "s"))
        _interval(heard, _number(given) * _SECOND_S.get(unit, math.nan), "OME TimeIncrement", _with_unit(given, unit, "s"))
    _planes(heard, pixels)
    for environment in (e for e in image if _tag(e) == "ImagingEnvironment"):
        given = environment.get("Temperature")
        if given is not None:
            unit = _unit(environment.get("TemperatureUnit", "c"))
            _temperature(heard, _number(given), unit, "OME Temperature", given)
    bits = _number(pixels.get("SignificantBits", "nan"))
    heard.bit_depth = int(bits) if bits > 0 else None
    return heard.says()


def _tag(element: ElementTree.Element) -> str:
    return element.tag.rsplit("}", 1)[-1]


def _with_unit(given: str, unit: str, default: str) -> str:
    return given if unit == default else f"{given} {unit}"


def _planes(heard: _Listener, pixels: ElementTree.Element) -> None:
    """Take frame interval and exposure from the planes of the axis that is time."""
    planes = [e for e in pixels if _tag(e) == "Plane"]
    sizes = {axis: _number(pixels.get(f"Size{axis}", "1")) for axis in "TZC"}
    time = next((axis for axis in "TZC" if sizes[axis] > 1), "T")
    line = [p for p in planes if all(p.get(f"The{axis}", "0") == "0" for axis in "TZC" if axis != time)]
    line.sort(key=lambda p: _number(p.get(f"The{time}", "0")))
    if "fps" not in heard.values:
        stamps = [_seconds(p, "DeltaT") for p in line if p.get("DeltaT") is not None]
        steps = [b - a for a, b in pairwise(stamps)]
        if steps:
            typical = _median(steps)
            near = [s for s in steps if abs(s - typical) <= 0.5 * abs(typical)]
            step = sum(near) / len(near) if near else typical
            _interval(heard, step, "OME DeltaT", f"step {step:g} s")
    exposures = [_seconds(p, "ExposureTime") * 1e3 for p in line if p.get("ExposureTime") is not None]
    if exposures:
        value = _median(exposures)
        heard.hear("exposure_ms", value, "OME ExposureTime", f"{value:g} ms")


def _seconds(plane: ElementTree.Element, name: str) -> float:
    unit = _unit(plane.get(f"{name}Unit", "s"))
    return _number(plane.get(name)) * _SECOND_S.get(unit, math.nan)


def _median(values: Iterable[float]) -> float:
    ordered = sorted(values)
    if any(math.isnan(v) for v in ordered):
        return math.nan
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else 0.5 * (ordered[half - 1] + ordered[half])


def of_texts(ome_xml: str | None, imagej_meta: Mapping[str, object] | None, resolution: tuple[object, object]) -> FileSays:
    """Return what a TIFF's texts state together; OME, the stricter format, is heard first."""
    heard = _Listener()
    if ome_xml:
        ome(ome_xml, heard)
    if imagej_meta:
        imagej(imagej_meta, resolution, heard)
    return heard.says()
