"""``nta simulate``: a video with known truth."""

from __future__ import annotations

from pathlib import Path

import click

from nta.cli.options import debug_option, option, quiet_option
from nta.cli.pages import Page
from nta.cli.progress import progress_bars
from nta.cli.voice import say
from nta.errors import NtaError, UsageError

_EXAMPLE = "nta simulate recipe.toml --seed 3 -o ev_100nm.tif"


@click.command(cls=Page, example=_EXAMPLE)
@click.argument("recipe", type=click.Path())
@option(
    "--output",
    "-o",
    section="Output",
    metavar="PATH",
    type=click.Path(),
    help="What to write: .tif, .ome.tif, .avi or .png; or the folder to write into. [default: the recipe's name .tif, in this folder]",
)
@option("--overwrite", section="Output", is_flag=True, help="Replace files that are there.")
@option("--seed", section="Run", metavar="N", type=click.IntRange(min=0), help="Seed of the random numbers. [default: the recipe's]")
@quiet_option
@debug_option
def simulate(recipe: str, output: str | None, overwrite: bool, seed: int | None, quiet: bool, debug: bool) -> None:
    """Film the particles of RECIPE: a video whose truth is known, without loss.

    The suffix of PATH decides the format: .tif for ImageJ, .ome.tif, .avi (FFV1), or .png for a folder of that name with a PNG a frame.
    The TIFFs hold pixel size, frame rate, exposure and temperature. Beside it come PATH_truth.csv (the particles that were present) and
    PATH_truth.json (the true distribution: of the sample, and of who was present), with the suffix left out.
    """
    from nta.simulate import output_paths, read_recipe, write_video

    film = read_recipe(recipe)
    place = video_path(output, Path(recipe).stem)
    paths, _ = output_paths(place)
    there = [path for path in paths if path.exists()]
    if there and not overwrite:
        raise UsageError(f"--output: {there[0]} is there already; give another -o or --overwrite")
    try:
        with progress_bars(place.name, quiet=quiet) as progress:
            write_video(film, seed, place, progress)
    except OSError as error:
        raise NtaError(f"{place}: cannot be written ({error.strerror or error}); give another -o") from error
    if not quiet:
        say("\n".join(str(path) for path in paths))


def video_path(output: str | None, stem: str) -> Path:
    """Return the path to write to: `output`, or `stem` in it when it is a folder, or in this one when not given."""
    if output is None:
        return Path(stem)
    return Path(output) / stem if output.endswith(("/", "\\")) or Path(output).is_dir() else Path(output)
