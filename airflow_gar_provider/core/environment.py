"""A Composer environment: its name, its state, and the patch that turns its packages into the wanted ones."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from packaging.utils import canonicalize_name

from airflow_gar_provider.core.preflight import CHECKS
from airflow_gar_provider.core.redaction import redact
from airflow_gar_provider.core.repository import LOCATION, PROJECT, RepositoryName
from airflow_gar_provider.core.requirement import Requirement
from airflow_gar_provider.errors import EnvironmentNotReadyError, InvalidInputError, InvalidNameError

_NAME = re.compile(
    rf"projects/(?P<project>{PROJECT})/locations/(?P<location>{LOCATION})/environments/(?P<name>[a-z](?:[a-z0-9-]{{0,62}}[a-z0-9])?)"
)
PACKAGES_MASK = "config.software_config.pypi_packages"


@dataclass(frozen=True)
class EnvironmentName:
    """`projects/P/locations/L/environments/E`."""

    project: str
    """The project id."""
    location: str
    """The region, such as `europe-west1`."""
    name: str
    """The environment's own id."""

    @classmethod
    def parse(cls, text: str) -> EnvironmentName:
        """Read a resource name. Raises InvalidNameError with the form that is expected."""
        match = _NAME.fullmatch(text) if isinstance(text, str) else None
        if not match:
            raise InvalidNameError(
                f"{redact(str(text))!r} is not the name of a Composer environment",
                remedy="write projects/PROJECT/locations/LOCATION/environments/ENVIRONMENT, "
                "as `gcloud composer environments describe` prints it under `name`",
            )
        return cls(**match.groupdict())

    def __str__(self) -> str:
        return f"projects/{self.project}/locations/{self.location}/environments/{self.name}"

    @property
    def parent(self) -> str:
        """The location that holds the environment and its operations."""
        return f"projects/{self.project}/locations/{self.location}"

    @property
    def console_url(self) -> str:
        """The environment's page in the Google Cloud console."""
        return (
            f"https://console.cloud.google.com/composer/environments/detail/"
            f"{self.location}/{self.name}/monitoring?project={self.project}"
        )

    @property
    def build_log_url(self) -> str:
        """The log of its package builds in the Google Cloud console."""
        return (
            f"https://console.cloud.google.com/composer/environments/detail/{self.location}/{self.name}/logs"
            f"?project={self.project}&pageState=(%22logsQuery%22:(%22resource%22:%22in-cluster-build%22))"
        )


@dataclass(frozen=True)
class Environment:
    """What Composer says of an environment."""

    name: EnvironmentName
    state: str
    """CREATING, RUNNING, UPDATING, DELETING, ERROR, HIBERNATED."""
    bucket: str
    """The bucket's name, without gs://."""
    service_account: str
    """The e-mail address of the account that its builds and tasks run as."""
    airflow_uri: str
    """The base URL of its Airflow web server and REST API."""
    image_version: str
    """Such as composer-3-airflow-3.3.1-build.0."""
    packages: Mapping[str, str] = field(default_factory=dict)
    """Composer's `pypiPackages` map, keys as they are spelt there."""
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def airflow_version(self) -> str | None:
        """The Airflow version that the image's name carries; None when it carries none."""
        match = re.search(r"airflow-(\d+(?:\.\d+)*)", self.image_version)
        return match.group(1) if match else None

    def require_bucket(self) -> str:
        """The bucket's name. Raises EnvironmentNotReadyError for an environment that has none."""
        if not self.bucket:
            raise EnvironmentNotReadyError(
                str(self.name),
                f"{self.state} and has no bucket",
                remedy="wait until it has been created; an environment that lost its bucket must be recreated",
                retryable=self.state == "CREATING",
            )
        return self.bucket

    def require_updatable(self) -> None:
        """Raise EnvironmentNotReadyError unless it is RUNNING or UPDATING (which ends by itself)."""
        if self.state in ("RUNNING", "UPDATING"):
            return
        remedies = {
            "CREATING": ("wait until it has been created", True),
            "HIBERNATED": ("resume it first: `gcloud composer environments resume`", False),
            "DELETING": ("it is being deleted: take it out of the rollout", False),
            "ERROR": ("no update can repair this state: recreate the environment, or ask Google's support", False),
        }
        remedy, retryable = remedies.get(self.state, ("look at the environment's page in the console", False))
        raise EnvironmentNotReadyError(str(self.name), self.state, remedy=remedy, retryable=retryable)

    def version_of(self, package: str) -> str | None:
        """The specifier that the map has for a package, whatever its spelling; None when it is not in the map."""
        name = canonicalize_name(package)
        values = [value for key, value in self.packages.items() if canonicalize_name(key) == name]
        return values[0] if values else None


