"""Nanoparticle tracking analysis: the sizes of particles from a video of their Brownian motion.

The flow, one stage a module::

    video     path -> Video          lazy frames, pixel size, frame rate
    spots     Video -> Spots         detection
    tracks    Spots -> Tracks        linking
    drift     Tracks -> Drift        common motion
    diffusion Tracks -> Diffusion    the likelihood of each track over the size grid
    sizes     Diffusion -> Sizes     diameter of each particle, with its interval
    distribution -> Distribution     deconvolved, number-weighted
    classes   -> Classes             fractions with intervals
    tables, figure, report           files a paper can use
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nta import simulate
    from nta.pipeline import analyze
    from nta.result import Result
    from nta.settings import Settings

__version__ = "0.1.0"
__all__ = ["Result", "Settings", "__version__", "analyze", "simulate"]

_HOME = {"analyze": "nta.pipeline", "Result": "nta.result", "Settings": "nta.settings"}


def __getattr__(name: str) -> Any:
    """Load a public name from its module on first use, so that ``import nta`` stays light."""
    if name == "simulate":  # the module: nta.simulate.read_recipe, nta.simulate.write_video
        return importlib.import_module("nta.simulate")
    if name not in _HOME:
        raise AttributeError(f"module 'nta' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
