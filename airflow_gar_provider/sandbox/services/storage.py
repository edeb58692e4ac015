"""Cloud Storage's JSON API: buckets, objects, uploads of every kind, preconditions, ranges, copies.

Not played: ACLs, notifications, soft delete, HMAC, the XML API.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ..errors import ApiError
from ..jsonapi import JsonApi, Route
from ..web import Answer, json_answer
from .storage_access import Access
from .storage_bucket_methods import BucketMethods
from .storage_object_methods import ObjectMethods

if TYPE_CHECKING:
    from ..faults import Gate
    from ..identity import Identity
    from ..policies import Policies
    from ..web import Request
    from .storage_objects import Buckets

HOST = re.compile(r"storage\.googleapis\.com")
WEB_HOST = "www.googleapis.com"
"""The API's other host, which it shares."""
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
        access = Access(buckets, policies)
        self._of_buckets = BucketMethods(buckets, access, policies, identity)
        self._of_objects = ObjectMethods(buckets, access)
        self._api = JsonApi("storage.googleapis.com", self._routes(), gate, identity)

    async def answer(self, request: Request) -> Answer:
        """Answer one request; errors in the shape of this API."""
        try:
            return await self._api.answer(request)
        except ApiError as error:
            return storage_error(error)

    def _routes(self) -> list[Route]:
        buckets, methods = self._of_buckets, self._of_objects
        bucket, objects = "/storage/v1/b/{bucket}", "/storage/v1/b/{bucket}/o"
        one = f"{objects}/{{object}}"
        target = "b/{destinationBucket}/o/{destinationObject}"
        return [
            Route("storage.buckets.list", "GET", "/storage/v1/b", buckets.list_buckets),
            Route("storage.buckets.insert", "POST", "/storage/v1/b", buckets.insert_bucket),
            Route("storage.buckets.get", "GET", bucket, buckets.get_bucket),
            Route("storage.buckets.delete", "DELETE", bucket, buckets.delete_bucket),
            Route("storage.buckets.patch", "PATCH", bucket, buckets.patch_bucket),
            Route("storage.buckets.update", "PUT", bucket, buckets.update_bucket),
            Route("storage.buckets.getIamPolicy", "GET", f"{bucket}/iam", buckets.get_iam_policy),
            Route("storage.buckets.setIamPolicy", "PUT", f"{bucket}/iam", buckets.set_iam_policy),
            Route(
                "storage.buckets.testIamPermissions", "GET", f"{bucket}/iam/testPermissions", buckets.test_permissions
            ),
            Route("storage.buckets.getStorageLayout", "GET", f"{bucket}/storageLayout", buckets.get_layout),
            Route("storage.objects.list", "GET", objects, methods.list_objects),
            Route("storage.objects.get", "GET", one, methods.get_object),
            Route("storage.objects.get", "GET", f"/download{one}", methods.get_object),
            Route("storage.objects.insert", "POST", f"/upload{objects}", methods.insert_object),
            Route("storage.objects.insert", "POST", f"/resumable/upload{objects}", methods.insert_object),
            Route("storage.objects.insert", "PUT", f"/upload{objects}", methods.resume_upload),
            Route("storage.objects.insert", "PUT", f"/resumable/upload{objects}", methods.resume_upload),
            Route("storage.objects.insert", "DELETE", f"/upload{objects}", methods.cancel_upload),
            Route("storage.objects.delete", "DELETE", one, methods.delete_object),
            Route("storage.objects.patch", "PATCH", one, methods.patch_object),
            Route("storage.objects.rewrite", "POST", f"{one}/rewriteTo/{target}", methods.rewrite_object),
            Route("storage.objects.copy", "POST", f"{one}/copyTo/{target}", methods.copy_object),
            Route("storage.objects.compose", "POST", f"{one}/compose", methods.compose_object),
            Route("storage.managedFolders.list", "GET", f"{bucket}/managedFolders", buckets.list_managed_folders),
        ]


def storage_error(error: ApiError) -> Answer:
    """An error in the shape of the Cloud Storage JSON API."""
    status = error.http_status
    if status == 304:
        return Answer(304)
    detail = {"message": error.message, "domain": "global", "reason": _REASONS.get(status, "invalid")}
    headers = {"www-authenticate": 'Bearer realm="https://accounts.google.com/"'} if status == 401 else {}
    return json_answer({"error": {"code": status, "message": error.message, "errors": [detail]}}, status, headers)
