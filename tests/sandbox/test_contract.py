"""Answers against Google's own descriptions: the discovery documents that ship with google-api-python-client."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import googleapiclient
import pytest

from tests.conftest import LOCATION, Running
from .test_artifact_registry import CALLER, upload

if TYPE_CHECKING:
    import requests

DOCUMENTS = Path(googleapiclient.__file__).parent / "discovery_cache" / "documents"
TYPES: dict[str, Any] = {"string": str, "boolean": bool, "integer": int, "number": (int, float), "any": object}


def document(name: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((DOCUMENTS / f"{name}.json").read_text())
    return value


def problems(  # noqa: PLR0911 - one per kind of schema
    value: Any, schema: dict[str, Any], schemas: dict[str, Any], where: str = ""
) -> list[str]:
    """Fields that the document does not have, and values of another type than it says."""
    if "$ref" in schema:
        return problems(value, schemas[schema["$ref"]], schemas, where)
    kind = schema.get("type")
    if kind == "array":
        if not isinstance(value, list):
            return [f"{where}: not a list"]
        return [
            text
            for index, item in enumerate(value)
            for text in problems(item, schema["items"], schemas, f"{where}[{index}]")
        ]
    if kind == "object":
        if not isinstance(value, dict):
            return [f"{where}: not an object"]
        found = []
        for name, item in value.items():
            below = schema.get("properties", {}).get(name) or schema.get("additionalProperties")
            found += (
                [f"{where}.{name}: unknown"] if below is None else problems(item, below, schemas, f"{where}.{name}")
            )
        return found
    if not isinstance(value, TYPES[str(kind)]) or (kind == "integer" and isinstance(value, bool)):
        return [f"{where}: {value!r} is not of type {kind}"]
    if "enum" in schema and value not in schema["enum"]:
        return [f"{where}: {value!r} is not one of {schema['enum']}"]
    return []


def methods(value: dict[str, Any]) -> dict[str, Any]:
    found = {item["id"]: item for item in value.get("methods", {}).values()}
    for below in value.get("resources", {}).values():
        found |= methods(below)
    return found


def check(name: str, method: str, answer: requests.Response) -> Any:
    assert answer.status_code == 200, answer.text
    described = document(name)
    schema = methods(described)[method]["response"]
    value = answer.json()
    assert problems(value, schema, described["schemas"]) == []
    return value


def test_answers_have_the_shape_of_the_discovery_documents(sandbox: Running, project: str) -> None:
    parent = f"projects/{project}/locations/{LOCATION}"
    environment = f"{parent}/environments/dev"
    bucket = sandbox.setup(environments=[environment])["environments"][environment]
    with sandbox.session(CALLER) as session:
        registry, get = "https://artifactregistry.googleapis.com/v1", session.get
        a, p = "artifactregistry.v1", "artifactregistry.projects.locations"
        made = session.post(
            f"{registry}/{parent}/repositories?repositoryId=python", json={"format": "PYTHON"}, timeout=30
        )
        operation = check(a, f"{p}.repositories.create", made)
        check(a, f"{p}.operations.get", get(f"{registry}/{operation['name']}", timeout=30))
        upload(session, project, "acme", "1.0")
        repository = f"{parent}/repositories/python"
        for method, path in (
            (f"{p}.list", f"projects/{project}/locations"),
            (f"{p}.repositories.get", repository),
            (f"{p}.repositories.list", f"{parent}/repositories"),
            (f"{p}.repositories.getIamPolicy", f"{repository}:getIamPolicy"),
            (f"{p}.repositories.files.list", f"{repository}/files"),
            (f"{p}.repositories.files.get", f"{repository}/files/acme%252Facme-1.0-py3-none-any.whl"),
            (f"{p}.repositories.packages.list", f"{repository}/packages"),
            (f"{p}.repositories.packages.versions.get", f"{repository}/packages/acme/versions/1.0"),
            (f"{p}.repositories.pythonPackages.get", f"{repository}/pythonPackages/acme:1.0"),
        ):
            check(a, method, get(f"{registry}/{path}", timeout=30))
        c, p = "composer.v1", "composer.projects.locations"
        base = "https://composer.googleapis.com/v1"
        body = {"labels": {"a": "b"}}
        patched = session.patch(f"{base}/{environment}?updateMask=labels", json=body, timeout=30)
        operation = check(c, f"{p}.environments.patch", patched)
        for method, path in (
            (f"{p}.environments.get", environment),
            (f"{p}.environments.list", f"{parent}/environments"),
            (f"{p}.operations.get", operation["name"]),
            (f"{p}.operations.list", f"{parent}/operations"),
            (f"{p}.imageVersions.list", f"{parent}/imageVersions"),
        ):
            check(c, method, get(f"{base}/{path}", timeout=30))
        url = f"{base}/{environment}:executeAirflowCommand"
        command = {"command": "list-packages", "subcommand": "pip list"}
        started = check(c, f"{p}.environments.executeAirflowCommand", session.post(url, json=command, timeout=30))
        url, asked = f"{base}/{environment}:pollAirflowCommand", {"executionId": started["executionId"]}
        check(c, f"{p}.environments.pollAirflowCommand", session.post(url, json=asked, timeout=30))
        s, base = "storage.v1", f"https://storage.googleapis.com/storage/v1/b/{bucket}"
        url = f"https://storage.googleapis.com/upload/storage/v1/b/{bucket}/o?uploadType=media&name=a/b"
        check(s, "storage.objects.insert", session.post(url, data=b"x", timeout=30))
        for method, url in (
            ("storage.buckets.get", base),
            ("storage.buckets.list", f"https://storage.googleapis.com/storage/v1/b?project={project}"),
            ("storage.buckets.getIamPolicy", f"{base}/iam"),
            ("storage.objects.list", f"{base}/o?delimiter=/"),
            ("storage.objects.get", f"{base}/o/a%2Fb"),
        ):
            check(s, method, get(url, timeout=30))
        check(s, "storage.objects.rewrite", session.post(f"{base}/o/a%2Fb/rewriteTo/b/{bucket}/o/c", timeout=30))
        listed = {"resourceNames": [f"projects/{project}"]}
        check(
            "logging.v2",
            "logging.entries.list",
            session.post("https://logging.googleapis.com/v2/entries:list", json=listed, timeout=30),
        )
        base = f"https://iam.googleapis.com/v1/projects/{project}/serviceAccounts"
        account = check("iam.v1", "iam.projects.serviceAccounts.list", get(base, timeout=30))["accounts"][0]
        check("iam.v1", "iam.projects.serviceAccounts.get", get(f"{base}/{account['email']}", timeout=30))
        made = session.post(f"{base}/{account['email']}/keys", json={}, timeout=30)
        check("iam.v1", "iam.projects.serviceAccounts.keys.create", made)
        for version in ("v1", "v3"):
            url = f"https://cloudresourcemanager.googleapis.com/{version}/projects/{project}"
            check(f"cloudresourcemanager.{version}", "cloudresourcemanager.projects.get", get(url, timeout=30))


@pytest.mark.parametrize(("name", "host"), [("artifactregistry.v1", "artifactregistry"), ("composer.v1", "composer")])
def test_every_method_of_the_discovery_document_is_played_or_refused_by_name(
    sandbox: Running, name: str, host: str
) -> None:
    """No path of Google's is taken for something else or breaks: it is played, or 501 names it."""
    with sandbox.session(CALLER) as session:
        for identifier, method in methods(document(name)).items():
            path = re.sub(r"\{[^}]+\}", "x", method["flatPath"])
            body = {} if method["httpMethod"] != "GET" else None
            url = f"https://{host}.googleapis.com/{path}"
            answer = session.request(method["httpMethod"], url, json=body, timeout=30)
            assert answer.status_code in {400, 403, 404, 501}, (identifier, answer.text)
            if answer.status_code == 501:
                text = answer.json()["error"]["message"]
                assert "does not play google." in text or path in text, (identifier, text)
