"""TOML -> Recipe: what a simulated video shows, every value checked by name, unit and range."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from nta import medium
from nta.errors import UsageError
from nta.settings import nearest_hint

BITS = (8, 10, 12, 14, 16)
POLARITIES = ("bright", "dark")


@dataclass(frozen=True)
class Population:
    """One kind of particle: log-normal in diameter about the median `diameter_nm`; `gsd` 1 is exactly one size.

    `fraction` is its number fraction; the fractions of a recipe are scaled to sum to 1.
    """

    diameter_nm: float
    gsd: float = 1.0
    fraction: float = 1.0


@dataclass(frozen=True)
class Recipe:
    """What to film: units in the names; greys are camera grey levels; docs/formats.md has a line on every key.

    `in_view` is the mean number of particles with their centre in the field and within `truth_depth_um` (the light sheet's depth
    unless given). The sheet is Gaussian in depth, `sheet_depth_um` wide from -1 to +1 standard deviation.
    """

    populations: tuple[Population, ...]
    name: str = "simulation"
    # the film
    width_px: int = 640
    height_px: int = 480
    n_frames: int = 600
    bits: int = 8
    pixel_size_um: float = 0.166
    fps: float = 25.0
    exposure_ms: float = 15.0
    dropped_frames: float = 0.0
    duplicated_frames: float = 0.0
    # the sample, and how it moves
    temperature_c: float = 25.0
    medium: str = "water"
    viscosity_mpas: float | None = None
    in_view: float = 60.0
    clumps: float = 0.0
    confined_fraction: float = 0.0
    confinement_um: float = 0.2
    directed_fraction: float = 0.0
    directed_um_s: float = 5.0
    drift_um_s: tuple[float, float] = (0.4, 0.3)
    drift_change_um_s: tuple[float, float] = (0.0, 0.0)
    convection_um_s: float = 0.0
    vibration_um: tuple[float, float] = (0.0, 0.0)
    vibration_hz: float = 50.0
    # the light
    sheet_depth_um: float = 8.0
    truth_depth_um: float | None = None
    spot_sigma_px: float = 1.4
    depth_of_focus_um: float = 6.0
    peak_at_100nm_grey: float = 40.0
    brightness_exponent: float = 6.0
    peak_cap_grey: float = 255.0
    polarity: str = "bright"
    flicker: float = 0.0
    # what stands still
    background_grey: float = 12.0
    background_variation: float = 0.3
    fringes_grey: float = 0.0
    fringes_period_px: float = 12.0
    dust: int = 0
    stuck_particles: int = 3
    # the camera
    hot_pixels: int = 20
    blinking_pixels: int = 0
    read_noise_grey: float = 1.5
    electrons_per_grey: float = 0.5
    saturation_grey: float | None = None
    seed: int = 0

    def viscosity(self) -> float:
        """Return the viscosity in mPa s: the recipe's own, or that of its medium at its temperature."""
        return self.viscosity_mpas if self.viscosity_mpas is not None else medium.viscosity_mpas(self.medium, self.temperature_c)

    def box_depth_um(self) -> float:
        """Return the depth of the box in which particles count as present, um."""
        return self.truth_depth_um if self.truth_depth_um is not None else self.sheet_depth_um

    def ceiling_grey(self) -> float:
        """Return the highest grey level a pixel can have."""
        return self.saturation_grey if self.saturation_grey is not None else 2.0**self.bits - 1


@dataclass(frozen=True)
class Range:
    """What a number may be: from `low`, or above it where that is `open`, to `high`."""

    low: float
    high: float
    open: bool = False
    whole: bool = False

    def allows(self, value: float) -> bool:
        """Tell whether `value` is one of those."""
        return self.low <= value <= self.high and not (self.open and value == self.low) and not (self.whole and value != int(value))

    def __str__(self) -> str:
        noun = "a whole number " if self.whole else ""
        if self.open:
            return f"{noun}above {self.low:g}" + (f" and at most {self.high:g}" if math.isfinite(self.high) else "")
        return f"{noun}from {self.low:g} to {self.high:g}"


_SHARE = Range(0, 1)
_COUNT = Range(0, 100_000, whole=True)
_SPEED = Range(-10_000, 10_000)
_LENGTH = Range(0, 10_000, open=True)
_GREY = Range(0, 1_000_000)
_SOME_GREY = Range(0, 10_000_000, open=True)
_SIDE = Range(32, 16_384, whole=True)

