"""What the sensors that wait here or in the triggerer share."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from airflow_gar_provider.compat import (
    AirflowFailException,
    AirflowSkipException,
    BaseSensorOperator,
    BaseTrigger,
    Context,
    sensor_loop,
)
from airflow_gar_provider.operators.base import GarOperator


class WaitingSensor(GarOperator, BaseSensorOperator):
    """Looks once, then waits in Airflow's own loop or in the triggerer. Both modes end with the same look.

    A subclass has `poke`, which keeps what it found in `_result`, and `_trigger`.
    """

    ui_color = "#e6f4ea"
    deferrable: bool

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._result: dict[str, Any] | None = None

    def execute(self, context: Context) -> dict[str, Any] | None:
        """Look; then wait in Airflow's own loop, or in the triggerer."""
        if not self.deferrable:
            sensor_loop(self, context)
            return self._result
        return self._look_or_defer(context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any] | None:
        """The trigger saw something: look, as the blocking mode does."""
        from airflow_gar_provider.errors import UnavailableError

        if event["status"] != "lost" or self._poked(context):
            return self._look_or_defer(context)
        with self.explained(context):
            raise UnavailableError(f"the triggerer could not watch: {event['message']}", resource=self._watched())

    def _look_or_defer(self, context: Context) -> dict[str, Any] | None:
        if not self._poked(context):
            self.defer(trigger=self._trigger(), method_name="execute_complete", timeout=timedelta(seconds=self.timeout))
        return self._result

    def _poked(self, context: Context) -> bool:
        """Look once; `soft_fail` skips the task where it would fail, as in Airflow's own loop."""
        try:
            return self._result is not None or bool(self.poke(context))
        except AirflowFailException as error:
            if self.soft_fail:
                raise AirflowSkipException(str(error)) from error
            raise

    def _keep(self, look: Callable[[], dict[str, Any] | None]) -> bool:
        """Keep what a look found, and say whether it found something; an error that may pass is a line of the log."""
        from airflow_gar_provider.errors import GarProviderError

        try:
            self._result = look()
        except GarProviderError as error:
            if not error.retryable:
                raise
            self.log.warning("looking again: %s", error)
        return self._result is not None

    def _trigger(self) -> BaseTrigger:
        """What waits in the triggerer."""
        raise NotImplementedError

    def _watched(self) -> str:
        """The resource that is looked at."""
        raise NotImplementedError
