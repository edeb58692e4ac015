"""pip.conf in the bucket: merged, written with its generation, left alone when it is right."""

from __future__ import annotations

from dataclasses import replace

import pytest

from airflow_gar_provider.core.environment import Environment, EnvironmentName
from airflow_gar_provider.core.repository import RepositoryName
from airflow_gar_provider.errors import (
    ConcurrentChangeError,
    EnvironmentNotReadyError,
    InvalidInputError,
    InvalidPipConfError,
    NotFoundError,
)
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


def test_an_install_keeps_what_uses_the_repository(
    cloud: Cloud, found: Environment, repository: RepositoryName, clock: QuickClock
) -> None:
    """`if_unused`: an extra index of the repository is left as it is; a file without it is pointed."""
    mine = f"[global]\nextra-index-url = {repository.index_url}\n"
    cloud.storage.write(found.bucket, PIP_CONF, mine.encode())
    assert point(cloud.storage, found, repository, if_unused=True, clock=clock)["outcome"] == "unchanged"
    assert read(cloud, found) == mine
    cloud.storage.write(found.bucket, PIP_CONF, b"[global]\ntimeout = 3\n")
    assert point(cloud.storage, found, repository, if_unused=True, clock=clock)["outcome"] == "written"
    assert f"index-url = {repository.index_url}" in read(cloud, found)


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
    with pytest.raises(ConcurrentChangeError, match="was replaced between our read and its copy"):
        point(racing, found, repository, form="absent", clock=clock)


def test_refused(
    cloud: Cloud, found: Environment, repository: RepositoryName, clock: QuickClock, sandbox: Running
) -> None:
    """A file that pip cannot read is not touched; a key is wanted where there is none, or none where there is one."""
    cloud.storage.write(found.bucket, PIP_CONF, b"no section\n")
    with pytest.raises(InvalidPipConfError, match="it was not touched"):
        point(cloud.storage, found, repository, clock=clock)
    assert read(cloud, found) == "no section\n"
    with pytest.raises(InvalidInputError, match='auth is "iam", or "service_account_key" with a key'):
        point(cloud.storage, found, repository, auth="service_account_key", clock=clock)
    assert list(cloud.storage.list(found.bucket, "data/gar/pip.conf.")) == []


@pytest.mark.parametrize("before", [b"[global]\r\ntimeout = 3\r\n; c\xc3\xa9\r\n", b"[global]\ntimeout = 3\n;last"])
def test_every_other_byte_stays(
    cloud: Cloud, found: Environment, repository: RepositoryName, clock: QuickClock, before: bytes
) -> None:
    """Line ends, letters that are not ASCII, and a missing final newline come through the bucket as they were."""
    cloud.storage.write(found.bucket, PIP_CONF, before)
    point(cloud.storage, found, repository, clock=clock)
    content, _ = cloud.storage.read(found.bucket, PIP_CONF) or (b"", 0)
    added = f"index-url = {repository.index_url}".encode()
    assert added in content
    end = b"\r\n" if b"\r\n" in before else b"\n"
    assert content.replace(added + end, b"") == before
    assert point(cloud.storage, found, repository, form="absent", clock=clock)["outcome"] == "written"
    assert cloud.storage.read(found.bucket, PIP_CONF)[0] == before  # type: ignore[index]


def test_the_answer_to_our_write_is_lost(
    cloud: Cloud, found: Environment, repository: RepositoryName, clock: QuickClock, sandbox: Running
) -> None:
    """The write went through, its repetition is refused: it is known as ours, and nothing is written twice."""
    cloud.storage.write(found.bucket, PIP_CONF, b"[global]\n")
    sandbox.fault(INSERT, kind="lost_answer")
    result = point(cloud.storage, found, repository, clock=clock)
    assert result["outcome"] == "written"
    assert "+index-url" in result["change"]
    assert len(list(cloud.storage.list(found.bucket, "data/gar/pip.conf."))) == 1
    assert sandbox.unused() == []


def test_no_bucket(cloud: Cloud, found: Environment, repository: RepositoryName, clock: QuickClock) -> None:
    """An environment without a bucket, or whose bucket was deleted, is an error that says so."""
    with pytest.raises(EnvironmentNotReadyError, match="has no bucket"):
        point(cloud.storage, replace(found, bucket=""), repository, clock=clock)
    with pytest.raises(NotFoundError, match="could not write the object") as caught:
        point(cloud.storage, replace(found, bucket=f"{found.bucket}-gone"), repository, clock=clock)
    assert f"gs://{found.bucket}-gone/{PIP_CONF}" in str(caught.value)


def test_several(cloud: Cloud, found: Environment, repository: RepositoryName, clock: QuickClock) -> None:
    """Several repositories are pointed at in one write; people are warned of what several indexes mean."""
    more = RepositoryName.parse(str(repository) + "-more")
    result = point(cloud.storage, found, [repository, more], clock=clock)
    assert read(cloud, found) == (f"[global]\nindex-url = {repository.index_url}\nextra-index-url = {more.index_url}\n")
    assert result["message"] == "pip.conf of dev now points at python and python-more"
    assert result["repositories"] == [str(repository), str(more)]
    assert [warning for warning in result["warnings"] if "dependency confusion" in warning]
