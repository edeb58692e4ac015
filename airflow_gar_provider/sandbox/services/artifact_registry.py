"""Artifact Registry's API, v1: repositories, access, packages, versions, files. Names follow the generated client.

Played as data, whatever the format: repositories of every mode. Played for Python: packages and below. Wording from
facts about Google's answers; operations are done at once, as they need no time here.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from google.cloud import artifactregistry_v1 as ar
from google.cloud.artifactregistry_v1.services.artifact_registry.transports import rest_base
from google.cloud.location import locations_pb2
from google.iam.v1 import iam_policy_pb2

from ..clock import now
from ..dispatch import methods_of
from ..errors import ApiError
from ..fieldmask import apply_mask, read_path
from ..operations import Operations
from ..paging import ordered, page
from ..policies import require_version, shown
from ..transcoding import unwrap
from ..web import file_answer
from .locations import LOCATIONS, check_location
from .registry import NOT_FOUND, REPOSITORY
from .registry_filter import matches

if TYPE_CHECKING:
    from ..dispatch import Call, Method
    from ..policies import Policies
    from ..store import Messages, Store
    from ..web import Answer, Request
    from .registry import Registry

HOST = "artifactregistry.googleapis.com"
SERVICE = "google.devtools.artifactregistry.v1.ArtifactRegistry"
_REPOSITORY_ID = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
_MUTABLE = ("description", "labels", "cleanup_policies", "cleanup_policy_dry_run", "docker_config", "maven_config")
_MUTABLE_CONFIG = ("virtual_repository_config", "remote_repository_config", "vulnerability_scanning_config")
_TIMES = {
    "name": lambda item: item.name,
    "create_time": lambda item: item.create_time,
    "update_time": lambda item: item.update_time,
}


class ArtifactRegistry:
    """The methods that are played; one that is missing answers 501."""

    def __init__(self, store: Store, registry: Registry, policies: Policies) -> None:
        self._registry = registry
        self._policies = policies
        self._operations = Operations(store)

    def methods(self) -> list[Method]:
        """Every method of the service, played or not."""
        return methods_of(SERVICE, ar.ArtifactRegistryClient, rest_base._BaseArtifactRegistryRestTransport, self)

    def _require(self, call: Call, permission: str, resource: str) -> None:
        match = REPOSITORY.match(resource)
        place = match.group(0) if match else "/".join(resource.split("/")[:2])
        self._policies.require(call.principal, f"artifactregistry.{permission}", place, service=HOST)

    def _done(self, parent: str, response: Any) -> Any:
        operation = self._operations.start(parent, ar.OperationMetadata())
        return self._operations.finish(operation.name, ar.OperationMetadata(), response=response)

    # Repositories

    async def create_repository(self, call: Call, request: Any) -> Any:
        """repositories.create."""
        self._require(call, "repositories.create", request.parent)
        check_location(request.parent)
        if not _REPOSITORY_ID.fullmatch(request.repository_id):
            text = f'Invalid repository ID "{request.repository_id}": it must match {_REPOSITORY_ID.pattern}.'
            raise ApiError("INVALID_ARGUMENT", text)
        name = f"{request.parent}/repositories/{request.repository_id}"
        repository = request.repository
        if repository.format_ == ar.Repository.Format.FORMAT_UNSPECIFIED:
            raise ApiError("INVALID_ARGUMENT", "Repository format must be specified.")
        if name in self._registry.repositories:
            raise ApiError("ALREADY_EXISTS", "the repository already exists")
        if repository.mode == ar.Repository.Mode.MODE_UNSPECIFIED:
            repository.mode = ar.Repository.Mode.STANDARD_REPOSITORY
        self._check_mode(repository, request.parent)
        _, project, _, location, _, identifier = name.split("/")
        kind = ar.Repository.Format(repository.format_).name.lower()
        repository.name, repository.size_bytes = name, 0
        repository.registry_uri = f"{location}-{kind}.pkg.dev/{project}/{identifier}"
        repository.create_time = repository.update_time = now()
        self._registry.repositories.put(name, repository)
        return self._done(request.parent, repository)

    def _check_mode(self, repository: Any, parent: str) -> None:
        modes = ar.Repository.Mode
        virtual = repository.mode == modes.VIRTUAL_REPOSITORY
        remote = repository.mode == modes.REMOTE_REPOSITORY
        if remote != ("remote_repository_config" in repository) or (
            "virtual_repository_config" in repository and not virtual
        ):
            raise ApiError("INVALID_ARGUMENT", "The repository's mode and its mode configuration do not agree.")
        for policy in repository.virtual_repository_config.upstream_policies:
            upstream = self._registry.repositories.get(policy.repository)
            if upstream is None:
                raise ApiError("NOT_FOUND", f"Upstream repository {policy.repository} was not found.")
            if policy.repository.split("/")[3] != parent.split("/")[3] or upstream.format_ != repository.format_:
                text = f"Upstream repository {policy.repository} must have the location and format of the virtual one."
                raise ApiError("INVALID_ARGUMENT", text)

    async def get_repository(self, call: Call, request: Any) -> Any:
        """repositories.get."""
        self._require(call, "repositories.get", request.name)
        return self._registry.repository(request.name)

    async def list_repositories(self, call: Call, request: Any) -> Any:
        """repositories.list."""
        self._require(call, "repositories.list", request.parent)
        found = [
            item
            for item in self._registry.repositories.list(f"{request.parent}/repositories/")
            if matches(request.filter, item, ("name",))
        ]
        items, token = page(ordered(found, request.order_by, _TIMES), request.page_size, request.page_token)
        return ar.ListRepositoriesResponse(repositories=items, next_page_token=token)

    async def update_repository(self, call: Call, request: Any) -> Any:
        """repositories.patch: an update answers with the repository, not with an operation."""
        name = request.repository.name
        self._require(call, "repositories.update", name)
        current = self._registry.repository(name)
        target = unwrap(current)
        # Without a mask everything that can change is replaced: so gcloud takes a cleanup policy away.
        named = list(request.update_mask.paths) or [
            field for field in (*_MUTABLE, *_MUTABLE_CONFIG) if field in target.DESCRIPTOR.fields_by_name
        ]
        paths = [read_path(path, target.DESCRIPTOR) for path in named]
        for path in paths:
            if path.field.split(".")[0] not in (*_MUTABLE, *_MUTABLE_CONFIG):
                raise ApiError("INVALID_ARGUMENT", f"Field {path.field} of a repository cannot be updated.")
        apply_mask(target, unwrap(request.repository), paths)
        self._check_mode(current, name.rpartition("/repositories/")[0])
        current.update_time = now()
        self._registry.repositories.put(name, current)
        return current

    async def delete_repository(self, call: Call, request: Any) -> Any:
        """repositories.delete."""
        self._require(call, "repositories.delete", request.name)
        self._registry.repository(request.name)
        self._registry.delete_repository(request.name)
        self._policies.delete(request.name)
        return self._empty(request.name)

    def _empty(self, name: str) -> Any:
        from google.protobuf import empty_pb2  # noqa: PLC0415 - only here

        return self._done("/".join(name.split("/")[:4]), empty_pb2.Empty())

    # Access

    async def get_iam_policy(self, call: Call, request: Any) -> Any:
        """repositories.getIamPolicy."""
        self._require(call, "repositories.getIamPolicy", request.resource)
        self._registry.repository(request.resource)
        return shown(self._policies.get(request.resource), request.options.requested_policy_version)

    async def set_iam_policy(self, call: Call, request: Any) -> Any:
        """repositories.setIamPolicy; ABORTED when somebody else was faster."""
        self._require(call, "repositories.setIamPolicy", request.resource)
        self._registry.repository(request.resource)
        require_version(request.policy)
        return self._policies.set(request.resource, request.policy)

    async def test_iam_permissions(self, call: Call, request: Any) -> Any:
        """repositories.testIamPermissions: answers for the caller."""
        self._registry.repository(request.resource)
        allowed = self._policies.allowed(call.principal, request.permissions, request.resource)
        return iam_policy_pb2.TestIamPermissionsResponse(permissions=allowed)

    # Packages and versions

    async def list_packages(self, call: Call, request: Any) -> Any:
        """packages.list."""
        self._require(call, "packages.list", request.parent)
        self._registry.repository(request.parent)
        found = [
            item
            for item in self._registry.packages.list(f"{request.parent}/packages/")
            if matches(getattr(request, "filter", ""), item, ("name", "annotations"))
        ]
        found = ordered(found, getattr(request, "order_by", ""), _TIMES)
        items, token = page(found, request.page_size, request.page_token)
        return ar.ListPackagesResponse(packages=items, next_page_token=token)

    async def get_package(self, call: Call, request: Any) -> Any:
        """packages.get."""
        self._require(call, "packages.get", request.name)
        return _found(self._registry.packages.get(request.name))

    async def delete_package(self, call: Call, request: Any) -> Any:
        """packages.delete."""
        self._require(call, "packages.delete", request.name)
        _found(self._registry.packages.get(request.name))
        self._registry.delete_package(request.name)
        return self._empty(request.name)

    async def list_versions(self, call: Call, request: Any) -> Any:
        """versions.list."""
        self._require(call, "versions.list", request.parent)
        _found(self._registry.packages.get(request.parent))
        found = [
            item
            for item in self._registry.versions.list(f"{request.parent}/versions/")
            if matches(getattr(request, "filter", ""), item, ("name", "annotations"))
        ]
        items, token = page(ordered(found, request.order_by, _TIMES), request.page_size, request.page_token)
        return ar.ListVersionsResponse(versions=items, next_page_token=token)

    async def get_version(self, call: Call, request: Any) -> Any:
        """versions.get."""
        self._require(call, "versions.get", request.name)
        return _found(self._registry.versions.get(request.name))

    async def delete_version(self, call: Call, request: Any) -> Any:
        """versions.delete."""
        self._require(call, "versions.delete", request.name)
        _found(self._registry.versions.get(request.name))
        self._registry.delete_version(request.name)
        return self._empty(request.name)

    async def list_python_packages(self, call: Call, request: Any) -> Any:
        """pythonPackages.list: one entry per version."""
        self._require(call, "pythonpackages.list", request.parent)
        self._registry.repository(request.parent)
        found = self._python_packages(request.parent)
        items, token = page(found, request.page_size, request.page_token)
        return ar.ListPythonPackagesResponse(python_packages=items, next_page_token=token)

    async def get_python_package(self, call: Call, request: Any) -> Any:
        """pythonPackages.get."""
        self._require(call, "pythonpackages.get", request.name)
        parent = request.name.rpartition("/pythonPackages/")[0]
        return _found(next((item for item in self._python_packages(parent) if item.name == request.name), None))

    def _python_packages(self, parent: str) -> list[Any]:
        repository = self._registry.repository(parent)
        result = []
        for version in self._registry.versions.list(f"{parent}/packages/"):
            package, _, number = version.name.partition("/packages/")[2].partition("/versions/")
            contents = [item for item in self._registry.contents(parent, package) if item.version == number]
            filename = contents[0].filename if contents else ""
            result.append(
                ar.PythonPackage(
                    name=f"{parent}/pythonPackages/{package}:{number}",
                    uri=f"{repository.registry_uri}/{package}/{filename}",
                    package_name=package,
                    version=number,
                    create_time=version.create_time,
                    update_time=version.update_time,
                )
            )
        return result

    # Files

    async def list_files(self, call: Call, request: Any) -> Any:
        """files.list, with the documented filters on name, owner and annotations."""
        self._require(call, "files.list", request.parent)
        self._registry.repository(request.parent)
        found = [
            item
            for item in self._registry.files.list(f"{request.parent}/files/")
            if matches(request.filter, item, ("name", "owner", "annotations"))
        ]
        items, token = page(ordered(found, request.order_by, _TIMES), request.page_size, request.page_token)
        return ar.ListFilesResponse(files=items, next_page_token=token)

    async def get_file(self, call: Call, request: Any) -> Any:
        """files.get."""
        self._require(call, "files.get", request.name)
        return _found(self._registry.files.get(request.name))

    async def download_file(self, request: Request, call: Call, variables: dict[str, str]) -> Answer:
        """files/ID:download?alt=media, with ranges."""
        self._require(call, "files.download", variables["name"])
        content = _found(self._registry.content(variables["name"]))
        headers = {"accept-ranges": "bytes"}
        return file_answer(self._registry.path(content), request.header("range"), "application/octet-stream", headers)

    async def delete_file(self, call: Call, request: Any) -> Any:
        """files.delete: the file alone; its version stays, without a file if it was the last one."""
        self._require(call, "files.delete", request.name)
        _found(self._registry.files.get(request.name))
        self._registry.delete_file(request.name)
        return self._empty(request.name)

    # Annotations, and tags, which Python packages do not have

    async def update_package(self, call: Call, request: Any) -> Any:
        """packages.patch: annotations."""
        self._require(call, "packages.update", request.package.name)
        return _annotated(self._registry.packages, request.package, request.update_mask)

    async def update_version(self, call: Call, request: Any) -> Any:
        """versions.patch: annotations."""
        self._require(call, "versions.update", request.version.name)
        return _annotated(self._registry.versions, request.version, request.update_mask)

    async def update_file(self, call: Call, request: Any) -> Any:
        """files.patch: annotations."""
        self._require(call, "files.update", request.file.name)
        return _annotated(self._registry.files, request.file, request.update_mask)

    async def list_tags(self, call: Call, request: Any) -> Any:
        """tags.list: Python packages have none (gcloud asks before it deletes a version)."""
        self._require(call, "tags.list", request.parent)
        _found(self._registry.packages.get(request.parent))
        return ar.ListTagsResponse()

    # Operations and locations

    async def get_operation(self, call: Call, request: Any) -> Any:
        """operations.get."""
        self._require(call, "repositories.list", request.name)
        return self._operations.get(request.name)

    async def list_locations(self, call: Call, request: Any) -> Any:
        """locations.list."""
        self._require(call, "locations.list", request.name)
        return locations_pb2.ListLocationsResponse(
            locations=[self._location(request.name, location) for location in LOCATIONS]
        )

    async def get_location(self, call: Call, request: Any) -> Any:
        """locations.get."""
        self._require(call, "locations.get", request.name)
        check_location(request.name)
        return self._location(*request.name.split("/locations/"))

    def _location(self, project: str, location: str) -> Any:
        return locations_pb2.Location(
            name=f"{project}/locations/{location}", location_id=location, display_name=location
        )


def _found(value: Any) -> Any:
    if value is None:
        raise ApiError("NOT_FOUND", NOT_FOUND)
    return value


def _annotated(records: Messages, given: Any, mask: Any) -> Any:
    """Write the masked fields of a package, a version or a file, which can only be its annotations."""
    current = _found(records.get(given.name))
    target = unwrap(current)
    paths = [read_path(path, target.DESCRIPTOR) for path in mask.paths]
    refused = ", ".join(path.field for path in paths if path.field != "annotations")
    if refused:
        raise ApiError("INVALID_ARGUMENT", f"Only annotations can be updated, but update_mask has: {refused}.")
    apply_mask(target, unwrap(given), paths)
    current.update_time = now()
    records.put(given.name, current)
    return current
