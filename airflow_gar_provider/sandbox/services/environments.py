"""What an environment is and which states it goes through. The API is in `composer`, its updates in
`composer_updates`.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import re
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from google.cloud.orchestration.airflow import service_v1 as composer

from ..clock import now
from ..errors import ApiError
from ..store import Messages

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ..setup import EnvironmentName
    from ..store import Store

State = composer.Environment.State

TRANSITIONS: Mapping[tuple[Any, str], Any] = {
    (State.CREATING, "created"): State.RUNNING,
    (State.CREATING, "interrupted"): State.ERROR,
    (State.RUNNING, "update"): State.UPDATING,
    (State.UPDATING, "updated"): State.RUNNING,
    (State.UPDATING, "update_failed"): State.RUNNING,
    (State.RUNNING, "check"): State.UPDATING,
    (State.UPDATING, "checked"): State.RUNNING,
    (State.UPDATING, "check_failed"): State.RUNNING,
    (State.UPDATING, "interrupted"): State.RUNNING,
    (State.RUNNING, "save"): State.UPDATING,
    (State.UPDATING, "saved"): State.RUNNING,
    (State.UPDATING, "save_failed"): State.RUNNING,
    (State.RUNNING, "delete"): State.DELETING,
    (State.ERROR, "delete"): State.DELETING,
    (State.DELETING, "interrupted"): State.ERROR,
}
"""Every change of state: (from, event) to the new state. A failed update leaves a running environment."""

# The form that the API documents, and the builds of Composer 3.
_IMAGE_VERSION = re.compile(
    r"composer-(?P<composer>[0-9]+(\.[0-9]+\.[0-9]+(-preview\.[0-9]+)?)?|latest)"
    r"-airflow-(?P<airflow>[0-9]+(\.[0-9]+(\.[0-9]+)?)?)(-build\.0)?"
)
_COMPOSER_2 = "2.16.0"
_VERBS = {"check": "update", "save": "snapshot"}


@dataclass(frozen=True)
class Inner:
    """What the sandbox knows of an environment beyond what its API shows."""

    image: str
    """The folder name of the image that runs now."""
    host: str
    """The host of `airflowUri`."""
    processes: bool = False
    """It has a scheduler and a triggerer of its own."""


def base_airflow() -> str:
    """The version of the Airflow that the environments run: the one installed beside the sandbox."""
    for distribution in ("apache-airflow", "apache-airflow-core"):
        try:
            return importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    raise RuntimeError("The sandbox's environments run the Airflow that is installed beside it, and there is none.")


def image_version() -> str:
    """The image version that every environment has."""
    return f"composer-3-airflow-{base_airflow()}-build.0"


def resolved_image_version(asked: str) -> str:
    """What a version or an alias (`composer-3-airflow-3.3`) stands for; INVALID_ARGUMENT for what is not here.

    Every version of Composer 2 is here, with the one Airflow that the sandbox has: what differs is where it builds.
    """
    match = _IMAGE_VERSION.fullmatch(asked)
    if match is None:
        text = f"The image version {asked} is not of the form composer-VERSION-airflow-VERSION."
        raise ApiError("INVALID_ARGUMENT", f"Found 1 problem:\n\t1) {text}")
    parts, own = match["airflow"].split("."), base_airflow().split(".")
    known = match["composer"] in {"3", "latest"} or match["composer"].startswith("2")
    if not known or own[: len(parts)] != parts:
        text = f"The image version {asked} is not one that this sandbox has: it has {image_version()}."
        raise ApiError("INVALID_ARGUMENT", f"Found 1 problem:\n\t1) {text}")
    if not match["composer"].startswith("2"):
        return image_version()
    number = match["composer"] if "." in match["composer"] else _COMPOSER_2
    return f"composer-{number}-airflow-{base_airflow()}"


def python_version() -> str:
    """The Python of that image."""
    return platform.python_version()


def following(environment: Any, event: str) -> Any:
    """The state after an event; FAILED_PRECONDITION when it may not happen in the environment's state."""
    state = State(environment.state)
    after = TRANSITIONS.get((state, event))
    if after is None:
        verb = _VERBS.get(event, event)
        text = f"Cannot {verb} environment in state {state.name}. Environment must be in RUNNING state."
        raise ApiError("FAILED_PRECONDITION", text)
    return after


