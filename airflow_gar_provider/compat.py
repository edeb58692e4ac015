"""What differs between Airflow 2.11 and 3.x. The only module that looks at the version."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator, BaseOperatorLink, Context
    from airflow.sdk.exceptions import AirflowFailException
else:
    try:
        from airflow.sdk import BaseOperator, BaseOperatorLink, Context
    except ImportError:  # Airflow 2.11
        from airflow.models.baseoperator import BaseOperator
        from airflow.models.baseoperatorlink import BaseOperatorLink
        from airflow.utils.context import Context
    try:
        from airflow.sdk.exceptions import AirflowFailException
    except ImportError:  # before 3.2
        from airflow.exceptions import AirflowFailException

from airflow.configuration import conf
from airflow.triggers.base import BaseTrigger, TriggerEvent

__all__ = [
    "AirflowFailException",
    "BaseOperator",
    "BaseOperatorLink",
    "BaseTrigger",
    "Context",
    "TriggerEvent",
    "default_deferrable",
    "read_xcom",
]

default_deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False)


def read_xcom(ti_key: Any, key: str) -> Any:  # a TaskInstanceKey of either Airflow; XCom holds any JSON
    """What a task instance pushed under a key; None when nothing was."""
    try:
        from airflow.sdk.execution_time.xcom import XCom  # noqa: PLC0415 -- not needed to parse a DAG
    except ImportError:  # Airflow 2.11
        from airflow.models.xcom import XCom  # type: ignore[no-redef]  # noqa: PLC0415
    return XCom.get_value(ti_key=ti_key, key=key)
