"""IAM policies on projects and resources, and the one question that every method asks of them."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from typing import TYPE_CHECKING, Any

from google.iam.v1 import policy_pb2
from google.protobuf import json_format

from .errors import MISSING_CREDENTIALS, ApiError, permission_denied
from .roles import ROLES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .identity import Principal
    from .store import Store

_MEMBER = re.compile(
    r"^(allUsers|allAuthenticatedUsers|(user|serviceAccount|group|domain|principal|principalSet|deleted|"
    r"projectOwner|projectEditor|projectViewer):.+)$"
)
_CONCURRENT = (
    "There were concurrent policy changes. Please retry the whole read-modify-write with exponential backoff. "
    "The request's ETag '{given}' did not match the current policy's ETag '{current}'."
)


class Policies:
    """The policies of everything: a resource inherits from its project, a bucket from the project that owns it.

    Bindings with a condition are kept and handed back, but conditions are not evaluated: such a binding grants nothing.
    Groups and domains have no directory here, so a `group:` member grants nothing either.
    """

    def __init__(self, store: Store) -> None:
        self._policies = store.collection("policies")
        self._parents = store.collection("parents")
        self.account_exists: Callable[[str], bool] = lambda _email: True

    def set_parent(self, resource: str, project: str) -> None:
        """Say which project a resource belongs to that does not have it in its name."""
        self._parents.put(resource, project)

    def get(self, resource: str) -> Any:
        """The resource's own policy (google.iam.v1.Policy), with an etag."""
        stored = self._policies.get_bytes(resource)
        if stored is None:
            # What Google shows for a policy that nobody has set.
            return policy_pb2.Policy(etag=b"\x00\x20\x01")
        return policy_pb2.Policy.FromString(stored)

    def set(self, resource: str, policy: Any) -> Any:
        """Replace the resource's policy; ABORTED when the etag that came along is not the current one."""
        current = self.get(resource)
        if policy.etag and policy.etag != current.etag:
            given, now = (base64.b64encode(etag).decode() for etag in (policy.etag, current.etag))
            raise ApiError("ABORTED", _CONCURRENT.format(given=given, current=now))
        self._check(policy)
        conditional = any(binding.HasField("condition") for binding in policy.bindings)
        stored = policy_pb2.Policy(version=3 if conditional else 1, etag=secrets.token_bytes(8))
        stored.bindings.extend(binding for binding in policy.bindings if binding.members)
        self._policies.put_bytes(resource, stored.SerializeToString())
        return stored

    def delete(self, resource: str) -> None:
        """Forget the policy of a resource that is gone."""
        self._policies.delete(resource)
        self._parents.delete(resource)

    def member_deleted(self, email: str, identifier: str) -> None:
        """Rename a service account that is gone in every policy, so that a new one of its name gets nothing."""
        old, new = f"serviceAccount:{email}", f"deleted:serviceAccount:{email}?uid={identifier}"
        for resource, stored in list(self._policies.items_bytes()):
            policy = policy_pb2.Policy.FromString(stored)
            if any(old in binding.members for binding in policy.bindings):
                for binding in policy.bindings:
                    binding.members[:] = [new if member == old else member for member in binding.members]
                policy.etag = secrets.token_bytes(8)
                self._policies.put_bytes(resource, policy.SerializeToString())

    def grant(self, resource: str, role: str, member: str) -> None:
        """Add one member to one role."""
        policy = self.get(resource)
        for binding in policy.bindings:
            if binding.role == role and not binding.HasField("condition"):
                if member not in binding.members:
                    binding.members.append(member)
                break
        else:
            policy.bindings.append(policy_pb2.Binding(role=role, members=[member]))
        self.set(resource, policy)

    def has_bindings(self, resource: str, member: str) -> bool:
        """True when the resource's own policy names the member."""
        return any(member in binding.members for binding in self.get(resource).bindings)

    def allows(self, principal: Principal | None, permission: str, resource: str) -> bool:
        """True when a role that the principal has on the resource or above carries the permission."""
        names = {"allUsers"} if principal is None else {"allUsers", "allAuthenticatedUsers", principal.member}
        for place in self._lineage(resource):
            for binding in self.get(place).bindings:
                role = ROLES.get(binding.role)
                if role is None or binding.HasField("condition") or not names.intersection(binding.members):
                    continue
                if role.allows(permission):
                    return True
        return False

    def require(
        self, principal: Principal | None, permission: str, resource: str, *, service: str, message: str | None = None
    ) -> None:
        """Raise UNAUTHENTICATED or PERMISSION_DENIED unless `allows`."""
        if self.allows(principal, permission, resource):
            return
        if principal is None:
            raise ApiError("UNAUTHENTICATED", MISSING_CREDENTIALS)
        text = (
            message or f"Permission '{permission}' denied on resource '//{service}/{resource}' (or it may not exist)."
        )
        raise permission_denied(text, permission=permission, resource=resource, service=service)

    def allowed(self, principal: Principal | None, permissions: Iterable[str], resource: str) -> list[str]:
        """The permissions out of `permissions` that the principal has (testIamPermissions)."""
        return [permission for permission in permissions if self.allows(principal, permission, resource)]

    def _lineage(self, resource: str) -> list[str]:
        places = [resource]
        parent = self._parents.get(resource)
        if parent is not None:
            places.append(f"projects/{parent}")
        elif resource.startswith("projects/") and resource.count("/") > 1:
            places.append("/".join(resource.split("/")[:2]))
        return places

    def _check(self, policy: Any) -> None:
        for binding in policy.bindings:
            if binding.role not in ROLES and not re.match(r"^(projects|organizations)/[^/]+/roles/.", binding.role):
                raise ApiError("INVALID_ARGUMENT", f"Role {binding.role} is not supported for this resource.")
            for member in binding.members:
                if not _MEMBER.match(member):
                    text = f"The member {member} is of an unknown type. Please set a valid type prefix for the member."
                    raise ApiError("INVALID_ARGUMENT", text)
                kind, _, email = member.partition(":")
                if kind == "serviceAccount" and not self.account_exists(email):
                    raise ApiError("INVALID_ARGUMENT", f"Service account {email} does not exist.")


def shown(policy: Any, version: int) -> Any:
    """A policy for a caller that asked for a version: below 3, conditions are lost and their roles have other names."""
    if version >= 3 or policy.version < 3:
        return policy
    old = policy_pb2.Policy(version=1, etag=policy.etag)
    for binding in policy.bindings:
        role = binding.role
        if binding.HasField("condition"):
            role += f"_withcond_{hashlib.sha256(binding.condition.SerializeToString()).hexdigest()[:20]}"
        old.bindings.add(role=role, members=binding.members)
    return old


def require_version(policy: Any) -> None:
    """INVALID_ARGUMENT for a policy with a condition that does not say that its version is 3."""
    if policy.version < 3 and any(binding.HasField("condition") for binding in policy.bindings):
        raise ApiError("INVALID_ARGUMENT", "To set IAM conditions, the policy version must be 3.")


def policy_from_json(value: Any) -> Any:
    """A policy message from the JSON of an API."""
    try:
        return json_format.ParseDict(value, policy_pb2.Policy())
    except json_format.ParseError as error:
        raise ApiError("INVALID_ARGUMENT", f"Invalid JSON payload received. {error}") from error


def policy_to_json(policy: Any) -> dict[str, Any]:
    """A policy message as JSON."""
    return dict(json_format.MessageToDict(policy))
