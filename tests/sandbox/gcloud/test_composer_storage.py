"""gcloud composer environments storage: the folders of an environment's bucket."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.conftest import LOCATION

if TYPE_CHECKING:
    from pathlib import Path

    import requests

    from .conftest import Gcloud

pytestmark = pytest.mark.slow
IN = f"--environment=dev --location={LOCATION}"


@pytest.fixture(scope="module")
def bucket(shared: Gcloud) -> str:
    name = f"projects/{shared.project}/locations/{LOCATION}/environments/dev"
    return str(shared.sandbox.setup(environments=[name])["environments"][name])


def names(http: requests.Session, bucket: str) -> list[str]:
    found = http.get(f"https://storage.googleapis.com/storage/v1/b/{bucket}/o", timeout=30).json()
    return [item["name"] for item in found.get("items", [])]


@pytest.mark.parametrize("folder", ["dags", "plugins", "data"])
def test_files_are_imported_listed_exported_and_deleted(
    shared: Gcloud, bucket: str, http: requests.Session, tmp_path: Path, folder: str
) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    (source / "sub").mkdir(parents=True)
    out.mkdir()
    (source / "one.py").write_text("print(1)\n")
    (source / "sub" / "two.py").write_text("print(2)\n")
    storage = f"composer environments storage {folder}"
    shared(f"{storage} import {IN} --source={source} --destination=team")
    expected = [f"{folder}/team/source/one.py", f"{folder}/team/source/sub/two.py"]
    assert [name for name in names(http, bucket) if name.startswith(f"{folder}/")] == expected
    assert [item["name"] for item in shared.json(f"{storage} list {IN}")] == expected

    shared(f"{storage} export {IN} --source=team --destination={out}")
    assert (out / "team" / "source" / "sub" / "two.py").read_text() == "print(2)\n"
    assert "Deletion operation succeeded." in shared(f"{storage} delete {IN} team").err
    # gcloud leaves an object for the folder, as the console does.
    assert [name for name in names(http, bucket) if name.startswith(f"{folder}/")] == [f"{folder}/"]


def test_a_big_file_goes_up_in_a_resumable_upload_and_comes_back_whole(
    shared: Gcloud, bucket: str, http: requests.Session, tmp_path: Path
) -> None:
    big, out = tmp_path / "model.bin", tmp_path / "out"
    out.mkdir()
    big.write_bytes(bytes(range(256)) * (9 << 12))
    shared(f"composer environments storage data import {IN} --source={big}")
    found = http.get(f"https://storage.googleapis.com/storage/v1/b/{bucket}/o/data%2Fmodel.bin", timeout=30).json()
    assert found["size"] == str(9 << 20)
    shared(f"composer environments storage data export {IN} --source=model.bin --destination={out}")
    assert (out / "model.bin").read_bytes() == big.read_bytes()


def test_nothing_is_written_into_an_environment_that_is_not_there_or_not_ours(
    shared: Gcloud, bucket: str, http: requests.Session, tmp_path: Path
) -> None:
    file = tmp_path / "stray.py"
    file.write_text("")
    missing = f"composer environments storage dags import --environment=missing --location={LOCATION} --source={file}"
    assert "NOT_FOUND: Resource 'projects/" in shared.fails(missing)
    # Who may see the environment may not yet write into its bucket.
    shared.sandbox.setup(grants=[f"user:viewer@example.com=roles/composer.user@projects/{shared.project}"])
    viewer = shared.as_("viewer@example.com")
    refused = viewer.fails(f"composer environments storage dags import {IN} --source={file}")
    assert "viewer@example.com does not have storage.objects." in refused
    assert not [name for name in names(http, bucket) if "stray" in name]
