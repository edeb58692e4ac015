"""Keys for pip.conf: found, made, changed for new ones; never shown, and deleted only when they are provably ours."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from google.cloud import secretmanager_v1 as sm
from google.oauth2.credentials import Credentials

from airflow_gar_provider.core import pip_conf
from airflow_gar_provider.core.environment import Environment, EnvironmentName, Patch
from airflow_gar_provider.core.repository import RepositoryName
from airflow_gar_provider.core.service_account_key import ServiceAccountKey
from airflow_gar_provider.errors import (
    AccessDeniedError,
    ConcurrentChangeError,
    InvalidInputError,
    InvalidKeyError,
    InvalidNameError,
    InvalidPipConfError,
    NotFoundError,
    UnavailableError,
)
from airflow_gar_provider.gcp.cloud import Cloud
from airflow_gar_provider.steps.key import KeySource, finish
from airflow_gar_provider.steps.key_book import KeyBook, read_book
from airflow_gar_provider.steps.pip_backup import PIP_CONF, backup_name
from airflow_gar_provider.steps.point import Pointing, configure
from tests.conftest import Running
from tests.keys import key_file
from tests.steps.conftest import QuickClock
from tests.wheels import make_wheel

CREATE = "google.iam.admin.v1.IAM.CreateServiceAccountKey"


class Site:
    """An environment, a repository, and a service account for which keys are made."""

    def __init__(self, cloud: Cloud, name: EnvironmentName, repository: RepositoryName, clock: QuickClock) -> None:
        self.cloud = cloud
        self.name = name
        self.repository = repository
        self.clock = clock
        self.email = f"pip-reader@{repository.project}.iam.gserviceaccount.com"
        self.masked: list[str] = []

    @property
    def environment(self) -> Environment:
        return self.cloud.composer.get_environment(self.name)

    @property
    def bucket(self) -> str:
        return self.environment.bucket

    def run(self, run: str = "run", *, source: KeySource | None = None, **more: Any) -> dict[str, Any]:
        """One run of the step; with a key of the service account unless said otherwise."""
        source = source or KeySource(service_account=self.email)
        wanted = Pointing(self.name, (self.repository,), source=source, run=run, **more)
        result = configure(self.cloud, wanted, self.masked.append, self.clock)
        assert json.loads(json.dumps(result)) == result
        return result

    def text(self) -> str:
        found = self.cloud.storage.read(self.bucket, PIP_CONF)
        return found[0].decode() if found else ""

    def held(self) -> ServiceAccountKey:
        [key] = pip_conf.keys_in(self.text())
        return key

    def live(self) -> dict[str, bool]:
        """Ids of the account's keys -> whether they work."""
        return {key.id: not key.disabled for key in self.cloud.iam.list_keys(self.email)}

    def book(self) -> KeyBook:
        return read_book(self.cloud.storage, self.bucket, self.email)

    def update(self) -> str:
        """A successful update of the environment, as an install begins one; its operation."""
        packages = self.environment.packages
        patch = Patch({}, ("six",)) if "six" in packages else Patch({"six": ""}, ())
        return self.cloud.composer.update_packages(self.name, patch).name


@pytest.fixture
def site(
    sandbox: Running, cloud: Cloud, environment: EnvironmentName, repository: RepositoryName, clock: QuickClock
) -> Site:
    site = Site(cloud, environment, repository, clock)
    sandbox.setup(
        accounts=[site.email], grants=[f"serviceAccount:{site.email}=roles/artifactregistry.reader@{repository}"]
    )
    return site


def forms(key: ServiceAccountKey) -> set[str]:
    """Every form in which a key's secret might turn up."""
    text = base64.b64decode(key.password).decode()
    private = json.loads(text)["private_key"]
    plain = [text, private, json.dumps(private)[1:-1], key.password, *private.splitlines()[1:-1]]
    encoded = [base64.b64encode(form.encode()).decode() for form in plain[:3]]
    return {*plain, *encoded, *(quote(form, safe="") for form in [*plain, *encoded])}


