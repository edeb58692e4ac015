"""Snapshots of an environment: its configuration and its bucket's folders, as a folder in a bucket.

A snapshot has no database here: loading one leaves DAG runs, connections and variables of Airflow as they are. Its path
has the form that the API documents; what the files in it are called is known to Google only.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from google.cloud.orchestration.airflow import service_v1 as composer

from ..clock import now
from ..errors import ApiError
from ..identity import Principal
from .composer_operations import Job
from .composer_updates import OVERRIDES, PACKAGES, VARIABLES, Update
from .environments import account_of
from .storage_conditions import Conditions

if TYPE_CHECKING:
    from ..policies import Policies
    from .composer_operations import LongRunning
    from .composer_work import Work
    from .environments import Environments
    from .storage_objects import Buckets

Kind = composer.OperationMetadata.Type
_PLACE = re.compile(r"gs://([^/]+)(?:/(.*?))?/*")
_STATE = "environment.json"
_FOLDERS = ("dags/", "data/", "plugins/")
_KINDS = {"pypiPackages": PACKAGES, "envVariables": VARIABLES, "airflowConfigOverrides": OVERRIDES}


class Snapshots:
    """Saves and loads snapshots, in the slot of an update."""

    def __init__(
        self, *, environments: Environments, running: LongRunning, work: Work, buckets: Buckets, policies: Policies
    ) -> None:
        self._environments = environments
        self._running = running
        self._work = work
        self._buckets = buckets
        self._policies = policies

    def save(self, name: str, location: str) -> Any:
        """Start saving a snapshot below `location` (`gs://BUCKET/FOLDER`; the environment's own bucket by default)."""
        environment = self._environments.get(name)
        bucket, folder = _place(location or f"gs://{environment.storage_config.bucket}/snapshots")
        self._require(environment, "storage.objects.create", bucket)
        environment = self._environments.change(name, "save")
        _, project, _, place, _, identifier = name.split("/")
        moment = now().strftime("%Y-%m-%dT%H-%M-%S")
        path = f"{folder}/{project}_{place}_{identifier}_{moment}".lstrip("/")

        async def prepare(_: str) -> None:
            """Nothing is seen of a snapshot before it is whole."""

        async def commit(_: None) -> Any:
            self._write(self._environments.get(name), bucket, path)
            self._environments.change(name, "saved")
            return composer.SaveSnapshotResponse(snapshot_path=f"gs://{bucket}/{path}")

        job = Job(Kind.SAVE_SNAPSHOT, prepare, commit, "save_failed")
        return self._running.start(name, environment.uuid, job)

    def _write(self, environment: Any, bucket: str, path: str) -> None:
        software = environment.config.software_config
        state = {
            "environment": environment.name,
            "imageVersion": software.image_version,
            "pypiPackages": dict(software.pypi_packages),
            "envVariables": dict(software.env_variables),
            "airflowConfigOverrides": dict(software.airflow_config_overrides),
        }
        own = environment.storage_config.bucket
        for folder in _FOLDERS:
            for record in list(self._buckets.objects(own, folder)):
                self._put(bucket, f"{path}/gcs/{record['name']}", self._buckets.path(record).read_bytes())
        self._put(bucket, f"{path}/{_STATE}", json.dumps(state, indent=2).encode())

    def load(self, name: str, request: Any) -> Any:
        """Start loading a snapshot: the environment gets its packages, variables, overrides and files."""
        environment = self._environments.get(name)
        bucket, path = _place(request.snapshot_path)
        self._require(environment, "storage.objects.get", bucket)
        content = self._buckets.read(bucket, f"{path}/{_STATE}")
        if content is None:
            raise ApiError("INVALID_ARGUMENT", f"Found 1 problem:\n\t1) There is no snapshot at gs://{bucket}/{path}.")
        state = json.loads(content)
        skipped = {
            PACKAGES: request.skip_pypi_packages_installation,
            VARIABLES: request.skip_environment_variables_setting,
            OVERRIDES: request.skip_airflow_overrides_setting,
        }
        updates = tuple(Update(kind, state[field]) for field, kind in _KINDS.items() if not skipped[kind])
        skip_files = bool(request.skip_gcs_data_copying)

        def respond(environment: Any) -> Any:
            if not skip_files:
                self._copy_back(environment.storage_config.bucket, bucket, f"{path}/gcs/")
            return composer.LoadSnapshotResponse()

        return self._work.change(name, updates, Kind.LOAD_SNAPSHOT, respond)

    def _copy_back(self, own: str, bucket: str, prefix: str) -> None:
        for record in list(self._buckets.objects(bucket, prefix)):
            self._put(own, record["name"].removeprefix(prefix), self._buckets.path(record).read_bytes())

    def _put(self, bucket: str, name: str, content: bytes) -> None:
        blob, path = self._buckets.blobs.new()
        path.write_bytes(content)
        self._buckets.write(bucket, name, blob, {}, Conditions())

    def _require(self, environment: Any, permission: str, bucket: str) -> None:
        """The environment reads and writes snapshots as its own service account."""
        account = account_of(environment)
        self._buckets.bucket(bucket)
        if not self._policies.allows(Principal(account), permission, f"buckets/{bucket}"):
            text = f"{account} does not have {permission} access to the bucket {bucket}."
            raise ApiError("PERMISSION_DENIED", text)


def _place(text: str) -> tuple[str, str]:
    match = _PLACE.fullmatch(text)
    if match is None:
        raise ApiError("INVALID_ARGUMENT", f"Found 1 problem:\n\t1) {text!r} is not of the form gs://BUCKET/FOLDER.")
    return match.group(1), match.group(2) or ""
