"""Packages as assets: `gar://project/location/repository/package`. The version is in the event, not in the URI.

Airflow calls these functions while it parses DAGs (see `provider_info`), so this module imports nothing when it is
imported. An asset's event comes from an alias: a declared outlet would fire at every run, also at one that found all
files in the registry already.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, quote, unquote

if TYPE_CHECKING:
    from airflow_gar_provider.compat import Asset, Context

SCHEME = "gar"
PUBLISHED = "gar_published"
"""The alias of all events: a DAG that is scheduled on it runs after every publication, whatever the package."""

_FORM = "gar://PROJECT/LOCATION/REPOSITORY/PACKAGE"
_PROJECT = re.compile(r"(?:[a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]")
_PARTS = (
    ("location", re.compile(r"[a-z]+(?:-[a-z]+[0-9]+)?")),
    ("repository", re.compile(r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")),
    ("package", re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")),
)


def sanitize_uri(uri: SplitResult) -> SplitResult:
    """Airflow's handler of the scheme: the URI with the package's name as PEP 503 writes it. Raises ValueError."""
    project = unquote(uri.netloc)
    parts = [unquote(part) for part in uri.path.strip("/").split("/")]
    problems = []
    if not _PROJECT.fullmatch(project):
        problems.append(f"{project!r} is not the id of a project")
    if len(parts) != len(_PARTS):
        problems.append("it has " + ("more" if len(parts) > len(_PARTS) else "fewer") + " parts than that")
    else:
        problems += [
            f"{part!r} is not the name of a {kind}"
            for part, (kind, form) in zip(parts, _PARTS, strict=True)
            if not form.fullmatch(part)
        ]
    if uri.query:
        problems.append("it has a query; the version belongs into the event's extra")
    if problems:
        raise ValueError(f"{uri.geturl()!r} is not {_FORM}: {'; '.join(problems)}")
    location, repository, package = parts
    return uri._replace(
        scheme=SCHEME,
        netloc=project,
        path=f"/{location}/{repository}/{normalize(package)}",
        query="",
        fragment="",
    )


def normalize(package: str) -> str:
    """A package's name as PEP 503 writes it (without `packaging`, which costs a parse some time)."""
    return re.sub(r"[-_.]+", "-", package).lower()


def package_uri(repository: str, package: str) -> str:
    """The URI of a package in `projects/P/locations/L/repositories/R`. Raises ValueError for another form."""
    match = re.fullmatch(r"projects/([^/]+)/locations/([^/]+)/repositories/([^/]+)", repository)
    if not match:
        raise ValueError(f"{repository!r} is not projects/PROJECT/locations/LOCATION/repositories/REPOSITORY")
    project, location, name = match.groups()
    return f"{SCHEME}://{project}/{location}/{name}/{quote(normalize(package))}"


def create_asset(
    *, project: str, location: str, repository: str, package: str, extra: dict[str, Any] | None = None
) -> Asset:
    """Airflow's factory of the scheme: what a hook that reports lineage knows -> an asset."""
    from airflow_gar_provider.compat import Asset  # noqa: PLC0415 -- see the top

    return Asset(uri=f"{SCHEME}://{project}/{location}/{repository}/{normalize(package)}", extra=extra)


def convert_asset_to_openlineage(asset: Asset, lineage_context: Any) -> Any:
    """Airflow's converter of the scheme: an asset -> OpenLineage's Dataset, which only OpenLineage asks for."""
    from airflow.providers.common.compat.openlineage.facet import Dataset  # noqa: PLC0415 -- see the top

    namespace, name = lineage_name(asset.uri)
    return Dataset(namespace=namespace, name=name)


def lineage_name(uri: str) -> tuple[str, str]:
    """What OpenLineage calls a package: (`gar://PROJECT`, `LOCATION/REPOSITORY/PACKAGE`)."""
    project, _, name = uri.removeprefix(f"{SCHEME}://").partition("/")
    return f"{SCHEME}://{project}", name


def publications(result: Mapping[str, Any], since: datetime | None) -> list[tuple[str, dict[str, Any]]]:
    """What a publication's result has to tell: (URI of a package, extra), one for each version with a new file.

    New is what this try uploaded, and what the registry took since the run began: an earlier try of this run that
    died before Airflow took its event. `since` None: nothing but what this try uploaded.
    """
    files = [file for file in result["files"] if file["outcome"] == "uploaded" or _since(file.get("created"), since)]
    versions: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for file in files:
        versions.setdefault((normalize(file["package"]), file["version"]), []).append(file)
    return [
        (
            package_uri(result["repository"], package),
            {
                "package": package,
                "version": version,
                "repository": result["repository"],
                "sha256": {file["file"]: file["sha256"] for file in of_version},
                "tags": sorted({tag for file in of_version for tag in _tags(file["file"])}),
            },
        )
        for (package, version), of_version in versions.items()
    ]


def _since(created: str | None, since: datetime | None) -> bool:
    if not created or since is None:
        return False
    return datetime.fromisoformat(created.replace("Z", "+00:00")) >= since  # 3.10 reads no Z


def _tags(file: str) -> Iterable[str]:
    """`py3-none-any` of a wheel's name, `source` for another file."""
    return ["-".join(file.removesuffix(".whl").split("-")[-3:])] if file.endswith(".whl") else ["source"]


def run_begun(context: Context) -> datetime | None:
    """When the DAG run began; None outside of one."""
    values: Mapping[str, Any] = context  # a TypedDict, of other keys in 2.11
    begun: datetime | None = getattr(values.get("dag_run"), "start_date", None)
    return begun


def tell_published(context: Context, result: Mapping[str, Any]) -> None:
    """Give Airflow the events of a publication, through the alias that the task has among its outlets.

    A second run is silent: it uploads nothing, and all files are older than it. A run's later try tells what an
    earlier one has uploaded and not told.
    """
    from airflow_gar_provider.compat import Asset, AssetAlias, event_extra  # noqa: PLC0415 -- see the top

    values: Mapping[str, Any] = context  # a TypedDict, of other keys in 2.11
    news = publications(result, run_begun(context))
    if not news or "outlet_events" not in values:  # without them nobody listens: it was called outside of a run
        return
    events = values["outlet_events"][AssetAlias(PUBLISHED)]
    for uri, extra in news:
        events.add(Asset(uri), extra=event_extra(extra))
