"""Watching a repository from the triggerer, in virtual time."""

from __future__ import annotations

import asyncio
import gc
import json
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from airflow_gar_provider.compat import BaseEventTrigger
from airflow_gar_provider.core.repository import RegistryFile, Repository, RepositoryName
from airflow_gar_provider.errors import AccessDeniedError, NotFoundError, UnavailableError
from airflow_gar_provider.triggers import package_version
from airflow_gar_provider.triggers.package_version import PackageServedTrigger, PackageVersionTrigger
from tests.triggers.virtual import run

REPOSITORY = "projects/acme-packages/locations/europe-west1/repositories/python"
BEGIN = datetime(2026, 11, 1, tzinfo=timezone.utc)
ARGUMENTS: dict[str, Any] = {
    "repository": REPOSITORY,
    "requirement": "acme-demo",
    "prereleases": False,
    "min_age": 0,
    "poll_interval": 60,
    "gcp_conn_id": "google_cloud_default",
    "impersonation_chain": None,
}


class FakeRegistry:
    """A registry to which versions come at times of the loop, and whose listing can fail."""

    def __init__(self, versions: dict[str, float], *failures: Exception) -> None:
        self.loop = asyncio.get_running_loop()
        self.versions = versions
        self.failures = list(failures)
        self.artifact_registry = self
        self.listed: list[float] = []

    def get_repository(self, name: RepositoryName) -> Repository:
        return Repository(name, "PYTHON", "standard")

    def list_files(self, name: RepositoryName) -> list[RegistryFile]:
        now = self.loop.time()
        self.listed.append(now)
        if self.failures:
            raise self.failures.pop(0)
        return [
            RegistryFile(f"acme_demo-{v}-py3-none-any.whl", f"sha-{v}", 1, BEGIN + timedelta(seconds=at))
            for v, at in self.versions.items()
            if at <= now
        ]


class Store:
    """Where Airflow 3.3 keeps the state of a watcher: it outlives the trigger."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    async def aget(self, key: str) -> Any:
        return self.values.get(key)

    async def aset(self, key: str, value: Any) -> None:
        self.values[key] = json.loads(json.dumps(value))


class _Handed:
    """Google and time are handed in."""

    cloud: Any = None
    connected = 0

    def _connect(self) -> Any:
        self.connected += 1
        if isinstance(self.cloud, Exception):
            raise self.cloud
        return self.cloud

    def _now(self) -> datetime:
        return BEGIN + timedelta(seconds=asyncio.get_running_loop().time())


class Served(_Handed, PackageServedTrigger):
    """The sensor's trigger."""


class Watching(_Handed, PackageVersionTrigger):
    """The watcher's trigger."""


def served(cloud: Any, **arguments: Any) -> Served:
    trigger = Served(**{**ARGUMENTS, **arguments})
    trigger.cloud = cloud
    return trigger


def watching(cloud: Any, store: Store | None, **arguments: Any) -> Watching:
    trigger = Watching(**{**ARGUMENTS, **arguments})
    trigger.cloud = cloud
    trigger.asset_state_store = store  # type: ignore[assignment]
    return trigger


async def first_event(trigger: PackageServedTrigger) -> tuple[float, dict[str, Any]]:
    [event] = [event.payload async for event in trigger.run()]
    return asyncio.get_running_loop().time(), event


async def events_until(trigger: PackageVersionTrigger, seconds: float) -> list[tuple[float, str]]:
    """(When, which version) that fired."""
    loop, found = asyncio.get_running_loop(), list[tuple[float, str]]()

    async def collect() -> None:
        async for event in trigger.run():
            found.append((loop.time(), event.payload["version"]))

    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(collect(), seconds)
    return found


@pytest.mark.parametrize("kind", [PackageServedTrigger, PackageVersionTrigger])
def test_they_survive_serialization(kind: type[PackageServedTrigger]) -> None:
    """What goes into the database makes the same trigger, and carries no secret."""
    path, arguments = kind(**ARGUMENTS).serialize()
    assert path == f"airflow_gar_provider.triggers.package_version.{kind.__name__}"
    assert arguments == ARGUMENTS
    assert kind(**json.loads(json.dumps(arguments))).serialize() == (path, arguments)


def test_one_fires_when_a_version_counts() -> None:
    """After the interval at least; a version that is too young, or of no fit, does not count."""

    async def main() -> None:
        cloud = FakeRegistry({"0.1": 0, "1.0": 70})
        assert await first_event(served(cloud)) == (60, {"status": "served", "message": "0.1"})
        assert (await first_event(served(cloud, requirement="acme-demo>=1", min_age=100)))[0] == 60 + 120

    run(main())


