"""NanoSight's `.nano` file beside a video -> FileSays: what the operator and the instrument's sensor told."""

from __future__ import annotations

import math
import re
from pathlib import Path

from nta.errors import Notice
from nta.metadata import FileSays, Listener, number, unit_of

_SECTION = "capturesettings"
_MOST_BYTES = 2**20  # such a file has a few kB; what is larger is something else
_NUMBER = r"[-+]?(?:\d+(?:[.,]\d*)?|[.,]\d+)(?:e[-+]?\d+)?|nan|[-+]?inf(?:inity)?"
_DEGREE = r"[°º]?\s*o?\s*(?:deg(?:rees?)?)?\s*(?:celsius|kelvin|fahrenheit|[ckf])\b"
_TEMPERATURE = re.compile(
    rf"(?<![\d.,])(?P<low>{_NUMBER})(?![.,]?\d)(?:\s*(?:-|–|to)\s*(?P<high>{_NUMBER}))?\s*(?P<unit>{_DEGREE})?", re.IGNORECASE | re.ASCII
)


def read_nano(path: Path) -> FileSays | None:
    """Return what the `.nano` file of the video `path` states; None where there is none.

    It is INI text; the section ``[CaptureSettings]`` holds ``PixelSize`` (nm: width, height, ...), ``FramesPerSecond``, ``Shutter`` (ms),
    ``Temperature`` (C) and ``Viscosity`` (cP).

    Parameters
    ----------
    path : the video; its file of settings has the same stem and the suffix ``.nano`` in any case
    """
    beside = _beside(path)
    if beside is None:
        return None
    try:
        with beside.open("rb") as file:
            raw = file.read(_MOST_BYTES + 1)
    except OSError as error:
        return _unused(f"{beside.name} cannot be read ({error.strerror}) and is not used")
    section = _section(_text(raw)) if len(raw) <= _MOST_BYTES else None
    if section is None:
        return _unused(f"{beside.name} has no section [CaptureSettings] and is not used")
    heard = Listener()
    if given := section.get("pixelsize"):
        # a comma stands between width and height, unless semicolons do
        width, *rest = (_scalar(part) for part in given.split(";" if ";" in given else ","))
        heard.hear("pixel_size_um", width / 1e3, ".nano PixelSize", given)
        if rest and "pixel_size_um" in heard.values:
            heard.hear_height(rest[0] / 1e3, ".nano PixelSize", given)
    for key, knob, name in (
        ("framespersecond", "fps", "FramesPerSecond"),
        ("shutter", "exposure_ms", "Shutter"),
        ("viscosity", "viscosity_mpas", "Viscosity"),
    ):
        if given := section.get(key):
            heard.hear(knob, _scalar(given), f".nano {name}", given)
    if given := section.get("temperature"):
        _temperature(heard, given)
    return heard.says()


def _beside(path: Path) -> Path | None:
    wanted = f"{path.stem}.nano".casefold()
    try:
        found = [p for p in path.parent.iterdir() if p.name.casefold() == wanted and p.is_file()]
    except OSError:
        return None
    # where several differ by case alone, the one with the video's own stem
    return min(found, key=lambda p: (p.stem != path.stem, p.name), default=None)


def _unused(text: str) -> FileSays:
    return FileSays(notices=(Notice("metadata_refused", text),))


def _text(raw: bytes) -> str:
    """Decode UTF-8, or UTF-16 with or without its mark, or else Windows' western code page."""
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return raw.decode("utf-16", errors="replace")
    if b"\0" in raw[:2]:
        return raw.decode("utf-16-be" if raw[:1] == b"\0" else "utf-16-le", errors="replace")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("cp1252", errors="replace")


def _section(text: str) -> dict[str, str] | None:
    """Return the capture settings by key in lower case, the first where one is repeated; None where the section is missing."""
    found: dict[str, str] | None = None
    inside = False
    for line in text.splitlines():
        line = re.split(r"\s[;#]|^[;#]", line.strip())[0].strip()
        if line.startswith("[") and line.endswith("]"):
            inside = line[1:-1].strip().casefold() == _SECTION
            found = {} if inside and found is None else found
        elif inside and found is not None and "=" in line:
            key, _, value = line.partition("=")
            found.setdefault(key.strip().casefold(), value.strip().strip('"').strip())
    return found


def _scalar(text: str) -> float:
    """Return one number, its decimals after a point, or after a comma where that cannot stand between thousands; else NaN."""
    text = text.strip()
    if re.fullmatch(r"[-+]?\d+,\d+", text, re.ASCII):
        whole, decimals = text.split(",")
        if len(decimals) == 3 and whole.lstrip("+-").strip("0"):
            return math.nan
    return number(text.replace(",", ".", 1)) if text.count(",") == 1 and "." not in text else number(text)


def _temperature(heard: Listener, given: str) -> None:
    """Take the first number, or the middle of ``22.4 - 22.6``; text after it, such as ``oC``, is passed over."""
    match = _TEMPERATURE.search(given)
    low = _scalar(match["low"]) if match else math.nan
    high = _scalar(match["high"]) if match and match["high"] else low
    unit = unit_of(match["unit"] or "") if match else ""
    heard.hear_temperature((low + high) / 2, unit, ".nano Temperature", given)
