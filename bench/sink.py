"""An index that takes every upload and keeps nothing: as fast as a loopback socket is, so that it measures the clients.

`python -m bench.sink` prints its port and serves until it is killed.
"""

from __future__ import annotations

import socket
import threading

_BLOCK = 1 << 20
_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def _answer(client: socket.socket) -> None:
    buffer = bytearray(_BLOCK)
    view = memoryview(buffer)
    with client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while True:
            head = b""
            while b"\r\n\r\n" not in head:
                count = client.recv_into(buffer)
                if not count:
                    return
                head += view[:count].tobytes()
            head, _, begun = head.partition(b"\r\n\r\n")
            fields = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:])
            if fields.get(b"expect", b"").strip() == b"100-continue":
                client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            missing = int(fields.get(b"content-length", b"0")) - len(begun)
            while missing > 0:
                count = client.recv_into(buffer)
                if not count:
                    return
                missing -= count
            client.sendall(_OK)


def main() -> None:
    """Serve on a free port of the loopback."""
    server = socket.create_server(("127.0.0.1", 0))
    print(server.getsockname()[1], flush=True)
    while True:
        client, _ = server.accept()
        threading.Thread(target=_answer, args=(client,), daemon=True).start()


if __name__ == "__main__":
    main()
