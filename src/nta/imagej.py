"""ImageJ description of a TIFF -> statements of its calibration."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from nta.metadata import METRE_UM, NO_UNIT, SECOND_S, Listener, number, unit_of


def hear_imagej(heard: Listener, meta: Mapping[str, object], resolution: tuple[object, object]) -> None:
    """Hear what an ImageJ description states.

    Parameters
    ----------
    heard : takes the statements
    meta : the description's keys (``unit, finterval, tunit, fps ...``) and ``Info``, ImageJ's free text
    resolution : the TIFF tags XResolution and YResolution, each a (pixels, units) fraction or None; they count only where ImageJ states
        a `unit`, since a resolution alone is a printer's
    """
    unit = unit_of(meta.get("unit", ""))
    if unit not in NO_UNIT:
        if unit in METRE_UM:
            height_unit = unit_of(meta.get("yunit", unit))
            heard.hear("pixel_size_um", _per(resolution[0], METRE_UM[unit]), "ImageJ resolution", _fraction(resolution[0], unit))
            if resolution[1] is not None and height_unit in METRE_UM:
                heard.hear_height(_per(resolution[1], METRE_UM[height_unit]), "ImageJ YResolution", _fraction(resolution[1], height_unit))
        else:
            heard.refuse("pixel_size_um", "ImageJ unit", repr(meta["unit"]), "not a unit of length that is known here")
    if "finterval" in meta:
        given = meta["finterval"] if "tunit" not in meta else f"{meta['finterval']} {meta['tunit']}"
        unit_s = SECOND_S.get(unit_of(meta.get("tunit", "s")), math.nan)
        heard.hear_interval(number(meta["finterval"]) * unit_s, "ImageJ finterval", given)
    if "fps" in meta:
        caveat = f"the frame rate {meta['fps']} is ImageJ's playback rate; give --fps if the camera's was another"
        heard.hear("fps", number(meta["fps"]), "ImageJ fps", meta["fps"], caveat)
    for line in str(meta.get("Info", "")).splitlines():
        _info_line(heard, line)


def _per(fraction: object, unit_um: float) -> float:
    """Return the pixel size in um of a (pixels, units) fraction; NaN for 0 pixels or no fraction."""
    if not isinstance(fraction, tuple) or len(fraction) != 2 or not fraction[0]:
        return math.nan
    return float(fraction[1] / fraction[0]) * unit_um


def _fraction(fraction: object, unit: str) -> str:
    return f"{fraction[0]}/{fraction[1]} pixels per {unit}" if isinstance(fraction, tuple) else "(none)"


_INFO = re.compile(
    r"\s*(?P<key>exposure_ms|exposure(?:[ _-]?time)?|temperature_c|temperature)\s*[:=]\s*"
    r"(?P<value>[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?|nan|[-+]?inf)\s*(?P<unit>[a-zµμ° ]*?)\s*",
    re.IGNORECASE | re.ASCII,
)


def _info_line(heard: Listener, line: str) -> None:
    """Take ``Exposure = 15 ms`` or ``temperature_c = 25``; a line that leaves its unit to be guessed is passed over."""
    match = _INFO.fullmatch(line)
    if match is None:
        return
    key, given, unit = match["key"].lower(), f"{match['value']} {match['unit']}".strip(), unit_of(match["unit"])
    value = number(match["value"])
    if key.startswith("exposure"):
        if key == "exposure_ms":
            unit = unit or "ms"
        if unit in SECOND_S:
            heard.hear("exposure_ms", value * SECOND_S[unit] * 1e3, f"ImageJ Info {match['key']}", given)
        return
    heard.hear_temperature(value, unit, f"ImageJ Info {match['key']}", given)
