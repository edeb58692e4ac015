"""Faults on request: what goes wrong next, per Google method name, and the record of every call.

One way for every language: `POST /sandbox/faults` on the sandbox's port, with one fault or a list of them, as in
`{"method": "google.cloud.….Environments.GetEnvironment", "kind": "status", "status": 503, "times": 2}`. `GET
/sandbox/faults` lists what was not used, `DELETE /sandbox/faults` forgets the queue, `GET /sandbox/calls` lists the
calls with the names of their methods. Faults of one method are used in the order in which they were queued; `times` (1)
is how many calls a fault hits, `skip` (0) how many it lets pass before; the method `*` is every method, but for what
google-auth asks in a thread of its own at times of its own. The kinds, with their own fields:

- `status`: this HTTP `status` (503) with this `message` instead of the work; with `retry_after` seconds, over HTTP the
  answer has that header.
- `reset`: the connection is cut before the work. `lost_answer`: it is cut after the work was done.
- `delay`: the work begins `seconds` later.
- `token_expiry`: every access token of the caller's account stops working before the call is looked at, which is
  answered with 401. A client that asks for a new token goes on; one that holds on to its old one does not. A call
  without a token, such as the one for a new token, is passed over.
- `failed_operation`: the operation that the call starts fails with this `message`, and with the code of `status` (400:
  INVALID_ARGUMENT, the code of every package failure). A Composer operation does none of its work then; one of
  Artifact Registry, which is done at once, has done it.
- `stuck_operation`: the operation that the call starts never ends; its environment stays as it is.
- `hold_before`: the call is received, and nothing is done with it. `hold_after`: its work is done, and nothing is
  answered. `GET /sandbox/held?wait=SECONDS` is answered as soon as a call is held, so that its client can be killed
  just then; with `more_than=N`, as soon as more than N are. `DELETE /sandbox/faults` cuts the connections of held
  calls, and what was held before its work is then never done; with `?keep_held=true` it only forgets the queue. `POST
  /sandbox/held` with `{"number": N, "go_on": true}` lets one call go on (a queued fault may hit it only now), with
  `false` it is cut.

A call that starts no operation (it is refused, say) leaves the last two in the queue.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from .errors import INVALID_CREDENTIALS, NAME_OF_STATUS, ApiError, ConnectionCut

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .identity import Principal

T = TypeVar("T")
_HOLD_KINDS = ("hold_before", "hold_after")
KINDS = ("status", "reset", "lost_answer", "delay", "token_expiry", "failed_operation", "stuck_operation", *_HOLD_KINDS)
ANY_METHOD = "*"
_BACKGROUND = ("google.iam.credentials.v1.IAMCredentials.GetAllowedLocations",)
"""What google-auth asks beside the calls, when it likes, and does without: with it no number would be sure."""
_OPERATION_KINDS = ("failed_operation", "stuck_operation")
# Shorter spellings: {"method": M, "status": 503} and {"method": M, "delay": 2}.
_SHORT_KINDS = ("status", "delay")
_FIELDS = ("method", "kind", "times", "skip", "status", "message", "seconds", "delay", "retry_after")


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong at the next calls of one method."""

    method: str
    """Google's name of the method; `*`: every method, but for `_BACKGROUND`."""
    kind: str
    """One of `KINDS`, which the module's docstring explains."""
    times: int = 1
    """How many calls it still hits."""
    skip: int = 0
    """How many calls of the method pass before."""
    status: int = 503
    """The HTTP status of kind `status`; for a failed operation, the one that its error's code belongs to."""
    message: str = ""
    """The error message of kinds `status` and `failed_operation`."""
    seconds: float = 0.0
    """How late, of kind `delay`."""
    retry_after: int | None = None
    """Seconds of the header Retry-After, of kind `status`."""

    @classmethod
    def from_json(cls, value: Any) -> Fault:
        """Read a queued fault; ValueError says what is wrong with it."""
        if not isinstance(value, dict) or not isinstance(value.get("method"), str):
            raise ValueError('A fault is an object with a "method".')
        unknown = set(value) - set(_FIELDS)
        if unknown:
            raise ValueError(f"Unknown fields of a fault: {', '.join(sorted(unknown))}.")
        kind = value.get("kind") or next((name for name in _SHORT_KINDS if name in value), None)
        if kind not in KINDS:
            raise ValueError(f"A fault's kind is one of {', '.join(KINDS)}.")
        status = int(value.get("status", 400 if kind in _OPERATION_KINDS else 503))
        if status not in NAME_OF_STATUS:
            raise ValueError(f"A fault's status is one of {', '.join(map(str, NAME_OF_STATUS))}.")
        times = int(value.get("times", 1))
        if times < 1:
            raise ValueError("A fault's times is 1 or more.")
        skip = int(value.get("skip", 0))
        if skip < 0:
            raise ValueError("A fault's skip is 0 or more.")
        seconds = float(value.get("seconds") or value.get("delay") or 0.0)
        pause = value.get("retry_after")
        message = str(value.get("message", ""))
        pause = None if pause is None else int(pause)
        return cls(value["method"], kind, times, skip, status, message, seconds, pause)

    def json(self) -> dict[str, Any]:
        """The fault as the queue shows it."""
        return {
            "method": self.method,
            "kind": self.kind,
            "times": self.times,
            "skip": self.skip,
            "status": self.status,
            "message": self.message,
            "seconds": self.seconds,
            "retry_after": self.retry_after,
        }

    def error(self) -> ApiError:
        """The error that the fault answers with, or that its operation ends with."""
        what = "let an operation fail: " if self.kind == "failed_operation" else f"answer {self.status}: "
        message = self.message or f"The sandbox was asked to {what}{self.method}."
        error = ApiError(NAME_OF_STATUS[self.status], message, http_status=self.status)
        error.retry_after = self.retry_after
        return error


