"""Cloud Logging: the log of an environment's package build."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from airflow_gar_provider.core.environment import EnvironmentName
from airflow_gar_provider.gcp.session import CALL_TIMEOUT, Session, error_of_response, google_errors

_URL = "https://logging.googleapis.com/v2/entries:list"
_LIMIT = 1000
"""Entries that are read at most, from the newest back: pip's verdict is at the end."""


class Logs:
    """One identity's view of Cloud Logging. Errors: see `gcp.session.google_errors`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def build_log(self, environment: EnvironmentName, begun: datetime, ended: datetime | None) -> list[str]:
        """The lines of `build-log-*` between an operation's begin and five minutes after its end, oldest first.

        Google documents the log's prefix (troubleshooting-package-installation); gcpdiag uses the same label names.
        Not verified: the exact log id on Composer 3.
        """
        until = (ended or datetime.now(timezone.utc)) + timedelta(minutes=5)
        clauses = [
            'resource.type="cloud_composer_environment"',
            f'resource.labels.project_id="{environment.project}"',
            f'resource.labels.location="{environment.location}"',
            f'resource.labels.environment_name="{environment.name}"',
            'logName=~"projects/[^/]+/logs/build-log-"',
            f'timestamp>="{_stamp(begun)}"',
            f'timestamp<="{_stamp(until)}"',
        ]
        body = {
            "resourceNames": [f"projects/{environment.project}"],
            "filter": " AND ".join(clauses),
            "orderBy": "timestamp desc",
            "pageSize": _LIMIT,
        }
        with google_errors("read the build log", resource=str(environment)):
            response = self._session.http.post(_URL, json=body, timeout=CALL_TIMEOUT)
        if response.status_code >= 400:
            raise error_of_response(
                response,
                "read the build log",
                resource=str(environment),
                remedy="the caller needs logging.logEntries.list there (roles/logging.viewer)",
            )
        entries = response.json().get("entries", [])
        return [entry.get("textPayload", "") for entry in reversed(entries)]


def _stamp(moment: datetime) -> str:
    return moment.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")
