"""Buttons on objects in a bucket: what was built, a rollout's plan, its entry in the ledger."""

from __future__ import annotations

from urllib.parse import quote

from airflow_gar_provider.compat import Context
from airflow_gar_provider.links.gar import _ConsoleLink

_BROWSER = "https://console.cloud.google.com/storage/browser"


class _StorageLink(_ConsoleLink):
    """A page of the storage browser."""

    def persist_object(self, context: Context, uri: str) -> None:
        """Show an object's page: its metadata, its versions, and a download. `uri`: `gs://BUCKET/OBJECT`."""
        self.persist(context, f"{_BROWSER}/_details/{_path(uri)}")

    def persist_folder(self, context: Context, uri: str) -> None:
        """Show what lies below a prefix. `uri`: `gs://BUCKET/PREFIX`."""
        self.persist(context, f"{_BROWSER}/{_path(uri).rstrip('/')}")


class BuiltFilesLink(_StorageLink):
    """Where a build puts its wheel."""

    name = "Built files"
    key = "gar_built_files_link"


class PlanLink(_StorageLink):
    """A rollout's plan; there as soon as it is made."""

    name = "Rollout plan"
    key = "gar_plan_link"


class LedgerLink(_StorageLink):
    """What is kept of a finished rollout."""

    name = "Rollout ledger"
    key = "gar_ledger_link"


def _path(uri: str) -> str:
    """`BUCKET/OBJECT` of a `gs://` URI, safe in a URL: a run's id has colons and a plus."""
    return quote(uri.removeprefix("gs://"), safe="/")
