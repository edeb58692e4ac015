"""Copies of pip.conf before each change, made on Google's side; the last five stay, and one can be brought back."""

from __future__ import annotations

import logging

import pytest

from airflow_gar_provider.core.environment import Environment, EnvironmentName
from airflow_gar_provider.core.repository import RepositoryName
from airflow_gar_provider.errors import AccessDeniedError, InvalidInputError, NotFoundError
from airflow_gar_provider.gcp.cloud import Cloud
from airflow_gar_provider.gcp.storage import Storage
from airflow_gar_provider.steps.pip_backup import KEPT, PIP_CONF, backup_name, kept
from airflow_gar_provider.steps.point import point, put_back
from tests.conftest import Running
from tests.steps.conftest import QuickClock

SECRET = "https://me:hidden@old.example/simple/"


@pytest.fixture
def found(cloud: Cloud, environment: EnvironmentName) -> Environment:
    return cloud.composer.get_environment(environment)


def test_a_change_keeps_what_it_replaces(
    cloud: Cloud, found: Environment, repository: RepositoryName, clock: QuickClock, sandbox: Running
) -> None:
    """The copy has the replaced bytes, and never came through this process; the result names its generation."""
    content = f"[global]\r\nindex-url = {SECRET}".encode()
    generation = cloud.storage.write(found.bucket, PIP_CONF, content)
    result = point(cloud.storage, found, repository, clock=clock)
    assert result["restore"] == str(generation)
    assert cloud.storage.read(found.bucket, backup_name(generation))[0] == content  # type: ignore[index]
    calls = [call["method"] for call in sandbox.calls(found.bucket)]
    assert calls.count("storage.objects.copy") == 1
    point(cloud.storage, found, repository, clock=clock)
    assert kept(cloud.storage, found.bucket) == [generation]


def test_the_last_five_stay(cloud: Cloud, found: Environment, repository: RepositoryName, clock: QuickClock) -> None:
    """Older copies go; other objects beside them stay."""
    cloud.storage.write(found.bucket, "data/gar/pip.conf.mine", b"x")
    generations = []
    for number in range(KEPT + 2):
        generations.append(cloud.storage.write(found.bucket, PIP_CONF, b"# %d\n" % number))
        point(cloud.storage, found, repository, clock=clock)
    assert kept(cloud.storage, found.bucket) == generations[: -KEPT - 1 : -1]
    assert cloud.storage.read(found.bucket, "data/gar/pip.conf.mine") is not None


def test_back_and_forth(cloud: Cloud, found: Environment, repository: RepositoryName, clock: QuickClock) -> None:
    """A generation comes back byte for byte, what it replaces is kept too, and a second run changes nothing."""
    content = f"[global]\nindex-url = {SECRET}\n".encode()
    first = cloud.storage.write(found.bucket, PIP_CONF, content)
    point(cloud.storage, found, repository, clock=clock)
    back = put_back(cloud, found.name, str(first))
    assert back["outcome"] == "written"
    assert back["message"] == f"pip.conf of dev has its content of generation {first}"
    assert "+index-url = https://****@old.example/simple/" in back["change"]
    assert "hidden" not in str(back)
    assert cloud.storage.read(found.bucket, PIP_CONF)[0] == content  # type: ignore[index]
    again = put_back(cloud, found.name, str(first))
    assert (again["outcome"], again["change"]) == ("unchanged", "")
    forth = put_back(cloud, found.name, back["restore"])
    assert forth["outcome"] == "written"
    assert point(cloud.storage, found, repository, clock=clock)["outcome"] == "unchanged"


def test_back_to_no_file(cloud: Cloud, found: Environment, repository: RepositoryName, clock: QuickClock) -> None:
    """Where there was no file, there is none again; and once more is no change."""
    result = point(cloud.storage, found, repository, clock=clock)
    assert result["restore"] == "0"
    assert put_back(cloud, found.name, "0")["outcome"] == "written"
    assert cloud.storage.read(found.bucket, PIP_CONF) is None
    assert put_back(cloud, found.name, "0")["outcome"] == "unchanged"
    assert len(kept(cloud.storage, found.bucket)) == 1


def test_what_cannot_come_back(cloud: Cloud, found: Environment, repository: RepositoryName, clock: QuickClock) -> None:
    """A generation that is not kept is an error that names those that are; so is what is no generation."""
    generation = cloud.storage.write(found.bucket, PIP_CONF, b"")
    point(cloud.storage, found, repository, clock=clock)
    with pytest.raises(NotFoundError, match=r"no copy of pip\.conf of generation 77 is kept") as caught:
        put_back(cloud, found.name, "77")
    assert f"these are kept: {generation}" in str(caught.value)
    with pytest.raises(InvalidInputError, match=r"the number of a generation that was kept, not '\.\./x'"):
        put_back(cloud, found.name, "../x")


class Untidy(Storage):
    """A bucket in which this caller may delete nothing."""

    def delete(self, bucket: str, name: str, *, if_generation: int | None = None) -> None:
        raise AccessDeniedError("could not delete the object", resource=name)


def test_old_copies_that_may_not_be_deleted(
    cloud: Cloud,
    found: Environment,
    repository: RepositoryName,
    clock: QuickClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """pip.conf is written all the same, and the log says that copies are left."""
    untidy = Untidy(cloud.session)
    for number in range(KEPT + 1):
        cloud.storage.write(found.bucket, PIP_CONF, b"# %d\n" % number)
        with caplog.at_level(logging.WARNING):
            assert point(untidy, found, repository, clock=clock)["outcome"] == "written"
    assert "1 old copies of pip.conf stay" in caplog.text
    assert len(kept(cloud.storage, found.bucket)) == KEPT + 1


def test_the_way_is_not_written_to_in_vain(
    cloud: Cloud, found: Environment, repository: RepositoryName, clock: QuickClock, sandbox: Running
) -> None:
    """When the copy cannot be made, pip.conf is not touched."""
    generation = cloud.storage.write(found.bucket, PIP_CONF, b"# mine\n")
    sandbox.fault("storage.objects.copy", kind="status", status=403)
    with pytest.raises(AccessDeniedError, match="could not copy the object"):
        point(cloud.storage, found, repository, clock=clock)
    assert cloud.storage.read(found.bucket, PIP_CONF) == (b"# mine\n", generation)
    assert sandbox.unused() == []
