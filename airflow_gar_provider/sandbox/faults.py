"""Faults on request: what goes wrong next, per Google method name, and the record of every call.

One way for every language: `POST /sandbox/faults` on the sandbox's port, with `{"method":
"google.cloud.….GetEnvironment", "status": 503, "times": 2}`; `GET /sandbox/faults` lists what was not used.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from .errors import NAME_OF_STATUS, ApiError, ConnectionCut

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .identity import Principal

T = TypeVar("T")
KINDS = ("status", "reset", "lost_answer", "delay")


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong at the next calls of one method."""

    method: str
    """Google's name of the method."""
    kind: str
    """`status`: this HTTP status instead of the work; `reset`: the connection is cut before the work; `lost_answer`: it
    is cut after the work is done; `delay`: the answer comes late."""
    times: int = 1
    """How many calls it still hits."""
    status: int = 503
    """The HTTP status of kind `status`."""
    message: str = ""
    """The error message of kind `status`."""
    seconds: float = 0.0
    """How late, of kind `delay`."""

    @classmethod
    def from_json(cls, value: Any) -> Fault:
        """Read a queued fault; ValueError says what is wrong with it."""
        if not isinstance(value, dict) or not isinstance(value.get("method"), str):
            raise ValueError('A fault is an object with a "method".')
        unknown = set(value) - {
            "method",
            "kind",
            "times",
            "status",
            "message",
            "seconds",
            "delay",
            "reset",
            "lost_answer",
        }
        if unknown:
            raise ValueError(f"Unknown fields of a fault: {', '.join(sorted(unknown))}.")
        kind = value.get("kind") or next((name for name in KINDS if name in value), None)
        if kind not in KINDS:
            raise ValueError(f"A fault's kind is one of {', '.join(KINDS)}.")
        status = int(value.get("status", 503))
        if status not in NAME_OF_STATUS:
            raise ValueError(f"A fault's status is one of {', '.join(map(str, NAME_OF_STATUS))}.")
        seconds = float(value.get("seconds") or value.get("delay") or 0.0)
        return cls(value["method"], kind, int(value.get("times", 1)), status, str(value.get("message", "")), seconds)

    def json(self) -> dict[str, Any]:
        """The fault as the queue shows it."""
        return {
            "method": self.method,
            "kind": self.kind,
            "times": self.times,
            "status": self.status,
            "message": self.message,
            "seconds": self.seconds,
        }


class Gate:
    """What every API call passes: it is recorded, a queued fault hits it, then the work is done."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self._faults: list[Fault] = []

    def queue(self, fault: Fault) -> None:
        """Let a fault hit the next calls of its method."""
        self._faults.append(fault)

    def unused(self) -> list[Fault]:
        """The faults that were not (all) used."""
        return list(self._faults)

    def clear(self) -> None:
        """Forget the queue."""
        self._faults.clear()

    async def enter(
        self, method: str, principal: Principal | None, resource: str, work: Callable[[], Awaitable[T]]
    ) -> T:
        """Do the work of one call, or what a fault wants instead."""
        entry: dict[str, Any] = {
            "method": method,
            "principal": principal.email if principal else None,
            "resource": resource,
        }
        self.calls.append(entry)
        fault = self._take(method)
        if fault is not None:
            entry["fault"] = fault.kind
        try:
            result = await self._work(fault, work)
        except ApiError as error:
            entry["status"] = error.http_status
            raise
        entry["status"] = 200
        if fault is not None and fault.kind == "lost_answer":
            raise ConnectionCut
        return result

    async def _work(self, fault: Fault | None, work: Callable[[], Awaitable[T]]) -> T:
        if fault is not None and fault.kind == "status":
            message = fault.message or f"The sandbox was asked to answer {fault.method} with {fault.status}."
            raise ApiError(NAME_OF_STATUS[fault.status], message, http_status=fault.status)
        if fault is not None and fault.kind == "reset":
            raise ConnectionCut
        if fault is not None and fault.kind == "delay":
            await asyncio.sleep(fault.seconds)
        return await work()

    def _take(self, method: str) -> Fault | None:
        for index, fault in enumerate(self._faults):
            if fault.method == method:
                if fault.times > 1:
                    self._faults[index] = replace(fault, times=fault.times - 1)
                else:
                    del self._faults[index]
                return fault
        return None
