"""Redis and PostgreSQL of one's own."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest
import redis

from demo import processes
from demo.airflow_stack import StackError
from distributed import hostname
from distributed.services import Addresses, Services, missing

pytestmark = [pytest.mark.slow, pytest.mark.distributed]


@pytest.fixture
def begun() -> Iterator[list[processes.Component]]:
    """What was started; it is ended."""
    found: list[processes.Component] = []
    yield found
    end(found)


@pytest.fixture
def services(begun: list[processes.Component], tmp_path: Path) -> Services:
    if needed := missing():
        if os.environ.get("GAR_REQUIRE_DISTRIBUTED") == "1":
            pytest.fail("; ".join(needed))
        pytest.skip("; ".join(needed))
    return Services(tmp_path, begun.append)


def end(components: list[processes.Component]) -> None:
    processes.end([component.session for component in components], grace=10)
    for component in components:
        component.wait(5)


def ask_postgres(url: str) -> str:
    with closing(psycopg2.connect(url.replace("+psycopg2", ""))) as connection, connection.cursor() as cursor:
        cursor.execute("select current_user")
        return str(cursor.fetchone()[0])


def ask_redis(url: str) -> bool:
    with closing(redis.Redis.from_url(url)) as client:
        return bool(client.ping())


def other_password(url: str) -> str:
    return re.sub(r":[^:@/]*@", ":guessed@", url)


def test_they_serve_loopback_with_a_password_and_leave_nothing(
    services: Services, begun: list[processes.Component]
) -> None:
    """Both answer to whom has the password, on 127.0.0.1 alone; ended, neither a process nor a file is left."""
    found: Addresses = services.begin()
    assert ask_postgres(found.database) == "airflow"
    assert ask_redis(found.broker)
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        ask_postgres(other_password(found.database))
    with pytest.raises(redis.AuthenticationError):
        ask_redis(other_password(found.broker))
    assert sorted(component.name for component in begun) == ["postgres", "redis"]
    sessions = [component.session for component in begun]
    assert {socket.address for socket in processes.listening_sockets(sessions)} == {"127.0.0.1"}
    folder = services._folder
    end(begun)
    assert processes.members(sessions) == []
    services.remove()
    assert not folder.exists()


def test_a_service_that_does_not_start(
    services: Services, begun: list[processes.Component], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error quotes the service's own words."""
    script = tmp_path / "bin" / "redis-server"
    script.parent.mkdir()
    script.write_text("#!/bin/sh\necho 'no room for a port'; exit 3\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(script.parent), prepend=os.pathsep)
    with pytest.raises(StackError, match=r"redis ended with exit status 3(.|\n)*no room for a port"):
        services.begin()
    services.remove()


def test_a_component_is_named_by_its_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """What Airflow shows as the host of a task is the component's folder."""
    monkeypatch.setenv("AIRFLOW_HOME", "/somewhere/worker-7")
    assert hostname.of_this_component() == "worker-7"
