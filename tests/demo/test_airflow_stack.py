"""What the local Airflow promises: it is real, on loopback only, keeps its secrets, and leaves nothing behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from demo import airflow_settings, processes
from demo.airflow_client import AirflowApiError, AirflowClient
from demo.airflow_stack import AirflowStack, StackError

from .conftest import stand_in_dags

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_nothing_listens_beyond_loopback(stack: AirflowStack) -> None:
    sockets = stack.listening_sockets()
    assert stack.url in {f"http://{socket.address}:{socket.port}" for socket in sockets}
    assert {socket.address for socket in sockets} == {"127.0.0.1"}


@pytest.mark.slow
def test_its_secrets_are_private_and_in_no_environment_and_no_log(stack: AirflowStack) -> None:
    config = stack.home / "airflow.cfg"
    passwords = stack.home / "simple_auth_manager_passwords.json.generated"
    assert [file.stat().st_mode & 0o777 for file in (config, passwords)] == [0o600, 0o600]
    secrets = re.findall(r"^(?:fernet_key|secret_key|jwt_secret) = (.+)$", config.read_text(), re.MULTILINE)
    secrets.append(stack.password)
    assert len(secrets) == 4
    environs = [str(process.environ()) for process in processes.members(stack._sessions)]
    logs = [log.read_text(errors="replace") for log in stack.home.rglob("*.log")]
    assert len(environs) >= 4
    assert len(logs) >= 4
    assert [secret for secret in secrets for text in environs + logs if secret in text] == []


@pytest.mark.slow
def test_the_api_wants_the_password(stack: AirflowStack) -> None:
    with pytest.raises(AirflowApiError) as error:
        AirflowClient(stack.url, "admin", "wrong").dag("publish_and_roll_out")
    assert error.value.status == 401
    assert stack.client.dag("no_such_dag") is None


@pytest.mark.slow
def test_a_second_stack_in_the_folder_is_refused(stack: AirflowStack) -> None:
    second = AirflowStack(home=stack.home, dags=ROOT / "example_dags")
    with pytest.raises(StackError, match=rf"runs in .* \(process {os.getpid()}\)\. End it first"), second:
        pass
    stack.check()


class Up:
    """``python -m demo.up`` as a process, from its welcome on."""

    def __init__(self, folder: Path) -> None:
        environ = {**os.environ, "STAND_IN_STATE": str(folder), "PYTHONUNBUFFERED": "1"}
        self.home = folder / "home"
        dags = folder / "dags"
        if not dags.exists():
            stand_in_dags(dags)
        command = [sys.executable, "-m", "demo.up", "--home", str(self.home), "--dags", str(dags)]
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert self.process.stdout is not None
        self.output = self.process.stdout
        self.told = ""
        while "Ctrl-C stops" not in self.told:
            line = self.output.readline()
            assert line, f"demo.up ended early:\n{self.told}"
            self.told += line
        self.family = psutil.Process(self.process.pid).children(recursive=True)

    def left(self, seconds: float) -> list[Any]:
        """What of its family still lives after at most `seconds`; a zombie is dead."""
        deadline = time.monotonic() + seconds
        while living := [one for one in self.family if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]:
            if time.monotonic() > deadline:
                break
            time.sleep(0.2)
        return living


@pytest.fixture
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A running ``demo.up``; all in one folder, so that only the first one creates the database."""
    folder = tmp_path_factory.getbasetemp() / "up"
    folder.mkdir(exist_ok=True)
    running = Up(folder)
    yield running
    running.process.kill()
    running.process.wait()
    running.output.close()
    for process in running.left(0):
        process.kill()


@pytest.mark.slow
def test_up_prints_a_login_that_works_and_ends_all_with_status_0_on_ctrl_c(up: Up) -> None:
    url = re.search(r"Airflow runs at (\S+)", up.told)
    password = re.search(r"Log in as admin with the password (\S+)", up.told)
    assert url is not None
    assert password is not None
    dag = AirflowClient(url[1], "admin", password[1]).dag("publish_and_roll_out")
    assert dag is not None
    assert not dag["is_paused"]
    assert len(up.family) >= 8
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(30) == 0
    assert up.left(0) == []
    assert "Stopped: everything that was started has ended" in up.output.read()


