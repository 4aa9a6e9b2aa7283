"""``nta completion``: the script that lets a shell complete commands, options and paths."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from nta.cli.pages import Page
from nta.cli.voice import say

_EXAMPLE = """\
bash, in ~/.bashrc:  eval "$(nta completion bash)"
zsh, in ~/.zshrc:    eval "$(nta completion zsh)"
fish, once:          nta completion fish > ~/.config/fish/completions/nta.fish"""


@click.command(cls=Page, example=_EXAMPLE, short_help="Print the script for shell completion.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that completes nta's commands, options and paths in SHELL: bash, zsh or fish."""
    script = get_completion_class(shell)
    assert script is not None, f"click knows no completion for {shell}"
    say(script(ctx.find_root().command, {}, "nta", "_NTA_COMPLETE").source().rstrip())
