"""Cloud Logging, v2: the build logs of environments, what clients write, and the reading of both with filters
(JSON and gRPC)."""

from __future__ import annotations

import asyncio
import re
import secrets
from typing import TYPE_CHECKING, Any

from google.cloud.logging_v2 import types as logging_types
from google.protobuf import json_format

from ..clock import now, rfc3339
from ..dispatch import Method
from ..errors import ApiError
from ..paging import page
from ..transcoding import Rule
from .log_filter import compile_filter

if TYPE_CHECKING:
    from ..dispatch import Call
    from ..policies import Policies
    from ..store import Store

HOST = "logging.googleapis.com"
SERVICE = "google.logging.v2.LoggingServiceV2"
_LOG_NAME = re.compile(r"projects/[^/]+/logs/[A-Za-z0-9/_.%-]{1,512}")
_FAILURE_WORDS = ("ERROR:", "has requirement", "non-zero code")


class Logs:
    """The entries of every project."""

    def __init__(self, store: Store) -> None:
        self._entries = store.collection("entries")
        self._sequence = 0

    def write_environment(self, environment: str, log_id: str, text: str) -> None:
        """One line of an environment's log."""
        _, project, _, location, _, name = environment.split("/")
        failed, warned = any(word in text for word in _FAILURE_WORDS), text.startswith("WARNING")
        severity = "ERROR" if failed else "WARNING" if warned else "INFO"
        labels = {"project_id": project, "location": location, "environment_name": name}
        resource = {"type": "cloud_composer_environment", "labels": labels}
        self._write_line(f"projects/{project}/logs/{log_id}", resource, severity, text)

    def write_build(self, project: str, build: str, text: str) -> None:
        """One line of a build of Cloud Build, whose lines have no severity of their own."""
        resource = {"type": "build", "labels": {"project_id": project, "build_id": build, "build_trigger_id": ""}}
        self._write_line(f"projects/{project}/logs/cloudbuild", resource, "INFO", text)

    def _write_line(self, log: str, resource: dict[str, Any], severity: str, text: str) -> None:
        self.write({"logName": log, "resource": resource, "severity": severity, "textPayload": text})

    def write(self, entry: dict[str, Any]) -> None:
        """One entry of a client, with the fields that the client left to Google."""
        moment = rfc3339(now())
        self._sequence += 1
        whole = {
            "timestamp": moment,
            "insertId": f"{self._sequence:012x}{secrets.token_hex(4)}",
            "severity": "DEFAULT",
            "resource": {"type": "global"},
            **entry,
            "receiveTimestamp": moment,
        }
        project = whole["logName"].split("/")[1]
        self._entries.put(f"{project}/{whole['timestamp']}/{whole['insertId']}", whole)

    def entries(self, project: str) -> list[dict[str, Any]]:
        """The entries of a project, oldest first."""
        return [entry for _, entry in self._entries.items(f"{project}/")]


class Logging:
    """The methods that are played."""

    def __init__(self, logs: Logs, policies: Policies) -> None:
        self._logs = logs
        self._policies = policies

    def methods(self) -> list[Method]:
        """The methods of the service. Its generated client has no REST transport to read rules from."""
        listing = Rule.from_option({"method": "post", "uri": "/v2/entries:list", "body": "*"})
        names = Rule.from_option({"method": "get", "uri": "/v2/{parent=projects/*}/logs"})
        writing = Rule.from_option({"method": "post", "uri": "/v2/entries:write", "body": "*"})
        return [
            _method("ListLogEntries", logging_types.ListLogEntriesRequest, listing, self.list_log_entries),
            _method("ListLogs", logging_types.ListLogsRequest, names, self.list_logs),
            _method("WriteLogEntries", logging_types.WriteLogEntriesRequest, writing, self.write_log_entries),
        ]

    def _require(self, call: Call, permission: str, resource: str) -> str:
        if not resource.startswith("projects/"):
            raise ApiError("INVALID_ARGUMENT", "The sandbox reads the logs of projects only.")
        project = "/".join(resource.split("/")[:2])
        text = "Permission denied for all log views"
        self._policies.require(call.principal, permission, project, service=HOST, message=text)
        return project.removeprefix("projects/")

    async def list_log_entries(self, call: Call, request: Any) -> Any:
        """entries.list: filter, order, pages."""
        if not request.resource_names:
            raise ApiError("INVALID_ARGUMENT", "resource_names must not be empty.")
        projects = [self._require(call, "logging.logEntries.list", name) for name in request.resource_names]
        predicate = compile_filter(request.filter)
        if request.order_by not in {"", "timestamp asc", "timestamp desc", "timestamp"}:
            raise ApiError("INVALID_ARGUMENT", f"Invalid order_by: {request.order_by}")
        # Reading happens beside the event loop: a build writes thousands of lines.
        found = await asyncio.to_thread(self._find, projects, predicate)
        found.sort(key=lambda entry: (entry["timestamp"], entry["insertId"]), reverse=request.order_by.endswith("desc"))
        entries, token = page(found, request.page_size, request.page_token, default=50)
        messages = [
            logging_types.LogEntry.wrap(json_format.ParseDict(entry, logging_types.LogEntry.pb()()))
            for entry in entries
        ]
        return logging_types.ListLogEntriesResponse(entries=messages, next_page_token=token)

    async def write_log_entries(self, call: Call, request: Any) -> Any:
        """entries.write: all or nothing, whatever `partial_success` says; `dry_run` only checks."""
        prepared = []
        for entry in request.entries:
            value = json_format.MessageToDict(logging_types.LogEntry.pb(entry))
            value.setdefault("logName", request.log_name)
            if not _LOG_NAME.fullmatch(value["logName"]):
                raise ApiError("INVALID_ARGUMENT", f"Invalid log name: {value['logName']!r}")
            if "resource" not in value and request.resource.type:
                value["resource"] = json_format.MessageToDict(request.resource)
            labels = {**dict(request.labels), **value.get("labels", {})}
            prepared.append({**value, "labels": labels} if labels else value)
        for name in {entry["logName"] for entry in prepared}:
            self._require(call, "logging.logEntries.create", name)
        if not request.dry_run:
            for entry in prepared:
                self._logs.write(entry)
        return logging_types.WriteLogEntriesResponse()

    def _find(self, projects: list[str], predicate: Any) -> list[dict[str, Any]]:
        return [entry for project in projects for entry in self._logs.entries(project) if predicate(entry)]

    async def list_logs(self, call: Call, request: Any) -> Any:
        """logs.list."""
        project = self._require(call, "logging.logs.list", request.parent)
        names = sorted({entry["logName"] for entry in self._logs.entries(project)})
        items, token = page(names, request.page_size, request.page_token)
        return logging_types.ListLogsResponse(log_names=items, next_page_token=token)


def _method(name: str, request_type: Any, rule: Rule, function: Any) -> Method:
    return Method(f"{SERVICE}.{name}", f"/{SERVICE}/{name}", request_type, (rule,), function)
