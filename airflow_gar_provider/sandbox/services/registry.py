"""What a package registry holds: repositories, packages, versions, files. Its API and `pkg.dev` are two views of
this.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from google.cloud import artifactregistry_v1 as ar
from packaging.utils import canonicalize_name

from ..clock import now
from ..errors import ApiError
from ..store import Messages

if TYPE_CHECKING:
    from pathlib import Path

    from ..store import Store

REPOSITORY = re.compile(r"projects/([^/]+)/locations/([^/]+)/repositories/([^/]+)")
NOT_FOUND = "Requested entity was not found."


@dataclass(frozen=True)
class Content:
    """What the registry knows of a file beyond what its API shows."""

    blob: str
    """The blob that holds the bytes."""
    filename: str
    """The file's own name, `mypythonlib-1.0.0-py3-none-any.whl`."""
    package: str
    """The normalised name of its project."""
    version: str
    """The version, normalised."""
    sha256: str
    """Hex digest."""
    size: int
    """Bytes."""
    requires_python: str
    """`Requires-Python` of the upload's metadata, or ""."""


class Registry:
    """The records of Artifact Registry."""

    def __init__(self, store: Store) -> None:
        self.blobs = store.blobs
        self.repositories = Messages(store.collection("repositories"), ar.Repository)
        self.packages = Messages(store.collection("packages"), ar.Package)
        self.versions = Messages(store.collection("versions"), ar.Version)
        self.files = Messages(store.collection("files"), ar.File)
        self._contents = store.collection("contents")

    def repository(self, name: str) -> Any:
        """The repository; NOT_FOUND when there is none."""
        repository = self.repositories.get(name)
        if repository is None:
            raise ApiError("NOT_FOUND", NOT_FOUND)
        return repository

    def content(self, file_name: str) -> Content | None:
        """What is behind a file's resource name."""
        value = self._contents.get(file_name)
        return None if value is None else Content(**value)

    def contents(self, repository: str, package: str) -> list[Content]:
        """The files of one project in a repository, oldest first."""
        prefix = f"{repository}/files/{canonicalize_name(package)}%2F"
        return [Content(**value) for _, value in self._contents.items(prefix)]

    def find(self, repository: str, sha256: str, filename: str) -> Content | None:
        """A file by its hash and name."""
        for _, value in self._contents.items(f"{repository}/files/"):
            if value["sha256"] == sha256 and value["filename"] == filename:
                return Content(**value)
        return None

    def path(self, content: Content) -> Path:
        """Where the bytes are."""
        return self.blobs.path(content.blob)

    def add(self, repository: str, content: Content, *, md5: bytes, summary: str) -> None:
        """Take a file in; ALREADY_EXISTS when its name is taken. Packages and versions come into being with it."""
        name = f"{repository}/files/{content.package}%2F{content.filename}"
        if name in self.files:
            raise ApiError("ALREADY_EXISTS", "Requested entity already exists.")
        moment = now()
        package = f"{repository}/packages/{content.package}"
        version = f"{package}/versions/{content.version}"
        self._touch(self.packages, ar.Package, package, moment)
        self._touch(self.versions, ar.Version, version, moment, description=summary)
        digest = bytes.fromhex(content.sha256)
        file = ar.File(
            name=name,
            size_bytes=content.size,
            hashes=[
                ar.Hash(type_=ar.Hash.HashType.SHA256, value=digest),
                ar.Hash(type_=ar.Hash.HashType.MD5, value=md5),
            ],
            create_time=moment,
            update_time=moment,
            owner=version,
        )
        self._contents.put(name, asdict(content))
        self.files.put(name, file)
        found = self.repositories.get(repository)
        found.size_bytes += content.size
        found.update_time = moment
        self.repositories.put(repository, found)

    def _touch(self, messages: Messages, kind: Any, name: str, moment: Any, **fields: str) -> None:
        record = messages.get(name) or kind(name=name, create_time=moment, **fields)
        record.update_time = moment
        messages.put(name, record)

    def delete_file(self, name: str) -> None:
        """Remove one file."""
        content = self.content(name)
        if content is not None:
            self.blobs.delete(content.blob)
            self._contents.delete(name)
            repository = self.repositories.get(name.partition("/files/")[0])
            repository.size_bytes -= content.size
            self.repositories.put(repository.name, repository)
        self.files.delete(name)

    def delete_version(self, name: str) -> None:
        """Remove a version with its files; the package goes with its last version."""
        package = name.rpartition("/versions/")[0]
        for file in self.files.list(f"{package.rpartition('/packages/')[0]}/files/"):
            if file.owner == name:
                self.delete_file(file.name)
        self.versions.delete(name)
        if not self.versions.list(f"{package}/versions/"):
            self.packages.delete(package)

    def delete_package(self, name: str) -> None:
        """Remove a package with its versions."""
        for version in self.versions.list(f"{name}/versions/"):
            self.delete_version(version.name)
        self.packages.delete(name)

    def delete_repository(self, name: str) -> None:
        """Remove a repository with everything in it."""
        for package in self.packages.list(f"{name}/packages/"):
            self.delete_package(package.name)
        self.repositories.delete(name)
