"""Google's discovery documents (they ship with google-api-python-client): its generated clients, and a validator."""

from __future__ import annotations

import base64
import binascii
import json
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import googleapiclient
import httplib2
from googleapiclient.discovery import build_from_document

if TYPE_CHECKING:
    from collections.abc import Iterator

    import requests

DOCUMENTS = Path(googleapiclient.__file__).parent / "discovery_cache" / "documents"
APIS = (
    "artifactregistry.v1",
    "cloudbuild.v1",
    "cloudresourcemanager.v1",
    "cloudresourcemanager.v3",
    "composer.v1",
    "iam.v1",
    "iamcredentials.v1",
    "logging.v2",
    "secretmanager.v1",
    "serviceusage.v1",
    "storage.v1",
)
"""The documents of every host that the sandbox plays. oauth2.googleapis.com/token and pkg.dev have none."""

_TYPES: dict[str, Any] = {"string": str, "boolean": bool, "integer": int, "number": (int, float), "any": object}
_FORMATS = {
    "int64": r"-?\d+",
    "uint64": r"\d+",
    "google-datetime": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z",
    "date-time": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z",
    "google-duration": r"-?\d+(\.\d{1,9})?s",
}


@cache
def document(name: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((DOCUMENTS / f"{name}.json").read_text())
    return value


@cache
def methods(name: str) -> dict[str, dict[str, Any]]:
    """Every method of a document by its id, `storage.objects.get`."""
    return {item["id"]: item for item in _below(document(name))}


def _below(value: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from value.get("methods", {}).values()
    for resource in value.get("resources", {}).values():
        yield from _below(resource)


def address(name: str, method: dict[str, Any]) -> str:
    """The method's URL, with `x` for every variable."""
    described = document(name)
    path = described["servicePath"] + method.get("flatPath", method["path"])
    if "flatPath" not in method and "mediaUpload" in method:
        path = method["mediaUpload"]["protocols"]["simple"]["path"].lstrip("/")
    return str(described["rootUrl"] + re.sub(r"\{[^}]+\}", "x", path))


def problems(  # noqa: PLR0911 - one per kind of schema
    value: Any, schema: dict[str, Any], schemas: dict[str, Any], where: str = ""
) -> list[str]:
    """Fields that the document does not have, and values of another type or format than it says."""
    if "$ref" in schema:
        return problems(value, schemas[schema["$ref"]], schemas, where)
    kind = schema.get("type")
    if kind == "array":
        if not isinstance(value, list):
            return [f"{where}: not a list"]
        items = enumerate(value)
        return [text for index, item in items for text in problems(item, schema["items"], schemas, f"{where}[{index}]")]
    if kind == "object":
        if not isinstance(value, dict):
            return [f"{where}: not an object"]
        found = []
        for name, item in value.items():
            below = schema.get("properties", {}).get(name) or schema.get("additionalProperties")
            place = f"{where}.{name}"
            found += [f"{place}: unknown"] if below is None else problems(item, below, schemas, place)
        return found
    if not isinstance(value, _TYPES[str(kind)]) or (kind in {"integer", "number"} and isinstance(value, bool)):
        return [f"{where}: {value!r} is not of type {kind}"]
    if "enum" in schema and value not in schema["enum"]:
        return [f"{where}: {value!r} is not one of {schema['enum']}"]
    return _format_problems(value, str(schema.get("format")), where) if kind == "string" else []


def _format_problems(value: str, kind: str, where: str) -> list[str]:
    pattern = _FORMATS.get(kind)
    if pattern is not None and not re.fullmatch(pattern, value):
        return [f"{where}: {value!r} is no {kind}"]
    if kind == "byte":
        try:
            base64.b64decode(value, validate=True)
        except binascii.Error:
            return [f"{where}: {value!r} is no base64"]
    return []


class _Http:
    """What the generated clients want of httplib2, over a session."""

    def __init__(self, session: requests.Session) -> None:
        self._session = session

    def request(self, uri: str, method: str = "GET", body: Any = None, headers: Any = None, **_: Any) -> Any:
        answer = self._session.request(method, uri, data=body, headers=headers, timeout=60)
        return httplib2.Response({**answer.headers, "status": str(answer.status_code)}), answer.content

    def close(self) -> None:
        self._session.close()


class Contract:
    """Google's generated clients; every answer is checked against the method's schema, and remembered."""

    def __init__(self, session: requests.Session) -> None:
        self._http = _Http(session)
        self._apis: dict[str, Any] = {}
        self.checked: set[str] = set()
        """The ids of the methods whose answers were checked, with their documents: `storage.v1 storage.objects.get`."""

    def api(self, name: str) -> Any:
        """The generated client of a document."""
        if name not in self._apis:
            self._apis[name] = build_from_document(document(name), http=self._http)
        return self._apis[name]

    def run(self, name: str, request: Any) -> Any:
        """Execute a request of `api(name)`; its answer, which has the shape that the document says."""
        value = request.execute()
        schema = methods(name)[request.methodId].get("response")
        media = isinstance(value, bytes)
        if schema is None or media:
            assert media or not value, (request.methodId, value)
        else:
            assert problems(value, schema, document(name)["schemas"]) == [], request.methodId
        self.checked.add(f"{name} {request.methodId}")
        return value
