"""BuildWheelOperator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow_gar_provider.compat import Context
from airflow_gar_provider.links.storage import BuiltFilesLink
from airflow_gar_provider.operators.base import GarOperator


class BuildWheelOperator(GarOperator):
    """Build a wheel from source with pypa/build (extra `build`), and keep it in a bucket for the next task.

    The build runs the source's own code with what the worker may do: build only what you trust, or publish wheels that
    CI built.

    :param source: a folder, a `.tar.gz` sdist, or `gs://….tar.gz`.
    :param destination: a `gs://` prefix: the next task may run on another worker.
    :param allowed_sources: `gs://BUCKET/FOLDER` or absolute folders below which `source` must lie; no template field,
        so that what a form says cannot change it.
    :param sdist: build an sdist, too. Some backends give it other bytes at every build: publish it once.
    :return: {"outcome": built, "message", "wheel": gs:// URI, "files": [gs:// URI, …] (the wheel, the sdist),
        "package", "version", "sha256" (the wheel's)}.
    """

    template_fields: Sequence[str] = ("source", "destination", *GarOperator.template_fields)
    operator_extra_links = (BuiltFilesLink(),)

    def __init__(
        self,
        *,
        source: str,
        destination: str,
        allowed_sources: str | Sequence[str] | None = None,
        sdist: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.source = source
        self.destination = destination
        self.allowed_sources = allowed_sources
        self.sdist = sdist

    def execute(self, context: Context) -> dict[str, Any]:
        """Build in a bare environment, upload what was built."""
        from airflow_gar_provider.core.allowed import Allowed
        from airflow_gar_provider.steps.build import build
        from airflow_gar_provider.steps.collect import split_gs

        with self.explained(context):
            Allowed.read(sources=self.allowed_sources).require(sources=[self.source])
            split_gs(self.destination)  # what is no URI is told before its link is
            BuiltFilesLink().persist_folder(context, self.destination)
            result = build(self.cloud().storage, self.source, self.destination, sdist=self.sdist)
        self.log.info(result["message"])
        return result
