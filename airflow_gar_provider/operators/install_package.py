"""InstallPrivatePackageOperator."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_gar_provider.compat import Context, default_deferrable
from airflow_gar_provider.links.gar import EnvironmentLink
from airflow_gar_provider.operators.base import GarOperator, run_of

if TYPE_CHECKING:
    from airflow_gar_provider.core.environment import Wish
    from airflow_gar_provider.gcp.cloud import Cloud
    from airflow_gar_provider.steps.install import Pending


class InstallPrivatePackageOperator(GarOperator):
    """Bring a Composer environment to the wanted packages, in one update, and confirm it.

    What is there already is not asked for again, an update in flight is followed, and packages that are not named stay.
    A failed build is explained: cause, evidence from the build's log, and what to do.

    :param environment: `projects/P/locations/L/environments/E`.
    :param requirements: such as `mypythonlib==1.2.0`; a list, or one string with newlines or commas.
    :param repository: given, pip.conf is pointed at it first, and it is asked whether it has the versions.
    :param absent: names of packages that must not be declared any more.
    :param preflight: look at the registry before a build of many minutes is spent.
    :param rollback: not offered yet.
    :param drain: not offered yet.
    :param timeout: seconds to wait for the update. Composer cannot cancel one: a later try follows it.
    :param poll_interval: seconds between two looks at the operation.
    :param deferrable: wait in the triggerer.
    :return: {"outcome": installed | unchanged, "message", "environment", "packages": [{"package", "before", "after"}],
        "operation", "seconds"}.
    """

    template_fields: Sequence[str] = (
        "environment",
        "requirements",
        "repository",
        "absent",
        *GarOperator.template_fields,
    )
    operator_extra_links = (EnvironmentLink(),)

    def __init__(
        self,
        *,
        environment: str,
        requirements: str | Sequence[str],
        repository: str | None = None,
        absent: str | Sequence[str] = (),
        rollback: bool = False,
        preflight: bool = True,
        drain: float = 0,
        timeout: float = 5400,
        poll_interval: float = 30,
        deferrable: bool = default_deferrable,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if rollback or drain:
            raise ValueError("InstallPrivatePackageOperator: rollback and drain are not offered yet")
        self.environment = environment
        self.requirements = requirements
        self.repository = repository
        self.absent = absent
        self.rollback = rollback
        self.preflight = preflight
        self.drain = drain
        self.timeout = timeout
        self.poll_interval = poll_interval
        self.deferrable = deferrable

    def execute(self, context: Context) -> dict[str, Any]:
        """Compare, patch if needed, wait here or in the triggerer, verify."""
        from airflow_gar_provider.steps.install import request, settle, wait

        with self.explained(context):
            wish, cloud = self._wish(context), self.cloud()
            EnvironmentLink().persist(context, wish.environment.console_url)
            pending, ours = request(cloud, wish, self.clock()), None
            while pending is not None:
                if self.deferrable:
                    self._defer(pending)
                wait(cloud, pending, self.clock(), timeout=self.timeout, poll_interval=self.poll_interval)
                ours = pending.operation if pending.ours else None
                pending = settle(cloud, wish, pending, self.clock())
            return self._end(cloud, wish, ours)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Look again after the wait: the ending that the blocking mode has, too."""
        from airflow_gar_provider.steps.install import Pending, request, settle, timed_out

        with self.explained(context):
            wish, cloud = self._wish(context), self.cloud()
            pending = Pending(event["operation"], event["ours"])
            if event["status"] == "timed_out":
                raise timed_out(pending.operation, self.timeout)
            if event["status"] == "lost":
                self.log.warning("the wait ended without an answer (%s): looking again", event["message"])
                following = request(cloud, wish, self.clock())
            else:
                following = settle(cloud, wish, pending, self.clock())
            if following is not None:
                self._defer(following)
            return self._end(cloud, wish, pending.operation if pending.ours else None)

    def _wish(self, context: Context) -> Wish:
        from airflow_gar_provider.core.environment import EnvironmentName, Wish
        from airflow_gar_provider.core.repository import RepositoryName
        from airflow_gar_provider.core.requirement import parse_names, parse_requirements
        from airflow_gar_provider.errors import InvalidInputError

        wish = Wish(
            environment=EnvironmentName.parse(self.environment),
            requirements=parse_requirements(self.requirements),
            absent=parse_names(self.absent),
            repository=RepositoryName.parse(self.repository) if self.repository else None,
            preflight=self.preflight,
            run=run_of(context),
        )
        if not wish.wanted:
            raise InvalidInputError("neither `requirements` nor `absent` names a package")
        return wish

    def _defer(self, pending: Pending) -> None:
        from airflow_gar_provider.triggers.operation import ComposerOperationTrigger

        self.log.info("waiting in the triggerer for %s, at most %.0f s", pending.operation, self.timeout)
        self.defer(
            trigger=ComposerOperationTrigger(
                operation=pending.operation,
                ours=pending.ours,
                deadline=time.time() + self.timeout,
                poll_interval=self.poll_interval,
                gcp_conn_id=self.gcp_conn_id,
                impersonation_chain=self.impersonation_chain,
            ),
            method_name="execute_complete",
        )

    def _end(self, cloud: Cloud, wish: Wish, operation: str | None) -> dict[str, Any]:
        from airflow_gar_provider.steps.install import verify

        result = verify(cloud, wish, operation=operation)
        self.log.info(result["message"])
        return result
