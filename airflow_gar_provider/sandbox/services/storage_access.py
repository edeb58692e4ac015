"""Who may do what in Cloud Storage: the checks that the methods of buckets and of objects share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import ApiError

if TYPE_CHECKING:
    from ..jsonapi import JsonCall
    from ..policies import Policies
    from .storage_objects import Buckets


class Access:
    """Buckets behind their policies."""

    def __init__(self, buckets: Buckets, policies: Policies) -> None:
        self._buckets = buckets
        self._policies = policies

    def require(self, call: JsonCall, permission: str, bucket: str, *, kind: str = "object") -> None:
        """Raise UNAUTHENTICATED or PERMISSION_DENIED unless the caller has the permission on the bucket."""
        if self._policies.allows(call.principal, permission, f"buckets/{bucket}"):
            return
        who = call.principal.email if call.principal else "Anonymous caller"
        noun = {"object": "Google Cloud Storage object", "bucket": "Google Cloud Storage bucket"}.get(
            kind, "Google Cloud project"
        )
        text = f"{who} does not have {permission} access to the {noun}. "
        text += f"Permission '{permission}' denied on resource (or it may not exist)."
        raise ApiError("PERMISSION_DENIED" if call.principal else "UNAUTHENTICATED", text)

    def reach(self, call: JsonCall, permission: str, *, kind: str = "object") -> dict[str, Any]:
        """The bucket of the call, when it exists and the caller may."""
        name = call.variables["bucket"]
        if call.principal is not None:
            self._buckets.bucket(name)
        self.require(call, permission, name, kind=kind)
        return self._buckets.bucket(name)


def shown(record: dict[str, Any]) -> dict[str, Any]:
    """A bucket or an object as the API shows it."""
    return {name: value for name, value in record.items() if name not in {"blob", "project"}}


def number(call: JsonCall, name: str) -> int:
    """A whole number of the query; 0 when it is not there."""
    text = call.request.query.get(name) or "0"
    if not text.isascii() or not text.isdecimal() or len(text) > 18:
        raise ApiError("INVALID_ARGUMENT", f"Invalid value for {name}: {text}")
    return int(text)


def switch(call: JsonCall, name: str) -> bool:
    """A switch of the query; google-cloud-storage writes `True`, other clients `true`."""
    return call.request.query.get(name, "").lower() == "true"


def listing(kind: str, field: str, items: list[dict[str, Any]], token: str) -> dict[str, Any]:
    """One page of a list; what is empty is left out."""
    answer: dict[str, Any] = {"kind": kind}
    if items:
        answer[field] = items
    if token:
        answer["nextPageToken"] = token
    return answer
