"""What the benchmarks share: one thread for every library, timing in turns, peak memory of a child, Markdown."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import platform
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

PACKAGES = ("nta", "numpy", "scipy", "numba", "trackpy", "skimage", "cv2", "laptrack")


@dataclass
class Times:
    """Seconds of one job, run after run: of the CPU, all threads of the process together, and of the wall."""

    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)

    @property
    def cpu_s(self) -> float:
        return statistics.median(self.cpu)

    @property
    def wall_s(self) -> float:
        return statistics.median(self.wall)


def one_thread() -> None:
    """Keep every numeric library to one thread for good, so that CPU seconds can be compared."""
    from threadpoolctl import threadpool_limits

    threadpool_limits(1)
    for name, keep in (("cv2", "setNumThreads"), ("numba", "set_num_threads")):
        library = optional(name)
        if library is not None:
            getattr(library, keep)(1)


def optional(name: str) -> Any:
    """Import a package that need not be there; ``None`` where it is not."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def environment() -> str:
    """Return where this ran, as a Markdown table of one row; the load tells whether the machine was shared."""
    versions = ", ".join(f"{name} {module.__version__}" for name in PACKAGES if (module := optional(name)) is not None)
    with open("/proc/cpuinfo", encoding="utf-8") as lines:
        processor = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    where = f"{processor}, {len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}"
    return f"{head('processor', 'Python', 'packages')}\n{row(where, platform.python_version(), versions)}\n"


def in_turns(jobs: dict[str, Callable[[], Any]], repeats: int) -> dict[str, Times]:
    """Run every job once unmeasured, then all of them in turns `repeats` times, each turn beginning with another one."""
    times = {name: Times() for name in jobs}
    names = list(jobs)
    for name in names:
        jobs[name]()
    for turn in range(repeats):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            cpu, wall = time.process_time(), time.perf_counter()
            jobs[name]()
            times[name].cpu.append(time.process_time() - cpu)
            times[name].wall.append(time.perf_counter() - wall)
    return times


@dataclass(frozen=True)
class Cost:
    """What a function cost in a process of its own: its answer, seconds, and the most memory held, before it and with it, in MB."""

    answer: Any
    cpu_s: float
    wall_s: float
    before_mb: float
    peak_mb: float


def in_child(function: Callable[..., Any], *args: Any) -> Cost:
    """Run a function of a module in a fresh process of one numeric thread, and return what it cost."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_measured, (function, args))


def _measured(function: Callable[..., Any], args: tuple[Any, ...]) -> Cost:
    one_thread()
    before, cpu, wall = peak_mb(), cpu_s(), time.perf_counter()
    answer = function(*args)
    return Cost(answer, cpu_s() - cpu, time.perf_counter() - wall, before, peak_mb())


def cpu_s() -> float:
    """Return CPU seconds of this process and of its children that ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def peak_mb() -> float:
    """Return the most memory this process ever held; `ru_maxrss` would count what its parent held before it was started."""
    with open("/proc/self/status", encoding="utf-8") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def head(*names: Any) -> str:
    return row(*names) + "\n|" + "---|" * len(names)


def row(*cells: Any) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def say(text: str = "") -> None:
    print(text, flush=True)


def verdict(good: bool) -> str:
    return "holds" if good else "**does not hold**"
