"""The buckets and objects of Cloud Storage as values: generations, preconditions, checksums. The API is in
`storage`.
"""

from __future__ import annotations

import base64
import hashlib
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import google_crc32c

from ..clock import now, rfc3339
from ..errors import ApiError
from .storage_conditions import WRITABLE, checked

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from ..policies import Policies
    from ..store import Store
    from .storage_conditions import Conditions

_CHUNK = 1 << 20
_BUCKET_WRITABLE = (
    "autoclass",
    "billing",
    "cors",
    "defaultEventBasedHold",
    "encryption",
    "hierarchicalNamespace",
    "iamConfiguration",
    "labels",
    "lifecycle",
    "logging",
    "retentionPolicy",
    "rpo",
    "softDeletePolicy",
    "storageClass",
    "versioning",
    "website",
)


class Buckets:
    """Buckets and their objects."""

    def __init__(self, store: Store, policies: Policies) -> None:
        self.blobs = store.blobs
        self._buckets = store.collection("buckets")
        self._objects = store.collection("objects")
        # Keyed BUCKET/NAME, line feed, generation: a name cannot hold a line feed.
        self._noncurrent = store.collection("noncurrent_objects")
        self._policies = policies
        self._last_generation = 0

    # Buckets

    def bucket(self, name: str) -> dict[str, Any]:
        """The bucket; NOT_FOUND when there is none."""
        value: dict[str, Any] | None = self._buckets.get(name)
        if value is None:
            raise ApiError("NOT_FOUND", "The specified bucket does not exist.")
        return value

    def has_bucket(self, name: str) -> bool:
        """True when the bucket exists."""
        return name in self._buckets

    def buckets(self, project: str) -> list[dict[str, Any]]:
        """The buckets of a project."""
        return [value for _, value in self._buckets.items() if value["project"] == project]

    def add_bucket(self, project: str, name: str, *, number: str, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Create a bucket; ALREADY_EXISTS when the name is taken, by whomever."""
        if name in self._buckets:
            text = "Your previous request to create the named bucket succeeded and you already own it."
            raise ApiError("ALREADY_EXISTS", text)
        moment = rfc3339(now())
        value = {
            "storageClass": "STANDARD",
            "iamConfiguration": {"uniformBucketLevelAccess": {"enabled": True}},
            "location": str(settings.get("location") or "US").upper(),
            **{field: settings[field] for field in _BUCKET_WRITABLE if settings.get(field) is not None},
            "kind": "storage#bucket",
            "id": name,
            "name": name,
            "project": project,
            "projectNumber": number,
            "metageneration": "1",
            "locationType": "region",
            "timeCreated": moment,
            "updated": moment,
            "etag": "CAE=",
            "selfLink": f"https://www.googleapis.com/storage/v1/b/{name}",
        }
        self._buckets.put(name, value)
        self._policies.set_parent(f"buckets/{name}", project)
        return value

    def change_bucket(self, name: str, settings: Mapping[str, Any], *, whole: bool = False) -> dict[str, Any]:
        """Change a bucket's settings; with `whole` those that are not named are gone (buckets.update)."""
        value = self.bucket(name)
        if whole:
            value = {field: item for field, item in value.items() if field not in _BUCKET_WRITABLE}
            value["storageClass"] = "STANDARD"
        for field in _BUCKET_WRITABLE:
            if field in settings and settings[field] is None:
                value.pop(field, None)
            elif field == "labels" and not whole and "labels" in settings:
                merged = {**value.get("labels", {}), **settings["labels"]}
                value["labels"] = {key: text for key, text in merged.items() if text is not None}
            elif field in settings:
                value[field] = settings[field]
        value["metageneration"] = str(int(value["metageneration"]) + 1)
        value["etag"] = base64.b64encode(f"b/{value['metageneration']}".encode()).decode()
        value["updated"] = rfc3339(now())
        self._buckets.put(name, value)
        return value

    def versioned(self, name: str) -> bool:
        """True when the bucket keeps noncurrent versions of its objects."""
        return bool((self.bucket(name).get("versioning") or {}).get("enabled"))

    def delete_bucket(self, name: str) -> None:
        """Remove an empty bucket; noncurrent versions count."""
        self.bucket(name)
        if any(True for kept in (self._objects, self._noncurrent) for _ in kept.items_bytes(f"{name}/")):
            raise ApiError("ABORTED", "The bucket you tried to delete is not empty.")
        self._buckets.delete(name)
        self._policies.delete(f"buckets/{name}")

    # Objects

    def find(self, bucket: str, name: str) -> dict[str, Any] | None:
        """The live object's record, with the id of its blob under `blob`."""
        value: dict[str, Any] | None = self._objects.get(f"{bucket}/{name}")
        return value

    def object(self, bucket: str, name: str, generation: str | None = None) -> dict[str, Any]:
        """The live object, or the version of that generation; NOT_FOUND when there is none."""
        self.bucket(bucket)
        value = self.find(bucket, name)
        if generation and (value is None or value["generation"] != generation):
            value = self._noncurrent.get(f"{bucket}/{name}\n{generation}")
        if value is None:
            raise ApiError("NOT_FOUND", f"No such object: {bucket}/{name}")
        return value

    def objects(self, bucket: str, prefix: str = "") -> Iterator[dict[str, Any]]:
        """The live objects whose name starts with `prefix`, by name."""
        for _, value in self._objects.items(f"{bucket}/{prefix}"):
            yield value

    def versions(self, bucket: str, prefix: str = "") -> list[dict[str, Any]]:
        """Every version of the objects whose name starts with `prefix`: by name, then oldest first."""
        noncurrent = [value for _, value in self._noncurrent.items(f"{bucket}/{prefix}")]
        found = [*self.objects(bucket, prefix), *noncurrent]
        return sorted(found, key=lambda record: (record["name"], int(record["generation"])))

    def path(self, record: Mapping[str, Any]) -> Path:
        """Where the object's bytes are."""
        return self.blobs.path(record["blob"])

    def read(self, bucket: str, name: str) -> bytes | None:
        """The bytes of a small object; None when there is none."""
        record = self.find(bucket, name)
        return None if record is None else self.path(record).read_bytes()

    def write(
        self, bucket: str, name: str, blob: str, settings: Mapping[str, Any], conditions: Conditions
    ) -> dict[str, Any]:
        """Make a blob the new live generation of an object, unless a precondition or a checksum speaks against it."""
        current = self.find(bucket, name)
        try:
            checked(settings)
            conditions.check(current)
            md5, crc32c, size = _checksums(self.blobs.path(blob))
            for field, value in (("md5Hash", md5), ("crc32c", crc32c)):
                if settings.get(field) not in {None, "", value}:
                    text = f'Provided {field} "{settings[field]}" doesn\'t match calculated {field} "{value}".'
                    raise ApiError("INVALID_ARGUMENT", text)
        except ApiError:
            self.blobs.delete(blob)
            raise
        record = self._record(bucket, name, blob, settings)
        record.update({"size": str(size), "md5Hash": md5, "crc32c": crc32c})
        if current is not None:
            self._retire(current)
        self._objects.put(f"{bucket}/{name}", record)
        return record

    def composed(self, bucket: str, name: str, count: int) -> dict[str, Any]:
        """Mark a live object as made of others: it has a count, and no MD5."""
        record = {field: value for field, value in self.object(bucket, name).items() if field != "md5Hash"}
        record["componentCount"] = count
        self._objects.put(f"{bucket}/{name}", record)
        return record

    def _retire(self, record: Mapping[str, Any]) -> None:
        """The live version is live no more: kept in a bucket with versioning, gone in any other."""
        if self.versioned(record["bucket"]):
            key = f"{record['bucket']}/{record['name']}\n{record['generation']}"
            self._noncurrent.put(key, {**record, "timeDeleted": rfc3339(now())})
        else:
            self.blobs.delete(record["blob"])

    def _record(self, bucket: str, name: str, blob: str, settings: Mapping[str, Any]) -> dict[str, Any]:
        generation, moment = self._generation(), rfc3339(now())
        place = f"b/{bucket}/o/{quote(name, safe='')}"
        return {
            "contentType": "application/octet-stream",
            **{field: settings[field] for field in WRITABLE if settings.get(field)},
            "kind": "storage#object",
            "id": f"{bucket}/{name}/{generation}",
            "selfLink": f"https://www.googleapis.com/storage/v1/{place}",
            "mediaLink": f"https://storage.googleapis.com/download/storage/v1/{place}?generation={generation}&alt=media",
            "name": name,
            "bucket": bucket,
            "generation": str(generation),
            "metageneration": "1",
            "storageClass": "STANDARD",
            "etag": base64.b64encode(f"{generation}/1".encode()).decode(),
            "timeCreated": moment,
            "updated": moment,
            "timeStorageClassUpdated": moment,
            "blob": blob,
        }

    def patch(self, record: dict[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
        """Change an object's metadata: the generation stays, the metageneration counts up."""
        for field, value in checked(settings).items():
            if field not in WRITABLE:
                continue
            if field == "metadata" and isinstance(value, dict):
                merged = {**record.get("metadata", {}), **value}
                record["metadata"] = {name: text for name, text in merged.items() if text is not None}
            elif value is None:
                record.pop(field, None)
            else:
                record[field] = value
        record["metageneration"] = str(int(record["metageneration"]) + 1)
        record["etag"] = base64.b64encode(f"{record['generation']}/{record['metageneration']}".encode()).decode()
        record["updated"] = rfc3339(now())
        key = f"{record['bucket']}/{record['name']}"
        if "timeDeleted" in record:
            self._noncurrent.put(f"{key}\n{record['generation']}", record)
        else:
            self._objects.put(key, record)
        return record

    def delete(self, record: Mapping[str, Any], *, forever: bool = False) -> None:
        """Remove the live object, which versioning turns into a noncurrent version; `forever`: remove this version."""
        key = f"{record['bucket']}/{record['name']}"
        if "timeDeleted" in record:
            self._noncurrent.delete(f"{key}\n{record['generation']}")
            self.blobs.delete(record["blob"])
            return
        self._objects.delete(key)
        if forever:
            self.blobs.delete(record["blob"])
        else:
            self._retire(record)

    def _generation(self) -> int:
        # Microseconds, like Google's, and never twice the same.
        self._last_generation = max(int(time.time() * 1_000_000), self._last_generation + 1)
        return self._last_generation


def _checksums(path: Path) -> tuple[str, str, int]:
    md5, size = hashlib.md5(usedforsecurity=False), 0
    crc: Any = google_crc32c.Checksum()  # type: ignore[no-untyped-call]
    with path.open("rb") as file:
        while piece := file.read(_CHUNK):
            md5.update(piece)
            crc.update(piece)
            size += len(piece)
    return base64.b64encode(md5.digest()).decode(), base64.b64encode(crc.digest()).decode(), size
