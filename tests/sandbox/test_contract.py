"""Every method that is played, called with Google's generated clients; every answer against Google's own description.

The clients are those that google-api-python-client makes of the discovery documents, so the paths are Google's too.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from googleapiclient.http import MediaInMemoryUpload

from airflow_gar_provider import sandbox as package
from airflow_gar_provider.sandbox.services.environments import base_airflow
from tests.conftest import LOCATION, Running

from .discovery import APIS, Contract, address, document, methods, problems
from .test_artifact_registry import CALLER, upload

if TYPE_CHECKING:
    import requests

MEMBER = f"serviceAccount:{CALLER}"


def artifact_registry(contract: Contract, project: str, session: requests.Session) -> None:
    name, parent = "artifactregistry.v1", f"projects/{project}/locations/{LOCATION}"
    run, locations = partial(contract.run, name), contract.api(name).projects().locations()
    run(locations.list(name=f"projects/{project}"))
    run(locations.get(name=parent))
    repositories = locations.repositories()
    body = {"format": "PYTHON", "labels": {"a": "b"}, "description": "ours"}
    operation = run(repositories.create(parent=parent, repositoryId="python", body=body))
    run(locations.operations().get(name=operation["name"]))
    repository = f"{parent}/repositories/python"
    run(repositories.patch(name=repository, updateMask="description", body={"description": "theirs"}))
    run(repositories.list(parent=parent))
    policy = run(repositories.getIamPolicy(resource=repository))
    policy["bindings"] = [{"role": "roles/artifactregistry.reader", "members": [MEMBER]}]
    run(repositories.setIamPolicy(resource=repository, body={"policy": policy}))
    asked = {"permissions": ["artifactregistry.repositories.get"]}
    run(repositories.testIamPermissions(resource=repository, body=asked))
    assert upload(session, project, "acme", "1.0")[0] == 200
    assert upload(session, project, "acme", "1.1")[0] == 200
    assert int(run(repositories.get(name=repository))["sizeBytes"]) > 0
    packages, files, python = repositories.packages(), repositories.files(), repositories.pythonPackages()
    annotations = {"updateMask": "annotations", "body": {"annotations": {"team": "data"}}}
    package_name = run(packages.list(parent=repository))["packages"][0]["name"]
    run(packages.get(name=package_name))
    run(packages.patch(name=package_name, **annotations))
    run(packages.tags().list(parent=package_name))
    version = run(packages.versions().list(parent=package_name, orderBy="updateTime desc"))["versions"][0]["name"]
    run(packages.versions().get(name=version, view="FULL"))
    run(packages.versions().patch(name=version, **annotations))
    found = run(files.list(parent=repository, filter=f'owner="{version}"'))["files"]
    assert [file["owner"] for file in found] == [version]
    run(files.get(name=found[0]["name"]))
    assert run(files.download_media(name=found[0]["name"])).startswith(b"PK")
    run(python.get(name=run(python.list(parent=repository))["pythonPackages"][0]["name"]))
    run(files.patch(name=found[0]["name"], **annotations))
    run(files.delete(name=found[0]["name"]))
    run(packages.versions().delete(name=version, force=True))
    run(packages.delete(name=package_name))
    run(repositories.delete(name=repository))


def composer(contract: Contract, project: str, session: requests.Session) -> None:
    name, parent = "composer.v1", f"projects/{project}/locations/{LOCATION}"
    run, locations = partial(contract.run, name), contract.api(name).projects().locations()
    environments, operations = locations.environments(), locations.operations()

    def wait(operation: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = operation
        while not found.get("done"):
            found = run(operations.get(name=operation["name"]))
        assert "error" not in found, found
        return found

    environment = f"{parent}/environments/dev"
    wait(run(environments.create(parent=parent, body={"name": environment})))
    run(environments.get(name=environment))
    run(environments.list(parent=parent))
    done = wait(run(environments.patch(name=environment, updateMask="labels", body={"labels": {"a": "b"}})))
    run(operations.list(name=parent))
    run(operations.delete(name=done["name"]))
    images = run(locations.imageVersions().list(parent=parent))["imageVersions"]
    command = {"command": "list-packages", "subcommand": "pip list"}
    started = run(environments.executeAirflowCommand(environment=environment, body=command))
    asked = {**{field: started[field] for field in ("executionId", "pod", "podNamespace")}, "nextLineNumber": 1}
    run(environments.pollAirflowCommand(environment=environment, body=asked))
    asked.pop("nextLineNumber")
    run(environments.stopAirflowCommand(environment=environment, body=asked))
    wanted = {"imageVersion": images[0]["imageVersionId"]}
    wait(run(environments.checkUpgrade(environment=environment, body=wanted)))
    snapshot = wait(run(environments.saveSnapshot(environment=environment, body={})))["response"]["snapshotPath"]
    skip = {"skipPypiPackagesInstallation": True, "snapshotPath": snapshot}
    wait(run(environments.loadSnapshot(environment=environment, body=skip)))
    wait(run(environments.delete(name=environment)))


def storage(contract: Contract, project: str, session: requests.Session) -> None:
    name, bucket = "storage.v1", f"contract-{project}"
    api, run = contract.api(name), partial(contract.run, name)
    buckets, objects = api.buckets(), api.objects()
    body = {"name": bucket, "location": LOCATION, "versioning": {"enabled": True}, "labels": {"a": "b"}}
    run(buckets.insert(project=project, body=body))
    run(buckets.patch(bucket=bucket, body={"lifecycle": {"rule": []}}))
    whole = run(buckets.get(bucket=bucket))
    run(buckets.update(bucket=bucket, body=whole))
    run(buckets.list(project=project))
    run(buckets.getStorageLayout(bucket=bucket))
    policy = run(buckets.getIamPolicy(bucket=bucket))
    policy["bindings"] = [{"role": "roles/storage.admin", "members": [MEMBER]}]
    run(buckets.setIamPolicy(bucket=bucket, body=policy))
    run(buckets.testIamPermissions(bucket=bucket, permissions=["storage.objects.get"]))
    media = partial(MediaInMemoryUpload, mimetype="text/plain")
    run(objects.insert(bucket=bucket, name="dags/a.py", media_body=media(b"1")))
    run(objects.insert(bucket=bucket, body={"name": "dags/a.py"}, media_body=media(b"22")))
    run(objects.insert(bucket=bucket, name="b/c", media_body=media(b"333", resumable=True)))
    run(objects.patch(bucket=bucket, object="b/c", body={"metadata": {"x": "y"}, "cacheControl": "no-store"}))
    run(objects.get(bucket=bucket, object="b/c"))
    assert run(objects.get_media(bucket=bucket, object="b/c")) == b"333"
    copy: dict[str, Any] = {"sourceBucket": bucket, "sourceObject": "b/c", "destinationBucket": bucket, "body": {}}
    run(objects.rewrite(**copy, destinationObject="b/d"))
    run(objects.copy(**copy, destinationObject="b/e"))
    parts = {"sourceObjects": [{"name": "b/c"}, {"name": "b/d"}], "destination": {"contentType": "text/plain"}}
    run(objects.compose(destinationBucket=bucket, destinationObject="b/f", body=parts))
    run(api.managedFolders().list(bucket=bucket))
    assert run(objects.list(bucket=bucket, delimiter="/"))["prefixes"] == ["b/", "dags/"]
    every = run(objects.list(bucket=bucket, versions=True))["items"]
    assert len(every) == 6
    for item in every:
        run(objects.delete(bucket=bucket, object=item["name"], generation=item["generation"]))
    run(buckets.delete(bucket=bucket))


def secret_manager(contract: Contract, project: str, session: requests.Session) -> None:
    name, parent = "secretmanager.v1", f"projects/{project}"
    run, secrets = partial(contract.run, name), contract.api(name).projects().secrets()
    body = {"replication": {"automatic": {}}, "labels": {"a": "b"}}
    secret = run(secrets.create(parent=parent, secretId="password", body=body))["name"]
    run(secrets.get(name=secret))
    run(secrets.patch(name=secret, updateMask="labels", body={"labels": {"c": "d"}}))
    run(secrets.list(parent=parent))
    policy = run(secrets.getIamPolicy(resource=secret))
    policy["bindings"] = [{"role": "roles/secretmanager.secretAccessor", "members": [MEMBER]}]
    run(secrets.setIamPolicy(resource=secret, body={"policy": policy}))
    run(secrets.testIamPermissions(resource=secret, body={"permissions": ["secretmanager.versions.access"]}))
    payload = {"payload": {"data": "c2VjcmV0"}}
    version = run(secrets.addVersion(parent=secret, body=payload))["name"]
    versions = secrets.versions()
    assert run(versions.access(name=f"{secret}/versions/latest"))["payload"]["data"] == "c2VjcmV0"
    run(versions.get(name=version))
    run(versions.list(parent=secret))
    run(versions.disable(name=version, body={}))
    run(versions.enable(name=version, body={}))
    run(versions.destroy(name=version, body={}))
    run(secrets.delete(name=secret))


def logging(contract: Contract, project: str, session: requests.Session) -> None:
    name = "logging.v2"
    api, run = contract.api(name), partial(contract.run, name)
    resource = {"type": "global", "labels": {"project_id": project}}
    entries = [{"textPayload": "x", "severity": "INFO"}, {"jsonPayload": {"a": [1, {"b": None}]}, "labels": {"c": "d"}}]
    body = {"logName": f"projects/{project}/logs/rollout", "resource": resource, "entries": entries}
    run(api.entries().write(body=body))
    asked = {"resourceNames": [f"projects/{project}"], "orderBy": "timestamp desc", "filter": 'logName:"rollout"'}
    found = run(api.entries().list(body=asked))
    assert len(found["entries"]) == 2
    run(api.projects().logs().list(parent=f"projects/{project}"))


def iam(contract: Contract, project: str, session: requests.Session) -> None:
    name, parent = "iam.v1", f"projects/{project}"
    run, accounts = partial(contract.run, name), contract.api(name).projects().serviceAccounts()
    body = {"accountId": "uploader", "serviceAccount": {"displayName": "Up"}}
    account = run(accounts.create(name=parent, body=body))["name"]
    run(accounts.get(name=account))
    run(accounts.list(name=parent))
    wanted = {"displayName": "Other", "description": "ours"}
    run(accounts.patch(name=account, body={"serviceAccount": wanted, "updateMask": "displayName,description"}))
    run(accounts.disable(name=account, body={}))
    run(accounts.enable(name=account, body={}))
    policy = run(accounts.getIamPolicy(resource=account))
    policy["bindings"] = [{"role": "roles/iam.serviceAccountTokenCreator", "members": [MEMBER]}]
    run(accounts.setIamPolicy(resource=account, body={"policy": policy}))
    run(accounts.testIamPermissions(resource=account, body={"permissions": ["iam.serviceAccounts.actAs"]}))
    keys = accounts.keys()
    key = run(keys.create(name=account, body={}))["name"]
    run(keys.disable(name=key, body={}))
    run(keys.list(name=account))
    run(keys.get(name=key))
    run(keys.enable(name=key, body={}))
    run(keys.delete(name=key))
    name, of_project = "iamcredentials.v1", account.replace(parent, "projects/-")
    credentials = contract.api(name).projects().serviceAccounts()
    scope = {"scope": ["https://www.googleapis.com/auth/cloud-platform"], "lifetime": "600s"}
    contract.run(name, credentials.generateAccessToken(name=of_project, body=scope))
    asked = {"audience": "https://service.example", "includeEmail": True}
    contract.run(name, credentials.generateIdToken(name=of_project, body=asked))
    contract.run(name, credentials.getAllowedLocations(name=of_project))
    run(accounts.delete(name=account))


def cloud_build(contract: Contract, project: str, session: requests.Session) -> None:
    name, environment = "cloudbuild.v1", f"projects/{project}/locations/{LOCATION}/environments/second"
    run, projects = partial(contract.run, name), contract.api(name).projects()
    url = f"https://composer.googleapis.com/v1/{environment}"
    image = {"config": {"softwareConfig": {"imageVersion": f"composer-2-airflow-{base_airflow()}"}}}
    session.post(url.rpartition("/")[0], json={"name": environment, **image}, timeout=30).raise_for_status()
    while session.get(url, timeout=30).json()["state"] != "RUNNING":
        pass
    image = {"imageVersion": f"composer-3-airflow-{base_airflow()}"}
    session.post(f"{url}:checkUpgrade", json=image, timeout=30).raise_for_status()
    parent = f"projects/{project}/locations/global"
    build = run(projects.builds().list(projectId=project))["builds"][0]
    run(projects.builds().get(projectId=project, id=build["id"]))
    assert run(projects.locations().builds().list(parent=parent))["builds"][0]["id"] == build["id"]
    run(projects.locations().builds().get(name=f"{parent}/builds/{build['id']}"))


def service_usage(contract: Contract, project: str, session: requests.Session) -> None:
    name, parent = "serviceusage.v1", f"projects/{project}"
    api, run = contract.api(name), partial(contract.run, name)
    services, pubsub = api.services(), f"{parent}/services/pubsub.googleapis.com"
    assert run(services.get(name=pubsub))["state"] == "DISABLED"
    operation = run(services.enable(name=pubsub, body={}))
    assert run(api.operations().get(name=operation["name"]))["done"] is True
    run(services.batchEnable(parent=parent, body={"serviceIds": ["composer.googleapis.com"]}))
    assert run(services.batchGet(parent=parent, names=[pubsub]))["services"][0]["state"] == "ENABLED"
    run(services.list(parent=parent, filter="state:ENABLED"))


def resource_manager(contract: Contract, project: str, session: requests.Session) -> None:
    for name in ("cloudresourcemanager.v1", "cloudresourcemanager.v3"):
        run, projects = partial(contract.run, name), contract.api(name).projects()
        resource = project if name.endswith("1") else f"projects/{project}"
        if name.endswith("1"):
            run(projects.list(pageSize=1))
        run(projects.get(**{"projectId" if name.endswith("1") else "name": resource}))
        policy = run(projects.getIamPolicy(resource=resource, body={}))
        run(projects.setIamPolicy(resource=resource, body={"policy": policy}))
        asked = {"permissions": ["resourcemanager.projects.get"]}
        assert run(projects.testIamPermissions(resource=resource, body=asked)) == asked


DRIVES = (
    artifact_registry,
    composer,
    cloud_build,
    storage,
    secret_manager,
    logging,
    iam,
    service_usage,
    resource_manager,
)


@pytest.fixture(scope="module")
def contract(sandbox: Running) -> Contract:
    """Every played method, called once at least."""
    session = sandbox.session(CALLER)
    contract = Contract(session)
    sandbox.setup(projects=["contract-tests"])
    for drive in DRIVES:
        drive(contract, "contract-tests", session)
    return contract


@pytest.fixture(scope="module")
def refused(sandbox: Running) -> dict[str, str]:
    """What each method that is not played says, by document and id."""
    found = {}
    with sandbox.session(CALLER) as session:
        for name in APIS:
            for identifier, method in methods(name).items():
                answer = session.request(method["httpMethod"], address(name, method), timeout=30)
                assert answer.status_code in {200, 204, 400, 403, 404, 501}, (identifier, answer.text)
                if answer.status_code == 501:
                    found[f"{name} {identifier}"] = answer.json()["error"]["message"]
    return found


def test_every_played_method_answers_as_its_discovery_document_says(
    contract: Contract, refused: dict[str, str]
) -> None:
    """The fixture has checked the answers; here: nothing that is played was left out, nothing else counted."""
    played = {f"{name} {method}" for name in APIS for method in methods(name)} - refused.keys()
    assert played - contract.checked == set()
    assert contract.checked - played == set()


def test_every_method_that_is_not_played_is_refused_by_its_name(refused: dict[str, str]) -> None:
    for key, message in refused.items():
        name = re.fullmatch(r"The sandbox does not play ([\w.]+?)(?: for [\w ]+)?\.", message)
        assert name is not None, (key, message)
        assert name.group(1).startswith("google.") or name.group(1) == key.partition(" ")[2], (key, message)


def unplayed_by_the_docstring() -> dict[str, tuple[bool, list[str]]]:
    """Per document: whether the names are exceptions, and the names."""
    found = {}
    for name, text in re.findall(r"^- `(\w+\.v\d)`: (.*?)(?=^-|^$|\Z)", package.__doc__ or "", re.M | re.S):
        found[name] = (text.startswith("everything but"), re.findall(r"`([^`]+)`", text))
    return found


def test_the_docstring_lists_exactly_what_is_not_played(refused: dict[str, str]) -> None:
    listed = unplayed_by_the_docstring()
    assert listed.keys() == set(APIS)
    for name, (exceptions, patterns) in listed.items():
        prefix = f"{document(name)['name']}."
        for identifier in methods(name):
            short = identifier.removeprefix(prefix)
            named = [pattern for pattern in patterns if fnmatchcase(short, pattern)]
            assert (f"{name} {identifier}" in refused) is (bool(named) is not exceptions), (name, short, named)
        for pattern in patterns:
            assert any(fnmatchcase(identifier.removeprefix(prefix), pattern) for identifier in methods(name)), pattern


SCHEMAS: dict[str, Any] = {
    "Thing": {
        "type": "object",
        "properties": {
            "size": {"type": "string", "format": "int64"},
            "time": {"type": "string", "format": "google-datetime"},
            "data": {"type": "string", "format": "byte"},
            "state": {"type": "string", "enum": ["ON"]},
            "parts": {"type": "array", "items": {"$ref": "Thing"}},
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
            "on": {"type": "boolean"},
            "count": {"type": "integer"},
        },
    }
}


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({"colour": 1}, ".colour: unknown"),
        ({"size": 5}, "is not of type string"),
        ({"size": "5 MB"}, "is no int64"),
        ({"time": "2026-01-02"}, "is no google-datetime"),
        ({"data": "%"}, "is no base64"),
        ({"state": "OFF"}, "is not one of"),
        ({"parts": [{}, {"on": "true"}]}, ".parts[1].on: 'true' is not of type boolean"),
        ({"parts": {}}, ".parts: not a list"),
        ({"labels": {"a": 1}}, ".labels.a: 1 is not of type string"),
        ({"count": True}, "is not of type integer"),
        ([], ": not an object"),
    ],
)
def test_the_validator_sees_what_is_wrong(value: Any, problem: str) -> None:
    found = problems(value, {"$ref": "Thing"}, SCHEMAS)
    assert len(found) == 1
    assert problem in found[0]


def test_the_validator_lets_through_what_is_right() -> None:
    value = {"size": "-5", "time": "2026-01-02T03:04:05.123Z", "data": "AA==", "state": "ON", "labels": {"a": ""}}
    assert problems({**value, "parts": [value], "on": True, "count": 1}, {"$ref": "Thing"}, SCHEMAS) == []
