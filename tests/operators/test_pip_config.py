"""ComposerPipConfigOperator: what a DAG gets, and what never reaches XCom, logs or rendered templates."""

from __future__ import annotations

import base64
import json
import logging
from typing import Any

import pytest

from airflow_gar_provider.compat import AirflowFailException
from airflow_gar_provider.core import pip_conf
from airflow_gar_provider.core.environment import EnvironmentName
from airflow_gar_provider.core.repository import RepositoryName
from airflow_gar_provider.core.service_account_key import ServiceAccountKey
from airflow_gar_provider.gcp.cloud import Cloud
from airflow_gar_provider.operators import ComposerPipConfigOperator
from airflow_gar_provider.steps.pip_backup import PIP_CONF
from airflow_gar_provider.steps.repository import create_repository
from tests.conftest import Running
from tests.keys import key_file, make_key


class Task:
    """The operator on one environment and repository, run as a task."""

    def __init__(self, cloud: Cloud, environment: EnvironmentName, repository: RepositoryName, context: Any) -> None:
        self.cloud = cloud
        self.environment = environment
        self.repository = repository
        self.context = context

    def run(self, **arguments: Any) -> dict[str, Any]:
        given: dict[str, Any] = {"environment": str(self.environment), "repository": str(self.repository), **arguments}
        result = ComposerPipConfigOperator(task_id="point", **given).execute(self.context)
        assert json.loads(json.dumps(result)) == result
        return result

    def text(self) -> str:
        bucket = self.cloud.composer.get_environment(self.environment).bucket
        found = self.cloud.storage.read(bucket, PIP_CONF)
        return found[0].decode() if found else ""


@pytest.fixture
def point(conn: None, cloud: Cloud, environment: EnvironmentName, repository: RepositoryName, context: Any) -> Task:
    return Task(cloud, environment, repository, context)


def test_keyless_and_the_grant_that_is_missing(
    point: Task, cloud: Cloud, sandbox: Running, caplog: pytest.LogCaptureFixture
) -> None:
    """The result and the log name the exact grant as long as it cannot be seen; afterwards they do not."""
    account = cloud.composer.get_environment(point.environment).service_account
    first = point.run()
    assert (first["outcome"], first["access"], first["account"], first["key"]) == ("written", "unknown", account, None)
    [grant] = first["grants"]
    assert grant.startswith("gcloud artifacts repositories add-iam-policy-binding python ")
    assert f"serviceAccount:{account}" in grant
    assert grant in caplog.text
    sandbox.setup(grants=[f"serviceAccount:{account}=roles/artifactregistry.reader@{point.repository}"])
    again = point.run()
    assert (again["outcome"], again["access"], again["grants"]) == ("unchanged", "granted", [])
    assert not [warning for warning in again["warnings"] if account in warning]


def test_an_account_that_may_be_asked(point: Task, cloud: Cloud, owner: str, sandbox: Running) -> None:
    """Where the caller may impersonate the account, the answer is its own: missing."""
    account = cloud.composer.get_environment(point.environment).service_account
    role = "roles/iam.serviceAccountTokenCreator"
    place = f"projects/{point.environment.project}/serviceAccounts/{account}"
    sandbox.setup(grants=[f"serviceAccount:{owner}={role}@{place}"])
    assert point.run()["access"] == "missing"


