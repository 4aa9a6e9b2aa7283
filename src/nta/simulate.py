"""Recipe -> Video with known truth: three-dimensional Brownian motion through a light sheet, seen by a camera.

The reservoir is deeper and wider than what is lit, so that particles come and go on all sides.
"""

from __future__ import annotations

import itertools
import json
import math
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from nta import medium, physics
from nta.errors import UsageError
from nta.settings import nearest_hint

SUBSTEPS = 8  # positions averaged in one exposure; 8 leave 0.8 % of the blur unmodelled, 1 / (2 * 8^2)
MARGIN_SD = 6.0  # reservoir beyond the field, in units of the fastest particle's step between frames


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
    """What to film: units in the names; greys are camera grey levels.

    `in_view` is the mean number of particles with their centre in the field and within `truth_depth_um` (the light sheet's depth
    unless given). The sheet is Gaussian in depth, `sheet_depth_um` wide from -1 to +1 standard deviation.
    """

    populations: tuple[Population, ...]
    name: str = "simulation"
    width_px: int = 640
    height_px: int = 480
    n_frames: int = 600
    bits: int = 8
    pixel_size_um: float = 0.166
    fps: float = 25.0
    exposure_ms: float = 15.0
    temperature_c: float = 25.0
    viscosity_mpas: float | None = None
    in_view: float = 60.0
    sheet_depth_um: float = 8.0
    truth_depth_um: float | None = None
    spot_sigma_px: float = 1.4
    depth_of_focus_um: float = 6.0
    peak_at_100nm_grey: float = 40.0
    brightness_exponent: float = 6.0
    peak_cap_grey: float = 255.0
    background_grey: float = 12.0
    background_variation: float = 0.3
    read_noise_grey: float = 1.5
    electrons_per_grey: float = 0.5
    hot_pixels: int = 20
    stuck_particles: int = 3
    drift_um_s: tuple[float, float] = (0.4, 0.3)
    seed: int = 0

    def viscosity(self) -> float:
        """Return the viscosity in mPa s: the recipe's own, or that of water at its temperature."""
        return self.viscosity_mpas if self.viscosity_mpas is not None else medium.water_viscosity_mpas(self.temperature_c)

    def box_depth_um(self) -> float:
        """Return the depth of the box in which particles count as present, um."""
        return self.truth_depth_um if self.truth_depth_um is not None else self.sheet_depth_um


_POSITIVE = (
    "pixel_size_um fps in_view sheet_depth_um truth_depth_um spot_sigma_px depth_of_focus_um peak_at_100nm_grey peak_cap_grey "
    "electrons_per_grey viscosity_mpas"
).split()
_NOT_NEGATIVE = (
    "exposure_ms background_grey background_variation read_noise_grey hot_pixels stuck_particles brightness_exponent seed".split()
)
_WHOLE = "width_px height_px n_frames bits hot_pixels stuck_particles seed".split()
_AT_LEAST = {"width_px": 32, "height_px": 32, "n_frames": 2}


