"""The one port: a CONNECT proxy that ends TLS for Google's hosts, and the sandbox's own HTTP for everything else.

After CONNECT the host is known, so TLS ends here with a certificate for that host. What was negotiated decides:
`h2` alone is gRPC and is piped to the gRPC server of that API on a Unix socket; the rest is HTTP/1.1 and gets
uvicorn's protocol in this process, no second hop. Requests in origin form are the metadata server and the
sandbox's control; other hosts are refused.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from uvicorn.protocols.http.h11_impl import H11Protocol

from .web import Connection

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    import uvicorn
    from uvicorn.server import ServerState

logger = logging.getLogger(__name__)

_HEAD_LIMIT = 64 << 10
_HANDSHAKE_SECONDS = 30


class _Served(H11Protocol):
    """uvicorn's protocol, which tells the client at once that its bytes have come.

    A client behind a proxy (urllib3) leaves Nagle's algorithm on: it sends a request's head, and holds a small body
    back until the head is acknowledged, for which Linux takes 40 ms. A small upload lasted 50 ms instead of 3 ms.
    """

    def data_received(self, data: bytes) -> None:
        """Part of a request."""
        handle = self.transport.get_extra_info("socket")
        if handle is not None and hasattr(socket, "TCP_QUICKACK"):
            with suppress(OSError):  # the client has gone
                handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        super().data_received(data)


class Backends:
    """What the proxy hands connections to."""

    def __init__(
        self,
        config: uvicorn.Config,
        state: ServerState,
        *,
        plays: Callable[[str], bool],
        context: Callable[[str], ssl.SSLContext],
        grpc_socket: Callable[[str], Awaitable[Path | None]],
        tunnels: Callable[[str], Awaitable[bool]],
        proxy_account: Callable[[str | None], str | None],
    ) -> None:
        self.config = config
        self.state = state
        self.plays = plays
        self.context = context
        self.grpc_socket = grpc_socket
        self.tunnels = tunnels
        self.proxy_account = proxy_account
        self.refused: list[str] = []
        self.transports: weakref.WeakSet[asyncio.BaseTransport] = weakref.WeakSet()
        self.tasks: set[asyncio.Task[None]] = set()

    def http(self, connection: Connection) -> asyncio.Protocol:
        """uvicorn's HTTP/1.1 protocol; its third argument arrives as `scope["state"]`."""
        return _Served(self.config, self.state, {"connection": connection})


class _Buffer(asyncio.Protocol):
    """Holds what arrives between two protocols of one transport."""

    def __init__(self) -> None:
        self.data = b""
        self.lost = False

    def data_received(self, data: bytes) -> None:
        self.data += data

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True


