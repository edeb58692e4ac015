"""The HTTP side of the sandbox: each request to the service of its host, or to the sandbox itself."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from .errors import ApiError, ConnectionCut
from .faults import Fault
from .web import Answer, Request, api_error, json_answer, text_answer

if TYPE_CHECKING:
    import re
    from collections.abc import Awaitable, Callable

    from .faults import Gate
    from .identity import Identity
    from .metadata import MetadataServer
    from .web import Receive, Scope, Send

    Handler = Callable[[Request], Awaitable[Answer]]

logger = logging.getLogger(__name__)


class App:
    """An ASGI application; hosts are registered with `add`."""

    def __init__(self, own: Handler) -> None:
        self._own = own
        self._hosts: list[tuple[re.Pattern[str], Handler]] = []
        self.bugs: list[str] = []

    def add(self, host: re.Pattern[str], handler: Handler) -> None:
        """Let `handler` answer for every host that matches."""
        self._hosts.append((host, handler))

    def plays(self, host: str) -> bool:
        """True for a host that some service plays."""
        return any(pattern.fullmatch(host) for pattern, _ in self._hosts)

    def bug(self, text: str) -> None:
        """Count an uncaught exception, so that tests can ask whether there was one."""
        self.bugs.append(text)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            raise RuntimeError(f"sandbox bug: {scope['type']} is not played")
        request = Request(scope, receive)
        try:
            answer = await self._answer(request)
        except ConnectionCut:
            request.connection.cut()
            await _until_gone(receive)
            return
        except ConnectionResetError:
            return
        await answer.send(send, head_only=request.verb == "HEAD")

    async def _answer(self, request: Request) -> Answer:
        host = request.connection.host
        try:
            if host is None:
                return await self._own(request)
            handler = next(handler for pattern, handler in self._hosts if pattern.fullmatch(host))
            return await handler(request)
        except ApiError as error:
            return api_error(error)
        except (ConnectionCut, ConnectionResetError):
            raise
        except Exception as error:
            # Without this, clients see a plain 500 and retry it for half a minute.
            logger.exception("sandbox bug: %s %s%s", request.verb, host or "", request.raw_path)
            self.bug(f"{request.verb} {host or ''}{request.raw_path}: {error!r}")
            return api_error(ApiError("INTERNAL", f"sandbox bug: {error!r}"))


async def _until_gone(receive: Receive) -> None:
    # uvicorn would answer 500 for an application that returns without an answer while the client is still there.
    for _ in range(1000):
        if (await receive())["type"] == "http.disconnect":
            return
        await asyncio.sleep(0)


class Control:
    """The sandbox's own paths: health, faults, the record of calls, the clock, set-up, tokens for tests, status."""

    def __init__(
        self,
        gate: Gate,
        identity: Identity,
        metadata: MetadataServer,
        *,
        bugs: Callable[[], list[str]],
        refused: Callable[[], list[str]],
        setup: Callable[[object], Awaitable[object]],
        status: Callable[[], object],
        environment: Callable[[], object],
        time: Callable[[object], Awaitable[object]],
    ) -> None:
        self._gate = gate
        self._identity = identity
        self._metadata = metadata
        self._bugs = bugs
        self._refused = refused
        self._setup = setup
        self._status = status
        self._environment = environment
        self._time = time

    async def answer(self, request: Request) -> Answer:
        """Answer a request in origin form."""
        try:
            return await self._answer(request)
        except ValueError as error:
            return json_answer({"error": str(error)}, 400)

    async def _answer(self, request: Request) -> Answer:  # noqa: PLR0911, PLR0912 - one line per path
        route = (request.verb, request.path)
        if route == ("GET", "/healthz"):
            bugs = self._bugs()
            return json_answer({"status": "ok" if not bugs else "bugs", "bugs": bugs, "refused": self._refused()})
        if route == ("POST", "/sandbox/faults"):
            value = await request.json()
            for fault in value if isinstance(value, list) else [value]:
                self._gate.queue(Fault.from_json(fault))
            return json_answer({"unused": [fault.json() for fault in self._gate.unused()]})
        if route == ("GET", "/sandbox/faults"):
            return json_answer({"unused": [fault.json() for fault in self._gate.unused()]})
        if route == ("DELETE", "/sandbox/faults"):
            self._gate.clear(keep_held=request.parameter("keep_held") == "true")
            return json_answer({"unused": []})
        if route == ("GET", "/sandbox/held"):
            wait, more_than = float(request.parameter("wait") or 0), int(request.parameter("more_than") or 0)
            return json_answer({"held": await self._gate.held(wait, more_than)})
        if route == ("POST", "/sandbox/held"):
            value = await request.json()
            if not isinstance(value, dict) or not isinstance(value.get("number"), int):
                raise ValueError('Send {"number": N, "go_on": true or false}.')
            self._gate.let_go(value["number"], go_on=bool(value.get("go_on")))
            return json_answer({"let_go": value["number"]})
        if route == ("GET", "/sandbox/calls"):
            calls = self._gate.calls
            return json_answer({"calls": calls[int(request.parameter("since") or 0) :], "count": len(calls)})
        if route == ("POST", "/sandbox/setup"):
            return json_answer(await self._setup(await request.json()))
        if route == ("GET", "/sandbox/env"):
            return json_answer(self._environment())
        if route == ("GET", "/sandbox/status"):
            return json_answer(self._status())
        if request.path == "/sandbox/time" and request.verb in {"GET", "POST"}:
            return json_answer(await self._time(await request.json() if request.verb == "POST" else None))
        if route == ("POST", "/sandbox/tokens"):
            return self._token(await request.json())
        return self._metadata.answer(request) or text_answer("The sandbox has nothing here.\n", 404)

    def _token(self, value: object) -> Answer:
        if not isinstance(value, dict) or not isinstance(value.get("account"), str):
            raise ValueError('Send {"account": EMAIL}, or {"account": EMAIL, "revoke": true}.')
        if value.get("revoke"):
            return json_answer({"revoked": self._identity.revoke_tokens(value["account"])})
        token = self._identity.issue_token(value["account"])
        return json_answer({"access_token": token.value, "expires": token.expires})
