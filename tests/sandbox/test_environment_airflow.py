"""What an environment runs is real: its image decides what a DAG can import, and Airflow's own API tells what
happened."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import importlib.util
import os
import re
import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import jsonschema
import pytest
import yaml

from airflow_gar_provider.sandbox.environment_airflow import EnvironmentAirflow
from airflow_gar_provider.sandbox.images import build_image, create_image

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

pytestmark = pytest.mark.slow

DAG_FILE = """
import os
from datetime import datetime
try:
    from airflow.sdk import DAG, task
except ImportError:
    from airflow import DAG
    from airflow.decorators import task

with DAG("distance", schedule=None, start_date=datetime(2024, 1, 1), catchup=False):

    @task(retries=0)
    def compute(**context):
        import acme_distance

        print("conf:", context["dag_run"].conf, "in", os.environ["COMPOSER_ENVIRONMENT"])
        os.system("echo from a shell")
        return {"distance": acme_distance.DISTANCE, "run": context["run_id"]}

    compute()

with DAG("dies", schedule=None, start_date=datetime(2024, 1, 1), catchup=False):

    @task
    def leave():
        os._exit(7)

    leave()
"""


async def image_with_package(folder: Path) -> None:
    """Build an image that has a package of its own."""
    index = folder.parent / "simple" / "acme-distance"
    index.mkdir(parents=True)
    with zipfile.ZipFile(index / "acme_distance-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("acme_distance.py", "DISTANCE = 314.4\n")
        information = "acme_distance-1.0.dist-info"
        wheel.writestr(f"{information}/METADATA", "Metadata-Version: 2.1\nName: acme-distance\nVersion: 1.0\n")
        wheel.writestr(f"{information}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{information}/RECORD", "")
    (index / "index.html").write_text('<a href="acme_distance-1.0-py3-none-any.whl">wheel</a>')
    result = await build_image(
        folder,
        requirements={"acme-distance": "==1.0"},
        pip_conf=f"[global]\nindex-url = file://{index.parent}/\n".encode(),
        proxy_url="http://127.0.0.1:9",
        ca_file=Path(os.environ.get("SSL_CERT_FILE", "")),
        log=lambda _: None,
    )
    assert result.succeeded, result.log


def alive_in_group(group: int) -> list[str]:
    """Return the command lines of a process group's living members (a dead one may wait for init to collect it)."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, _, its_group = (folder / "stat").read_text().rpartition(")")[2].split()[:3]
            if int(its_group) == group and state not in "ZX":
                found += filter(None, [(folder / "cmdline").read_text()])  # empty: on its way out
    return found


class Environment:
    """One environment as its REST clients see it; remembers what was answered."""

    def __init__(self, folder: Path, template: Path) -> None:
        self.folder = folder
        self.dags = folder / "bucket" / "dags"
        self.dags.mkdir(parents=True, exist_ok=True)
        self.image = folder / "empty-image"
        variables = {"COMPOSER_ENVIRONMENT": "env1"}
        self.airflow = EnvironmentAirflow(folder / "env", variables=variables, template=template)
        self.run_date = {"logical_date": None} if self.airflow.api_version == "v2" else {}
        self.answers: list[tuple[str, str, int, Any]] = []

    async def ask(self, method: str, path: str, body: object | None = None) -> tuple[int, Any]:
        status, answer = await self.airflow.handle(method, path, {}, body, image=self.image, dags=self.dags)
        self.answers.append((method, path, status, answer))
        return status, answer

    async def trigger(self, dag: str, **body: object) -> str:
        status, run = await self.ask("POST", f"/dags/{dag}/dagRuns", {**self.run_date, **body})
        assert status == 200, run
        return str(run["dag_run_id"])

    async def end(self, dag: str, run: str) -> str:
        for _ in range(600):
            _, answer = await self.ask("GET", f"/dags/{dag}/dagRuns/{quote(run)}")
            if answer["state"] in ("success", "failed"):
                return str(answer["state"])
            await asyncio.sleep(0.1)
        raise AssertionError(f"The run did not end: {answer}")

    async def log(self, dag: str, run: str, task: str) -> str:
        path = f"/dags/{dag}/dagRuns/{quote(run)}/taskInstances/{task}/logs/1"
        status, answer = await self.ask("GET", path)
        assert status == 200
        return str(answer["content"])


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("template")


