"""Cloud Storage's methods on objects: lists, bytes, uploads, versions, copies."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING, Any

from ..errors import ApiError
from ..paging import page
from ..web import Answer, file_answer
from .storage_access import listing, number, shown, switch
from .storage_conditions import Conditions
from .storage_uploads import Upload, Uploads

if TYPE_CHECKING:
    from ..jsonapi import JsonCall
    from .storage_access import Access
    from .storage_objects import Buckets


_HASHES = (("crc32c", "crc32c"), ("md5", "md5Hash"))
_COMPONENTS = 32


class ObjectMethods:
    """The methods whose resource is an object."""

    def __init__(self, buckets: Buckets, access: Access) -> None:
        self._buckets = buckets
        self._access = access
        self._uploads = Uploads(buckets)

    async def list_objects(self, call: JsonCall) -> Any:
        """objects.list: prefix, delimiter, startOffset, endOffset, versions, pages."""
        bucket, query = self._access.reach(call, "storage.objects.list")["name"], call.request.query
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        start, end = query.get("startOffset", ""), query.get("endOffset", "")
        records = (
            self._buckets.versions(bucket, prefix)
            if switch(call, "versions")
            else self._buckets.objects(bucket, prefix)
        )
        entries: dict[tuple[str, str], dict[str, Any] | None] = {}
        for record in records:
            name = record["name"]
            if name < start or (end and name >= end):
                continue
            cut = name.find(delimiter, len(prefix)) if delimiter else -1
            if cut >= 0:
                entries.setdefault((name[: cut + len(delimiter)], ""), None)
            if cut < 0 or (switch(call, "includeTrailingDelimiter") and name.endswith(delimiter)):
                entries[name, record["generation"]] = record
        size = number(call, "maxResults")
        chosen, token = page(list(entries.items()), size, query.get("pageToken", ""), default=1000)
        answer = listing("storage#objects", "items", [shown(record) for _, record in chosen if record], token)
        prefixes = [name for (name, _), record in chosen if record is None]
        return {**answer, **({"prefixes": prefixes} if prefixes else {})}

    async def get_object(self, call: JsonCall) -> Any:
        """objects.get: the metadata, or with alt=media the bytes."""
        bucket, name = self._access.reach(call, "storage.objects.get")["name"], call.variables["object"]
        record = self._buckets.object(bucket, name, call.request.query.get("generation"))
        Conditions.from_query(call.request.query).check(record, reading=True)
        if call.request.query.get("alt") != "media":
            return shown(record)
        headers = {
            "etag": record["etag"],
            "x-goog-generation": record["generation"],
            "x-goog-metageneration": record["metageneration"],
            "x-goog-hash": ",".join(f"{name}={record[key]}" for name, key in _HASHES if key in record),
            "x-goog-storage-class": record["storageClass"],
            "x-goog-stored-content-length": record["size"],
            "x-goog-stored-content-encoding": record.get("contentEncoding", "identity"),
        }
        if "contentEncoding" in record:
            headers["content-encoding"] = record["contentEncoding"]
        return file_answer(self._buckets.path(record), call.request.header("range"), record["contentType"], headers)

    async def insert_object(self, call: JsonCall) -> Any:
        """objects.insert: media, multipart, or the start of a resumable upload."""
        bucket = self._access.reach(call, "storage.objects.create")["name"]
        kind = call.request.query.get("uploadType", "media")
        target = await self._uploads.begin(call.request, bucket, kind)
        if isinstance(target, Answer):
            return target
        return self._store(call, bucket, target)

    def _store(self, call: JsonCall, bucket: str, upload: Upload) -> dict[str, Any]:
        name = upload.name
        if not name or len(name.encode()) > 1024 or name in {".", ".."} or re.search(r"[\r\n\0]", name):
            self._buckets.blobs.delete(upload.blob)
            raise ApiError("INVALID_ARGUMENT", f"Invalid object name: '{name}'")
        if self._buckets.find(bucket, name) is not None:
            # Overwriting is deleting: an account that may only create gets 403 here.
            self._access.require(call, "storage.objects.delete", bucket)
        return shown(self._buckets.write(bucket, name, upload.blob, upload.settings, upload.conditions))

    async def resume_upload(self, call: JsonCall) -> Any:
        """One chunk of a resumable upload, or the question how far it is."""
        bucket = self._access.reach(call, "storage.objects.create")["name"]
        target = await self._uploads.resume(call.request)
        if isinstance(target, Answer):
            return target
        written = self._store(call, bucket, target)
        self._uploads.finish(call.request, written)
        return written

    async def cancel_upload(self, call: JsonCall) -> Any:
        """Give a resumable upload up."""
        self._access.reach(call, "storage.objects.create")
        self._uploads.cancel(call.request)
        return Answer(499)

    async def patch_object(self, call: JsonCall) -> Any:
        """objects.patch."""
        bucket, name = self._access.reach(call, "storage.objects.update")["name"], call.variables["object"]
        record = self._buckets.object(bucket, name, call.request.query.get("generation"))
        Conditions.from_query(call.request.query).check(record)
        return shown(self._buckets.patch(record, await call.body()))

    async def delete_object(self, call: JsonCall) -> Any:
        """objects.delete: the live version, or for ever the one of `generation`."""
        bucket, name = self._access.reach(call, "storage.objects.delete")["name"], call.variables["object"]
        record = self._buckets.object(bucket, name, call.request.query.get("generation"))
        Conditions.from_query(call.request.query).check(record)
        self._buckets.delete(record, forever="generation" in call.request.query)
        return Answer(204)

    async def rewrite_object(self, call: JsonCall) -> Any:
        """objects.rewrite: done in one go."""
        written = await self._copied(call)
        done = {"kind": "storage#rewriteResponse", "done": True, "resource": written}
        return {**done, "totalBytesRewritten": written["size"], "objectSize": written["size"]}

    async def copy_object(self, call: JsonCall) -> Any:
        """objects.copy."""
        return await self._copied(call)

    async def compose_object(self, call: JsonCall) -> Any:
        """objects.compose: up to 32 objects of one bucket, one after the other; the result has no MD5."""
        bucket, body = self._access.reach(call, "storage.objects.create")["name"], await call.body()
        self._access.require(call, "storage.objects.get", bucket)
        named = body.get("sourceObjects") or []
        if not 0 < len(named) <= _COMPONENTS:
            text = f"The number of source components provided ({len(named)}) must be between 1 and {_COMPONENTS}."
            raise ApiError("INVALID_ARGUMENT", text)
        sources = []
        for item in named:
            source = self._buckets.object(bucket, str(item.get("name", "")), item.get("generation"))
            Conditions.from_query(item.get("objectPreconditions") or {}).check(source)
            sources.append(source)
        blob, path = self._buckets.blobs.new()
        with path.open("wb") as file:
            for source in sources:
                with self._buckets.path(source).open("rb") as part:
                    shutil.copyfileobj(part, file)
        settings = {"contentType": sources[0]["contentType"], **(body.get("destination") or {})}
        settings = {name: value for name, value in settings.items() if name not in {"md5Hash", "crc32c"}}
        conditions = Conditions.from_query(call.request.query)
        self._store(call, bucket, Upload(call.variables["object"], blob, settings, conditions))
        count = sum(int(source.get("componentCount", 1)) for source in sources)
        return shown(self._buckets.composed(bucket, call.variables["object"], count))

    async def _copied(self, call: JsonCall) -> dict[str, Any]:
        bucket = self._access.reach(call, "storage.objects.get")["name"]
        query, destination = call.request.query, call.variables["destinationBucket"]
        source = self._buckets.object(bucket, call.variables["object"], query.get("sourceGeneration"))
        Conditions.from_query(query, "ifSource").check(source)
        self._buckets.bucket(destination)
        self._access.require(call, "storage.objects.create", destination)
        blob, path = self._buckets.blobs.new()
        shutil.copyfile(self._buckets.path(source), path)
        settings = {**source, **(await call.body())}
        settings = {name: value for name, value in settings.items() if name not in {"md5Hash", "crc32c"}}
        target = call.variables["destinationObject"]
        return self._store(call, destination, Upload(target, blob, settings, Conditions.from_query(query)))
