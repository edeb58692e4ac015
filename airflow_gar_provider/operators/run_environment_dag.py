"""RunEnvironmentDagOperator."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_gar_provider.compat import Context, default_deferrable
from airflow_gar_provider.links.gar import EnvironmentLink, EnvironmentRunLink
from airflow_gar_provider.operators.base import GarOperator, run_of

if TYPE_CHECKING:
    from airflow_gar_provider.core.environment_dag import DagOrder


class RunEnvironmentDagOperator(GarOperator):
    """Run one DAG inside an environment through its Airflow REST API, wait, and show its tasks' logs here.

    The run is started as soon as Airflow has parsed the file as it is in the bucket, also when that was deployed a
    moment ago; a file that cannot be imported is an error that shows why. A second try follows the run of the first.

    :param environment: `projects/P/locations/L/environments/E`.
    :param environment_dag_id: the DAG's id there.
    :param conf: the run's configuration.
    :param unpause: unpause the DAG if it is paused, for good; without it a paused DAG is an error.
    :param file: the DAG's file, as a path below `dags/` or a gs:// URI (of DeployDagOperator's result); without it an
        import error is found by the file's name, or by the DAG's id in it.
    :param timeout: seconds for everything: until the DAG is known there, and until its run has ended.
    :param poll_interval: seconds between two looks at the run.
    :param deferrable: wait for the run in the triggerer.
    :return: {"outcome": success, "message", "environment", "dag_id", "run_id", "returned": {task_id: value}}; mapped
        tasks are `task_id[label]`, and a value above 16 KiB is replaced by a note of its size.
    """

    template_fields: Sequence[str] = ("environment", "environment_dag_id", "conf", "file", *GarOperator.template_fields)
    operator_extra_links = (EnvironmentLink(), EnvironmentRunLink())

    def __init__(
        self,
        *,
        environment: str,
        environment_dag_id: str,
        conf: Mapping[str, Any] | None = None,
        unpause: bool = False,
        file: str | None = None,
        timeout: float = 3600,
        poll_interval: float = 10,
        deferrable: bool = default_deferrable,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.environment = environment
        self.environment_dag_id = environment_dag_id
        self.conf = conf
        self.unpause = unpause
        self.file = file
        self.timeout = timeout
        self.poll_interval = poll_interval
        self.deferrable = deferrable

    def execute(self, context: Context) -> dict[str, Any]:
        """Start a run, or follow the one of an earlier try; wait here or in the triggerer; show."""
        from airflow_gar_provider.core.environment import EnvironmentName
        from airflow_gar_provider.core.environment_dag import run_page
        from airflow_gar_provider.steps.environment_dag import start_run, wait_for_run

        with self.explained(context):
            begun, clock, order = time.time(), self.clock(), self._order(context)
            name = EnvironmentName.parse(self.environment)
            EnvironmentLink().persist(context, name.console_url)
            cloud = self.cloud()
            environment = cloud.composer.get_environment(name)
            airflow = cloud.airflow_of(environment)
            run_id = start_run(airflow, cloud.storage, environment, order, timeout=self.timeout, clock=clock)
            page = run_page(environment.airflow_uri, environment.airflow_version, order.dag_id, run_id)
            EnvironmentRunLink().persist(context, page)
            if self.deferrable:
                self._defer(run_id, begun + self.timeout)
            left = begun + self.timeout - time.time()
            wait_for_run(
                airflow,
                environment,
                order.dag_id,
                run_id,
                timeout=left,
                poll_interval=self.poll_interval,
                clock=clock,
            )
            return self._end(context, run_id)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """The ending that the blocking mode has, too."""
        with self.explained(context):
            return self._end(context, event["run_id"], event)

    def _end(self, context: Context, run_id: str, event: Mapping[str, Any] | None = None) -> dict[str, Any]:
        from airflow_gar_provider.core.environment import EnvironmentName
        from airflow_gar_provider.errors import UnavailableError
        from airflow_gar_provider.steps.dag_outcome import end_run
        from airflow_gar_provider.steps.environment_dag import state_of, still_running

        cloud, order = self.cloud(), self._order(context)
        environment = cloud.composer.get_environment(EnvironmentName.parse(self.environment))
        airflow = cloud.airflow_of(environment)
        state = state_of(airflow, order.dag_id, run_id)
        if event is not None and state in ("queued", "running"):
            if event["status"] == "timed_out":
                raise still_running(environment, order.dag_id, run_id, state)
            raise UnavailableError(f"the wait ended without an answer: {event['message']}", resource=self.environment)
        result = end_run(airflow, environment, order, run_id, self.clock())
        self.log.info(result["message"])
        return result

    def _order(self, context: Context) -> DagOrder:
        from airflow_gar_provider.core.environment_dag import DagOrder, run_ids

        run = run_of(context)
        own, *earlier = run_ids(run, int(context["ti"].try_number or 1))
        return DagOrder(
            dag_id=self.environment_dag_id,
            run_id=own,
            earlier=tuple(earlier),
            conf=self.conf,
            unpause=self.unpause,
            file=self.file,
            note=f"started from outside by task {run}"[:900],
        )

    def _defer(self, run_id: str, deadline: float) -> None:
        from airflow_gar_provider.triggers.environment_dag import EnvironmentDagTrigger

        self.log.info("waiting in the triggerer for run %s of DAG %s", run_id, self.environment_dag_id)
        self.defer(
            trigger=EnvironmentDagTrigger(
                environment=self.environment,
                dag_id=self.environment_dag_id,
                run_id=run_id,
                deadline=deadline,
                poll_interval=self.poll_interval,
                gcp_conn_id=self.gcp_conn_id,
                impersonation_chain=self.impersonation_chain,
            ),
            method_name="execute_complete",
        )
