"""PackageInstalledSensor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow_gar_provider.compat import BaseTrigger, Context
from airflow_gar_provider.compat import default_deferrable as _default
from airflow_gar_provider.links.gar import EnvironmentLink
from airflow_gar_provider.operators.base import GarOperator
from airflow_gar_provider.sensors.base import WaitingSensor
from airflow_gar_provider.triggers.package_installed import PackageInstalledTrigger


class PackageInstalledSensor(WaitingSensor):
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

    def poke(self, context: Context) -> bool:
        """Look once. An error that may pass is a line of the log."""
        from airflow_gar_provider.core.environment import EnvironmentName
        from airflow_gar_provider.core.requirement import parse_requirements
        from airflow_gar_provider.errors import InvalidInputError
        from airflow_gar_provider.steps.installed import installed

        with self.explained(context):
            name, wanted = EnvironmentName.parse(self.environment), parse_requirements(self.requirements)
            if not wanted:
                raise InvalidInputError("`requirements` names no package")
            EnvironmentLink().persist(context, name.console_url)
            return self._keep(lambda: installed(self.cloud(), name, wanted))

    def _trigger(self) -> BaseTrigger:
        from airflow_gar_provider.core.requirement import split_list

        return PackageInstalledTrigger(
            environment=self.environment,
            requirements=split_list(self.requirements),
            poll_interval=float(self.poke_interval),
            gcp_conn_id=self.gcp_conn_id,
            impersonation_chain=self.impersonation_chain,
        )

    def _watched(self) -> str:
        return self.environment
