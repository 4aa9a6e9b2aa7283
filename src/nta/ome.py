"""OME-XML of a TIFF -> statements of its calibration."""

from __future__ import annotations

import math
from xml.etree import ElementTree

from nta.metadata import METRE_UM, NO_UNIT, SECOND_S, Listener, median, number, unit_of


def hear_ome(heard: Listener, xml: str) -> None:
    """Hear what OME-XML states of its first image; a text that is cut states nothing.

    The frame interval is `TimeIncrement`, else the planes' `DeltaT`.
    """
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError:
        return
    image = next((e for e in root if _tag(e) == "Image"), None)
    pixels = next((e for e in image if _tag(e) == "Pixels"), None) if image is not None else None
    if image is None or pixels is None:
        return
    for axis in "XY":
        given = pixels.get(f"PhysicalSize{axis}")
        unit = unit_of(pixels.get(f"PhysicalSize{axis}Unit", "um"))
        if given is None or unit in NO_UNIT:
            continue
        value, where, shown = number(given) * METRE_UM.get(unit, math.nan), f"OME PhysicalSize{axis}", _with_unit(given, unit, "um")
        if axis == "X":
            heard.hear("pixel_size_um", value, where, shown)
        else:
            heard.hear_height(value, where, shown)
    given = pixels.get("TimeIncrement")
    if given is not None:
        unit = unit_of(pixels.get("TimeIncrementUnit", "s"))
        heard.hear_interval(number(given) * SECOND_S.get(unit, math.nan), "OME TimeIncrement", _with_unit(given, unit, "s"))
    _planes(heard, pixels)
    for environment in (e for e in image if _tag(e) == "ImagingEnvironment"):
        given = environment.get("Temperature")
        if given is not None:
            heard.hear_temperature(number(given), unit_of(environment.get("TemperatureUnit", "c")), "OME Temperature", given)
    given = pixels.get("SignificantBits")
    if given is not None:
        heard.hear_bits(number(given), "OME SignificantBits", given)


def _tag(element: ElementTree.Element) -> str:
    return element.tag.rsplit("}", 1)[-1]


def _with_unit(given: str, unit: str, default: str) -> str:
    return given if unit == default else f"{given} {unit}"


def _planes(heard: Listener, pixels: ElementTree.Element) -> None:
    """Take frame interval and exposure from the planes of the axis that is time."""
    planes = [e for e in pixels if _tag(e) == "Plane"]
    sizes = {axis: number(pixels.get(f"Size{axis}", "1")) for axis in "TZC"}
    time = next((axis for axis in "TZC" if sizes[axis] > 1), "T")
    line = [p for p in planes if all(p.get(f"The{axis}", "0") == "0" for axis in "TZC" if axis != time)]
    line.sort(key=lambda p: number(p.get(f"The{time}", "0")))
    heard.hear_stamps([_seconds(p, "DeltaT") for p in line if p.get("DeltaT") is not None], "OME DeltaT")
    exposures = [_seconds(p, "ExposureTime") * 1e3 for p in line if p.get("ExposureTime") is not None]
    if exposures:
        value = median(exposures)
        heard.hear("exposure_ms", value, "OME ExposureTime", f"{value:g} ms")


def _seconds(plane: ElementTree.Element, name: str) -> float:
    unit = unit_of(plane.get(f"{name}Unit", "s"))
    return number(plane.get(name)) * SECOND_S.get(unit, math.nan)
