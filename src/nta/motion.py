"""Recipe -> where the particles are in each exposure: Brownian motion, flow and traps in an open reservoir.

All particles are independent, so that at any moment they are spread evenly and by chance: a Poisson process of the recipe's density.
The reservoir is a part of that. Whoever leaves it is gone, and whoever comes in is drawn afresh from the sample, at the rates at which
particles of each size do: those of a layer around the reservoir are drawn every frame, moved by it, and kept if that brought them
in. Sizes and numbers inside are then those of the sample at any time, however fast the flow, and nobody is seen twice who would not be.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np

from nta import physics
from nta.recipe import Recipe

SUBSTEPS = 8  # at least; the light of an exposure is drawn at as many places, each the particle's mean over its part of the time
SUBSTEPS_A_SWING = 4  # and as many to a period of the vibration
REACH_SD = 6.0  # how far a step can lead, in standard deviations of the fastest particle's
CLUMP_SIZE = 1.392  # hydrodynamic diameter of two touching spheres in spheres' diameters, over all orientations; docs/theory.md, section 11
CLUMP_TURN = 3.74  # their rotational friction about a short axis, in that of one sphere; the same


@dataclass
class Particles:
    """Who is in the reservoir; rows are particles.

    Attributes
    ----------
    number : (n,) int64, unique over the film
    at_um : (n, 3), x, y, z from the centre of the field and of the light
    diameter_nm : (n,) hydrodynamic diameter
    sphere_nm : (n,) diameter of what scatters: the particle, or each half of a clump
    diffusion_um2_s : (n,)
    anchor_um : (n, 3), centre of the trap of a confined one; NaN for all others
    own_um_s : (n, 2), own velocity
    clump : (n,) bool
    axis : (n, 3), unit vector from half to half of a clump
    """

    number: np.ndarray
    at_um: np.ndarray
    diameter_nm: np.ndarray
    sphere_nm: np.ndarray
    diffusion_um2_s: np.ndarray
    anchor_um: np.ndarray
    own_um_s: np.ndarray
    clump: np.ndarray
    axis: np.ndarray

    def __len__(self) -> int:
        return len(self.number)

    @property
    def loose(self) -> np.ndarray:
        """Return (n,) bool: who is not held in a trap."""
        return np.isnan(self.anchor_um[:, 0])

    def only(self, chosen: np.ndarray) -> Particles:
        """Return those that `chosen` (a mask) says."""
        return Particles(*(getattr(self, f.name)[chosen] for f in fields(self)))

    def and_also(self, others: Particles) -> Particles:
        """Return these and `others`."""
        return Particles(*(np.concatenate([getattr(self, f.name), getattr(others, f.name)]) for f in fields(self)))


@dataclass(frozen=True)
class Exposure:
    """Where the particles were while the shutter was open, in the frame of the cell.

    Attributes
    ----------
    number, diameter_nm, sphere_nm, clump : as in `Particles`
    path_um : (n_substeps, n, 3), mean position over each sub-step
    axis : (n_substeps, n, 3), the clumps' axes in the middle of each
    """

    number: np.ndarray
    diameter_nm: np.ndarray
    sphere_nm: np.ndarray
    clump: np.ndarray
    path_um: np.ndarray
    axis: np.ndarray

    def mean_um(self) -> np.ndarray:
        """Return (n, 3): the mean position over the exposure."""
        return np.asarray(self.path_um.mean(axis=0))


def draw_diameters(recipe: Recipe, rng: np.random.Generator, n: int) -> np.ndarray:
    """Draw `n` diameters in nm from the recipe's populations, clumps not considered."""
    share = np.array([p.fraction for p in recipe.populations])
    which = rng.choice(len(share), size=n, p=share / share.sum())
    median = np.array([p.diameter_nm for p in recipe.populations])[which]
    log_sd = np.log([p.gsd for p in recipe.populations])[which]
    return median * np.exp(log_sd * rng.normal(size=n))


def substeps(recipe: Recipe) -> int:
    """Return the number of parts in which an exposure is drawn."""
    swings = recipe.vibration_hz * recipe.exposure_ms / 1000 if any(recipe.vibration_um) else 0.0
    return max(SUBSTEPS, math.ceil(SUBSTEPS_A_SWING * swings)) if recipe.exposure_ms > 0 else 1


def vibration_um(recipe: Recipe, start_s: float, phase: float) -> np.ndarray:
    """Return (n_substeps, 2): how far the shaking cell is off in x and y, the mean over each sub-step of an exposure from `start_s` on."""
    n = substeps(recipe)
    omega, exposure_s = 2 * math.pi * recipe.vibration_hz, recipe.exposure_ms / 1000
    edge = omega * (start_s + exposure_s * np.arange(n + 1) / n) + phase
    swing = -np.diff(np.cos(edge)) / (omega * exposure_s / n) if exposure_s > 0 else np.sin(edge[:1])
    return swing[:, None] * np.array(recipe.vibration_um)


