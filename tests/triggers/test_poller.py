"""One poller for all who wait in a location: few calls, none on the event loop, nothing lost."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from airflow_gar_provider.core.operation import POLL_FLOOR, Operation
from airflow_gar_provider.errors import AccessDeniedError, NoClientError, NotFoundError, UnavailableError
from airflow_gar_provider.triggers import poller as poller_module
from airflow_gar_provider.triggers.poller import Look, Poller, pollers
from tests.triggers.virtual import PARENT, FakeCloud, name_of, run

_task: contextvars.ContextVar[str] = contextvars.ContextVar("task", default="")


def get(cloud: FakeCloud, identity: str = "id", connect: Callable[[], Any] | None = None) -> Poller:
    return pollers().get(identity, PARENT, connect or (lambda: cloud), lambda: None)


async def until_done(poller: Poller, number: int, interval: float = 30) -> tuple[float, Look]:
    """Wait for one operation's end; the moment, and what was said then."""
    async with poller.waiting(name_of(number), interval) as waiter:
        while True:
            look = await waiter.looks.get()
            if isinstance(look, Operation) and not look.done:
                continue
            return asyncio.get_running_loop().time(), look


async def all_done(*waits: Awaitable[tuple[float, Look]]) -> list[tuple[float, Look]]:
    return list(await asyncio.gather(*waits))


def test_a_page_serves_a_hundred() -> None:
    """250 operations are awaited among the 300 newest: three calls an interval, and each ends when it ends."""

    async def main() -> None:
        cloud = FakeCloud(300, ends={number: 25.0 + number for number in range(250)})
        ended = await all_done(*(until_done(get(cloud), number) for number in range(250)))
        moments = cloud.calls_at()
        assert list(moments)[:4] == [10, 40, 70, 100]
        assert [moments[10], moments[40], moments[70]] == [3, 3, 3]
        assert max(moments.values()) == 3
        for number, (moment, look) in enumerate(ended):
            assert isinstance(look, Operation)
            assert look.name == name_of(number)
            assert moment - (25 + number) <= 30

    run(main())


def test_a_single_operation_is_got() -> None:
    """One call an interval; two who wait for it share it."""

    async def main() -> None:
        cloud = FakeCloud(300, ends={7: 95.0})
        ended = await all_done(until_done(get(cloud), 7), until_done(get(cloud), 7))
        assert [moment for moment, _ in ended] == [100, 100]
        assert cloud.calls == [(moment, name_of(7)) for moment in (10, 40, 70, 100)]

    run(main())


def test_old_operations_are_got_singly() -> None:
    """Two that stand below thousands cost two calls an interval, after one look that found out."""

    async def main() -> None:
        cloud = FakeCloud(5000, ends={4000: 80.0, 4001: 80.0})
        await all_done(until_done(get(cloud), 4000), until_done(get(cloud), 4001))
        assert cloud.calls_at() == {10: 4, 40: 2, 70: 2, 100: 2}

    run(main())


def test_nobody_is_told_before_ten_seconds() -> None:
    """Who joins just before a look waits for the next one that is ten seconds away, and gets it then."""

    async def main() -> None:
        cloud = FakeCloud(10, ends={0: 200.0, 1: 0.0})
        first = asyncio.create_task(until_done(get(cloud), 0))
        await asyncio.sleep(65)
        moment, look = await until_done(get(cloud), 1, interval=2)
        assert isinstance(look, Operation)
        assert moment == 65 + POLL_FLOOR
        assert (70, name_of(1)) not in cloud.calls
        await first

    run(main())


def test_a_denied_list_falls_back_and_is_tried_again() -> None:
    """Without composer.operations.list each is got; ten minutes later the list is tried again."""

    async def main() -> None:
        cloud = FakeCloud(10, ends={0: 1000.0, 1: 1000.0})
        cloud.fail("list", AccessDeniedError("could not list operations"))
        ended = await all_done(until_done(get(cloud), 0), until_done(get(cloud), 1))
        assert len(ended) == 2
        listed = [moment for moment, call in cloud.calls if call == "list"]
        assert listed[:2] == [10, 610]
        assert cloud.calls_at()[40] == 2
        assert cloud.calls_at()[640] == 1

    run(main())


def test_an_error_that_passes_is_told_and_outlived() -> None:
    """A list that fails costs one call, not one for each operation; so does a single look."""

    async def main() -> None:
        cloud = FakeCloud(10, ends={0: 30.0, 1: 30.0})
        cloud.fail("list", UnavailableError("away"))
        told: list[Look] = []
        async with get(cloud).waiting(name_of(0), 30) as waiter:
            await asyncio.sleep(0)
            other = asyncio.create_task(until_done(get(cloud), 1))
            told.append(await waiter.looks.get())
            told.append(await waiter.looks.get())
        assert isinstance(told[0], UnavailableError)
        assert isinstance(told[1], Operation)
        # The list failed, so nothing was got; the other one has gone with the error, a single one is got.
        assert cloud.calls == [(10, "list"), (40, name_of(0))]
        assert isinstance((await other)[1], UnavailableError)

    run(main())


def test_what_is_gone_is_gone_for_those_who_wait_for_it() -> None:
    """404 reaches its waiters only."""

    async def main() -> None:
        cloud = FakeCloud(10, ends={0: 30.0, 1: 30.0})
        gone, zero, one = await all_done(*(until_done(get(cloud), number) for number in (99, 0, 1)))
        assert isinstance(gone[1], NotFoundError)
        assert isinstance(zero[1], Operation)
        assert isinstance(one[1], Operation)

    run(main())


