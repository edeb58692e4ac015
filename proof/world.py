"""A world: what one run needs, under names that no other run has; and all that is there afterwards, to be compared.

It is made and read through Google's REST APIs, without a line of the product.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any
from urllib.parse import quote

from proof.google import OBSERVER, Google

LOCATION = "europe-west1"
FOREIGN = "# the platform team's\n[global]\ntimeout = 45\n\n[install]\nno-compile = true\n"
"""A pip.conf with options that nobody may lose."""
FOREIGN_PACKAGES = {"public-tool": "==3.0"}
"""What an environment declares already; it is nobody's to touch."""
OPERATION_SECONDS = 5.0
"""Shorter than the first look's pause: a wait is two looks, one that finds it running and one that finds it ended."""
_COMPOSER = "https://composer.googleapis.com/v1"
_REGISTRY = "https://artifactregistry.googleapis.com/v1"
_STORAGE = "https://storage.googleapis.com"
_IAM = "https://iam.googleapis.com/v1/projects/-/serviceAccounts"


@dataclass(frozen=True)
class World:
    """One run's projects, repository, environments and buckets."""

    google: Google
    prefix: str
    """Begins each name of its own: what is compared reads `W` instead."""
    buckets: Mapping[str, str]
    """Environment's id -> its bucket."""

    @classmethod
    def create(cls, google: Google, prefix: str, environments: tuple[str, ...] = ("dev",)) -> World:
        """Make it: a registry without files, RUNNING environments with foreign packages and a foreign pip.conf."""
        world = cls(google, prefix, {})
        names = [world.environment(name) for name in environments]
        everybody = [f"projects/{prefix}-packages", f"projects/{prefix}-data"]
        found = google.post(
            "setup",
            {
                "projects": [name.removeprefix("projects/") for name in everybody],
                "environments": names,
                "buckets": [f"{prefix}-data/{world.state_bucket}"],
                "accounts": [world.reader],
                "grants": [
                    *(f"serviceAccount:{OBSERVER}=roles/owner@{project}" for project in everybody),
                    *(
                        f"serviceAccount:{name}-sa@{prefix}-data.iam.gserviceaccount.com"
                        f"=roles/artifactregistry.reader@{everybody[0]}"
                        for name in environments
                    ),
                    f"serviceAccount:{world.reader}=roles/artifactregistry.reader@{everybody[0]}",
                ],
            },
        )["environments"]
        world = cls(google, prefix, {name: found[world.environment(name)] for name in environments})
        now = datetime.now(timezone.utc).isoformat()
        google.post("time", {"virtual": True, "at": now, "operation_seconds": 0})
        parent, _, identifier = world.repository.rpartition("/repositories/")
        google.ask("POST", f"{_REGISTRY}/{parent}/repositories?repositoryId={identifier}", json={"format": "PYTHON"})
        for name in environments:
            world.write(world.buckets[name], "config/pip/pip.conf", FOREIGN.encode())
            world.declare(name, FOREIGN_PACKAGES)
        google.post("time", {"operation_seconds": OPERATION_SECONDS})
        return world

    # Names

    @property
    def repository(self) -> str:
        """The standard repository."""
        return f"projects/{self.prefix}-packages/locations/{LOCATION}/repositories/python"

    @property
    def reader(self) -> str:
        """An account whose key pip.conf may hold."""
        return f"reader@{self.prefix}-packages.iam.gserviceaccount.com"

    @property
    def state_bucket(self) -> str:
        """The bucket of wheels to publish, and of the fleet's state."""
        return f"{self.prefix}-state"

    def environment(self, name: str) -> str:
        """An environment's resource name."""
        return f"projects/{self.prefix}-data/locations/{LOCATION}/environments/{name}"

    # What is done to it

    def write(self, bucket: str, name: str, content: bytes) -> None:
        """Write an object."""
        url = f"{_STORAGE}/upload/storage/v1/b/{bucket}/o?uploadType=media&name={quote(name, safe='')}"
        self.google.ask("POST", url, data=content, headers={"content-type": "text/plain"})

    def declare(self, environment: str, packages: Mapping[str, str]) -> None:
        """Somebody else's update of packages, to its end: Composer takes no time while operations take none."""
        paths = ",".join(f"config.software_config.pypi_packages.{name}" for name in packages)
        body = {"config": {"software_config": {"pypi_packages": dict(packages)}}}
        url = f"{_COMPOSER}/{self.environment(environment)}?updateMask={paths}"
        operation = self.google.ask("PATCH", url, json=body)["name"]
        done = False
        while not done:
            # At least once: what comes afterwards is later.
            self.google.post("time", {"advance": OPERATION_SECONDS})
            done = bool(self.google.ask("GET", f"{_COMPOSER}/{operation}").get("done"))

    def publish(self, package: str, version: str) -> None:
        """Put a wheel into the registry, as twine does."""
        name, content = wheel(package, version)
        project, identifier = self.repository.split("/")[1], self.repository.rpartition("/")[2]
        url = f"https://{LOCATION}-python.pkg.dev/{project}/{identifier}/"
        form = {":action": "file_upload", "protocol_version": "1", "name": package, "version": version}
        self.google.ask("POST", url, data=form, files={"content": (name, content)})

    # What is there

    def state(self) -> dict[str, Any]:
        """Everything, as Google shows it; `canonical.view` makes two runs comparable."""
        project = f"{self.prefix}-packages"
        ask, repository = self.google.ask, f"{_REGISTRY}/{self.repository}"
        files = ask("GET", f"{repository}/files?pageSize=1000").get("files", [])
        account = f"serviceAccounts/{self.reader}"
        return {
            "environments": {name: self._environment(name) for name in self.buckets},
            "operations": self._operations(),
            "objects": {
                **{name: dict(self._objects(bucket)) for name, bucket in self.buckets.items()},
                "state": dict(self._objects(self.state_bucket)),
            },
            "files": {file["name"].rpartition("%2F")[2]: sorted(h["value"] for h in file["hashes"]) for file in files},
            "policy": ask("GET", f"{repository}:getIamPolicy").get("bindings", []),
            "keys": self._keys(),
            "project": project,
            "account": account,
        }

    def _environment(self, name: str) -> dict[str, Any]:
        found = self.google.ask("GET", f"{_COMPOSER}/{self.environment(name)}")
        return {"state": found["state"], "packages": found["config"]["softwareConfig"].get("pypiPackages", {})}

    def _operations(self) -> list[dict[str, Any]]:
        """Of all environments, the oldest first."""
        url = f"{_COMPOSER}/projects/{self.prefix}-data/locations/{LOCATION}/operations?pageSize=100"
        found = self.google.ask("GET", url).get("operations", [])
        return [
            {
                "name": operation["name"],
                "environment": operation["metadata"]["resource"].rpartition("/")[2],
                "kind": operation["metadata"]["operationType"],
                "state": operation["metadata"]["state"],
            }
            for operation in reversed(found)
        ]

    def _objects(self, bucket: str) -> Iterator[tuple[str, dict[str, Any]]]:
        url = f"{_STORAGE}/storage/v1/b/{bucket}/o"
        for item in self.google.ask("GET", url).get("items", []):
            content = self.google.ask("GET", f"{url}/{quote(item['name'], safe='')}?alt=media")
            text = content.decode("utf-8", "replace") if isinstance(content, bytes) else content
            yield item["name"], {"generation": item["generation"], "content": text}

    def _keys(self) -> list[dict[str, Any]]:
        """Of the account whose key pip.conf may hold, the oldest first."""
        found = self.google.ask("GET", f"{_IAM}/{self.reader}/keys?keyTypes=USER_MANAGED").get("keys", [])
        return [
            {"id": key["name"].rpartition("/")[2], "disabled": bool(key.get("disabled"))}
            for key in sorted(found, key=lambda key: str(key["validAfterTime"]))
        ]


def wheel(package: str, version: str) -> tuple[str, bytes]:
    """A small wheel, the same at every run: its file name and its bytes."""
    module = package.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    members = {
        f"{module}.py": f"VERSION = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: proof\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    members[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in [*members, f"{info}/RECORD"])
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in members.items():
            archive.writestr(zipfile.ZipInfo(name), text)
    return f"{module}-{version}-py3-none-any.whl", buffer.getvalue()
