"""The body of an upload: a form whose last field is a file, read from disk while it is sent."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO

from airflow_gar_provider.errors import FileChangedError

_BLOCK = 1 << 19
"""Bytes that are read, hashed and sent at once: http.client's own 8 KiB make sixty times the calls."""


class UploadBody:
    """A multipart/form-data body of constant memory, which never completes a file that changed after its check.

    The file is hashed again while it is sent, and its last bytes go out only when size and SHA-256 are still what the
    check saw. Otherwise FileChangedError is raised in the middle of the request: the connection is closed with a body
    that is shorter than announced, and the registry keeps nothing.

    It has a length, so that the request is not chunked (twine and uv send Content-Length), and it has no `tell`:
    requests would take its position off the length.
    """

    def __init__(
        self,
        fields: Sequence[tuple[str, str]],
        file: str,
        stream: BinaryIO,
        *,
        size: int,
        sha256: str,
        progress: Callable[[int], None],
    ) -> None:
        boundary = uuid.uuid4().hex
        self.content_type = f"multipart/form-data; boundary={boundary}"
        head = "".join(
            f'--{boundary}\r\nContent-Disposition: form-data; name="{_quoted(name)}"\r\n\r\n{value}\r\n'
            for name, value in fields
        )
        head += (
            f'--{boundary}\r\nContent-Disposition: form-data; name="content"; filename="{_quoted(file)}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        )
        self._head = head.encode()
        self._tail = f"\r\n--{boundary}--\r\n".encode()
        self._file, self._stream, self._size, self._sha256 = file, stream, size, sha256
        self._progress = progress

    def __len__(self) -> int:
        return len(self._head) + self._size + len(self._tail)

    def __iter__(self) -> Iterator[bytes]:
        """The body, from its start: a second try of the same request sends it whole."""
        digest, held = hashlib.sha256(), self._head
        if self._size <= _BLOCK:
            for block in self._blocks():
                digest.update(block)
                held += block
        else:
            # One block is hashed while the one before it is sent: both leave the interpreter to the other.
            with ThreadPoolExecutor(max_workers=1, thread_name_prefix="hash") as hasher:
                for block in self._blocks():
                    hashed = hasher.submit(digest.update, block)
                    yield held
                    hashed.result()
                    held = block
        if digest.hexdigest() != self._sha256:
            raise self._changed("its content is another")
        yield held + self._tail

    def _blocks(self) -> Iterator[bytes]:
        read = 0
        self._stream.seek(0)
        while block := self._read():
            read += len(block)
            if read > self._size:
                raise self._changed("it has grown")
            self._progress(read)
            yield block
        if read != self._size:
            raise self._changed("it has shrunk")

    def _read(self) -> bytes:
        try:
            return self._stream.read(_BLOCK)
        except OSError as error:  # else it would pass for a lost connection, and be tried again
            raise self._changed(f"it cannot be read any more ({error.strerror})") from error

    def _changed(self, how: str) -> FileChangedError:
        return FileChangedError(
            f"{self._file} changed while it was sent: {how}",
            resource=self._file,
            remedy="nothing of it was published: let whoever writes the file end, then run this task again",
        )


def _quoted(text: str) -> str:
    """A name inside quotes, as browsers and urllib3 write it: three characters are percent-encoded."""
    return text.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
