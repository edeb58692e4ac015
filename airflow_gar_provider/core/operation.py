"""Composer's long-running operation."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

POLL_FLOOR = 10.0
"""Seconds. A task that is resumed sooner after its deferral was marked failed by the scheduler in 1 of 3 tries."""


@dataclass(frozen=True)
class Operation:
    """What Composer says of an operation. There is no way to cancel one."""

    name: str
    """`projects/P/locations/L/operations/UUID`."""
    resource: str
    """The environment that it works on."""
    kind: str
    """CREATE, UPDATE, CHECK, ..."""
    state: str
    """PENDING, RUNNING, SUCCEEDED, FAILED."""
    done: bool
    """Whether it has ended, well or not."""
    error_code: int = 0
    """The google.rpc code; 0 without an error. Failed package builds carry 3, as bad requests do."""
    error_message: str = ""
    """Google's words."""
    created: datetime | None = None
    """When it was accepted."""
    ended: datetime | None = None
    """When it ended."""

    @property
    def failed(self) -> bool:
        """Whether it ended in an error; an error may have a code and no message."""
        return self.done and bool(self.error_code or self.error_message)
