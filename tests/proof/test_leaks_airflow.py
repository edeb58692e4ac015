"""A real Airflow through which secrets go: zero of them in anything that it keeps."""

# ruff: noqa: E501 -- tables

from __future__ import annotations

import base64
import json
import sqlite3
import textwrap
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml
from google.oauth2.credentials import Credentials

from airflow_gar_provider.core.environment import EnvironmentName
from airflow_gar_provider.gcp.cloud import Cloud
from airflow_gar_provider.gcp.session import Session
from airflow_gar_provider.steps.pip_backup import PIP_CONF
from demo.airflow_stack import AirflowStack
from proof import leaks
from proof.leaks import Exempt, Leak, Scanner
from tests.conftest import LOCATION, Running, wheel

pytestmark = [pytest.mark.slow, pytest.mark.proof, pytest.mark.timeout(1200)]
HERE = Path(__file__).parent
PROJECT = "leaks-tests"
CALLER = f"sandbox-tests@{PROJECT}.iam.gserviceaccount.com"
READER = f"reader@{PROJECT}.iam.gserviceaccount.com"
OTHER = f"other@{PROJECT}.iam.gserviceaccount.com"
ENVIRONMENT = f"projects/{PROJECT}/locations/{LOCATION}/environments/{{}}"
REPOSITORY = f"projects/{PROJECT}/locations/{LOCATION}/repositories/python"
EXEMPT = (
    Exempt(r"gs://[^/]+/config/pip/pip\.conf(?:#\d+)?", "the legacy mode keeps its key there, and a user's password is there anyway"),
    Exempt(r"gs://[^/]+/data/gar/pip\.conf\.\d+", "earlier generations of pip.conf, beside it in the same bucket"),
    Exempt(r"gs://[^/]+/dags/tells\.py", "the DAG that tells the secrets: it is what the test deployed"),
    Exempt(r"home/(?:airflow\.cfg|simple_auth_manager_passwords.*)", "Airflow's own configuration, with its own secrets"),
)  # fmt: skip
FAILS = {
    "build_fails", "publish_refused", "publish_as_another", "pip_conf_refused", "pip_conf_no_key", "install_fails",
    "broken_conn", "version", "run_fails",
}  # fmt: skip
BACKEND = """
import base64, json, os, zipfile
SAID = open(os.path.join(os.path.dirname(__file__), "said.txt")).read()
def build_wheel(directory, *_, **__):
    print(SAID)
    if {broken}:
        raise RuntimeError(SAID)
    open(os.path.join(directory, {name!r}), "wb").write(base64.b64decode({content!r}))
    return {name!r}
def get_requires_for_build_wheel(*_): return []
"""
TELLS = """
from airflow.sdk import DAG, task
with DAG("tells", schedule=None) as dag:
    @task
    def tell(dag_run=None):
        print({said!r})
        if (dag_run.conf or {{}}).get("fail"):
            raise RuntimeError({said!r})
        return {{"token": {password!r}, "text": {said!r}}}
    tell()
"""


def said(canaries: dict[str, str]) -> str:
    """As error bodies, builds and tasks say them."""
    password = quote(canaries["password"], safe="")
    return "\n".join(
        [
            f"Failed to install PyPI packages. token {canaries['token']}, id_token: {canaries['web token']}",
            f"Authorization: Bearer {canaries['password']}",
            f"ERROR: Looking in indexes: https://user:{password}@pypi.example/simple/",
            f"ERROR: https://_json_key_base64:{base64.b64encode(canaries['key file'].encode()).decode()}@h/simple/",
            canaries["key"],
        ]
    )


