"""Plain HTTP: the request and the answer as values, and their way through ASGI. Bodies stream; nothing is added up
in memory.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from .errors import ApiError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
    from pathlib import Path

    Scope = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
    Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_CHUNK = 1 << 18
_BODY_LIMIT = 64 << 20
_DIGITS = 19
_RANGE = re.compile(r"bytes\s*=\s*([0-9]{0,18})-([0-9]{0,18})", re.IGNORECASE)


@dataclass(frozen=True)
class Connection:
    """The connection that a request came over."""

    host: str | None
    """The Google host that the client connected to; None for requests to the sandbox's own port."""
    account: str | None = None
    """The account of the proxy user, when the client named one."""
    transport: asyncio.BaseTransport | None = None
    """What to cut when a fault asks for it."""

    def cut(self) -> None:
        """Drop the connection without an answer."""
        abort = getattr(self.transport, "abort", None)
        if abort is not None:
            abort()


class Request:
    """One HTTP request."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.scope = scope
        self.receive = receive
        self.verb: str = scope["method"]
        self.raw_path: str = scope["raw_path"].decode("ascii").partition("?")[0]
        self.path: str = scope["path"]
        self.query_string: str = scope["query_string"].decode("latin-1")
        self.query: dict[str, str] = dict(parse_qsl(self.query_string, keep_blank_values=True))
        self.connection: Connection = scope["state"]["connection"]
        self._headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}

    def header(self, name: str) -> str | None:
        """A header's value."""
        return self._headers.get(name.lower())

    def parameter(self, name: str) -> str | None:
        """A query parameter's value."""
        return self.query.get(name)

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body, piece by piece."""
        more = True
        while more:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise ConnectionResetError("the client went away")
            more = message.get("more_body", False)
            if message.get("body"):
                yield message["body"]

    async def body(self, limit: int = _BODY_LIMIT) -> bytes:
        """The whole body of a request that is known to be small."""
        pieces: list[bytes] = []
        # A client that announces too much is refused before it sends it.
        announced = self.header("content-length") or "0"
        size = int(announced) if announced.isdecimal() and len(announced) < _DIGITS else 0
        if size > limit:
            raise ApiError("INVALID_ARGUMENT", "Request payload size exceeds the limit.", http_status=413)
        size = 0
        async for piece in self.chunks():
            size += len(piece)
            if size > limit:
                raise ApiError("INVALID_ARGUMENT", "Request payload size exceeds the limit.", http_status=413)
            pieces.append(piece)
        return b"".join(pieces)

    async def json(self) -> Any:
        """The body as JSON; None when it is empty."""
        body = await self.body()
        if not body:
            return None
        try:
            return json.loads(body)
        except ValueError as error:
            raise ApiError("INVALID_ARGUMENT", f"Invalid JSON payload received. {error}") from error


@dataclass(frozen=True)
class Answer:
    """One HTTP answer."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json; charset=UTF-8"
    headers: Mapping[str, str] = field(default_factory=dict)
    file: Path | None = None
    """Streamed instead of `body`."""
    span: tuple[int, int] | None = None
    """First byte and end of the part of `file` to send."""

    async def send(self, send: Send, *, head_only: bool = False) -> None:
        """Write the answer to the client."""
        start, end = self.span or (0, self.file.stat().st_size if self.file else 0)
        length = end - start if self.file else len(self.body)
        headers = {"content-type": self.content_type, "content-length": str(length), **self.headers}
        if self.status in {204, 304} or self.status < 200:
            headers = {name: value for name, value in headers.items() if name not in {"content-type", "content-length"}}
        raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": self.status, "headers": raw})
        if self.file is None or head_only:
            await send({"type": "http.response.body", "body": b"" if head_only else self.body})
            return
        with self.file.open("rb") as file:
            file.seek(start)
            left = length
            while left > 0:
                piece = file.read(min(_CHUNK, left))
                if not piece:
                    break
                left -= len(piece)
                await send({"type": "http.response.body", "body": piece, "more_body": left > 0})
        if length == 0:
            await send({"type": "http.response.body", "body": b""})


def json_answer(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """A JSON answer; bytes are taken as JSON already."""
    body = value if isinstance(value, bytes) else json.dumps(value, indent=2, ensure_ascii=False).encode()
    return Answer(status, body, headers=headers or {})


def text_answer(
    text: str, status: int = 200, headers: Mapping[str, str] | None = None, *, html: bool = False
) -> Answer:
    """A plain text or HTML answer."""
    return Answer(status, text.encode(), f"text/{'html' if html else 'plain'}; charset=utf-8", headers or {})


def api_error(error: ApiError) -> Answer:
    """An API error in Google's JSON shape."""
    headers = {"www-authenticate": 'Bearer realm="https://accounts.google.com/"'} if error.http_status == 401 else {}
    if error.retry_after is not None:
        headers["retry-after"] = str(error.retry_after)
    return json_answer(error.json(), error.http_status, headers)


def file_answer(path: Path, range_header: str | None, content_type: str, headers: Mapping[str, str]) -> Answer:
    """A file or the byte range of it that the client asked for."""
    size = path.stat().st_size
    span = byte_range(range_header, size)
    if span is None:
        return Answer(200, content_type=content_type, headers=headers, file=path)
    start, end = span
    if start >= size:
        return Answer(416, b"", content_type, {**headers, "content-range": f"bytes */{size}"})
    part = {**headers, "content-range": f"bytes {start}-{end - 1}/{size}"}
    return Answer(206, content_type=content_type, headers=part, file=path, span=(start, end))


def byte_range(header: str | None, size: int) -> tuple[int, int] | None:
    """First byte and end of a `Range` header; None when there is none that counts."""
    match = _RANGE.fullmatch((header or "").strip())
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        return max(0, size - int(last)), size
    end = min(int(last) + 1, size) if last else size
    return int(first), max(end, int(first))
