"""The work behind Composer's operations: creating an environment, building an image for an update or for the check of
an upgrade, deleting. When it is done and how it ends is in `composer_operations`.

A build reads the bucket's pip.conf with the environment's own rights, runs pip through the proxy as the environment's
service account, and swaps the image only when it succeeded.
"""

from __future__ import annotations

import asyncio
import secrets
import shutil
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
    from .composer_operations import LongRunning
    from .composer_updates import Update
    from .environments import Environments
    from .logs import Logs
    from .reality import BuildResult, Reality
    from .storage_objects import Buckets

Kind = composer.OperationMetadata.Type
_Upgrade = composer.CheckUpgradeResponse

_GUIDE = "https://cloud.google.com/composer/docs/troubleshooting-package-installation"


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
        reality: Reality,
    ) -> None:
        self._environments = environments
        self._running = running
        self._buckets = buckets
        self._policies = policies
        self._identity = identity
        self._logs = logs
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
        environment = self._environments.change(name, "update")

        async def prepare(operation: str) -> str | None:
            if update.kind != PACKAGES:
                return None
            image, result = await self._build(name, operation, update.wanted)
            if not result.succeeded:
                raise ApiError("INVALID_ARGUMENT", self._build_error(name, result.error))
            return image

        async def commit(image: str | None) -> Any:
            # An update restarts schedulers and workers: what runs there dies.
            dags = await self._reality.end(name) if update.kind != LABELS else None
            if image is not None:
                old = self._environments.image(name)
                self._environments.set_image(name, image)
                shutil.rmtree(old, ignore_errors=True)
            changed = self._environments.get(name)
            apply_update(changed, update)
            self._environments.put(changed)
            await self._reality.resume(name, self._environments.image(name), dags)
            return self._environments.change(name, "updated")

        job = Job(Kind.UPDATE, prepare, commit, "update_failed", self._discard(name))
        return self._running.start(name, environment.uuid, job)

    def check_upgrade(self, name: str, image_version: str) -> Any:
        """Start the check of an upgrade: the build of an update, of the packages as they are; nothing is changed."""
        environment = self._environments.change(name, "check")
        packages = dict(environment.config.software_config.pypi_packages)

        async def prepare(operation: str) -> Any:
            image, result = await self._build(name, operation, packages)
            self._discard(name)(image)
            if not result.succeeded and not result.conflict:
                raise ApiError("INVALID_ARGUMENT", self._build_error(name, result.error))
            verdict = _Upgrade.ConflictResult.CONFLICT if result.conflict else _Upgrade.ConflictResult.NO_CONFLICT
            return _Upgrade(
                build_log_uri=self._log_page(name),
                contains_pypi_modules_conflict=verdict,
                pypi_conflict_build_log_extract=result.error or "",
                image_version=image_version,
                pypi_dependencies=packages,
            )

        async def commit(response: Any) -> Any:
            self._environments.change(name, "checked")
            return response

        return self._running.start(name, environment.uuid, Job(Kind.CHECK, prepare, commit, "check_failed"))

    async def _build(self, name: str, operation: str, wanted: Mapping[str, str]) -> tuple[str, BuildResult]:
        """Build an image with packages: its folder name (gone already when the build failed) and how it ended."""
        environment = self._environments.get(name)
        image, log_id = secrets.token_hex(8), f"build-log-{operation.rpartition('/')[2]}"
        folder = self._environments.images(name) / image

        def log(line: str) -> None:
            self._logs.write_environment(name, log_id, line)

        pip_conf = self._pip_conf(environment, log)
        try:
            result = await self._reality.build(
                folder, account=account_of(environment), requirements=dict(wanted), pip_conf=pip_conf, log=log
            )
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        if not result.succeeded:
            shutil.rmtree(folder, ignore_errors=True)
        return image, result

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

    def _build_error(self, name: str, reason: str | None) -> str:
        middle = f"\n{reason.strip().rstrip('.')}. " if reason else ""
        return (
            f"Failed to install Python packages. {middle}Check the build logs for details. They can be found in the "
            f"Environment logs {self._log_page(name)}. For detailed instructions see {_GUIDE}"
        )

    def _log_page(self, name: str) -> str:
        _, project, _, location, _, environment = name.split("/")
        record = self._identity.project(project)
        number = record["projectNumber"] if record else project
        page = f"https://console.cloud.google.com/composer/environments/detail/{location}/{environment}/logs"
        return f"{page}?project={number}&pageState=(%22logsQuery%22:(%22resource%22:%22in-cluster-build%22))"
