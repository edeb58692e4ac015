"""Cloud Logging and Cloud Build: what an environment's package build printed, and how it ended."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

from airflow_gar_provider.core.environment import EnvironmentName
from airflow_gar_provider.gcp.session import (
    CALL_TIMEOUT,
    Session,
    error_of_response,
    google_errors,
    read_again,
    understood,
)

_URL = "https://logging.googleapis.com/v2/entries:list"
_BUILDS = "https://cloudbuild.googleapis.com/v1"
_LIMIT = 1000
"""Entries that are read at most, from the newest back: pip's verdict is at the end."""


class Logs:
    """One identity's view of builds and their logs. Errors: see `gcp.session.google_errors`."""

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
        return self._lines(environment.project, clauses)

    def cloud_build_log(self, project: str, build: str, begun: datetime) -> list[str]:
        """The lines of a build in the project's own Cloud Build (its page "Viewing build logs"), oldest first."""
        clauses = [
            'resource.type="build"',
            f'resource.labels.build_id="{build}"',
            f'timestamp>="{_stamp(begun - timedelta(minutes=1))}"',
        ]
        return self._lines(project, clauses)

    def cloud_build(self, project: str, region: str | None, build: str) -> list[str]:
        """How a build of Cloud Build ended, as lines for a diagnosis: its status and its `failureInfo`.

        Raises NotFoundError, AccessDeniedError (cloudbuild.builds.get).
        """
        place = f"/locations/{region}" if region else ""
        with google_errors("look at the Cloud Build build", resource=build):
            response = self._session.http.get(
                f"{_BUILDS}/projects/{project}{place}/builds/{build}", timeout=CALL_TIMEOUT
            )
        if response.status_code >= 400:
            raise error_of_response(
                response,
                "look at the Cloud Build build",
                resource=build,
                remedy="the caller needs cloudbuild.builds.get there (roles/cloudbuild.builds.viewer)",
            )
        with understood("look at the Cloud Build build", resource=build):
            value = response.json()
            failure: dict[str, Any] = value.get("failureInfo") or {}
            detail = ": ".join(str(failure[key]) for key in ("type", "detail") if failure.get(key))
            # In Cloud Build's own words TIMEOUT is a status: `Build timed out` is what its log says of it.
            ended = "Build timed out" if value.get("status") == "TIMEOUT" else f"Cloud Build: {value.get('status')}"
        return [ended, *([f"Cloud Build: {detail}"] if detail else [])]

    def _lines(self, project: str, clauses: Sequence[str]) -> list[str]:
        body = {
            "resourceNames": [f"projects/{project}"],
            "filter": " AND ".join(clauses),
            "orderBy": "timestamp desc",
            "pageSize": _LIMIT,
        }
        return read_again(lambda: self._entries(project, body))

    def _entries(self, project: str, body: dict[str, Any]) -> list[str]:
        with google_errors("read the build log", resource=f"projects/{project}"):
            response = self._session.http.post(_URL, json=body, timeout=CALL_TIMEOUT)
        if response.status_code >= 400:
            raise error_of_response(
                response,
                "read the build log",
                resource=f"projects/{project}",
                remedy="the caller needs logging.logEntries.list there (roles/logging.viewer)",
            )
        with understood("read the build log", resource=f"projects/{project}"):
            entries = response.json().get("entries", [])
            return [line for entry in reversed(entries) for line in _text(entry).splitlines()]


def _text(entry: dict[str, Any]) -> str:
    """An entry's words: a text, or a structured entry's message."""
    payload = entry.get("jsonPayload") or {}
    return str(entry.get("textPayload") or payload.get("message") or "")


def _stamp(moment: datetime) -> str:
    return moment.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")
