"""The command line: parse, call, echo. One file a command; what is heavy is imported inside the bodies."""

from __future__ import annotations

import click

from nta import __version__
from nta.cli.analyze import analyze
from nta.cli.completion import completion
from nta.cli.exits import Guarded, run
from nta.cli.inspect import inspect
from nta.cli.simulate import simulate
from nta.cli.validate import validate

__all__ = ["cli", "main"]

_EXAMPLE = """\
nta analyze video.tif --pixel-size-um 0.166 --fps 25
nta analyze --help"""


@click.group("nta", cls=Guarded, example=_EXAMPLE, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "--version", "-V", message="%(prog)s %(version)s")
def cli() -> None:
    """Nanoparticle tracking analysis: sizes from videos of Brownian motion."""


cli.add_command(analyze)
cli.add_command(inspect)
cli.add_command(simulate)
cli.add_command(validate)
cli.add_command(completion)


def main() -> None:
    """Run the command line of this process."""
    run(cli)
