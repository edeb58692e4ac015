"""PackageInstalledSensor."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from airflow_gar_provider.compat import AirflowFailException, AirflowSkipException, BaseSensorOperator, Context
from airflow_gar_provider.compat import default_deferrable as _default
from airflow_gar_provider.links.gar import EnvironmentLink
from airflow_gar_provider.operators.base import GarOperator
from airflow_gar_provider.triggers.package_installed import PackageInstalledTrigger


class PackageInstalledSensor(GarOperator, BaseSensorOperator):
    """Wait until a Composer environment really has packages, whoever installs them.

    Composer's declared map is looked at first; `pip list` is run in the environment only when the map agrees.
    `poke_interval`, `timeout`, `mode` and `soft_fail` are Airflow's.

    :param environment: `projects/P/locations/L/environments/E`.
    :param requirements: such as `mypythonlib>=1.2`; a list, or one string with newlines or commas.
    :param deferrable: wait in the triggerer.
    :return: {"outcome": installed, "message", "environment", "packages": [{"package", "version"}]}.
    """

    template_fields: Sequence[str] = ("environment", "requirements", *GarOperator.template_fields)
    operator_extra_links = (EnvironmentLink(),)
    ui_color = "#e6f4ea"

    def __init__(
        self,
        *,
        environment: str,
        requirements: str | Sequence[str],
        deferrable: bool = _default,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.environment = environment
        self.requirements = requirements
        self.deferrable = deferrable
        self._result: dict[str, Any] | None = None

    def execute(self, context: Context) -> dict[str, Any] | None:
        """Look; then wait in Airflow's own loop, or in the triggerer."""
        if not self.deferrable:
            super().execute(context)
            return self._result
        return self._look_or_defer(context)

    def poke(self, context: Context) -> bool:
        """Look once. An error that may pass is a line of the log."""
        from airflow_gar_provider.core.environment import EnvironmentName
        from airflow_gar_provider.core.requirement import parse_requirements
        from airflow_gar_provider.errors import GarProviderError, InvalidInputError
        from airflow_gar_provider.steps.installed import installed

        with self.explained(context):
            name, wanted = EnvironmentName.parse(self.environment), parse_requirements(self.requirements)
            if not wanted:
                raise InvalidInputError("`requirements` names no package")
            EnvironmentLink().persist(context, name.console_url)
            try:
                self._result = installed(self.cloud(), name, wanted)
            except GarProviderError as error:
                if not error.retryable:
                    raise
                self.log.warning("looking again: %s", error)
        return self._result is not None

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any] | None:
        """The trigger saw something: look, as the blocking mode does."""
        from airflow_gar_provider.errors import UnavailableError

        if event["status"] != "lost" or self._poked(context):
            return self._look_or_defer(context)
        with self.explained(context):
            raise UnavailableError(f"the triggerer could not watch: {event['message']}", resource=self.environment)

    def _look_or_defer(self, context: Context) -> dict[str, Any] | None:
        from airflow_gar_provider.core.requirement import split_list

        if not self._poked(context):
            self.defer(
                trigger=PackageInstalledTrigger(
                    environment=self.environment,
                    requirements=split_list(self.requirements),
                    poll_interval=float(self.poke_interval),
                    gcp_conn_id=self.gcp_conn_id,
                    impersonation_chain=self.impersonation_chain,
                ),
                method_name="execute_complete",
                timeout=timedelta(seconds=self.timeout),
            )
        return self._result

    def _poked(self, context: Context) -> bool:
        """Look once; `soft_fail` skips the task where it would fail, as in Airflow's own loop."""
        try:
            return self._result is not None or self.poke(context)
        except AirflowFailException as error:
            if self.soft_fail:
                raise AirflowSkipException(str(error)) from error
            raise
