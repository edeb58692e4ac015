"""pip.conf in the bucket: merged, written with its generation, left alone when it is right."""

from __future__ import annotations

import pytest

from airflow_gar_provider.core.environment import Environment, EnvironmentName
from airflow_gar_provider.core.repository import RepositoryName
from airflow_gar_provider.errors import ConcurrentChangeError, InvalidInputError, InvalidPipConfError
from airflow_gar_provider.gcp.cloud import Cloud
from airflow_gar_provider.gcp.storage import Storage
from airflow_gar_provider.steps.point import PIP_CONF, point
from tests.conftest import Running
from tests.steps.conftest import QuickClock

INSERT = "storage.objects.insert"


@pytest.fixture
def found(cloud: Cloud, environment: EnvironmentName) -> Environment:
    return cloud.composer.get_environment(environment)


def read(cloud: Cloud, environment: Environment) -> str:
    content = cloud.storage.read(environment.bucket, PIP_CONF)
    assert content is not None
    return content[0].decode()


def test_written_once(cloud: Cloud, found: Environment, repository: RepositoryName, clock: QuickClock) -> None:
    """A new file, then nothing to do: the generation stays."""
    first = point(cloud.storage, found, repository, clock=clock)
    assert first["outcome"] == "written"
    assert read(cloud, found) == f"[global]\nindex-url = {repository.index_url}\n"
    written = cloud.storage.read(found.bucket, PIP_CONF)
    assert point(cloud.storage, found, repository, clock=clock)["outcome"] == "unchanged"
    assert cloud.storage.read(found.bucket, PIP_CONF) == written


def test_what_is_there_stays(cloud: Cloud, found: Environment, repository: RepositoryName, clock: QuickClock) -> None:
    """Comments and other options stay, and the change is told without credentials."""
    before = "# ours\n[global]\ntimeout = 30\nindex-url = https://me:hidden@old/simple/\n"
    cloud.storage.write(found.bucket, PIP_CONF, before.encode())
    result = point(cloud.storage, found, repository, clock=clock)
    assert read(cloud, found) == f"# ours\n[global]\ntimeout = 30\nindex-url = {repository.index_url}\n"
    assert "-index-url = https://****@old/simple/" in result["change"]
    assert "hidden" not in str(result)


class Racing(Storage):
    """A bucket in which somebody else writes pip.conf between our read and our write."""

    others = 0

    def read(self, bucket: str, name: str) -> tuple[bytes, int] | None:
        found = super().read(bucket, name)
        if self.others:
            self.others -= 1
            super().write(bucket, name, b"# theirs %d\n" % self.others + (found[0] if found else b""))
        return found


def test_somebody_else_writes_meanwhile(
    cloud: Cloud, found: Environment, repository: RepositoryName, clock: QuickClock
) -> None:
    """The precondition fails, the file is read again, and neither change is lost."""
    racing = Racing(cloud.session)
    racing.others = 2
    assert point(racing, found, repository, clock=clock)["outcome"] == "written"
    assert read(cloud, found) == f"# theirs 0\n# theirs 1\n\n[global]\nindex-url = {repository.index_url}\n"
    racing.others = 9
    with pytest.raises(ConcurrentChangeError, match="could not write the object"):
        point(racing, found, repository, form="absent", clock=clock)


def test_refused(
    cloud: Cloud, found: Environment, repository: RepositoryName, clock: QuickClock, sandbox: Running
) -> None:
    """A file that pip cannot read is not touched; a mode that is not offered says so."""
    cloud.storage.write(found.bucket, PIP_CONF, b"no section\n")
    with pytest.raises(InvalidPipConfError, match="it was not touched"):
        point(cloud.storage, found, repository, clock=clock)
    assert read(cloud, found) == "no section\n"
    with pytest.raises(InvalidInputError, match="is not offered yet"):
        point(cloud.storage, found, repository, auth="service_account_key", clock=clock)
