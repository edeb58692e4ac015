"""The trigger that waits for an operation: one structured event whatever happens."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from airflow_gar_provider.core.operation import POLL_FLOOR, OperationName
from airflow_gar_provider.errors import NotFoundError, UnavailableError
from airflow_gar_provider.triggers.operation import ComposerOperationTrigger
from tests.triggers.virtual import PARENT, FakeCloud, name_of, run

EPOCH = 1_800_000_000.0
ARGUMENTS: dict[str, Any] = {
    "operation": name_of(0),
    "ours": True,
    "deadline": EPOCH + 3600,
    "poll_interval": 15.0,
    "gcp_conn_id": "google_cloud_default",
    "impersonation_chain": None,
}


class Watched(ComposerOperationTrigger):
    """The trigger with Google and the wall clock handed in."""

    cloud: Any

    def _connect(self) -> Any:
        if isinstance(self.cloud, Exception):
            raise self.cloud
        return self.cloud

    def _time(self) -> float:
        return EPOCH + asyncio.get_running_loop().time()


async def fired(cloud: Any, **changes: Any) -> tuple[float, dict[str, Any]]:
    """Run a trigger to its event: the moment, and the event."""
    trigger = Watched(**{**ARGUMENTS, **changes})
    trigger.cloud = cloud
    [event] = [event.payload async for event in trigger.run()]
    return asyncio.get_running_loop().time(), event


def test_it_survives_serialization() -> None:
    """What goes into the database makes the same trigger, and carries no secret."""
    path, arguments = ComposerOperationTrigger(**ARGUMENTS).serialize()
    assert path == "airflow_gar_provider.triggers.operation.ComposerOperationTrigger"
    assert arguments == ARGUMENTS
    assert ComposerOperationTrigger(**json.loads(json.dumps(arguments))).serialize() == (path, arguments)


@pytest.mark.parametrize(
    ("ends", "failures", "moment", "status", "message"),
    [
        ({0: 0.0}, [], 10, "ended", "SUCCEEDED"),
        ({0: 30.0}, [], 40, "ended", "SUCCEEDED"),
        ({0: 0.0}, [UnavailableError("away"), UnavailableError("away")], 40, "ended", "SUCCEEDED"),
        ({}, [NotFoundError("gone")], 10, "lost", "Composer does not know the operation any more"),
    ],
)
def test_it_reports_and_never_raises(
    ends: dict[int, float], failures: list[Exception], moment: float, status: str, message: str
) -> None:
    """One event, not before ten seconds, a look every fifteen."""

    async def main() -> None:
        cloud = FakeCloud(1, ends)
        cloud.fail(name_of(0), *failures)
        event = {"status": status, "operation": name_of(0), "ours": True, "message": message}
        assert await fired(cloud) == (moment, event)

    run(main())


def test_what_cannot_begin_is_lost() -> None:
    """No connection, or no name of an operation: the task is told why, and not at once."""

    async def main() -> None:
        moment, event = await fired(RuntimeError("no such connection"))
        assert (moment, event["status"]) == (40, "lost")
        assert event["message"] == "no Google client could be made: no such connection"
        moment, event = await fired(None, operation="o1")
        assert (moment - 40, event["status"]) == (POLL_FLOOR, "lost")
        assert event["message"] == "'o1' is not the name of an operation"

    run(main())


def test_the_deadline() -> None:
    """It ends the wait with what was last known and a link; whoever starts after it still looks once."""

    async def main() -> None:
        link = OperationName.parse(name_of(0)).url
        moment, event = await fired(FakeCloud(1), deadline=EPOCH + 100)
        assert (moment, event["status"]) == (100, "timed_out")
        assert event["message"] == f"RUNNING after 100 s in the triggerer: {link}"
        moment, event = await fired(FakeCloud(1), deadline=EPOCH, poll_interval=1.0)
        assert (moment, event["status"]) == (110, "timed_out")
        moment, event = await fired(FakeCloud(1, {0: 0.0}), deadline=EPOCH)
        assert (moment, event["status"]) == (120, "ended")

    run(main())


def test_looks_that_hang_do_not_outlive_the_deadline() -> None:
    """When no look comes back, the deadline ends the wait a minute and a half later."""

    async def main() -> None:
        cloud = FakeCloud(1)
        cloud.fail(name_of(0), *[ZeroDivisionError("a defect")] * 100)
        moment, event = await fired(cloud, deadline=EPOCH + 60)
        assert (moment, event["status"]) == (150, "timed_out")
        assert event["message"].startswith("unknown after 150 s")

    run(main())


def test_progress_is_told_once_an_interval(told: Callable[[], list[str]]) -> None:
    """State, time and link; a trigger that wants to look oftener does not make others tell oftener."""

    async def main() -> None:
        cloud = FakeCloud(2, {0: 100.0, 1: 100.0})
        await asyncio.gather(fired(cloud, poll_interval=30.0), fired(cloud, operation=name_of(1), poll_interval=5.0))

    run(main())
    lines = [line for line in told() if "operation o0 is" in line]
    link = OperationName.parse(name_of(0)).url
    assert len(lines) == 3
    for line, moment in zip(lines, (10, 40, 70), strict=True):
        assert f"operation o0 is RUNNING after {moment} s: {link}" in line


def test_a_look_that_failed_is_a_line(told: Callable[[], list[str]]) -> None:
    """With its reason; the wait goes on."""

    async def main() -> None:
        cloud = FakeCloud(1, {0: 0.0})
        cloud.fail(name_of(0), UnavailableError("could not look at the operation", message="try later"))
        await fired(cloud)

    run(main())
    text = "\n".join(told())
    assert "operation o0 could not be looked at, trying again: could not look at the operation" in text
    assert "try later" in text


def test_a_thousand_share_a_poller() -> None:
    """A thousand triggers that were begun one after the other within a minute: ten pages an interval."""

    async def main() -> None:
        cloud = FakeCloud(1000, dict.fromkeys(range(1000), 300.0))

        async def one(number: int) -> str:
            await asyncio.sleep(number * 0.06)
            return str((await fired(cloud, operation=name_of(number), poll_interval=30.0))[1]["status"])

        assert set(await asyncio.gather(*map(one, range(1000)))) == {"ended"}
        moments = cloud.calls_at()
        assert max(moments.values()) == 10
        assert len(cloud.calls) <= 10 * (300 / 30 + 2)

    run(main())


def test_a_triggerer_that_takes_over_goes_on() -> None:
    """Cancelled in the middle (no event is made up), started again from its arguments: it ends as it would have."""

    async def main() -> None:
        cloud = FakeCloud(1, {0: 100.0})
        first = asyncio.create_task(fired(cloud))
        await asyncio.sleep(50)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        moment, event = await fired(cloud)
        assert event["status"] == "ended"
        assert moment >= 100

    run(main())


def test_a_kill_says_where_it_goes_on(told: Callable[[], list[str]]) -> None:
    """Airflow 3.3 calls on_kill when somebody ends the deferred task by hand."""
    asyncio.run(ComposerOperationTrigger(**ARGUMENTS).on_kill())
    [line] = told()
    assert "operation o0 was not: Composer cannot cancel one" in line
    assert OperationName.parse(f"{PARENT}/operations/o0").url in line
    assert "gcloud composer operations describe o0 --location europe-west1 --project acme-data" in line