class _Pipe(asyncio.Protocol):
    """One direction of a byte pipe; its partner is the other transport's protocol."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.partner: _Pipe | None = None
        self._early = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        if self._early:
            transport.write(self._early)

    def data_received(self, data: bytes) -> None:
        assert self.partner is not None
        if self.partner.transport is None:
            # The other side is not there yet, and gRPC servers speak first.
            self.partner._early += data
        else:
            self.partner.transport.write(data)

    def eof_received(self) -> bool:
        other = self.partner.transport if self.partner else None
        if other is not None and other.can_write_eof():
            other.write_eof()
            # TLS cannot be closed in one direction only.
            return self.transport is not None and self.transport.get_extra_info("ssl_object") is None
        return False

    def pause_writing(self) -> None:
        if self.partner is not None and self.partner.transport is not None:
            self.partner.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.partner is not None and self.partner.transport is not None:
            self.partner.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.partner is not None and self.partner.transport is not None:
            self.partner.transport.close()


def _pair() -> tuple[_Pipe, _Pipe]:
    one, other = _Pipe(), _Pipe()
    one.partner, other.partner = other, one
    return one, other


class FrontDoor(asyncio.Protocol):
    """Reads the first request of a connection and gives the connection to whom it is for."""

    def __init__(self, backends: Backends) -> None:
        self._backends = backends
        self._transport: asyncio.Transport | None = None
        self._data = b""
        self._decided = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._backends.transports.add(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone before its first request was read."""
        if self._transport is not None:
            self._backends.transports.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        """Collect the head of the first request."""
        self._data += data
        if self._decided:
            return
        head, end, rest = self._data.partition(b"\r\n\r\n")
        if not end:
            if len(self._data) > _HEAD_LIMIT:
                self._refuse(431, "The request's head is too long.")
            return
        self._decided = True
        lines = head.decode("latin-1").split("\r\n")
        verb, _, target = lines[0].partition(" ")
        target = target.rpartition(" ")[0]
        headers = dict(line.split(":", 1) for line in lines[1:] if ":" in line)
        headers = {name.strip().lower(): value.strip() for name, value in headers.items()}
        if verb == "CONNECT":
            self._start(self._connect(target, headers, rest))
        elif target.startswith("/"):
            self._serve(Connection(None, transport=self._transport), self._data)
        else:
            self._start(self._forward(verb, target, lines, rest))

    def _start(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(self._guard(work))
        self._backends.tasks.add(task)
        task.add_done_callback(self._backends.tasks.discard)

    async def _guard(self, work: Any) -> None:
        try:
            await work
        except (OSError, EOFError, asyncio.TimeoutError) as error:
            logger.info("connection ended: %r", error)
            self._close()
        except Exception:
            logger.exception("sandbox bug: proxy")
            self._close()

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _serve(self, connection: Connection, data: bytes) -> None:
        assert self._transport is not None
        protocol = self._backends.http(connection)
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)
        protocol.data_received(data)

    def _refuse(self, status: int, text: str, headers: str = "") -> None:
        assert self._transport is not None
        body = f"{text}\n".encode()
        head = f"HTTP/1.1 {status} Refused by the sandbox\r\nContent-Type: text/plain\r\n{headers}"
        self._transport.write(f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
        self._transport.close()

    def _refuse_host(self, host: str) -> None:
        self._backends.refused.append(host)
        logger.warning("refused: %s", host)
        self._refuse(
            403,
            f"The sandbox plays Google and lets nothing else out: {host} is refused. To allow it, start the sandbox "
            f"with --allow-host {host}. (A database or secrets backend on another machine needs this too.)",
        )

    async def _connect(self, target: str, headers: dict[str, str], rest: bytes) -> None:
        host, _, port = target.rpartition(":")
        host = host.strip("[]").lower()
        try:
            account = self._backends.proxy_account(headers.get("proxy-authorization"))
        except PermissionError:
            self._refuse(407, "Unknown proxy user.", 'Proxy-Authenticate: Basic realm="sandbox"\r\n')
            return
        if self._backends.plays(host) and port == "443":
            await self._terminate(host, account, rest)
        elif await self._backends.tunnels(host):
            await self._tunnel(host, int(port), b"HTTP/1.1 200 Connection established\r\n\r\n", rest)
        else:
            self._refuse_host(host)

    async def _terminate(self, host: str, account: str | None, rest: bytes) -> None:
        """End TLS here and hand the plain bytes on."""
        assert self._transport is not None
        if rest:
            raise EOFError("data before the CONNECT was answered")
        raw, buffer = self._transport, _Buffer()
        raw.pause_reading()
        raw.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        loop = asyncio.get_running_loop()
        secure = await loop.start_tls(
            raw,
            buffer,
            self._backends.context(host),
            server_side=True,
            ssl_handshake_timeout=_HANDSHAKE_SECONDS,
        )
        if secure is None or buffer.lost:
            return
        self._transport = secure
        self._backends.transports.add(secure)
        if secure.get_extra_info("ssl_object").selected_alpn_protocol() == "h2":
            path = await self._backends.grpc_socket(host)
            if path is None:
                secure.abort()
                return
            inner, outer = _pair()
            await loop.create_unix_connection(lambda: inner, str(path))
            self._join(secure, inner, outer, buffer)
            return
        protocol = self._backends.http(Connection(host, account, secure))
        secure.set_protocol(protocol)
        protocol.connection_made(secure)
        if buffer.data:
            protocol.data_received(buffer.data)

    def _join(self, outer_transport: asyncio.Transport, inner: _Pipe, outer: _Pipe, buffer: _Buffer) -> None:
        outer_transport.set_protocol(outer)
        outer.connection_made(outer_transport)
        if inner.transport is not None:
            self._backends.transports.add(inner.transport)
        if buffer.data:
            outer.data_received(buffer.data)
        if buffer.lost:
            outer.connection_lost(None)

    async def _tunnel(self, host: str, port: int, greeting: bytes, first: bytes) -> None:
        """Join the client with a real host, byte for byte."""
        assert self._transport is not None
        outer_transport, buffer = self._transport, _Buffer()
        inner, outer = _pair()
        outer_transport.set_protocol(buffer)
        try:
            await asyncio.get_running_loop().create_connection(lambda: inner, host, port)
        except OSError as error:
            self._refuse(502, f"The sandbox allows {host}, but it cannot be reached: {error}")
            return
        assert inner.transport is not None
        outer_transport.write(greeting)
        inner.transport.write(first)
        self._join(outer_transport, inner, outer, buffer)

    async def _forward(self, verb: str, target: str, lines: list[str], rest: bytes) -> None:
        """A plain `GET http://host/…` through the proxy."""
        parts = urlsplit(target)
        host = (parts.hostname or "").lower()
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        kept = [line for line in lines[1:] if not line.lower().startswith(("proxy-", "connection:"))]
        head = "\r\n".join([f"{verb} {path} HTTP/1.1", *kept, "Connection: close", "", ""]).encode("latin-1")
        if host in {"metadata.google.internal", "169.254.169.254"}:
            self._serve(Connection(None, transport=self._transport), head + rest)
        elif parts.scheme == "http" and await self._backends.tunnels(host):
            await self._tunnel(host, parts.port or 80, b"", head + rest)
        else:
            self._refuse_host(host or target)
