"""Faults on request, and the record of calls."""

from __future__ import annotations

import time

import pytest
import requests
from google.api_core import exceptions
from google.cloud import artifactregistry_v1 as ar
from google.oauth2.credentials import Credentials

from tests.conftest import LOCATION, Running

from .test_artifact_registry import CALLER, create, upload

LIST = "google.devtools.artifactregistry.v1.ArtifactRegistry.ListRepositories"
CREATE = "google.devtools.artifactregistry.v1.ArtifactRegistry.CreateRepository"


@pytest.fixture(params=["grpc", "rest"])
def client(google_: Running, request: pytest.FixtureRequest) -> ar.ArtifactRegistryClient:
    return ar.ArtifactRegistryClient(credentials=Credentials(google_.token(CALLER)), transport=request.param)


def test_a_status_hits_the_next_calls_only(google_: Running, client: ar.ArtifactRegistryClient, parent: str) -> None:
    google_.fault(LIST, status=429, times=2, message="slow down")
    for _ in range(2):
        with pytest.raises(exceptions.TooManyRequests, match="slow down"):
            client.list_repositories(parent=parent, retry=None)
    assert list(client.list_repositories(parent=parent)) == []
    assert google_.unused() == []


def test_a_reset_happens_before_the_work_and_a_lost_answer_after_it(
    google_: Running, client: ar.ArtifactRegistryClient, parent: str
) -> None:
    lost = (exceptions.ServiceUnavailable, requests.exceptions.ConnectionError)
    google_.fault(CREATE, kind="reset")
    with pytest.raises(lost):
        create(client, parent)
    assert list(client.list_repositories(parent=parent)) == []
    google_.fault(CREATE, kind="lost_answer")
    with pytest.raises(lost):
        create(client, parent)
    assert len(list(client.list_repositories(parent=parent))) == 1


def test_a_delay_is_felt(google_: Running, client: ar.ArtifactRegistryClient, parent: str) -> None:
    google_.fault(LIST, delay=0.3)
    start = time.monotonic()
    client.list_repositories(parent=parent)
    assert time.monotonic() - start >= 0.3


def test_an_upload_whose_answer_is_lost_is_there(
    google_: Running, client: ar.ArtifactRegistryClient, parent: str, project: str
) -> None:
    create(client, parent)
    google_.fault("Python-UploadPackage", kind="lost_answer")
    with google_.session(CALLER) as session:
        with pytest.raises(requests.exceptions.ConnectionError):
            upload(session, project, "acme", "1.0")
        assert upload(session, project, "acme", "1.0")[:2] == (400, "Requested entity already exists.")


def test_storage_speaks_of_faults_in_its_own_shape(sandbox: Running, project: str) -> None:
    sandbox.setup(buckets=[f"{project}/faulty-{project}"])
    sandbox.fault("storage.objects.list", status=503)
    with sandbox.session(CALLER) as session:
        url = f"https://storage.googleapis.com/storage/v1/b/faulty-{project}/o"
        answer = session.get(url, timeout=30)
        assert (answer.status_code, answer.json()["error"]["errors"][0]["reason"]) == (503, "backendError")
        assert session.get(url, timeout=30).status_code == 200


def test_unused_faults_can_be_asked_for_and_nonsense_is_refused(sandbox: Running) -> None:
    sandbox.fault("storage.buckets.delete", status=500)
    assert [fault["method"] for fault in sandbox.unused()] == ["storage.buckets.delete"]
    sandbox.own.delete(f"http://127.0.0.1:{sandbox.port}/sandbox/faults", timeout=30)
    assert sandbox.unused() == []
    for value in ({}, {"method": "x"}, {"method": "x", "status": 299}, {"method": "x", "colour": 1, "status": 500}):
        answer = sandbox.own.post(f"http://127.0.0.1:{sandbox.port}/sandbox/faults", json=value, timeout=30)
        assert answer.status_code == 400, value


def test_every_call_is_recorded_with_who_and_what(google_: Running, parent: str, project: str) -> None:
    client = ar.ArtifactRegistryClient(credentials=Credentials(google_.token(CALLER)))
    create(client, parent)
    with pytest.raises(exceptions.NotFound):
        client.get_repository(name=f"{parent}/repositories/other")
    made, missing = google_.calls(project)[-2:]
    assert made == {"method": CREATE, "principal": CALLER, "resource": parent, "status": 200}
    assert (missing["resource"], missing["status"]) == (
        f"projects/{project}/locations/{LOCATION}/repositories/other",
        404,
    )
