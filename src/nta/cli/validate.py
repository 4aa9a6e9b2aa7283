"""``nta validate``: what an instrument could resolve, from videos whose truth is known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nta.cli.exits import SOME_FAILED, report
from nta.cli.options import debug_option, option, quiet_option, threads_option
from nta.cli.pages import Page
from nta.cli.progress import Callback, progress_bars
from nta.cli.voice import say, say_table
from nta.errors import UsageError

if TYPE_CHECKING:
    from nta.score import Score
    from nta.simulate import Recipe

_EXAMPLE = """\
nta validate my_microscope.toml --seeds 5
nta validate --suite -o scorecard"""

STANDARD = sorted(path.stem for path in (Path(__file__).parents[1] / "recipes").glob("*.toml"))
"""Names of the standard recipes."""

FILES = {"figure": "scorecard.png", "lines": "scorecard.csv", "videos": "videos.csv"}
"""What to look at first in a scorecard's folder."""


@click.command(cls=Page, example=_EXAMPLE)
@click.argument("recipes", metavar="[RECIPE...]", nargs=-1, type=click.Path())
@option("--suite", section="Input", is_flag=True, help=f"Take all standard recipes. [{', '.join(STANDARD)}]")
@option(
    "--seeds",
    section="Input",
    metavar="N",
    type=click.IntRange(min=1),
    default=3,
    help="Videos of each recipe; their seeds follow on the recipe's own, 0, 1, 2, ... where it names none. [at least 1; default: 3]",
)
@option(
    *("--output", "-o"),
    section="Output",
    metavar="DIR",
    type=click.Path(),
    default="nta_scorecard",
    help="Folder of the scorecard. [default: nta_scorecard]",
)
@option("--overwrite", section="Output", is_flag=True, help="Replace the scorecard of other recipes too.")
@option(
    "--keep",
    section="Output",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Folder in which the videos stay, with their truth; one that is there already is used again. [default: they are deleted]",
)
@option("--json", "as_json", section="Output", is_flag=True, help="Print the scorecard as JSON instead of tables.")
@threads_option
@quiet_option
@debug_option
def validate(
    recipes: tuple[str, ...],
    suite: bool,
    seeds: int,
    output: str,
    overwrite: bool,
    keep: Path | None,
    as_json: bool,
    threads: int | None,
    quiet: bool,
    debug: bool,
) -> int:
    """Simulate each RECIPE, analyse the video as any other, and say how far the answer is from the truth.

    A RECIPE is a TOML file as of nta simulate that describes your instrument and sample, or the name of a standard recipe. Tables and
    a figure go to DIR. On an ordinary computer a video of 600 frames takes about a minute.
    """
    from nta import scorecard, tables
    from nta.validate import check_kept

    films = find_recipes(recipes, suite)
    sha256 = scorecard.fingerprint(films, seeds)
    tables.check_folder(output, sha256, overwrite=overwrite, kind=scorecard.SCORECARD)
    check_kept(films, seeds, keep)
    scores: list[Score] = []
    for film in films:
        for seed in range(film.seed, film.seed + seeds):
            with progress_bars(f"[{len(scores) + 1}/{len(films) * seeds}] {film.name} {seed}", quiet=quiet) as progress:
                scores.append(score_one(film, seed, keep, threads, progress, debug=debug))
    scorecard.write_scorecard(scores, output, sha256, overwrite=overwrite)
    tell(scores, output, as_json=as_json, quiet=quiet)
    return SOME_FAILED if any(score.error for score in scores) else 0


def find_recipes(given: Sequence[str], suite: bool) -> list[Recipe]:
    """Return the recipes of a call; raises `UsageError` for none, for one that cannot be, and for two of one name."""
    from nta.validate import find_recipe

    if not given and not suite:
        raise UsageError("no RECIPE given; name files or standard recipes, or take --suite")
    found: dict[str, Recipe] = {}
    for one in [*given, *(STANDARD if suite else ())]:
        recipe = find_recipe(one)
        if found.setdefault(recipe.name, recipe) != recipe:
            raise UsageError(f"{one}: another recipe of this call is named {recipe.name!r} too; give one of them another name")
    return list(found.values())


def score_one(film: Recipe, seed: int, keep: Path | None, threads: int | None, progress: Callback | None, *, debug: bool) -> Score:
    """Validate with one video; what fails is a score too, with its message."""
    from nta.score import Score
    from nta.validate import validate

    try:
        return validate(film, seed, keep=keep, threads=threads, progress=progress)
    except Exception as error:
        return Score(film, seed, error=report(error, debug=debug, subject=f"{film.name}, seed {seed}")[1])


def tell(scores: Sequence[Score], output: str, *, as_json: bool, quiet: bool) -> None:
    """Print the tables and where the files are, or the scorecard as JSON."""
    from nta import scorecard
    from nta.tables import to_json

    if as_json:
        say(to_json(scorecard.summary(scores)))
    elif not quiet:
        say_table(scorecard.terminal_summary(scores))
        say("\n".join(["", *(f"{label:<10} {Path(output) / file}" for label, file in FILES.items())]))
