"""When a rollout should have ended: Airflow's deadline alert, where Airflow has it (3.1 and later)."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any

from airflow_gar_provider.compat import deadline_alert
from airflow_gar_provider.metrics import count

log = logging.getLogger(__name__)


async def tell(context: Mapping[str, Any]) -> str:
    """What a missed deadline does unless told otherwise: an error in the triggerer's log, and `gar.rollout.deadline`.

    Airflow keeps the answer beside the deadline.
    """
    run, deadline = context["dag_run"], context["deadline"]
    message = f"{run['dag_id']} is late: run {run['dag_run_id']} should have ended by {deadline['deadline_time']}"
    log.error(message)
    count("rollout.deadline", "missed")
    return message


def finish_within(
    interval: timedelta,
    callback: str | Callable[..., Awaitable[Any]] = "airflow_gar_provider.deadline.tell",
    kwargs: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Arguments for a DAG: `DAG(..., **finish_within(timedelta(hours=3)))`.

    A run that has not ended so long after it was queued is reported once; it goes on. Before Airflow 3.1, which has no
    deadlines, there are no arguments: nothing is reported.

    :param interval: how long a run may take, the time in which it waits for a worker or an approval included.
    :param callback: an awaitable that the triggerer can import, or its path; a notifier of Airflow's is one, such as
        `SlackWebhookNotifier`. It gets `kwargs`, and `context` with the run (`dag_run`) and the `deadline`.
    :param kwargs: arguments for the callback.
    """
    alert = deadline_alert(interval, callback, kwargs)
    return {} if alert is None else {"deadline": alert}
