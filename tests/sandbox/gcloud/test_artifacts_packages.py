"""gcloud artifacts: packages, versions and files, whose names hold a slash."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from tests.conftest import LOCATION, wheel

from ..test_artifact_registry import upload

if TYPE_CHECKING:
    from pathlib import Path

    import requests

    from .conftest import Gcloud

pytestmark = pytest.mark.slow
IN = f"--repository=python --location={LOCATION}"
NOT_FOUND = "Requested entity was not found."
FILE_1 = "acme-utils/Acme_Utils-1.0.0-py3-none-any.whl"
FILE_2 = "acme-utils/Acme_Utils-1.1.0-py3-none-any.whl"


@pytest.fixture
def published(gcloud: Gcloud, python: str, http: requests.Session) -> bytes:
    """A repository with two versions of a package, of one size; the first one's bytes."""
    status, text, content = upload(http, gcloud.project, "Acme-Utils", "1.0.0")
    assert status == 200, text
    status, text, _ = upload(http, gcloud.project, "Acme-Utils", "1.1.0")
    assert status == 200, text
    return content


def test_packages_versions_and_files_are_listed_and_described(gcloud: Gcloud, published: bytes) -> None:
    packages = gcloud.json(f"artifacts packages list {IN}")
    assert [item["name"] for item in packages] == ["acme-utils"]
    assert gcloud.json(f"artifacts packages describe acme-utils {IN}")["name"].endswith("/packages/acme-utils")

    newest = gcloud.json(f"artifacts versions list --package=acme-utils --sort-by=~updateTime --limit=1 {IN}")
    assert [item["name"].rpartition("/")[2] for item in newest] == ["1.1.0"]
    described = gcloud.json(f"artifacts versions describe 1.0.0 --package=acme-utils {IN}")
    assert described["name"].endswith("/packages/acme-utils/versions/1.0.0")

    table = gcloud(f"artifacts files list {IN}").out
    assert FILE_1 in table
    assert FILE_2 in table
    owned = gcloud.json(f"artifacts files list --package=acme-utils --version=1.0.0 {IN}")
    assert [item["name"].rpartition("/files/")[2] for item in owned] == [FILE_1.replace("/", "%2F")]
    file = gcloud.json(f"artifacts files describe {FILE_1} {IN}")
    hashes = {item["type"]: item["value"] for item in file["hashes"]}
    assert hashes["SHA256"] == hashlib.sha256(published).hexdigest()
    assert file["sizeBytes"] == len(published)


def test_a_file_of_several_chunks_is_downloaded_whole(
    gcloud: Gcloud, python: str, http: requests.Session, tmp_path: Path
) -> None:
    big = "x" * (7 << 20)
    status, text, content = upload(http, gcloud.project, "big", "1.0", module=f"TEXT = '{big}'\n")
    assert status == 200, text
    filename, _ = wheel("big", "1.0")
    mark = gcloud.since()
    gcloud(f"artifacts files download big/{filename} --destination={tmp_path} {IN}")
    assert (tmp_path / f"big%2F{filename}").read_bytes() == content
    assert [name for name, _ in gcloud.calls(mark)].count("DownloadFile") == 3  # of 3 MiB


def test_files_versions_and_packages_are_deleted(
    gcloud: Gcloud, python: str, published: bytes, http: requests.Session
) -> None:
    url = f"https://artifactregistry.googleapis.com/v1/{python}"

    def names(kind: str) -> list[str]:
        found = http.get(f"{url}/{kind}", timeout=30).json()
        return [item["name"].rpartition("/")[2] for item in found.get(kind.rpartition("/")[2], [])]

    gcloud(f"artifacts files delete {FILE_1} {IN}")
    assert names("files") == [FILE_2.replace("/", "%2F")]
    assert names("packages/acme-utils/versions") == ["1.0.0", "1.1.0"]
    assert http.get(url, timeout=30).json()["sizeBytes"] == str(len(published))  # of the other version

    deleted = gcloud(f"artifacts versions delete 1.1.0 --package=acme-utils --delete-tags {IN}")
    assert "Deleted version [1.1.0]." in deleted.err
    assert (names("files"), names("packages/acme-utils/versions")) == ([], ["1.0.0"])
    assert "sizeBytes" not in http.get(url, timeout=30).json()  # nothing is in it any more

    assert "Deleted package [acme-utils]." in gcloud(f"artifacts packages delete acme-utils {IN}").err
    assert names("packages") == []
    # The name of a deleted file is free again.
    assert upload(http, gcloud.project, "Acme-Utils", "1.0.0")[0] == 200


def test_annotations_are_written_on_packages_versions_and_files(
    gcloud: Gcloud, python: str, published: bytes, http: requests.Session
) -> None:
    for command, name in (
        ("packages update acme-utils", "packages/acme-utils"),
        ("versions update 1.0.0 --package=acme-utils", "packages/acme-utils/versions/1.0.0"),
        (f"files update {FILE_1}", f"files/{FILE_1.replace('/', '%252F')}"),
    ):
        gcloud(f"artifacts {command} --annotations=team=data {IN}")
        found = http.get(f"https://artifactregistry.googleapis.com/v1/{python}/{name}", timeout=30).json()
        assert found["annotations"] == {"team": "data"}, found


def test_what_is_not_there_is_not_found(gcloud: Gcloud, published: bytes, tmp_path: Path) -> None:
    for command in (
        "packages describe missing",
        "versions list --package=missing",
        "versions delete 9 --package=acme-utils",
        "files delete acme-utils/missing.whl",
        f"files download acme-utils/missing.whl --destination={tmp_path}",
    ):
        assert NOT_FOUND in gcloud.fails(f"artifacts {command} {IN}"), command
    elsewhere = f"artifacts packages list --repository=missing --location={LOCATION}"
    assert NOT_FOUND in gcloud.fails(elsewhere)


def test_a_reader_may_not_delete(gcloud: Gcloud, python: str, published: bytes) -> None:
    reader = "reader@example.com"
    gcloud.sandbox.setup(grants=[f"user:{reader}=roles/artifactregistry.reader@{python}"])
    as_reader = gcloud.as_(reader)
    assert [item["name"] for item in as_reader.json(f"artifacts packages list {IN}")] == ["acme-utils"]
    refused = as_reader.fails(f"artifacts versions delete 1.0.0 --package=acme-utils {IN}")
    assert (
        f"'artifactregistry.versions.delete' denied on resource '//artifactregistry.googleapis.com/{python}'" in refused
    )
    refused = as_reader.fails(f"artifacts files delete {FILE_1} {IN}")
    assert "'artifactregistry.files.delete' denied" in refused
    assert len(gcloud.json(f"artifacts files list {IN}")) == 2
