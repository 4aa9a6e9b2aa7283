"""Write docs/cli.md from the help of every command: ``python docs/make_cli_reference.py``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
from click.testing import CliRunner

from nta.cli import cli

PAGE = Path(__file__).with_name("cli.md")
HEAD = """\
# Command line

What `nta` says of itself, written by `python docs/make_cli_reference.py`. Exit codes and use in scripts are in the
[README](../README.md), the files in [formats.md](formats.md). `python -m nta` is the same as `nta`.
"""


def commands(command: click.Command, *words: str) -> Iterator[tuple[str, ...]]:
    """Yield the words that call `command`, those of the group first, then of every command in it."""
    yield words
    if isinstance(command, click.Group):
        for name in sorted(command.commands):
            yield from commands(command.commands[name], *words, name)


def page_of(*words: str) -> str:
    """Return what ``nta ... --help`` prints, in 80 columns wherever this runs, without colours."""
    run = CliRunner().invoke(cli, [*words, "--help"], env={"NO_COLOR": "1"})
    assert run.exit_code == 0, run.output
    return run.stdout.rstrip()


def reference() -> str:
    """Return the text of docs/cli.md."""
    sections = [f"## {' '.join(['nta', *words])}\n\n```\n{page_of(*words)}\n```\n" for words in commands(cli)]
    return "\n".join([HEAD, *sections])


if __name__ == "__main__":
    PAGE.write_text(reference(), encoding="utf-8", newline="\n")
