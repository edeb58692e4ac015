"""A team's own DAG: wait until a version is published, install it in one environment, and use it there.

The operators are used singly: no fleet, no stages. `environment` and `requirement` come from the trigger form.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from airflow_gar_provider.operators import InstallPrivatePackageOperator, RunEnvironmentDagOperator
from airflow_gar_provider.sensors import PackageVersionSensor

if TYPE_CHECKING:
    from airflow.sdk import DAG, Param
else:
    try:
        from airflow.sdk import DAG, Param
    except ImportError:  # Airflow 2.11
        from airflow import DAG
        from airflow.models.param import Param

REPOSITORY = "projects/acme-packages/locations/europe-west1/repositories/python"
ENVIRONMENTS = ["projects/acme-data/locations/europe-west1/environments/dev"]

with DAG(
    dag_id="team_package",
    dag_display_name="Install a package for a team",
    description="Install a private package in the team's environment when it is published",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    params={
        "environment": Param(ENVIRONMENTS[0], type="string", enum=ENVIRONMENTS, title="Environment", section="Rollout"),
        "requirement": Param(
            "mypythonlib>=1,<2",
            type="string",
            pattern=r"^mypythonlib\s*[<>=!~]",
            title="Requirement",
            description_md="A version of `mypythonlib`; of a range, the newest one that is published.",
            section="Package",
        ),
    },
    default_args={"owner": "data-platform", "retries": 2, "retry_delay": timedelta(seconds=30)},
    tags=["private packages"],
    doc_md=__doc__,
    owner_links={"data-platform": "https://wiki.example.com/data-platform"},
) as dag:
    published = PackageVersionSensor(
        task_id="published",
        task_display_name="Wait until it is published",
        repository=REPOSITORY,
        requirement="{{ params.requirement }}",
        poke_interval=60,
        timeout=3600,
        deferrable=True,
    )
    install = InstallPrivatePackageOperator(
        task_id="install",
        task_display_name="Install",
        environment="{{ params.environment }}",
        requirements="mypythonlib=={{ ti.xcom_pull(task_ids='published')['version'] }}",
        repository=REPOSITORY,
        rollback=True,
        deferrable=True,
    )
    use = RunEnvironmentDagOperator(
        task_id="use",
        task_display_name="Use it in the environment",
        environment="{{ params.environment }}",
        environment_dag_id="haversine_distance",
        unpause=True,
    )
    published >> install >> use
