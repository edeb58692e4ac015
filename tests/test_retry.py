"""Which failures are tried again, and when."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta

import pytest

from airflow_gar_provider import errors

try:
    from airflow_gar_provider.retry import GAR_RETRY_POLICY, GarRetryPolicy
except ImportError:
    GAR_RETRY_POLICY = None  # type: ignore[assignment]

needs_policies = pytest.mark.needs_airflow("3.3", "retry policies")


@needs_policies
@pytest.mark.parametrize(
    ("error", "try_number", "action", "delay"),
    [
        (errors.UnavailableError("away"), 1, "retry", 30),
        (errors.UnavailableError("away"), 2, "retry", 60),
        (errors.ConcurrentChangeError("changed"), 5, "retry", 480),
        (errors.InterruptedWaitError("killed"), 6, "retry", 900),
        (errors.OperationTimeoutError("still runs"), 1000, "retry", 900),
        (errors.EnvironmentNotReadyError("e", "CREATING", remedy="wait", retryable=True), 1, "retry", 30),
        (errors.EnvironmentNotReadyError("e", "ERROR", remedy="recreate", retryable=False), 1, "fail", None),
        (errors.NotFoundError("gone"), 1, "fail", None),
        (errors.InvalidRequirementError(["x"]), 1, "fail", None),
        (ZeroDivisionError(), 1, "default", None),
    ],
)
def test_decisions(error: Exception, try_number: int, action: str, delay: float | None) -> None:
    """What may pass is tried again after growing delays, what stays is not, what is not ours is not judged."""
    decision = GAR_RETRY_POLICY.evaluate(error, try_number, 10)
    assert decision.action.value == action
    assert decision.retry_delay == (None if delay is None else timedelta(seconds=delay))


@needs_policies
def test_it_survives_serialization() -> None:
    """With its own delays."""
    policy = GarRetryPolicy(first_delay=timedelta(seconds=1), longest_delay=timedelta(seconds=2))
    again = GarRetryPolicy.deserialize(policy.serialize())
    assert [again.evaluate(errors.UnavailableError("x"), n, 9).retry_delay for n in (1, 2, 3)] == [
        timedelta(seconds=seconds) for seconds in (1, 2, 2)
    ]


@needs_policies
def test_an_operator_takes_it() -> None:
    """Airflow keeps it on the task, so the typed error reaches it (see GarOperator.explained)."""
    from airflow_gar_provider.operators import PublishWheelOperator

    task = PublishWheelOperator(task_id="p", wheels="a.whl", repository="r", retry_policy=GAR_RETRY_POLICY)
    assert task.retry_policy is GAR_RETRY_POLICY


def test_without_policies_the_import_says_so() -> None:
    """On an Airflow without `retry_policy` (here: its module is hidden) the import fails with a sentence to act on."""
    code = """
import sys
sys.modules["airflow.sdk.definitions.retry_policy"] = None
import airflow_gar_provider.retry
from airflow_gar_provider.retry import GAR_RETRY_POLICY
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "ImportError: GAR_RETRY_POLICY needs Airflow 3.3 or later" in done.stderr
    assert done.returncode == 1
