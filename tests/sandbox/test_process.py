"""The sandbox as a program: one port, loopback only, nothing else let out, everything ended."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests

from tests.airflows import API, NEW_RUN
from tests.conftest import LOCATION, Running, serving

from .test_artifact_registry import CALLER, upload

SANDBOX = [sys.executable, "-m", "airflow_gar_provider.sandbox"]
pytestmark = pytest.mark.slow


def run(*arguments: str, **kind: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*SANDBOX, *arguments], capture_output=True, text=True, timeout=60, check=False, **kind)  # type: ignore[call-overload]


def test_a_host_that_is_not_played_is_refused_and_named(sandbox: Running) -> None:
    with socket.create_connection(("127.0.0.1", sandbox.port)) as client:
        client.sendall(b"CONNECT www.example.com:443 HTTP/1.1\r\nHost: www.example.com:443\r\n\r\n")
        answer = b"".join(iter(lambda: client.recv(4096), b"")).decode()
    assert answer.startswith("HTTP/1.1 403 ")
    assert "--allow-host www.example.com" in answer
    with sandbox.session() as session:
        plain = session.get("http://www.example.com/", timeout=30)
        assert (plain.status_code, "--allow-host www.example.com" in plain.text) == (403, True)
    assert "www.example.com" in sandbox.get("/healthz")["refused"]


def test_a_made_up_proxy_user_is_nobody(sandbox: Running) -> None:
    with requests.Session() as session:
        session.trust_env = False
        session.proxies = {"https": f"http://build-1:guess@127.0.0.1:{sandbox.port}"}
        with pytest.raises(requests.exceptions.ProxyError, match="407"):
            session.get(f"https://{LOCATION}-python.pkg.dev/p/r/simple/x/", timeout=30)


def test_it_listens_on_loopback_only(sandbox: Running) -> None:
    listening = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == sandbox.port:
                listening.append(fields[1].rpartition(":")[0])
    assert listening == ["0100007F"]


def test_the_exit_status_is_the_commands(tmp_path: Path) -> None:
    script = """if True:
        import os, sys
        print(os.environ["GCE_METADATA_HOST"], os.environ.get("GOOGLE_APPLICATION_CREDENTIALS"))
        sys.exit(7)
    """
    environment = {**os.environ, "GOOGLE_APPLICATION_CREDENTIALS": "/nowhere.json", "SSL_CERT_DIR": "/nowhere"}
    done = run("run", "--project", "acme-packages", "--", sys.executable, "-c", script, env=environment)
    assert done.returncode == 7, done.stderr
    assert done.stdout.startswith("127.0.0.1:")
    assert done.stdout.strip().endswith(" None")
    assert run("run", "--project", "acme-packages", "--", "/no/such/command").returncode == 127


BAD = [
    (["run"], "needs a command"),
    (["run", "--project", "X", "--", "true"], "is not a project id"),
    (["run", "--environment", "projects/p", "--", "true"], "projects/P/locations/L/environments/E"),
    (["run", "--grant", "a@example.com=owner", "--", "true"], "a grant is MEMBER=ROLE@RESOURCE"),
    (["run", "--grant", "a@example.com=roles/made.up@projects/acme-packages", "--", "true"], "does not know the role"),
    (["run", "--bucket", "acme-packages", "--", "true"], "PROJECT/BUCKET"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD)
def test_bad_options_are_explained(arguments: list[str], message: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert message in done.stderr


def test_the_whole_group_of_the_command_ends_with_the_sandbox(tmp_path: Path) -> None:
    file = tmp_path / "pids"
    # A child that ignores SIGTERM, and its parent that waits for it.
    stubborn = (
        "import signal,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); open('ready','w').close(); time.sleep(300)"
    )
    script = f"""if True:
        import os, subprocess, sys
        child = subprocess.Popen([sys.executable, "-c", {stubborn!r}])
        open({str(file)!r}, "w").write(f"{{os.getpid()}} {{child.pid}}")
        child.wait()
    """
    process = subprocess.Popen(
        [*SANDBOX, "run", "--project", "acme-packages", "--", sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
    )
    deadline = time.monotonic() + 30
    while not (tmp_path / "ready").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    process.wait(30)
    for pid in map(int, file.read_text().split()):
        assert not alive(pid)


def alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def test_state_survives_a_restart_and_status_shows_it(tmp_path: Path) -> None:
    data, name = tmp_path / "data", f"projects/acme-prod/locations/{LOCATION}/environments/dev"
    options = ["--data-dir", str(data), "--project", "sandbox-tests", "--environment", name]
    url = f"https://artifactregistry.googleapis.com/v1/projects/sandbox-tests/locations/{LOCATION}/repositories"
    with serving(tmp_path, *options) as first, first.session(CALLER) as session:
        session.post(url, params={"repositoryId": "python"}, json={"format": "PYTHON"}, timeout=30)
        assert upload(session, "sandbox-tests", "acme", "1.0")[0] == 200
        body = {"config": {"softwareConfig": {"pypiPackages": {"no-such-package-2718": ""}}}}
        mask = {"updateMask": "config.softwareConfig.pypiPackages"}
        composer = f"https://composer.googleapis.com/v1/{name}"
        operation = session.patch(composer, params=mask, json=body, timeout=30).json()["name"]
    with serving(tmp_path, *options) as second, second.session(CALLER) as session:
        assert len(session.get(url, timeout=30).json()["repositories"]) == 1
        page = session.get(f"https://{LOCATION}-python.pkg.dev/sandbox-tests/python/simple/acme/", timeout=30)
        assert "acme-1.0" in page.text
        left = session.get(f"https://composer.googleapis.com/v1/{operation}", timeout=30).json()
        assert left["done"] is True
        assert "stopped while this operation was running" in left["error"]["message"]
        assert session.get(composer, timeout=30).json()["state"] == "RUNNING"
        table = run("status", "--port", str(second.port)).stdout
    for text in (table, run("status", "--data-dir", str(data)).stdout):
        assert "acme 1.0" in text
        assert f"{name}  RUNNING" in text
    shown = json.loads(run("status", "--data-dir", str(data), "--json").stdout)
    assert shown["environments"][0]["last_operation"]["state"] == "FAILED"


def test_two_sandboxes_side_by_side_know_nothing_of_each_other(tmp_path: Path, sandbox: Running) -> None:
    with serving(tmp_path, "--project", "other-project") as other:
        assert other.port != sandbox.port
        assert other.get("/sandbox/status")["projects"] == ["other-project"]


def test_env_gives_a_shell_what_a_client_needs(tmp_path: Path) -> None:
    """One terminal serves, another one's shell becomes a client: no variable of its own reaches real Google."""
    with serving(tmp_path, "--project", "acme-packages") as other:
        script = f"""eval "$({sys.executable} -m airflow_gar_provider.sandbox env --port {other.port})"
            echo "$GOOGLE_CLOUD_PROJECT $GCE_METADATA_HOST ${{GOOGLE_APPLICATION_CREDENTIALS-none}}"
            {sys.executable} -c 'import google.auth; print(google.auth.default()[1])'
        """
        environment = {**os.environ, "GOOGLE_APPLICATION_CREDENTIALS": "/nowhere.json"}
        done = subprocess.run(
            ["sh", "-c", script], env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.stdout.split() == ["acme-packages", f"127.0.0.1:{other.port}", "none", "acme-packages"], done.stderr
    done = run("env", "--port", str(other.port))
    assert (done.returncode, done.stdout) == (1, "")


def test_starting_takes_little_time(tmp_path: Path) -> None:
    run("run", "--project", "acme-packages", "--", "true")
    start = time.monotonic()
    assert run("run", "--project", "acme-packages", "--", "true").returncode == 0
    assert time.monotonic() - start < 5


def test_an_environments_processes_are_its_service_account(sandbox: Running, project: str) -> None:
    """`GCE_METADATA_HOST` with a secret path: one port, one identity per environment."""
    name = f"projects/{project}/locations/{LOCATION}/environments/dev"
    bucket = sandbox.setup(environments=[name])["environments"][name]
    dag = f"""
from datetime import datetime
from airflow import DAG
try:
    from airflow.providers.standard.operators.python import PythonOperator
except ImportError:
    from airflow.operators.python import PythonOperator

def who():
    import google.auth, google.auth.transport.requests
    from google.cloud import storage
    credentials, project = google.auth.default()
    credentials.refresh(google.auth.transport.requests.Request())
    print("I am", credentials.service_account_email, "in", project)
    print("I read", storage.Client().bucket("{bucket}").blob("dags/who.py").exists())

with DAG("who", schedule=None, start_date=datetime(2026, 1, 1)):
    PythonOperator(task_id="who", python_callable=who)
"""
    with sandbox.session(CALLER) as session:
        upload_url = f"https://storage.googleapis.com/upload/storage/v1/b/{bucket}/o"
        session.post(upload_url, params={"uploadType": "media", "name": "dags/who.py"}, data=dag, timeout=30)
        uri = session.get(f"https://composer.googleapis.com/v1/{name}", timeout=30).json()["config"]["airflowUri"]
        made = session.post(f"{uri}{API}/dags/who/dagRuns", json=NEW_RUN, timeout=120)
        assert made.status_code == 200, made.text
        run_url = f"{uri}{API}/dags/who/dagRuns/{made.json()['dag_run_id']}"
        deadline = time.monotonic() + 120
        while session.get(run_url, timeout=60).json()["state"] in {"queued", "running"}:
            assert time.monotonic() < deadline
            time.sleep(0.5)
        log = session.get(f"{run_url}/taskInstances/who/logs/1", timeout=60).text
    assert f"I am dev-sa@{project}.iam.gserviceaccount.com in {project}" in log
    assert "I read True" in log
