"""Artifact Registry: its API, and the package index's upload."""

from __future__ import annotations

import base64
import io
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import BinaryIO
from urllib.parse import unquote

import requests
from google.api_core import exceptions as api
from google.cloud import artifactregistry_v1 as ar
from google.iam.v1 import iam_policy_pb2, policy_pb2

from airflow_gar_provider.core.repository import RegistryFile, Repository, RepositoryName, Upstream
from airflow_gar_provider.core.wheel import Wheel
from airflow_gar_provider.errors import NotFoundError
from airflow_gar_provider.gcp.session import CALL_TIMEOUT, RETRY, Session, error_of_response, google_errors

_MODE = {"standard": "STANDARD_REPOSITORY", "remote": "REMOTE_REPOSITORY", "virtual": "VIRTUAL_REPOSITORY"}
_CREATE_TIMEOUT = 300.0
_UPLOAD_TIMEOUT = (20.0, 300.0)
"""Seconds to connect, and between two bytes of the answer."""


class ArtifactRegistry:
    """One identity's view of Artifact Registry. Errors: see `gcp.session.google_errors`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @cached_property
    def _client(self) -> ar.ArtifactRegistryClient:
        return ar.ArtifactRegistryClient(credentials=self._session.credentials)

    def get_repository(self, name: RepositoryName) -> Repository | None:
        """The repository, or None when there is none."""
        try:
            with google_errors("look at the repository", resource=str(name)):
                found = self._client.get_repository(name=str(name), retry=RETRY, timeout=CALL_TIMEOUT)
        except NotFoundError:
            return None
        # Standard repositories made by gcloud have MODE_UNSPECIFIED in their request (gcloud 528).
        mode = next((word for word, value in _MODE.items() if found.mode.name == value), "standard")
        return Repository(name, found.format_.name, mode)

    def create_repository(
        self,
        name: RepositoryName,
        *,
        mode: str,
        description: str | None,
        labels: Mapping[str, str] | None,
        upstreams: Sequence[Upstream] = (),
        remote: str | None = None,
    ) -> bool:
        """Create a Python repository and wait for it. False when it exists already (somebody was faster)."""
        repository = ar.Repository(
            format_=ar.Repository.Format.PYTHON,
            mode=ar.Repository.Mode[_MODE[mode]],
            description=description or "",
            labels=dict(labels or {}),
        )
        if mode == "virtual":
            repository.virtual_repository_config = ar.VirtualRepositoryConfig(
                upstream_policies=[
                    ar.UpstreamPolicy(id=u.repository.name, repository=str(u.repository), priority=u.priority)
                    for u in upstreams
                ]
            )
        if mode == "remote":
            repository.remote_repository_config = _remote(remote or "PYPI")
        try:
            operation = self._client.create_repository(
                parent=name.parent, repository_id=name.name, repository=repository, timeout=CALL_TIMEOUT
            )
            operation.result(timeout=_CREATE_TIMEOUT)
        except api.AlreadyExists:
            return False
        except api.GoogleAPICallError:
            with google_errors(
                "create the repository",
                resource=str(name),
                remedy="the caller needs artifactregistry.repositories.create on the project "
                "(roles/artifactregistry.admin), and the API must be enabled there",
            ):
                raise
        return True

    def get_policy(self, name: RepositoryName) -> policy_pb2.Policy:
        """The repository's IAM policy, with its etag."""
        with google_errors("read the repository's IAM policy", resource=str(name)):
            request = iam_policy_pb2.GetIamPolicyRequest(resource=str(name))
            return self._client.get_iam_policy(request=request, timeout=CALL_TIMEOUT, retry=RETRY)

    def set_policy(self, name: RepositoryName, policy: policy_pb2.Policy) -> None:
        """Write the policy; its etag says which one it replaces. Raises ConcurrentChangeError when that is gone."""
        with google_errors(
            "change the repository's IAM policy",
            resource=str(name),
            remedy="the caller needs artifactregistry.repositories.setIamPolicy there (roles/artifactregistry.admin)",
        ):
            request = iam_policy_pb2.SetIamPolicyRequest(resource=str(name), policy=policy)
            self._client.set_iam_policy(request=request, timeout=CALL_TIMEOUT)

    def list_files(self, repository: RepositoryName, package: str, version: str) -> list[RegistryFile]:
        """The files of one version; none when there is no such version."""
        owner = repository.version(package, version)
        with google_errors("list files in the repository", resource=str(repository)):
            request = ar.ListFilesRequest(parent=str(repository), filter=f'owner="{owner}"', page_size=1000)
            found = list(self._client.list_files(request=request, retry=RETRY, timeout=CALL_TIMEOUT))
        return [_file(file) for file in found]

    def list_versions(self, repository: RepositoryName, package: str) -> list[str]:
        """All versions of a package; none when there is no such package."""
        try:
            with google_errors("list versions in the repository", resource=str(repository)):
                request = ar.ListVersionsRequest(parent=repository.package(package), page_size=1000)
                found = list(self._client.list_versions(request=request, retry=RETRY, timeout=CALL_TIMEOUT))
        except NotFoundError:
            return []
        return [unquote(version.name.rsplit("/", 1)[1]) for version in found]

    def upload(
        self, repository: RepositoryName, wheel: Wheel, stream: BinaryIO, progress: Callable[[int], None]
    ) -> bool:
        """Send one wheel; `progress` is told the bytes sent so far. False when its file name is there already.

        The form is that of the legacy PyPI protocol; a duplicate is answered with 400 "Requested entity already
        exists." (twine 7 lists Artifact Registry among the indexes that do so; pypa/twine #816).
        """
        body = _MultipartBody(wheel.form(), wheel.file, stream, wheel.size, progress)
        user = base64.b64encode(b"oauth2accesstoken:" + self._session.token().encode()).decode()
        with google_errors(f"upload {wheel.file}", resource=str(repository)):
            response = requests.post(
                repository.upload_url,
                data=body,
                headers={"Authorization": f"Basic {user}", "Content-Type": body.content_type},
                timeout=_UPLOAD_TIMEOUT,
                allow_redirects=False,
            )
        if response.status_code in (200, 201, 202, 204):
            return True
        if response.status_code == 409 or (
            response.status_code == 400 and "already exist" in f"{response.reason} {response.text}".lower()
        ):
            return False
        remedies = {
            401: "the connection's access token was refused: look at its credentials",
            403: "grant the caller roles/artifactregistry.writer on the repository",
            404: "create the repository first (CreateRepositoryOperator), or correct its name",
        }
        raise error_of_response(
            response, f"upload {wheel.file}", resource=str(repository), remedy=remedies.get(response.status_code)
        )


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
    return RegistryFile(name, sha256, int(file.size_bytes))