def test_refused_credentials_are_made_anew() -> None:
    """When every call is refused (a token that was withdrawn, a key that was rotated) the connection is read again."""

    async def main() -> None:
        cloud, made = FakeCloud(10, ends={0: 60.0, 1: 60.0}), []
        refused = AccessDeniedError("401")
        cloud.fail("list", refused)
        cloud.fail(name_of(0), refused)
        cloud.fail(name_of(1), refused)

        def connect() -> Any:
            made.append(cloud.loop.time())
            return cloud

        looks: list[Look] = []
        async with get(cloud, connect=connect).waiting(name_of(1), 30) as other:
            async with get(cloud).waiting(name_of(0), 30) as waiter:
                looks = [await waiter.looks.get() for _ in range(3)]
            assert isinstance(await other.looks.get(), Operation)
        assert looks[0] is refused
        assert isinstance(looks[1], Operation)
        assert made == [10, 40]
        assert (40, "list") in cloud.calls  # the list was not what had been denied

    run(main())


def test_no_client_is_told_after_three_tries() -> None:
    """A connection that cannot be read at once may be readable in a moment; then those who wait are told."""

    async def main() -> None:
        tries: list[str] = []

        def connect() -> Any:
            tries.append(threading.current_thread().name)
            raise RuntimeError("no such connection")

        poller = pollers().get("id", PARENT, connect, lambda: None)
        async with poller.waiting(name_of(0), 30) as waiter:
            look = await waiter.looks.get()
        assert isinstance(look, NoClientError)
        assert look.what == "no Google client could be made: no such connection"
        assert len(tries) == poller_module.CONNECT_TRIES
        assert asyncio.get_running_loop().time() == 70

    run(main())


def test_what_blocks_is_not_on_the_loop() -> None:
    """Imports, the connection and every call run in other threads; imports and calls in few ones of the poller's."""

    async def main() -> None:
        cloud, loop_thread, seen = FakeCloud(10, ends={0: 5.0, 1: 5.0}), threading.get_ident(), dict[str, str]()

        def note(what: str, result: Any = None) -> Any:
            assert threading.get_ident() != loop_thread
            assert _task.get() == ""  # nor in the context of the first trigger: its log is not the poller's
            seen[what] = threading.current_thread().name
            return result

        _task.set("the first trigger's")
        poller = pollers().get("id", PARENT, lambda: note("connect", cloud), lambda: note("prepare"))
        await all_done(until_done(poller, 0), until_done(poller, 1))
        assert seen["prepare"].startswith("composer-operations")
        assert not seen["connect"].startswith("composer-operations")
        assert cloud.calls

    run(main())


def test_threads_are_few_and_end() -> None:
    """However many operations are got singly, in however many locations: four threads, gone with the last waiter."""

    async def main() -> None:
        cloud = FakeCloud(500, ends=dict.fromkeys(range(500), 20.0))
        for _ in range(10):
            cloud.fail("list", AccessDeniedError("could not list operations"))
        counted: list[int] = []
        get_operation = cloud.get_operation

        def count(name: str) -> Operation:
            counted.append(len(threads()))
            return get_operation(name)

        cloud.get_operation = count  # type: ignore[method-assign]
        await all_done(*(until_done(get(cloud, f"id{n % 5}"), n) for n in range(500)))
        assert max(counted) <= poller_module.THREADS

    def threads() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name.startswith("composer-operations")]

    run(main())
    for thread in threads():
        thread.join(5)
    assert threads() == []


def test_waiters_come_and_go() -> None:
    """One that is cancelled is not looked for any more; with the last one the poller's task ends, and a later one
    begins anew; identities and locations are apart."""

    async def main() -> None:
        cloud = FakeCloud(10, ends={0: 500.0})
        poller = get(cloud)
        assert get(cloud, "another") is not poller
        stays, goes = (asyncio.create_task(until_done(poller, number)) for number in (0, 1))
        await asyncio.sleep(45)
        goes.cancel()
        await asyncio.wait({goes})
        before = len(cloud.calls)
        await asyncio.sleep(30)
        assert cloud.calls[before:] == [(70, name_of(0))]
        stays.cancel()
        await asyncio.wait({stays})
        await asyncio.sleep(1)
        assert len(asyncio.all_tasks()) == 1
        before = len(cloud.calls)
        await asyncio.sleep(100)
        assert len(cloud.calls) == before
        moment, _ = await until_done(get(cloud), 0)
        assert moment >= 500

    run(main())


def test_another_loop_has_pollers_of_its_own() -> None:
    """A loop that was closed while somebody waited leaves nothing that the next one would use."""

    async def abandon() -> None:
        loop, waiting = asyncio.get_running_loop(), get(FakeCloud(1)).waiting(name_of(0), 30)
        await waiting.__aenter__()
        abandoned.append((loop, waiting))
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    async def main() -> None:
        cloud = FakeCloud(1, ends={0: 0.0})
        moment, _ = await until_done(get(cloud), 0)
        assert moment == POLL_FLOOR

    abandoned: list[Any] = []
    run(abandon())
    run(main())


def test_a_defect_does_not_end_the_poller(caplog: pytest.LogCaptureFixture) -> None:
    """An exception that nobody foresaw is logged with its trace, and the next look is made."""

    async def main() -> None:
        cloud = FakeCloud(1, ends={0: 30.0})
        cloud.fail(name_of(0), ZeroDivisionError("a defect"))
        moment, _ = await until_done(get(cloud), 0)
        assert moment == 40

    run(main())
    assert "ZeroDivisionError: a defect" in caplog.text
