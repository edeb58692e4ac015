"""Install survives: crashes between any two calls, other writers, operations that hang, vanish or fail."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from airflow_gar_provider.core.environment import Environment
from airflow_gar_provider.errors import (
    ConcurrentChangeError,
    EnvironmentNotReadyError,
    GoogleApiError,
    InstallFailedError,
    OperationTimeoutError,
    UnavailableError,
)
from airflow_gar_provider.gcp.cloud import Cloud
from airflow_gar_provider.gcp.composer import Composer
from airflow_gar_provider.steps.install import Pending, begin, request
from airflow_gar_provider.steps.record import record_name
from airflow_gar_provider.steps.update import wait
from tests.steps.installing import GET, UPDATE, Site

INSERT = "storage.objects.insert"


@pytest.fixture
def ready(site: Site) -> Site:
    """The package is published and may be read."""
    site.publish("1.0")
    site.grant()
    return site


class Meddled(Composer):
    """Google's Composer, where somebody else acts between our read of the environment and our update of it."""

    def __init__(self, cloud: Cloud, act: Callable[[], None]) -> None:
        super().__init__(cloud.session)
        self.act = act
        self.acted = False

    def update_packages(self, *arguments: Any) -> Any:
        if not self.acted:
            self.acted = True
            self.act()
        return super().update_packages(*arguments)


def meddled(site: Site, act: Callable[[], None]) -> Site:
    """The same site, whose Composer is meddled with."""
    cloud = site.cloud_of(site.owner)
    cloud.composer = Meddled(cloud, act)
    return dataclasses.replace(site, cloud=cloud)


# A worker dies


@pytest.mark.slow
def test_a_worker_dies_after_the_update_was_accepted(ready: Site) -> None:
    """Another worker finds the operation in the record, follows it as its own and knows what was before."""
    pending = ready.start()
    other = ready.another_worker()
    assert begin(other.cloud, other.wish(), other.clock) == pending
    result = other.install()
    assert result["outcome"] == "installed"
    assert result["packages"] == [{"package": "acme-demo", "before": None, "after": "1.0"}]
    assert result["operation"] == pending.operation
    assert ready.updates() == 1
    assert (ready.stored()["phase"], ready.stored()["outcome"]) == ("done", "installed")


@pytest.mark.slow
def test_the_answer_to_the_update_is_lost(ready: Site) -> None:
    """Accepted, but not known to us: the error is retryable, the next try follows what it finds and updates nothing."""
    ready.sandbox.fault(UPDATE, kind="lost_answer")
    with pytest.raises(UnavailableError, match="could not update the environment's packages") as caught:
        ready.install()
    assert caught.value.retryable
    assert ready.stored()["operation"] is None
    result = ready.another_worker().install()
    assert (result["outcome"], result["packages"][0]["before"]) == ("installed", None)
    assert ready.updates() == 1
    assert ready.sandbox.unused() == []


@pytest.mark.slow
def test_a_worker_dies_before_the_accepted_update_is_recorded(ready: Site) -> None:
    """The update has long ended when the next try looks: it verifies, and still knows what was before."""
    ready.sandbox.fault(UPDATE, kind="lost_answer")
    with pytest.raises(UnavailableError):
        ready.install()
    [operation] = [found for found in ready.cloud.composer.list_operations(ready.environment) if not found.done]
    ready.wait(Pending(operation.name, ours=True))
    result = ready.another_worker().install()
    assert (result["outcome"], result["packages"][0]["before"]) == ("installed", None)
    assert ready.updates() == 1


@pytest.mark.slow
def test_a_worker_dies_while_the_update_fails(site: Site) -> None:
    """The next try does not spend another build: it explains the one that failed. The try after that begins anew."""
    site.publish("1.0")
    pending = site.start()
    site.wait(pending)
    other = site.another_worker()
    with pytest.raises(InstallFailedError) as caught:
        other.install()
    assert (caught.value.cause, caught.value.operation) == ("no_access", pending.operation)
    assert site.updates() == 1
    assert (site.stored()["phase"], site.stored()["outcome"]) == ("done", "failed")
    site.grant()
    assert other.install()["outcome"] == "installed"
    assert site.updates() == 2