class _MultipartBody:
    """A multipart/form-data body that is read from disk while it is sent: memory stays constant.

    It has a length, so that the request is not chunked (twine and uv send Content-Length), and it has no `tell`:
    requests would take its position off the length.
    """

    def __init__(
        self,
        fields: Sequence[tuple[str, str]],
        file: str,
        stream: BinaryIO,
        size: int,
        progress: Callable[[int], None],
    ) -> None:
        boundary = uuid.uuid4().hex
        self.content_type = f"multipart/form-data; boundary={boundary}"
        head = "".join(
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            for name, value in fields
        )
        head += (
            f'--{boundary}\r\nContent-Disposition: form-data; name="content"; filename="{file}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        )
        stream.seek(0)
        tail = f"\r\n--{boundary}--\r\n".encode()
        encoded = head.encode()
        self._parts: list[BinaryIO] = [io.BytesIO(encoded), stream, io.BytesIO(tail)]
        self._length = len(encoded) + size + len(tail)
        self._sent = 0
        self._progress = progress

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.read, b"")

    def read(self, size: int = -1) -> bytes:
        """The next bytes. Blocks of 1 MiB whatever http.client asks for: its 8 KiB make many calls."""
        while self._parts:
            chunk = self._parts[0].read(max(size, 1 << 20))
            if chunk:
                self._sent += len(chunk)
                self._progress(self._sent)
                return chunk
            self._parts.pop(0)
        return b""
