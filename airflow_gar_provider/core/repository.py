"""An Artifact Registry repository: its name, its URLs, who may read it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import quote

from airflow_gar_provider.core.redaction import redact
from airflow_gar_provider.errors import InvalidInputError, InvalidNameError, RepositoryMismatchError

MODES = ("standard", "remote", "virtual")
ROLES = {"reader": "roles/artifactregistry.reader", "writer": "roles/artifactregistry.writer"}

# A project id may be domain-scoped (`example.com:proj`); Google writes it with a slash in registry URLs.
PROJECT = r"(?:[a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]"
LOCATION = r"[a-z]+(?:-[a-z]+[0-9]+)?"
_NAME = re.compile(
    rf"projects/(?P<project>{PROJECT})/locations/(?P<location>{LOCATION})/repositories/(?P<name>[a-z](?:[a-z0-9-]{{0,61}}[a-z0-9])?)"
)


@dataclass(frozen=True)
class RepositoryName:
    """`projects/P/locations/L/repositories/R`."""

    project: str
    """The project id, `acme-packages` or `example.com:packages`."""
    location: str
    """A region (`europe-west1`) or multi-region (`us`, `europe`, `asia`)."""
    name: str
    """The repository's own id."""

    @classmethod
    def parse(cls, text: str) -> RepositoryName:
        """Read a resource name. Raises InvalidNameError with the form that is expected."""
        match = _NAME.fullmatch(text) if isinstance(text, str) else None
        if not match:
            raise InvalidNameError(
                f"{redact(str(text))!r} is not the name of a repository",
                remedy="write projects/PROJECT/locations/LOCATION/repositories/REPOSITORY, "
                "as `gcloud artifacts repositories describe` prints it under `name`",
            )
        return cls(**match.groupdict())

    def __str__(self) -> str:
        return f"projects/{self.project}/locations/{self.location}/repositories/{self.name}"

    @property
    def parent(self) -> str:
        """The location that holds the repository."""
        return f"projects/{self.project}/locations/{self.location}"

    @property
    def host(self) -> str:
        """The host of the repository's package index."""
        return f"{self.location}-python.pkg.dev"

    @property
    def upload_url(self) -> str:
        """Where packages are uploaded to (the legacy PyPI protocol)."""
        return f"https://{self.host}/{self.project.replace(':', '/')}/{self.name}/"

    @property
    def index_url(self) -> str:
        """The index for pip. The trailing `/simple/` is mandatory."""
        return f"{self.upload_url}simple/"

    @property
    def console_url(self) -> str:
        """The repository's page in the Google Cloud console."""
        return (
            f"https://console.cloud.google.com/artifacts/python/"
            f"{self.project}/{self.location}/{self.name}?project={self.project}"
        )

    def package_console_url(self, package: str) -> str:
        """A package's page in the Google Cloud console: the list of its versions."""
        page, _, query = self.console_url.partition("?")
        return f"{page}/{quote(package, safe='')}?{query}"

    def version_console_url(self, package: str, version: str) -> str:
        """A version's page in the Google Cloud console: the list of its files."""
        page, _, query = self.package_console_url(package).partition("?")
        return f"{page}/{quote(version, safe='')}?{query}"

    def package(self, name: str) -> str:
        """The resource name of a package in it."""
        return f"{self}/packages/{name}"

    def version(self, package: str, version: str) -> str:
        """The resource name of a version of a package in it."""
        return f"{self.package(package)}/versions/{version}"


@dataclass(frozen=True)
class Upstream:
    """One upstream of a virtual repository. A higher priority wins, for the same version only."""

    repository: RepositoryName
    priority: int
    """A whole number; which of two equal ones wins is not defined."""


