"""Cloud Resource Manager: projects and their policies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import MISSING_CREDENTIALS, ApiError
from ..jsonapi import JsonCall, Route
from ..paging import page
from ..policies import policy_from_json, policy_to_json

if TYPE_CHECKING:
    from ..identity import Identity
    from ..policies import Policies

PROJECTS_HOST = "cloudresourcemanager.googleapis.com"


class Projects:
    """Cloud Resource Manager: projects and their policies."""

    def __init__(self, identity: Identity, policies: Policies) -> None:
        self._identity = identity
        self._policies = policies

    def routes(self) -> list[Route]:
        """The methods of cloudresourcemanager.googleapis.com, v1 and v3."""
        routes = [Route("cloudresourcemanager.v1.projects.list", "GET", "/v1/projects", self.list_v1)]
        for version, verb in (("v1", "POST"), ("v3", "POST")):
            one, name = f"/{version}/projects/{{project}}", f"cloudresourcemanager.{version}.projects."
            get = self.get_v1 if version == "v1" else self.get_v3
            routes += [
                Route(f"{name}get", "GET", one, get),
                Route(f"{name}getIamPolicy", verb, f"{one}:getIamPolicy", self.get_policy),
                Route(f"{name}setIamPolicy", verb, f"{one}:setIamPolicy", self.set_policy),
                Route(f"{name}testIamPermissions", verb, f"{one}:testIamPermissions", self.test_permissions),
            ]
        return routes

    def _project(self, call: JsonCall, permission: str) -> dict[str, str]:
        record = self._identity.project(call.variables["project"])
        project = record["projectId"] if record else call.variables["project"]
        text = "The caller does not have permission"
        resource = f"projects/{project}"
        self._policies.require(
            call.principal, f"resourcemanager.projects.{permission}", resource, service=PROJECTS_HOST, message=text
        )
        if record is None:
            raise ApiError("PERMISSION_DENIED", text)
        return record

    async def get_v1(self, call: JsonCall) -> Any:
        """projects.get, v1."""
        record = self._project(call, "get")
        return {**record, "name": record["projectId"], "lifecycleState": "ACTIVE"}

    async def list_v1(self, call: JsonCall) -> Any:
        """projects.list, v1: those that the caller may see; of the filters, the one that gcloud sends."""
        text = call.request.parameter("filter") or ""
        if text not in {"", "lifecycleState:ACTIVE"}:
            raise ApiError("INVALID_ARGUMENT", f"The sandbox does not play the filter {text!r} of projects.list.")
        if call.principal is None:
            raise ApiError("UNAUTHENTICATED", MISSING_CREDENTIALS)
        found = [record for _, record in self._identity.projects.items() if self._seen(call, record["projectId"])]
        size, token = call.request.parameter("pageSize") or "0", call.request.parameter("pageToken") or ""
        if not size.isdecimal():
            raise ApiError("INVALID_ARGUMENT", f"Invalid value at 'page_size' (TYPE_INT32), {size!r}")
        items, following = page(found, int(size), token)
        shown = [{**record, "name": record["projectId"], "lifecycleState": "ACTIVE"} for record in items]
        return {**({"projects": shown} if shown else {}), **({"nextPageToken": following} if following else {})}

    def _seen(self, call: JsonCall, project: str) -> bool:
        return self._policies.allows(call.principal, "resourcemanager.projects.get", f"projects/{project}")

    async def get_v3(self, call: JsonCall) -> Any:
        """projects.get, v3."""
        record = self._project(call, "get")
        fields = {"name": f"projects/{record['projectNumber']}", "projectId": record["projectId"], "state": "ACTIVE"}
        return {**fields, "displayName": record["projectId"], "createTime": record["createTime"]}

    async def get_policy(self, call: JsonCall) -> Any:
        """projects.getIamPolicy."""
        return policy_to_json(self._policies.get(f"projects/{self._project(call, 'getIamPolicy')['projectId']}"))

    async def set_policy(self, call: JsonCall) -> Any:
        """projects.setIamPolicy."""
        record = self._project(call, "setIamPolicy")
        policy = policy_from_json((await call.body()).get("policy") or {})
        return policy_to_json(self._policies.set(f"projects/{record['projectId']}", policy))

    async def test_permissions(self, call: JsonCall) -> Any:
        """projects.testIamPermissions."""
        record = self._identity.project(call.variables["project"])
        if record is None:
            raise ApiError("PERMISSION_DENIED", "The caller does not have permission")
        asked = (await call.body()).get("permissions") or []
        return {"permissions": self._policies.allowed(call.principal, asked, f"projects/{record['projectId']}")}
