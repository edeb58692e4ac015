"""RollOutEnvironmentOperator."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow_gar_provider.compat import AirflowSkipException, Context
from airflow_gar_provider.links.storage import PlanLink
from airflow_gar_provider.operators.base import goes_on
from airflow_gar_provider.operators.install_package import InstallPrivatePackageOperator
from airflow_gar_provider.operators.rollout_base import THIS_RUN

if TYPE_CHECKING:
    from airflow_gar_provider.core.environment import Wish
    from airflow_gar_provider.core.plan import Item, Plan
    from airflow_gar_provider.core.rollout import Verdict
    from airflow_gar_provider.errors import GarProviderError
    from airflow_gar_provider.gcp.cloud import Cloud
    from airflow_gar_provider.steps.fleet_state import FleetState


class RollOutEnvironmentOperator(InstallPrivatePackageOperator):
    """Bring one environment to what a rollout's plan says: pip.conf, install, verify, and a smoke DAG, as one unit.

    It waits for its turn: no more than the stage's `max_parallel` environments are between their first change and their
    verdict. Before it starts it asks whether too many others failed, whether the fleet's STOP switch is on, and whether
    its stage is frozen; then it is skipped (`not_started`). Its verdict is kept in the fleet's bucket.

    :param environment: `projects/P/locations/L/environments/E`; `gcp_conn_id` and `impersonation_chain` are for it.
    :param state: `gs://BUCKET/PREFIX`, the fleet's `state`.
    :param state_gcp_conn_id: the connection for `state`.
    :param state_impersonation_chain: whom to act as for `state`.
    :param rollout: what identifies the rollout.
    :param changed: an environment that is not as it was when the plan was made: `refuse`, or `replan`: the planned
        versions are compared with what is there now.
    :param smoke_dag_id: a DAG of the environment that is run after the install, and has to succeed.
    :param smoke_timeout: seconds for that run.
    :return: what InstallPrivatePackageOperator returns. All its other parameters are taken, too.
    """

    template_fields: Sequence[str] = (
        "environment",
        "state",
        "rollout",
        "changed",
        "smoke_dag_id",
        "state_gcp_conn_id",
        "state_impersonation_chain",
        "skip_checks",
        "drain_action",
        "gcp_conn_id",
        "impersonation_chain",
    )
    operator_extra_links = (*InstallPrivatePackageOperator.operator_extra_links, PlanLink())

    def __init__(
        self,
        *,
        environment: str,
        state: str,
        rollout: str = THIS_RUN,
        changed: str = "refuse",
        smoke_dag_id: str | None = None,
        smoke_timeout: float = 1800,
        state_gcp_conn_id: str = "google_cloud_default",
        state_impersonation_chain: str | Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(environment=environment, requirements=(), **kwargs)
        self.state = state
        self.rollout = rollout
        self.changed = changed
        self.smoke_dag_id = smoke_dag_id
        self.smoke_timeout = smoke_timeout
        self.state_gcp_conn_id = state_gcp_conn_id
        self.state_impersonation_chain = state_impersonation_chain

    def execute(self, context: Context) -> dict[str, Any]:
        """Wait for the turn, install, verify, smoke; keep the verdict."""
        from airflow_gar_provider.steps.install import begin
        from airflow_gar_provider.steps.roll_out import check_unchanged, check_wheels, enter, wish_of

        with self.explained(context):
            PlanLink().persist_object(context, self._fleet_state.plan_uri)
            plan, item, attempt = self._plan, self._item, context["ti"].try_number
            self._show(context, wish_of(plan, item))
            now = datetime.now(timezone.utc)
            verdict = enter(self._fleet_state, plan, item, self.clock(), now=now, attempt=attempt)
            if verdict is not None:
                return self._ended(context, verdict)
            with self._judged(context):
                cloud, wish = self.cloud(), self._wish(context)
                if self.changed == "refuse":
                    check_unchanged(cloud, plan, item)
                check_wheels(cloud, plan, item)
                found = begin(cloud, wish, self.clock()) if self.deferrable else self._install(context, cloud, wish)
                return self._close(cloud, self._next(context, wish, found))

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Look again after the wait: the ending that the blocking mode has, too."""
        with self.explained(context), self._judged(context):
            return self._close(self.cloud(), self._resumed(context, event))

    @cached_property
    def _fleet_state(self) -> FleetState:
        from airflow_gar_provider.hooks.gar import GarHook
        from airflow_gar_provider.steps.fleet_state import FleetState

        hook = GarHook(gcp_conn_id=self.state_gcp_conn_id, impersonation_chain=self.state_impersonation_chain)
        return FleetState(hook.cloud.storage, self.state, self.rollout)

    @cached_property
    def _plan(self) -> Plan:
        return self._fleet_state.read_plan()

    @cached_property
    def _item(self) -> Item:
        from airflow_gar_provider.core.environment import EnvironmentName

        return self._plan.item(EnvironmentName.parse(self.environment))

    def _wish(self, context: Context) -> Wish:
        from airflow_gar_provider.steps.roll_out import wish_of

        return wish_of(self._plan, self._item, goes_on=goes_on(self, context), **self._care())

    @contextmanager
    def _judged(self, context: Context) -> Iterator[None]:
        """A failure that no further try can mend is the environment's verdict."""
        from airflow_gar_provider.errors import GarProviderError

        try:
            yield
        except GarProviderError as error:
            ti = context["ti"]
            if not error.retryable or ti.try_number > ti.max_tries:
                self._leave(error.as_result(), error)
            raise

    def _close(self, cloud: Cloud, result: dict[str, Any]) -> dict[str, Any]:
        if self.smoke_dag_id and result["outcome"] == "installed":
            self._smoke(cloud)
        self._leave(result, None)
        return {**result, "stage": self._item.stage}

    def _smoke(self, cloud: Cloud) -> None:
        """Run the smoke DAG; when it fails, undo what was installed, if that was asked for."""
        from airflow_gar_provider.errors import EnvironmentDagError
        from airflow_gar_provider.steps.roll_out import smoke, undo_here

        name, rollout = self._item.environment, self._plan.run
        try:
            smoke(cloud, name, self.smoke_dag_id or "", rollout, self.clock(), timeout=self.smoke_timeout)
        except EnvironmentDagError as failure:
            if self.rollback:
                undo_here(
                    cloud,
                    name,
                    rollout,
                    self.clock(),
                    why=failure.what,
                    timeout=self.timeout,
                    poll_interval=self.poll_interval,
                )
            raise

    def _leave(self, result: dict[str, Any], error: GarProviderError | None) -> None:
        import time

        from airflow_gar_provider.errors import RolledBackError
        from airflow_gar_provider.steps.roll_out import leave, note_holds, verdict_of

        stage = self._plan.stage(self._item.stage)
        since = self._fleet_state.turn_since(stage.name, self._item.environment, stage.max_parallel)
        verdict = verdict_of(self._item, result, time.time() - since if since else 0.0)
        if isinstance(error, RolledBackError):
            note_holds(self._fleet_state, self._item, error.failure)
        leave(self._fleet_state, self._plan, verdict)

    def _ended(self, context: Context, verdict: Verdict) -> dict[str, Any]:
        """The result of an environment that is not begun, or that an earlier try has brought to its end."""
        from airflow_gar_provider.core.rollout import BAD
        from airflow_gar_provider.errors import RolloutFailedError

        result = {**verdict.to_json(), "message": f"{self._item.environment.name}: {verdict.outcome}"}
        if verdict.outcome == "not_started":
            context["ti"].xcom_push(key="return_value", value=result)
            raise AirflowSkipException(f"not started: {verdict.why}")
        if verdict.outcome in BAD:
            raise RolloutFailedError(
                f"it has ended before: {verdict.outcome}: {verdict.why}", resource=self.environment
            )
        return result
