"""PackageVersionSensor."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from airflow_gar_provider.compat import BaseTrigger, Context
from airflow_gar_provider.compat import default_deferrable as _default
from airflow_gar_provider.links.gar import PackageLink, RepositoryLink
from airflow_gar_provider.operators.base import GarOperator
from airflow_gar_provider.sensors.base import WaitingSensor
from airflow_gar_provider.triggers.package_version import PackageServedTrigger


class PackageVersionSensor(WaitingSensor):
    """Wait until a repository has a version of a package that somebody published to it.

    `poke_interval`, `timeout`, `mode` and `soft_fail` are Airflow's.

    :param repository: `projects/P/locations/L/repositories/R`; a virtual one stands for its standard upstreams.
    :param requirement: the package's name, with or without a specifier: `mypythonlib>=1.2,<2`.
    :param prereleases: pre-releases count, too; one that the specifier names counts anyhow.
    :param min_age: seconds, or a timedelta, since the version was published, before it counts.
    :param deferrable: wait in the triggerer.
    :return: {"outcome": served, "message", "repository", "package", "version", "sha256": {file: hash}}: the newest
        version that counts.
    """

    template_fields: Sequence[str] = ("repository", "requirement", "min_age", *GarOperator.template_fields)
    operator_extra_links = (RepositoryLink(), PackageLink())

    def __init__(
        self,
        *,
        repository: str,
        requirement: str,
        prereleases: bool = False,
        min_age: timedelta | float | str = 0,
        deferrable: bool = _default,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.repository = repository
        self.requirement = requirement
        self.prereleases = prereleases
        self.min_age = min_age
        self.deferrable = deferrable

    def poke(self, context: Context) -> bool:
        """Look once. An error that may pass is a line of the log."""
        from airflow_gar_provider.core.repository import RepositoryName
        from airflow_gar_provider.core.watch import Watch
        from airflow_gar_provider.steps.watch import served

        with self.explained(context):
            repository = RepositoryName.parse(self.repository)
            watch = Watch.of(self.requirement, prereleases=self.prereleases, min_age=self.min_age)
            RepositoryLink().persist(context, repository.console_url)
            PackageLink().persist(context, repository.package_console_url(watch.requirement.name))
            return self._keep(lambda: served(self.cloud(), repository, watch))

    def _trigger(self) -> BaseTrigger:
        from airflow_gar_provider.core.watch import Watch

        return PackageServedTrigger(
            repository=self.repository,
            requirement=self.requirement,
            prereleases=self.prereleases,
            min_age=Watch.of(self.requirement, min_age=self.min_age).minimum_age.total_seconds(),
            poll_interval=float(self.poke_interval),
            gcp_conn_id=self.gcp_conn_id,
            impersonation_chain=self.impersonation_chain,
        )

    def _watched(self) -> str:
        return self.repository
