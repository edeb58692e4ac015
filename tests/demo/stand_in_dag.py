"""A stand-in for the management DAG, for tests of the demo: same shape, no Google.

Files in the folder STAND_IN_STATE play Google: a step that finds its file there has nothing to do. The environment
`broken` fails without a word about access; without access the install fails as the story wants it.
"""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger
from airflow.sdk import DAG, BaseOperator, Param, task, task_group


def once(line: str, outcome: str) -> dict[str, Any]:
    """Do something if it was not done before."""
    file = Path(os.environ["STAND_IN_STATE"]) / line.replace("/", "_")
    if file.exists():
        return {"outcome": "exists", "message": f"{line} is there already."}
    file.write_text("done")
    return {"outcome": outcome, "message": f"{line} is there now."}


class InstallPrivatePackageOperator(BaseOperator):
    """Waits in the triggerer, like the real one."""

    template_fields = ("environment", "grant_access")

    def __init__(self, *, environment: str, grant_access: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.environment = environment
        self.grant_access = grant_access

    def execute(self, context: Any) -> Any:
        if self.environment.endswith("broken"):
            try:
                raise OSError("the disk is gone")
            except OSError as error:
                raise RuntimeError(f"cannot install into {self.environment}\nAsk its owner.") from error
        if self.grant_access != "True":
            raise PermissionError(f"robot@example.test lacks roles/artifactregistry.reader for {self.environment}")
        if (Path(os.environ["STAND_IN_STATE"]) / f"package in {self.environment}".replace("/", "_")).exists():
            return self.execute_complete(context, None)
        return self.defer(trigger=TimeDeltaTrigger(timedelta(seconds=11)), method_name="execute_complete")

    def execute_complete(self, context: Any, event: Any) -> dict[str, Any]:
        return once(f"package in {self.environment}", "installed") | {"environment": self.environment}


with DAG(
    dag_id="publish_and_roll_out",
    schedule=None,
    params={
        "source": Param("", type="string"),
        "requirement": Param("mypythonlib==1.0.0", type="string"),
        "environments": Param(["projects/p/locations/l/environments/dev"], type="array"),
        "grant_access": Param(True, type="boolean"),
        "approval": Param("prod", type="string"),
    },
):

    @task
    def create_repository() -> dict[str, Any]:
        return once("the repository", "created")

    @task
    def environments(params: dict[str, Any] | None = None) -> list[str]:
        assert params
        return list(params["environments"])

    @task_group
    def roll_out(environment: str) -> Any:
        @task
        def pip_conf(environment: str) -> dict[str, Any]:
            return once(f"pip.conf of {environment}", "written")

        install = InstallPrivatePackageOperator(
            task_id="install", environment=environment, grant_access="{{ params.grant_access }}"
        )
        pip_conf(environment) >> install
        return install.output

    @task
    def report(installed: Any, params: dict[str, Any] | None = None) -> dict[str, Any]:
        assert params
        package, version = params["requirement"].split("==")
        # Airflow 3.3 hands over a bare value when there is one mapped instance.
        rows = [
            {
                "environment": result["environment"].rsplit("/", 1)[1],
                "package": package,
                "before": None if result["outcome"] == "installed" else f"=={version}",
                "after": version if result["outcome"] == "installed" else f"=={version}",
                "outcome": result["outcome"],
                "minutes": 0.2,
            }
            for result in ([installed] if isinstance(installed, dict) else installed)
        ]
        return {"outcome": "succeeded", "message": f"{len(rows)} environments", "rows": rows}

    @task
    def run_dag(environment: str) -> dict[str, Any]:
        return {"outcome": "success", "returned": {"print_distance": {"distance_km": 314.4029}}}

    names = environments()
    create_repository() >> names
    told = report(roll_out.expand(environment=names))
    told >> run_dag.override(map_index_template="{{ environment }}").expand(environment=names)
