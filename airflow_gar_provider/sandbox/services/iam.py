"""IAM: service accounts, their policies and their keys."""

from __future__ import annotations

import base64
import json
import re
from typing import TYPE_CHECKING, Any

from ..errors import ApiError
from ..jsonapi import JsonCall, Route
from ..policies import policy_from_json, policy_to_json

if TYPE_CHECKING:
    from ..identity import Identity, Principal
    from ..policies import Policies

IAM_HOST = "iam.googleapis.com"
_WRITABLE = {"displayName": "displayName", "display_name": "displayName", "description": "description"}
"""The paths of an update mask, and the fields that they name."""
_ACCOUNT_ID = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])")


class Iam:
    """Service accounts and their keys."""

    def __init__(self, identity: Identity, policies: Policies) -> None:
        self._identity = identity
        self._policies = policies

    def routes(self) -> list[Route]:
        """The methods of iam.googleapis.com."""
        accounts = "/v1/projects/{project}/serviceAccounts"
        one, keys = f"{accounts}/{{account}}", f"{accounts}/{{account}}/keys"
        name = "google.iam.admin.v1.IAM."
        return [
            Route(f"{name}CreateServiceAccount", "POST", accounts, self.create_account),
            Route(f"{name}ListServiceAccounts", "GET", accounts, self.list_accounts),
            Route(f"{name}GetServiceAccount", "GET", one, self.get_account),
            Route(f"{name}DeleteServiceAccount", "DELETE", one, self.delete_account),
            Route(f"{name}PatchServiceAccount", "PATCH", one, self.patch_account),
            Route(f"{name}DisableServiceAccount", "POST", f"{one}:disable", self.disable_account),
            Route(f"{name}EnableServiceAccount", "POST", f"{one}:enable", self.enable_account),
            Route(f"{name}GetIamPolicy", "POST", f"{one}:getIamPolicy", self.get_policy),
            Route(f"{name}SetIamPolicy", "POST", f"{one}:setIamPolicy", self.set_policy),
            Route(f"{name}TestIamPermissions", "POST", f"{one}:testIamPermissions", self.test_permissions),
            Route(f"{name}CreateServiceAccountKey", "POST", keys, self.create_key),
            Route(f"{name}ListServiceAccountKeys", "GET", keys, self.list_keys),
            Route(f"{name}GetServiceAccountKey", "GET", f"{keys}/{{key}}", self.get_key),
            Route(f"{name}DeleteServiceAccountKey", "DELETE", f"{keys}/{{key}}", self.delete_key),
            Route(f"{name}DisableServiceAccountKey", "POST", f"{keys}/{{key}}:disable", self.disable_key),
            Route(f"{name}EnableServiceAccountKey", "POST", f"{keys}/{{key}}:enable", self.enable_key),
        ]

    def _require(self, principal: Principal | None, permission: str, resource: str) -> None:
        text = f"Permission '{permission}' denied on resource (or it may not exist)."
        self._policies.require(principal, permission, resource, service=IAM_HOST, message=text)

    def _account(self, call: JsonCall, permission: str) -> dict[str, Any]:
        """The account of the call, when the caller may."""
        record = self._find(call.variables["account"])
        project = record["projectId"] if record else call.variables["project"]
        email = record["email"] if record else call.variables["account"]
        self._require(call.principal, permission, f"projects/{project}/serviceAccounts/{email}")
        if record is None:
            raise ApiError("NOT_FOUND", f"Unknown service account: {email}")
        return record

    def _find(self, account: str) -> dict[str, Any] | None:
        record: dict[str, Any] | None = self._identity.accounts.get(account)
        if record is None and account.isdigit():
            return next((value for _, value in self._identity.accounts.items() if value["uniqueId"] == account), None)
        return record

    async def create_account(self, call: JsonCall) -> Any:
        """serviceAccounts.create."""
        project = call.variables["project"]
        self._require(call.principal, "iam.serviceAccounts.create", f"projects/{project}")
        body = await call.body()
        identifier = str(body.get("accountId", ""))
        if not _ACCOUNT_ID.fullmatch(identifier) or not 6 <= len(identifier) <= 30:
            text = "The account ID must be 6 to 30 lower-case letters, digits and hyphens, a letter first."
            raise ApiError("INVALID_ARGUMENT", f"{text} Got: {identifier!r}")
        email = f"{identifier}@{project}.iam.gserviceaccount.com"
        if email in self._identity.accounts:
            text = f"Service account {identifier} already exists within project projects/{project}."
            raise ApiError("ALREADY_EXISTS", text)
        account = body.get("serviceAccount") or {}
        self._identity.add_account(email, str(account.get("displayName", "")))
        return self._identity.change_account(email, description=str(account.get("description", "")) or None)

    async def list_accounts(self, call: JsonCall) -> Any:
        """serviceAccounts.list."""
        project = call.variables["project"]
        self._require(call.principal, "iam.serviceAccounts.list", f"projects/{project}")
        return {"accounts": [item for _, item in self._identity.accounts.items() if item["projectId"] == project]}

    async def get_account(self, call: JsonCall) -> Any:
        """serviceAccounts.get."""
        return self._account(call, "iam.serviceAccounts.get")

    async def patch_account(self, call: JsonCall) -> Any:
        """serviceAccounts.patch: the display name and the description, as far as the mask names them."""
        account, body = self._account(call, "iam.serviceAccounts.update"), await call.body()
        paths = [path for path in re.split(r"[,\s]+", str(body.get("updateMask", ""))) if path]
        if not paths or not set(paths) <= _WRITABLE.keys():
            raise ApiError("INVALID_ARGUMENT", f"Invalid update mask: {', '.join(paths) or 'it is empty'}.")
        wanted = body.get("serviceAccount") or {}
        fields = {_WRITABLE[path]: str(wanted.get(_WRITABLE[path], "")) or None for path in paths}
        return self._identity.change_account(account["email"], **fields)

    async def delete_account(self, call: JsonCall) -> Any:
        """serviceAccounts.delete: keys and tokens end, policies show it as deleted."""
        account = self._account(call, "iam.serviceAccounts.delete")
        self._identity.delete_account(account["email"])
        self._policies.delete(account["name"])
        self._policies.member_deleted(account["email"], account["uniqueId"])

    async def disable_account(self, call: JsonCall) -> Any:
        """serviceAccounts.disable: its tokens are refused, and it gets no new ones."""
        self._identity.change_account(self._account(call, "iam.serviceAccounts.disable")["email"], disabled=True)

    async def enable_account(self, call: JsonCall) -> Any:
        """serviceAccounts.enable: its tokens are good again."""
        self._identity.change_account(self._account(call, "iam.serviceAccounts.enable")["email"], disabled=None)

    async def get_policy(self, call: JsonCall) -> Any:
        """serviceAccounts.getIamPolicy."""
        account = self._account(call, "iam.serviceAccounts.getIamPolicy")
        return policy_to_json(self._policies.get(account["name"]))

    async def set_policy(self, call: JsonCall) -> Any:
        """serviceAccounts.setIamPolicy."""
        account = self._account(call, "iam.serviceAccounts.setIamPolicy")
        policy = policy_from_json((await call.body()).get("policy") or {})
        return policy_to_json(self._policies.set(account["name"], policy))

    async def test_permissions(self, call: JsonCall) -> Any:
        """serviceAccounts.testIamPermissions."""
        email = call.variables["account"]
        record = self._find(email)
        if record is None:
            raise ApiError("NOT_FOUND", f"Unknown service account: {email}")
        asked = (await call.body()).get("permissions") or []
        return {"permissions": self._policies.allowed(call.principal, asked, record["name"])}

    # Keys

    async def create_key(self, call: JsonCall) -> Any:
        """keys.create: the only time that the private half is seen."""
        account = self._account(call, "iam.serviceAccountKeys.create")
        kind = (await call.body()).get("privateKeyType", "TYPE_GOOGLE_CREDENTIALS_FILE")
        if kind not in {"TYPE_GOOGLE_CREDENTIALS_FILE", "TYPE_UNSPECIFIED", 0, 2}:
            raise ApiError("UNIMPLEMENTED", f"The sandbox does not make keys of {kind}.")
        record, file = await self._identity.create_key(account["email"])
        data = base64.b64encode(json.dumps(file, indent=2).encode()).decode()
        return {**_key(record), "privateKeyType": "TYPE_GOOGLE_CREDENTIALS_FILE", "privateKeyData": data}

    async def list_keys(self, call: JsonCall) -> Any:
        """keys.list."""
        account = self._account(call, "iam.serviceAccountKeys.list")
        return {"keys": [_key(item) for _, item in self._identity.keys.items() if item["email"] == account["email"]]}

    def _stored_key(self, call: JsonCall, permission: str) -> tuple[str, dict[str, Any]]:
        account, key = self._account(call, permission), call.variables["key"]
        record = self._identity.keys.get(key)
        if record is None or record["email"] != account["email"]:
            raise ApiError("NOT_FOUND", f"Service account key {key} does not exist.")
        return key, record

    async def get_key(self, call: JsonCall) -> Any:
        """keys.get."""
        return _key(self._stored_key(call, "iam.serviceAccountKeys.get")[1])

    async def delete_key(self, call: JsonCall) -> Any:
        """keys.delete."""
        self._identity.keys.delete(self._stored_key(call, "iam.serviceAccountKeys.delete")[0])

    async def disable_key(self, call: JsonCall) -> Any:
        """keys.disable."""
        key, record = self._stored_key(call, "iam.serviceAccountKeys.disable")
        self._identity.keys.put(key, {**record, "disabled": True})

    async def enable_key(self, call: JsonCall) -> Any:
        """keys.enable."""
        key, record = self._stored_key(call, "iam.serviceAccountKeys.enable")
        self._identity.keys.put(key, {**record, "disabled": False})


def _key(record: dict[str, Any]) -> dict[str, Any]:
    fields = {
        "name": record["name"],
        "keyAlgorithm": "KEY_ALG_RSA_2048",
        "keyOrigin": "GOOGLE_PROVIDED",
        "keyType": "USER_MANAGED",
        "validAfterTime": record["validAfterTime"],
        "validBeforeTime": "9999-12-31T23:59:59Z",
    }
    return {**fields, "disabled": True} if record["disabled"] else fields
