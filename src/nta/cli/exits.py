"""Exception -> exit code and one line: the only place that catches.

====  =================================================================================
code  meaning
====  =================================================================================
0     done, zero particles included
1     the data cannot be analysed
2     wrong usage, unknown setting, missing path, unknown pixel size or frame rate
3     several videos, and at least one failed (the others are written)
70    a bug in nta
130   stopped by the keyboard (SIGINT)
143   stopped by SIGTERM
====  =================================================================================
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
import warnings
from typing import Any, NoReturn

import click

from nta.cli.pages import PageGroup
from nta.cli.voice import about, error_line, notice
from nta.errors import NtaError

DATA, USAGE, SOME_FAILED, BUG, INTERRUPTED, TERMINATED = 1, 2, 3, 70, 130, 143


class Stopped(BaseException):
    """A signal asked to stop; no ``except Exception`` on the way may hold it up."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


def explain(error: BaseException) -> tuple[int, str]:
    """Return the exit code of `error` and what to say about it."""
    if isinstance(error, NtaError):
        return error.exit_code, str(error)
    if isinstance(error, click.UsageError):
        context = error.ctx.command_path if error.ctx else "nta"
        message = error.format_message().rstrip(".")
        return USAGE, f"{message[:1].lower()}{message[1:]} (see {context} --help)"
    if isinstance(error, click.ClickException):
        return USAGE, error.format_message()
    if isinstance(error, MemoryError):
        return DATA, "not enough memory; --frames or --roi make the video smaller"
    what = traceback.format_exception_only(error)[-1].strip()
    return BUG, f"this is a bug in nta; --debug shows it ({what})"


def report(error: BaseException, *, debug: bool, subject: str = "") -> tuple[int, str]:
    """Say on stderr what went wrong, about `subject` where there are several; the traceback only for `debug`."""
    code, message = explain(error)
    if debug:
        traceback.print_exception(error)
    error_line(about(subject, message))
    return code, message


class Guarded(PageGroup):
    """A group whose commands end with the exit codes above and one line on stderr, never a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. What click would take for the end of a prompt is caught here: an interrupt, and the end of a file."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise Stopped(INTERRUPTED) from None
        except EOFError as error:
            return report(error, debug=ctx.obj)[0]

    def main(self, args: Any = None, prog_name: str | None = "nta", **extra: Any) -> NoReturn:  # type: ignore[override]
        """Run with `args` (those of the process by default) and exit."""
        args = sys.argv[1:] if args is None else list(args)
        debug = "--debug" in args
        extra |= {"standalone_mode": False, "obj": debug}
        try:
            code = super().main(args, prog_name, **extra) or 0
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            code = USAGE
        except (Stopped, click.Abort) as error:
            notice("stopped")
            code = getattr(error, "exit_code", INTERRUPTED)
        except Exception as error:
            code = report(error, debug=debug)[0]
        sys.exit(code)


def run(command: click.Command) -> NoReturn:
    """Run `command` as this process: signals stop it cleanly, third parties' warnings stay with ``--debug``."""

    def stop(number: int, frame: object) -> NoReturn:
        raise Stopped(128 + number)

    if signal.getsignal(signal.SIGTERM) is not signal.SIG_IGN:
        signal.signal(signal.SIGTERM, stop)
    if not sys.warnoptions and "--debug" not in sys.argv:
        warnings.simplefilter("ignore")
    try:
        command.main(prog_name="nta")
    except SystemExit as end:
        if end.code == INTERRUPTED and sys.stderr.isatty():
            _die_of_interrupt()
        raise


def _die_of_interrupt() -> None:
    """End by the signal itself: a shell goes on with its loop when a program that it saw interrupted merely exits with 130."""
    sys.stdout.flush()
    sys.stderr.flush()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGINT)
