"""What the command line says: results on stdout, everything else on stderr, one line each."""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING, TextIO

import click

if TYPE_CHECKING:
    from rich.console import RenderableType


def say(text: str) -> None:
    """Print `text`, a result, on stdout."""
    _write(text, sys.stdout)


def say_table(table: RenderableType) -> None:
    """Print a rich table on stdout; no colours and no padding when that is no terminal."""
    from rich.console import Console

    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else 100, highlight=False)
    with console.capture() as captured:
        console.print(table)
    say("\n".join(line.rstrip() for line in captured.get().splitlines()))


def error_line(message: str) -> None:
    """Print ``nta: error: ...`` on stderr."""
    _write(f"nta: {click.style('error:', fg='red', bold=True)} {one_line(message)}", sys.stderr)


def warning_line(message: str) -> None:
    """Print ``nta: warning: ...`` on stderr."""
    _write(f"nta: {click.style('warning:', fg='yellow', bold=True)} {one_line(message)}", sys.stderr)


def notice(message: str) -> None:
    """Print ``nta: ...`` on stderr."""
    _write(f"nta: {one_line(message)}", sys.stderr)


def about(subject: str, message: str) -> str:
    """Return `message` with `subject`, a path, in front, unless it is empty or there already."""
    return message if message.startswith(subject) else f"{subject}: {message}"


def one_line(message: str) -> str:
    """Return `message` with its line breaks as spaces."""
    return re.sub(r"\s*[\r\n]+\s*", " ", message.strip())


def _write(text: str, stream: TextIO) -> None:
    """Print `text`; a reader that has gone away (``| head``) does not stop the analysis."""
    encoding = stream.encoding or "utf-8"
    # file names may hold bytes, and terminals may have an encoding, that would make print fail
    text = text.encode(encoding, "replace").decode(encoding)
    try:
        click.echo(text, file=stream, color=False if os.environ.get("NO_COLOR") else None)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
