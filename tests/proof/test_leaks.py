"""No secret leaves by an error, a log or a result; and the scanner that says so finds what there is to find."""

# ruff: noqa: E501 -- tables of secrets in all forms

from __future__ import annotations

import base64
import gzip
import json
import logging
import sqlite3
import zlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import google.auth.exceptions
import pytest
import requests
from google.api_core import exceptions as api

from airflow_gar_provider.compat import AirflowFailException
from airflow_gar_provider.core.environment import EnvironmentName
from airflow_gar_provider.core.pip_conf import decode, read_as_pip
from airflow_gar_provider.core.redaction import redact_lines
from airflow_gar_provider.core.repository import RepositoryName
from airflow_gar_provider.core.requirement import parse_requirements
from airflow_gar_provider.core.service_account_key import ServiceAccountKey
from airflow_gar_provider.errors import GarProviderError, UnavailableError
from airflow_gar_provider.gcp.cloud import Cloud
from airflow_gar_provider.gcp.session import google_errors
from airflow_gar_provider.operators import ComposerPipConfigOperator, DeployDagOperator, PublishWheelOperator
from airflow_gar_provider.triggers.package_version import PackageServedTrigger
from proof import leaks
from proof.leaks import Exempt, Scanner, chain_of, forms
from tests.conftest import Running
from tests.operators.conftest import Ti, conn, context, ti
from tests.steps.conftest import clock, cloud, cloud_of, environment, owner, published, repository
from tests.wheels import make_wheel

__all__ = [
    "clock", "cloud", "cloud_of", "conn", "context", "environment", "owner", "published", "repository", "ti",
]  # fmt: skip
GET = "google.cloud.orchestration.airflow.service.v1.Environments.GetEnvironment"


@pytest.fixture
def canaries() -> dict[str, str]:
    key = leaks.key_file("canary@acme-data.iam.gserviceaccount.com")
    return {
        "token": leaks.token(),
        "password": leaks.word("Pw/+?"),
        "web token": leaks.web_token(),
        "key": key["private_key"],
        "key id": key["private_key_id"],
        "key file": json.dumps(key),
    }


def said(canaries: dict[str, str]) -> str:
    """The canaries as error bodies and build logs quote them."""
    whole = base64.b64encode(canaries["key file"].encode()).decode()
    return "\n".join(
        [
            f"Permission denied for token {canaries['token']} (id_token: {canaries['web token']})",
            f'{{"error": {{"details": [{{"access_token": "{canaries["password"]}"}}], "auth": "{canaries["token"]}"}}}}',
            f"Authorization: Bearer {canaries['password']}",
            f"Looking in indexes: https://user:{quote(canaries['password'], safe='')}@pypi.example/simple/",
            f"see https://login.example/?continue=https%3A%2F%2Fu%3A{quote(canaries['password'], safe='')}%40h&t={canaries['token']}",
            f"GET https://_json_key_base64:{whole}@europe-west1-python.pkg.dev/p/r/simple/",
            canaries["key"],
            canaries["key file"],
        ]
    )


# --- the scanner ---------------------------------------------------------------------------------------------------

HOW: dict[str, Callable[[str], str]] = {
    "plain": str,
    "JSON": lambda text: json.dumps({"a": text}),
    "repr": repr,
    "percent-encoded": lambda text: quote(text, safe=""),
    "percent-encoded twice": lambda text: quote(quote(text, safe=""), safe=""),
    **{
        f"base64, {before} before": lambda text, before=before: base64.b64encode(b"x" * before + text.encode() + b"yz").decode()  # type: ignore[misc]
        for before in range(5)
    },
    "URL-safe base64": lambda text: base64.urlsafe_b64encode(f"user:{text}".encode()).decode(),
    "base64 of JSON": lambda text: base64.b64encode(json.dumps({"private_key": text}).encode()).decode(),
    "base64 of percent-encoded": lambda text: base64.b64encode(f"a{quote(text, safe='')}".encode()).decode(),
    "percent-encoded base64": lambda text: quote(base64.b64encode(f"a{text}".encode()).decode(), safe=""),
}  # fmt: skip


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("name", ["token", "password", "web token", "key", "key id"])
def test_every_form_is_found(canaries: dict[str, str], name: str, how: str) -> None:
    """Each canary, planted in each form, alone: found under its name; and not found where another one was."""
    content = f"before {HOW[how](canaries[name])} after".encode()
    assert name in {leak.what for leak in Scanner({name: canaries[name]}).scan("log", content)}
    other = Scanner({"other": leaks.word()}).scan("log", content)
    assert "other" not in {leak.what for leak in other}


