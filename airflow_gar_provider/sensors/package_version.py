"""PackageVersionSensor."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from airflow_gar_provider.compat import AirflowFailException, AirflowSkipException, BaseSensorOperator, Context
from airflow_gar_provider.compat import default_deferrable as _default
from airflow_gar_provider.links.gar import PackageLink, RepositoryLink
from airflow_gar_provider.operators.base import GarOperator
from airflow_gar_provider.triggers.package_version import PackageServedTrigger


class PackageVersionSensor(GarOperator, BaseSensorOperator):
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
    ui_color = "#e6f4ea"

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
        self._result: dict[str, Any] | None = None

    def execute(self, context: Context) -> dict[str, Any] | None:
        """Look; then wait in Airflow's own loop, or in the triggerer."""
        if not self.deferrable:
            super().execute(context)
            return self._result
        return self._look_or_defer(context)

    def poke(self, context: Context) -> bool:
        """Look once. An error that may pass is a line of the log."""
        from airflow_gar_provider.core.repository import RepositoryName
        from airflow_gar_provider.core.watch import Watch
        from airflow_gar_provider.errors import GarProviderError
        from airflow_gar_provider.steps.watch import served

        with self.explained(context):
            repository = RepositoryName.parse(self.repository)
            watch = Watch.of(self.requirement, prereleases=self.prereleases, min_age=self.min_age)
            RepositoryLink().persist(context, repository.console_url)
            PackageLink().persist(context, repository.package_console_url(watch.requirement.name))
            try:
                self._result = served(self.cloud(), repository, watch)
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
            raise UnavailableError(f"the triggerer could not watch: {event['message']}", resource=self.repository)

    def _look_or_defer(self, context: Context) -> dict[str, Any] | None:
        from airflow_gar_provider.core.watch import Watch

        if not self._poked(context):
            self.defer(
                trigger=PackageServedTrigger(
                    repository=self.repository,
                    requirement=self.requirement,
                    prereleases=self.prereleases,
                    min_age=Watch.of(self.requirement, min_age=self.min_age).minimum_age.total_seconds(),
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