def test_made_once(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """A key is made, written, and kept by the next run; its secret is in pip.conf alone, and told to the mask."""
    with caplog.at_level(logging.DEBUG, logger="airflow_gar_provider"):
        first = site.run("one")
        again = site.run("two")
    key = site.held()
    assert (first["outcome"], again["outcome"]) == ("written", "unchanged")
    assert (first["account"], first["key"], first["access"]) == (site.email, key.id, "granted")
    assert site.live() == {key.id: True}
    assert [warning for warning in first["warnings"] if "whoever writes DAGs can read it" in warning]
    assert set(key.secrets) <= set(site.masked)
    stored = b"".join(
        site.cloud.storage.read(site.bucket, found.name)[0]  # type: ignore[index]
        for found in site.cloud.storage.list(site.bucket, "data/gar/")
    ).decode()
    assert key.id in stored
    shown = f"{first} {again} {caplog.text} {stored} {site.book()} {KeySource(given=key.password)}"
    assert [form for form in forms(key) if form in shown] == []


def test_from_secret_manager(site: Site, google_: Running, caplog: pytest.LogCaptureFixture) -> None:
    """The newest version counts: a new one is written by the next run; a name of a version stays with it."""
    client = sm.SecretManagerServiceClient(credentials=Credentials(site.cloud.session.token()))
    parent = f"projects/{site.repository.project}"
    client.create_secret(parent=parent, secret_id="pip", secret=sm.Secret({"replication": {"automatic": {}}}))
    keys = [site.cloud.iam.create_key(site.email) for _ in range(2)]
    files = [base64.b64decode(keys[0].password), keys[1].password.encode()]
    for number, file in enumerate(files):
        client.add_secret_version(parent=f"{parent}/secrets/pip", payload=sm.SecretPayload(data=file))
        assert site.run(source=KeySource(secret=f"{parent}/secrets/pip"))["key"] == keys[number].id
        assert site.held() == keys[number]
    assert site.run(source=KeySource(secret=f"{parent}/secrets/pip/versions/1"))["outcome"] == "written"
    assert site.held() == keys[0]
    assert site.book().generation == 0
    assert len(site.live()) == 2
    assert [form for key in keys for form in forms(key) if form in caplog.text] == []


BAD_SOURCES = [
    (KeySource(secret="pip"), InvalidNameError, "'pip' is not the name of a secret"),
    (KeySource(secret="projects/{project}/secrets/none"), NotFoundError, "could not read the secret"),
    (KeySource(given="not a key"), InvalidKeyError, "is not a service account's key file"),
    # IAM does not tell a missing account from a forbidden one.
    (
        KeySource(service_account="nobody@{project}.iam.gserviceaccount.com"),
        AccessDeniedError,
        "could not list the keys",
    ),
]


@pytest.mark.parametrize(("source", "kind", "message"), BAD_SOURCES)
def test_no_key_there(site: Site, source: KeySource, kind: type[Exception], message: str) -> None:
    """A source without a key is a typed error, and pip.conf is not written."""
    project = site.repository.project
    filled = KeySource(
        secret=source.secret and source.secret.format(project=project),
        given=source.given,
        service_account=source.service_account and source.service_account.format(project=project),
    )
    with pytest.raises(kind, match=message):
        site.run(source=filled)
    assert site.text() == ""


def test_sources_that_do_not_fit(site: Site) -> None:
    """Exactly one source; and only keys of a named account can be changed for new ones."""
    for sources in ({}, {"secret": "a", "given": "b"}):
        with pytest.raises(InvalidInputError, match="a key comes from exactly one source"):
            KeySource(**sources)
    with pytest.raises(InvalidInputError, match="rotate makes keys through IAM, which needs key_service_account"):
        site.run(source=KeySource(given=json.dumps(key_file())), rotate=True)


def test_no_key_is_made_in_vain(site: Site) -> None:
    """A pip.conf that cannot be edited is found first: no key is made for it."""
    site.cloud.storage.write(site.bucket, PIP_CONF, b"broken\n")
    with pytest.raises(InvalidPipConfError):
        site.run()
    assert site.live() == {}


def test_keyless_again(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """A key in pip.conf is reported, and rewritten keyless; its copy in the bucket is a file like any other."""
    site.run()
    key = site.held()
    wanted = Pointing(site.name, (site.repository,))
    result = configure(site.cloud, wanted, site.masked.append, site.clock)
    assert result["outcome"] == "written"
    assert "-index-url = https://****@" in result["change"]
    assert result["key"] is None
    assert [told for told in result["warnings"] if f"the key {key.id} of {site.email} is taken out" in told]
    assert result["account"] == site.environment.service_account
    assert site.text() == f"[global]\nindex-url = {site.repository.index_url}\n"
    backup = site.cloud.storage.read(site.bucket, backup_name(int(result["restore"])))
    assert pip_conf.keys_in(backup[0].decode()) == (key,)  # type: ignore[index]
    assert [form for form in forms(key) if form in f"{result} {caplog.text}"] == []


@pytest.mark.slow
def test_a_change_of_keys(site: Site) -> None:
    """The new key is written beside the old one, which works until an install has worked with the new one; then it is
    disabled, and deleted by the run after that. Each call again changes nothing.
    """
    site.run("first")
    old = site.held().id
    begun = site.run("second", rotate=True)
    new = site.held().id
    assert (begun["outcome"], begun["key"]) == ("written", new)
    assert site.live() == {old: True, new: True}
    assert site.run("second", rotate=True)["outcome"] == "unchanged"
    assert site.live() == {old: True, new: True}

    waiting = finish(site.cloud, site.name, site.email, "")
    assert waiting["outcome"] == "unchanged"
    assert waiting["message"] == f"{old} of {site.email} stay: nothing was installed since pip.conf got its new key"
    operation = site.update()
    early = finish(site.cloud, site.name, site.email, operation)
    assert early["message"].endswith(f"{operation} has not succeeded")
    _wait(site, operation)
    done = finish(site.cloud, site.name, site.email, operation)
    assert (done["outcome"], done["disabled"], done["deleted"]) == ("retired", [old], [])
    assert site.live() == {old: False, new: True}
    assert finish(site.cloud, site.name, site.email, operation)["outcome"] == "unchanged"
    assert site.run("third")["outcome"] == "unchanged"
    assert site.live() == {new: True}
    assert site.book().made == (new,)


def _wait(site: Site, operation: str) -> None:
    while not site.cloud.composer.get_operation(operation).done:
        site.clock.sleep(5)
    assert not site.cloud.composer.get_operation(operation).failed


@pytest.mark.slow
def test_what_proves_nothing(site: Site, sandbox: Running) -> None:
    """An operation from before the new key, or of another environment, retires nothing; an unknown one is an error."""
    site.run("first")
    earlier = site.update()
    _wait(site, earlier)
    site.run("second", rotate=True)
    told = finish(site.cloud, site.name, site.email, earlier)["message"]
    assert told.endswith(f"{earlier} began before pip.conf was written the last time")
    other = f"{site.name}-other"
    sandbox.setup(environments=[other])
    foreign = site.cloud.composer.update_packages(EnvironmentName.parse(other), Patch({"six": ""}, ())).name
    told = finish(site.cloud, site.name, site.email, foreign)["message"]
    assert told.endswith(f"{foreign} is no update of this environment")
    with pytest.raises(NotFoundError, match="could not look at the operation"):
        finish(site.cloud, site.name, site.email, earlier[:-4] + "0000")
    assert list(site.live().values()) == [True, True]


@pytest.mark.slow
def test_after_keyless_the_keys_are_retired_too(site: Site) -> None:
    """When an install works without any key, the keys that were made are disabled, and deleted after the next one."""
    site.run()
    old = site.held().id
    configure(site.cloud, Pointing(site.name, (site.repository,)), site.masked.append, site.clock)
    for expected, deleted in (({old: False}, []), ({}, [old])):
        operation = site.update()
        _wait(site, operation)
        done = finish(site.cloud, site.name, site.email, operation)
        assert (site.live(), done["deleted"]) == (expected, deleted)
    assert site.book().made == ()
    assert finish(site.cloud, site.name, site.email, "")["message"] == f"no old key of {site.email} is left to retire"


def test_a_try_that_dies_when_it_has_retired_keys_is_told_of_by_the_next(site: Site) -> None:
    """Only a later try of the same run says it again; everybody else finds nothing to retire."""
    site.run()
    old = site.held().id
    site.run("second", rotate=True)
    operation = site.update()
    _wait(site, operation)
    done = finish(site.cloud, site.name, site.email, operation, run="third")
    assert (done["outcome"], done["disabled"]) == ("retired", [old])
    assert finish(site.cloud, site.name, site.email, operation, run="third", goes_on=True) == done
    for run, goes_on in (("third", False), ("fourth", True), ("", True)):
        told = finish(site.cloud, site.name, site.email, operation, run=run, goes_on=goes_on)
        assert (told["outcome"], told["disabled"]) == ("unchanged", [])


def test_a_crash_before_pip_conf_was_written(site: Site, sandbox: Running) -> None:
    """The key that a dead try left behind is deleted by the next one, which makes its own."""
    sandbox.fault("storage.objects.insert", kind="delay", seconds=0.001, times=2)  # the two writes of the key book
    sandbox.fault("storage.objects.insert", kind="status", status=403, message="no")
    with pytest.raises(AccessDeniedError, match="could not write the object"):
        site.run()
    [orphan] = site.live()
    assert site.text() == ""
    site.run()
    assert list(site.live()) == [site.held().id]
    assert orphan != site.held().id
    assert site.book().made == (site.held().id,)
    assert sandbox.unused() == []


def test_a_key_that_cannot_be_recorded(site: Site, sandbox: Running) -> None:
    """Without a record nobody could say later whose it is: it is deleted at once."""
    sandbox.fault("storage.objects.insert", kind="delay", seconds=0.001)
    sandbox.fault("storage.objects.insert", kind="status", status=403, message="no")
    with pytest.raises(AccessDeniedError):
        site.run()
    assert site.live() == {}
    assert sandbox.unused() == []


def test_a_crash_while_iam_made_the_key(site: Site, sandbox: Running) -> None:
    """The only new key, made within the time of the call that died, is ours as far as can be told: it is disabled."""
    sandbox.fault(CREATE, kind="lost_answer")
    with pytest.raises(UnavailableError, match="could not create a key"):
        site.run()
    [lost] = site.live()
    result = site.run()
    assert site.live() == {lost: False, site.held().id: True}
    assert [warning for warning in result["warnings"] if lost in warning] == []


def test_a_crash_while_iam_made_the_key_and_somebody_made_another(site: Site, sandbox: Running) -> None:
    """Nobody can tell which is ours: both are named, with the command, and left; the next run works."""
    sandbox.fault(CREATE, kind="lost_answer")
    with pytest.raises(UnavailableError, match="could not create a key"):
        site.run()
    site.cloud.iam.create_key(site.email)
    unclear = list(site.live())
    warnings = site.run()["warnings"]
    for key in unclear:
        command = f"gcloud iam service-accounts keys delete {key} --iam-account={site.email}"
        assert [command in warning for warning in warnings if key in warning] == [True]
    assert site.live() == {**dict.fromkeys(unclear, True), site.held().id: True}
    assert [warning for warning in site.run("later")["warnings"] if unclear[0] in warning] == []


@pytest.mark.parametrize("written", [0, 1, 2])
def test_a_rotation_whose_try_dies_is_done_by_the_next(site: Site, sandbox: Running, written: int) -> None:
    """Before the new key, before its entry, or before pip.conf: the old key is not taken for the new one."""
    old = site.run()["key"]
    if written == 0:
        sandbox.fault(CREATE, status=403)
    for _ in range(written):
        sandbox.fault("storage.objects.insert", kind="delay", seconds=0.001)
    if written:
        sandbox.fault("storage.objects.insert", kind="status", status=403, message="no")
    with pytest.raises(AccessDeniedError):
        site.run("rotation", rotate=True)
    new = site.run("rotation", rotate=True)["key"]
    assert new != old
    assert (site.held().id, set(site.live())) == (new, {old, new})
    assert site.run("rotation", rotate=True)["key"] == new
    assert sandbox.unused() == []


@pytest.mark.slow
def test_keys_of_others_are_left_alone(site: Site) -> None:
    """A key that people made, in pip.conf or out of it, is neither disabled nor deleted, only named."""
    theirs = site.cloud.iam.create_key(site.email)
    another = site.cloud.iam.create_key(site.email)
    site.run(source=KeySource(given=base64.b64decode(theirs.password).decode()))
    assert site.run()["key"] == theirs.id
    result = site.run("rotation", rotate=True)
    assert [warning for warning in result["warnings"] if f"the key {theirs.id} was not made here" in warning]
    operation = site.update()
    _wait(site, operation)
    assert finish(site.cloud, site.name, site.email, operation)["outcome"] == "unchanged"
    site.run("after", rotate=True)
    assert {theirs.id, another.id} <= {key_id for key_id, works in site.live().items() if works}


def test_a_key_that_somebody_disabled(site: Site) -> None:
    """pip.conf holds a key that IAM does not take any more: a new one is made."""
    site.run()
    first = site.held().id
    site.cloud.iam.disable_key(site.email, first)
    assert site.run()["outcome"] == "written"
    assert site.held().id != first


def test_two_runs_at_once(site: Site, sandbox: Running) -> None:
    """The one that comes second to the key book makes no key, and may be tried again."""
    site.run()
    book = site.book()
    site.cloud.storage.write(site.bucket, book.name, b"{}")
    sandbox.fault("storage.objects.insert", kind="status", status=412, message="another run was faster")
    with pytest.raises(ConcurrentChangeError) as caught:
        site.run("other", rotate=True)
    assert caught.value.retryable
    assert list(site.live()) == [site.held().id]
    assert sandbox.unused() == []


def test_a_book_that_is_none(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """It proves nothing: no key is deleted by it, and a new book is begun."""
    site.run()
    first = site.held().id
    site.cloud.storage.write(site.bucket, site.book().name, b"[]")
    with caplog.at_level(logging.WARNING):
        site.run("second", rotate=True)
    assert "is no record of keys" in caplog.text
    assert site.live() == {first: True, site.held().id: True}
    assert site.book().made == (site.held().id,)


@pytest.mark.slow
def test_pip_installs_with_the_key(site: Site, published: Callable[[Path], str], tmp_path: Path) -> None:
    """The environment's own account may read nothing: builds get in by the key alone, by the new one after a change,
    and no more once it is taken out.
    """
    for version in ("1.0", "1.1"):
        assert published(make_wheel(tmp_path, version=version)) == "uploaded"
    assert site.run("first")["outcome"] == "written"
    assert _install(site, "==1.0")
    old = site.held().id
    site.run("second", rotate=True)
    operation = _install(site, "==1.1")
    assert finish(site.cloud, site.name, site.email, operation)["disabled"] == [old]
    assert _install(site, "==1.0")
    configure(site.cloud, Pointing(site.name, (site.repository,)), site.masked.append, site.clock)
    assert _install(site, "==1.1") == ""
    assert site.environment.packages == {"acme-demo": "==1.0"}


def _install(site: Site, version: str) -> str:
    """Update the environment; the operation, empty when it failed."""
    operation = site.cloud.composer.update_packages(site.name, Patch({"acme-demo": version}, ())).name
    while not (found := site.cloud.composer.get_operation(operation)).done:
        site.clock.sleep(5)
    return "" if found.failed else operation
