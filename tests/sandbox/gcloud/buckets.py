"""A bucket as the tests look into it, past gcloud: by Google's JSON API."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Mapping

    import requests

    from tests.conftest import Running

API = "https://storage.googleapis.com"
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Bucket:
    """One bucket and a client that may do everything in it."""

    name: str
    """Its name: the project's is in it, so that `Gcloud.calls` finds its calls."""
    http: requests.Session
    """Somebody who owns its project."""

    @classmethod
    def make(cls, sandbox: Running, project: str, http: requests.Session, purpose: str = "bucket") -> Bucket:
        """A new, empty one."""
        name = f"{project}-{purpose}-{next(_numbers)}"
        sandbox.setup(buckets=[f"{project}/{name}"])
        return cls(name, http)

    @property
    def url(self) -> str:
        """`gs://NAME`."""
        return f"gs://{self.name}"

    def objects(self) -> dict[str, bytes]:
        """Name to content of every live object."""
        return {item["name"]: self.http.get(item["mediaLink"], timeout=30).content for item in self._items()}

    def generations(self) -> dict[str, str]:
        """Name to generation of every live object."""
        return {item["name"]: item["generation"] for item in self._items()}

    def get(self, name: str) -> dict[str, Any]:
        """An object's metadata."""
        answer = self.http.get(f"{API}/storage/v1/b/{self.name}/o/{quote(name, safe='')}", timeout=30)
        answer.raise_for_status()
        return dict(answer.json())

    def put(self, name: str, content: bytes, metadata: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Write an object."""
        url = f"{API}/upload/storage/v1/b/{self.name}/o"
        answer = self.http.post(url, params={"uploadType": "media", "name": name}, data=content, timeout=30)
        answer.raise_for_status()
        if metadata:
            one = f"{API}/storage/v1/b/{self.name}/o/{quote(name, safe='')}"
            self.http.patch(one, data=json.dumps({"metadata": dict(metadata)}), timeout=30).raise_for_status()
        return dict(answer.json())

    def _items(self) -> list[dict[str, Any]]:
        answer = self.http.get(f"{API}/storage/v1/b/{self.name}/o", timeout=30)
        answer.raise_for_status()
        return list(answer.json().get("items", []))