@dataclass
class _ForOperation:
    """A fault on its way to the operation that the call starts."""

    fault: Fault | None


_for_operation: ContextVar[_ForOperation | None] = ContextVar("for_operation", default=None)


def take_operation_fault() -> Fault | None:
    """The fault of the operation that this call starts, once."""
    holder = _for_operation.get()
    if holder is None:
        return None
    fault, holder.fault = holder.fault, None
    return fault


class Gate:
    """What every API call passes: it is recorded, a queued fault hits it, then the work is done."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self.revoke_tokens: Callable[[str], int] = lambda _: 0
        """Ends the tokens of an account."""
        self._faults: list[Fault] = []
        self._held: dict[int, tuple[asyncio.Future[bool], dict[str, Any]]] = {}
        """Number of the call -> what ends its waiting (whether it goes on), and its record."""
        self._holding = asyncio.Event()

    def queue(self, fault: Fault) -> None:
        """Let a fault hit the next calls of its method."""
        self._faults.append(fault)

    def unused(self) -> list[Fault]:
        """The faults that were not (all) used."""
        return list(self._faults)

    def clear(self, *, keep_held: bool = False) -> None:
        """Forget the queue, and cut the connections of the calls that are held."""
        self._faults.clear()
        for number in () if keep_held else list(self._held):
            self.let_go(number, go_on=False)

    def let_go(self, number: int, *, go_on: bool) -> None:
        """Let a held call go on, or cut its connection. ValueError when one is to go on that is not held.

        A call whose client was killed may be gone already.
        """
        held = self._held.get(number)
        if held is None and go_on:
            raise ValueError(f"The call {number} is not held.")
        if held is not None and not held[0].done():
            held[0].set_result(go_on)

    async def held(self, wait: float, more_than: int = 0) -> list[dict[str, Any]]:
        """The calls that are held, as they are recorded, with their numbers in the record.

        As soon as there are `more_than` so many, or after `wait` seconds.
        """
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._wait_for_held(more_than), wait)
        return [{**entry, "number": number} for number, (_, entry) in self._held.items()]

    async def _wait_for_held(self, more_than: int) -> None:
        while len(self._held) <= more_than:
            self._holding.clear()
            await self._holding.wait()

    async def _hold(self, number: int, entry: dict[str, Any]) -> None:
        """Answer nothing until the call may go on. Raises ConnectionCut when it may not."""
        release = asyncio.get_running_loop().create_future()
        self._held[number] = release, entry
        self._holding.set()
        try:
            goes_on = await release
        finally:
            del self._held[number]
        if not goes_on:
            raise ConnectionCut

    async def enter(
        self, method: str, principal: Principal | None, resource: str, work: Callable[[], Awaitable[T]]
    ) -> T:
        """Do the work of one call, or what a fault wants instead."""
        entry: dict[str, Any] = {
            "method": method,
            "principal": principal.email if principal else None,
            "resource": resource,
        }
        number = len(self.calls)
        self.calls.append(entry)
        fault = self._take(method, principal)
        while fault is not None:
            entry["fault"] = fault.kind
            if fault.kind != "hold_before":
                break
            await self._hold(number, entry)
            fault = self._take(method, principal)
        try:
            result = await self._work(fault, principal, work)
        except ApiError as error:
            entry["status"] = error.http_status
            await self._withhold(fault, number, entry)
            raise
        entry["status"] = 200
        await self._withhold(fault, number, entry)
        return result

    async def _withhold(self, fault: Fault | None, number: int, entry: dict[str, Any]) -> None:
        """What a fault does with an answer, be it a result or an error. Raises ConnectionCut when it is never given."""
        if fault is not None and fault.kind == "hold_after":
            await self._hold(number, entry)
        if fault is not None and fault.kind == "lost_answer":
            raise ConnectionCut

    async def _work(self, fault: Fault | None, principal: Principal | None, work: Callable[[], Awaitable[T]]) -> T:
        if fault is None:
            return await work()
        if fault.kind == "status":
            raise fault.error()
        if fault.kind == "reset":
            raise ConnectionCut
        if fault.kind == "token_expiry":
            if principal is not None:
                self.revoke_tokens(principal.email)
            raise ApiError("UNAUTHENTICATED", INVALID_CREDENTIALS)
        if fault.kind == "delay":
            await asyncio.sleep(fault.seconds)
        if fault.kind in _OPERATION_KINDS:
            return await self._with_operation(fault, work)
        return await work()

    async def _with_operation(self, fault: Fault, work: Callable[[], Awaitable[T]]) -> T:
        holder = _ForOperation(fault)
        token = _for_operation.set(holder)
        try:
            return await work()
        finally:
            _for_operation.reset(token)
            if holder.fault is not None:
                self._faults.insert(0, replace(fault, times=1))

    def _take(self, method: str, principal: Principal | None) -> Fault | None:
        """The first fault in the queue that hits this call; the others let it pass, and count it."""
        taken: Fault | None = None
        left: list[Fault] = []
        for fault in self._faults:
            if fault.method != method and (fault.method != ANY_METHOD or method in _BACKGROUND):
                left.append(fault)
            elif fault.skip:
                left.append(replace(fault, skip=fault.skip - 1))
            elif taken is not None or (fault.kind == "token_expiry" and principal is None):
                left.append(fault)
            else:
                taken = fault
                if fault.times > 1:
                    left.append(replace(fault, times=fault.times - 1))
        self._faults[:] = left
        return taken