def test_a_repository_in_the_environments_project(
    point: Task, sandbox: Running, owner: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Every DAG may overwrite every package there: that is said."""
    name = f"projects/{point.repository.project}/locations/{point.repository.location}/environments/near"
    sandbox.setup(environments=[name])
    assert [w for w in point.run(environment=name)["warnings"] if "lies in the environment's own project" in w]
    assert "every DAG may overwrite" in caplog.text


def test_what_the_only_index_means(point: Task, cloud: Cloud) -> None:
    """A repository that is not virtual, or is not there, is said to be so; a virtual one is not."""
    assert [w for w in point.run()["warnings"] if "is a standard repository: as the only index it has to hold" in w]
    virtual = RepositoryName.parse(f"{point.repository}-all")
    missing = [w for w in point.run(repository=str(virtual))["warnings"] if f"there is no repository {virtual}" in w]
    assert len(missing) == 1
    create_repository(cloud.artifact_registry, virtual, mode="virtual", upstreams={str(point.repository): 1})
    told = point.run(repository=str(virtual))["warnings"]
    assert not [w for w in told if "only index" in w or "there is no repository" in w]
    assert not [w for w in point.run(form="extra_index")["warnings"] if "only index" in w]


def test_several_as_a_form_gives_them(point: Task) -> None:
    """One string with newlines or commas is a list, too; the first is the index."""
    more = f"{point.repository}-more"
    result = point.run(repository=f"{point.repository}\n{more}\n")
    assert result["repositories"] == [str(point.repository), more]
    assert point.run(repository=f"{point.repository}, {more}")["outcome"] == "unchanged"
    assert point.run(repository=[str(point.repository), more], form="absent")["outcome"] == "written"
    assert point.text() == "[global]\n"


def test_restored_by_a_result(point: Task) -> None:
    """What `restore` of a result names, a later task brings back."""
    result = point.run()
    back = point.run(restore=result["restore"])
    assert (back["outcome"], point.text()) == ("written", "")
    assert point.run(restore=result["restore"])["outcome"] == "unchanged"


@pytest.mark.parametrize("kind", ["google", "extra__google", "password", "base64"])
def test_a_key_in_a_connection(
    point: Task, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    """The key comes out of the connection into pip.conf, and nowhere else."""
    file = key_file()
    text = json.dumps(file)
    connection: dict[str, Any] = {
        "google": {"conn_type": "google_cloud_platform", "extra": {"keyfile_dict": text}},
        "extra__google": {
            "conn_type": "google_cloud_platform",
            "extra": {"extra__google_cloud_platform__keyfile_dict": file},
        },
        "password": {"conn_type": "generic", "password": text},
        "base64": {"conn_type": "generic", "password": base64.b64encode(text.encode()).decode()},
    }[kind]
    monkeypatch.setenv("AIRFLOW_CONN_PIP_KEY", json.dumps(connection))
    with caplog.at_level(logging.DEBUG, logger="airflow_gar_provider"):
        result = point.run(auth="service_account_key", key_conn_id="pip_key")
    key = ServiceAccountKey.parse(text)
    assert pip_conf.keys_in(point.text()) == (key,)
    assert result["key"] == key.id
    pushed = json.dumps(point.context["ti"].pushed)
    assert [secret for secret in key.secrets if secret in f"{result} {caplog.text} {pushed}"] == []


@pytest.mark.slow
def test_a_key_is_made_changed_and_retired(point: Task, sandbox: Running) -> None:
    """The three tasks of a change; without an operation the old key stays."""
    email = f"pip-reader@{point.repository.project}.iam.gserviceaccount.com"
    sandbox.setup(accounts=[email])
    arguments = {"auth": "service_account_key", "key_service_account": email}
    old = point.run(**arguments)["key"]
    point.context["ti"].run_id = "another"
    new = point.run(**arguments, rotate=True)["key"]
    assert new not in (None, old)
    assert point.run(**arguments, rotate=True)["key"] == new
    for operation in (None, "None", ""):
        kept = point.run(**arguments, retire=True, operation=operation)
        assert (kept["outcome"], kept["disabled"]) == ("unchanged", [])
        assert "nothing was installed since" in kept["message"]


def test_masked(point: Task, sandbox: Running) -> None:
    """Airflow's own mask knows the key from the moment that it is known here."""
    try:
        from airflow.sdk.log import redact
    except ImportError:  # Airflow 2.11
        from airflow.utils.log.secrets_masker import redact

    email = f"pip-reader@{point.repository.project}.iam.gserviceaccount.com"
    sandbox.setup(accounts=[email])
    point.run(auth="service_account_key", key_service_account=email)
    [key] = pip_conf.keys_in(point.text())
    for secret in (*key.secrets, key.password):
        assert "somebody prints ***" in str(redact(f"somebody prints {secret} here"))


BAD: list[tuple[dict[str, Any], str]] = [
    ({"auth": "key"}, 'auth is "iam", or "service_account_key" with the source of a key'),
    ({"key_secret": "projects/p/secrets/s"}, "with the source of a key, not 'iam'"),
    ({"rotate": True}, "with the source of a key, not 'iam'"),
    ({"auth": "service_account_key"}, "a key comes from exactly one source"),
    (
        {"auth": "service_account_key", "key_secret": "projects/p/secrets/s", "key_service_account": "a@b"},
        "a key comes from exactly one source",
    ),
    ({"auth": "service_account_key", "key_conn_id": "pip_key"}, "is not a service account's key file"),
    ({"retire": True}, "retire needs key_service_account"),
    ({"repository": ""}, "no repository is named"),
    ({"form": "extra-index"}, "form is one of index, extra_index, absent"),
    ({"restore": "yesterday"}, "the number of a generation that was kept"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD)
def test_bad_arguments(point: Task, monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any], message: str) -> None:
    """Each is said in a sentence; nothing is written; a retry would not help."""
    broken = {**key_file(), "type": "something"}
    monkeypatch.setenv("AIRFLOW_CONN_PIP_KEY", json.dumps({"conn_type": "generic", "password": json.dumps(broken)}))
    with pytest.raises(AirflowFailException) as caught:
        point.run(**arguments)
    assert message in str(caught.value)
    assert broken["private_key"][40:80] not in str(caught.value)
    assert point.text() == ""


def test_no_secret_is_a_template_field() -> None:
    """Parameters name where the key lies; none takes the key itself."""
    task = ComposerPipConfigOperator(task_id="x", environment="e", key_conn_id="pip_key")
    values = [getattr(task, field) for field in task.template_fields]
    assert [value for value in values if isinstance(value, str)] == [
        "e",
        "index",
        "iam",
        "pip_key",
        "google_cloud_default",
    ]
    assert make_key().secrets[0] not in str(vars(task))


def test_a_retry_tells_what_the_try_wrote_that_died(point: Task, ti: Any) -> None:
    """Written, and died before Airflow knew: the retry's result is the same, with what was there before."""
    first = point.run()
    assert first["outcome"] == "written"
    ti.try_number, ti.max_tries = 2, 0
    assert point.run() == first
    ti.max_tries = 1  # somebody cleared the task: it is asked anew
    assert point.run()["outcome"] == "unchanged"
    point.run(form="absent")
    ti.max_tries = 0
    assert point.run(form="absent")["restore"] != first["restore"]