@pytest.mark.slow
def test_the_answer_is_lost_and_the_build_fails(site: Site) -> None:
    """The next try knows the update as its own, though it never saw it accepted: no second build is spent."""
    site.publish("1.0")
    site.sandbox.fault(UPDATE, kind="lost_answer")
    with pytest.raises(UnavailableError):
        site.install()
    assert site.stored()["sending"] is True
    with pytest.raises(InstallFailedError) as caught:
        site.another_worker().install()
    assert caught.value.cause == "no_access"
    assert site.updates() == 1
    assert (site.stored()["sending"], site.stored()["updates"]) == (False, 1)


@pytest.mark.slow
def test_a_worker_dies_as_it_ends(ready: Site) -> None:
    """All is written down, only Airflow does not know: a retry tells it again; who asks anew is told what is there."""
    first = ready.install()
    again = ready.another_worker().install(ready.wish(goes_on=True))
    assert again == first
    assert (again["outcome"], again["packages"][0]["before"]) == ("installed", None)
    assert ready.another_worker().install()["outcome"] == "unchanged"
    assert ready.updates() == 1


@pytest.mark.slow
def test_a_worker_dies_as_it_tells_a_failure(site: Site) -> None:
    """A retry tells the recorded failure again, without another build; who asks anew gets one."""
    site.publish("1.0")
    with pytest.raises(InstallFailedError):
        site.install()
    with pytest.raises(InstallFailedError) as caught:
        site.another_worker().install(site.wish(goes_on=True))
    assert caught.value.cause == "no_access"
    assert site.updates() == 1
    site.grant()
    assert site.another_worker().install()["outcome"] == "installed"


@pytest.mark.slow
@pytest.mark.parametrize("fails", [1, 2, 3])
def test_the_bucket_fails_at_each_write(ready: Site, fails: int) -> None:
    """Record, pip.conf, record again: wherever the bucket breaks down, the next try ends in the wanted state."""
    for _ in range(fails - 1):
        ready.sandbox.fault(INSERT, kind="delay", seconds=0.001)
    ready.sandbox.fault(INSERT, kind="status", status=403, message="no")
    with contextlib.suppress(GoogleApiError):
        ready.install()
    result = ready.another_worker().install()
    assert result["outcome"] in ("installed", "unchanged")
    assert ready.packages() == {"acme-demo": "==1.0"}
    assert ready.updates() == 1
    assert ready.sandbox.unused() == []


# Other writers


@pytest.mark.slow
def test_two_rollouts_at_once(ready: Site) -> None:
    """Both want the same: one update. Each wants its own package: two, one after the other, and both stay."""
    ready.publish("1.0", "acme_other")
    pending = ready.start()
    same = ready.another_worker()
    found = begin(same.cloud, same.wish(run="dag/same/install"), same.clock)
    assert found == Pending(pending.operation, ours=False)
    assert same.install(run="dag/same/install")["outcome"] == "unchanged"
    assert ready.updates() == 1
    ready.install()
    other = ready.another_worker().install(requirements="acme-other==1.0", run="dag/other/install")
    assert other["outcome"] == "installed"
    assert ready.packages() == {"acme-demo": "==1.0", "acme-other": "==1.0"}


@pytest.mark.slow
def test_another_update_is_quicker(ready: Site) -> None:
    """Between our read and our update somebody else's begins: it is waited for, then ours; nothing is lost."""
    ready.publish("1.0", "acme_other")
    site = meddled(ready, lambda: ready.patch({"acme-other": "==1.0"}) and None)
    assert site.install()["outcome"] == "installed"
    assert site.packages() == {"acme-demo": "==1.0", "acme-other": "==1.0"}


@pytest.mark.slow
def test_another_spelling_comes_in_between(ready: Site) -> None:
    """Somebody declares `Acme_Demo` after our read: after our update we see both, and update again."""

    def declare() -> None:
        ready.patch({"Acme_Demo": "<2"}).result(timeout=120)

    site = meddled(ready, declare)
    assert site.install()["outcome"] == "installed"
    assert site.packages() == {"acme-demo": "==1.0"}
    assert site.updates() == 3
    assert site.stored()["updates"] == 2


