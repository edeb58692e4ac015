"""Buttons on what a task waits for: the operation, and the log of the package build that it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_gar_provider.compat import Context
from airflow_gar_provider.links.gar import _ConsoleLink

if TYPE_CHECKING:
    from airflow_gar_provider.core.environment import EnvironmentName


class OperationLink(_ConsoleLink):
    """The operation's audit entries in the Logs Explorer; visible while the task waits."""

    name = "Composer operation"
    key = "gar_operation_link"

    def persist_operation(self, context: Context, operation: str) -> None:
        """Show it from now on; `operation` is its name, `projects/P/locations/L/operations/ID`."""
        from airflow_gar_provider.core.operation import OperationName  # noqa: PLC0415 -- not needed to parse a DAG

        self.persist(context, OperationName.parse(operation).url)


class BuildLogLink(_ConsoleLink):
    """The log of an environment's package builds; after a failure the page of the very build, where it has one."""

    name = "Build log"
    key = "gar_build_log_link"


def persist_update(context: Context, environment: EnvironmentName, operation: str) -> None:
    """Show an update that is waited for: its operation, and where its build prints."""
    OperationLink().persist_operation(context, operation)
    BuildLogLink().persist(context, environment.build_log_url)
