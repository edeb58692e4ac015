"""The soak's world: one registry and a dozen environments, what other people do to them, and what is seen of them.

Everything goes through Google's REST APIs, without a line of the product.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import requests

from bench.played_images import BROKEN
from proof.google import BREAKS_DAGS, Google
from proof.world import LOCATION, World, wheel

ENVIRONMENTS = tuple(f"e{number:02d}" for number in range(12))
KEYED = ENVIRONMENTS[:3]
"""Environments whose pip.conf may hold a key, each of an account of its own."""
PACKAGES = ("acme-lib", "acme-geo", "acme-log")
"""Ours: what DAGs publish and install."""
FOREIGN = ("public-tool", "other-tool", "numbers")
"""Other people's packages."""
OPTIONS = ("timeout", "retries", "progress-bar", "default-timeout")
"""Options of pip.conf that other people set."""
_COMPOSER = "https://composer.googleapis.com/v1"
_STORAGE = "https://storage.googleapis.com"
_IAM = "https://iam.googleapis.com/v1/projects/-/serviceAccounts"
PIP_CONF = "config/pip/pip.conf"
OPERATION_SECONDS = 25.0
"""Longer than a poll's pause: updates of several environments overlap."""


class SoakWorld:
    """A world, its other writers, and its observer. `chance` says what the others do."""

    def __init__(self, google: Google, prefix: str, chance: random.Random) -> None:
        self.world = World.create(google, prefix, ENVIRONMENTS)
        self.google, self._chance = google, chance
        self.readers = {name: f"reader-{name}@{prefix}-packages.iam.gserviceaccount.com" for name in KEYED}
        grants = [
            f"serviceAccount:{account}=roles/artifactregistry.reader@projects/{prefix}-packages"
            for account in self.readers.values()
        ]
        google.post("setup", {"accounts": list(self.readers.values()), "grants": grants})
        google.post("time", {"operation_seconds": OPERATION_SECONDS})
        self.versions: dict[str, list[str]] = {}
        """Package -> the versions that somebody was asked to publish, the oldest first."""
        self._numbers: dict[str, int] = {}
        self.acts: list[dict[str, Any]] = []
        """What others did, and what came of it."""
        self.pip_confs: dict[str, list[dict[str, Any]]] = {name: [] for name in ENVIRONMENTS}
        """Environment -> the contents that its pip.conf was seen with, and after which step."""
        self.touched: list[str] = []
        """Environments that a try has just read or written: where it hurts most when somebody else comes in between."""
        self._copies: list[tuple[str, str]] = []
        """(environment, content): copies of pip.conf that somebody has on a desk."""
        for package in (*PACKAGES, f"acme-{BROKEN}", f"acme-{BREAKS_DAGS}"):
            for _ in range(2):
                self._publish(package)
        for name in ENVIRONMENTS:
            self.look_at_pip_conf(name, -1)

    # What others do

    def act(self) -> dict[str, Any]:
        """Something that somebody else does, as chance has it; what it was and what came of it."""
        acts: tuple[tuple[Callable[[], dict[str, Any]], int], ...] = (
            (self._update_packages, 6),
            (self._edit_pip_conf, 6),
            (self._copy_pip_conf, 2),
            (self._set_variables, 2),
            (self._twine, 2),
        )
        act = self._chance.choices([act for act, _ in acts], [weight for _, weight in acts])[0]()
        self.acts.append(act)
        return act

    def next_version(self, package: str) -> str:
        """A version that nobody has had."""
        self._numbers[package] = self._numbers.get(package, 0) + 1
        version = f"1.{self._numbers[package]}"
        self.versions.setdefault(package, []).append(version)
        return version

    def _somewhere(self) -> str:
        """An environment, mostly one that a try is at work on."""
        return self._chance.choice(self.touched if self.touched and self._chance.random() < 0.7 else ENVIRONMENTS)

    def _publish(self, package: str) -> dict[str, Any]:
        version = self.next_version(package)
        self.world.publish(package, version)
        file, content = wheel(package, version)
        return {"kind": "publish", "file": file, "sha256": hashlib.sha256(content).hexdigest(), "accepted": True}

    def _twine(self) -> dict[str, Any]:
        return self._publish(self._chance.choice(PACKAGES))

    def _update_packages(self) -> dict[str, Any]:
        """`gcloud composer environments update`: mostly of their own packages, sometimes of one of ours."""
        name = self._somewhere()
        package = self._chance.choice(FOREIGN if self._chance.random() < 0.85 else PACKAGES)
        value = None
        if self._chance.random() < 0.8:
            choices = [f"=={version}" for version in self.versions.get(package, ["2.0", "2.1", "2.2"])]
            value = self._chance.choice(choices)
        body = {"config": {"software_config": {"pypi_packages": {} if value is None else {package: value}}}}
        done = self._patch(name, f"config.software_config.pypi_packages.{package}", body)
        return {"kind": "packages", "environment": name, "wanted": {package: value}, **done}

    def _set_variables(self) -> dict[str, Any]:
        name, number = self._somewhere(), self._chance.randrange(1000)
        wanted = {"ACME_MODE": f"mode-{number}"}
        body = {"config": {"software_config": {"env_variables": wanted}}}
        done = self._patch(name, "config.software_config.env_variables", body)
        return {"kind": "variables", "environment": name, "wanted": wanted, **done}

    def _patch(self, name: str, mask: str, body: dict[str, Any]) -> dict[str, Any]:
        url = f"{_COMPOSER}/{self.world.environment(name)}?updateMask={mask}"
        answer = self._ask("PATCH", url, (400,), json=body)
        return {"accepted": answer.status_code == 200, "operation": answer.json().get("name")}

    def _copy_pip_conf(self) -> dict[str, Any]:
        name = self._somewhere()
        self._copies.append((name, self._read_pip_conf(name)[0]))
        return {"kind": "copy", "environment": name, "accepted": True}

    def _edit_pip_conf(self) -> dict[str, Any]:
        """An option is set: in what is there, or blindly in a copy that is on the desk."""
        old = self._copies.pop() if self._copies and self._chance.random() < 0.5 else None
        name = old[0] if old else self._somewhere()
        text, generation = (old[1], None) if old else self._read_pip_conf(name)
        option, value = self._chance.choice(OPTIONS), self._chance.randrange(10, 99)
        lines = [line for line in text.splitlines() if not line.startswith(f"{option} ")]
        at = lines.index("[global]") + 1 if "[global]" in lines else len(lines)
        new = [f"{option} = {value}"] if "[global]" in lines else ["[global]", f"{option} = {value}"]
        content = "\n".join([*lines[:at], *new, *lines[at:]]) + "\n"
        condition = f"&ifGenerationMatch={generation}" if generation is not None else ""
        bucket, headers = self.world.buckets[name], {"content-type": "text/plain"}
        url = f"{_STORAGE}/upload/storage/v1/b/{bucket}/o?uploadType=media&name={quote(PIP_CONF, safe='')}{condition}"
        answer = self._ask("POST", url, (412,), data=content.encode(), headers=headers)
        accepted = answer.status_code == 200
        kept = {"content": content, "generation": answer.json()["generation"]} if accepted else {}
        return {"kind": "pip.conf", "environment": name, "blind": old is not None, "accepted": accepted, **kept}

    def _ask(self, verb: str, url: str, allowed: tuple[int, ...] = (), **options: Any) -> requests.Response:
        answer = self.google.rest.request(verb, url, timeout=60, **options)
        if answer.status_code >= 400 and answer.status_code not in allowed:
            raise RuntimeError(f"{verb} {url}: {answer.status_code} {answer.text}")
        return answer

    # What is seen

    def look_at_pip_conf(self, name: str, step: int) -> None:
        """Note what pip.conf says, if it is another one than at the last look."""
        content, generation = self._read_pip_conf(name)
        seen = self.pip_confs[name]
        if not seen or seen[-1]["generation"] != generation:
            seen.append({"step": step, "generation": generation, "content": content})

    def _read_pip_conf(self, name: str) -> tuple[str, str]:
        url = f"{_STORAGE}/storage/v1/b/{self.world.buckets[name]}/o/{quote(PIP_CONF, safe='')}?alt=media"
        answer = self._ask("GET", url, (404,))
        return ("", "0") if answer.status_code == 404 else (answer.text, answer.headers["x-goog-generation"])

    def operations(self) -> list[dict[str, Any]]:
        """Every operation of Composer's, in the order of their beginnings."""
        place, found, token = f"projects/{self.world.prefix}-data/locations/{LOCATION}", [], ""
        while True:
            url = f"{_COMPOSER}/{place}/operations?pageSize=100&pageToken={token}"
            answer = self._ask("GET", url).json()
            found += answer.get("operations", [])
            token = answer.get("nextPageToken", "")
            if not token:
                return [_operation(operation) for operation in reversed(found)]

    def state(self) -> dict[str, Any]:
        """Everything at the end."""
        ask = self.google.ask
        variables = {}
        for name in ENVIRONMENTS:
            found = ask("GET", f"{_COMPOSER}/{self.world.environment(name)}")
            variables[name] = found["config"]["softwareConfig"].get("envVariables", {})
        keys = {
            account: [
                {"id": key["name"].rpartition("/")[2], "disabled": bool(key.get("disabled"))}
                for key in ask("GET", f"{_IAM}/{account}/keys?keyTypes=USER_MANAGED").get("keys", [])
            ]
            for account in self.readers.values()
        }
        state = self.world.state()
        buckets = {**self.world.buckets, "state": self.world.state_bucket}
        objects = {name: dict(self._objects(bucket)) for name, bucket in buckets.items()}
        return {**state, "objects": objects, "variables": variables, "keys": keys}

    def _objects(self, bucket: str) -> Iterator[tuple[str, str]]:
        """What the records and ledgers say: of JSON and pip.conf the content."""
        token = ""
        while True:
            url = f"{_STORAGE}/storage/v1/b/{bucket}/o"
            answer = self._ask("GET", f"{url}?pageToken={token}").json()
            for item in answer.get("items", []):
                if item["name"].endswith((".json", "pip.conf")):
                    yield item["name"], self._ask("GET", f"{url}/{quote(item['name'], safe='')}?alt=media").text
            token = answer.get("nextPageToken", "")
            if not token:
                return


def _operation(found: dict[str, Any]) -> dict[str, Any]:
    software = found.get("response", {}).get("config", {}).get("softwareConfig", {})
    metadata = found["metadata"]
    return {
        "name": found["name"],
        "environment": metadata["resource"].rpartition("/")[2],
        "kind": metadata["operationType"],
        "state": metadata["state"],
        "created": metadata["createTime"],
        "ended": metadata.get("endTime"),
        "error": found.get("error", {}).get("message", ""),
        "packages": software.get("pypiPackages", {}),
        "variables": software.get("envVariables", {}),
    }
