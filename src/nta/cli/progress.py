"""Progress on stderr: stage, bar, rate and time left."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from nta.cli.voice import notice

if TYPE_CHECKING:
    from rich.progress import Progress, Task, TaskID
    from rich.text import Text

Callback = Callable[[str, int, int], None]


class Stopwatch:
    """A callback that passes on to `progress`, and keeps the seconds that each stage took."""

    def __init__(self, progress: Callback | None = None) -> None:
        self.seconds: dict[str, float] = {}
        self._progress = progress
        self._last = time.perf_counter()

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Credit the time since the last report to `stage`."""
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
        self._last = now
        if self._progress is not None:
            self._progress(stage, done, total)


@contextmanager
def progress_bars(title: str, *, quiet: bool = False) -> Iterator[Callback | None]:
    """Give a callback ``(stage, done, total)`` that draws a bar a stage; it only says that kernels are compiled when stderr is no terminal.

    The bars are gone when the block ends, so that what is printed next stands where they stood. ``None`` when quiet.
    """
    if quiet:
        yield None
        return
    if not sys.stderr.isatty():
        yield tell_compiling
        return
    with _bars() as bars:
        tasks: dict[str, TaskID] = {}

        def update(stage: str, done: int, total: int) -> None:
            tell_compiling(stage, done, total)
            if stage not in tasks:
                tasks[stage] = bars.add_task(f"{title}  {stage}", total=total or None)
            bars.update(tasks[stage], completed=done, total=total or None)

        yield update


def tell_compiling(stage: str, done: int, total: int) -> None:
    """Say in a line that kernels are compiled, when that begins."""
    if stage == "compile" and done == 0:
        from nta.kernels import cache

        notice(cache.words())


def _bars() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Rate(ProgressColumn):
        """Frames, or whatever a stage counts, per second."""

        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text("" if speed is None else f"{speed:,.0f}/s", style="progress.data.speed", justify="right")

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        console=Console(stderr=True),
        redirect_stdout=False,  # what is printed on stdout belongs there, also while the bars move
        transient=True,
    )