@pytest.mark.parametrize(
    ("shape", "text"),
    [
        ("a key in an index URL", lambda: f"https://_json_key_base64:{'A' * 40}@h/"),
        ("a key in an index URL", lambda: f"_json_key%3A{'A' * 40}"),
        ("an access token", leaks.token),
        ("a private key", lambda: leaks.key_file("a@b.iam.gserviceaccount.com")["private_key"]),
        ("a private key", lambda: json.dumps(leaks.key_file("a@b.iam.gserviceaccount.com"))),
        ("a private key", lambda: json.dumps(json.dumps(leaks.key_file("a@b.iam.gserviceaccount.com")))),
        ("a private key in base64", lambda: ServiceAccountKey.parse(json.dumps(leaks.key_file("a@b.iam.gserviceaccount.com"))).password),
        ("a JSON web token", leaks.web_token),
        ("an Authorization header", lambda: f"authorization: Bearer {leaks.word()}"),
        ("an Authorization header", lambda: json.dumps({"Authorization": f"Basic {leaks.word()}"})),
        ("an Authorization header", lambda: json.dumps(json.dumps({"Authorization": leaks.word()}))),
        ("a URL with a password", lambda: "https://user:hunter22@pypi.example/simple/"),
    ],
)  # fmt: skip
def test_every_shape_is_found(shape: str, text: Callable[[], str]) -> None:
    """A credential that is no canary, by its shape; hidden, it is none."""
    assert shape in {leak.what for leak in Scanner({}).scan("log", f"x {text()} y".encode())}
    for hidden in (
        "https://****@h/",
        "_json_key_base64:****",
        "Authorization: ****",
        "https://user:****@h/",
        "ya29.****",
    ):
        assert Scanner({}).scan("log", hidden.encode()) == []


def test_where_it_looks(tmp_path: Path, canaries: dict[str, str]) -> None:
    """Files, compressed ones, a database with its log and its rows, and every corner of an exception."""
    scanner = Scanner({"token": canaries["token"]}, (Exempt(r".*/exempt\.txt", "for the test"),))
    secret = canaries["token"].encode()
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "exempt.txt").write_bytes(secret)
    assert scanner.scan_tree(tmp_path) == []
    assert scanner.places == 0
    (tmp_path / "a.log").write_bytes(secret)
    (tmp_path / "a.log.gz").write_bytes(gzip.compress(secret))
    with closing(sqlite3.connect(tmp_path / "a.db")) as database:
        database.execute("pragma journal_mode=wal")
        database.execute("create table x (a blob)")
        database.execute("insert into x values (?), (?), (null)", (secret, zlib.compress(secret)))
        database.commit()  # still only in the log: the connection is open
        found = {leak.where for leak in scanner.scan_tree(tmp_path)}
        rows = scanner.scan_rows("x", ["a"], database.execute("select a from x"))
    assert found == {"a.log", "a.log.gz", "a.db-wal"}
    assert {(leak.where, leak.form) for leak in rows if leak.what == "token"} == {
        ("x.a row 0", "plain"),
        ("x.a row 1", "compressed, plain"),
    }
    for hide in ("cause", "context", "args", "attribute", "bytes"):
        error = ValueError("clean")
        if hide == "cause":
            error.__cause__ = ValueError(canaries["token"])
        elif hide == "context":
            error.__context__ = RuntimeError(KeyError(canaries["token"]))
            error.__suppress_context__ = True
        elif hide == "args":
            error.args = ("x", {"y": canaries["token"]})
        elif hide == "attribute":
            error.doc = canaries["token"]  # type: ignore[attr-defined]
        else:
            error.__context__ = UnicodeDecodeError("utf-8", secret, 0, 1, "x")
        assert scanner.scan_error("task", error), hide
    assert all(len(form) >= 8 for form in forms(canaries["token"]))
    assert canaries["token"] not in str(scanner.scan("a", secret)[0])


