"""RunEnvironmentDagOperator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow_gar_provider.compat import Context
from airflow_gar_provider.links.gar import EnvironmentLink
from airflow_gar_provider.operators.base import GarOperator, run_of


class RunEnvironmentDagOperator(GarOperator):
    """Run one DAG inside an environment through its Airflow REST API, wait, and show its tasks' logs here.

    :param environment: `projects/P/locations/L/environments/E`.
    :param environment_dag_id: the DAG's id there.
    :param conf: the run's configuration.
    :param unpause: unpause the DAG if it is paused; without it a paused DAG is an error.
    :param timeout: seconds for everything: until the DAG is known there, and until its run has ended.
    :return: {"outcome": success, "message", "environment", "dag_id", "run_id", "returned": {task_id: value}}.
    """

    template_fields: Sequence[str] = ("environment", "environment_dag_id", "conf", *GarOperator.template_fields)
    operator_extra_links = (EnvironmentLink(),)

    def __init__(
        self,
        *,
        environment: str,
        environment_dag_id: str,
        conf: Mapping[str, Any] | None = None,
        unpause: bool = False,
        timeout: float = 3600,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.environment = environment
        self.environment_dag_id = environment_dag_id
        self.conf = conf
        self.unpause = unpause
        self.timeout = timeout

    def execute(self, context: Context) -> dict[str, Any]:
        """Start a run, or follow the one of an earlier try; wait; show."""
        from airflow_gar_provider.core.environment import EnvironmentName
        from airflow_gar_provider.steps.environment_dag import run_environment_dag

        with self.explained(context):
            name = EnvironmentName.parse(self.environment)
            EnvironmentLink().persist(context, name.console_url)
            cloud = self.cloud()
            environment = cloud.composer.get_environment(name)
            run, attempt = run_of(context).replace("/", "."), int(context["ti"].try_number or 1)
            result = run_environment_dag(
                cloud.airflow_of(environment),
                environment,
                self.environment_dag_id,
                run_id=f"{run}.try{attempt}",
                earlier_run_id=f"{run}.try{attempt - 1}" if attempt > 1 else None,
                conf=self.conf,
                unpause=self.unpause,
                timeout=self.timeout,
                clock=self.clock(),
            )
        self.log.info(result["message"])
        return result
