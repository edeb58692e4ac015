"""Calls over gRPC, whose access token ends before its time."""

from __future__ import annotations

import base64
import json

import pytest
from google.oauth2 import service_account
from google.oauth2.credentials import Credentials

from airflow_gar_provider.core.repository import RepositoryName
from airflow_gar_provider.errors import AccessDeniedError, UnavailableError
from airflow_gar_provider.gcp.cloud import Cloud
from airflow_gar_provider.gcp.session import Session
from tests.conftest import Running

GET = "google.devtools.artifactregistry.v1.ArtifactRegistry.GetRepository"
CALLER = "caller@sandbox-tests.iam.gserviceaccount.com"


@pytest.fixture
def name(parent: str) -> RepositoryName:
    return RepositoryName.parse(f"{parent}/repositories/python")


@pytest.fixture
def session(google_: Running) -> Session:
    """A session whose credentials can be renewed: those of a key."""
    with google_.session(CALLER) as http:
        url = f"https://iam.googleapis.com/v1/projects/-/serviceAccounts/{CALLER}/keys"
        made = http.post(url, json={}, timeout=30).json()
    info = json.loads(base64.b64decode(made["privateKeyData"]))
    scopes = ["https://www.googleapis.com/auth/cloud-platform"]
    return Session(service_account.Credentials.from_service_account_info(info, scopes=scopes))


def test_a_call_that_is_refused_for_its_token_is_sent_again(
    google_: Running, session: Session, name: RepositoryName
) -> None:
    """With a fresh token, and once: the caller does not notice."""
    google_.fault(GET, kind="token_expiry")
    assert Cloud(session).artifact_registry.get_repository(name) is None
    assert google_.unused() == []


def test_twice_refused_is_refused(google_: Running, session: Session, name: RepositoryName) -> None:
    """Credentials that Google does not take are an error, not a loop."""
    google_.fault(GET, kind="token_expiry", times=2)
    with pytest.raises(AccessDeniedError) as caught:
        Cloud(session).artifact_registry.get_repository(name)
    assert (caught.value.status, caught.value.retryable) == ("UNAUTHENTICATED", False)
    assert google_.unused() == []


def test_a_token_that_cannot_be_renewed(google_: Running, name: RepositoryName) -> None:
    """The first refusal stands."""
    google_.fault(GET, kind="token_expiry")
    with pytest.raises(AccessDeniedError) as caught:
        Cloud(Session(Credentials(google_.token(CALLER)))).artifact_registry.get_repository(name)
    assert caught.value.status == "UNAUTHENTICATED"
    assert google_.unused() == []


def test_a_token_endpoint_that_is_away(google_: Running, session: Session) -> None:
    """No answer says nothing about the credentials: another try may help."""
    google_.fault("oauth2.token", kind="reset")
    with pytest.raises(UnavailableError, match="could not get an access token: no access token") as caught:
        session.token()
    assert caught.value.retryable
    assert session.token()
    assert google_.unused() == []