# --- errors --------------------------------------------------------------------------------------------------------


def clean(scanner: Scanner, error: BaseException) -> None:
    assert scanner.scan_error("error", error) == []


def _answer(text: str) -> requests.Response:
    answer = requests.Response()
    answer.status_code, answer._content = 403, text.encode()
    answer.request = requests.Request(
        "GET", "https://x.example/", headers={"Authorization": f"Bearer {text[:50]}"}
    ).prepare()
    return answer


@pytest.mark.parametrize(
    "make",
    [
        lambda text: api.Forbidden(text, errors=[text], details=[text]),
        api.InternalServerError,
        lambda text: api.from_http_response(_answer(text)),
        lambda text: api.RetryError(text, api.ServiceUnavailable(text, details=[text])),
        lambda text: api.RetryError(text, ValueError(text)),
        lambda text: google.auth.exceptions.RefreshError(text, {"error": text, "list": [text]}),
        lambda text: google.auth.exceptions.RefreshError("Unable to acquire impersonated credentials", text.encode()),
        lambda text: requests.ConnectionError(ConnectionResetError(104, text)),
        requests.exceptions.InvalidURL,
    ],
)  # fmt: skip
def test_errors_of_googles_clients(canaries: dict[str, str], make: Callable[[str], Exception]) -> None:
    """Whatever Google's clients raise: ours is clean, and so is everything that is printed behind it."""
    text = said(canaries)

    class TransportError(Exception):
        def __str__(self) -> str:
            return text

    with pytest.raises(GarProviderError) as caught, google_errors("look at it", resource="r"):
        try:
            raise TransportError
        except TransportError as below:
            raise make(text) from below
    clean(Scanner(canaries), caught.value)
    assert len(chain_of(caught.value)) > 1, "the cause is still there"


def test_errors_of_our_own(canaries: dict[str, str]) -> None:
    """Input that holds a secret where none belongs: the error says what is wrong, without it."""
    password, token = quote(canaries["password"], safe=""), canaries["token"]
    scanner = Scanner(canaries)
    conf = f"[global]\nindex-url = https://user:{password}@h/simple/\n"
    calls: list[Callable[[], object]] = [
        lambda: parse_requirements(f"acme @ https://user:{password}@h/acme.whl"),
        lambda: parse_requirements(f"--index-url https://user:{password}@h/ acme"),
        lambda: RepositoryName.parse(f"https://oauth2accesstoken:{token}@europe-west1-python.pkg.dev/p/r/"),
        lambda: EnvironmentName.parse(f"https://user:{password}@h/environments/dev"),
        lambda: read_as_pip(conf + conf),
        lambda: read_as_pip(f"index-url = https://user:{password}@h/simple/"),
        lambda: decode(conf.encode() + b"\xff"),
        lambda: ServiceAccountKey.parse(canaries["key file"] + "}"),
        lambda: ServiceAccountKey.parse(canaries["key file"].encode() + b"\xff"),
    ]
    for call in calls:
        with pytest.raises(GarProviderError) as caught:
            call()
        clean(scanner, caught.value)


