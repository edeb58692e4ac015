"""Artifact Registry: its API. The package index of its repositories is in `package_index`."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import datetime, timezone
from functools import cached_property
from typing import Any
from urllib.parse import unquote

from google.api_core import exceptions as api
from google.cloud import artifactregistry_v1 as ar
from google.iam.v1 import iam_policy_pb2, options_pb2, policy_pb2

from airflow_gar_provider.core.repository import RegistryFile, Repository, RepositoryName, Upstream
from airflow_gar_provider.core.repository_settings import Settings
from airflow_gar_provider.errors import NotFoundError
from airflow_gar_provider.gcp.grpc_client import grpc_client
from airflow_gar_provider.gcp.session import CALL_TIMEOUT, RETRY, Session, google_errors

_MODE = {"standard": "STANDARD_REPOSITORY", "remote": "REMOTE_REPOSITORY", "virtual": "VIRTUAL_REPOSITORY"}
_POLICY_VERSION = 3
"""Policies of an older version lose the conditions of their bindings (IAM documentation, "Policy versions")."""
_PATHS = {
    "upstreams": "virtual_repository_config",
    "description": "description",
    "labels": "labels",
    "cleanup_policies": "cleanup_policies",
    "cleanup_dry_run": "cleanup_policy_dry_run",
}
"""Fields of `Settings` that can be changed -> paths of an update mask."""
UTC = timezone.utc  # datetime.UTC is not in Python 3.10


class ArtifactRegistry:
    """One identity's view of Artifact Registry. Errors: see `gcp.session.google_errors`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @cached_property
    def _client(self) -> ar.ArtifactRegistryClient:
        return grpc_client(ar.ArtifactRegistryClient, self._session)

    def get_repository(self, name: RepositoryName) -> Repository | None:
        """The repository, or None when there is none."""
        try:
            with google_errors("look at the repository", resource=str(name)):
                found = self._client.get_repository(name=str(name), retry=RETRY, timeout=CALL_TIMEOUT)
        except NotFoundError:
            return None
        # Standard repositories made by gcloud have MODE_UNSPECIFIED in their request (gcloud 528).
        mode = next((word for word, value in _MODE.items() if found.mode.name == value), "standard")
        return Repository(
            name=name,
            format=found.format_.name,
            mode=mode,
            upstreams=_upstreams(found),
            remote=_remote_of(found) if mode == "remote" else None,
            description=found.description,
            labels=dict(found.labels),
            kms_key=found.kms_key_name,
            cleanup_policies={key: _json_of(policy) for key, policy in found.cleanup_policies.items()},
            cleanup_dry_run=found.cleanup_policy_dry_run,
        )

    def create_repository(self, name: RepositoryName, settings: Settings) -> RegistryOperation | None:
        """Begin to create a Python repository. None when it exists already (somebody was faster)."""
        repository = _message(settings)
        repository.format_ = ar.Repository.Format.PYTHON
        repository.mode = ar.Repository.Mode[_MODE[settings.mode]]
        try:
            operation = self._client.create_repository(
                parent=name.parent, repository_id=name.name, repository=repository, timeout=CALL_TIMEOUT
            )
        except api.AlreadyExists:
            return None
        except api.GoogleAPICallError:
            with google_errors(
                "create the repository",
                resource=str(name),
                remedy="the caller needs artifactregistry.repositories.create on the project "
                "(roles/artifactregistry.admin), and the API must be enabled there",
            ):
                raise
        return RegistryOperation(operation, "create the repository", str(name))

    def update_repository(self, found: Repository, settings: Settings, fields: frozenset[str]) -> None:
        """Change these fields of a repository (names of `Settings`). An update answers at once, not by an operation."""
        message = _message(settings)
        message.name = str(found.name)
        if "labels" in fields:
            message.labels = {**found.labels, **(settings.labels or {})}
        paths = sorted(_PATHS[field] for field in fields)
        with google_errors(
            f"change {', '.join(sorted(fields))} of the repository",
            resource=str(found.name),
            remedy="the caller needs artifactregistry.repositories.update there (roles/artifactregistry.admin)",
        ):
            self._client.update_repository(repository=message, update_mask={"paths": paths}, timeout=CALL_TIMEOUT)

    def get_policy(self, name: RepositoryName) -> policy_pb2.Policy:
        """The repository's IAM policy, with its etag."""
        with google_errors("read the repository's IAM policy", resource=str(name)):
            options = options_pb2.GetPolicyOptions(requested_policy_version=_POLICY_VERSION)
            request = iam_policy_pb2.GetIamPolicyRequest(resource=str(name), options=options)
            return self._client.get_iam_policy(request=request, timeout=CALL_TIMEOUT, retry=RETRY)

    def set_policy(self, name: RepositoryName, policy: policy_pb2.Policy) -> None:
        """Write the policy; its etag says which one it replaces. Raises ConcurrentChangeError when that is gone."""
        with google_errors(
            "change the repository's IAM policy",
            resource=str(name),
            remedy="the caller needs artifactregistry.repositories.setIamPolicy there (roles/artifactregistry.admin)",
        ):
            policy.version = _POLICY_VERSION
            request = iam_policy_pb2.SetIamPolicyRequest(resource=str(name), policy=policy)
            self._client.set_iam_policy(request=request, timeout=CALL_TIMEOUT)

    def test_permissions(self, name: RepositoryName, permissions: Sequence[str]) -> set[str]:
        """Which of the permissions the caller has on the repository."""
        with google_errors("test permissions on the repository", resource=str(name)):
            request = iam_policy_pb2.TestIamPermissionsRequest(resource=str(name), permissions=permissions)
            found = self._client.test_iam_permissions(request=request, timeout=CALL_TIMEOUT, retry=RETRY)
        return set(found.permissions)

    def list_files(
        self, repository: RepositoryName, package: str | None = None, version: str | None = None
    ) -> list[RegistryFile]:
        """The files of a repository, of one package, or of one version of it; none when there is no such thing.

        A repository's files come in pages of 1000 (the most that the API gives), so that many are one call.
        """
        if package is None:
            return self._files(repository, "")
        if version is not None:
            return self._files(repository, f'owner="{repository.version(package, version)}"')
        # The API documents the * for names of files, not for owners: where it finds nothing, everything is looked at.
        found = self._files(repository, f'owner="{repository.version(package, "*")}"')
        return found or [file for file in self._files(repository, "") if file.package == package]

    def _files(self, repository: RepositoryName, only: str) -> list[RegistryFile]:
        with google_errors("list files in the repository", resource=str(repository)):
            request = ar.ListFilesRequest(parent=str(repository), filter=only, page_size=1000)
            found = list(self._client.list_files(request=request, retry=RETRY, timeout=CALL_TIMEOUT))
        return [_file(file) for file in found]

    def delete_version(self, repository: RepositoryName, package: str, version: str) -> RegistryOperation | None:
        """Begin to delete a version with its files. None when it is gone already."""
        name = repository.version(package, version)
        action = f"delete {package} {version}"
        remedy = "the caller needs artifactregistry.versions.delete there (roles/artifactregistry.repoAdmin)"
        try:
            with google_errors(action, resource=str(repository), remedy=remedy):
                operation = self._client.delete_version(name=name, timeout=CALL_TIMEOUT)
        except NotFoundError:
            return None
        return RegistryOperation(operation, action, str(repository))

    def list_versions(self, repository: RepositoryName, package: str) -> list[str]:
        """All versions of a package; none when there is no such package."""
        try:
            with google_errors("list versions in the repository", resource=str(repository)):
                request = ar.ListVersionsRequest(parent=repository.package(package), page_size=1000)
                found = list(self._client.list_versions(request=request, retry=RETRY, timeout=CALL_TIMEOUT))
        except NotFoundError:
            return []
        return [unquote(version.name.rsplit("/", 1)[1]) for version in found]


