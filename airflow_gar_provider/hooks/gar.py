"""The hook: an Airflow connection, and whom to impersonate, become this package's Google clients."""

from __future__ import annotations

import json
from functools import cached_property

from airflow.providers.google.common.hooks.base_google import GoogleBaseHook

from airflow_gar_provider.core.redaction import redact, redact_error
from airflow_gar_provider.errors import NoClientError
from airflow_gar_provider.gcp.cloud import Cloud
from airflow_gar_provider.gcp.session import Session


class GarHook(GoogleBaseHook):  # type: ignore[misc]  # Google's modules are not followed by mypy
    """Artifact Registry, Composer, Cloud Storage and build logs, through one Google connection.

    `gcp_conn_id` and `impersonation_chain` mean what they mean in every operator of the Google provider. `cloud` has
    the clients: `hook.cloud.artifact_registry`, `.composer`, `.storage`, `.logs`.
    """

    @cached_property
    def cloud(self) -> Cloud:
        """The clients, sharing one set of credentials. Raises NoClientError for an unusable connection."""
        try:
            credentials, project_id = self.get_credentials_and_project_id()
        except Exception as error:
            # Airflow, google-auth and others raise their own kinds, and some quote a key that is in the wrong field.
            redact_error(error)
            raise NoClientError(
                f"the connection yields no Google credentials: {redact(str(error))}",
                resource=self.gcp_conn_id,
                remedy="look at the Airflow connection (gcp_conn_id): its key, and whom it impersonates",
            ) from error
        return Cloud(Session(credentials, project_id))

    def get_conn(self) -> Cloud:
        """The clients, as hooks name it."""
        return self.cloud


def key_file_of(conn_id: str) -> str:
    """The service account's key file that a connection holds; empty when it holds none.

    `keyfile_dict` of a Google Cloud connection, in both of its spellings, or the password of any other one.
    """
    connection = GoogleBaseHook.get_connection(conn_id)
    extra = connection.extra_dejson
    found = extra.get("keyfile_dict") or extra.get("extra__google_cloud_platform__keyfile_dict")
    if isinstance(found, dict):
        return json.dumps(found)
    return str(found or connection.password or "")
