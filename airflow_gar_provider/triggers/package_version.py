"""The triggers that watch a repository for versions of a package: one for a sensor, one for an AssetWatcher."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Hashable, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, ClassVar
from weakref import WeakValueDictionary

from asgiref.sync import sync_to_async

from airflow_gar_provider.compat import BaseEventTrigger, BaseTrigger, TriggerEvent
from airflow_gar_provider.errors import AccessDeniedError, GarProviderError, UnavailableError
from airflow_gar_provider.triggers.base import GoogleTrigger, event, no_client, same

if TYPE_CHECKING:
    from airflow_gar_provider.core.repository import RegistryFile
    from airflow_gar_provider.core.watch import Watch
    from airflow_gar_provider.gcp.cloud import Cloud

_FRESH = 0.9
"""Part of a trigger's interval for which another trigger's look is new enough for it."""


class SharedLook:
    """A repository's files as one identity sees them, listed once for all triggers of this process that ask.

    A look that another trigger has just taken serves as well, and so does its error. So a hundred triggers on a
    repository list it once in an interval, 1000 files to a page.
    """

    def __init__(self, repository: str, connect: Callable[[], Cloud]) -> None:
        self._repository = repository
        self._connect = connect
        self.loop = asyncio.get_running_loop()
        self._cloud: Cloud | None = None
        self._lock = asyncio.Lock()
        self._taken = float("-inf")
        self._found: list[RegistryFile] | GarProviderError = []

    async def files(self, max_age: float) -> list[RegistryFile]:
        """The files, listed at most `max_age` seconds ago. Raises what the listing raised."""
        async with self._lock:
            now = self.loop.time()
            if now - self._taken >= max_age:
                self._found, self._taken = await self._take(), now
        if isinstance(self._found, GarProviderError):
            raise self._found
        return self._found

    async def _take(self) -> list[RegistryFile] | GarProviderError:
        from airflow_gar_provider.core.repository import RepositoryName
        from airflow_gar_provider.steps.watch import published_files

        if self._cloud is None:
            try:
                # Airflow's own calls (the connection) have to run in asgiref's thread; Google's may run in any.
                self._cloud = await sync_to_async(self._connect)()
            except Exception as error:
                # Whatever it is (Airflow raises its own kinds): all who wait are told, and the next look tries again.
                return UnavailableError(no_client(error), resource=self._repository)
        try:
            return await asyncio.to_thread(published_files, self._cloud, RepositoryName.parse(self._repository))
        except AccessDeniedError as error:
            self._cloud = None  # a key that was rotated: begin anew with the connection
            return error
        except GarProviderError as error:
            return error


_looks: WeakValueDictionary[Hashable, SharedLook] = WeakValueDictionary()
"""The looks that are in use: each lives as long as a trigger holds it."""


def shared_look(repository: str, identity: Hashable, connect: Callable[[], Cloud]) -> SharedLook:
    """The look that all triggers of this event loop share, for a repository and an identity."""
    key = (repository, identity)
    look = _looks.get(key)
    if look is None or look.loop is not asyncio.get_running_loop():  # a forked process has a loop of its own
        look = _looks[key] = SharedLook(repository, connect)
    return look


class _Watching(GoogleTrigger):
    """What both triggers have in common: their arguments, and how they look."""

    arguments: ClassVar = same("repository", "requirement", "prereleases", "min_age", "poll_interval")

    def __init__(
        self,
        *,
        repository: str,
        requirement: str,
        prereleases: bool = False,
        min_age: float = 0,
        poll_interval: float = 60,
        gcp_conn_id: str = "google_cloud_default",
        impersonation_chain: str | Sequence[str] | None = None,
    ) -> None:
        super().__init__(gcp_conn_id=gcp_conn_id, impersonation_chain=impersonation_chain)
        self.repository = repository
        self.requirement = requirement
        self.prereleases = prereleases
        self.min_age = min_age
        self.poll_interval = poll_interval

    def _watch(self) -> Watch:
        from airflow_gar_provider.core.watch import Watch

        return Watch.of(self.requirement, prereleases=self.prereleases, min_age=self.min_age)

    def _look(self) -> SharedLook:
        chain = self.impersonation_chain
        identity = (self.gcp_conn_id, chain if isinstance(chain, str | None) else tuple(chain))
        return shared_look(self.repository, identity, self._connect)

    def _now(self) -> datetime:
        return datetime.now(timezone.utc)

    async def _sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class PackageServedTrigger(_Watching, BaseTrigger):
    """Fires once, when the repository has a version that counts, or when looking makes no sense: "look again".

    The event is {"status": served | lost, "message"}: the task looks itself then, and raises what is to be raised.
    """

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look, sleep, look again; an error that may pass is a line of the log."""
        from airflow_gar_provider.core.operation import POLL_FLOOR

        watch, look = self._watch(), self._look()
        await self._sleep(max(self.poll_interval, POLL_FLOOR))
        while True:
            try:
                choice = watch.choose(await look.files(self.poll_interval * _FRESH), self._now())
            except GarProviderError as error:
                if not error.retryable:
                    yield event(status="lost", message=error.what)
                    return
                self.log.warning("looking again in %s s: %s", self.poll_interval, error)
            else:
                if choice.version is not None:
                    yield event(status="served", message=choice.version)
                    return
                self.log.info("%s has no %s: %s", self.repository, watch.requirement, choice.why_none())
            await self._sleep(self.poll_interval)