class Place:
    """All that the DAGs and the test need."""

    def __init__(self, sandbox: Running, folder: Path) -> None:
        self.sandbox, self.folder = sandbox, folder
        reader = leaks.key_file(READER)
        self.canaries = {
            "token": leaks.token(),
            "password": leaks.word("Pw+"),
            "web token": leaks.web_token(),
            "key": reader["private_key"],
            "key id of none": leaks.key_file(READER)["private_key_id"],
            "secret that is no key": leaks.word("nokey"),
            "key in a connection": leaks.key_file(READER)["private_key"],
            "sandbox token": sandbox.token(CALLER),
        }
        self.canaries["key file"] = json.dumps(reader)
        self.said = said(self.canaries)
        self.cloud = Cloud(Session(Credentials(token=self.canaries["sandbox token"])))
        self.dags = folder / "dags"

    def make(self) -> None:
        """Google's side, the DAG files, the sources."""
        names = [ENVIRONMENT.format(name) for name in ("dev", "one", "two")]
        owners = [f"serviceAccount:{one}=roles/owner@projects/{PROJECT}" for one in (CALLER, READER)]
        default = f"serviceAccount:caller@sandbox-tests.iam.gserviceaccount.com=roles/owner@projects/{PROJECT}"
        self.sandbox.setup(
            projects=[PROJECT], environments=names, buckets=[f"{PROJECT}/{PROJECT}-state"],
            accounts=[CALLER, READER, OTHER], grants=[*owners, default],
        )  # fmt: skip
        accounts = [
            self.cloud.composer.get_environment(EnvironmentName.parse(name)).service_account for name in names[1:]
        ]
        reads = f"roles/artifactregistry.reader@projects/{PROJECT}"  # the first environment reads with its key
        self.sandbox.setup(grants=[f"serviceAccount:{account}={reads}" for account in accounts])
        source, broken = (self._source(name) for name in ("source", "broken"))
        wheels = self.folder / "wheels"
        wheels.mkdir()
        for version in ("1.0", "1.1"):
            name, content = wheel("acme-lib", version)
            (wheels / name).write_bytes(content)
        conf = f"# {self.canaries['token']}\n[global]\nextra-index-url = https://user:{quote(self.canaries['password'], safe='')}@127.0.0.1/simple/\n"
        for name in names[:1]:
            bucket = self.cloud.composer.get_environment(EnvironmentName.parse(name)).bucket
            self.cloud.storage.write(bucket, PIP_CONF, conf.encode())
        tells = self.folder / "tells.py"
        tells.write_text(TELLS.format(said=self.said, password=self.canaries["password"]))
        self.dags.mkdir()
        (self.dags / "leaking_dags.py").write_text((HERE / "leaking_dags.py").read_text())
        stages = [{"name": "dev", "environments": names[1:2]}, {"name": "prod", "environments": names[2:]}]
        (self.dags / "fleet.yaml").write_text(yaml.safe_dump({"state": f"gs://{PROJECT}-state/gar", "stages": stages}))
        world = {
            "port": self.sandbox.port, "environment": names[0], "repository": REPOSITORY, "source": source,
            "broken_source": broken, "bucket": f"gs://{PROJECT}-state/wheels", "wheels": str(wheels), "other": OTHER,
            "secret": self._secret("key", self.canaries["key file"]), "reader": READER,
            "no_key": self._secret("no-key", self.canaries["secret that is no key"]), "environment_dag": str(tells),
            "asset": f"gar://{PROJECT}/{LOCATION}/python/acme-lib",
        }  # fmt: skip
        (self.dags / "world.json").write_text(json.dumps(world))
        (self.folder / "said.txt").write_text(self.said)

    def _source(self, name: str) -> str:
        folder = self.folder / name
        folder.mkdir()
        (folder / "pyproject.toml").write_text(
            '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n[project]\nname = "acme-built"\n'
        )
        file, content = wheel("acme-built", "1.0")
        text = BACKEND.format(broken=name == "broken", name=file, content=base64.b64encode(content).decode())
        (folder / "backend.py").write_text(textwrap.dedent(text))
        (folder / "said.txt").write_text(self.said)
        return str(folder)

    def _secret(self, name: str, value: str) -> str:
        with self.sandbox.session(CALLER) as http:
            base = f"https://secretmanager.googleapis.com/v1/projects/{PROJECT}/secrets"
            made = http.post(base, params={"secretId": name}, json={"replication": {"automatic": {}}}, timeout=30)
            made.raise_for_status()
            payload = {"payload": {"data": base64.b64encode(value.encode()).decode()}}
            http.post(f"{base}/{name}:addVersion", json=payload, timeout=30).raise_for_status()
        return f"projects/{PROJECT}/secrets/{name}"

    def connections(self) -> dict[str, str]:
        """Connections with keys, by environment variable."""
        key = {**leaks.key_file(READER), "private_key": self.canaries["key in a connection"]}
        with_key = {"conn_type": "google_cloud_platform", "extra": {"keyfile_dict": key}}
        broken = {"conn_type": "google_cloud_platform", "extra": {"key_path": json.dumps(key)}}
        return {
            "AIRFLOW_CONN_CANARY_KEY": json.dumps(with_key),
            "AIRFLOW_CONN_CANARY_BROKEN": json.dumps(broken),
            "LEAKS_SAID": str(self.folder / "said.txt"),
        }


