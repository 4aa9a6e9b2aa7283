"""Particles held in a trap or carried among freely diffusing ones: how many are found, how many of the others are lost, what D50 says.

``python benchmarks/strange_tracks.py [--quick]`` prints Markdown tables, of tracks in a slab of light (`slab.py`) without pixels.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

import bench
import numpy as np
import slab
from bench import say

from nta.sizes import POOR

SAMPLES: dict[str, Any] = {
    "100 nm": lambda rng, n: np.full(n, 100.0),
    "200 nm": lambda rng, n: np.full(n, 200.0),
    "vesicles": lambda rng, n: 100 * np.exp(0.5 * rng.normal(size=n)),
    "50-800 nm": lambda rng, n: np.exp(rng.uniform(np.log(50), np.log(800), n)),
}
SUB_STEPS = 8  # of an exposure, in a trap
LOST_BAR = 0.02


@dataclass(frozen=True)
class Strange:
    """Particles of one size: in a trap of a standard deviation along each axis, or with a velocity; tracks of so many frames."""

    size_nm: float
    trap_um: float
    velocity_um_s: float
    frames: tuple[int, int]

    @property
    def name(self) -> str:
        how = f"held in {self.trap_um:g} um" if self.trap_um else f"carried at {self.velocity_um_s:g} um/s"
        return f"{self.size_nm:g} nm {how}, {self.frames[0]}-{self.frames[1]} frames"


KINDS = (
    Strange(100.0, 0.1, 0.0, (30, 200)),
    Strange(100.0, 0.2, 0.0, (30, 30)),
    Strange(100.0, 0.2, 0.0, (30, 200)),
    Strange(100.0, 0.4, 0.0, (30, 200)),
    Strange(100.0, 0.0, 5.0, (30, 200)),
    Strange(100.0, 0.0, 5.0, (200, 400)),
    Strange(100.0, 0.0, 15.0, (10, 60)),
    Strange(300.0, 0.0, 5.0, (30, 200)),
)


def path_um(kind: Strange, n: int, rng: np.random.Generator) -> np.ndarray:
    """Return means over the exposure of a path, (n, 2) um."""
    d, dark = slab.STOKES_EINSTEIN_UM2_S_NM / kind.size_nm, 1 / slab.FPS - slab.EXPOSURE_S
    if not kind.trap_um:
        shape = n, 2
        lit = rng.normal(scale=np.sqrt(2 * d * slab.EXPOSURE_S), size=shape)
        end = np.cumsum(lit + rng.normal(scale=np.sqrt(2 * d * dark), size=shape), axis=0)
        mean = np.vstack([np.zeros((1, 2)), end[:-1]]) + lit / 2 + rng.normal(scale=np.sqrt(d * slab.EXPOSURE_S / 6), size=shape)
        angle = rng.uniform(0, 2 * np.pi)
        return mean + kind.velocity_um_s * np.arange(n)[:, None] / slab.FPS * np.array([np.cos(angle), np.sin(angle)])
    at, seen = kind.trap_um * rng.normal(size=2), np.zeros((n, 2))
    for frame in range(n):
        for time in [slab.EXPOSURE_S / SUB_STEPS] * SUB_STEPS + [dark]:
            kept = np.exp(-time * d / kind.trap_um**2)
            at = kept * at + kind.trap_um * np.sqrt(1 - kept**2) * rng.normal(size=2)
            seen[frame] += at / SUB_STEPS if time != dark else 0.0
    return seen


def with_strange(shot: slab.Shot, kind: Strange, n: int, rng: np.random.Generator) -> slab.Shot:
    """Return the tracks of `shot`, and after them `n` of a kind, whose size is NaN."""
    columns: dict[str, list[np.ndarray]] = {name: [getattr(shot, name)] for name in ("x_um", "y_um", "frame", "sd_um", "snr")}
    count = []
    sd = slab.REST_SD_UM * np.sqrt(1 + slab.STOKES_EINSTEIN_UM2_S_NM / kind.size_nm * slab.EXPOSURE_S / slab.SPOT_UM**2)
    for _ in range(n):
        length = int(rng.integers(kind.frames[0], kind.frames[1] + 1))
        at = path_um(kind, length, rng) + sd * rng.normal(size=(length, 2)) + rng.uniform(size=2) * slab.FIELD_UM
        first = rng.integers(0, slab.N_FRAMES - length + 1)
        rows = (at[:, 0], at[:, 1], first + np.arange(length), np.full(length, sd), 20 + rng.normal(size=length))
        for column, row in zip(columns.values(), rows, strict=True):
            column.append(row)
        count.append(length)
    return slab.Shot(
        **{name: np.concatenate(rows) for name, rows in columns.items()},
        start=np.append(shot.start, shot.start[-1] + np.cumsum(count)),
        particle=np.append(shot.particle, np.full(n, -1)),
        size_nm=np.append(shot.size_nm, np.full(n, np.nan)),
        scene=shot.scene,
    )


def row(sample: str, name: str, shot: slab.Shot) -> str:
    """Size the tracks, and return a row of a table."""
    diffusion, _, distribution = slab.size(shot)
    strange = np.isnan(shot.size_nm[diffusion.track])
    taken = distribution.outlier > 0.5
    lost = float(taken[~strange].any(axis=1).mean())
    d10, d50, d90 = (distribution.statistic(q).value for q in ("d10", "d50", "d90"))
    poor = diffusion.p_fit < POOR
    found = (strange.sum(), taken[strange, 3].sum(), taken[strange, 2].sum(), taken[strange, :2].sum(), poor[strange].sum())
    cells = (*found, f"{100 * lost:.2f}", f"{100 * poor[~strange].mean():.2f}", f"{d10:.1f}, {d50:.1f}, {d90:.1f}")
    return bench.row(sample, name, *cells, bench.verdict(lost <= LOST_BAR))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    bench.one_thread()
    say(bench.environment())
    names = ("strange tracks", "confined", "directed", "other flags", "poor fit", "others lost, %", "others poor, %", "D10, D50, D90, nm")
    say(bench.head("sample", "with", *names, "bar"))
    for sample, draw in list(SAMPLES.items())[: 1 if quick else None]:
        shot = slab.shoot(draw, slab.Scene(), 200 if quick else 1000, 0)
        say(row(sample, "none", shot))
        for kind in KINDS[:: 4 if quick else 1]:
            say(row(sample, kind.name, with_strange(shot, kind, 10 if quick else 50, np.random.default_rng(1))))


if __name__ == "__main__":
    main()