@pytest.mark.slow
def test_a_killed_up_leaves_nothing_behind(up: Up) -> None:
    up.process.kill()
    up.process.wait()
    assert up.left(25) == []


@pytest.mark.slow
def test_a_component_that_dies_ends_it_with_a_reason(up: Up) -> None:
    triggerer = next(process for process in up.family if process.cmdline()[-2:] == ["triggerer", "-s"])
    triggerer.kill()
    assert up.process.wait(30) == 1
    said = up.output.read()
    assert "Airflow's triggerer ended with exit status -9. The last lines of " in said
    assert "triggerer.log:\n    " in said
    assert up.left(0) == []


def test_a_session_is_ended_with_its_groups_and_with_what_ignores_signals(tmp_path: Path) -> None:
    script = (
        "import os, signal, time\n"
        "if os.fork() == 0:\n    os.setpgid(0, 0)\n    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('ready', flush=True)\ntime.sleep(60)\n"
    )
    log = tmp_path / "log"
    component = processes.Component("x", [sys.executable, "-c", script], environ=os.environ, log_file=log)
    while component.last_lines() != ["ready", "ready"]:
        time.sleep(0.02)
    assert len(processes.members([component.session])) == 2
    processes.end([component.session], grace=0.5)
    assert processes.members([component.session]) == []
    assert component.wait(1) == -signal.SIGTERM


def test_dag_files_are_linked_and_links_follow_the_folder(tmp_path: Path) -> None:
    source, home = tmp_path / "source", tmp_path / "home"
    (source / "sub" / "__pycache__").mkdir(parents=True)
    home.mkdir()
    (source / "a.py").write_text("1")
    (source / "sub" / "b.yaml").write_text("2")
    (source / "sub" / "__pycache__" / "b.pyc").write_text("3")
    airflow_settings.link_dags(source, home)
    files = sorted(str(file.relative_to(home)) for file in home.rglob("*") if file.is_symlink())
    assert files == ["dags/a.py", "dags/sub/b.yaml"]
    (source / "a.py").rename(source / "c.py")
    airflow_settings.link_dags(source, home)
    assert sorted(file.name for file in (home / "dags").iterdir()) == ["c.py", "sub"]
    assert (home / "dags" / "c.py").read_text() == "1"


def test_a_restart_keeps_the_login_and_the_keys_and_changes_the_port(tmp_path: Path) -> None:
    def secrets() -> list[str]:
        text = (tmp_path / "airflow.cfg").read_text()
        return re.findall(r"^(?:fernet_key|secret_key|jwt_secret) = .+$", text, re.MULTILINE)

    first = airflow_settings.password(tmp_path)
    airflow_settings.write_config(tmp_path, port=1111, parallelism=2)
    kept = secrets()
    assert len(kept) == 3
    airflow_settings.write_config(tmp_path, port=2222, parallelism=2)
    assert secrets() == kept
    assert airflow_settings.password(tmp_path) == first
    assert "execution_api_server_url = http://127.0.0.1:2222/execution/" in (tmp_path / "airflow.cfg").read_text()


def test_another_airflow_s_settings_do_not_get_in_and_the_rest_is_inherited(tmp_path: Path) -> None:
    inherited = {"AIRFLOW__CORE__EXECUTOR": "X", "AIRFLOW_HOME": "/x", "AIRFLOW_CONFIG": "/x", "HTTPS_PROXY": "p"}
    environ = airflow_settings.environment(inherited, tmp_path, python_path=(tmp_path,))
    assert environ == {
        "HTTPS_PROXY": "p",
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT": '{"conn_type": "google_cloud_platform"}',
        "PYTHONPATH": str(tmp_path),
    }
