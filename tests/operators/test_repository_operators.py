"""The operators around a repository: what they hand on, their links, and the events of a publication in a real run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_gar_provider.compat import AirflowFailException, AssetAlias
from airflow_gar_provider.core.environment import EnvironmentName
from airflow_gar_provider.core.repository import RepositoryName
from airflow_gar_provider.operators import (
    CreateRepositoryOperator,
    GrantRepositoryAccessOperator,
    PrunePackageVersionsOperator,
    PublishWheelOperator,
)
from tests.conftest import LOCATION, Running
from tests.operators.conftest import Ti
from tests.wheels import make_wheel


@pytest.mark.usefixtures("conn")
def test_create_updates_when_it_is_told_to(context: Any, project: str) -> None:
    """Text from a form does; a difference is reported, and changed with `update`."""
    name = f"projects/{project}/locations/{LOCATION}/repositories/python"

    def create(**arguments: Any) -> dict[str, Any]:
        return CreateRepositoryOperator(task_id="c", repository=name, **arguments).execute(context)

    assert create(labels='{"team": "data"}')["outcome"] == "created"
    assert create(description="x")["differs"] == {"description": {"is": "", "wanted": "x"}}
    assert create(description="x", update=True)["outcome"] == "updated"
    assert create(description="x", update=True)["outcome"] == "exists"
    with pytest.raises(AirflowFailException, match="the repository is standard, not remote"):
        create(mode="remote", upstreams="PYPI")


@pytest.mark.usefixtures("conn")
def test_grant_to_several(context: Any, repository: RepositoryName, environment: EnvironmentName) -> None:
    """Lists and text with commas, members and environments together."""
    task = GrantRepositoryAccessOperator(
        task_id="g",
        repository=str(repository),
        member="group:a@example.com,group:b@example.com",
        environment=[str(environment)],
    )
    result = task.execute(context)
    assert (result["outcome"], len(result["members"]), len(result["granted"])) == ("granted", 3, 3)
    assert task.execute(context)["outcome"] == "exists"


@pytest.mark.usefixtures("conn")
def test_prune(context: Any, repository: RepositoryName, published: Callable[[Path], str], tmp_path: Path) -> None:
    """A dry run unless it is told otherwise; without a rule it refuses."""
    for version in ("1.0", "1.1"):
        published(make_wheel(tmp_path, version=version))

    def prune(**arguments: Any) -> dict[str, Any]:
        return PrunePackageVersionsOperator(task_id="p", repository=str(repository), **arguments).execute(context)

    assert prune(keep_last="1")["outcome"] == "planned"
    assert prune(keep_last=1, packages="other", dry_run=False)["outcome"] == "unchanged"
    assert [entry["version"] for entry in prune(keep_last=1, dry_run=False)["deleted"]] == ["1.0"]
    with pytest.raises(AirflowFailException, match="no rule says what to keep"):
        prune()


@pytest.mark.usefixtures("conn")
def test_links_show_before_the_work(
    context: Any, ti: Ti, repository: RepositoryName, published: Callable[[Path], str], tmp_path: Path
) -> None:
    """Also where the work fails; the page of a version only where the task is about one."""
    published(make_wheel(tmp_path))
    make_wheel(tmp_path, members={"acme_demo.py": "OTHER = 1"})

    def publish() -> None:
        PublishWheelOperator(task_id="p", wheels=f"{tmp_path}/*.whl", repository=str(repository)).execute(context)

    with pytest.raises(AirflowFailException, match="with other content"):
        publish()
    page = repository.console_url.partition("?")[0]
    assert ti.pushed["gar_package_link"].partition("?")[0] == f"{page}/acme-demo"
    assert ti.pushed["gar_version_link"].partition("?")[0] == f"{page}/acme-demo/1.0"
    ti.pushed.clear()
    make_wheel(tmp_path, version="1.1")
    with pytest.raises(AirflowFailException, match="with other content"):
        publish()
    assert {"gar_repository_link", "gar_package_link"} <= set(ti.pushed)
    assert "gar_version_link" not in ti.pushed


def test_the_alias_is_beside_the_users_outlets() -> None:
    """An alias fires what a run adds to it; outlets of the user stay."""
    mine = AssetAlias("mine")
    for given, expected in ((None, []), (mine, [mine]), ([mine], [mine])):
        task = PublishWheelOperator(task_id="p", wheels="x", repository="y", outlets=given)
        assert list(task.outlets) == [*expected, AssetAlias("gar_published")]


def test_lineage_needs_the_provider() -> None:
    """Without OpenLineage's provider there is nothing to say, and nothing to fail."""
    task = PublishWheelOperator(task_id="p", wheels="x", repository="y")
    assert task.get_openlineage_facets_on_complete(None) is None