@dataclass(frozen=True)
class Wish:
    """What one install task wants of one environment."""

    environment: EnvironmentName
    requirements: tuple[Requirement, ...]
    absent: tuple[str, ...] = ()
    """PEP 503 names of packages that must not be declared."""
    repository: RepositoryName | None = None
    """Given: pip.conf is pointed at it too."""
    checks: frozenset[str] = frozenset(CHECKS)
    """What is looked at before an update (`core.preflight.checks_of`)."""
    pin_dependencies: bool = False
    """With the check `resolve`: what pip would add or move is pinned exactly, too."""
    drain: float = 0.0
    """Seconds to wait, at most, for tasks that run in the environment before the update ends them."""
    drain_action: str = "go"
    """What happens when some still run: `go` (update all the same) or `postpone` (an error, nothing changed)."""
    rollback: bool = False
    """After a failed verification: give the packages the versions that they had before, and pip.conf its content."""
    import_errors: bool = True
    """Whether the DAGs' import errors are compared with those before the update."""
    ignore_hold: bool = False
    """Install a version again that was rolled back here."""
    run: str = ""
    """Identifies the task's run: a later try finds the record of an earlier one by it."""
    goes_on: bool = False
    """A retry: what an earlier try has come to is told again. False: asked anew, also by who cleared the task."""
    asked: tuple[str, ...] = ()
    """The wish as it was asked for, as text, when `requirements` are the exact pins that came of it."""

    @property
    def wanted(self) -> list[str]:
        """The wish as text, for records and messages."""
        return [str(requirement) for requirement in self.requirements] + [f"no {name}" for name in self.absent]


@dataclass(frozen=True)
class Patch:
    """The mask and the map that turn an environment's packages into the wanted ones."""

    set: Mapping[str, str]
    """Keys to write, with their values."""
    remove: tuple[str, ...]
    """Keys to delete, spelt as the environment spells them."""

    def __bool__(self) -> bool:
        return bool(self.set or self.remove)

    @property
    def mask(self) -> tuple[str, ...]:
        """Paths of the update mask, spelt as gcloud sends them: dots in a name are not escaped."""
        return tuple(f"{PACKAGES_MASK}.{key}" for key in sorted({*self.set, *self.remove}))


def plan_patch(actual: Mapping[str, str], wanted: Iterable[Requirement], absent: Iterable[str] = ()) -> Patch:
    """What to change so that `actual` has `wanted` and none of `absent` (PEP 503 names). Other packages stay.

    `My_Pkg` and `my-pkg` are one package: an entry under another spelling is deleted by exactly that spelling.
    """
    spellings: dict[str, list[str]] = {}
    for key in actual:
        spellings.setdefault(canonicalize_name(key), []).append(key)
    requirements = list(wanted)
    gone = set(absent)
    both = sorted(gone & {requirement.name for requirement in requirements})
    if both:
        raise InvalidInputError(f"{', '.join(both)}: wanted and listed under `absent` at once")
    changes: dict[str, str] = {}
    remove = [key for name in sorted(gone) for key in spellings.get(name, [])]
    for requirement in requirements:
        keys = spellings.get(requirement.name, [])
        # An entry that says the same under another spelling is left alone: renaming it would cost a rebuild.
        if len(keys) == 1 and requirement.same_as(actual[keys[0]]):
            continue
        remove += [key for key in keys if key != requirement.name]
        if requirement.name not in keys or not requirement.same_as(actual[requirement.name]):
            changes[requirement.name] = requirement.value
    return Patch(changes, tuple(remove))


def plan_restore(actual: Mapping[str, str], before: Mapping[str, str], names: Collection[str]) -> Patch:
    """What to change so that `actual` says of the packages `names` (PEP 503) what `before` said. Other packages stay.

    Spellings count: the entries of `before` come back as they were written, and any other spelling goes.
    """
    wanted = {key: value for key, value in before.items() if canonicalize_name(key) in names}
    changes = {key: value for key, value in wanted.items() if actual.get(key) != value}
    remove = tuple(sorted(key for key in actual if canonicalize_name(key) in names and key not in wanted))
    return Patch(changes, remove)


def few(texts: Sequence[str], limit: int = 10) -> str:
    """A list for one line of a log or a message: the first ones, and how many more there are."""
    more = len(texts) - limit
    return ", ".join(texts[:limit]) + (f" and {more} more" if more > 0 else "")
