"""What differs between Airflow 2.11 and 3.x. The only module that looks at the version."""

from __future__ import annotations

import inspect
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.sdk import (
        Asset,
        AssetAlias,
        BaseOperator,
        BaseOperatorLink,
        BaseSensorOperator,
        Context,
        Param,
        TaskGroup,
    )
    from airflow.sdk.definitions.retry_policy import RetryDecision, RetryPolicy
    from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
    from airflow.sdk.log import mask_secret
    from airflow.triggers.base import BaseEventTrigger
else:
    try:
        from airflow.sdk import (
            Asset,
            AssetAlias,
            BaseOperator,
            BaseOperatorLink,
            BaseSensorOperator,
            Context,
            Param,
            TaskGroup,
        )
        from airflow.triggers.base import BaseEventTrigger
    except ImportError:  # Airflow 2.11
        from airflow.datasets import Dataset as Asset
        from airflow.datasets import DatasetAlias as AssetAlias
        from airflow.models.baseoperator import BaseOperator
        from airflow.models.baseoperatorlink import BaseOperatorLink
        from airflow.models.param import Param
        from airflow.sensors.base import BaseSensorOperator
        from airflow.triggers.base import BaseTrigger as BaseEventTrigger  # it has no watchers: nothing starts one
        from airflow.utils.context import Context
        from airflow.utils.task_group import TaskGroup
    try:
        from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
    except ImportError:  # before 3.2
        from airflow.exceptions import AirflowFailException, AirflowSkipException
    try:
        from airflow.sdk.log import mask_secret
    except ImportError:  # Airflow 2.11
        from airflow.utils.log.secrets_masker import mask_secret
    try:
        from airflow.sdk.definitions.retry_policy import RetryDecision, RetryPolicy
    except ImportError:  # before 3.3
        RetryDecision = RetryPolicy = None

import airflow
from airflow.configuration import conf
from airflow.triggers.base import BaseTrigger, TriggerEvent

__all__ = [
    "AirflowFailException",
    "AirflowSkipException",
    "Asset",
    "AssetAlias",
    "BaseEventTrigger",
    "BaseOperator",
    "BaseOperatorLink",
    "BaseSensorOperator",
    "BaseTrigger",
    "Context",
    "Param",
    "RetryDecision",
    "RetryPolicy",
    "TaskGroup",
    "TriggerEvent",
    "approval_operator",
    "counts_deferred_tasks",
    "deadline_alert",
    "default_deferrable",
    "event_extra",
    "mask_secret",
    "read_xcom",
    "sensor_loop",
    "stats",
]

default_deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False)

_VERSION = tuple(int(part) for part in airflow.__version__.split(".")[:2])

counts_deferred_tasks: bool = _VERSION >= (3, 2)
"""Whether `max_active_tis_per_dagrun` counts deferred tasks: before 3.2 a limit of two let four be deferred (tried)."""


def approval_operator() -> Any:
    """Airflow's ApprovalOperator; None before 3.1."""
    try:
        from airflow.providers.standard.operators.hitl import ApprovalOperator  # noqa: PLC0415
    except Exception as error:  # before 3.1 its module raises an error of its own, which only a newer Airflow has
        if isinstance(error, ImportError) or type(error).__name__ == "AirflowOptionalProviderFeatureException":
            return None
        raise
    return ApprovalOperator


def deadline_alert(interval: timedelta, callback: Any, kwargs: dict[str, Any] | None) -> Any:
    """Airflow's alert for a run that has not ended `interval` after it was queued; None before 3.1."""
    try:
        # Where 3.1 has all three; `airflow.sdk` itself has them from 3.2 on.
        from airflow.sdk.definitions import deadline  # noqa: PLC0415
    except ImportError:
        return None
    called: Any = deadline.AsyncCallback(callback, kwargs)  # type: ignore[attr-defined]  # from 3.2 on only imported there
    reference = deadline.DeadlineReference.DAGRUN_QUEUED_AT
    if _VERSION >= (3, 3):
        # 3.3 stores a timedelta in a form that its own clearing of tasks cannot read, and answers 500 (tried, 3.3.2;
        # apache/airflow#70368, open). A number of seconds is read by both, unless a later 3.3 refuses numbers.
        seconds: Any = interval.total_seconds()
        with suppress(TypeError, ValueError):
            return deadline.DeadlineAlert(reference, seconds, called)
    return deadline.DeadlineAlert(reference, interval, called)


def stats() -> Any:
    """Airflow's metrics client."""
    try:
        from airflow.sdk.observability.stats import Stats  # noqa: PLC0415
    except ImportError:  # before 3.2
        from airflow.stats import Stats  # noqa: PLC0415
    return Stats


def sensor_loop(sensor: BaseSensorOperator, context: Context) -> None:
    """Airflow's own loop of pokes, for a sensor with an `execute` of its own.

    2.11 takes `super().execute` for a call from outside of a task: a warning, or an error where operators may not nest.
    """
    inspect.unwrap(BaseSensorOperator.execute)(sensor, context)


class _HashableDict(dict[str, Any]):
    """A dict that can be in a set, as long as nobody changes it."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))


def event_extra(extra: dict[str, Any]) -> dict[str, Any]:
    """The extra of an alias's event, as this Airflow takes it; the consumer reads the same JSON from it everywhere.

    2.11 puts the values into a set, and so fails a task whose event has a list or a dict in it (tried).
    """
    return extra if _VERSION >= (3, 0) else {key: _hashable(value) for key, value in extra.items()}


def _hashable(value: Any) -> Any:  # any JSON
    if isinstance(value, dict):
        return _HashableDict({key: _hashable(item) for key, item in value.items()})
    return tuple(_hashable(item) for item in value) if isinstance(value, list) else value


def read_xcom(ti_key: Any, key: str) -> Any:  # a TaskInstanceKey of either Airflow; XCom holds any JSON
    """What a task instance pushed under a key; None when nothing was."""
    try:
        from airflow.sdk.execution_time.xcom import XCom  # noqa: PLC0415 -- not needed to parse a DAG
    except ImportError:  # Airflow 2.11
        from airflow.models.xcom import XCom  # type: ignore[no-redef]  # noqa: PLC0415
    return XCom.get_value(ti_key=ti_key, key=key)
