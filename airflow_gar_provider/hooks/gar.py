"""The hook: an Airflow connection, and whom to impersonate, become this package's Google clients."""

from __future__ import annotations

from functools import cached_property

from airflow.providers.google.common.hooks.base_google import GoogleBaseHook

from airflow_gar_provider.gcp.cloud import Cloud
from airflow_gar_provider.gcp.session import Session


class GarHook(GoogleBaseHook):  # type: ignore[misc]  # Google's modules are not followed by mypy
    """Artifact Registry, Composer, Cloud Storage and build logs, through one Google connection.

    `gcp_conn_id` and `impersonation_chain` mean what they mean in every operator of the Google provider. `cloud` has
    the clients: `hook.cloud.artifact_registry`, `.composer`, `.storage`, `.logs`.
    """

    @cached_property
    def cloud(self) -> Cloud:
        """The clients, sharing one set of credentials. Raises AirflowException for an unusable connection."""
        credentials, project_id = self.get_credentials_and_project_id()
        return Cloud(Session(credentials, project_id))

    def get_conn(self) -> Cloud:
        """The clients, as hooks name it."""
        return self.cloud
