"""Secret Manager, v1: secrets, their versions, and access to what a version holds.

Answers name a project by its number, as Google's do; requests may use the id or the number. Payloads lie in the
service's store, so `--data-dir` holds them in the clear: nothing real belongs there.
"""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, Any

import google_crc32c
from google.cloud import secretmanager_v1 as sm
from google.cloud.secretmanager_v1.services.secret_manager_service.transports import rest_base
from google.iam.v1 import iam_policy_pb2

from ..clock import now
from ..dispatch import methods_of
from ..errors import ApiError, unplayed
from ..fieldmask import apply_mask, read_path
from ..paging import page
from ..store import Messages
from ..transcoding import unwrap
from .secret_filter import matches

if TYPE_CHECKING:
    from ..dispatch import Call, Method
    from ..identity import Identity
    from ..policies import Policies
    from ..store import Store

HOST = "secretmanager.googleapis.com"
SERVICE = "google.cloud.secretmanager.v1.SecretManagerService"
_SECRET_ID = re.compile(r"[A-Za-z0-9_-]{1,255}")
_PAYLOAD_LIMIT = 64 << 10
_STATES = sm.SecretVersion.State
_MUTABLE = (
    "annotations",
    "expire_time",
    "labels",
    "rotation",
    "topics",
    "ttl",
    "version_aliases",
    "version_destroy_ttl",
)