def read_recipe(path: str | Path) -> Recipe:
    """Read a recipe in TOML: the fields of `Recipe` as keys, each population a ``[[populations]]`` table.

    Raises
    ------
    UsageError
        For a missing file, broken TOML, an unknown key or a value that cannot be; names key and value.
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
    known = {f.name for f in fields(Recipe)}
    for key in table:
        if key not in known:
            raise UsageError(f"unknown key {key!r}{nearest_hint(key, known)}")
    raw = table.pop("populations", None)
    if not raw or not isinstance(raw, (list, tuple)):
        raise UsageError("needs at least one [[populations]] table with diameter_nm")
    populations = tuple(_population(entry) for entry in raw)
    if "drift_um_s" in table:
        drift = table["drift_um_s"]
        if not (isinstance(drift, (list, tuple)) and len(drift) == 2 and all(_is_number(v) for v in drift)):
            raise UsageError(f"drift_um_s = {drift!r} is not two numbers [x, y] in um/s")
        table["drift_um_s"] = (float(drift[0]), float(drift[1]))
    for key, value in table.items():
        if key in ("name", "drift_um_s") or value is None:
            continue
        if not _is_number(value):
            raise UsageError(f"{key} = {value!r} is not a number")
        if key in _POSITIVE and not value > 0:
            raise UsageError(f"{key} = {value:g} must be above 0")
        if key in _NOT_NEGATIVE and not value >= 0:
            raise UsageError(f"{key} = {value:g} must not be negative")
        if key in _WHOLE and key not in _AT_LEAST and value != int(value):
            raise UsageError(f"{key} = {value:g} must be a whole number")
        if key in _AT_LEAST and (value < _AT_LEAST[key] or value != int(value)):
            raise UsageError(f"{key} = {value:g} must be a whole number of at least {_AT_LEAST[key]}")
    table |= {key: int(table[key]) for key in _WHOLE if key in table}
    recipe = Recipe(populations=populations, **table)
    if recipe.bits not in (8, 12, 16):
        raise UsageError(f"bits = {recipe.bits} is not one of 8, 12, 16")
    if recipe.background_variation > 1:
        raise UsageError(f"background_variation = {recipe.background_variation:g} is not a share from 0 to 1")
    if recipe.temperature_c <= -physics.ZERO_CELSIUS_K:
        raise UsageError(f"temperature_c = {recipe.temperature_c:g} is not above absolute zero")
    recipe.viscosity()
    if recipe.exposure_ms > 1000 / recipe.fps:
        raise UsageError(f"exposure_ms = {recipe.exposure_ms:g} is longer than a frame at fps = {recipe.fps:g}")
    return recipe


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _population(entry: Any) -> Population:
    known = {f.name for f in fields(Population)}
    if isinstance(entry, Population):
        return entry
    if not isinstance(entry, dict) or "diameter_nm" not in entry:
        raise UsageError("each [[populations]] table needs diameter_nm")
    for key, value in entry.items():
        if key not in known:
            raise UsageError(f"unknown key {key!r} in [[populations]]{nearest_hint(key, known)}")
        if not _is_number(value) or value <= 0 or (key == "gsd" and value < 1):
            raise UsageError(f"populations: {key} = {value!r} must be {'at least 1' if key == 'gsd' else 'a number above 0'}")
    return Population(**entry)


@dataclass
class Simulation:
    """A video in the making: iterate `frames` once, then read the truth.

    `present_nm, present_frames`: diameters that were in the truth box, and for how many frames each.
    """

    recipe: Recipe
    seed: int
    present_nm: np.ndarray = field(default_factory=lambda: np.empty(0))
    present_frames: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))

    def frames(self) -> Iterator[np.ndarray]:
        """Yield the frames, (height_px, width_px) of uint8 or uint16, and count who is present."""
        from nta.kernels.render import add_gaussians

        recipe = self.recipe
        rng = np.random.default_rng(self.seed)
        dt_s, exposure_s = 1.0 / recipe.fps, recipe.exposure_ms / 1000.0
        box = np.array([recipe.width_px * recipe.pixel_size_um, recipe.height_px * recipe.pixel_size_um, recipe.box_depth_um()])
        density = recipe.in_view / box.prod()
        reservoir = self._reservoir_um(box)
        diameter = draw_diameters(recipe, rng, int(rng.poisson(density * reservoir.prod())))
        diffusion = physics.diffusion_um2_s(diameter, recipe.temperature_c, recipe.viscosity()) if len(diameter) else diameter
        position = (rng.random((len(diameter), 3)) - 0.5) * reservoir
        brightness = peak_grey(recipe, diameter)
        background, hot = self._scene(rng)
        ceiling = 2**recipe.bits - 1
        dtype = np.uint8 if recipe.bits == 8 else np.uint16
        n_sub = SUBSTEPS if exposure_s > 0 else 1
        sub_s = exposure_s / n_sub
        flow = np.array([*recipe.drift_um_s, 0.0])
        present = np.zeros(len(diameter), np.int64)
        for _ in range(recipe.n_frames):
            image = background.copy()
            for i in range(n_sub):
                # half a sub-step before and after, so that the positions sample the middle of each
                position += rng.normal(size=position.shape) * np.sqrt(diffusion * sub_s)[:, None] * (1.0 if i == 0 else math.sqrt(2.0))
                position += flow * sub_s * (0.5 if i == 0 else 1.0)
                _wrap(position, reservoir)
                self._draw(add_gaussians, image, position, brightness, n_sub)
                if i == n_sub // 2:
                    present += np.all(np.abs(position) < box / 2, axis=1)
            rest_s = dt_s - exposure_s + 0.5 * sub_s
            position += rng.normal(size=position.shape) * np.sqrt(2 * diffusion * rest_s)[:, None] + flow * rest_s
            electrons = rng.poisson(image * recipe.electrons_per_grey)
            grey = electrons / recipe.electrons_per_grey + rng.normal(size=image.shape) * recipe.read_noise_grey + hot
            # before the yield: a consumer that knows the number of frames never asks for what comes after the last
            self.present_nm, self.present_frames = diameter[present > 0], present[present > 0]
            yield np.clip(np.rint(grey), 0, ceiling).astype(dtype)

    def _reservoir_um(self, box: np.ndarray) -> np.ndarray:
        """Return the periodic reservoir's sides in um: the lit volume and a margin that a particle crosses unseen."""
        recipe = self.recipe
        smallest = min(p.diameter_nm / p.gsd**2 for p in recipe.populations)
        step = math.sqrt(2 * physics.diffusion_um2_s(smallest, recipe.temperature_c, recipe.viscosity()) / recipe.fps)
        margin = MARGIN_SD * step + 3.0
        lit_depth = max(4.5 * recipe.sheet_depth_um, box[2])
        return np.array([box[0] + 2 * margin, box[1] + 2 * margin, lit_depth + 2 * margin])

    def _scene(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return the still part of the light (uneven background, stuck particles) and the hot pixels, in grey levels."""
        from nta.kernels.render import add_gaussians

        recipe = self.recipe
        y, x = np.mgrid[-1 : 1 : recipe.height_px * 1j, -1 : 1 : recipe.width_px * 1j]
        shape = 0.5 * np.cos(1.6 * (x - 0.3)) * np.cos(1.4 * (y + 0.2)) + 0.25 * x - 0.25 * y
        shape = (shape - shape.mean()) / np.ptp(shape)
        background = recipe.background_grey * (1 + recipe.background_variation * shape)
        n = recipe.stuck_particles
        add_gaussians(
            background,
            rng.random(n) * recipe.width_px,
            rng.random(n) * recipe.height_px,
            np.full(n, recipe.spot_sigma_px),
            rng.uniform(0.2, 0.6, n) * min(recipe.peak_cap_grey, 2.0**recipe.bits),
        )
        hot = np.zeros((recipe.height_px, recipe.width_px))
        where = rng.integers(0, hot.size, recipe.hot_pixels)
        hot.flat[where] = rng.uniform(0.1, 0.8, recipe.hot_pixels) * 2.0**recipe.bits
        return background, hot

    def _draw(
        self, add_gaussians: Callable[..., None], image: np.ndarray, position: np.ndarray, brightness: np.ndarray, share: int
    ) -> None:
        """Add the light of one sub-step, `1 / share` of an exposure."""
        recipe = self.recipe
        widening = 1.0 + (position[:, 2] / recipe.depth_of_focus_um) ** 2
        # light is conserved: a spot that defocus widens is as much lower
        peak = brightness * np.exp(-0.5 * (position[:, 2] / (recipe.sheet_depth_um / 2)) ** 2) / widening / share
        lit = peak * share > 0.05
        column = position[lit, 0] / recipe.pixel_size_um + (recipe.width_px - 1) / 2
        row = position[lit, 1] / recipe.pixel_size_um + (recipe.height_px - 1) / 2
        add_gaussians(image, column, row, recipe.spot_sigma_px * np.sqrt(widening[lit]), peak[lit])

    def truth(self) -> dict[str, Any]:
        """Return the two truths: of the sample (the recipe) and of the particles present in the box, in plain values."""
        sample_nm, sample_weight = sample_distribution(self.recipe)
        total = self.present_frames.sum()
        return {
            "recipe": asdict(self.recipe),
            "seed": self.seed,
            "sample": _summary(sample_nm, sample_weight),
            "present": {
                **_summary(self.present_nm, self.present_frames),
                "particles": len(self.present_nm),
                "mean_in_view": float(total) / self.recipe.n_frames,
            },
        }


def _wrap(position: np.ndarray, sides: np.ndarray) -> None:
    position += sides / 2
    np.mod(position, sides, out=position)
    position -= sides / 2


def peak_grey(recipe: Recipe, diameter_nm: np.ndarray) -> np.ndarray:
    """Return the peak height in focus of a still particle, grey levels: a power of the diameter, softly capped."""
    free = recipe.peak_at_100nm_grey * (diameter_nm / 100.0) ** recipe.brightness_exponent
    return recipe.peak_cap_grey * -np.expm1(-free / recipe.peak_cap_grey)


def draw_diameters(recipe: Recipe, rng: np.random.Generator, n: int) -> np.ndarray:
    """Draw `n` diameters in nm from the recipe's populations."""
    share = np.array([p.fraction for p in recipe.populations])
    which = rng.choice(len(share), size=n, p=share / share.sum())
    median = np.array([p.diameter_nm for p in recipe.populations])[which]
    log_sd = np.log([p.gsd for p in recipe.populations])[which]
    return median * np.exp(log_sd * rng.normal(size=n))


def sample_distribution(recipe: Recipe, n: int = 4001) -> tuple[np.ndarray, np.ndarray]:
    """Return the sample truth as diameters in nm and number weights that sum to 1: `n` quantiles of each population."""
    from scipy.special import ndtri

    z = ndtri((np.arange(n) + 0.5) / n)
    share = np.array([p.fraction for p in recipe.populations]) / sum(p.fraction for p in recipe.populations)
    diameter = np.concatenate([p.diameter_nm * p.gsd**z if p.gsd > 1 else np.full(n, float(p.diameter_nm)) for p in recipe.populations])
    return diameter, np.repeat(share / n, n)


def _summary(diameter_nm: np.ndarray, weight: np.ndarray) -> dict[str, float | None]:
    """Return mean, sd, quantiles and default class fractions of a weighted set of diameters; ``None`` when it is empty."""
    keys = "mean_nm sd_nm d10_nm d50_nm d90_nm fraction_below_30 fraction_30_100 fraction_100_1000 fraction_above_1000".split()
    if not len(diameter_nm):
        return dict.fromkeys(keys)
    order = np.argsort(diameter_nm, kind="stable")
    d, w = diameter_nm[order], weight[order] / weight.sum()
    mean = float(np.sum(w * d))
    cumulative = np.cumsum(w)
    quantiles = [float(d[min(int(np.searchsorted(cumulative, q)), len(d) - 1)]) for q in (0.1, 0.5, 0.9)]
    edges = (0.0, 30.0, 100.0, 1000.0, math.inf)
    shares = [float(w[(d >= low) & (d < high)].sum()) for low, high in itertools.pairwise(edges)]
    return dict(zip(keys, [mean, math.sqrt(float(np.sum(w * (d - mean) ** 2))), *quantiles, *shares], strict=True))


def simulate(recipe: Recipe, seed: int | None = None) -> tuple[np.ndarray, Simulation]:
    """Film a recipe in memory: the frames, (n_frames, height_px, width_px), and the simulation with its truth."""
    simulation = Simulation(recipe, recipe.seed if seed is None else seed)
    return np.stack(list(simulation.frames())), simulation


def write_video(recipe: Recipe, seed: int | None, output: Path, progress: Callable[[str, int, int], None] | None = None) -> list[Path]:
    """Film `recipe` into ``<output>.tif`` (ImageJ TIFF, deflate) with ``<output>_truth.json`` and ``<output>_truth.csv``.

    The TIFF carries pixel size, frame interval, exposure and temperature. The CSV has a row per particle that was present:
    ``diameter_nm,frames_present``. Returns the paths written.
    """
    import tifffile

    simulation = Simulation(recipe, recipe.seed if seed is None else seed)
    base = output.with_suffix("") if output.suffix.lower() in (".tif", ".tiff") else output
    paths = [base.with_name(base.name + end) for end in (".tif", "_truth.json", "_truth.csv")]
    paths[0].parent.mkdir(parents=True, exist_ok=True)
    part = paths[0].with_name(f".{paths[0].name}.part")
    metadata = {
        "axes": "TYX",
        "unit": "um",
        "finterval": 1.0 / recipe.fps,
        "fps": recipe.fps,
        "Info": f"exposure_ms = {recipe.exposure_ms!r}\ntemperature_c = {recipe.temperature_c!r}\n",
    }

    def counted() -> Iterator[np.ndarray]:
        for i, image in enumerate(simulation.frames(), start=1):
            # before the yield: the writer never asks for what comes after the last frame
            if progress is not None:
                progress("simulate", i, recipe.n_frames)
            yield image

    try:
        tifffile.imwrite(
            part,
            counted(),
            shape=(recipe.n_frames, recipe.height_px, recipe.width_px),
            dtype=np.uint8 if recipe.bits == 8 else np.uint16,
            imagej=True,
            resolution=(1.0 / recipe.pixel_size_um, 1.0 / recipe.pixel_size_um),
            compression="zlib",
            metadata=metadata,
        )
        part.replace(paths[0])
    finally:
        part.unlink(missing_ok=True)
    paths[1].write_text(json.dumps(simulation.truth(), indent=2) + "\n", encoding="utf-8")
    rows = "".join(f"{d:.4f},{n}\n" for d, n in zip(simulation.present_nm, simulation.present_frames, strict=True))
    paths[2].write_text("diameter_nm,frames_present\n" + rows, encoding="utf-8")
    return paths
