"""Cloud Storage's JSON API: buckets, objects, uploads of every kind, preconditions, ranges, copies.

Not played: object versions other than the live one, ACLs, notifications, compose, HMAC, the XML API.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ..errors import MISSING_CREDENTIALS, ApiError
from ..jsonapi import JsonApi, JsonCall, Route
from ..paging import page
from ..policies import policy_from_json, policy_to_json
from ..web import Answer, file_answer, json_answer
from .storage_objects import Conditions
from .storage_uploads import Upload, Uploads

if TYPE_CHECKING:
    from ..faults import Gate
    from ..identity import Identity
    from ..policies import Policies
    from ..web import Request
    from .storage_objects import Buckets

HOST = re.compile(r"(storage|www)\.googleapis\.com")
_REASONS = {
    304: "notModified",
    400: "invalid",
    401: "required",
    403: "forbidden",
    404: "notFound",
    409: "conflict",
    412: "conditionNotMet",
    416: "requestedRangeNotSatisfiable",
    429: "rateLimitExceeded",
    500: "internalError",
    501: "notImplemented",
    503: "backendError",
}


class Storage:
    """The HTTP application of `storage.googleapis.com`."""

    def __init__(self, buckets: Buckets, policies: Policies, identity: Identity, gate: Gate) -> None:
        self._buckets = buckets
        self._policies = policies
        self._identity = identity
        self._uploads = Uploads(buckets)
        self._api = JsonApi("storage.googleapis.com", self._routes(), gate, identity)

    async def answer(self, request: Request) -> Answer:
        """Answer one request; errors in the shape of this API."""
        try:
            return await self._api.answer(request)
        except ApiError as error:
            return storage_error(error)

    def _routes(self) -> list[Route]:
        bucket, objects = "/storage/v1/b/{bucket}", "/storage/v1/b/{bucket}/o"
        one = f"{objects}/{{object}}"
        copy = f"{one}/{{verb}}/b/{{destinationBucket}}/o/{{destinationObject}}"
        return [
            Route("storage.buckets.list", "GET", "/storage/v1/b", self.list_buckets),
            Route("storage.buckets.insert", "POST", "/storage/v1/b", self.insert_bucket),
            Route("storage.buckets.get", "GET", bucket, self.get_bucket),
            Route("storage.buckets.delete", "DELETE", bucket, self.delete_bucket),
            Route("storage.buckets.patch", "PATCH", bucket, None),
            Route("storage.buckets.update", "PUT", bucket, None),
            Route("storage.buckets.getIamPolicy", "GET", f"{bucket}/iam", self.get_iam_policy),
            Route("storage.buckets.setIamPolicy", "PUT", f"{bucket}/iam", self.set_iam_policy),
            Route("storage.buckets.testIamPermissions", "GET", f"{bucket}/iam/testPermissions", self.test_permissions),
            Route("storage.buckets.getStorageLayout", "GET", f"{bucket}/storageLayout", self.get_layout),
            Route("storage.objects.list", "GET", objects, self.list_objects),
            Route("storage.objects.get", "GET", one, self.get_object),
            Route("storage.objects.get", "GET", f"/download{one}", self.get_object),
            Route("storage.objects.insert", "POST", f"/upload{objects}", self.insert_object),
            Route("storage.objects.insert", "POST", f"/resumable/upload{objects}", self.insert_object),
            Route("storage.objects.insert", "PUT", f"/upload{objects}", self.resume_upload),
            Route("storage.objects.insert", "PUT", f"/resumable/upload{objects}", self.resume_upload),
            Route("storage.objects.insert", "DELETE", f"/upload{objects}", self.cancel_upload),
            Route("storage.objects.delete", "DELETE", one, self.delete_object),
            Route("storage.objects.patch", "PATCH", one, self.patch_object),
            Route("storage.objects.update", "PUT", one, None),
            Route("storage.objects.compose", "POST", f"{one}/compose", None),
            Route("storage.objects.copy", "POST", copy, self.copy_object),
        ]

    def _require(self, call: JsonCall, permission: str, bucket: str, *, kind: str = "object") -> None:
        if self._policies.allows(call.principal, permission, f"buckets/{bucket}"):
            return
        who = call.principal.email if call.principal else "Anonymous caller"
        noun = {"object": "Google Cloud Storage object", "bucket": "Google Cloud Storage bucket"}.get(
            kind, "Google Cloud project"
        )
        text = f"{who} does not have {permission} access to the {noun}. "
        text += f"Permission '{permission}' denied on resource (or it may not exist)."
        raise ApiError("PERMISSION_DENIED" if call.principal else "UNAUTHENTICATED", text)

    # Buckets

    async def list_buckets(self, call: JsonCall) -> Any:
        """buckets.list."""
        project = self._project(call, "storage.buckets.list")
        prefix = call.request.query.get("prefix", "")
        found = [item for item in self._buckets.buckets(project) if item["name"].startswith(prefix)]
        items, token = page(
            found, int(call.request.query.get("maxResults", 0)), call.request.query.get("pageToken", "")
        )
        return _listing("storage#buckets", "items", [_shown(item) for item in items], token)

    async def insert_bucket(self, call: JsonCall) -> Any:
        """buckets.insert."""
        project = self._project(call, "storage.buckets.create")
        body = await call.body()
        name = str(body.get("name", ""))
        if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]", name):
            raise ApiError("INVALID_ARGUMENT", f"Invalid bucket name: '{name}'")
        record = self._identity.project(project)
        return _shown(
            self._buckets.add_bucket(project, name, number=record["projectNumber"] if record else "0", settings=body)
        )

    def _project(self, call: JsonCall, permission: str) -> str:
        project = call.request.query.get("project", "")
        if not project:
            raise ApiError("INVALID_ARGUMENT", "Required parameter: project")
        if call.principal is None:
            raise ApiError("UNAUTHENTICATED", MISSING_CREDENTIALS)
        record = self._identity.project(project)
        project = record["projectId"] if record else project
        if not self._policies.allows(call.principal, permission, f"projects/{project}"):
            text = f"{call.principal.email} does not have {permission} access to the Google Cloud project. "
            raise ApiError(
                "PERMISSION_DENIED", f"{text}Permission '{permission}' denied on resource (or it may not exist)."
            )
        return project

    async def get_bucket(self, call: JsonCall) -> Any:
        """buckets.get."""
        name = call.variables["bucket"]
        if not self._buckets.has_bucket(name) and call.principal is not None:
            self._buckets.bucket(name)
        self._require(call, "storage.buckets.get", name, kind="bucket")
        return _shown(self._buckets.bucket(name))

    async def delete_bucket(self, call: JsonCall) -> Any:
        """buckets.delete."""
        self._reach(call, "storage.buckets.delete", kind="bucket")
        self._buckets.delete_bucket(call.variables["bucket"])
        return Answer(204)

    async def get_layout(self, call: JsonCall) -> Any:
        """buckets.getStorageLayout: what gcloud asks before a recursive copy."""
        bucket = self._reach(call, "storage.buckets.get", kind="bucket")
        return {
            "kind": "storage#storageLayout",
            "bucket": bucket["name"],
            "location": bucket["location"],
            "locationType": "region",
        }

    async def get_iam_policy(self, call: JsonCall) -> Any:
        """buckets.getIamPolicy."""
        bucket = self._reach(call, "storage.buckets.getIamPolicy", kind="bucket")
        return {"kind": "storage#policy", **policy_to_json(self._policies.get(f"buckets/{bucket['name']}"))}

    async def set_iam_policy(self, call: JsonCall) -> Any:
        """buckets.setIamPolicy."""
        bucket = self._reach(call, "storage.buckets.setIamPolicy", kind="bucket")
        policy = policy_from_json({name: value for name, value in (await call.body()).items() if name in _POLICY})
        return {"kind": "storage#policy", **policy_to_json(self._policies.set(f"buckets/{bucket['name']}", policy))}

    async def test_permissions(self, call: JsonCall) -> Any:
        """buckets.testIamPermissions."""
        self._buckets.bucket(call.variables["bucket"])
        asked = re.findall(r"(?:^|&)permissions=([^&]+)", call.request.query_string)
        allowed = self._policies.allowed(call.principal, asked, f"buckets/{call.variables['bucket']}")
        return {"kind": "storage#testIamPermissionsResponse", "permissions": allowed}

    def _reach(self, call: JsonCall, permission: str, *, kind: str = "object") -> dict[str, Any]:
        """The bucket of the call, when it exists and the caller may."""
        name = call.variables["bucket"]
        if call.principal is not None:
            self._buckets.bucket(name)
        self._require(call, permission, name, kind=kind)
        return self._buckets.bucket(name)

    # Objects

    async def list_objects(self, call: JsonCall) -> Any:
        """objects.list: prefix, delimiter, startOffset, endOffset, pages."""
        bucket, query = self._reach(call, "storage.objects.list")["name"], call.request.query
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        start, end = query.get("startOffset", ""), query.get("endOffset", "")
        entries: dict[str, dict[str, Any] | None] = {}
        for record in self._buckets.objects(bucket, prefix):
            name = record["name"]
            if name < start or (end and name >= end):
                continue
            cut = name.find(delimiter, len(prefix)) if delimiter else -1
            if cut >= 0:
                entries.setdefault(name[: cut + len(delimiter)], None)
            if cut < 0 or (query.get("includeTrailingDelimiter") == "true" and name.endswith(delimiter)):
                entries[name] = record
        size = int(query.get("maxResults", 0))
        chosen, token = page(list(entries.items()), size, query.get("pageToken", ""), default=1000)
        answer = _listing("storage#objects", "items", [_shown(record) for _, record in chosen if record], token)
        prefixes = [name for name, record in chosen if record is None]
        return {**answer, **({"prefixes": prefixes} if prefixes else {})}

    async def get_object(self, call: JsonCall) -> Any:
        """objects.get: the metadata, or with alt=media the bytes."""
        bucket, name = self._reach(call, "storage.objects.get")["name"], call.variables["object"]
        record = self._buckets.object(bucket, name, call.request.query.get("generation"))
        Conditions.from_query(call.request.query).check(record, reading=True)
        if call.request.query.get("alt") != "media":
            return _shown(record)
        headers = {
            "etag": record["etag"],
            "x-goog-generation": record["generation"],
            "x-goog-metageneration": record["metageneration"],
            "x-goog-hash": f"crc32c={record['crc32c']},md5={record['md5Hash']}",
            "x-goog-storage-class": record["storageClass"],
            "x-goog-stored-content-length": record["size"],
            "x-goog-stored-content-encoding": record.get("contentEncoding", "identity"),
        }
        if "contentEncoding" in record:
            headers["content-encoding"] = record["contentEncoding"]
        return file_answer(self._buckets.path(record), call.request.header("range"), record["contentType"], headers)

    async def insert_object(self, call: JsonCall) -> Any:
        """objects.insert: media, multipart, or the start of a resumable upload."""
        bucket = self._reach(call, "storage.objects.create")["name"]
        kind = call.request.query.get("uploadType", "media")
        target = await self._uploads.begin(call.request, bucket, kind)
        if isinstance(target, Answer):
            return target
        return self._store(call, bucket, target)

    def _store(self, call: JsonCall, bucket: str, upload: Upload) -> Any:
        name = upload.name
        if not name or len(name.encode()) > 1024 or "\r" in name or "\n" in name:
            self._buckets.blobs.delete(upload.blob)
            raise ApiError("INVALID_ARGUMENT", f"Invalid object name: '{name}'")
        if self._buckets.find(bucket, name) is not None:
            # Overwriting is deleting: an account that may only create gets 403 here.
            self._require(call, "storage.objects.delete", bucket)
        return _shown(self._buckets.write(bucket, name, upload.blob, upload.settings, upload.conditions))

    async def resume_upload(self, call: JsonCall) -> Any:
        """One chunk of a resumable upload, or the question how far it is."""
        bucket = self._reach(call, "storage.objects.create")["name"]
        target = await self._uploads.resume(call.request)
        return target if isinstance(target, Answer) else self._store(call, bucket, target)

    async def cancel_upload(self, call: JsonCall) -> Any:
        """Give a resumable upload up."""
        self._reach(call, "storage.objects.create")
        self._uploads.cancel(call.request)
        return Answer(499)

    async def patch_object(self, call: JsonCall) -> Any:
        """objects.patch."""
        bucket, name = self._reach(call, "storage.objects.update")["name"], call.variables["object"]
        record = self._buckets.object(bucket, name, call.request.query.get("generation"))
        Conditions.from_query(call.request.query).check(record)
        return _shown(self._buckets.patch(record, await call.body()))

    async def delete_object(self, call: JsonCall) -> Any:
        """objects.delete."""
        bucket, name = self._reach(call, "storage.objects.delete")["name"], call.variables["object"]
        record = self._buckets.object(bucket, name, call.request.query.get("generation"))
        Conditions.from_query(call.request.query).check(record)
        self._buckets.delete(record)
        return Answer(204)

    async def copy_object(self, call: JsonCall) -> Any:
        """objects.rewrite and objects.copy: done in one go."""
        verb = call.variables["verb"]
        if verb not in {"rewriteTo", "copyTo"}:
            raise ApiError("UNIMPLEMENTED", f"The sandbox does not play objects/{verb}.")
        bucket = self._reach(call, "storage.objects.get")["name"]
        query, destination = call.request.query, call.variables["destinationBucket"]
        source = self._buckets.object(bucket, call.variables["object"], query.get("sourceGeneration"))
        Conditions.from_query(query, "ifSource").check(source)
        self._buckets.bucket(destination)
        self._require(call, "storage.objects.create", destination)
        blob, path = self._buckets.blobs.new()
        path.write_bytes(self._buckets.path(source).read_bytes())
        settings = {**source, **(await call.body())}
        settings = {name: value for name, value in settings.items() if name not in {"md5Hash", "crc32c"}}
        target = call.variables["destinationObject"]
        written = self._store(call, destination, Upload(target, blob, settings, Conditions.from_query(query)))
        if verb == "copyTo":
            return written
        done = {"kind": "storage#rewriteResponse", "done": True, "resource": written}
        return {**done, "totalBytesRewritten": written["size"], "objectSize": written["size"]}


_POLICY = ("bindings", "etag", "version")


def _shown(record: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in {"blob", "project"}}


def _listing(kind: str, field: str, items: list[dict[str, Any]], token: str) -> dict[str, Any]:
    answer: dict[str, Any] = {"kind": kind}
    if items:
        answer[field] = items
    if token:
        answer["nextPageToken"] = token
    return answer


def storage_error(error: ApiError) -> Answer:
    """An error in the shape of the Cloud Storage JSON API."""
    status = error.http_status
    if status == 304:
        return Answer(304)
    detail = {"message": error.message, "domain": "global", "reason": _REASONS.get(status, "invalid")}
    headers = {"www-authenticate": 'Bearer realm="https://accounts.google.com/"'} if status == 401 else {}
    return json_answer({"error": {"code": status, "message": error.message, "errors": [detail]}}, status, headers)