@pytest.fixture
def play(tmp_path: Path, template: Path) -> Callable[[Callable[[Environment], Coroutine[Any, Any, None]]], Environment]:
    """Run a scenario on a fresh environment, or again on the same one, and end all that it started."""

    def run(scenario: Callable[[Environment], Coroutine[Any, Any, None]]) -> Environment:
        environment = Environment(tmp_path, template)

        async def scene() -> None:
            if not environment.image.exists():
                await create_image(environment.image)
            try:
                await scenario(environment)
            finally:
                process = environment.airflow._process
                await environment.airflow.close()
                if process is not None:
                    assert alive_in_group(process.process.pid) == []

        asyncio.run(scene())
        return environment

    return run


def test_the_image_decides_what_a_dag_can_import_and_the_answers_have_airflows_shapes(play: Any) -> None:
    async def scenario(environment: Environment) -> None:
        (environment.dags / "distance.py").write_text(DAG_FILE)
        (environment.dags / "broken.py").write_text("from airflow import DAG\nimport nobody_has_this\n")

        status, errors = await environment.ask("GET", "/importErrors")
        assert (status, errors["total_entries"]) == (200, 1)
        assert "No module named 'nobody_has_this'" in errors["import_errors"][0]["stack_trace"]
        _, dags = await environment.ask("GET", "/dags")
        assert {dag["dag_id"]: dag["is_paused"] for dag in dags["dags"]} == {"distance": False, "dies": False}

        run = await environment.trigger("distance")
        assert await environment.end("distance", run) == "failed"
        log = await environment.log("distance", run, "compute")
        assert "ModuleNotFoundError" in log
        assert "No module named" in log
        assert "acme_distance" in log

        (environment.dags / "broken.py").unlink()
        await image_with_package(environment.folder / "image-2")
        environment.image = environment.folder / "image-2"
        run = await environment.trigger("distance", dag_run_id="mine", conf={"places": 2})
        assert run == "mine"
        assert await environment.end("distance", run) == "success"
        log = await environment.log("distance", run, "compute")
        assert "conf: {'places': 2} in env1" in log
        if environment.run_date:  # Airflow 2 leaves what a program prints to the worker's own output
            assert "from a shell" in log
        _, tasks = await environment.ask("GET", f"/dags/distance/dagRuns/{run}/taskInstances")
        assert [(t["task_id"], t["state"], t["try_number"]) for t in tasks["task_instances"]] == [
            ("compute", "success", 1)
        ]
        one = f"/dags/distance/dagRuns/{run}/taskInstances/compute"
        assert (await environment.ask("GET", one))[1]["state"] == "success"
        _, xcom = await environment.ask("GET", f"{one}/xcomEntries/return_value")
        value = xcom["value"]
        assert "314.4" in str(value)
        assert "mine" in str(value)
        assert (await environment.ask("GET", "/importErrors"))[1]["total_entries"] == 0
        assert len((await environment.ask("GET", "/dags/distance/dagRuns"))[1]["dag_runs"]) == 2
        await environment.ask("GET", "/version")
        await environment.ask("GET", "/monitor/health" if environment.run_date else "/health")
        await environment.ask("GET", "/dags/nobody")
        assert not list(environment.dags.rglob("__pycache__"))

    environment = play(scenario)
    assert validated(environment.answers) == len(environment.answers)


def validated(answers: list[tuple[str, str, int, Any]]) -> int:
    """Check answers against the OpenAPI file that this Airflow ships; return how many were checked."""
    base, description = openapi()
    count = 0
    for method, path, status, answer in answers:
        found = [
            schema_of(rules[method.lower()]["responses"][str(status)], description)
            for template, rules in description["paths"].items()
            if method.lower() in rules
            and re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), f"{base}{path}")
            and str(status) in rules[method.lower()]["responses"]
        ]
        assert found, (method, path, status)
        jsonschema.validate(answer, {**found[0], "components": description["components"]})
        count += 1
    return count


def openapi() -> tuple[str, Any]:
    """The prefix of the paths in Airflow's description, and the description: of v2, or of Airflow 2's v1."""
    package = importlib.util.find_spec("airflow")
    assert package is not None
    assert package.origin is not None
    root = Path(package.origin).parent
    two = root / "api_connexion" / "openapi" / "v1.yaml"
    if two.exists():
        return "", with_nulls(yaml.safe_load(two.read_text()))
    file = root / "api_fastapi" / "core_api" / "openapi" / "v2-rest-api-generated.yaml"
    return "/api/v2", yaml.safe_load(file.read_text())


