"""Options that commands share: one for every knob of the settings registry."""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from nta.cli.pages import SectionedOption
from nta.settings import KNOBS, Knob, Settings

Command = TypeVar("Command", bound=Callable[..., Any])

HEADINGS = {
    "video": "Video",
    "spots": "Detection and tracks",
    "tracks": "Detection and tracks",
    "drift": "Detection and tracks",
    "medium": "Medium",
    "diffusion": "Size distribution",
    "distribution": "Size distribution",
    "classes": "Size distribution",
    "concentration": "Concentration",
}
"""The help section of each section of the settings."""


class KnobType(click.ParamType[Any]):
    """A value as a person types it, checked by the settings registry; ``auto`` puts a protocol's value back to its default."""

    def __init__(self, knob: Knob) -> None:
        self.knob = knob
        self.name = knob.name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the checked value, or raise `nta.errors.UsageError`."""
        return value if value == "auto" else self.knob.check(value)

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """Return what stands for the value in the help."""
        if self.knob.choices:
            return "|".join([*(["auto"] if self.knob.auto else []), *([self.knob.form] if self.knob.form else []), *self.knob.choices])
        return self.knob.form or ("N" if self.knob.kind in (int, float) else "TEXT")

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Offer the choices."""
        words = ("auto", *self.knob.choices) if self.knob.choices else ()
        return [CompletionItem(word) for word in words if word.startswith(incomplete)]


def option(*names: str, section: str, **attributes: Any) -> Callable[[Command], Command]:
    """Declare an option under the heading `section`."""
    return click.option(*names, cls=SectionedOption, section=section, **attributes)


def knob_options(command: Command, sections: Container[str] = tuple(HEADINGS)) -> Command:
    """Add an option for every knob of the registry, or of the `sections` given."""
    for knob in reversed(KNOBS.values()):
        if knob.section not in sections:
            continue
        section = HEADINGS.get(knob.section, knob.section.capitalize())
        names = f"{knob.option}/--no-{knob.option[2:]}" if knob.kind is bool else knob.option
        kind = {"default": None} if knob.kind is bool else {"type": KnobType(knob)}
        command = option(names, knob.name, section=section, help=describe(knob), **kind)(command)
    return command


def describe(knob: Knob) -> str:
    """Return the help of a knob: what it is; its range with the unit, its default and an example."""
    if isinstance(knob.default, bool):
        default = "on" if knob.default else "off"
    elif isinstance(knob.default, str):
        default = knob.default.replace(",", ", ")
    else:
        default = knob.auto or f"{knob.default:g}"
    facts = [knob.range, f"default: {default}"]
    if (knob.form or not knob.choices) and knob.example not in ("", default):
        facts.append(f"e.g. {knob.example}")
    return f"{knob.help[0].upper()}{knob.help[1:]}. [{'; '.join(fact for fact in facts if fact)}]"


def protocol(sop: str | None, knobs: dict[str, Any]) -> Settings:
    """Return the settings of a call: the options over the protocol file."""
    base = Settings.from_toml(sop) if sop else Settings()
    return base.with_options(**knobs)


sop_option = option(
    "--sop",
    section="Run",
    metavar="FILE",
    type=click.Path(),
    help="Protocol to follow: a TOML file of settings, such as the settings.toml of a result; options beat it.",
)
threads_option = option(
    "--threads",
    section="Run",
    metavar="N",
    type=click.IntRange(min=1),
    help="Threads to work in, at least 1; the result is the same for any number. [default: the cores available]",
)
json_option = option(
    "--json", "as_json", section="Output", is_flag=True, help="Print the summary as JSON, one line a video, instead of a table."
)
quiet_option = option("--quiet", "-q", section="Run", is_flag=True, help="No progress and no table; warnings and errors stay.")
verbose_option = option("--verbose", "-v", section="Run", is_flag=True, help="Also list every value used, with its source.")
debug_option = option("--debug", section="Run", is_flag=True, help="Show the traceback of an error.")
