"""A wheel's METADATA, read out of the registry without downloading the whole wheel.

Artifact Registry serves no `.metadata` files (PEP 658; uv #6104). It serves byte ranges behind its redirect
(uv #18998), and a zip file has its table of contents at the end: a small wheel is one request, a big one two or three.
"""

from __future__ import annotations

import io
import re
import zipfile

from airflow_gar_provider.core import archive as zipped
from airflow_gar_provider.errors import GoogleApiError
from airflow_gar_provider.gcp.session import CALL_TIMEOUT, Session, error_of_response, google_errors

_TAIL = 64 << 10
"""Bytes of the first request: all of a small wheel, and the table of contents of most others."""
_LIMIT = 10 << 20
"""A METADATA file that claims to be larger is not read."""


def metadata_of(session: Session, url: str) -> str:
    """The METADATA of the wheel at `url` (of an index page). Raises GoogleApiError for a file that is no wheel."""
    try:
        with zipfile.ZipFile(_Remote(session, url)) as archive:
            names = [name for name in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", name)]
            if len(names) != 1 or archive.getinfo(names[0]).file_size > _LIMIT:
                raise GoogleApiError("the wheel has no readable METADATA", resource=url)
            return archive.read(names[0]).decode("utf-8", "replace")
    except zipped.UNREADABLE as error:
        raise GoogleApiError(f"the file in the registry is no wheel: {error}", resource=url) from error


class _Remote(io.RawIOBase):
    """A remote file, as zipfile reads one: `_data` holds what was fetched, from `_start` on."""

    def __init__(self, session: Session, url: str) -> None:
        super().__init__()
        self._session, self._url = session, url
        self._at = 0
        self._start, self._data, self._size = 0, b"", 0
        self._fetch(f"bytes=-{_TAIL}")

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """The position."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move; nothing is fetched."""
        at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if at < 0:
            raise ValueError("a seek to before the file's begin")
        self._at = at
        return at

    def read(self, size: int = -1) -> bytes:
        """Bytes from the position on; what is not here yet is fetched, 64 KiB at least."""
        end = self._size if size < 0 else min(self._size, self._at + size)
        if end <= self._at:
            return b""
        if not self._start <= self._at <= end <= self._start + len(self._data):
            self._fetch(f"bytes={self._at}-{max(end, min(self._size, self._at + _TAIL)) - 1}")
        piece = self._data[self._at - self._start : end - self._start]
        self._at += len(piece)
        return piece

    def _fetch(self, span: str) -> None:
        with google_errors("read a wheel in the registry", resource=self._url):
            response = self._session.http.get(self._url, headers={"Range": span}, timeout=CALL_TIMEOUT)
        if response.status_code == 206:
            found = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
            if found:
                self._start, self._size, self._data = int(found[1]), int(found[2]), response.content
                return
        if response.status_code == 200:  # a server without ranges, or a file that is smaller than the range
            self._start, self._size, self._data = 0, len(response.content), response.content
            return
        raise error_of_response(response, "read a wheel in the registry", resource=self._url)
