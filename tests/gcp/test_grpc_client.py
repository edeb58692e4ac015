"""Calls over gRPC, whose access token ends before its time."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud.artifactregistry_v1 import ArtifactRegistryClient
from google.cloud.artifactregistry_v1.services.artifact_registry.transports import ArtifactRegistryGrpcTransport
from google.iam.v1 import policy_pb2
from google.oauth2 import service_account
from google.oauth2.credentials import Credentials
from google.rpc import code_pb2
from google.rpc.status_pb2 import Status

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


@pytest.mark.parametrize(
    "details",
    [
        Status(code=code_pb2.NOT_FOUND, message="no such repository").SerializeToString(),
        b"\xff\xff",
        Status(code=code_pb2.RESOURCE_EXHAUSTED, message="trailers").SerializeToString(),
    ],
    ids=["another status", "broken", "as it should be"],
)
def test_details_that_do_not_fit_the_refusal(details: bytes, name: RepositoryName) -> None:
    """Google's library fails over them with errors of its own; what counts is the status of the call."""
    with refusing(details) as transport:
        registry = Cloud(Session(AnonymousCredentials())).artifact_registry
        registry.__dict__["_client"] = ArtifactRegistryClient(transport=transport)
        with pytest.raises(UnavailableError, match="Google said: RESOURCE_EXHAUSTED: trailers") as caught:
            registry.set_policy(name, policy_pb2.Policy())
    assert caught.value.status == "RESOURCE_EXHAUSTED"
    assert caught.value.remedy is not None
    assert caught.value.remedy.startswith("try again"), "a permission is no cure for it"


@contextmanager
def refusing(details: bytes) -> Iterator[ArtifactRegistryGrpcTransport]:
    """A server that ends every call with RESOURCE_EXHAUSTED and these details."""

    def refuse(_: bytes, context: grpc.ServicerContext) -> bytes:
        context.set_trailing_metadata((("grpc-status-details-bin", details),))
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "trailers")
        raise AssertionError

    class Every(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc is not followed by mypy
        def service(self, _: object) -> object:
            return grpc.unary_unary_rpc_method_handler(refuse)

    with ThreadPoolExecutor(1) as pool:
        server = grpc.server(pool, [Every()])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield ArtifactRegistryGrpcTransport(channel=channel)
        server.stop(None).wait()
