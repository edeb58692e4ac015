"""Cloud Storage's methods on buckets, with versioning and policies."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ..errors import MISSING_CREDENTIALS, ApiError
from ..paging import page
from ..policies import policy_from_json, policy_to_json
from ..web import Answer
from .storage_access import listing, number, shown
from .storage_conditions import PRECONDITION, Conditions

if TYPE_CHECKING:
    from ..identity import Identity
    from ..jsonapi import JsonCall
    from ..policies import Policies
    from .storage_access import Access
    from .storage_objects import Buckets


class BucketMethods:
    """The methods whose resource is a bucket."""

    def __init__(self, buckets: Buckets, access: Access, policies: Policies, identity: Identity) -> None:
        self._buckets = buckets
        self._access = access
        self._policies = policies
        self._identity = identity

    async def list_buckets(self, call: JsonCall) -> Any:
        """buckets.list."""
        project = self._project(call, "storage.buckets.list")
        prefix = call.request.query.get("prefix", "")
        found = [item for item in self._buckets.buckets(project) if item["name"].startswith(prefix)]
        items, token = page(found, number(call, "maxResults"), call.request.query.get("pageToken", ""))
        return listing("storage#buckets", "items", [shown(item) for item in items], token)

    async def insert_bucket(self, call: JsonCall) -> Any:
        """buckets.insert."""
        project = self._project(call, "storage.buckets.create")
        body = await call.body()
        name = str(body.get("name", ""))
        if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]", name):
            raise ApiError("INVALID_ARGUMENT", f"Invalid bucket name: '{name}'")
        record = self._identity.project(project)
        return shown(
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
        self._access.require(call, "storage.buckets.get", name, kind="bucket")
        record = self._buckets.bucket(name)
        _check_bucket(call, record, reading=True)
        return shown(record)

    async def patch_bucket(self, call: JsonCall) -> Any:
        """buckets.patch: versioning among others."""
        return await self._change_bucket(call, whole=False)

    async def update_bucket(self, call: JsonCall) -> Any:
        """buckets.update: settings that are not named are gone."""
        return await self._change_bucket(call, whole=True)

    async def _change_bucket(self, call: JsonCall, *, whole: bool) -> Any:
        bucket = self._access.reach(call, "storage.buckets.update", kind="bucket")
        _check_bucket(call, bucket)
        return shown(self._buckets.change_bucket(bucket["name"], await call.body(), whole=whole))

    async def delete_bucket(self, call: JsonCall) -> Any:
        """buckets.delete."""
        _check_bucket(call, self._access.reach(call, "storage.buckets.delete", kind="bucket"))
        self._buckets.delete_bucket(call.variables["bucket"])
        return Answer(204)

    async def get_layout(self, call: JsonCall) -> Any:
        """buckets.getStorageLayout: what gcloud asks before a recursive copy."""
        bucket = self._access.reach(call, "storage.buckets.get", kind="bucket")
        return {
            "kind": "storage#storageLayout",
            "bucket": bucket["name"],
            "location": bucket["location"],
            "locationType": "region",
        }

    async def list_managed_folders(self, call: JsonCall) -> Any:
        """managedFolders.list: none, ever; gcloud asks before it deletes a bucket with all that is in it."""
        self._access.reach(call, "storage.managedFolders.list", kind="bucket")
        return listing("storage#managedFolders", "items", [], "")

    async def get_iam_policy(self, call: JsonCall) -> Any:
        """buckets.getIamPolicy."""
        bucket = self._access.reach(call, "storage.buckets.getIamPolicy", kind="bucket")
        return {"kind": "storage#policy", **policy_to_json(self._policies.get(f"buckets/{bucket['name']}"))}

    async def set_iam_policy(self, call: JsonCall) -> Any:
        """buckets.setIamPolicy."""
        bucket = self._access.reach(call, "storage.buckets.setIamPolicy", kind="bucket")
        policy = policy_from_json({name: value for name, value in (await call.body()).items() if name in _POLICY})
        try:
            written = self._policies.set(f"buckets/{bucket['name']}", policy)
        except ApiError as error:
            if error.code != "ABORTED":
                raise
            # Elsewhere 409; gsutil, which reads again and retries, knows 412.
            raise ApiError("FAILED_PRECONDITION", PRECONDITION, http_status=412) from error
        return {"kind": "storage#policy", **policy_to_json(written)}

    async def test_permissions(self, call: JsonCall) -> Any:
        """buckets.testIamPermissions."""
        self._buckets.bucket(call.variables["bucket"])
        asked = re.findall(r"(?:^|&)permissions=([^&]+)", call.request.query_string)
        allowed = self._policies.allowed(call.principal, asked, f"buckets/{call.variables['bucket']}")
        return {"kind": "storage#testIamPermissionsResponse", "permissions": allowed}


_POLICY = ("bindings", "etag", "version")


def _check_bucket(call: JsonCall, bucket: dict[str, Any], *, reading: bool = False) -> None:
    # A bucket has a metageneration only.
    conditions = Conditions.from_query(call.request.query)
    Conditions(metageneration=conditions.metageneration, metageneration_not=conditions.metageneration_not).check(
        {"generation": "0", "metageneration": bucket["metageneration"]}, reading=reading
    )
