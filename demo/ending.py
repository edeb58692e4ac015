"""How the demo is asked to end: signals become an exception, and are ignored while we are ending."""

from __future__ import annotations

import signal
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def signals_held() -> Iterator[None]:
    """Ignore the signals that ask us to end while we are ending; outside the main thread nothing can be done."""
    held: dict[signal.Signals, Any] = {}
    for number in SIGNALS:
        with suppress(ValueError):
            held[number] = signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        for number, handler in held.items():
            signal.signal(number, handler)


class Ended(BaseException):
    """A signal asked this program to end; a BaseException, so that no `except Exception` on the way stops it."""

    def __init__(self, number: int) -> None:
        super().__init__(f"ended by {signal.Signals(number).name}")
        self.number = number


def end_on_signals() -> None:
    """Turn SIGINT, SIGTERM and SIGHUP into `Ended`, so that `with AirflowStack(…)` ends its processes."""

    def raise_ended(number: int, frame: FrameType | None) -> None:
        raise Ended(number)

    for number in SIGNALS:
        signal.signal(number, raise_ended)