class RegistryOperation:
    """A long-running operation of the registry."""

    def __init__(self, operation: Any, action: str, resource: str) -> None:
        self._operation = operation
        self._action = action
        self._resource = resource

    @property
    def name(self) -> str:
        """`projects/P/locations/L/operations/O`."""
        return str(self._operation.operation.name)

    def done(self) -> bool:
        """Look whether it has ended. Raises what it failed with."""
        with google_errors(self._action, resource=self._resource):
            if not self._operation.done(retry=RETRY):
                return False
            error = self._operation.exception(timeout=0)
            if error is not None:
                raise error
        return True


def _message(settings: Settings) -> ar.Repository:
    """The settings as the API writes them; what is not said stays empty."""
    message = ar.Repository(
        description=settings.description or "",
        labels=dict(settings.labels or {}),
        kms_key_name=settings.kms_key or "",
        cleanup_policy_dry_run=bool(settings.cleanup_dry_run),
    )
    for name, policy in (settings.cleanup_policies or {}).items():
        message.cleanup_policies[name] = ar.CleanupPolicy.from_json(json.dumps({**policy, "id": name}))
    if settings.upstreams:
        message.virtual_repository_config = ar.VirtualRepositoryConfig(
            upstream_policies=[
                ar.UpstreamPolicy(id=name, repository=str(upstream.repository), priority=upstream.priority)
                for name, upstream in zip(_policy_ids(settings.upstreams), settings.upstreams, strict=True)
            ]
        )
    if settings.remote is not None:
        message.remote_repository_config = _remote(settings.remote)
    return message


