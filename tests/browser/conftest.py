"""One Airflow with the management DAG over a fleet of the sandbox, three users, and a browser for each of them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from google.oauth2.credentials import Credentials

from airflow_gar_provider.core.environment import EnvironmentName
from airflow_gar_provider.core.repository import RepositoryName
from airflow_gar_provider.gcp.cloud import Cloud
from airflow_gar_provider.gcp.session import Session
from airflow_gar_provider.steps.check import check
from airflow_gar_provider.steps.clock import Clock
from airflow_gar_provider.steps.publish import publish
from airflow_gar_provider.steps.repository import create_repository, grant_access
from demo.airflow_settings import airflow_version
from demo.airflow_stack import AirflowStack
from tests.conftest import LOCATION, Running
from tests.rollout.conftest import World
from tests.wheels import make_wheel

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from screenshots.pages import Visit

ROOT = Path(__file__).parents[2]
DAG_ID = "publish_and_roll_out"
PACKAGES, DATA = "acme-packages", "acme-data"  # the projects that the example DAG names
CALLER = f"tests@{PACKAGES}.iam.gserviceaccount.com"
REPOSITORY = f"projects/{PACKAGES}/locations/{LOCATION}/repositories/python"
NAMES = ("dev", "staging", "prod")
ENVIRONMENTS = [f"projects/{DATA}/locations/{LOCATION}/environments/{name}" for name in NAMES]
SOURCE = ROOT / "example_packages" / "mypythonlib" / "src" / "mypythonlib"
USERS = {"requester": "user", "approver": "user", "viewer": "viewer"}
REQUIRED = "GAR_REQUIRE_BROWSER"
"""With this variable, as in CI, a missing browser is a failure."""


def library(folder: Path, version: str) -> Path:
    """The example package, in any version."""
    members = {f"mypythonlib/{file.name}": file.read_text() for file in SOURCE.iterdir() if file.is_file()}
    return make_wheel(folder, "mypythonlib", version, members=members)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium; without one, the tests are skipped, but not in CI.

    Until it is closed, an event loop runs in this thread, and no other test could run one: so it ends with the file.
    """
    from screenshots.browser import PROGRAM, chromium

    if not PROGRAM.exists() and not os.environ.get(REQUIRED):
        pytest.skip(f"there is no {PROGRAM} (Debian's package chromium); {REQUIRED}=1 makes that a failure")
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def management(browser: Browser, sandbox: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The world that the example DAG names, two versions of its package, and an Airflow of three users."""
    if airflow_version() < (3, 3):
        pytest.skip("these are the pages of Airflow 3.3")
    base = tmp_path_factory.mktemp("browser")
    with pytest.MonkeyPatch.context() as patch:
        for name in sandbox.unset:
            patch.delenv(name, raising=False)
        for name, value in sandbox.env.items():
            patch.setenv(name, value)
        sandbox.setup(
            projects=[PACKAGES, DATA],
            environments=ENVIRONMENTS,
            buckets=[f"{PACKAGES}/{PACKAGES}-builds"],
            accounts=[CALLER],
            grants=[f"serviceAccount:{CALLER}=roles/owner@projects/{project}" for project in (PACKAGES, DATA)],
        )
        cloud = Cloud(Session(Credentials(token=sandbox.token(CALLER))))
        repository = RepositoryName.parse(REPOSITORY)
        create_repository(cloud.artifact_registry, repository)
        publish(cloud, check([library(base, version) for version in ("1.0.0", "1.1.0")]), repository, Clock())
        readers = [EnvironmentName.parse(environment) for environment in ENVIRONMENTS]
        grant_access(cloud.artifact_registry, cloud.composer, repository, environment=readers, clock=Clock())
        dags = base / "dags"
        dags.mkdir()
        for name in (f"{DAG_ID}.py", "haversine_distance.py", "fleet.yaml"):
            shutil.copy(ROOT / "example_dags" / name, dags)
        shutil.copy(Path(__file__).with_name("foreign_text_dag.py"), dags)
        with AirflowStack(
            home=base / "home", dags=dags, environ=sandbox.child_env(), parallelism=4, users=USERS, timeout=600
        ) as stack:
            yield World(sandbox, cloud, dags, stack, {DAG_ID: ENVIRONMENTS})
        cloud.session.http.close()


@pytest.fixture(scope="module")
def visit(browser: Browser, management: World) -> Iterator[Callable[[str], Visit]]:
    """A user, logged in; what a page throws is an error."""
    from screenshots.browser import visitor
    from screenshots.pages import Visit

    assert management.stack is not None
    visits: dict[str, Visit] = {}
    errors: list[str] = []

    def log_in(user: str) -> Visit:
        if user not in visits:
            page = visitor(browser).new_page()
            page.on("pageerror", lambda error: errors.append(f"{user} at {page.url}: {error}"))
            visits[user] = Visit.of(page, management.stack, user)
        return visits[user]

    yield log_in
    for each in visits.values():
        each.page.context.close()
    assert errors == []


def declared(management: World) -> dict[str, str | None]:
    """Environment -> what it declares of the package."""
    found = [management.cloud.composer.get_environment(EnvironmentName.parse(text)) for text in ENVIRONMENTS]
    return {environment.name.name: environment.version_of("mypythonlib") for environment in found}
