"""`GAR_RETRY_POLICY`: a task of this provider is tried again exactly where that can help (Airflow 3.3 and later).

::

    from airflow_gar_provider.retry import GAR_RETRY_POLICY

    InstallPrivatePackageOperator(task_id="lib", retries=5, retry_policy=GAR_RETRY_POLICY, ...)

Errors that may pass (`retryable`: 429, 5xx, somebody else's change, a wait that was killed) are tried again after 30,
60, 120, ... seconds, at most 15 minutes; errors that stay are not. What is no error of this provider is left to the
task's own `retries` and `retry_delay`. Before 3.3 the import of the name fails and says so; nothing is lost there but
the growing delays: the operators themselves end a task whose error stays.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_gar_provider.compat import Context, RetryDecision, RetryPolicy
from airflow_gar_provider.errors import GarProviderError

FIRST_DELAY = timedelta(seconds=30)
LONGEST_DELAY = timedelta(minutes=15)

if TYPE_CHECKING or RetryPolicy is not None:

    class GarRetryPolicy(RetryPolicy):
        """Judge by what an error of this provider says of itself.

        :param first_delay: before the second try; each further one is twice the one before.
        :param longest_delay: where doubling ends.
        """

        def __init__(self, *, first_delay: timedelta = FIRST_DELAY, longest_delay: timedelta = LONGEST_DELAY) -> None:
            self.first_delay = first_delay
            self.longest_delay = longest_delay

        def evaluate(
            self, exception: BaseException, try_number: int, max_tries: int, context: Context | None = None
        ) -> RetryDecision:
            """Decide after a failure; runs in the worker."""
            if not isinstance(exception, GarProviderError):
                return RetryDecision.default()
            if not exception.retryable:
                return RetryDecision.fail(f"{exception.what}: another try would end in the same way")
            doublings = min(max(try_number, 1) - 1, 30)  # 2**30 is beyond every delay, and no overflow
            delay = min(self.first_delay * 2**doublings, self.longest_delay)
            return RetryDecision.retry(delay, f"{exception.what}: this may pass")

        def serialize(self) -> dict[str, Any]:
            """As built-in policies do."""
            return {
                "__type": "GarRetryPolicy",
                "first_delay": self.first_delay.total_seconds(),
                "longest_delay": self.longest_delay.total_seconds(),
            }

        @classmethod
        def deserialize(cls, data: dict[str, Any]) -> GarRetryPolicy:
            """The inverse of `serialize`."""
            return cls(
                first_delay=timedelta(seconds=data["first_delay"]),
                longest_delay=timedelta(seconds=data["longest_delay"]),
            )

    GAR_RETRY_POLICY = GarRetryPolicy()


def __getattr__(name: str) -> Any:
    if name in ("GAR_RETRY_POLICY", "GarRetryPolicy"):
        raise ImportError(
            f"{name} needs Airflow 3.3 or later, which introduced `retry_policy`. Leave it out: this provider's "
            "operators end a task by themselves when another try cannot help"
        )
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
