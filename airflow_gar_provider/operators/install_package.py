"""InstallPrivatePackageOperator."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_gar_provider.compat import Context, default_deferrable
from airflow_gar_provider.links.gar import EnvironmentLink
from airflow_gar_provider.links.operation import OperationLink
from airflow_gar_provider.operators.base import GarOperator, run_of

if TYPE_CHECKING:
    from airflow_gar_provider.core.environment import Wish
    from airflow_gar_provider.steps.drain import Draining
    from airflow_gar_provider.steps.update import Pending
    from airflow_gar_provider.triggers.drain import DrainTrigger
    from airflow_gar_provider.triggers.operation import ComposerOperationTrigger


class InstallPrivatePackageOperator(GarOperator):
    """Bring a Composer environment to the wanted packages, in one update, and confirm it.

    What is there already is not asked for again, an update in flight is followed, and packages that are not named stay.
    A failed build is explained: cause, evidence from the build's log, and what to do. After a good one the environment
    must have the packages (`pip list`), and must not have DAGs that can no longer be imported.

    :param environment: `projects/P/locations/L/environments/E`.
    :param requirements: such as `mypythonlib==1.2.0`; a list, or one string with newlines or commas.
    :param repository: given, pip.conf is pointed at it in the same unit (one that uses it already, with a key or as an
        extra index, stays as it is), and ranges and bare names become exact pins of the newest version that matches.
    :param absent: names of packages that must not be declared any more.
    :param rollback: after a failed verification, update again to the packages (and pip.conf) of before. The task fails
        either way, with outcome `rolled_back`, and the version is held: it is not installed there again. Needs the
        right to write to the environment's bucket.
    :param ignore_hold: install a version again that was rolled back there.
    :param preflight: look at what can be known before a build of many minutes is spent; `"resolve"` lets pip resolve.
    :param skip_checks: names of preflight checks to leave out; `import_errors` leaves out the verification's look at
        the DAGs' import errors.
    :param pin_dependencies: with `preflight="resolve"`, pin what pip would move, too.
    :param drain: seconds to wait, at most, for tasks that run in the environment; the update ends those that still run.
    :param drain_action: then: `go`, or `postpone`: a retryable error, and nothing was changed.
    :param timeout: seconds to wait for each update. Composer cannot cancel one: a later try follows it.
    :param poll_interval: seconds between two looks at the operation, and at running tasks.
    :param deferrable: wait in the triggerer.
    :return: {"outcome": installed | unchanged, "message", "environment", "packages": [{"package", "before", "after"}],
        "operation", "seconds"}. A failure's result has the outcome failed or rolled_back, "error" and "message".
    """

    template_fields: Sequence[str] = (
        "environment",
        "requirements",
        "repository",
        "absent",
        "preflight",
        "skip_checks",
        "drain_action",
        *GarOperator.template_fields,
    )
    operator_extra_links = (EnvironmentLink(), OperationLink())

    def __init__(
        self,
        *,
        environment: str,
        requirements: str | Sequence[str],
        repository: str | None = None,
        absent: str | Sequence[str] = (),
        rollback: bool = False,
        ignore_hold: bool = False,
        preflight: bool | str = True,
        skip_checks: str | Sequence[str] = (),
        pin_dependencies: bool = False,
        drain: float = 0,
        drain_action: str = "go",
        timeout: float = 5400,
        poll_interval: float = 30,
        deferrable: bool = default_deferrable,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.environment = environment
        self.requirements = requirements
        self.repository = repository
        self.absent = absent
        self.rollback = rollback
        self.ignore_hold = ignore_hold
        self.preflight = preflight
        self.skip_checks = skip_checks
        self.pin_dependencies = pin_dependencies
        self.drain = drain
        self.drain_action = drain_action
        self.timeout = timeout
        self.poll_interval = poll_interval
        self.deferrable = deferrable

    def execute(self, context: Context) -> dict[str, Any]:
        """Compare, patch if needed, wait here or in the triggerer, verify."""
        from airflow_gar_provider.steps.install import begin, install

        with self.explained(context):
            wish, cloud = self._wish(context), self.cloud()
            EnvironmentLink().persist(context, wish.environment.console_url)
            if self.deferrable:
                return self._next(context, begin(cloud, wish, self.clock()))
            result = install(cloud, wish, self.clock(), timeout=self.timeout, poll_interval=self.poll_interval)
            return self._next(context, result)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Look again after the wait: the ending that the blocking mode has, too."""
        with self.explained(context):
            return self._resumed(context, event)

    def _resumed(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        from airflow_gar_provider.steps.install import Draining, Pending, proceed, timed_out

        wish, cloud = self._wish(context), self.cloud()
        if event["status"] == "timed_out":
            raise timed_out(event["operation"], self.timeout)
        if event["status"] == "lost":
            self.log.warning("the wait ended without an answer (%s): looking again", event["message"])
        waited = Draining(()) if event.get("drain") else Pending(event["operation"], event["ours"])
        return self._next(context, proceed(cloud, wish, self.clock(), waited))

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
            run=run_of(context),
            **self._care(),
        )
        if not wish.wanted:
            raise InvalidInputError("neither `requirements` nor `absent` names a package")
        return wish

    def _care(self) -> dict[str, Any]:
        """How carefully the wish is fulfilled, as fields of Wish."""
        from airflow_gar_provider.core.preflight import checks_of
        from airflow_gar_provider.core.requirement import split_list
        from airflow_gar_provider.steps.drain import action_of

        skipped = split_list(self.skip_checks)
        return {
            "checks": checks_of(self.preflight, [name for name in skipped if name != "import_errors"]),
            "pin_dependencies": self.pin_dependencies,
            "drain": self.drain,
            "drain_action": action_of(self.drain_action),
            "rollback": self.rollback,
            "import_errors": "import_errors" not in skipped,
            "ignore_hold": self.ignore_hold,
        }

    def _next(self, context: Context, found: Pending | Draining | dict[str, Any]) -> dict[str, Any]:
        """The result, or a wait in the triggerer."""
        from airflow_gar_provider.steps.update import Pending

        if not isinstance(found, dict):
            trigger = self._trigger(found, run_of(context))
            if isinstance(found, Pending):
                OperationLink().persist_operation(context, found.operation)
            self.defer(trigger=trigger, method_name="execute_complete")
            raise AssertionError("defer raises")
        if found.get("operation"):
            OperationLink().persist_operation(context, found["operation"])
        self.log.info(found["message"])
        return found

    def _trigger(self, found: Pending | Draining, run: str) -> DrainTrigger | ComposerOperationTrigger:
        from airflow_gar_provider.steps.drain import Draining
        from airflow_gar_provider.triggers.drain import DrainTrigger
        from airflow_gar_provider.triggers.operation import ComposerOperationTrigger

        if isinstance(found, Draining):
            self.log.info("waiting in the triggerer for %d task(s), at most %.0f s", len(found.tasks), self.drain)
            return DrainTrigger(
                environment=self.environment,
                run=run,
                deadline=time.time() + self.drain,
                poll_interval=self.poll_interval,
                gcp_conn_id=self.gcp_conn_id,
                impersonation_chain=self.impersonation_chain,
            )
        self.log.info("waiting in the triggerer for %s, at most %.0f s", found.operation, self.timeout)
        return ComposerOperationTrigger(
            operation=found.operation,
            ours=found.ours,
            deadline=time.time() + self.timeout,
            poll_interval=self.poll_interval,
            gcp_conn_id=self.gcp_conn_id,
            impersonation_chain=self.impersonation_chain,
        )