@pytest.fixture
def place(sandbox: Running, tmp_path: Path, google_: Running) -> Iterator[Place]:
    sandbox.setup(projects=[PROJECT], accounts=[CALLER])
    made = Place(sandbox, tmp_path)
    made.make()
    yield made
    made.cloud.session.http.close()


def wait(stack: AirflowStack, dag_id: str, run_id: str, seconds: float = 420) -> dict[str, Any]:
    """Until the run has ended; task -> task instance. Questions are answered with yes."""
    deadline, asked = time.monotonic() + seconds, False
    while (stack.client.run_state(dag_id, run_id)) not in ("success", "failed"):
        tasks = {one.task_id: one for one in stack.client.task_instances(dag_id, run_id)}
        assert time.monotonic() < deadline, {name: one.state for name, one in tasks.items()}
        approve = next(
            (
                one
                for one in tasks.values()
                if one.task_id.endswith("approval") and one.state in ("deferred", "awaiting_input")
            ),
            None,
        )
        if approve and not asked:
            stack.wait_for_question(dag_id, run_id, approve.task_id)
            path = f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{approve.task_id}/-1/hitlDetails"
            options = stack.client._call("GET", path)["options"]
            stack.client._call("PATCH", path, {"chosen_options": [options[0]], "params_input": {}})
            asked = True
        time.sleep(2)
    return {one.task_id: one for one in stack.client.task_instances(dag_id, run_id)}


def in_the_database(scanner: Scanner, file: Path) -> list[Leak]:
    """Every row of every table: XCom, rendered fields, serialized DAGs, triggers, asset events, the audit log."""
    found = []
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
        for (table,) in database.execute("select name from sqlite_master where type='table'").fetchall():
            rows = database.execute(f'select * from "{table}"')
            found += scanner.scan_rows(f"table {table}", [column[0] for column in rows.description], rows)
    return found


def in_the_buckets(scanner: Scanner, place: Place) -> list[Leak]:
    """Every object of every bucket: plans, verdicts, ledger, records of runs, key books, holds."""
    names = [ENVIRONMENT.format(name) for name in ("dev", "one", "two")]
    buckets = [place.cloud.composer.get_environment(EnvironmentName.parse(name)).bucket for name in names]
    found = []
    for bucket in [*buckets, f"{PROJECT}-state"]:
        for item in place.cloud.storage.list(bucket, ""):
            content = place.cloud.storage.read(bucket, item.name)
            found += scanner.scan(item.uri, content[0] if content else b"")
    return found


def test_a_real_airflow_keeps_no_secret(place: Place, sandbox: Running, capsys: pytest.CaptureFixture[str]) -> None:
    """Publish, build, pip.conf with keys, install, rotate, deploy, run, watch, roll out: and then look everywhere."""
    home = place.folder / "stack" / "home"
    environ = {**sandbox.child_env(), **place.connections()}
    shots: list[Leak] = []
    scanner = Scanner(place.canaries, EXEMPT)
    with AirflowStack(home=home, dags=place.dags, environ=environ, parallelism=3, timeout=300) as stack:
        for dag_id in ("leaks", "leaks_heard", "leaks_rollout"):
            stack.wait_for_dag(dag_id, 240)
        tasks = wait(stack, "leaks", stack.client.trigger("leaks", {}), 600)
        shots += in_the_database(scanner, home / "airflow.db")  # with the triggers that wait, if any do
        rolled = wait(stack, "leaks_rollout", stack.client.trigger("leaks_rollout", {}), 400)
    states = {name: one.state for name, one in tasks.items()}
    assert {name for name, state in states.items() if state != "success"} == FAILS, states
    assert {one.state for one in rolled.values()} <= {"success", "skipped"}, rolled
    assert sandbox.unused() == []
    logs = "\n".join(path.read_text(errors="replace") for path in home.rglob("*.log"))
    for task in ("build", "publish_refused", "install_fails", "run"):
        assert f"task_id={task}" in str(sorted(home.rglob("*"))), task
    assert logs.count("****") > 20, "the secrets did come by"
    found = [*shots, *in_the_database(scanner, home / "airflow.db")]
    found += [Leak(f"home/{leak.where}", leak.what, leak.form, leak.at) for leak in scanner.scan_tree(home)]
    found += in_the_buckets(scanner, place)
    with capsys.disabled():
        print(f"\nsecrets: {len(found)} found in {scanner.places} places, {scanner.scanned:,} bytes")
    assert not found, "\n".join(map(str, found))
