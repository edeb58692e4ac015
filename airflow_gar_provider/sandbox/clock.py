"""The sandbox's time, in one place: the wall clock, or a virtual clock that stands still until it is told to advance.

One way for every language, on the sandbox's port: `GET /sandbox/time` shows the clock, `POST /sandbox/time` sets it:

- `{"operation_seconds": 900}`: from now on a Composer operation ends that long after its start, however quick its work
  was; work that takes longer ends it later. 0, the default: as long as the work.
- `{"virtual": true}`: the clock stands still; `{"virtual": false}`: the wall clock again.
- `{"virtual": true, "at": "2026-11-18T02:00:00Z"}`: it stands still at that moment, in the past, too: what is made then
  is that old afterwards. Operations that are due by then end, but nobody waits for it.
- `{"advance": 900}`: moves the virtual clock. It stops at the end of each operation on the way, and is answered when
  the work of those operations is done and they have ended: no client has to poll or to sleep.
- `{"build_timeout_seconds": 60}`: how long pip may take (Composer: 35 minutes), always by the wall clock.

Timestamps of resources, operations and log entries follow this clock. Access tokens and certificates do not: their
readers, Google's clients, live by the wall clock (an expired token is a fault that can be queued). The clock is that of
the process.
"""

from __future__ import annotations

import asyncio
import math
from datetime import datetime, timedelta, timezone
from typing import Any

_FIELDS = ("operation_seconds", "build_timeout_seconds", "virtual", "at", "advance")
_NOT_SECONDS = ("virtual", "at")
COMPOSER_BUILD_SECONDS = 35 * 60.0


class Clock:
    """What time it is, how long operations take, and who waits for a moment."""

    def __init__(self) -> None:
        self.operation_seconds = 0.0
        self.build_timeout_seconds = COMPOSER_BUILD_SECONDS
        self._virtual: datetime | None = None
        self._waiting: set[asyncio.Future[None]] = set()

    @property
    def virtual(self) -> bool:
        """True when the clock stands still until it is moved."""
        return self._virtual is not None

    def now(self) -> datetime:
        """The time (UTC)."""
        return self._virtual or wall_clock()

    def set_virtual(self, virtual: bool) -> None:
        """Stop the clock where it is, or go back to the wall clock."""
        if virtual != self.virtual:
            self._virtual = wall_clock() if virtual else None
            self._wake()

    def move_to(self, moment: datetime) -> None:
        """Set the virtual clock, forward only."""
        if self._virtual is None:
            raise ValueError('Only a virtual clock can be advanced: send {"virtual": true} first.')
        self._virtual = max(self._virtual, moment)
        self._wake()

    async def until(self, moment: datetime) -> None:
        """Wait for a moment of this clock."""
        while (left := (moment - self.now()).total_seconds()) > 0:
            changed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.add(changed)
            try:
                await asyncio.wait({changed}, timeout=None if self.virtual else left)
            finally:
                self._waiting.discard(changed)

    def _wake(self) -> None:
        for future in self._waiting:
            if not future.done():
                future.set_result(None)

    def configure(self, value: Any) -> timedelta | None:
        """Set what a request sets, or nothing at all: ValueError says why. Returns by how much it shall advance."""
        if not isinstance(value, dict) or not value or set(value) - set(_FIELDS):
            raise ValueError(f"Send an object with one or more of {', '.join(_FIELDS)}.")
        seconds = {name: _seconds(name, value[name]) for name in value if name not in _NOT_SECONDS}
        virtual = value.get("virtual", self.virtual)
        if not isinstance(virtual, bool):
            raise ValueError("virtual is true or false.")
        at = _moment(value["at"]) if "at" in value else None
        if ("advance" in seconds or at) and not virtual:
            raise ValueError('Only a virtual clock can be advanced or set: send {"virtual": true} first.')
        self.operation_seconds = seconds.get("operation_seconds", self.operation_seconds)
        self.build_timeout_seconds = seconds.get("build_timeout_seconds", self.build_timeout_seconds)
        self.set_virtual(virtual)
        if at is not None:
            self._virtual = at
            self._wake()
        return timedelta(seconds=seconds["advance"]) if "advance" in seconds else None

    def json(self) -> dict[str, Any]:
        """The clock as `GET /sandbox/time` shows it."""
        return {
            "now": rfc3339(self.now()),
            "virtual": self.virtual,
            "operation_seconds": self.operation_seconds,
            "build_timeout_seconds": self.build_timeout_seconds,
        }


def _seconds(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
        raise ValueError(f"{name} is a number of seconds, 0 or more.")
    return float(value)


def _moment(value: object) -> datetime:
    try:
        moment = datetime.fromisoformat(str(value).replace("Z", "+00:00"))
    except ValueError:
        moment = datetime.min
    if moment.tzinfo is None:
        raise ValueError("at is a moment such as 2026-11-18T02:00:00Z.")
    return moment.astimezone(timezone.utc)


def wall_clock() -> datetime:
    """The time of the machine (UTC)."""
    return datetime.now(timezone.utc)


CLOCK = Clock()
"""The clock of this process."""


def now() -> datetime:
    """The time that resources, operations and log entries are stamped with (UTC)."""
    return CLOCK.now()


def rfc3339(moment: datetime) -> str:
    """A moment as Google's JSON APIs print it."""
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