RANGES = {
    "width_px": _SIDE,
    "height_px": _SIDE,
    "n_frames": Range(2, 1_000_000, whole=True),
    "bits": Range(BITS[0], BITS[-1], whole=True),
    "pixel_size_um": Range(0, 100, open=True),
    "fps": Range(0, 1_000_000, open=True),
    "exposure_ms": Range(0, 1_000_000),
    "dropped_frames": Range(0, 0.9),
    "duplicated_frames": Range(0, 0.9),
    "temperature_c": Range(-50, 200),
    "viscosity_mpas": _LENGTH,
    "in_view": Range(0, 100_000, open=True),
    "clumps": _SHARE,
    "confined_fraction": _SHARE,
    "confinement_um": _LENGTH,
    "directed_fraction": _SHARE,
    "directed_um_s": Range(0, 10_000),
    "drift_um_s": _SPEED,
    "drift_change_um_s": _SPEED,
    "convection_um_s": Range(0, 10_000),
    "vibration_um": Range(-100, 100),
    "vibration_hz": Range(0, 1000, open=True),
    "sheet_depth_um": _LENGTH,
    "truth_depth_um": _LENGTH,
    "spot_sigma_px": Range(0, 100, open=True),
    "depth_of_focus_um": _LENGTH,
    "peak_at_100nm_grey": _SOME_GREY,
    "brightness_exponent": Range(0, 12),
    "peak_cap_grey": Range(0, math.inf, open=True),
    "flicker": _SHARE,
    "background_grey": _GREY,
    "background_variation": _SHARE,
    "fringes_grey": _GREY,
    "fringes_period_px": Range(2, 10_000),
    "dust": _COUNT,
    "stuck_particles": _COUNT,
    "hot_pixels": _COUNT,
    "blinking_pixels": _COUNT,
    "read_noise_grey": _GREY,
    "electrons_per_grey": Range(0, 1_000_000, open=True),
    "saturation_grey": Range(1, 65_535),
    "seed": Range(0, 2**63 - 1, whole=True),
}
_POPULATION_RANGES = {
    "diameter_nm": Range(0, 100_000, open=True),
    "gsd": Range(1, 10),
    "fraction": Range(0, math.inf, open=True),
}
_PAIRS = ("drift_um_s", "drift_change_um_s", "vibration_um")


def read_recipe(path: str | Path) -> Recipe:
    """Read a recipe in TOML: the fields of `Recipe` as keys, each population a ``[[populations]]`` table.

    Raises
    ------
    UsageError
        For a missing file, broken TOML, an unknown key or a value that cannot be; names key, value and what is allowed.
    """
    try:
        table = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"no such recipe: {path}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise UsageError(f"{path} is not a TOML recipe ({error})") from None
    table.setdefault("name", Path(path).stem)
    try:
        return make_recipe(**table)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None


def make_recipe(**table: Any) -> Recipe:
    """Build and check a recipe from plain values (`populations` a list of mappings); raises `UsageError` as `read_recipe`."""
    _known(table, (f.name for f in fields(Recipe)))
    raw = table.pop("populations", None)
    if not raw or not isinstance(raw, (list, tuple)):
        raise UsageError("needs at least one [[populations]] table with diameter_nm")
    populations = tuple(_population(entry) for entry in raw)
    given = {key: _value(key, value) for key, value in table.items() if value is not None}
    recipe = Recipe(populations=populations, **given)
    _check_together(recipe)
    return recipe


def _known(table: dict[str, Any], names: Iterable[str], where: str = "") -> None:
    known = set(names)
    for key in table:
        if key not in known:
            raise UsageError(f"unknown key {key!r}{where}{nearest_hint(key, sorted(known))}")


def _value(key: str, value: Any) -> Any:
    """Return a checked value in the type of its field."""
    if key in _PAIRS:
        if not (isinstance(value, (list, tuple)) and len(value) == 2):
            raise UsageError(f"{key} = {value!r} is not two numbers [x, y]")
        return tuple(float(_number(key, part, RANGES[key])) for part in value)
    if key in RANGES:
        number = _number(key, value, RANGES[key])
        return int(number) if RANGES[key].whole else float(number)
    if not isinstance(value, str):
        raise UsageError(f"{key} = {value!r} is not a text in quotes")
    return value


def _number(key: str, value: Any, allowed: Range) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
        raise UsageError(f"{key} = {value!r} is not a number")
    if not allowed.allows(value):
        raise UsageError(f"{key} = {value:g} must be {allowed}")
    return value


def _population(entry: Any) -> Population:
    if isinstance(entry, Population):
        return entry
    if not isinstance(entry, dict) or "diameter_nm" not in entry:
        raise UsageError("each [[populations]] table needs diameter_nm")
    _known(entry, _POPULATION_RANGES, " in [[populations]]")
    return Population(**{key: float(_number(f"populations: {key}", value, _POPULATION_RANGES[key])) for key, value in entry.items()})


def _check_together(recipe: Recipe) -> None:
    """Refuse values that contradict one another."""
    if recipe.bits not in BITS:
        raise UsageError(f"bits = {recipe.bits} is not one of {', '.join(map(str, BITS))}")
    if recipe.polarity not in POLARITIES:
        raise UsageError(f"polarity = {recipe.polarity!r} is not one of {', '.join(POLARITIES)}")
    try:
        recipe.viscosity()
    except UsageError as error:
        raise UsageError(f"medium = {recipe.medium!r} at temperature_c = {recipe.temperature_c:g}: {error}") from None
    if recipe.exposure_ms > 1000 / recipe.fps:
        raise UsageError(
            f"exposure_ms = {recipe.exposure_ms:g} is longer than a frame at fps = {recipe.fps:g}, which is {1000 / recipe.fps:g} ms"
        )
    if recipe.confined_fraction + recipe.directed_fraction > 1:
        raise UsageError(
            f"confined_fraction = {recipe.confined_fraction:g} and directed_fraction = {recipe.directed_fraction:g} are together above 1"
        )
    darkest = recipe.background_grey * (1 - recipe.background_variation)
    if recipe.fringes_grey > darkest:
        raise UsageError(
            f"fringes_grey = {recipe.fringes_grey:g} is more than the darkest background, {darkest:g}: "
            "background_grey * (1 - background_variation)"
        )
    if recipe.polarity == "dark" and recipe.background_grey == 0:
        raise UsageError("polarity = 'dark' needs background_grey above 0, or there is no light to take away")
    if recipe.ceiling_grey() > 2**recipe.bits - 1:
        raise UsageError(f"saturation_grey = {recipe.saturation_grey:g} is above what {recipe.bits} bits hold, {2**recipe.bits - 1}")
