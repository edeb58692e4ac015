"""Service Usage, v1: which of Google's services a project has switched on.

What the sandbox plays is on in every project; of the rest, a project switches on what it names. Nothing can be switched
off: no service here refuses a project that has not enabled it.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from ..errors import ApiError
from ..jsonapi import JsonCall, Route
from ..paging import page

if TYPE_CHECKING:
    from ..identity import Identity
    from ..policies import Policies
    from ..store import Store

HOST = "serviceusage.googleapis.com"
PLAYED = {
    "artifactregistry.googleapis.com": "Artifact Registry API",
    "cloudbuild.googleapis.com": "Cloud Build API",
    "cloudresourcemanager.googleapis.com": "Cloud Resource Manager API",
    "composer.googleapis.com": "Cloud Composer API",
    "iam.googleapis.com": "Identity and Access Management (IAM) API",
    "iamcredentials.googleapis.com": "IAM Service Account Credentials API",
    "logging.googleapis.com": "Cloud Logging API",
    "secretmanager.googleapis.com": "Secret Manager API",
    "serviceusage.googleapis.com": "Service Usage API",
    "storage-api.googleapis.com": "Google Cloud Storage JSON API",
    "storage-component.googleapis.com": "Cloud Storage",
    "storage.googleapis.com": "Cloud Storage API",
}
"""The services that are on everywhere, and their titles."""
AVAILABLE = {
    "bigquery.googleapis.com": "BigQuery API",
    "cloudkms.googleapis.com": "Cloud Key Management Service (KMS) API",
    "compute.googleapis.com": "Compute Engine API",
    "container.googleapis.com": "Kubernetes Engine API",
    "containeranalysis.googleapis.com": "Container Analysis API",
    "containerscanning.googleapis.com": "Container Scanning API",
    "dataform.googleapis.com": "Dataform API",
    "monitoring.googleapis.com": "Cloud Monitoring API",
    "pubsub.googleapis.com": "Cloud Pub/Sub API",
    "sqladmin.googleapis.com": "Cloud SQL Admin API",
}
"""Services that a project can switch on, though nothing plays them."""
_TYPE = "type.googleapis.com/google.api.serviceusage.v1."
_NOTHING_TO_DO = "operations/noop.DONE_OPERATION"
_BATCH_LIMIT = 20


class ServiceUsage:
    """The methods that are played."""

    def __init__(self, store: Store, identity: Identity, policies: Policies) -> None:
        self._enabled = store.collection("services")
        self._operations = store.collection("service_operations")
        self._identity = identity
        self._policies = policies

    def routes(self) -> list[Route]:
        """The methods of serviceusage.googleapis.com."""
        services = "/v1/{kind}/{project}/services"
        return [
            Route("serviceusage.services.list", "GET", services, self.list),
            Route("serviceusage.services.batchGet", "GET", f"{services}:batchGet", self.batch_get),
            Route("serviceusage.services.batchEnable", "POST", f"{services}:batchEnable", self.batch_enable),
            Route("serviceusage.services.get", "GET", f"{services}/{{service}}", self.get),
            Route("serviceusage.services.enable", "POST", f"{services}/{{service}}:enable", self.enable),
            Route("serviceusage.operations.get", "GET", "/v1/operations/{operation}", self.get_operation),
        ]

    def _project(self, call: JsonCall, permission: str) -> tuple[str, str]:
        """Id and number of the project that a call is about."""
        if call.variables["kind"] != "projects":
            raise ApiError("INVALID_ARGUMENT", "The sandbox plays the services of projects only.")
        record = self._identity.project(call.variables["project"])
        project = str(record["projectId"] if record else call.variables["project"])
        text = f"Permission denied to {permission} service for project [{project}]"
        place = f"projects/{project}"
        self._policies.require(call.principal, f"serviceusage.services.{permission}", place, service=HOST, message=text)
        if record is None:
            raise ApiError("PERMISSION_DENIED", text)
        return project, str(record["projectNumber"])

    def _service(self, project: tuple[str, str], service: str) -> dict[str, Any]:
        identifier, number = project
        title = {**PLAYED, **AVAILABLE}.get(service)
        if title is None:
            raise ApiError("PERMISSION_DENIED", f"Not found or permission denied for service(s): {service}.")
        on = service in PLAYED or f"{identifier}/{service}" in self._enabled
        parent = f"projects/{number}"
        return {
            "name": f"{parent}/services/{service}",
            "parent": parent,
            "config": {"name": service, "title": title},
            "state": "ENABLED" if on else "DISABLED",
        }

    def _switch_on(self, project: tuple[str, str], services: list[str]) -> tuple[str, list[dict[str, Any]]]:
        """The name of the operation, and the services as they are then."""
        unknown = sorted({service for service in services if service not in {**PLAYED, **AVAILABLE}})
        if unknown:
            text = f"Not found or permission denied for service(s): {', '.join(unknown)}."
            raise ApiError("PERMISSION_DENIED", text)
        before = [self._service(project, service) for service in services]
        for service in services:
            self._enabled.put(f"{project[0]}/{service}", {})
        after = [self._service(project, service) for service in services]
        if before == after:
            return _NOTHING_TO_DO, after
        operation = f"operations/acf.p2-{project[1]}-{uuid.uuid4()}"
        self._operations.put(operation, {})
        return operation, after

    async def list(self, call: JsonCall) -> Any:
        """services.list, with the one filter that it has."""
        project = self._project(call, "list")
        found = [self._service(project, service) for service in sorted({**PLAYED, **AVAILABLE})]
        text = call.request.parameter("filter") or ""
        if text:
            state = text.removeprefix("state:")
            if state not in {"ENABLED", "DISABLED"} or state == text:
                raise ApiError("INVALID_ARGUMENT", "Invalid filter: only state:ENABLED and state:DISABLED are allowed.")
            found = [service for service in found if service["state"] == state]
        size = call.request.parameter("pageSize") or "0"
        if not size.isdecimal():
            raise ApiError("INVALID_ARGUMENT", f"Invalid value at 'page_size' (TYPE_INT32), {size!r}")
        items, token = page(found, int(size), call.request.parameter("pageToken") or "", default=50, maximum=200)
        return {"services": items, **({"nextPageToken": token} if token else {})}

    async def get(self, call: JsonCall) -> Any:
        """services.get."""
        return self._service(self._project(call, "get"), call.variables["service"])

    async def batch_get(self, call: JsonCall) -> Any:
        """services.batchGet: `names` are `projects/P/services/S`."""
        project = self._project(call, "get")
        given = parse_qsl(call.request.query_string)
        names = [value.rpartition("/")[2] for name, value in given if name == "names"]
        return {"services": [self._service(project, name) for name in names]}

    async def enable(self, call: JsonCall) -> Any:
        """services.enable: done at once; for one that is on already, gcloud is told that there was nothing to do."""
        project, service = self._project(call, "enable"), call.variables["service"]
        name, services = self._switch_on(project, [service])
        return _done(name, "EnableServiceResponse", {"service": services[0]})

    async def batch_enable(self, call: JsonCall) -> Any:
        """services.batchEnable: 20 at most, all or nothing."""
        project = self._project(call, "enable")
        services = [str(name) for name in (await call.body()).get("serviceIds") or []]
        if not 0 < len(services) <= _BATCH_LIMIT:
            raise ApiError("INVALID_ARGUMENT", f"service_ids must hold 1 to {_BATCH_LIMIT} services.")
        name, found = self._switch_on(project, services)
        return _done(name, "BatchEnableServicesResponse", {"services": found})

    async def get_operation(self, call: JsonCall) -> Any:
        """operations.get: every operation was done when it was answered."""
        name = f"operations/{call.variables['operation']}"
        if name != _NOTHING_TO_DO and name not in self._operations:
            raise ApiError("NOT_FOUND", f"Operation '{name}' was not found.")
        return {"name": name, "done": True}


def _done(name: str, kind: str, response: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "done": True, "response": {"@type": _TYPE + kind, **response}}
