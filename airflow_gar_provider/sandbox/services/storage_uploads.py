"""The three ways to upload an object: plain media, multipart/related, resumable.

Google's own tools disagree about multipart: apitools (gcloud, gsutil) puts the boundary in single quotes and ends
lines with a bare LF; google-cloud-storage uses double quotes and CRLF, and no CRLF after the last boundary. All
of it is read here.
"""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ..errors import ApiError
from ..web import Answer, json_answer
from .storage_conditions import Conditions

if TYPE_CHECKING:
    from pathlib import Path

    from ..web import Request
    from .storage_objects import Buckets

_MULTIPART_LIMIT = 256 << 20


@dataclass(frozen=True)
class Upload:
    """A finished upload: what the new object shall be."""

    name: str
    """The object's name."""
    blob: str
    """The blob with its bytes."""
    settings: dict[str, Any]
    """The metadata that came along."""
    conditions: Conditions
    """The preconditions of the request."""


@dataclass
class _Session:
    name: str
    blob: str
    path: Path
    settings: dict[str, Any]
    conditions: Conditions
    size: int = 0


class Uploads:
    """Reads uploads into blobs."""

    def __init__(self, buckets: Buckets) -> None:
        self._blobs = buckets.blobs
        self._sessions: dict[str, _Session] = {}
        self._finished: dict[str, dict[str, Any]] = {}

    async def begin(self, request: Request, bucket: str, kind: str) -> Upload | Answer:
        """The first request of an upload."""
        conditions = Conditions.from_query(request.query)
        if kind == "multipart":
            settings, media = _multipart(await request.body(_MULTIPART_LIMIT), request.header("content-type") or "")
            blob, path = self._blobs.new()
            path.write_bytes(media)
            name = str(request.query.get("name") or settings.get("name", ""))
            return Upload(name, blob, settings, conditions)
        if kind == "media":
            blob, path = self._blobs.new()
            try:
                with path.open("wb") as file:
                    async for piece in request.chunks():
                        file.write(piece)
            except ConnectionResetError:
                self._blobs.delete(blob)
                raise
            settings = {"contentType": request.header("content-type") or "application/octet-stream"}
            return Upload(request.query.get("name", ""), blob, settings, conditions)
        if kind == "resumable":
            return await self._start(request, bucket, conditions)
        raise ApiError("INVALID_ARGUMENT", f"Invalid uploadType: {kind}")

    async def _start(self, request: Request, bucket: str, conditions: Conditions) -> Answer:
        settings = await request.json() or {}
        if not isinstance(settings, dict):
            raise ApiError("INVALID_ARGUMENT", "The metadata is not a JSON object.")
        name = request.query.get("name") or str(settings.get("name", ""))
        content_type = request.header("x-upload-content-type")
        if content_type:
            settings.setdefault("contentType", content_type)
        blob, path = self._blobs.new()
        path.touch()
        identifier = secrets.token_urlsafe(24)
        self._sessions[identifier] = _Session(name, blob, path, settings, conditions)
        prefix = "/resumable/upload" if request.raw_path.startswith("/resumable") else "/upload"
        where = f"https://{request.connection.host}{prefix}/storage/v1/b/{quote(bucket, safe='')}/o"
        location = f"{where}?uploadType=resumable&upload_id={identifier}"
        return Answer(200, headers={"location": location, "x-guploader-uploadid": identifier})

    def _session(self, request: Request) -> tuple[str, _Session]:
        identifier = request.query.get("upload_id", "")
        session = self._sessions.get(identifier)
        if session is None:
            raise ApiError("NOT_FOUND", "No such upload session.")
        return identifier, session

    async def resume(self, request: Request) -> Upload | Answer:
        """One chunk; the object's parts when it was the last; the object when that has been told before."""
        finished = self._finished.get(request.query.get("upload_id", ""))
        if finished is not None:
            # The last answer was lost: the client asks how far its upload is.
            return json_answer(finished)
        identifier, session = self._session(request)
        header = request.header("content-range")
        start, total = _content_range(header, session.size)
        if start > session.size:
            raise ApiError("INVALID_ARGUMENT", "Invalid request. The upload's bytes have a gap.")
        with session.path.open("r+b") as file:
            file.seek(start)
            async for piece in request.chunks():
                file.write(piece)
                session.size = max(session.size, file.tell())
        if total is None or session.size < total:
            headers = {"range": f"bytes=0-{session.size - 1}"} if session.size else {}
            return Answer(308, headers=headers)
        del self._sessions[identifier]
        return Upload(session.name, session.blob, session.settings, session.conditions)

    def finish(self, request: Request, written: dict[str, Any]) -> None:
        """Remember what an upload became."""
        self._finished[request.query["upload_id"]] = written

    def cancel(self, request: Request) -> None:
        """Forget an upload."""
        identifier, session = self._session(request)
        self._blobs.delete(session.blob)
        del self._sessions[identifier]


def _content_range(header: str | None, size: int) -> tuple[int, int | None]:
    """Where this request's bytes start, and how many there will be (None: not known yet)."""
    if header is None:
        return 0, 0
    match = re.fullmatch(r"bytes (?:([0-9]{1,18})-[0-9]{1,18}|\*)/([0-9]{1,18}|\*)", header.strip())
    if match is None:
        raise ApiError("INVALID_ARGUMENT", f"Invalid Content-Range: {header}")
    first, total = match.groups()
    return (int(first) if first else size), (None if total == "*" else int(total))


def _multipart(body: bytes, content_type: str) -> tuple[dict[str, Any], bytes]:
    """The metadata and the media of a multipart/related body."""
    match = re.search(r"boundary=(?:\"([^\"]+)\"|'([^']+)'|([^;\s]+))", content_type)
    if match is None:
        raise ApiError("INVALID_ARGUMENT", "Missing multipart boundary.")
    boundary = next(group for group in match.groups() if group).encode()
    # The line end of the first line is that of all: a media part may itself end in the other kind.
    line = rb"\r\n" if body.partition(b"\n")[0].endswith(b"\r") else rb"\n"
    parts = re.split(rb"(?:^|" + line + rb")--" + re.escape(boundary) + rb"(?:--)?[ \t]*(?:" + line + rb"|$)", body)
    parts = [part for part in parts[1:] if part.strip()]
    if not parts:
        raise ApiError("INVALID_ARGUMENT", "Malformed multipart body.")
    _, metadata = _head_and_body(parts[0])
    head, media = _head_and_body(parts[1]) if len(parts) > 1 else (b"", b"")
    try:
        settings = json.loads(metadata)
    except ValueError as error:
        raise ApiError("INVALID_ARGUMENT", f"Metadata part is not JSON: {error}") from error
    if not isinstance(settings, dict):
        raise ApiError("INVALID_ARGUMENT", "The metadata part is not a JSON object.")
    media_type = re.search(rb"(?im)^content-type:\s*([^\r\n]+)", head)
    if media_type is not None:
        settings.setdefault("contentType", media_type.group(1).decode("latin-1").strip())
    return settings, media


def _head_and_body(part: bytes) -> tuple[bytes, bytes]:
    # A part may have no header at all; then it starts with the empty line.
    pieces = re.split(rb"(?:\A|\r?\n)\r?\n", part, maxsplit=1)
    return (pieces[0], pieces[1]) if len(pieces) == 2 else (pieces[0], b"")