DAG = """
from airflow import DAG
from airflow_gar_provider.operators import PublishWheelOperator
with DAG("publishes", schedule=None) as dag:
    PublishWheelOperator(task_id="publish", wheels="{wheels}", repository="{repository}")
"""
RUN = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
from airflow.models.asset import AssetEvent
from airflow.models.dagbundle import DagBundleModel
from airflow.serialization.serialized_objects import LazyDeserializedDAG
from airflow.serialization.definitions.dag import SerializedDAG
from airflow.models.serialized_dag import SerializedDagModel
from airflow.utils.session import create_session

def look():
    with create_session() as session:
        return [[event.asset.uri, event.extra] for event in session.query(AssetEvent).order_by(AssetEvent.id)]

[dag] = DagBag(sys.argv[1], bundle_name="tests").dags.values()
with create_session() as session:
    if session.get(DagBundleModel, "tests") is None:
        session.add(DagBundleModel(name="tests"))
lazy = LazyDeserializedDAG.from_dag(dag)
SerializedDAG.bulk_write_to_db("tests", None, [lazy])
SerializedDagModel.write_dag(lazy, bundle_name="tests")
seen = []
for _ in range(2):
    run = dag.test()
    seen.append([str(run.state), look()])
print("SEEN", json.dumps(seen))
"""


@pytest.mark.slow
@pytest.mark.needs_airflow("3.2", "`DagBag` beside the DAG processor")
@pytest.mark.usefixtures("conn")
def test_events_of_a_real_run(
    sandbox: Running, repository: RepositoryName, published: Callable[[Path], str], tmp_path: Path
) -> None:
    """The first run tells what it uploaded, not what was there; the second, which uploads nothing, tells nothing."""
    published(make_wheel(tmp_path, "there", "1.0"))
    path = make_wheel(tmp_path)
    dags = tmp_path / "dags"
    dags.mkdir()
    (dags / "publishes.py").write_text(DAG.format(wheels=f"{tmp_path}/*.whl", repository=repository))
    script = tmp_path / "run.py"
    script.write_text(RUN)
    environment = sandbox.child_env(
        AIRFLOW_HOME=str(tmp_path / "airflow"),
        AIRFLOW__CORE__DAGS_FOLDER=str(dags),
        AIRFLOW__CORE__LOAD_EXAMPLES="False",
        AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT='{"conn_type": "google_cloud_platform"}',
        GOOGLE_APPLICATION_CREDENTIALS=os.environ["GOOGLE_APPLICATION_CREDENTIALS"],
    )
    migrated = subprocess.run(
        [sys.executable, "-m", "airflow", "db", "migrate"], env=environment, capture_output=True, text=True, check=False
    )
    assert migrated.returncode == 0, migrated.stderr[-2000:]
    done = subprocess.run(
        [sys.executable, str(script), str(dags)], env=environment, capture_output=True, text=True, check=False
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("SEEN ")]
    assert lines, done.stdout[-3000:] + done.stderr[-3000:]
    [first, second] = json.loads(lines[0].removeprefix("SEEN "))
    assert first[0] == second[0] == "success"
    [(uri, extra)] = first[1]
    assert uri == f"gar://{repository.project}/{repository.location}/python/acme-demo"
    assert (extra["version"], list(extra["sha256"])) == ("1.0", [path.name])
    assert second[1] == first[1]