def test_lines_of_a_key(canaries: dict[str, str]) -> None:
    """A key that a build prints is many lines, each of which looks like nothing; what stands around it stays."""
    lines = ["before", *canaries["key"].splitlines(), "after", "abc", *canaries["key"].splitlines()[3:], "end"]
    shown = redact_lines(lines)
    assert Scanner(canaries).scan("log", "\n".join(shown).encode()) == []
    assert [line for line in shown if line != "****"] == ["before", "after", "abc", "end"]


# --- operators, through Google's clients ---------------------------------------------------------------------------


def test_what_google_says_to_operators(
    conn: None,
    sandbox: Running,
    cloud: Cloud,
    environment: EnvironmentName,
    repository: RepositoryName,
    tmp_path: Path,
    canaries: dict[str, str],
    context: Any,
    ti: Ti,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Refusals whose bodies quote every canary: not in what is raised, pushed or logged."""
    caplog.set_level(logging.DEBUG)
    wheel = str(make_wheel(tmp_path, "acme_demo", "1.0"))
    name, place = str(environment), str(repository)
    (tmp_path / "a_dag.py").write_text("")
    deploy = DeployDagOperator(task_id="t", environment=name, files=str(tmp_path / "a_dag.py"))
    cases = [
        (GET, ComposerPipConfigOperator(task_id="t", environment=name, repository=place)),
        ("storage.objects.list", deploy),
        ("Python-UploadPackage", PublishWheelOperator(task_id="t", wheels=wheel, repository=place)),
        (
            "google.cloud.secretmanager.v1.SecretManagerService.AccessSecretVersion",
            ComposerPipConfigOperator(
                task_id="t", environment=name, repository=place, auth="service_account_key",
                key_secret=f"projects/{environment.project}/secrets/key",
            ),
        ),
    ]  # fmt: skip
    scanner = Scanner(canaries)
    for method, operator in cases:
        sandbox.fault(method, status=403, message=said(canaries))
        with pytest.raises((AirflowFailException, UnavailableError)) as caught:
            operator.execute(context)
        assert "****" in str(caught.value), method
        clean(scanner, caught.value)
        assert scanner.scan("XCom", json.dumps(ti.pushed).encode()) == []
        assert sandbox.unused() == []
    ours = "\n".join(record.getMessage() for record in caplog.records)
    assert scanner.scan("log", ours.encode()) == []


def test_what_iam_says_of_an_impersonation(
    google_: Running, cloud: Cloud, owner: str, canaries: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    """Its answer is in no error; nor in what gRPC logs of it, which prints the traceback itself."""
    method = "google.iam.credentials.v1.IAMCredentials.GenerateAccessToken"
    google_.fault(method, status=403, message=said(canaries))
    with pytest.raises(GarProviderError, match="no usable Google credentials") as caught:
        cloud.session.impersonate("other@acme-data.iam.gserviceaccount.com").token()
    clean(Scanner(canaries), caught.value)
    assert google_.unused() == []
    try:
        raise google.auth.exceptions.RefreshError("Unable to acquire impersonated credentials", said(canaries))
    except google.auth.exceptions.RefreshError as error:
        logging.getLogger("grpc._plugin_wrapping").exception("callback raised %s", error)
    assert "Unable to acquire" in caplog.text
    assert Scanner(canaries).scan("log", caplog.text.encode()) == []


def test_a_trigger_without_a_client(canaries: dict[str, str]) -> None:
    """What the connection's hook says of a key that is wrong is no text of an event."""
    import asyncio

    class Trigger(PackageServedTrigger):
        def _connect(self) -> Cloud:
            raise RuntimeError(said(canaries))

        async def _sleep(self, seconds: float) -> None:
            await asyncio.sleep(0)

    async def look() -> None:
        trigger = Trigger(repository="projects/acme-packages/locations/us/repositories/r", requirement="a")
        with pytest.raises(UnavailableError) as caught:
            await trigger._look().files(0)
        clean(Scanner(canaries), caught.value)

    asyncio.run(look())
