"""Recipe -> Score: film what is known, analyse the file as anybody would, compare."""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from nta.errors import NtaError, UsageError
from nta.pipeline import analyze
from nta.recipe import Recipe, read_recipe
from nta.score import Score, find_score
from nta.settings import nearest_hint
from nta.simulate import Simulation, write_video

Progress = Callable[[str, int, int], None]


def suite() -> dict[str, Path]:
    """Return the standard recipes, name -> path, in alphabetical order."""
    return {path.stem: path for path in sorted(Path(str(files("nta") / "recipes")).glob("*.toml"))}


def find_recipe(given: str) -> Recipe:
    """Return the recipe in the file `given`, else the standard one of that name.

    Raises
    ------
    UsageError
        For neither, or a recipe that cannot be.
    """
    known = suite()
    if not Path(given).suffix and not Path(given).exists() and given not in known:
        raise UsageError(f"{given}: neither a recipe's file nor a standard recipe{nearest_hint(given, known)}")
    recipe = read_recipe(given if Path(given).is_file() else known.get(given, given))
    if recipe.name.startswith(".") or set(recipe.name) & set("/\\"):
        raise UsageError(f"{given}: name = {recipe.name!r} is not the name of a file")
    return recipe


def validate(recipe: Recipe, seed: int, *, keep: Path | None = None, threads: int | None = None, progress: Progress | None = None) -> Score:
    """Simulate `recipe` with `seed` into a lossless file, analyse that with default settings, and judge the result.

    Parameters
    ----------
    keep : folder in which the video stays, and is found again; a temporary one unless given
    threads : as of `pipeline.analyze`
    progress : called as ``progress(stage, done, total)``

    Raises
    ------
    UsageError
        When `keep` holds a video of that name made by another recipe, or by an nta that moved its particles otherwise.
    NtaError
        When the video cannot be analysed.
    """
    with tempfile.TemporaryDirectory(prefix="nta-") as scratch:
        video = _place(keep or Path(scratch), recipe, seed)
        start = time.perf_counter()
        if not _is_there(video, recipe, seed):
            _film(recipe, seed, video, progress)
        filmed = time.perf_counter()
        # all else is in the file
        result = analyze(video, medium=recipe.medium, viscosity_mpas=recipe.viscosity_mpas, threads=threads, progress=progress)
        analysed = time.perf_counter()
        score = find_score(result, Simulation(recipe, seed))
        if not math.isclose(score.present_per_frame, _truth(video)["present"]["mean_in_view"], rel_tol=1e-9):
            raise UsageError(f"--keep: {video} was filmed by another version of nta; give another folder, or delete it")
    return replace(score, simulate_s=filmed - start, analyze_s=analysed - filmed)


def check_kept(recipes: Iterable[Recipe], seeds: int, keep: Path | None) -> None:
    """Raise `UsageError` for a folder of kept videos that holds one of another recipe."""
    for recipe in recipes:
        for seed in range(recipe.seed, recipe.seed + seeds):
            if keep is not None:
                _is_there(_place(keep, recipe, seed), recipe, seed)


def _place(folder: Path, recipe: Recipe, seed: int) -> Path:
    return folder / f"{recipe.name}_{seed}.tif"


def _film(recipe: Recipe, seed: int, video: Path, progress: Progress | None) -> None:
    try:
        write_video(recipe, seed, video, progress)
    except OSError as error:
        raise NtaError(f"{video}: cannot be written ({error.strerror or error}); see --keep") from error


def _is_there(video: Path, recipe: Recipe, seed: int) -> bool:
    """Tell whether `video` was made before, by the same recipe and seed."""
    if not video.exists():
        return False
    try:
        truth = _truth(video)
        same = truth["recipe"] == json.loads(json.dumps(asdict(recipe))) and truth["seed"] == seed
    except (OSError, ValueError, KeyError, TypeError):
        same = False
    if not same:
        raise UsageError(f"--keep: {video} is not a video of the recipe {recipe.name} as it is; give another folder, or delete it")
    return True


def _truth(video: Path) -> dict[str, Any]:
    return json.loads(video.with_name(f"{video.stem}_truth.json").read_text(encoding="utf-8"))
