"""What the triggers share: their arguments in the database, and Google's clients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_gar_provider.compat import TriggerEvent

if TYPE_CHECKING:
    from airflow_gar_provider.gcp.cloud import Cloud


class GoogleTrigger:
    """Mixed into Airflow's trigger bases. `arguments`: own constructor arguments -> the attributes that hold them."""

    arguments: ClassVar[Mapping[str, str]] = {}

    def __init__(self, *, gcp_conn_id: str, impersonation_chain: str | Sequence[str] | None) -> None:
        super().__init__()
        self.gcp_conn_id = gcp_conn_id
        self.impersonation_chain = impersonation_chain

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The arguments, for the database. No credentials: they come from the connection."""
        own = {argument: getattr(self, attribute) for argument, attribute in self.arguments.items()}
        shared = {"gcp_conn_id": self.gcp_conn_id, "impersonation_chain": self.impersonation_chain}
        return f"{type(self).__module__}.{type(self).__qualname__}", {**own, **shared}

    def _connect(self) -> Cloud:
        """Google's clients, through the connection. Not on the event loop: it asks the database, and imports much."""
        from airflow_gar_provider.hooks.gar import GarHook

        return GarHook(gcp_conn_id=self.gcp_conn_id, impersonation_chain=self.impersonation_chain).cloud


def event(**values: Any) -> TriggerEvent:
    """An event of plain values."""
    return TriggerEvent(values)  # type: ignore[no-untyped-call]


def no_client(error: Exception) -> str:
    """What is said when Google's clients could not be made: Airflow raises its own kinds, with its own words."""
    from airflow_gar_provider.core.redaction import redact  # a DAG file that imports a trigger does not pay for it

    return f"no Google client could be made: {redact(str(error))}"


def same(*names: str) -> dict[str, str]:
    """Arguments whose attributes have their names."""
    return {name: name for name in names}
