"""What is there: repositories with packages, environments with packages and last operations; as data and as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.cloud.orchestration.airflow import service_v1 as composer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .server import Sandbox


def summary(sandbox: Sandbox) -> dict[str, Any]:
    """Everything that `status` shows."""
    projects = [name for name, _ in sandbox.identity.projects.items()]
    registry = sandbox.registry
    repositories = []
    for repository in registry.repositories.list():
        packages = [
            f"{item.name.partition('/packages/')[2].replace('/versions/', ' ')}"
            for item in registry.versions.list(f"{repository.name}/packages/")
        ]
        repositories.append({"name": repository.name, "mode": repository.mode.name, "packages": packages})
    environments = []
    for environment in sandbox.environments.list():
        last = next(
            (
                item
                for item in sandbox.running.newest_first(environment.name.partition("/environments/")[0])
                if _is_of(item, environment.name)
            ),
            None,
        )
        environments.append(
            {
                "name": environment.name,
                "state": environment.state.name,
                "bucket": environment.storage_config.bucket,
                "packages": dict(environment.config.software_config.pypi_packages),
                "last_operation": _operation(last) if last is not None else None,
            }
        )
    return {
        "projects": projects,
        "repositories": repositories,
        "environments": environments,
        "calls": len(sandbox.gate.calls),
    }


def _metadata(operation: Any) -> Any:
    metadata = composer.OperationMetadata()
    operation.metadata.Unpack(composer.OperationMetadata.pb(metadata))
    return metadata


def _is_of(operation: Any, environment: str) -> bool:
    return bool(_metadata(operation).resource == environment)


def _operation(operation: Any) -> dict[str, str]:
    metadata = _metadata(operation)
    first = operation.error.message.partition("\n")[0] if operation.HasField("error") else ""
    return {"type": metadata.operation_type.name, "state": metadata.state.name, "error": first}


def render(value: dict[str, Any]) -> str:
    """The summary as text."""
    repositories = [
        [item["name"], item["mode"].partition("_")[0].lower(), ", ".join(item["packages"]) or "-"]
        for item in value["repositories"]
    ]
    environments = []
    for item in value["environments"]:
        packages = ", ".join(f"{name}{text}" for name, text in sorted(item["packages"].items())) or "-"
        last = item["last_operation"]
        operation = f"{last['type']} {last['state']} {last['error']}".strip() if last else "-"
        environments.append([item["name"], item["state"], packages, operation])
    return "\n\n".join(
        [
            f"Projects: {', '.join(value['projects']) or '-'}",
            _table(["Repository", "Mode", "Packages"], repositories),
            _table(["Environment", "State", "Packages", "Last operation"], environments),
        ]
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    lines = [head, ["-" * width for width in widths], *rows]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
