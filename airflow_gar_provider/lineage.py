"""What OpenLineage is told: a publication writes packages; an install reads packages and writes an environment.

Only OpenLineage calls this, in a task that has ended; without its provider nothing is imported, and the answer is None.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from airflow_gar_provider.assets import lineage_name, normalize, package_uri

_ENVIRONMENT = re.compile(r"projects/([^/]+)/locations/([^/]+)/environments/([^/]+)")


def lineage_of_publication(result: Mapping[str, Any]) -> Any:
    """An output for each version of each package."""
    versions = {(file["package"], file["version"]) for file in result["files"]}
    return _lineage(outputs=_packages(result["repository"], versions))


def lineage_of_install(result: Mapping[str, Any], repository: str | None) -> Any:
    """An input for each package that the environment has now, where the repository is known, and the environment."""
    versions = {(entry["package"], entry["after"]) for entry in result["packages"] if entry["after"]}
    return _lineage(
        inputs=_packages(repository, versions) if repository else [],
        outputs=[(*environment_name(result["environment"]), None)],
    )


def environment_name(environment: str) -> tuple[str, str]:
    """What OpenLineage calls an environment: (`composer://PROJECT`, `LOCATION/ENVIRONMENT`). Raises ValueError."""
    match = _ENVIRONMENT.fullmatch(environment)
    if not match:
        raise ValueError(f"{environment!r} is not projects/PROJECT/locations/LOCATION/environments/ENVIRONMENT")
    project, location, name = match.groups()
    return f"composer://{project}", f"{location}/{name}"


def _packages(repository: str, versions: Iterable[tuple[str, str]]) -> list[tuple[str, str, str | None]]:
    """Namespace, name and version of packages in a repository, in one order whatever came first."""
    named = sorted({(normalize(package), version) for package, version in versions})
    return [(*lineage_name(package_uri(repository, package)), version) for package, version in named]


def _lineage(
    *, inputs: Iterable[tuple[str, str, str | None]] = (), outputs: Iterable[tuple[str, str, str | None]]
) -> Any:
    """OpenLineage's own values of (namespace, name, version); None without the OpenLineage provider."""
    try:
        from airflow.providers.openlineage.extractors import OperatorLineage  # noqa: PLC0415 -- see the top
        from openlineage.client.event_v2 import Dataset  # noqa: PLC0415
        from openlineage.client.facet_v2 import dataset_version_dataset  # noqa: PLC0415
    except ImportError:
        return None

    def dataset(namespace: str, name: str, version: str | None) -> Dataset:
        facet = dataset_version_dataset.DatasetVersionDatasetFacet
        return Dataset(
            namespace=namespace, name=name, facets={"version": facet(datasetVersion=version)} if version else {}
        )

    return OperatorLineage(inputs=[dataset(*entry) for entry in inputs], outputs=[dataset(*entry) for entry in outputs])
