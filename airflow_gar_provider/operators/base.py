"""What all operators share: the connection, and how an error reaches Airflow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow_gar_provider.compat import AirflowFailException, BaseOperator, Context
from airflow_gar_provider.errors import GarProviderError

if TYPE_CHECKING:
    from airflow_gar_provider.gcp.cloud import Cloud
    from airflow_gar_provider.steps.clock import Clock


class GarOperator(BaseOperator):
    """Base of this provider's operators.

    :param gcp_conn_id: the Google Cloud connection.
    :param impersonation_chain: a service account to impersonate, or a chain of them whose last one is impersonated.
    """

    template_fields: Sequence[str] = ("gcp_conn_id", "impersonation_chain")
    ui_color = "#e8f0fe"

    def __init__(
        self,
        *,
        gcp_conn_id: str = "google_cloud_default",
        impersonation_chain: str | Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.gcp_conn_id = gcp_conn_id
        self.impersonation_chain = impersonation_chain
        self._clock: Clock | None = None

    def cloud(self) -> Cloud:
        """Google's clients, through the connection."""
        from airflow_gar_provider.hooks.gar import GarHook

        hook = GarHook(gcp_conn_id=self.gcp_conn_id, impersonation_chain=self.impersonation_chain)
        return hook.cloud

    def clock(self) -> Clock:
        """The clock of this run; `on_kill` stops it."""
        from airflow_gar_provider.steps.clock import Clock

        if self._clock is None:
            self._clock = Clock()
        return self._clock

    def on_kill(self) -> None:
        """End a wait in progress: Airflow's SIGTERM calls only this, and does not interrupt `execute`."""
        if self._clock is not None:
            self._clock.stop()

    @contextmanager
    def explained(self, context: Context) -> Iterator[None]:
        """Make a failure readable: its facts as the task's result, and no retry where a retry cannot help.

        A task with a `retry_policy` (Airflow 3.3) gets the typed exception, for the policy to judge.
        """
        from airflow_gar_provider.core.redaction import redact, redact_error, redact_value

        try:
            yield
        except GarProviderError as error:
            # The last edge: what is raised is printed with its causes, what is pushed is kept.
            redact_error(error)
            context["ti"].xcom_push(key="return_value", value=redact_value(error.as_result()))
            if error.retryable or getattr(self, "retry_policy", None) is not None:
                raise
            raise AirflowFailException(redact(str(error))) from error


def goes_on(operator: BaseOperator, context: Context) -> bool:
    """Whether this try is Airflow's own retry. Clearing a task makes a further try, too, and raises `max_tries`."""
    ti = context["ti"]
    return ti.try_number > 1 and getattr(ti, "max_tries", None) == operator.retries


def run_of(context: Context) -> str:
    """What identifies a task's run over all its tries."""
    ti = context["ti"]
    mapped = "" if ti.map_index in (None, -1) else f"/{ti.map_index}"
    return f"{ti.dag_id}/{ti.run_id}/{ti.task_id}{mapped}"
