"""The management DAG: publish a private package, and roll it out to the fleet, stage after stage.

Trigger it from the Airflow UI with its form. Triggering it is code execution in every environment of the fleet, so the
constants say what the form may ask for; what is not on these lists is refused before anything is written. Before the
first use, write your own names into them and into `fleet.yaml`; the rest runs unchanged, here and on Google Cloud.

The run succeeds when every chosen environment is as planned, and the DAG `haversine_distance` has used the package in
each of them. A dry run only plans, and shows a digest: with it as *approved plan*, exactly that plan is applied.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_gar_provider.operators import (
    BuildWheelOperator,
    CheckRolloutOperator,
    CreateRepositoryOperator,
    DeployDagOperator,
    GrantRepositoryAccessOperator,
    PublishWheelOperator,
    RunEnvironmentDagOperator,
)
from airflow_gar_provider.rollout import Fleet, roll_out

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
CONSUMER = Path(__file__).with_name("haversine_distance.py")
EXAMPLE = Path(__file__).resolve().parents[1] / "example_packages" / "mypythonlib"  # only in a checkout of this project
FLEET = Fleet.from_file("fleet.yaml")
LATER_STAGES = [stage.name for stage in FLEET.stages[1:]]

# What the form may ask for: places of sources and wheels, and how names of packages begin.
ALLOWED_PLACES = [BUILDS, "gs://acme-packages-builds/sources"]
ALLOWED_SOURCES = [*ALLOWED_PLACES, *([str(EXAMPLE)] if EXAMPLE.is_dir() else [])]
ALLOWED_PREFIXES = ["mypythonlib", "acme-"]
# Whether who triggered a run may approve its later stages, too. False: four eyes.
SELF_APPROVAL = True
# Who may see the DAG, and who may trigger it: names of roles that exist. Airflow's FAB auth manager (Composer's) adds
# this to what a role may do with every DAG, so give the role User to nobody who must not trigger this one.
ACCESS = {
    "Viewer": {"DAGs": {"can_read"}, "DAG Runs": {"can_read"}},
    "Op": {"DAGs": {"can_read", "can_edit"}, "DAG Runs": {"can_read", "can_create"}},
}

PARAMS = {
    # Without a section: open at once, and all that most runs need.
    "requirement": Param(
        "mypythonlib==1.0.0",
        type=["null", "string"],
        maxLength=2000,
        title="Requirement",
        description_md="What the environments are brought to; several with commas. A range is resolved to an exact "
        "version. Empty: what the fleet's file says. Names begin with "
        f"{' or '.join(f'**{prefix}**' for prefix in ALLOWED_PREFIXES)}.",
    ),
    **FLEET.params(default=["dev"]),
    "approval": Param(
        LATER_STAGES[-1],
        type="string",
        enum=["none", *LATER_STAGES],
        values_display={"none": "Nobody is asked", **{name: f"Before {name}" for name in LATER_STAGES}},
        title="Ask before",
        description_md="Somebody has to approve this stage, with the plan and the outcomes of the stages before it in "
        "view; no answer in 24 hours is a refusal. Airflow 2 cannot ask: it wants an approved plan then.",
    ),
    "dry_run": Param(
        False,
        type="boolean",
        title="Dry run",
        description_md="Create, publish, grant and install nothing: plan with what the repository has, and report.",
    ),
    "source": Param(
        str(EXAMPLE) if EXAMPLE.is_dir() else None,
        type=["null", "string"],
        title="Source to build",
        description_md="A folder on the worker, or the gs:// URI of a .tar.gz. Empty: wheels that CI built. "
        f"Allowed: below {' and '.join(ALLOWED_PLACES)}.",
        section="Package",
    ),
    "wheels": Param(
        f"{BUILDS}/*.whl",
        type=["null", "string"],
        examples=[f"{BUILDS}/*.whl", f"{BUILDS}/mypythonlib-1.0.0-py3-none-any.whl"],
        title="Wheels to publish",
        description_md="Used when there is no source: gs:// URIs or globs, separated by commas. No source and no "
        "wheels: nothing is published, and what the repository has is rolled out.",
        section="Package",
    ),
    "strategy": Param(
        "one",
        type="string",
        enum=["one", "newest_each"],
        values_display={"one": "One for all environments", "newest_each": "For each the newest that fits it"},
        title="Version",
        description_md="Which version a range means.",
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
    "approved_plan": Param(
        None,
        type=["null", "string"],
        pattern="^\\s*([0-9a-fA-F]{64})?\\s*$",
        title="Approved plan",
        description_md="The digest that a dry run reported: exactly that plan is applied, or none.",
        section="Rollout",
    ),
}

with DAG(
    dag_id="publish_and_roll_out",
    dag_display_name="Publish and roll out",
    description="Publish a private package to Artifact Registry and install it in Composer environments",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    params=PARAMS,
    access_control=ACCESS,
    default_args={"owner": "data-platform", "retries": 2, "retry_delay": timedelta(seconds=30)},
    tags=["private packages"],
    doc_md=__doc__,
    owner_links={"data-platform": "https://wiki.example.com/data-platform"},
) as dag:
    check_form = CheckRolloutOperator(
        task_id="check_form",
        task_display_name="Check the form",
        fleet=FLEET,
        source="{{ params.source or '' }}",
        wheels="{{ '' if params.source else params.wheels or '' }}",
        requirements="{{ params.requirement or '' }}",
        environments="{{ params.environments or '' }}",
        allowed_sources=ALLOWED_SOURCES,
        allowed_prefixes=ALLOWED_PREFIXES,
    )

    @task.branch(task_display_name="Choose the way")
    def choose(params: dict[str, Any]) -> str | list[str]:
        """Build, publish what is there, publish nothing, or only plan."""
        if params["dry_run"]:
            return "ready"
        if params["source"]:
            return ["create_repository", "build"]
        return "create_repository" if params["wheels"] else "choose_grants"

    create_repository = CreateRepositoryOperator(
        task_id="create_repository",
        task_display_name="Create the repository",
        repository=REPOSITORY,
        description="Private packages of the data teams",
    )
    build = BuildWheelOperator(
        task_id="build",
        task_display_name="Build the wheel",
        source="{{ params.source }}",
        destination=BUILDS,
        allowed_sources=ALLOWED_SOURCES,
    )
    publish = PublishWheelOperator(
        task_id="publish",
        task_display_name="Publish",
        repository=REPOSITORY,
        wheels="{{ ti.xcom_pull(task_ids='build')['wheel'] if params.source else params.wheels }}",
        allowed_sources=ALLOWED_SOURCES,
        allowed_prefixes=ALLOWED_PREFIXES,
        trigger_rule="none_failed_min_one_success",
    )

    @task(task_display_name="Choose who gets access", trigger_rule="none_failed")
    def choose_grants(params: dict[str, Any], ti: Any = None) -> list[str]:
        """The environments that this DAG gives access to; none when the form says so, and the next task is skipped."""
        chosen: list[str] = ti.xcom_pull(task_ids="check_form")["environments"]
        return chosen if params["grant_access"] else []

    @task(task_display_name="Ready", trigger_rule="none_failed")
    def ready() -> None:
        """Publishing, or what there was of it, has gone well."""

    grants = choose_grants()
    grant_access = GrantRepositoryAccessOperator.partial(
        task_id="grant_access",
        task_display_name="Grant access",
        repository=REPOSITORY,
        map_index_template="{{ task.environment.split('/')[-1] }}",
    ).expand(environment=grants)

    rolled_out = roll_out(
        FLEET,
        repository=REPOSITORY,
        requirements="{{ params.requirement or '' }}",
        environments="{{ params.environments or '' }}",
        strategy="{{ params.strategy }}",
        allowed_prefixes=ALLOWED_PREFIXES,
        approve_before=LATER_STAGES,
        approval="{{ params.approval }}",
        self_approval=SELF_APPROVAL,
        approved_plan="{{ params.approved_plan or '' }}",
        on_failure="roll_back",
        dry_run="{{ params.dry_run }}",
    )

    @task(task_display_name="Choose who uses it")
    def choose_consumers(params: dict[str, Any], ti: Any = None) -> list[str]:
        """The chosen environments that have now what was wanted: not those that are held or frozen."""
        if params["dry_run"]:
            return []
        rows = ti.xcom_pull(task_ids="roll_out.report")["rows"]
        left_alone = {row["environment"] for row in rows if row["outcome"] in ("held", "frozen")}
        chosen: list[str] = ti.xcom_pull(task_ids="check_form")["environments"]
        return [name for name in chosen if name.rsplit("/", 1)[1] not in left_alone]

    @task_group
    def use(environment: str) -> None:
        """Use the package in one environment, as its team does."""
        deploy_dag = DeployDagOperator(
            task_id="deploy_dag",
            task_display_name="Deploy the sample DAG",
            environment=environment,
            files=str(CONSUMER),
            map_index_template="{{ task.environment.split('/')[-1] }}",
        )
        run_dag = RunEnvironmentDagOperator(
            task_id="run_dag",
            task_display_name="Run the sample DAG",
            environment=environment,
            environment_dag_id="haversine_distance",
            unpause=True,
            map_index_template="{{ task.environment.split('/')[-1] }}",
        )
        deploy_dag >> run_dag

    way, go = choose(), ready()
    check_form >> way >> [create_repository, build, grants, go]
    [create_repository, build] >> publish >> grants
    grant_access >> go >> rolled_out
    consumers = choose_consumers()
    rolled_out >> consumers
    use.expand(environment=consumers)
