"""The work behind Composer's operations: creating an environment, building an image for an update, deleting.

Each runs as a task beside the server. A build reads the bucket's pip.conf with the environment's own rights, runs
pip through the proxy as the environment's service account, and swaps the image only when it succeeded.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import shutil
from typing import TYPE_CHECKING, Any

from google.cloud.orchestration.airflow import service_v1 as composer
from google.protobuf import empty_pb2

from ..clock import now
from ..errors import ApiError
from ..identity import Principal
from .composer_updates import PACKAGES, apply_update
from .environments import account_of, bucket_name

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from ..identity import Identity
    from ..operations import Operations
    from ..policies import Policies
    from ..setup import EnvironmentName
    from .composer_updates import Update
    from .environments import Environments
    from .logs import Logs
    from .reality import Reality
    from .storage_objects import Buckets

logger = logging.getLogger(__name__)
Metadata = composer.OperationMetadata

_GUIDE = "https://cloud.google.com/composer/docs/troubleshooting-package-installation"
_INTERRUPTED = "The sandbox was stopped while this operation was running."


class Work:
    """Runs the operations of the Composer service."""

    def __init__(
        self,
        *,
        environments: Environments,
        operations: Operations,
        buckets: Buckets,
        policies: Policies,
        identity: Identity,
        logs: Logs,
        reality: Reality,
        bugs: Callable[[str], None],
    ) -> None:
        self._environments = environments
        self._operations = operations
        self._buckets = buckets
        self._policies = policies
        self._identity = identity
        self._logs = logs
        self._reality = reality
        self._bugs = bugs
        self._tasks: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Stop what runs; its operations are ended as failed at the next start."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def recover(self) -> None:
        """End operations that an earlier process left behind: nobody works on them any more."""
        for operation in self._operations.everything():
            if operation.done:
                continue
            metadata = Metadata()
            operation.metadata.Unpack(Metadata.pb(metadata))
            self._fail(operation.name, metadata, ApiError("INTERNAL", _INTERRUPTED))
            if self._environments.exists(metadata.resource):
                self._environments.change(metadata.resource, "interrupted")

    def newest_first(self, parent: str) -> list[Any]:
        """The operations under a location, the newest first."""

        def created(operation: Any) -> Any:
            metadata = Metadata()
            operation.metadata.Unpack(Metadata.pb(metadata))
            return metadata.create_time

        return sorted(self._operations.list(parent), key=created, reverse=True)

    # The three kinds of work

    def create(self, name: EnvironmentName, given: Any) -> Any:
        """Start creating an environment; answers with the operation."""
        operation, metadata = self._start(str(name), Metadata.Type.CREATE)
        self._begin(name, given)
        self._spawn(operation.name, metadata, self._create(str(name)), "interrupted")
        return operation

    async def create_now(self, name: EnvironmentName) -> None:
        """Create an environment before anything else happens (start-up)."""
        self._begin(name, None)
        await self._create(str(name))

    def _begin(self, name: EnvironmentName, given: Any) -> None:
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
        self._environments.add(name, bucket=bucket, account=account, given=given)

    async def _create(self, name: str) -> Any:
        image = secrets.token_hex(8)
        await self._reality.create_image(self._environments.images(name) / image)
        self._environments.set_image(name, image)
        return self._environments.change(name, "created")

    def update(self, name: str, update: Update) -> Any:
        """Start an update; answers with the operation."""
        environment = self._environments.change(name, "update")
        operation, metadata = self._start(name, Metadata.Type.UPDATE, environment.uuid)
        self._spawn(operation.name, metadata, self._update(name, operation.name, update), "update_failed")
        return operation

    async def _update(self, name: str, operation: str, update: Update) -> Any:
        if update.kind == PACKAGES:
            image = await self._build(name, operation, update)
            # An update restarts schedulers and workers: what runs there dies.
            await self._reality.restart(name)
            old = self._environments.image(name)
            self._environments.set_image(name, image)
            shutil.rmtree(old, ignore_errors=True)
        elif update.kind != "labels":
            await self._reality.restart(name)
        environment = self._environments.get(name)
        apply_update(environment, update)
        self._environments.put(environment)
        return self._environments.change(name, "updated")

    async def _build(self, name: str, operation: str, update: Update) -> str:
        """Build an image with the wanted packages; its folder name, or the ApiError that the operation ends with."""
        environment = self._environments.get(name)
        image, log_id = secrets.token_hex(8), f"build-log-{operation.rpartition('/')[2]}"
        folder = self._environments.images(name) / image

        def log(line: str) -> None:
            self._logs.write_environment(name, log_id, line)

        pip_conf = self._pip_conf(environment, log)
        try:
            result = await self._reality.build(
                folder, account=account_of(environment), requirements=dict(update.wanted), pip_conf=pip_conf, log=log
            )
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        if not result.succeeded:
            shutil.rmtree(folder, ignore_errors=True)
            raise ApiError("INVALID_ARGUMENT", self._build_error(name, result.error))
        return image

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
        _, project, _, location, _, environment = name.split("/")
        record = self._identity.project(project)
        number = record["projectNumber"] if record else project
        page = f"https://console.cloud.google.com/composer/environments/detail/{location}/{environment}/logs"
        head = "Failed to install Python packages. "
        middle = f"\n{reason.strip().rstrip('.')}. " if reason else ""
        return (
            f"{head}{middle}Check the build logs for details. They can be found in the Environment logs "
            f"{page}?project={number}&pageState=(%22logsQuery%22:(%22resource%22:%22in-cluster-build%22)). "
            f"For detailed instructions see {_GUIDE}"
        )

    def delete(self, name: str) -> Any:
        """Start deleting an environment; answers with the operation."""
        environment = self._environments.change(name, "delete")
        operation, metadata = self._start(name, Metadata.Type.DELETE, environment.uuid)
        self._spawn(operation.name, metadata, self._delete(name), "interrupted")
        return operation

    async def _delete(self, name: str) -> Any:
        await self._reality.restart(name)
        folder = self._environments.folder(name)
        self._environments.remove(name)
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        return empty_pb2.Empty()

    # Operations

    def _start(self, resource: str, kind: Any, identifier: str = "") -> tuple[Any, Any]:
        metadata = Metadata(
            state=Metadata.State.PENDING,
            operation_type=kind,
            resource=resource,
            resource_uuid=identifier,
            create_time=now(),
        )
        return self._operations.start(resource.partition("/environments/")[0], metadata), metadata

    def _spawn(self, operation: str, metadata: Any, work: Coroutine[Any, Any, Any], on_failure: str) -> None:
        task = asyncio.get_running_loop().create_task(self._run(operation, metadata, work, on_failure))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, operation: str, metadata: Any, work: Coroutine[Any, Any, Any], on_failure: str) -> None:
        metadata.state = Metadata.State.RUNNING
        self._operations.progress(operation, metadata)
        try:
            response = await work
        except ApiError as error:
            failure = error
        except Exception as error:
            logger.exception("sandbox bug: %s", operation)
            self._bugs(f"{operation}: {error!r}")
            failure = ApiError("INTERNAL", f"sandbox bug: {error!r}")
        else:
            metadata.state, metadata.end_time = Metadata.State.SUCCESSFUL, now()
            if isinstance(response, composer.Environment):
                # Google's answer is incomplete here: it has no state (facts §2.3).
                response.state = composer.Environment.State.STATE_UNSPECIFIED
            self._operations.finish(operation, metadata, response=response)
            return
        if self._environments.exists(metadata.resource):
            self._environments.change(metadata.resource, on_failure)
        self._fail(operation, metadata, failure)

    def _fail(self, operation: str, metadata: Any, error: ApiError) -> None:
        metadata.state, metadata.end_time = Metadata.State.FAILED, now()
        self._operations.finish(operation, metadata, error=error)
