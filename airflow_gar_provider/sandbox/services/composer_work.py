"""The work behind Composer's operations: creating an environment, building an image for an update or for the check of
an upgrade, deleting. When it is done and how it ends is in `composer_operations`.

A build reads the bucket's pip.conf with the environment's own rights, runs pip through the proxy as the environment's
service account, and swaps the image only when it succeeded.
"""

from __future__ import annotations

import asyncio
import secrets
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from google.cloud.orchestration.airflow import service_v1 as composer
from google.protobuf import empty_pb2

from ..errors import ApiError
from ..identity import Principal
from .composer_operations import Job
from .composer_updates import LABELS, PACKAGES, apply_update
from .environments import account_of, bucket_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from ..identity import Identity
    from ..policies import Policies
    from ..setup import EnvironmentName
    from .builds import BuildRecords
    from .composer_operations import LongRunning
    from .composer_updates import Update
    from .environments import Environments
    from .logs import Logs
    from .reality import BuildResult, Reality
    from .storage_objects import Buckets

Kind = composer.OperationMetadata.Type
_Upgrade = composer.CheckUpgradeResponse

_GUIDE = "https://cloud.google.com/composer/docs/troubleshooting-package-installation"


@dataclass(frozen=True)
class _Built:
    """How a build ended, and where it ran."""

    result: BuildResult
    """What pip made of it."""
    build: str | None
    """The id of the project's Cloud Build; None when it ran in the cluster."""