@dataclass(frozen=True)
class Repository:
    """What the registry says of a repository."""

    name: RepositoryName
    format: str
    """`PYTHON`, `DOCKER`, ..."""
    mode: str
    """`standard`, `remote` or `virtual`."""
    upstreams: tuple[Upstream, ...] = ()
    """Of a virtual repository, the highest priority first."""
    remote: str | None = None
    """Of a remote repository: `PYPI`, or the URL of the index it stands for."""
    description: str = ""
    """As people wrote it."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """All of its labels."""
    kms_key: str = ""
    """The key that encrypts it, `projects/P/locations/L/keyRings/K/cryptoKeys/C`; empty for a key of Google's."""
    cleanup_policies: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """By name, in the form of `core.repository_settings.cleanup_policies_from`."""
    cleanup_dry_run: bool = False
    """Whether its cleanup policies only write to the log what they would delete."""

    def require_python(self, mode: str | None = None) -> None:
        """Raise RepositoryMismatchError unless this is a Python repository, of `mode` if given."""
        if self.format != "PYTHON":
            raise RepositoryMismatchError(
                f"the repository holds {self.format} artifacts, not Python packages",
                resource=str(self.name),
                remedy="a repository's format cannot be changed: use another name",
            )
        if mode is not None and self.mode != mode:
            raise RepositoryMismatchError(
                f"the repository is {self.mode}, not {mode}",
                resource=str(self.name),
                remedy="a repository's mode cannot be changed: use another name",
            )


@dataclass(frozen=True)
class RegistryFile:
    """One file that the registry holds."""

    name: str
    """The file's name, such as `mypythonlib-1.0.0-py3-none-any.whl`."""
    sha256: str
    """Hexadecimal."""
    size: int
    """Bytes."""
    created: datetime | None = None
    """When the registry took it, in UTC."""
    package: str = ""
    """The PEP 503 name of the package that owns it; empty when the registry names no owner."""
    version: str = ""
    """The version that owns it, as the registry writes it."""


@dataclass(frozen=True)
class Sources:
    """Where a repository's packages come from, in the order in which an equal version is taken."""

    standard: tuple[RepositoryName, ...]
    """Repositories that people publish to: itself, or the standard upstreams of a virtual one."""
    public: tuple[RepositoryName, ...]
    """Remote repositories, which hand out what somebody else's index holds: itself, or a virtual one's upstreams."""
    unseen: tuple[RepositoryName, ...] = ()
    """Upstreams that the caller may not look at: nothing is known of them."""


@dataclass(frozen=True)
class Access:
    """Whether a service account may read a repository."""

    state: str
    """`granted`, `missing` (only ever said by the account itself) or `unknown`."""
    how: str
    """How that is known, in words."""
    grant: str
    """The gcloud command that grants it."""


def role_of(role: str) -> str:
    """`reader` or `writer` -> the IAM role. Raises InvalidInputError for another word."""
    if role not in ROLES:
        raise InvalidInputError(f"role is one of {', '.join(ROLES)}, not {role!r}")
    return ROLES[role]


def member_of(member: str) -> str:
    """A member as IAM writes it; a bare service account's e-mail address gets its prefix."""
    kinds = ("user:", "serviceAccount:", "group:", "domain:", "principal:", "principalSet:")
    if member.startswith(kinds):
        return member
    if re.fullmatch(r"[^@\s:]+@[^@\s:]+\.gserviceaccount\.com", member):
        return f"serviceAccount:{member}"
    raise InvalidInputError(
        f"{member!r} is not an IAM member",
        remedy="write serviceAccount:NAME@PROJECT.iam.gserviceaccount.com, user:…, group:…; everyone "
        "(allUsers, allAuthenticatedUsers) is refused for a private repository",
    )


def grant_command(repository: RepositoryName, member: str, role: str = "reader") -> str:
    """What a person with the right to do so types, to give `member` the role."""
    return (
        f"gcloud artifacts repositories add-iam-policy-binding {repository.name} --project={repository.project} "
        f"--location={repository.location} --member={member_of(member)} --role={role_of(role)}"
    )


# Roles that let their holder download, for reading a policy. Project-level and group bindings are not seen there.
_READING_ROLES = {
    "roles/artifactregistry.reader",
    "roles/artifactregistry.writer",
    "roles/artifactregistry.repoAdmin",
    "roles/artifactregistry.admin",
}


def reads_by(bindings: Iterable[tuple[str, Iterable[str]]], member: str) -> bool:
    """Whether a repository's own policy proves that `member` may read. False proves nothing."""
    return any(role in _READING_ROLES and member in set(members) for role, members in bindings)