@pytest.mark.slow
def test_somebody_undoes_our_update(ready: Site) -> None:
    """Two rollouts that want different versions do not fight for ever: ours ends in an error that names the other."""
    ready.publish("0.9")
    pending = ready.start()
    ready.wait(pending)
    theirs = ready.patch({"acme-demo": "==0.9"})
    theirs.result(timeout=120)
    with pytest.raises(ConcurrentChangeError, match="another update changed acme-demo after ours") as caught:
        ready.proceed(ready.wish(), pending)
    assert caught.value.retryable
    assert theirs.operation.name in str(caught.value)
    assert ready.packages() == {"acme-demo": "==0.9"}
    assert ready.another_worker().install()["outcome"] == "installed"


@pytest.mark.slow
def test_another_update_follows_ours(ready: Site) -> None:
    """Somebody's update of another package begins as ours ends: it is waited for, and ours is verified."""
    ready.publish("1.0", "acme_other")
    pending = ready.start()
    ready.wait(pending)
    ready.patch({"acme-other": "==1.0"})
    found = ready.proceed(ready.wish(), pending)
    assert isinstance(found, Pending)
    assert not found.ours
    ready.wait(found)
    result = ready.proceed(ready.wish(), found)
    assert (result["outcome"], result["operation"]) == ("installed", pending.operation)


# Operations


@pytest.mark.slow
def test_an_operation_that_never_ends(ready: Site) -> None:
    """After the timeout the error names it and is retryable; the next try follows it."""
    ready.sandbox.fault(UPDATE, kind="stuck_operation")
    pending = ready.start()
    with pytest.raises(OperationTimeoutError, match="did not end within 90 s") as caught:
        wait(ready.cloud, pending, ready.clock, timeout=90, poll_interval=30)
    assert caught.value.retryable
    assert pending.operation in str(caught.value)
    other = ready.another_worker()
    assert begin(other.cloud, other.wish(), other.clock) == pending
    assert ready.updates() == 1


class Forgetful(Composer):
    """Google's Composer, which has forgotten every operation."""

    def get_operation(self, name: str) -> Any:
        return super().get_operation(name.rsplit("/", 1)[0] + "/gone")


@pytest.mark.slow
def test_an_operation_that_is_gone(ready: Site) -> None:
    """404 while it is waited for: the environment says how it ended."""
    pending = ready.start()
    ready.wait(pending)
    cloud = ready.cloud_of(ready.owner)
    cloud.composer = Forgetful(cloud.session)
    wait(cloud, pending, ready.clock, timeout=10, poll_interval=1)
    result = dataclasses.replace(ready, cloud=cloud).install()
    assert (result["outcome"], result["operation"], result["seconds"]) == ("installed", None, 0.0)
    assert ready.updates() == 1


# Environments and rights


class Stated(Composer):
    """Google's Composer, where the environment is in another state, or has no bucket."""

    def __init__(self, cloud: Cloud, **changes: Any) -> None:
        super().__init__(cloud.session)
        self.changes = changes

    def get_environment(self, *arguments: Any) -> Environment:
        return dataclasses.replace(super().get_environment(*arguments), **self.changes)


@pytest.mark.parametrize(
    ("changes", "message", "retryable"),
    [
        ({"state": "HIBERNATED"}, "the environment is in state HIBERNATED", False),
        ({"state": "ERROR"}, "no update can repair this state", False),
        ({"state": "DELETING"}, "it is being deleted", False),
        ({"state": "CREATING"}, "wait until it has been created", True),
        ({"bucket": ""}, "has no bucket", False),
        ({"state": "UPDATING"}, "UPDATING, but no operation of it can be seen", True),
    ],
)
def test_an_environment_that_cannot_be_updated(
    site: Site, changes: dict[str, str], message: str, retryable: bool
) -> None:
    """Said plainly, with what to do, before anything is changed."""
    site.publish("1.0")
    cloud = site.cloud_of(site.owner)
    cloud.composer = Stated(cloud, **changes)
    with pytest.raises(EnvironmentNotReadyError) as caught:
        request(cloud, site.wish(), site.clock)
    assert message in str(caught.value)
    assert caught.value.retryable is retryable
    assert (site.updates(), site.pip_conf(), site.record()) == (0, None, None)


