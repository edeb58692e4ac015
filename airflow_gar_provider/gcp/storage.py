"""Cloud Storage: objects with their generations."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path

from google.api_core.exceptions import NotModified
from google.cloud import storage
from google.cloud.exceptions import NotFound
from requests.adapters import HTTPAdapter

from airflow_gar_provider.gcp.session import CALL_TIMEOUT, Session, google_errors

CONNECTIONS = 16
"""So many calls of several threads find an open connection; requests keeps ten, and warns of each one it drops."""


@dataclass(frozen=True)
class StoredObject:
    """One object of a bucket."""

    bucket: str
    name: str
    size: int
    """Bytes."""
    generation: int
    md5: str
    """Hexadecimal; empty for composed objects, which have none."""

    @property
    def uri(self) -> str:
        """`gs://BUCKET/NAME`."""
        return f"gs://{self.bucket}/{self.name}"


class Storage:
    """One identity's view of Cloud Storage. Errors: see `gcp.session.google_errors`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @cached_property
    def _client(self) -> storage.Client:
        # Without a project the client would look for a default one; no call here needs it.
        client = storage.Client(project=self._session.project_id or "-", credentials=self._session.credentials)
        # Since 3.11 the client starts a thread and asks `buckets.get` for every bucket that it sees, for traces that
        # are off; who may only read objects gets an entry in the audit log each time. There is only a switch for the
        # whole process (googleapis/google-cloud-python#17650).
        client._bucket_metadata_cache = None
        http = client._http
        if not http.is_mtls:  # a client certificate is part of the adapter that would be replaced
            http.mount("https://", HTTPAdapter(pool_maxsize=CONNECTIONS))
        return client

    def read(self, bucket: str, name: str) -> tuple[bytes, int] | None:
        """Content and generation, or None when there is no such object."""
        blob = self._client.bucket(bucket).blob(name)
        with google_errors("read the object", resource=f"gs://{bucket}/{name}"):
            try:
                content = blob.download_as_bytes(timeout=CALL_TIMEOUT)
            except NotFound:
                return None
        return content, int(blob.generation)

    def read_unless(self, bucket: str, name: str, generation: int) -> tuple[bytes, int] | None:
        """Content and generation of an object that has another generation; None when it still has this one.

        An object that is not there has the generation 0, and no content. A read that asks `ifGenerationNotMatch` is
        answered with 304 when the generation is the same (Cloud Storage page "Request preconditions").
        """
        blob = self._client.bucket(bucket).blob(name)
        with google_errors("read the object", resource=f"gs://{bucket}/{name}"):
            try:
                content = blob.download_as_bytes(if_generation_not_match=generation, timeout=CALL_TIMEOUT)
            except NotModified:
                return None
            except NotFound:
                return b"", 0
        return content, int(blob.generation)

    def write(
        self,
        bucket: str,
        name: str,
        content: bytes,
        *,
        if_generation: int | None = None,
        notes: Mapping[str, str] | None = None,
    ) -> int:
        """Write an object; returns its generation.

        `if_generation` is the generation that is replaced, 0 for an object that must not exist; when another one is
        there, ConcurrentChangeError. `notes`: custom metadata of this generation; whoever writes the next one does not
        take it over.
        """
        blob = self._client.bucket(bucket).blob(name)
        blob.metadata = dict(notes) if notes else None
        with google_errors("write the object", resource=f"gs://{bucket}/{name}"):
            blob.upload_from_string(
                content, content_type="text/plain", if_generation_match=if_generation, timeout=CALL_TIMEOUT
            )
        return int(blob.generation)

    def delete(self, bucket: str, name: str, *, if_generation: int | None = None) -> None:
        """Delete an object; one that is not there is no error. `if_generation`: only this one, else
        ConcurrentChangeError.
        """
        with google_errors("delete the object", resource=f"gs://{bucket}/{name}"):
            try:
                blob = self._client.bucket(bucket).blob(name)
                blob.delete(if_generation_match=if_generation, timeout=CALL_TIMEOUT)
            except NotFound:
                return

    def copy(
        self,
        bucket: str,
        name: str,
        target: str,
        *,
        to_bucket: str | None = None,
        generation: int | None = None,
        if_generation: int,
    ) -> int:
        """Copy an object, on Google's side; returns the copy's generation.

        `to_bucket` is where to, the object's own bucket when None. `generation` is the source's (None: the live one);
        NotFoundError when it is gone. `if_generation` is what the copy replaces, 0 for nothing; when something else is
        there, ConcurrentChangeError.
        """
        place = self._client.bucket(bucket)
        with google_errors("copy the object", resource=f"gs://{bucket}/{name}"):
            copied = place.copy_blob(
                place.blob(name),
                self._client.bucket(to_bucket) if to_bucket else place,
                target,
                source_generation=generation,
                if_generation_match=if_generation,
                timeout=CALL_TIMEOUT,
            )
        return int(copied.generation)

    def notes(self, bucket: str, name: str) -> tuple[dict[str, str], int]:
        """The custom metadata of the live generation of an object, and that generation; empty and 0 for no object."""
        with google_errors("look at the object", resource=f"gs://{bucket}/{name}"):
            found = self._client.bucket(bucket).get_blob(name, timeout=CALL_TIMEOUT)
        return (dict(found.metadata or {}), int(found.generation)) if found is not None else ({}, 0)

    def written(self, bucket: str, name: str) -> datetime | None:
        """When the live generation of an object was written, by Google's clock; None when there is no object."""
        with google_errors("look at the object", resource=f"gs://{bucket}/{name}"):
            found = self._client.bucket(bucket).get_blob(name, timeout=CALL_TIMEOUT)
        return found.time_created if found is not None else None

    def list(self, bucket: str, prefix: str) -> Iterator[StoredObject]:
        """The objects below a prefix, by name."""
        with google_errors("list objects", resource=f"gs://{bucket}/{prefix}"):
            for blob in self._client.list_blobs(bucket, prefix=prefix, timeout=CALL_TIMEOUT):
                md5 = base64.b64decode(blob.md5_hash).hex() if blob.md5_hash else ""
                yield StoredObject(bucket, blob.name, int(blob.size or 0), int(blob.generation), md5)

    def download(self, bucket: str, name: str, target: Path) -> None:
        """Write an object's content to a local file."""
        with google_errors("download the object", resource=f"gs://{bucket}/{name}"):
            self._client.bucket(bucket).blob(name).download_to_filename(str(target), timeout=CALL_TIMEOUT)

    def upload(self, bucket: str, name: str, source: Path, *, if_generation: int | None = None) -> int:
        """Write a local file to an object; returns its generation. `if_generation` as in `write`."""
        blob = self._client.bucket(bucket).blob(name)
        with google_errors("upload to the object", resource=f"gs://{bucket}/{name}"):
            blob.upload_from_filename(str(source), if_generation_match=if_generation, timeout=CALL_TIMEOUT)
        return int(blob.generation)
