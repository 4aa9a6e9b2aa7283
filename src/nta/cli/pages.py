"""Help pages: options under headings, facts on a line of their own, an example at the end; 80 columns."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import Any

import click
from click.formatting import wrap_text

TERM_COLUMNS = 28
"""Widest option that still has its help on the same line."""

_NO_BREAK = "\N{NO-BREAK SPACE}"


class Formatter(click.HelpFormatter):
    """Headings in bold, definitions whose trailing ``[facts]`` start a line and are not torn apart."""

    def write_heading(self, heading: str) -> None:
        """Write a heading, in bold on a terminal."""
        super().write_heading(heading if os.environ.get("NO_COLOR") else click.style(heading, bold=True))

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = TERM_COLUMNS, col_spacing: int = 2) -> None:
        """Write terms and definitions; the definitions start at the same column for all terms up to `col_max` wide."""
        rows = list(rows)
        column = min(max(len(term) for term, _ in rows), col_max) + col_spacing
        self._write_rows(rows, column, col_spacing)

    def write_sections(self, sections: dict[str, list[tuple[str, str]]]) -> None:
        """Write one block of definitions a section, all aligned to one column."""
        widths = [len(term) for rows in sections.values() for term, _ in rows]
        column = max((width for width in widths if width <= TERM_COLUMNS), default=TERM_COLUMNS) + 2
        for title, rows in sections.items():
            with self.section(title):
                self._write_rows(rows, column, 2)

    def _write_rows(self, rows: Iterable[tuple[str, str]], column: int, spacing: int) -> None:
        width = max(self.width - self.current_indent - column, 20)
        for term, definition in rows:
            text, facts = re.fullmatch(r"(.*?)\s*(\[[^\]]*\])?", definition, re.DOTALL).groups("")  # type: ignore[union-attr]
            # a fact may break only where the next one starts
            facts = re.sub(r"(?<![;,]) ", _NO_BREAK, facts)
            lines = [line for part in (text, facts) if part for line in wrap_text(part, width).replace(_NO_BREAK, " ").splitlines()]
            indent = " " * self.current_indent
            if len(term) + spacing > column or not lines:
                self.write(f"{indent}{term}\n")
            else:
                self.write(f"{indent}{term}{' ' * (column - len(term))}{lines.pop(0)}\n")
            for line in lines:
                self.write(f"{indent}{' ' * column}{line}\n")


class PageContext(click.Context):
    """A context whose help is laid out by `Formatter`."""

    formatter_class = Formatter


class SectionedOption(click.Option):
    """An option that knows the heading it stands under; its help says itself what default and range are."""

    def __init__(self, *args: Any, section: str = "Options", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.section = section

    def get_help_extra(self, ctx: click.Context) -> Any:
        """Return nothing: all is in the help."""
        return {}


class Page(click.Command):
    """A command whose help groups its options and ends with an example, printed as it is written."""

    context_class = PageContext

    def __init__(self, *args: Any, example: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.example = example

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse; a usage error knows its command, so that it can point to the right help."""
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            error.ctx = error.ctx or ctx
            raise

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, one section after the other."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None and not isinstance(param, click.Argument):
                # click's own --help and --version come last
                heading = getattr(param, "section", next(reversed(sections), "Options"))
                sections.setdefault(heading, []).append(record)
        assert isinstance(formatter, Formatter)
        formatter.write_sections(sections)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the example."""
        if self.example:
            with formatter.section("Example"):
                for line in self.example.splitlines():
                    formatter.write(f"{'':>{formatter.current_indent}}{line}\n")


class PageGroup(Page, click.Group):
    """A group with such a page; its commands stand first."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands, then the group's own options."""
        self.format_commands(ctx, formatter)
        super().format_options(ctx, formatter)
