"""Publishing: right bytes, once; every refusal with a reason and a remedy."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from airflow_gar_provider.core.repository import RepositoryName
from airflow_gar_provider.errors import (
    AccessDeniedError,
    ContentConflictError,
    InvalidInputError,
    InvalidWheelError,
    NotFoundError,
    RepositoryMismatchError,
    UnavailableError,
)
from airflow_gar_provider.gcp.cloud import Cloud
from airflow_gar_provider.steps.check import check
from airflow_gar_provider.steps.collect import collect
from airflow_gar_provider.steps.publish import publish
from airflow_gar_provider.steps.repository import create_repository, grant_access
from tests.conftest import Running
from tests.steps.conftest import QuickClock
from tests.wheels import make_sdist, make_wheel

UPLOAD = "Python-UploadPackage"


def uploads(sandbox: Running, project: str) -> int:
    return sum(call["method"] == UPLOAD for call in sandbox.calls(project))


def test_published_once(
    cloud: Cloud, repository: RepositoryName, clock: QuickClock, tmp_path: Path, sandbox: Running, project: str
) -> None:
    """The first run uploads and confirms; the second finds the same bytes and sends nothing."""
    path = make_wheel(tmp_path, "acme_demo", "1.0")
    first = publish(cloud, check([path]), repository, clock)
    assert first["outcome"] == "uploaded"
    assert first["files"] == [
        {
            "file": path.name,
            "package": "acme-demo",
            "version": "1.0",
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "size": path.stat().st_size,
            "outcome": "uploaded",
            "created": first["files"][0]["created"],
            "warnings": [],
        }
    ]
    assert datetime.fromisoformat(first["files"][0]["created"]).tzinfo is not None
    second = publish(cloud, check([path]), repository, clock)
    assert second["outcome"] == "exists"
    assert second["message"] == f"{path.name} already in python, same SHA-256"
    assert uploads(sandbox, project) == 1


def test_other_content_is_an_error_with_both_hashes(
    cloud: Cloud, repository: RepositoryName, clock: QuickClock, tmp_path: Path, published: Callable[[Path], str]
) -> None:
    """A published version is never replaced."""
    (tmp_path / "other").mkdir()
    old = make_wheel(tmp_path, "acme_demo", "1.0")
    new = make_wheel(tmp_path / "other", "acme_demo", "1.0", members={"acme_demo.py": "# changed"})
    assert published(old) == "uploaded"
    with pytest.raises(ContentConflictError, match="already in the registry with other content") as caught:
        publish(cloud, check([new]), repository, clock)
    text = str(caught.value)
    assert hashlib.sha256(old.read_bytes()).hexdigest() in text
    assert hashlib.sha256(new.read_bytes()).hexdigest() in text
    assert "raise the version" in text


def test_a_half_published_release_is_completed(
    cloud: Cloud, repository: RepositoryName, clock: QuickClock, tmp_path: Path, published: Callable[[Path], str]
) -> None:
    """Of two wheels one is there: only the other one is sent."""
    one = make_wheel(tmp_path, "acme_demo", "1.0")
    two = make_wheel(tmp_path, "acme_demo", "1.0", tag="cp311-cp311-manylinux_2_17_x86_64")
    published(one)
    result = publish(cloud, check([one, two]), repository, clock)
    assert [file["outcome"] for file in result["files"]] == ["exists", "uploaded"]
    assert len(cloud.artifact_registry.list_files(repository, "acme-demo", "1.0")) == 2


@pytest.mark.parametrize("fault", [{"kind": "lost_answer"}, {"kind": "reset"}, {"status": 503, "times": 2}])
def test_an_interrupted_upload_is_settled_by_asking(
    cloud: Cloud,
    repository: RepositoryName,
    clock: QuickClock,
    tmp_path: Path,
    sandbox: Running,
    fault: dict[str, object],
) -> None:
    """A lost answer, a lost connection, an unavailable registry: the file is there once, with the right bytes."""
    path = make_wheel(tmp_path, "acme_demo", "2.0")
    sandbox.fault(UPLOAD, **fault)
    result = publish(cloud, check([path]), repository, clock)
    assert result["outcome"] == "uploaded"
    [file] = cloud.artifact_registry.list_files(repository, "acme-demo", "2.0")
    assert file.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert sandbox.unused() == []


def test_a_registry_that_stays_away(
    cloud: Cloud, repository: RepositoryName, clock: QuickClock, tmp_path: Path, sandbox: Running
) -> None:
    """After four tries the error says that a retry may help."""
    sandbox.fault(UPLOAD, status=503, times=4)
    with pytest.raises(UnavailableError, match="could not upload acme_demo-3") as caught:
        publish(cloud, check([make_wheel(tmp_path, version="3.0")]), repository, clock)
    assert caught.value.retryable
    assert sandbox.unused() == []


def test_who_may_not_write(
    cloud: Cloud,
    cloud_of: Callable[[str], Cloud],
    repository: RepositoryName,
    clock: QuickClock,
    tmp_path: Path,
    sandbox: Running,
    project: str,
) -> None:
    """A reader is told which role is missing."""
    reader = f"reader@{project}.iam.gserviceaccount.com"
    sandbox.setup(accounts=[reader])
    grant_access(cloud.artifact_registry, cloud.composer, repository, member=reader, environment=None, clock=clock)
    wheels = check([make_wheel(tmp_path)])
    with pytest.raises(AccessDeniedError, match=r"grant the caller roles/artifactregistry\.writer") as caught:
        publish(cloud_of(reader), wheels, repository, clock)
    assert not caught.value.retryable


def test_where_nothing_can_be_published(cloud: Cloud, project: str, clock: QuickClock, tmp_path: Path) -> None:
    """A repository that is not there, and a remote one."""
    wheels = check([make_wheel(tmp_path)])
    missing = RepositoryName.parse(f"projects/{project}/locations/us/repositories/nowhere")
    with pytest.raises(NotFoundError, match="create it first"):
        publish(cloud, wheels, missing, clock)
    remote = RepositoryName.parse(f"projects/{project}/locations/us/repositories/proxy")
    create_repository(cloud.artifact_registry, remote, mode="remote", upstreams="PYPI")
    with pytest.raises(RepositoryMismatchError, match="the repository is remote, not standard"):
        publish(cloud, wheels, remote, clock)
    standard = RepositoryName.parse(f"projects/{project}/locations/us/repositories/private")
    create_repository(cloud.artifact_registry, standard)
    virtual = RepositoryName.parse(f"projects/{project}/locations/us/repositories/all")
    create_repository(cloud.artifact_registry, virtual, mode="virtual", upstreams={str(standard): 100, str(remote): 10})
    with pytest.raises(RepositoryMismatchError) as caught:
        publish(cloud, wheels, virtual, clock)
    assert caught.value.remedy == f"publish to its standard upstream: {standard}"


def test_all_bad_files_are_named_before_a_byte_is_sent(tmp_path: Path) -> None:
    """Two bad wheels of three make one error with both."""
    good = make_wheel(tmp_path, "good")
    bad = tmp_path / "bad-1.0-py3-none-any.whl"
    bad.write_text("no zip")
    lying = make_wheel(tmp_path, "lying", metadata_name="other")
    with pytest.raises(InvalidWheelError) as caught:
        check([good, bad, lying])
    assert [problem.split(": ")[0] for problem in caught.value.problems] == [bad.name, lying.name]
    assert caught.value.resource == f"{bad.name}, {lying.name}"


def test_sources(cloud: Cloud, sandbox: Running, project: str, tmp_path: Path) -> None:
    """Paths, globs, gs:// objects, prefixes and globs; a source that names nothing is an error."""
    bucket = f"{project}-builds"
    sandbox.setup(buckets=[f"{project}/{bucket}"])
    for version in ("1.0", "2.0"):
        cloud.storage.upload(bucket, f"w/acme_demo-{version}-py3-none-any.whl", make_wheel(tmp_path, version=version))
    cloud.storage.write(bucket, "w/notes.txt", b"x")
    cloud.storage.write(bucket, "w/deeper/acme_demo-9.0-py3-none-any.whl", b"x")

    def names(wheels: object) -> list[str]:
        folder = tmp_path / f"t{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        return [path.name for path in collect(cloud.storage, wheels, folder)]

    both = ["acme_demo-1.0-py3-none-any.whl", "acme_demo-2.0-py3-none-any.whl"]
    assert names(f"gs://{bucket}/w/") == both
    assert names(f"gs://{bucket}/w/*-2.0-*.whl") == both[1:]
    assert names([f"gs://{bucket}/w/{both[0]}", str(tmp_path / "*-2.0-*.whl")]) == both
    cloud.storage.upload(bucket, "w/acme_demo-2.0.tar.gz", make_sdist(tmp_path, version="2.0"))
    assert names(f"gs://{bucket}/w/") == names(f"gs://{bucket}/w") == [*both, "acme_demo-2.0.tar.gz"]
    assert names(str(tmp_path)) == [*both, "acme_demo-2.0.tar.gz"]
    assert names([str(tmp_path / both[0]), str(tmp_path / "*.whl")]) == both
    for nothing in (f"gs://{bucket}/none/", str(tmp_path / "none*.whl"), f"gs://{bucket}/w/x.whl"):
        with pytest.raises(InvalidInputError, match="no wheel is at"):
            names(nothing)
    with pytest.raises(InvalidInputError, match="is not a Cloud Storage URI"):
        names("gs://")
    with pytest.raises(InvalidInputError, match="no wheel was named"):
        names("")
