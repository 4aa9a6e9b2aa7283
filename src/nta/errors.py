"""The exception tree, and the notice: what a user must know though it stopped nothing.

Only :mod:`nta.cli` catches these; ``exit_code`` is what the command line then returns.
"""

from __future__ import annotations

from dataclasses import dataclass


class NtaError(Exception):
    """The data cannot be analysed. One line: what was given, what is allowed, which option mends it."""

    exit_code = 1


class UsageError(NtaError):
    """Wrong usage: a missing path, an unknown setting, a value out of range, no pixel size or frame rate."""

    exit_code = 2


class VideoError(NtaError):
    """The file is not a video that can be analysed: unreadable, truncated, one frame only."""


@dataclass(frozen=True)
class Notice:
    """A warning of the result: `code` is stable and machine-readable, `message` is one plain sentence."""

    code: str
    message: str