class Motion:
    """The particles of a film, moved from exposure to exposure; iterate `exposures` once."""

    def __init__(self, recipe: Recipe, rng: np.random.Generator) -> None:
        self.recipe, self.rng = recipe, rng
        field = np.array([recipe.width_px, recipe.height_px]) * recipe.pixel_size_um
        box = np.array([*field, recipe.box_depth_um()])
        self.density_um3 = recipe.in_view / box.prod()
        step = self._longest_step_um()
        # nobody is seen who came in since the last frame: the light ends at 4.5 SD of the sheet, and spots fade with their widening
        widening = math.sqrt(1 + (recipe.sheet_depth_um / recipe.depth_of_focus_um) ** 2)
        reach = 4.5 * recipe.spot_sigma_px * recipe.pixel_size_um * widening + np.abs(recipe.vibration_um)
        lit = np.array([*(box[:2] + 2 * reach), max(4.5 * recipe.sheet_depth_um, box[2])])
        self.reservoir_um = lit + 2 * step
        self.surroundings_um = self.reservoir_um + 2 * step
        self._next_number = 0
        self._eddy_phase = rng.uniform(0, 2 * math.pi, 2)
        self._eddy_um = field
        self.particles = self._draw(self.reservoir_um)

    def _longest_step_um(self) -> np.ndarray:
        """Return (3,): how far a particle may come in one frame along each axis."""
        recipe = self.recipe
        smallest = min(p.diameter_nm / p.gsd**2 for p in recipe.populations)
        random = REACH_SD * math.sqrt(2 * physics.diffusion_um2_s(smallest, recipe.temperature_c, recipe.viscosity()) / recipe.fps)
        own = recipe.directed_um_s if recipe.directed_fraction > 0 else 0.0
        flow = np.maximum(np.abs(recipe.drift_um_s), np.abs(np.add(recipe.drift_um_s, recipe.drift_change_um_s)))
        return random + np.array([*(flow + own + recipe.convection_um_s), 0.0]) / recipe.fps

    def exposures(self) -> Iterator[Exposure]:
        """Yield an exposure for each of the recipe's frames, lost ones and repeated ones included."""
        recipe = self.recipe
        n, dt_s, exposure_s = substeps(recipe), 1 / recipe.fps, recipe.exposure_ms / 1000
        for frame in range(recipe.n_frames):
            start_s, who = frame * dt_s, self.particles
            path, axis = [], []
            for i in range(n):
                path.append(self._move(who, start_s + i * exposure_s / n, exposure_s / n))
                axis.append(who.axis.copy())
            yield Exposure(who.number, who.diameter_nm, who.sphere_nm, who.clump, np.stack(path), np.stack(axis))
            self._move(who, start_s + exposure_s, dt_s - exposure_s)
            self._exchange(start_s, dt_s)

    def _draw(self, sides_um: np.ndarray, but_not_um: np.ndarray | None = None) -> Particles:
        """Return new particles evenly spread in a box of `sides_um` about the origin, without those in the box `but_not_um` within it."""
        recipe, rng = self.recipe, self.rng
        at = (rng.random((rng.poisson(self.density_um3 * sides_um.prod()), 3)) - 0.5) * sides_um
        if but_not_um is not None:
            at = at[np.any(np.abs(at) >= but_not_um / 2, axis=1)]
        n = len(at)
        sphere = draw_diameters(recipe, rng, n)
        clump = rng.random(n) < recipe.clumps
        diameter = np.where(clump, CLUMP_SIZE, 1.0) * sphere
        kind = rng.random(n)
        confined = kind < recipe.confined_fraction
        directed = (kind < recipe.confined_fraction + recipe.directed_fraction) & ~confined
        angle = rng.uniform(0, 2 * math.pi, n)
        anchor = np.where(confined[:, None], at, np.nan)
        at[confined] += recipe.confinement_um * rng.normal(size=(np.count_nonzero(confined), 3))
        axis = rng.normal(size=(n, 3))
        number = self._next_number + np.arange(n)
        self._next_number += n
        return Particles(
            number=number,
            at_um=at,
            diameter_nm=diameter,
            sphere_nm=sphere,
            diffusion_um2_s=physics.diffusion_um2_s(diameter, recipe.temperature_c, recipe.viscosity()),
            anchor_um=anchor,
            own_um_s=np.where(directed, recipe.directed_um_s, 0.0)[:, None] * np.column_stack([np.cos(angle), np.sin(angle)]),
            clump=clump,
            axis=axis / np.linalg.norm(axis, axis=1, keepdims=True),
        )

    def _exchange(self, start_s: float, dt_s: float) -> None:
        """Let go who left the reservoir during a frame, and let in who came."""
        inside = np.all(np.abs(self.particles.at_um) < self.reservoir_um / 2, axis=1)
        comers = self._draw(self.surroundings_um, self.reservoir_um)
        comers = comers.only(comers.loose)  # traps stay where they are: none comes in, none is lost
        self._move(comers, start_s, dt_s)
        arrived = np.all(np.abs(comers.at_um) < self.reservoir_um / 2, axis=1)
        self.particles = self.particles.only(inside | ~self.particles.loose).and_also(comers.only(arrived))

    def _move(self, who: Particles, start_s: float, lapse_s: float) -> np.ndarray:
        """Move `who` on by `lapse_s` in place; return (n, 3), their mean positions meanwhile: exact in free diffusion, traps and even flow.

        Half the convection comes before the random step and half after it (Strang splitting).
        """
        if lapse_s <= 0:
            return who.at_um.copy()
        self._stir(who, lapse_s / 2, (0, 1))
        mean = self._diffuse(who, lapse_s)
        self._stir(who, lapse_s / 2, (1, 0))
        self._turn(who, lapse_s)
        recipe = self.recipe
        middle = (start_s + lapse_s / 2) * recipe.fps / recipe.n_frames
        flow = np.array(recipe.drift_um_s) + middle * np.array(recipe.drift_change_um_s)
        carried = lapse_s * (flow + who.own_um_s) * who.loose[:, None]
        mean[:, :2] += carried / 2
        who.at_um[:, :2] += carried
        return mean

    def _stir(self, who: Particles, lapse_s: float, order: tuple[int, int]) -> None:
        """Carry along with the convection all but the confined."""
        recipe = self.recipe
        if recipe.convection_um_s == 0:
            return
        for along in order:
            # a shear, which keeps every volume; so an even density stays even, whatever the step
            across = 1 - along
            turns = 2 * math.pi * who.at_um[:, across] / self._eddy_um[across] + self._eddy_phase[across]
            who.at_um[:, along] += lapse_s * recipe.convection_um_s * who.loose * np.sin(turns)

    def _diffuse(self, who: Particles, lapse_s: float) -> np.ndarray:
        """Draw end and mean of a random step of `lapse_s` together, both exact; return the mean, (n, 3).

        Free: end and mean of a Brownian path have variances ``2 D t`` and ``2 D t / 3`` and the covariance ``D t`` (Berglund 2010).
        """
        one, two = self.rng.normal(size=(2, len(who), 3))
        one *= np.sqrt(2 * who.diffusion_um2_s * lapse_s)[:, None]
        two *= np.sqrt(who.diffusion_um2_s * lapse_s / 6)[:, None]
        mean, end = who.at_um + one / 2 + two, who.at_um + one
        held = ~who.loose
        if held.any():
            mean[held], end[held] = self._in_trap(who.only(held), lapse_s)
        who.at_um[:] = end
        return mean

    def _in_trap(self, who: Particles, lapse_s: float) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and end of a step of confined particles, (n, 3) each, without moving them.

        An Ornstein-Uhlenbeck process of SD ``s`` and time ``tau = s^2 / D``: with ``a = t / tau`` end and mean have the variances
        ``s^2 (1 - e^-2a)`` and ``s^2 (2a - 3 + 4 e^-a - e^-2a) / a^2`` and the covariance ``s^2 (1 - e^-a)^2 / a``.
        """
        s2 = self.recipe.confinement_um**2
        a = (who.diffusion_um2_s * lapse_s / s2)[:, None]
        gone = -np.expm1(-a)
        # for a short step that is a difference of nearly equal numbers: the series instead
        mean_var = s2 * np.where(a < 1e-3, 2 * a / 3 - a * a / 2, (2 * a - 2 * gone - gone * gone) / (a * a))
        end_sd = np.sqrt(s2 * -np.expm1(-2 * a))
        slope = s2 * gone * gone / a / end_sd
        one, two = self.rng.normal(size=(2, len(who), 3))
        off = who.at_um - who.anchor_um
        mean = who.anchor_um + off * gone / a + slope * one + np.sqrt(np.maximum(mean_var - slope**2, 0.0)) * two
        return mean, who.anchor_um + off * (1 - gone) + end_sd * one

    def _turn(self, who: Particles, lapse_s: float) -> None:
        """Turn the clumps' axes by rotational diffusion.

        By an angle of cosine ``U^s``, ``s = e^(2 D_r t) - 1``, ``U`` uniform from 0 to 1: for short steps a Gaussian one in both
        directions, and its mean, ``e^(-2 D_r t)``, is exact for all.
        """
        if not who.clump.any():
            return
        recipe = self.recipe
        # a sphere's rotational diffusion is three times its diffusion over its squared diameter
        sphere = physics.diffusion_um2_s(who.sphere_nm, recipe.temperature_c, recipe.viscosity())
        rate = 3 * sphere / (who.sphere_nm / 1000) ** 2 / CLUMP_TURN
        cosine = self.rng.random(len(who)) ** np.expm1(np.minimum(2 * rate * lapse_s, 50.0))
        aside = np.cross(who.axis, self.rng.normal(size=(len(who), 3)))
        aside *= (np.sqrt(1 - cosine**2) / np.linalg.norm(aside, axis=1))[:, None]
        who.axis[:] = cosine[:, None] * who.axis + aside