def _policy_ids(upstreams: Sequence[Upstream]) -> list[str]:
    """A name for each upstream; two of one name are in two projects."""
    names = [upstream.repository.name for upstream in upstreams]
    return [
        name if names.count(name) == 1 else f"{upstream.repository.project.replace(':', '-')}-{name}"
        for name, upstream in zip(names, upstreams, strict=True)
    ]


def _remote(upstream: str) -> ar.RemoteRepositoryConfig:
    config = ar.RemoteRepositoryConfig
    if upstream.upper() == "PYPI":
        public = config.PythonRepository.PublicRepository.PYPI
        return config(python_repository=config.PythonRepository(public_repository=public))
    return config(common_repository=config.CommonRemoteRepository(uri=upstream))


def _file(file: ar.File) -> RegistryFile:
    """The id is `PACKAGE%2FFILE` for Python; its hashes are bytes."""
    sha256 = next((h.value.hex() for h in file.hashes if h.type_ == ar.Hash.HashType.SHA256), "")
    name = unquote(file.name.rsplit("/files/", 1)[1]).rsplit("/", 1)[-1]
    owner = re.fullmatch(r".*/packages/([^/]+)/versions/([^/]+)", file.owner)
    package, version = (unquote(part) for part in owner.groups()) if owner else ("", "")
    return RegistryFile(name, sha256, int(file.size_bytes), _moment(file.create_time), package, version)


def _moment(value: datetime | None) -> datetime | None:
    """A timestamp in UTC as Python's own class."""
    return datetime.fromtimestamp(value.timestamp(), UTC) if value is not None else None


def _upstreams(found: ar.Repository) -> tuple[Upstream, ...]:
    policies = found.virtual_repository_config.upstream_policies
    upstreams = [Upstream(RepositoryName.parse(policy.repository), policy.priority) for policy in policies]
    return tuple(sorted(upstreams, key=lambda upstream: -upstream.priority))


def _remote_of(found: ar.Repository) -> str | None:
    """`PYPI` or a URL, whichever of the three fields holds it."""
    config = found.remote_repository_config
    if config.python_repository.public_repository:
        return str(config.python_repository.public_repository.name)
    return str(config.python_repository.custom_repository.uri or config.common_repository.uri) or None


def _json_of(policy: ar.CleanupPolicy) -> dict[str, Any]:
    """A cleanup policy as the REST API writes it, without its id."""
    found = json.loads(type(policy).to_json(policy, use_integers_for_enums=False))
    return {
        key: {k: v for k, v in value.items() if v != []} if isinstance(value, dict) else value
        for key, value in found.items()
        if key != "id"
    }
