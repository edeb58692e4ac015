"""InstallPrivatePackageOperator."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow_gar_provider.compat import BaseOperatorLink, Context, default_deferrable
from airflow_gar_provider.lineage import lineage_of_install
from airflow_gar_provider.links.gar import (
    EnvironmentLink,
    PackageLink,
    RepositoryLink,
    VersionLink,
    persist_package_links,
)
from airflow_gar_provider.links.operation import BuildLogLink, OperationLink, persist_update
from airflow_gar_provider.metrics import count_failed_install, count_install
from airflow_gar_provider.operators.base import GarOperator, goes_on, run_of

if TYPE_CHECKING:
    from airflow_gar_provider.core.environment import Wish
    from airflow_gar_provider.gcp.cloud import Cloud
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
    operator_extra_links: Sequence[BaseOperatorLink] = (
        EnvironmentLink(),
        OperationLink(),
        BuildLogLink(),
        RepositoryLink(),
        PackageLink(),
        VersionLink(),
    )

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
        self._told: tuple[dict[str, Any], str | None] | None = None

    def execute(self, context: Context) -> dict[str, Any]:
        """Compare, patch if needed, wait here or in the triggerer, verify."""
        from airflow_gar_provider.steps.install import begin

        with self.explained(context):
            wish, cloud = self._wish(context), self.cloud()
            self._show(context, wish)
            if self.deferrable:
                return self._next(context, wish, begin(cloud, wish, self.clock()))
            return self._next(context, wish, self._install(context, cloud, wish))

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Look again after the wait: the ending that the blocking mode has, too."""
        with self.explained(context):
            return self._resumed(context, event)

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:
        """What OpenLineage asks a task that has ended: the packages as inputs, the environment as the output."""
        return lineage_of_install(*self._told) if self._told else None

    @contextmanager
    def explained(self, context: Context) -> Iterator[None]:
        """Make a failure readable, count it, and lead to the very build that failed, where it has a page."""
        from airflow_gar_provider.errors import GarProviderError, InstallFailedError

        with super().explained(context):
            try:
                yield
            except GarProviderError as error:
                if self._told is None:  # else it was installed, and what came after it failed: a smoke DAG
                    count_failed_install(error)
                if isinstance(error, InstallFailedError) and error.log_link:
                    BuildLogLink().persist(context, error.log_link)
                raise

    def _show(self, context: Context, wish: Wish) -> None:
        """The pages that are known before anything is done."""
        EnvironmentLink().persist(context, wish.environment.console_url)
        if wish.repository is None:
            return
        RepositoryLink().persist(context, wish.repository.console_url)
        if len(wish.requirements) == 1:
            [requirement] = wish.requirements
            PackageLink().persist(context, wish.repository.package_console_url(requirement.name))
            if requirement.pinned:
                persist_package_links(context, wish.repository, [(requirement.name, requirement.pinned)])

    def _install(self, context: Context, cloud: Cloud, wish: Wish) -> dict[str, Any]:
        """All of it, waiting here; what is waited for is shown meanwhile."""
        from airflow_gar_provider.steps.install import install

        return install(
            cloud,
            wish,
            self.clock(),
            timeout=self.timeout,
            poll_interval=self.poll_interval,
            on_wait=lambda operation: persist_update(context, wish.environment, operation),
        )

    def _resumed(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        from airflow_gar_provider.steps.install import Draining, Pending, proceed, timed_out

        wish, cloud = self._wish(context), self.cloud()
        if event["status"] == "timed_out":
            raise timed_out(event["operation"], self.timeout)
        if event["status"] == "lost":
            self.log.warning("the wait ended without an answer (%s): looking again", event["message"])
        waited = Draining(()) if event.get("drain") else Pending(event["operation"], event["ours"])
        return self._next(context, wish, proceed(cloud, wish, self.clock(), waited))

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
            goes_on=goes_on(self, context),
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

    def _next(self, context: Context, wish: Wish, found: Pending | Draining | dict[str, Any]) -> dict[str, Any]:
        """The result, or a wait in the triggerer."""
        from airflow_gar_provider.steps.update import Pending

        if not isinstance(found, dict):
            trigger = self._trigger(found, run_of(context))
            if isinstance(found, Pending):
                persist_update(context, wish.environment, found.operation)
            self.defer(trigger=trigger, method_name="execute_complete")
            raise AssertionError("defer raises")
        if found.get("operation"):
            persist_update(context, wish.environment, found["operation"])
        installed = [(entry["package"], entry["after"]) for entry in found["packages"] if entry["after"]]
        if wish.repository is not None:
            persist_package_links(context, wish.repository, installed)
        self._told = (found, str(wish.repository) if wish.repository else None)
        count_install(found)
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