def test_a_bucket_that_does_not_exist(site: Site) -> None:
    """The environment names one that is gone: the error names it, and nothing was updated."""
    site.publish("1.0")
    cloud = site.cloud_of(site.owner)
    cloud.composer = Stated(cloud, bucket=f"{site.environment.project}-no-such-bucket")
    with pytest.raises(GoogleApiError, match="no-such-bucket"):
        request(cloud, site.wish(), site.clock)
    assert site.updates() == 0


def account(site: Site, *roles: str) -> Cloud:
    """An account with these roles in the environment's project, which may read the repository."""
    project = site.environment.project
    name = f"narrow@{project}.iam.gserviceaccount.com"
    grants = [f"serviceAccount:{name}={role}@projects/{project}" for role in roles]
    grants.append(f"serviceAccount:{name}=roles/artifactregistry.reader@projects/{site.repository.project}")
    site.sandbox.setup(accounts=[name], grants=grants)
    return site.cloud_of(name)


def test_act_as_is_missing(ready: Site) -> None:
    """Composer's refusal, with the role that is missing; the packages stay, and a later try begins anew."""
    cloud = account(ready, "roles/composer.admin", "roles/storage.objectAdmin")
    with pytest.raises(GoogleApiError, match="could not update the environment's packages") as caught:
        ready.install(cloud=cloud)
    assert "roles/iam.serviceAccountUser" in str(caught.value)
    assert not caught.value.retryable
    assert (ready.updates(), ready.packages()) == (0, {})


@pytest.mark.slow
def test_the_logs_may_not_be_read(site: Site) -> None:
    """The explanation then rests on the operation's own words and on the registry."""
    site.publish("1.0")
    cloud = account(site, "roles/composer.admin", "roles/storage.objectAdmin", "roles/iam.serviceAccountUser")
    with pytest.raises(InstallFailedError) as caught:
        site.install(cloud=cloud)
    assert caught.value.cause == "no_access"
    assert "Could not find a version that satisfies the requirement acme-demo==1.0" in str(caught.value)


@pytest.mark.slow
def test_the_bucket_may_not_be_touched(ready: Site, caplog: pytest.LogCaptureFixture) -> None:
    """Without `repository` no right to the bucket is needed: the record is missed, and said to be."""
    ready.install(requirements="acme-demo==1.0")
    cloud = account(ready, "roles/composer.admin", "roles/iam.serviceAccountUser")
    result = ready.install(ready.wish("", absent=("acme-demo",), repository=None, run="dag/2/install"), cloud)
    assert result["outcome"] == "installed"
    assert ready.packages() == {}
    assert "the state before cannot be recorded" in caplog.text


@pytest.mark.slow
def test_the_connection_has_another_project(ready: Site) -> None:
    """What counts is the environment's name, never the project of the connection."""
    cloud = ready.cloud_of(ready.owner)
    cloud.session.project_id = "some-other-project"
    assert ready.install(cloud=cloud)["outcome"] == "installed"
    assert ready.sandbox.calls("some-other-project") == []


def test_the_record_is_not_one(site: Site) -> None:
    """What somebody else wrote there is replaced, not obeyed."""
    site.publish("1.0")
    site.cloud.storage.write(site.now().bucket, record_name("dag/run/install"), b'{"phase": "rolling_back"}')
    site.start()
    assert site.stored()["phase"] == "installing"
    assert site.stored()["asked"] == ["acme-demo==1.0"]


def test_another_wish_under_the_same_run(site: Site) -> None:
    """A task that was cleared after its DAG had changed does not follow what it wanted before."""
    site.publish("1.0")
    site.publish("2.0")
    site.sandbox.fault(UPDATE, kind="status", status=403, message="no")
    with pytest.raises(GoogleApiError):
        site.install()
    site.start(site.wish("acme-demo==2.0"))
    assert site.stored()["pins"] == ["acme-demo==2.0"]


@pytest.mark.slow
def test_a_short_outage_is_not_seen(ready: Site) -> None:
    """Composer answers 503 for a moment: the calls that only read are tried again."""
    ready.sandbox.fault(GET, status=503, times=2)
    assert ready.install()["outcome"] == "installed"
    assert ready.sandbox.unused() == []
