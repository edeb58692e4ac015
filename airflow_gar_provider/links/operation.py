"""A button that shows what Google logs of the operation that a task waits for."""

from __future__ import annotations

from airflow_gar_provider.compat import Context
from airflow_gar_provider.links.gar import _ConsoleLink


class OperationLink(_ConsoleLink):
    """The operation's audit entries in the Logs Explorer; visible while the task waits."""

    name = "Composer operation"
    key = "gar_operation_link"

    def persist_operation(self, context: Context, operation: str) -> None:
        """Show it from now on; `operation` is its name, `projects/P/locations/L/operations/ID`."""
        from airflow_gar_provider.core.operation import OperationName  # noqa: PLC0415 -- not needed to parse a DAG

        self.persist(context, OperationName.parse(operation).url)
