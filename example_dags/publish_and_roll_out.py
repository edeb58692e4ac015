"""The management DAG: publish a private package, and roll it out to Composer environments.

Trigger it from the Airflow UI with its form. Before its first use, write your own names into the four constants; the
rest runs unchanged, here and on Google Cloud.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_gar_provider.operators import (
    BuildWheelOperator,
    ComposerPipConfigOperator,
    CreateRepositoryOperator,
    DeployDagOperator,
    GrantRepositoryAccessOperator,
    InstallPrivatePackageOperator,
    PublishWheelOperator,
    RunEnvironmentDagOperator,
)

if TYPE_CHECKING:
    from airflow.sdk import DAG, Param, task, task_group
else:
    try:
        from airflow.sdk import DAG, Param, task, task_group
    except ImportError:  # Airflow 2.11
        from airflow import DAG
        from airflow.decorators import task, task_group
        from airflow.models.param import Param

REPOSITORY = "projects/acme-packages/locations/europe-west1/repositories/python"
BUILDS = "gs://acme-packages-builds/wheels"
ENVIRONMENTS = {
    name: f"projects/acme-data/locations/europe-west1/environments/{name}" for name in ("dev", "staging", "prod")
}
CONSUMER = Path(__file__).with_name("haversine_distance.py")
EXAMPLE = Path(__file__).resolve().parents[1] / "example_packages" / "mypythonlib"  # only in a checkout of this project

PARAMS = {
    "source": Param(
        str(EXAMPLE) if EXAMPLE.is_dir() else None,
        type=["null", "string"],
        title="Source to build",
        description_md="A folder on the worker, or the `gs://` URI of a `.tar.gz`. Empty: wheels that CI built.",
        section="Package",
    ),
    "wheels": Param(
        f"{BUILDS}/*.whl",
        type="string",
        title="Wheels to publish",
        description_md="Used when there is no source: `gs://` URIs or globs, separated by commas.",
        section="Package",
    ),
    "package": Param(
        "mypythonlib",
        type="string",
        pattern="^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$",
        title="Package",
        description_md="The name that environments require.",
        section="Package",
    ),
    "version": Param(
        "1.0.0",
        type="string",
        title="Version",
        description_md="The exact version: environments are pinned to it with `==`.",
        section="Package",
    ),
    "environments": Param(
        ["dev"],
        type="array",
        items={"type": "string", "enum": list(ENVIRONMENTS)},
        examples=list(ENVIRONMENTS),
        minItems=1,
        uniqueItems=True,
        title="Environments",
        description_md="Where the package is installed, and used by the DAG `haversine_distance`.",
        section="Rollout",
    ),
    "grant_access": Param(
        True,
        type="boolean",
        title="Grant access",
        description_md="Make each environment's service account a reader of the repository. "
        "Off: somebody else does it (Terraform, say).",
        section="Rollout",
    ),
}


def label(text: str) -> str:
    """A template for a mapped task's label: the environment's short name."""
    return f"{{{{ {text}.split('/')[-1] }}}}"


with DAG(
    dag_id="publish_and_roll_out",
    description="Publish a private package to Artifact Registry and install it in Composer environments",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    params=PARAMS,
    default_args={"retries": 2, "retry_delay": timedelta(seconds=30)},
    tags=["private packages"],
    doc_md=__doc__,
) as dag:
    create_repository = CreateRepositoryOperator(
        task_id="create_repository", repository=REPOSITORY, description="Private packages of the data teams"
    )

    @task.branch
    def choose_source(params: dict[str, Any]) -> str:
        """Build, or publish what is there."""
        return "build" if params["source"] else "publish"

    build = BuildWheelOperator(task_id="build", source="{{ params.source }}", destination=BUILDS)

    publish = PublishWheelOperator(
        task_id="publish",
        repository=REPOSITORY,
        wheels="{{ ti.xcom_pull(task_ids='build')['wheel'] if params.source else params.wheels }}",
        trigger_rule="none_failed",
    )

    @task
    def choose_environments(params: dict[str, Any]) -> list[str]:
        """The form's names as resource names; a name that is not on the list is an error here, too."""
        return [ENVIRONMENTS[name] for name in params["environments"]]

    @task
    def choose_grants(environments: list[str], params: dict[str, Any]) -> list[str]:
        """The environments that this DAG gives access to; none when the form says so, and the next task is skipped."""
        return environments if params["grant_access"] else []

    @task_group
    def roll_out(environment: str) -> None:
        """Bring one environment to the package, and use it there."""
        point = ComposerPipConfigOperator(
            task_id="point_pip_conf",
            environment=environment,
            repository=REPOSITORY,
            trigger_rule="none_failed",
            map_index_template=label("task.environment"),
        )
        install = InstallPrivatePackageOperator(
            task_id="install",
            environment=environment,
            requirements="{{ params.package }}=={{ params.version }}",
            repository=REPOSITORY,
            deferrable=True,
            map_index_template=label("task.environment"),
        )
        deploy_dag = DeployDagOperator(
            task_id="deploy_dag",
            environment=environment,
            files=str(CONSUMER),
            map_index_template=label("task.environment"),
        )
        run_dag = RunEnvironmentDagOperator(
            task_id="run_dag",
            environment=environment,
            environment_dag_id="haversine_distance",
            unpause=True,
            map_index_template=label("task.environment"),
        )
        point >> install >> deploy_dag >> run_dag

    @task(trigger_rule="all_done")
    def report(environments: list[str], ti: Any = None) -> list[dict[str, Any]]:
        """One row for each environment, whether it went well or not."""
        indexes = list(range(len(environments)))
        installs = ti.xcom_pull(task_ids="roll_out.install", map_indexes=indexes)
        runs = ti.xcom_pull(task_ids="roll_out.run_dag", map_indexes=indexes)
        rows = []
        for environment, install, run in zip(environments, installs, runs, strict=True):
            package = (install or {}).get("packages", [{}])[0]
            returned = (run or {}).get("returned", {}).values()
            rows.append(
                {
                    "environment": environment.rsplit("/", 1)[1],
                    "package": package.get("package"),
                    "before": package.get("before"),
                    "after": package.get("after"),
                    "outcome": (install or {}).get("outcome", "not reached"),
                    "distance_km": next((value["distance_km"] for value in returned), None),
                    "seconds": (install or {}).get("seconds"),
                }
            )
        return rows

    @task(trigger_rule="all_done", retries=0)
    def verdict(rows: list[dict[str, Any]]) -> str:
        """Fail the run when any environment failed: a report that always runs would leave it green."""
        bad = [row["environment"] for row in rows if row["distance_km"] is None]
        if bad or not rows:
            raise RuntimeError(f"not rolled out to {', '.join(bad) or 'any environment'}: look at the group roll_out")
        return f"rolled out to {', '.join(row['environment'] for row in rows)}"

    chosen = choose_environments()
    source = choose_source()
    create_repository >> source >> [build, publish]
    build >> publish >> chosen
    grant_access = GrantRepositoryAccessOperator.partial(
        task_id="grant_access", repository=REPOSITORY, map_index_template=label("task.environment")
    ).expand(environment=choose_grants(chosen))
    rolled_out = roll_out.expand(environment=chosen)
    told = report(chosen)
    grant_access >> rolled_out >> told
    verdict(told)
