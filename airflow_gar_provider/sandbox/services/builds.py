"""Cloud Build's API, v1, as far as a build log's link leads there: reading builds.

Only environments of Composer 2 build in the project's own Cloud Build. Those of Composer 3 build in Google's project:
this API shows nothing of them, and their log is the environment's.
"""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING, Any

from ..clock import now, rfc3339
from ..errors import ApiError
from ..jsonapi import JsonCall, Route
from ..paging import page

if TYPE_CHECKING:
    from ..identity import Identity
    from ..policies import Policies
    from ..store import Store

HOST = "cloudbuild.googleapis.com"
_GLOBAL = "global"
# What gcloud sends for --ongoing and for --filter on a status.
_FILTER = re.compile(r'\(?status\s*=\s*"?(\w+)"?\)?')


class BuildRecords:
    """The builds of every project."""

    def __init__(self, store: Store) -> None:
        self._builds = store.collection("builds")

    def start(self, project: str, number: str, *, account: str, tag: str) -> str:
        """A new build, WORKING; its id."""
        identifier, moment = str(uuid.uuid4()), rfc3339(now())
        page_of_build = f"https://console.cloud.google.com/cloud-build/builds/{identifier}?project={number}"
        build = {
            "name": f"projects/{number}/locations/{_GLOBAL}/builds/{identifier}",
            "id": identifier,
            "projectId": project,
            "status": "WORKING",
            "createTime": moment,
            "startTime": moment,
            "logUrl": page_of_build,
            "serviceAccount": f"projects/{project}/serviceAccounts/{account}",
            "options": {"logging": "CLOUD_LOGGING_ONLY"},
            "steps": [{"name": "gcr.io/cloud-builders/docker", "args": ["build", "-t", tag, "."], "status": "WORKING"}],
            "tags": [tag],
            "timeout": "2100s",
            "queueTtl": "3600s",
        }
        self._builds.put(f"{project}/{identifier}", build)
        return identifier

    def finish(self, project: str, identifier: str, problem: str | None) -> None:
        """End a build: SUCCESS, or FAILURE with a problem."""
        build = self.get(project, identifier)
        status, moment = "SUCCESS" if problem is None else "FAILURE", rfc3339(now())
        build["steps"][0]["status"] = status
        build.update({"status": status, "finishTime": moment})
        if problem is not None:
            build["failureInfo"] = {"type": "USER_BUILD_STEP", "detail": f"Build step failure: {problem}"}
        self._builds.put(f"{project}/{identifier}", build)

    def get(self, project: str, identifier: str) -> Any:
        """The build; NOT_FOUND when there is none."""
        build = self._builds.get(f"{project}/{identifier}")
        if build is None:
            raise ApiError("NOT_FOUND", "Requested entity was not found.")
        return build

    def newest_first(self, project: str) -> list[Any]:
        """The builds of a project."""
        builds = [build for _, build in self._builds.items(f"{project}/")]
        return sorted(builds, key=lambda build: str(build["createTime"]), reverse=True)


class Builds:
    """The methods that are played."""

    def __init__(self, records: BuildRecords, identity: Identity, policies: Policies) -> None:
        self._records = records
        self._identity = identity
        self._policies = policies

    def routes(self) -> list[Route]:
        """builds.get and builds.list, with and without a location."""
        routes = []
        for kind, parent in (("projects", "/v1/projects/{project}"), ("projects.locations", _PLACE)):
            name = f"cloudbuild.{kind}.builds."
            routes += [
                Route(f"{name}get", "GET", f"{parent}/builds/{{build}}", self.get),
                Route(f"{name}list", "GET", f"{parent}/builds", self.list),
            ]
        return routes

    def _project(self, call: JsonCall, permission: str) -> str:
        record = self._identity.project(call.variables["project"])
        project = record["projectId"] if record else call.variables["project"]
        text = "The caller does not have permission"
        place = f"projects/{project}"
        self._policies.require(call.principal, f"cloudbuild.builds.{permission}", place, service=HOST, message=text)
        return str(project)

    async def get(self, call: JsonCall) -> Any:
        """builds.get."""
        project = self._project(call, "get")
        if call.variables.get("location", _GLOBAL) != _GLOBAL:
            raise ApiError("NOT_FOUND", "Requested entity was not found.")
        return self._records.get(project, call.variables["build"])

    async def list(self, call: JsonCall) -> Any:
        """builds.list, newest first, by status."""
        builds = self._records.newest_first(self._project(call, "list"))
        if call.variables.get("location", _GLOBAL) != _GLOBAL:
            builds = []
        wanted = _statuses(call.request.parameter("filter") or "")
        found = [build for build in builds if not wanted or build["status"] in wanted]
        size, token = call.request.parameter("pageSize") or "0", call.request.parameter("pageToken") or ""
        if not size.isdecimal():
            raise ApiError("INVALID_ARGUMENT", f"Invalid value at 'page_size' (TYPE_INT32), {size!r}")
        items, following = page(found, int(size), token)
        return {"builds": items, **({"nextPageToken": following} if following else {})} if items else {}


_PLACE = "/v1/projects/{project}/locations/{location}"


def _statuses(text: str) -> set[str]:
    """The statuses that a filter names; INVALID_ARGUMENT for a filter that the sandbox does not play."""
    clauses = [clause.strip() for clause in text.strip().removeprefix("(").removesuffix(")").split(" OR ")]
    found = {match.group(1) for clause in clauses if clause and (match := _FILTER.fullmatch(clause))}
    if text.strip() and len(found) != len(clauses):
        raise ApiError("INVALID_ARGUMENT", f"The sandbox does not play the filter {text!r} of builds.")
    return found