def schema_of(response: Any, description: Any) -> Any:
    """The schema of a response, which may be a reference; errors of Airflow 2 are `application/problem+json`."""
    if "$ref" in response:
        response = description["components"]["responses"][response["$ref"].rsplit("/", 1)[1]]
    content = response["content"]
    return content[next(kind for kind in content if "json" in kind)]["schema"]


def with_nulls(value: Any) -> Any:
    """OpenAPI 3.0 says `nullable` where JSON Schema wants a second type."""
    if isinstance(value, list):
        return [with_nulls(item) for item in value]
    if not isinstance(value, dict):
        return value
    plain = {key: with_nulls(item) for key, item in value.items() if key != "nullable"}
    return {"anyOf": [plain, {"type": "null"}]} if value.get("nullable") is True else plain


def test_bad_requests_are_refused_as_airflow_refuses_them(play: Any) -> None:
    async def scenario(environment: Environment) -> None:
        (environment.dags / "distance.py").write_text(DAG_FILE)
        if environment.run_date:
            assert (await environment.ask("POST", "/dags/distance/dagRuns", {"conf": {}}))[0] == 422
        assert (await environment.ask("POST", "/dags/nobody/dagRuns", dict(environment.run_date)))[0] == 404
        run = await environment.trigger("distance", dag_run_id="same")
        body = {**environment.run_date, "dag_run_id": "same"}
        assert (await environment.ask("POST", "/dags/distance/dagRuns", body))[0] == 409
        await environment.end("distance", run)

    play(scenario)


def test_a_paused_dags_run_waits_and_the_flag_and_the_run_survive_a_restart(play: Any) -> None:
    async def before(environment: Environment) -> None:
        (environment.dags / "distance.py").write_text(DAG_FILE)
        status, dag = await environment.ask("PATCH", "/dags/distance", {"is_paused": True})
        assert (status, dag["is_paused"]) == (200, True)
        await environment.trigger("distance", dag_run_id="patient")
        done = await environment.trigger("dies", dag_run_id="other")
        assert await environment.end("dies", done) == "failed"
        words = "exit code 7" if environment.run_date else "return code 7"
        assert words in await environment.log("dies", done, "leave")

    async def after(environment: Environment) -> None:
        assert (await environment.ask("GET", "/dags/distance"))[1]["is_paused"] is True
        assert (await environment.ask("GET", "/dags/distance/dagRuns/patient"))[1]["state"] == "queued"
        assert (await environment.ask("GET", "/dags/dies/dagRuns/other"))[1]["state"] == "failed"
        await environment.ask("PATCH", "/dags/distance", {"is_paused": False})
        assert await environment.end("distance", "patient") == "failed"  # this image has no acme_distance
        assert (await environment.ask("GET", "/dags/distance"))[1]["is_paused"] is False

    play(before)
    play(after)


def test_a_task_that_runs_when_the_environment_ends_is_ended_and_its_run_fails(play: Any) -> None:
    async def before(environment: Environment) -> None:
        text = DAG_FILE.replace("os._exit(7)", "import time; time.sleep(600)")
        (environment.dags / "distance.py").write_text(text)
        await environment.trigger("dies", dag_run_id="cut")
        for _ in range(200):
            _, tasks = await environment.ask("GET", "/dags/dies/dagRuns/cut/taskInstances")
            if tasks["task_instances"][0]["state"] == "running":
                return
            await asyncio.sleep(0.1)
        raise AssertionError(tasks)

    async def after(environment: Environment) -> None:
        assert await environment.end("dies", "cut") == "failed"

    play(before)
    play(after)


def test_a_command_really_runs_airflow_in_the_image(play: Any) -> None:
    async def scenario(environment: Environment) -> None:
        (environment.dags / "distance.py").write_text(DAG_FILE)
        command = environment.airflow.command
        code, output = await command(["version"], image=environment.image, dags=environment.dags)
        assert (code, output.split()[-1]) == (0, importlib.metadata.version("apache-airflow"))
        code, output = await command(["no-such-command"], image=environment.image, dags=environment.dags)
        assert code == 2
        assert "invalid choice" in output
        started = time.monotonic()
        code, output = await command(
            ["dags", "trigger", "dies", "--run-id", "by-command"], image=environment.image, dags=environment.dags
        )
        assert code == 0, output
        assert await environment.end("dies", "by-command") == "failed"
        assert time.monotonic() - started < 60

    play(scenario)