def test_never_too_soon() -> None:
    """A task that is resumed at once may be marked failed: ten seconds at least."""

    async def main() -> None:
        assert (await first_event(served(FakeRegistry({"1.0": 0}), poll_interval=1)))[0] == 10

    run(main())


@pytest.mark.parametrize(
    ("failures", "status", "message"),
    [
        ([UnavailableError("away")], "served", "1.0"),
        ([NotFoundError("the repository does not exist")], "lost", "the repository does not exist"),
        ([AccessDeniedError("may not")], "lost", "may not"),
    ],
)
def test_errors(failures: list[Exception], status: str, message: str) -> None:
    """One that may pass is a line of the log; another ends the wait, for the task to look itself."""

    async def main() -> None:
        _, event = await first_event(served(FakeRegistry({"1.0": 0}, *failures)))
        assert event == {"status": status, "message": message}

    run(main())


def test_no_client() -> None:
    """A connection that cannot be used may come back: it is tried again at every look."""

    async def main() -> None:
        trigger = served(RuntimeError("no such connection"))
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(first_event(trigger), 200)
        assert trigger.connected == 3

    run(main())


def test_one_poll_for_all() -> None:
    """A hundred triggers on a repository list it once in an interval, also when they began at other times."""

    async def main() -> None:
        cloud = FakeRegistry({"1.0": 300})
        waits = [first_event(served(cloud, requirement=f"acme-demo>={n / 100}")) for n in range(50)]

        async def later() -> tuple[float, dict[str, Any]]:
            await asyncio.sleep(25)
            return await first_event(served(cloud))

        ended = await asyncio.gather(*waits, *(later() for _ in range(50)))
        assert all(event["status"] == "served" for _, event in ended)
        assert max(when for when, _ in ended) <= 300 + 2 * 60
        assert len(cloud.listed) <= 7

    run(main())
    gc.collect()
    assert not package_version._looks  # nobody waits: nothing is kept


def test_other_identities_look_for_themselves() -> None:
    """What one may see says nothing about another."""

    async def main() -> None:
        cloud = FakeRegistry({"1.0": 0})
        chains = (None, "a@x.iam.gserviceaccount.com", ["a@x.iam.gserviceaccount.com"])
        await asyncio.gather(*(first_event(served(cloud, impersonation_chain=chain)) for chain in chains))
        assert len(cloud.listed) == 3

    run(main())


def test_a_watcher_tells_what_comes() -> None:
    """Not what was there; each version once; what came while nobody watched is told by the next."""

    async def main() -> None:
        store = Store()
        cloud = FakeRegistry({"1.0": 0, "1.1": 100, "1.2": 400, "2.0rc1": 10})
        assert await events_until(watching(cloud, store), 290) == [(120, "1.1")]
        await asyncio.sleep(300)
        assert await events_until(watching(cloud, store), 200) == [(590, "1.2")]
        assert await events_until(watching(cloud, store), 200) == []
        # Another requirement is another watch, and begins anew.
        assert await events_until(watching(cloud, store, prereleases=True), 200) == []

    run(main())


def test_a_crash_tells_again_rather_than_never() -> None:
    """The state is written after the event: at least once."""

    async def main() -> None:
        store = Store()
        cloud = FakeRegistry({"1.0": 0, "1.1": 50})
        trigger = watching(cloud, store)
        running = trigger.run()
        event = await anext(running)
        await running.aclose()  # type: ignore[attr-defined]
        assert event.payload["version"] == "1.1"
        assert await events_until(watching(cloud, store), 50) == [(60, "1.1")]

    run(main())


def test_a_watcher_without_a_store(told: Any) -> None:
    """Before Airflow 3.3: it says what it cannot do, and takes what it sees first for seen."""

    async def main() -> None:
        cloud = FakeRegistry({"1.0": 0, "1.1": 100})
        assert await events_until(watching(cloud, None), 290) == [(120, "1.1")]
        assert await events_until(watching(cloud, None), 290) == []

    run(main())
    assert any("gives a watcher no place for its state" in line for line in told())


def test_a_watcher_survives_errors() -> None:
    """It has nobody to report to: it goes on looking."""

    async def main() -> None:
        cloud = FakeRegistry({"1.0": 0, "1.1": 200}, UnavailableError("away"), AccessDeniedError("may not"))
        assert await events_until(watching(cloud, Store()), 290) == [(240, "1.1")]

    run(main())


@pytest.mark.needs_airflow("3.0", "AssetWatcher")
def test_it_may_be_watched_by_an_asset() -> None:
    """Airflow takes it for an AssetWatcher."""
    from airflow.sdk import AssetWatcher

    assert issubclass(PackageVersionTrigger, BaseEventTrigger)
    watcher = AssetWatcher(name="new", trigger=PackageVersionTrigger(**ARGUMENTS))
    assert watcher.trigger.serialize()[1] == ARGUMENTS
