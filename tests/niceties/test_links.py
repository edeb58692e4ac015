"""The buttons on a task's page: which ones, that they lead somewhere, and that they are there in time."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_gar_provider import operators, sensors
from airflow_gar_provider.compat import AirflowFailException
from airflow_gar_provider.core.environment_dag import run_page
from airflow_gar_provider.operators.base import GarOperator
from airflow_gar_provider.provider_info import get_provider_info
from tests.conftest import LOCATION
from tests.operators.conftest import Ti
from tests.steps.conftest import QuickClock
from tests.steps.installing import Site

CONSOLE = "https://console.cloud.google.com"
INSTALL = {"Composer environment", "Composer operation", "Build log", "Artifact Registry", "Package", "Package version"}
PLAN = {"Rollout plan"}
REPOSITORY = {"Artifact Registry"}
LINKS = {
    "ApproveStageOperator": PLAN,
    "BeginStageOperator": PLAN,
    "BeginUndoOperator": PLAN,
    "BuildWheelOperator": {"Built files"},
    "CheckRolloutOperator": set(),  # it looks at nothing but its own parameters
    "ComposerPipConfigOperator": {"Composer environment", "Artifact Registry"},
    "CreateRepositoryOperator": REPOSITORY,
    "DeployDagOperator": {"Composer environment"},
    "GrantRepositoryAccessOperator": REPOSITORY,
    "InstallPrivatePackageOperator": INSTALL,
    "PlanRolloutOperator": PLAN,
    "PrunePackageVersionsOperator": REPOSITORY,
    "PublishWheelOperator": {"Artifact Registry", "Package", "Package version"},
    "ReportRolloutOperator": PLAN | {"Rollout ledger"},
    "RollBackEnvironmentOperator": {"Composer environment", "Composer operation", "Build log"},
    "RollOutEnvironmentOperator": INSTALL | PLAN,
    "RolloutOutcomeOperator": PLAN,
    "RunEnvironmentDagOperator": {"Composer environment", "DAG run in the environment"},
    "PackageInstalledSensor": {"Composer environment"},
    "PackageVersionSensor": {"Artifact Registry", "Package"},
    "StageVerdictSensor": PLAN,
}
ALL: list[type[GarOperator]] = [
    *(getattr(operators, name) for name in operators.__all__),
    *(getattr(sensors, name) for name in sensors.__all__),
]


@pytest.mark.parametrize("operator", ALL, ids=lambda cls: cls.__name__)
def test_every_task_has_its_links(operator: type[GarOperator]) -> None:
    """Each is registered (Airflow 2.11 reads no DAG otherwise), and has a name and a key of its own."""
    found = operator.operator_extra_links
    assert {link.name for link in found} == LINKS[operator.__name__]
    registered = set(get_provider_info()["extra-links"])
    assert {f"{type(link).__module__}.{type(link).__qualname__}" for link in found} <= registered
    assert len({link.xcom_key for link in found}) == len(found)


PARENT = "projects/{project}/locations/" + LOCATION
REPO, ENV = PARENT + "/repositories/none", PARENT + "/environments/none"
STATE, ROLLOUT = "gs://{project}-none/fleet a", "dag/manual__2026-11-22T12:00:00+00:00"
ENV_PAGE = f"/composer/environments/detail/{LOCATION}/none/monitoring?project={{project}}"
REPO_PAGE = f"/artifacts/python/{{project}}/{LOCATION}/none"
PLAN_PAGE = "/storage/browser/_details/{project}-none/fleet%20a/"
AT = "?project={project}"
OF_REPO = {"gar_repository_link": REPO_PAGE + AT}
OF_ENV = {"gar_environment_link": ENV_PAGE}
OF_PLAN = {"gar_plan_link": PLAN_PAGE}
FLEET = {"state": STATE, "rollout": ROLLOUT}
FAILING: list[tuple[str, dict[str, Any], dict[str, str]]] = [
    ("BeginStageOperator", {"stage": "dev", **FLEET}, OF_PLAN),
    ("BeginUndoOperator", FLEET, OF_PLAN),
    (
        "BuildWheelOperator",
        {"source": "gs://{project}-none/a.tar.gz", "destination": "gs://{project}-none/dist/"},
        {"gar_built_files_link": "/storage/browser/{project}-none/dist"},
    ),
    ("ComposerPipConfigOperator", {"environment": ENV, "repository": REPO}, {**OF_ENV, **OF_REPO}),
    ("CreateRepositoryOperator", {"repository": REPO, "kms_key": "none"}, OF_REPO),
    ("DeployDagOperator", {"environment": ENV, "files": "a.py"}, OF_ENV),
    ("GrantRepositoryAccessOperator", {"repository": REPO, "member": "user:a@example.com"}, OF_REPO),
    (
        "InstallPrivatePackageOperator",
        {"environment": ENV, "repository": REPO, "requirements": "My_Lib==1.0"},
        {
            **OF_ENV,
            **OF_REPO,
            "gar_package_link": REPO_PAGE + "/my-lib" + AT,
            "gar_version_link": REPO_PAGE + "/my-lib/1.0" + AT,
        },
    ),
    (
        "InstallPrivatePackageOperator",
        {"environment": ENV, "repository": REPO, "requirements": "a>=1"},
        {**OF_ENV, **OF_REPO, "gar_package_link": REPO_PAGE + "/a" + AT},
    ),
    ("InstallPrivatePackageOperator", {"environment": ENV, "requirements": "a==1, b==2"}, OF_ENV),
    ("PrunePackageVersionsOperator", {"repository": REPO, "keep_last": 1}, OF_REPO),
    ("PublishWheelOperator", {"repository": REPO, "wheels": "none.whl"}, OF_REPO),
    ("ReportRolloutOperator", FLEET, OF_PLAN),
    ("RollBackEnvironmentOperator", {"environment": ENV, "rollout": ROLLOUT}, OF_ENV),
    ("RollOutEnvironmentOperator", {"environment": ENV, **FLEET}, OF_PLAN),
    ("RolloutOutcomeOperator", FLEET, OF_PLAN),
    ("RunEnvironmentDagOperator", {"environment": ENV, "environment_dag_id": "d"}, OF_ENV),
    ("PackageInstalledSensor", {"environment": ENV, "requirements": "a==1"}, OF_ENV),
    (
        "PackageVersionSensor",
        {"repository": REPO, "requirement": "a"},
        {**OF_REPO, "gar_package_link": REPO_PAGE + "/a" + AT},
    ),
    ("StageVerdictSensor", {"stage": "dev", **FLEET}, OF_PLAN),
]


@pytest.mark.parametrize(
    ("name", "arguments", "links"), FAILING, ids=[f"{row[0]}-{n}" for n, row in enumerate(FAILING)]
)
def test_links_are_there_when_a_task_fails(
    name: str, arguments: dict[str, Any], links: dict[str, str], project: str, conn: None, context: Any, ti: Ti
) -> None:
    """Nothing of what it names exists, so the first look fails; the links are there by then."""
    cls: type[GarOperator] = getattr(operators, name, None) or getattr(sensors, name)
    given = {key: text.format(project=project) if isinstance(text, str) else text for key, text in arguments.items()}
    task = cls(task_id="t", **given)
    if name == "ReportRolloutOperator":
        assert task.execute(context)["outcome"] == "failed"  # it tells that there is no plan
    else:
        with pytest.raises(AirflowFailException):
            getattr(task, "poke", task.execute)(context)
    pushed = {key: value for key, value in ti.pushed.items() if key.endswith("_link")}
    if "gar_plan_link" in pushed:
        assert pushed["gar_plan_link"].endswith("/plan.json")
        pushed["gar_plan_link"] = pushed["gar_plan_link"].split("fleet%20a/")[0] + "fleet%20a/"
    assert pushed == {key: CONSOLE + page.format(project=project) for key, page in links.items()}


def test_every_task_is_in_the_table() -> None:
    """A plan needs a fleet: that one is seen in a real Airflow. An approval waits for a person."""
    others = {"PlanRolloutOperator", "ApproveStageOperator", "CheckRolloutOperator"}
    assert {row[0] for row in FAILING} | others == set(LINKS)
    assert {operator.__name__ for operator in ALL} == set(LINKS)


class Watching(QuickClock):
    """Notes at each wait which links are there."""

    def __init__(self, ti: Ti) -> None:
        super().__init__()
        self.ti = ti
        self.seen: list[dict[str, Any]] = []

    def sleep(self, seconds: float) -> None:
        self.seen.append(dict(self.ti.pushed))
        super().sleep(seconds)


@pytest.mark.slow
@pytest.mark.parametrize("deferrable", [False, True])
def test_an_install_shows_what_it_waits_for(deferrable: bool, context: Any, ti: Ti, conn: None, site: Site) -> None:
    """Operation and build log are there while it waits, in both modes; the version, also of a range, at the end."""
    site.publish("1.0")
    site.grant()
    task = operators.InstallPrivatePackageOperator(
        task_id="t",
        environment=str(site.environment),
        requirements="acme-demo",
        repository=str(site.repository),
        skip_checks="import_errors",
        deferrable=deferrable,
    )
    task._clock = clock = Watching(ti)
    if deferrable:
        with pytest.raises(BaseException) as caught:
            task.execute(context)
        assert type(caught.value).__name__ == "TaskDeferred"
        shown = dict(ti.pushed)
        trigger: Any = caught.value.trigger  # type: ignore[attr-defined]
        site.wait(site.start())
        event = {"status": "ended", "operation": trigger.operation, "ours": True, "message": ""}
        result = task.execute_complete(context, event)
    else:
        result = task.execute(context)
        shown = clock.seen[-1]
    assert result["outcome"] == "installed"
    assert shown["gar_operation_link"] == ti.pushed["gar_operation_link"]
    assert result["operation"].rsplit("/", 1)[1] in shown["gar_operation_link"]
    assert shown["gar_build_log_link"] == site.environment.build_log_url
    assert "gar_version_link" not in shown
    assert ti.pushed["gar_version_link"].endswith(f"/python/acme-demo/1.0?project={site.repository.project}")
    facets = task.get_openlineage_facets_on_complete(None)
    [package], [environment] = facets.inputs, facets.outputs
    assert (package.name, package.facets["version"].datasetVersion) == (f"{LOCATION}/python/acme-demo", "1.0")
    assert (environment.namespace, environment.name) == (f"composer://{site.environment.project}", f"{LOCATION}/dev")


@pytest.mark.parametrize(
    ("version", "page"),
    [
        ("2.11.2", "/dags/d%20%2F1/grid?dag_run_id=dag.manual__2026%2B01.try1"),
        ("3.3.1", "/dags/d%20%2F1/runs/dag.manual__2026%2B01.try1"),
        (None, "/dags/d%20%2F1/runs/dag.manual__2026%2B01.try1"),
    ],
)
def test_the_page_of_a_run(version: str | None, page: str) -> None:
    """Airflow 2 has a grid with the run chosen, Airflow 3 a page for it."""
    base = "https://abc-dot-europe-west1.composer.googleusercontent.com"
    assert run_page(base + "/", version, "d /1", "dag.manual__2026+01.try1") == base + page