class Work:
    """What the operations of the Composer service do."""

    def __init__(
        self,
        *,
        environments: Environments,
        running: LongRunning,
        buckets: Buckets,
        policies: Policies,
        identity: Identity,
        logs: Logs,
        builds: BuildRecords,
        reality: Reality,
    ) -> None:
        self._environments = environments
        self._running = running
        self._buckets = buckets
        self._policies = policies
        self._identity = identity
        self._logs = logs
        self._builds = builds
        self._reality = reality

    # Creating and deleting

    def create(self, name: EnvironmentName, given: Any) -> Any:
        """Start creating an environment; answers with the operation."""
        environment = self._begin(name, given)

        async def prepare(_: str) -> str:
            return await self._empty_image(str(name))

        async def commit(image: str) -> Any:
            self._environments.set_image(str(name), image)
            return self._environments.change(str(name), "created")

        job = Job(Kind.CREATE, prepare, commit, "interrupted", self._discard(str(name)))
        return self._running.start(str(name), environment.uuid, job)

    async def create_now(self, name: EnvironmentName) -> None:
        """Create an environment before anything else happens (start-up)."""
        self._begin(name, None)
        self._environments.set_image(str(name), await self._empty_image(str(name)))
        self._environments.change(str(name), "created")

    async def _empty_image(self, name: str) -> str:
        image = secrets.token_hex(8)
        await self._reality.create_image(self._environments.images(name) / image)
        return image

    def _begin(self, name: EnvironmentName, given: Any) -> Any:
        bucket, account = bucket_name(name), f"{name.environment}-sa@{name.project}.iam.gserviceaccount.com"
        if given is not None:
            bucket = given.storage_config.bucket or bucket
            account = given.config.node_config.service_account or account
        else:
            self._identity.add_account(account, f"Service account of {name.environment}")
        record = self._identity.project(name.project)
        if not self._buckets.has_bucket(bucket):
            number = record["projectNumber"] if record else "0"
            location = {"location": name.location.upper()}
            self._buckets.add_bucket(name.project, bucket, number=number, settings=location)
        if account.endswith(f"@{name.project}.iam.gserviceaccount.com"):
            self._identity.add_account(account, f"Service account of {name.environment}")
            self._policies.grant(f"projects/{name.project}", "roles/composer.worker", f"serviceAccount:{account}")
        return self._environments.add(name, bucket=bucket, account=account, given=given)

    def delete(self, name: str) -> Any:
        """Start deleting an environment; answers with the operation."""
        environment = self._environments.change(name, "delete")

        async def prepare(_: str) -> None:
            """Nothing goes before the operation's time has come."""

        async def commit(_: None) -> Any:
            await self._reality.end(name)
            folder = self._environments.folder(name)
            self._environments.remove(name)
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
            return empty_pb2.Empty()

        return self._running.start(name, environment.uuid, Job(Kind.DELETE, prepare, commit, "interrupted"))

    # Updating, and checking an upgrade

    def update(self, name: str, update: Update) -> Any:
        """Start an update; answers with the operation."""
        return self.change(name, (update,), Kind.UPDATE, lambda environment: environment)

    def change(self, name: str, updates: tuple[Update, ...], kind: Any, respond: Callable[[Any], Any]) -> Any:
        """Start an operation that brings updates; `respond` makes its response of the changed environment."""
        environment = self._environments.change(name, "update")
        packages = next((update.wanted for update in updates if update.kind == PACKAGES), None)

        async def prepare(operation: str) -> str | None:
            if packages is None:
                return None
            image, built = await self._build(name, operation, packages)
            if not built.result.succeeded:
                raise ApiError("INVALID_ARGUMENT", self._build_error(name, built))
            return image

        async def commit(image: str | None) -> Any:
            # An update restarts schedulers and workers: what runs there dies.
            restarts = any(update.kind != LABELS for update in updates)
            dags = await self._reality.end(name) if restarts else None
            if image is not None:
                old = self._environments.image(name)
                self._environments.set_image(name, image)
                shutil.rmtree(old, ignore_errors=True)
            changed = self._environments.get(name)
            for update in updates:
                apply_update(changed, update)
            self._environments.put(changed)
            response = respond(changed)
            await self._reality.resume(name, self._environments.image(name), dags)
            running = self._environments.change(name, "updated")
            return running if response is changed else response

        job = Job(kind, prepare, commit, "update_failed", self._discard(name))
        return self._running.start(name, environment.uuid, job)

    def check_upgrade(self, name: str, image_version: str) -> Any:
        """Start the check of an upgrade: the build of an update, of the packages as they are; nothing is changed."""
        environment = self._environments.change(name, "check")
        packages = dict(environment.config.software_config.pypi_packages)

        async def prepare(operation: str) -> Any:
            image, built = await self._build(name, operation, packages)
            result = built.result
            self._discard(name)(image)
            if not result.succeeded and not result.conflict:
                raise ApiError("INVALID_ARGUMENT", self._build_error(name, built))
            verdict = _Upgrade.ConflictResult.CONFLICT if result.conflict else _Upgrade.ConflictResult.NO_CONFLICT
            return _Upgrade(
                build_log_uri=self._log_page(name, built),
                contains_pypi_modules_conflict=verdict,
                pypi_conflict_build_log_extract=result.error or "",
                image_version=image_version,
                pypi_dependencies=packages,
            )

        async def commit(response: Any) -> Any:
            self._environments.change(name, "checked")
            return response

        return self._running.start(name, environment.uuid, Job(Kind.CHECK, prepare, commit, "check_failed"))

    async def _build(self, name: str, operation: str, wanted: Mapping[str, str]) -> tuple[str, _Built]:
        """Build an image with packages: its folder name (gone already when the build failed) and how it ended."""
        environment = self._environments.get(name)
        image = secrets.token_hex(8)
        folder = self._environments.images(name) / image
        build, log = self._start_build(environment, operation)
        problem: str | None = "the build was interrupted"
        try:
            pip_conf = self._pip_conf(environment, log)
            result = await self._reality.build(
                folder, account=account_of(environment), requirements=dict(wanted), pip_conf=pip_conf, log=log
            )
            problem = None if result.succeeded else result.error or "the build failed"
        finally:
            if problem is not None:
                shutil.rmtree(folder, ignore_errors=True)
            if build is not None:
                self._builds.finish(name.split("/")[1], build, problem)
        return image, _Built(result, build)

    def _start_build(self, environment: Any, operation: str) -> tuple[str | None, Callable[[str], None]]:
        """Where a build runs: the id of its Cloud Build (Composer 2; None in the cluster), and what writes its log."""
        name = environment.name
        if not environment.config.software_config.image_version.startswith("composer-2"):
            log_id = f"build-log-{operation.rpartition('/')[2]}"
            return None, lambda line: self._logs.write_environment(name, log_id, line)
        _, project, _, location, _, identifier = name.split("/")
        tag = f"composer-{location}-{identifier}"
        build = self._builds.start(project, self._number(project), account=account_of(environment), tag=tag)
        return build, lambda line: self._logs.write_build(project, build, line)

    def _number(self, project: str) -> str:
        record = self._identity.project(project)
        return str(record["projectNumber"]) if record else project

    def _discard(self, name: str) -> Callable[[str | None], None]:
        """Removes the image of a build that nobody uses."""
        images: Path = self._environments.images(name)

        def remove(image: str | None) -> None:
            if image is not None:
                shutil.rmtree(images / image, ignore_errors=True)

        return remove

    def _pip_conf(self, environment: Any, log: Callable[[str], None]) -> bytes | None:
        bucket, account = environment.storage_config.bucket, Principal(account_of(environment))
        if not self._policies.allows(account, "storage.objects.get", f"buckets/{bucket}"):
            raise ApiError(
                "PERMISSION_DENIED",
                f"{account.email} does not have storage.objects.get access to the environment's bucket {bucket}.",
            )
        content = self._buckets.read(bucket, "config/pip/pip.conf")
        log("No custom pip.conf file found." if content is None else f"Using gs://{bucket}/config/pip/pip.conf")
        return content

    def _build_error(self, name: str, built: _Built) -> str:
        middle = f"\n{built.result.error.strip().rstrip('.')}. " if built.result.error else ""
        page, end = self._log_page(name, built), f"For detailed instructions see {_GUIDE}"
        if built.build is not None:
            return f"Failed to install PyPI packages. {middle}Check the Cloud Build log at {page} for details. {end}"
        return (
            f"Failed to install Python packages. {middle}Check the build logs for details. They can be found in the "
            f"Environment logs {page}. {end}"
        )

    def _log_page(self, name: str, built: _Built) -> str:
        _, project, _, location, _, environment = name.split("/")
        number = self._number(project)
        if built.build is not None:
            return f"https://console.cloud.google.com/cloud-build/builds/{built.build}?project={number}"
        page = f"https://console.cloud.google.com/composer/environments/detail/{location}/{environment}/logs"
        return f"{page}?project={number}&pageState=(%22logsQuery%22:(%22resource%22:%22in-cluster-build%22))"
