"""Faults on request, and the record of calls."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

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


def test_a_held_call_is_never_worked_or_never_answered(
    google_: Running, client: ar.ArtifactRegistryClient, parent: str
) -> None:
    """Whoever waits hears of a held call at once; letting it go cuts its connection, and does not do its work."""
    lost = (exceptions.ServiceUnavailable, requests.exceptions.ConnectionError)
    for kind, there in (("hold_before", 0), ("hold_after", 1)):
        # `skip` counts calls of every method: the second one from here is held.
        google_.fault("*", kind=kind, skip=1)
        list(client.list_repositories(parent=parent))
        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(create, client, parent)
            [held] = google_.get("/sandbox/held?wait=20")["held"]
            assert (held["method"], held["fault"]) == (CREATE, kind)
            assert not future.done()
            google_.own.delete(f"http://127.0.0.1:{google_.port}/sandbox/faults", timeout=30)
            with pytest.raises(lost):
                future.result(30)
        assert len(list(client.list_repositories(parent=parent))) == there
    assert google_.get("/sandbox/held")["held"] == []


def test_a_held_call_goes_on_when_it_is_let(google_: Running, client: ar.ArtifactRegistryClient, parent: str) -> None:
    """The call does its work as if it had come just then: a fault that was queued meanwhile hits it."""
    own = f"http://127.0.0.1:{google_.port}/sandbox"
    for fault in ({"status": 429}, None):
        google_.fault("*", kind="hold_before")
        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(create, client, parent)
            [held] = google_.get("/sandbox/held?wait=20")["held"]
            assert google_.get("/sandbox/held?wait=0.1&more_than=1")["held"] == [held], "nothing else is held"
            google_.own.delete(f"{own}/faults?keep_held=true", timeout=30).raise_for_status()
            if fault:
                google_.fault(CREATE, **fault)
            assert not future.done()
            google_.own.post(f"{own}/held", json={"number": held["number"], "go_on": True}, timeout=30)
            if fault:
                with pytest.raises(exceptions.TooManyRequests):
                    future.result(30)
            else:
                future.result(30)
    assert len(list(client.list_repositories(parent=parent))) == 1
    assert google_.unused() == []
    refused = google_.own.post(f"{own}/held", json={"number": 10**6, "go_on": True}, timeout=30)
    assert (refused.status_code, refused.json()["error"]) == (400, "The call 1000000 is not held.")


def test_an_expired_token_passes_over_calls_that_have_none(google_: Running, parent: str) -> None:
    """Google's token endpoint asks for no token: nobody can be told there that one has ended."""
    google_.fault("*", kind="token_expiry")
    with google_.session(CALLER) as session:
        without = {"authorization": None}
        answer = session.post("https://oauth2.googleapis.com/token", data={}, headers=without, timeout=30)
        assert answer.status_code == 400
        assert [fault.get("kind") for fault in google_.unused()] == ["token_expiry"]
        url = f"https://artifactregistry.googleapis.com/v1/{parent}/repositories"
        assert session.get(url, timeout=30).status_code == 401
    assert google_.unused() == []


def test_an_answer_that_is_an_error_is_lost_and_held_too(
    google_: Running, client: ar.ArtifactRegistryClient, parent: str
) -> None:
    """What is not there is an answer as well: its client can die before it reads it."""
    lost = (exceptions.ServiceUnavailable, requests.exceptions.ConnectionError)
    google_.fault("*", kind="lost_answer")
    with pytest.raises(lost):
        client.get_repository(name=f"{parent}/repositories/none", retry=None)
    google_.fault("*", kind="hold_after")
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(client.get_repository, name=f"{parent}/repositories/none", retry=None)
        [held] = google_.get("/sandbox/held?wait=20")["held"]
        assert held["status"] == 404
        google_.own.delete(f"http://127.0.0.1:{google_.port}/sandbox/faults", timeout=30)
        with pytest.raises(lost):
            future.result(30)


def test_a_long_message_comes_whole(google_: Running, client: ar.ArtifactRegistryClient, parent: str) -> None:
    """With what repeats it, it would not fit into the trailers that a gRPC client always takes."""
    message = "what went wrong, " * 400
    google_.fault(LIST, status=403, message=message, times=20)
    for _ in range(20):
        with pytest.raises(exceptions.Forbidden) as caught:
            client.list_repositories(parent=parent, retry=None)
        assert message.strip() in caught.value.message
    assert google_.unused() == []
