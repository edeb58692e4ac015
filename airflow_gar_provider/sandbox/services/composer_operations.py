"""How Composer's long-running operations live: they start, their work is done beside the server, their time passes,
they end. What the work is, is in `composer_work`.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from google.cloud.orchestration.airflow import service_v1 as composer

from ..clock import CLOCK, now
from ..errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ..operations import Operations
    from .environments import Environments

logger = logging.getLogger(__name__)
Metadata = composer.OperationMetadata

_INTERRUPTED = "The sandbox was stopped while this operation was running."
_NEVER = datetime.max.replace(tzinfo=timezone.utc)


@dataclass(frozen=True)
class Job:
    """The work of one operation."""

    kind: Any
    """CREATE, UPDATE, CHECK or DELETE."""
    prepare: Callable[[str], Awaitable[Any]]
    """The slow part, which changes nothing that others see; gets the operation's name. An ApiError fails the
    operation."""
    commit: Callable[[Any], Awaitable[Any]]
    """What the operation changes when its time has come; gets what `prepare` returned, returns the response."""
    on_failure: str
    """What happens to the environment when the operation fails (an event of `environments.TRANSITIONS`)."""
    discard: Callable[[Any], None] = lambda _: None
    """Gets what `prepare` returned when it is not committed."""


class LongRunning:
    """Runs the operations of the Composer service."""

    def __init__(self, operations: Operations, environments: Environments, bugs: Callable[[str], None]) -> None:
        self._operations = operations
        self._environments = environments
        self._bugs = bugs
        self._due: dict[asyncio.Task[None], datetime] = {}

    def start(self, resource: str, identifier: str, job: Job) -> Any:
        """Start a job on an environment; answers with its operation."""
        metadata = Metadata(
            state=Metadata.State.PENDING,
            operation_type=job.kind,
            resource=resource,
            resource_uuid=identifier,
            create_time=now(),
        )
        operation = self._operations.start(resource.partition("/environments/")[0], metadata)
        fault = self._operations.fault(operation.name)
        due = now() + timedelta(seconds=CLOCK.operation_seconds)
        if fault is not None and fault.kind == "stuck_operation":
            due = _NEVER
        task = asyncio.get_running_loop().create_task(self._run(operation.name, metadata, job, due))
        self._due[task] = due
        task.add_done_callback(self._due.pop)
        return operation

    async def advance(self, step: timedelta) -> None:
        """Move the virtual clock; what is due on the way has ended afterwards, each at its own time."""
        target = now() + step
        while due := [(moment, task) for task, moment in self._due.items() if moment <= target]:
            first = min(moment for moment, _ in due)
            CLOCK.move_to(first)
            await asyncio.wait({task for moment, task in due if moment <= now()})
        CLOCK.move_to(target)

    async def close(self) -> None:
        """Stop what runs; its operations are ended as failed at the next start."""
        tasks = list(self._due)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

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

    # The life of one operation

    async def _run(self, name: str, metadata: Any, job: Job, due: datetime) -> None:
        metadata.state = Metadata.State.RUNNING
        self._operations.progress(name, metadata)
        try:
            response = await self._response(name, job, due)
        except ApiError as error:
            failure = error
        except Exception as error:
            logger.exception("sandbox bug: %s", name)
            self._bugs(f"{name}: {error!r}")
            failure = ApiError("INTERNAL", f"sandbox bug: {error!r}")
        else:
            metadata.state, metadata.end_time = Metadata.State.SUCCESSFUL, now()
            if isinstance(response, composer.Environment):
                # Google's answer is incomplete here: it has no state.
                response.state = composer.Environment.State.STATE_UNSPECIFIED
            self._operations.finish(name, metadata, response=response)
            return
        if self._environments.exists(metadata.resource):
            self._environments.change(metadata.resource, job.on_failure)
        self._fail(name, metadata, failure)

    async def _response(self, name: str, job: Job, due: datetime) -> Any:
        """Do the work, let the time pass, change what is to change."""
        fault = self._operations.fault(name)
        if fault is not None:
            await CLOCK.until(due)
            raise fault.error()
        try:
            prepared = await job.prepare(name)
        except ApiError:
            await CLOCK.until(due)
            raise
        try:
            await CLOCK.until(due)
        except BaseException:
            job.discard(prepared)
            raise
        return await job.commit(prepared)

    def _fail(self, operation: str, metadata: Any, error: ApiError) -> None:
        metadata.state, metadata.end_time = Metadata.State.FAILED, now()
        self._operations.finish(operation, metadata, error=error)