class Environments:
    """The records of environments and the folders that belong to them."""

    def __init__(self, store: Store) -> None:
        self._environments = Messages(store.collection("environments"), composer.Environment)
        self._inner = store.collection("inner")
        self._folder = store.folder / "environments"

    def get(self, name: str) -> Any:
        """The environment; NOT_FOUND when there is none."""
        environment = self._environments.get(name)
        if environment is None:
            raise ApiError("NOT_FOUND", f"Resource '{name}' was not found")
        return environment

    def exists(self, name: str) -> bool:
        """True when there is one."""
        return name in self._environments

    def list(self, parent: str = "") -> list[Any]:
        """The environments under `projects/P/locations/L`."""
        return self._environments.list(f"{parent}/environments/" if parent else "")

    def inner(self, name: str) -> Inner:
        """The sandbox's own record."""
        return Inner(**self._inner.get(name))

    def by_host(self, host: str) -> str | None:
        """The name of the environment whose Airflow is at `host`."""
        return next((name for name, value in self._inner.items() if value["host"] == host), None)

    def put(self, environment: Any) -> None:
        """Write a changed environment."""
        environment.update_time = now()
        self._environments.put(environment.name, environment)

    def change(self, name: str, event: str) -> Any:
        """Let an event happen to an environment; FAILED_PRECONDITION when its state does not allow it."""
        environment = self.get(name)
        environment.state = following(environment, event)
        self.put(environment)
        return environment

    def add(self, name: EnvironmentName, *, bucket: str, account: str, given: Any = None) -> Any:
        """A new environment, CREATING, without an image yet."""
        host = f"{_hash(str(name))}-dot-{name.location}.composer.googleusercontent.com"
        software = composer.SoftwareConfig(image_version=image_version(), python_version="3")
        size = composer.EnvironmentConfig.EnvironmentSize.ENVIRONMENT_SIZE_SMALL
        if given is not None:
            asked = given.config.software_config.image_version
            software.image_version = resolved_image_version(asked or image_version())
            size = given.config.environment_size or size
            software.env_variables.update(given.config.software_config.env_variables)
            software.airflow_config_overrides.update(given.config.software_config.airflow_config_overrides)
        environment = composer.Environment(
            name=str(name),
            uuid=str(uuid.uuid4()),
            state=State.CREATING,
            create_time=now(),
            labels=dict(given.labels) if given is not None else {},
            storage_config=composer.StorageConfig(bucket=bucket),
            config=composer.EnvironmentConfig(
                dag_gcs_prefix=f"gs://{bucket}/dags",
                airflow_uri=f"https://{host}",
                software_config=software,
                node_config=composer.NodeConfig(service_account=account),
                environment_size=size,
            ),
        )
        self._inner.put(str(name), {"image": "", "host": host})
        self.put(environment)
        return environment

    def set_image(self, name: str, image: str) -> None:
        """Swap the image."""
        self._inner.put(name, {**self._inner.get(name), "image": image})

    def set_processes(self, name: str) -> None:
        """Give the environment a scheduler and a triggerer of its own, from its next start on."""
        self._inner.put(name, {**self._inner.get(name), "processes": True})

    def remove(self, name: str) -> None:
        """Forget an environment."""
        self._environments.delete(name)
        self._inner.delete(name)

    def folder(self, name: str) -> Path:
        """The environment's own folder on disk."""
        folder = self._folder / _hash(name)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return folder

    def image(self, name: str) -> Path:
        """The folder of the image that runs now."""
        return self.images(name) / self.inner(name).image

    def images(self, name: str) -> Path:
        """The folder of the environment's images."""
        folder = self.folder(name) / "images"
        folder.mkdir(exist_ok=True)
        return folder


def bucket_name(name: EnvironmentName) -> str:
    """The bucket that a new environment gets."""
    return f"{name.location}-{name.environment[:24].rstrip('-')}-{_hash(str(name))[:8]}-bucket"


def account_of(environment: Any) -> str:
    """The address of the environment's service account."""
    return str(environment.config.node_config.service_account)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