class PackageVersionTrigger(_Watching, BaseEventTrigger):
    """For an `AssetWatcher` (Airflow 3): an event for every version that is published from now on.

    Its first look remembers what is there, and fires nothing. Airflow 3.3 keeps what was seen in the asset's state
    store, so that a version published while no triggerer ran is seen by the next one. Before 3.3 there is no such
    store: what is there when a triggerer starts is then taken for seen.

    The event's payload is {"repository", "package", "version", "sha256": {file: hash}}.

    :param repository: `projects/P/locations/L/repositories/R`; a virtual one stands for its standard upstreams.
    :param requirement: the package's name, with or without a specifier: `mypythonlib>=1,<2`.
    :param prereleases: pre-releases count, too.
    :param min_age: seconds since a version was published, before it counts.
    :param poll_interval: seconds between two looks, shared with other triggers on the repository.
    """

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look, fire, remember, sleep, for ever. What was fired is remembered afterwards: a crash fires it again."""
        from airflow_gar_provider.core.watch import news

        watch, look = self._watch(), self._look()
        store, seen = self._store(), None
        loaded = store is None
        while True:
            try:
                if not loaded and store is not None:
                    seen, loaded = await store.aget(self._key), True
                found = news(watch, self.repository, await look.files(self.poll_interval * _FRESH), seen, self._now())
            except GarProviderError as error:
                self.log.warning("looking again in %s s: %s", self.poll_interval, error)
            else:
                for new in found.events:
                    self.log.info("%s %s is new in %s", new["package"], new["version"], self.repository)
                    yield event(**new)
                if seen is None or list(seen) != list(found.seen):
                    seen = list(found.seen)
                    if store is not None:
                        await store.aset(self._key, seen)
            await self._sleep(self.poll_interval)

    @property
    def _key(self) -> str:
        """Of the state: another requirement is another watch, and begins anew."""
        return f"gar:{self.repository}:{self.requirement}:{'pre' if self.prereleases else 'final'}"

    def _store(self) -> Any:
        """Where Airflow keeps a watcher's state; None where it does not."""
        store = getattr(self, "asset_state_store", None)
        if store is None:
            self.log.warning(
                "This Airflow gives a watcher no place for its state (3.3 does): what %s holds now is taken for seen, "
                "and a version that is published while no triggerer runs will not fire.",
                self.repository,
            )
        return store