class SecretManager:
    """The methods that are played; one that is missing answers 501."""

    def __init__(self, store: Store, policies: Policies, identity: Identity) -> None:
        self._policies = policies
        self._identity = identity
        self._secrets = Messages(store.collection("secrets"), sm.Secret)
        self._versions = Messages(store.collection("versions"), sm.SecretVersion)
        self._payloads = store.collection("payloads")

    def methods(self) -> list[Method]:
        """Every method of the service, played or not."""
        return methods_of(
            SERVICE, sm.SecretManagerServiceClient, rest_base._BaseSecretManagerServiceRestTransport, self
        )

    # Names: by project id inside, by project number outside

    def _inside(self, call: Call, name: str) -> str:
        parts = name.split("/")
        if len(parts) > 2 and parts[2] == "locations":
            raise unplayed(f"{call.method} for secrets of one region")
        record = self._identity.project(parts[1]) if len(parts) > 1 else None
        return "/".join(["projects", record["projectId"], *parts[2:]]) if record else name

    def _outside(self, message: Any) -> Any:
        _, project, *rest = message.name.split("/")
        record = self._identity.project(project)
        message.name = "/".join(["projects", record["projectNumber"] if record else project, *rest])
        return message

    def _reach(self, call: Call, name: str, permission: str) -> str:
        """The inner name of a resource that the caller may use."""
        inside = self._inside(call, name)
        place = "/".join(inside.split("/")[:4])
        text = f"Permission 'secretmanager.{permission}' denied for resource '{inside}' (or it may not exist)."
        full = f"secretmanager.{permission}"
        self._policies.require(call.principal, full, place, service=HOST, message=text)
        return inside

    def _secret(self, call: Call, name: str, permission: str) -> Any:
        secret = self._secrets.get(self._reach(call, name, permission))
        if secret is None:
            raise ApiError("NOT_FOUND", f"Secret [{name}] not found.")
        return secret

    def _version(self, call: Call, name: str, permission: str) -> Any:
        secret, _, number = self._reach(call, name, permission).rpartition("/versions/")
        found = self._of(secret)
        if not found:
            raise ApiError("NOT_FOUND", f"Secret [{self._number(secret)}] not found or has no versions.")
        wanted = found[-1] if number == "latest" else self._versions.get(f"{secret}/versions/{number}")
        if wanted is None:
            raise ApiError("NOT_FOUND", f"Secret Version [{self._number(secret)}/versions/{number}] not found.")
        return wanted

    def _number(self, name: str) -> str:
        return str(self._outside(sm.Secret(name=name)).name)

    def _of(self, secret: str) -> list[Any]:
        """The versions of a secret, oldest first."""
        return sorted(self._versions.list(f"{secret}/versions/"), key=lambda item: int(item.name.rpartition("/")[2]))

    # Secrets

    async def create_secret(self, call: Call, request: Any) -> Any:
        """secrets.create."""
        parent = self._reach(call, request.parent, "secrets.create")
        if not _SECRET_ID.fullmatch(request.secret_id):
            raise ApiError("INVALID_ARGUMENT", f"The provided Secret ID [{request.secret_id}] is not valid.")
        secret, name = request.secret, f"{parent}/secrets/{request.secret_id}"
        if "automatic" not in secret.replication and "user_managed" not in secret.replication:
            raise ApiError("INVALID_ARGUMENT", "The secret's replication must be given.")
        if name in self._secrets:
            raise ApiError("ALREADY_EXISTS", f"Secret [{self._number(name)}] already exists.")
        secret.name, secret.create_time = name, now()
        secret.etag = _etag(secret.create_time)
        self._secrets.put(name, secret)
        return self._outside(secret)

    async def get_secret(self, call: Call, request: Any) -> Any:
        """secrets.get."""
        return self._outside(self._secret(call, request.name, "secrets.get"))

    async def list_secrets(self, call: Call, request: Any) -> Any:
        """secrets.list."""
        parent = self._reach(call, request.parent, "secrets.list")
        every = self._secrets.list(f"{parent}/secrets/")
        found = [secret for secret in every if matches(request.filter, secret, call.method)]
        items, token = page(found, request.page_size, request.page_token, maximum=25000)
        secrets = [self._outside(item) for item in items]
        return sm.ListSecretsResponse(secrets=secrets, next_page_token=token, total_size=len(found))

    async def update_secret(self, call: Call, request: Any) -> Any:
        """secrets.patch: the metadata that the mask names."""
        secret = self._secret(call, request.secret.name, "secrets.update")
        target = unwrap(secret)
        paths = [read_path(path, target.DESCRIPTOR) for path in request.update_mask.paths]
        for path in paths:
            if path.field.split(".")[0] not in _MUTABLE:
                raise ApiError("INVALID_ARGUMENT", f"Field {path.field} of a secret cannot be updated.")
        if not paths:
            raise ApiError("INVALID_ARGUMENT", "The update mask must be given.")
        apply_mask(target, unwrap(request.secret), paths)
        secret.etag = _etag(now())
        self._secrets.put(secret.name, secret)
        return self._outside(secret)

    async def delete_secret(self, call: Call, request: Any) -> Any:
        """secrets.delete: with every version."""
        secret = self._secret(call, request.name, "secrets.delete")
        for version in self._of(secret.name):
            self._versions.delete(version.name)
            self._payloads.delete(version.name)
        self._secrets.delete(secret.name)
        self._policies.delete(secret.name)

    # Versions

    async def add_secret_version(self, call: Call, request: Any) -> Any:
        """secrets.addVersion."""
        secret = self._secret(call, request.parent, "versions.add")
        data, given = request.payload.data, request.payload.data_crc32c
        if len(data) > _PAYLOAD_LIMIT:
            raise ApiError("INVALID_ARGUMENT", f"The secret's payload is larger than {_PAYLOAD_LIMIT} bytes.")
        if "data_crc32c" in request.payload and given != _crc32c(data):
            raise ApiError("INVALID_ARGUMENT", "The payload's data_crc32c does not match its data.")
        last = self._of(secret.name)
        number = int(last[-1].name.rpartition("/")[2]) + 1 if last else 1
        version = sm.SecretVersion(name=f"{secret.name}/versions/{number}", create_time=now(), state=_STATES.ENABLED)
        version.etag = _etag(version.create_time)
        version.client_specified_payload_checksum = "data_crc32c" in request.payload
        self._payloads.put(version.name, base64.b64encode(data).decode())
        self._versions.put(version.name, version)
        return self._outside(version)

    async def get_secret_version(self, call: Call, request: Any) -> Any:
        """versions.get; `latest` is the newest."""
        return self._outside(self._version(call, request.name, "versions.get"))

    async def list_secret_versions(self, call: Call, request: Any) -> Any:
        """versions.list, newest first."""
        secret = self._secret(call, request.parent, "versions.list")
        found = [item for item in self._of(secret.name)[::-1] if matches(request.filter, item, call.method)]
        items, token = page(found, request.page_size, request.page_token, maximum=25000)
        versions = [self._outside(item) for item in items]
        return sm.ListSecretVersionsResponse(versions=versions, next_page_token=token, total_size=len(found))

    async def access_secret_version(self, call: Call, request: Any) -> Any:
        """versions.access: the bytes, of an enabled version only."""
        version = self._version(call, request.name, "versions.access")
        if version.state != _STATES.ENABLED:
            text = f"Secret Version [{self._number(version.name)}] is in {_STATES(version.state).name} state."
            raise ApiError("FAILED_PRECONDITION", text)
        data = base64.b64decode(self._payloads.get(version.name))
        payload = sm.SecretPayload(data=data, data_crc32c=_crc32c(data))
        return sm.AccessSecretVersionResponse(name=self._outside(version).name, payload=payload)

    async def disable_secret_version(self, call: Call, request: Any) -> Any:
        """versions.disable."""
        return self._turn(self._version(call, request.name, "versions.disable"), _STATES.DISABLED)

    async def enable_secret_version(self, call: Call, request: Any) -> Any:
        """versions.enable."""
        return self._turn(self._version(call, request.name, "versions.enable"), _STATES.ENABLED)

    async def destroy_secret_version(self, call: Call, request: Any) -> Any:
        """versions.destroy: the payload is gone for good."""
        version = self._turn(self._version(call, request.name, "versions.destroy"), _STATES.DESTROYED)
        self._payloads.delete(self._inside(call, version.name))
        return version

    def _turn(self, version: Any, state: Any) -> Any:
        if version.state == _STATES.DESTROYED:
            text = f"Secret Version [{self._number(version.name)}] is in DESTROYED state."
            raise ApiError("FAILED_PRECONDITION", text)
        version.state = state
        if state == _STATES.DESTROYED:
            version.destroy_time = now()
        self._versions.put(version.name, version)
        return self._outside(version)

    # Access

    async def get_iam_policy(self, call: Call, request: Any) -> Any:
        """secrets.getIamPolicy."""
        return self._policies.get(self._secret(call, request.resource, "secrets.getIamPolicy").name)

    async def set_iam_policy(self, call: Call, request: Any) -> Any:
        """secrets.setIamPolicy."""
        return self._policies.set(self._secret(call, request.resource, "secrets.setIamPolicy").name, request.policy)

    async def test_iam_permissions(self, call: Call, request: Any) -> Any:
        """secrets.testIamPermissions: answers for the caller."""
        name = self._inside(call, request.resource)
        allowed = self._policies.allowed(call.principal, request.permissions, name)
        return iam_policy_pb2.TestIamPermissionsResponse(permissions=allowed)


def _etag(moment: Any) -> str:
    return f'"{int(moment.timestamp() * 1_000_000):x}"'


def _crc32c(data: bytes) -> int:
    return int(google_crc32c.value(data))
