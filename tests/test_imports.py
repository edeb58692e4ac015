"""The rooms of the house: who may import whom, and what an import may cost."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "airflow_gar_provider"

# Room -> rooms of ours that it may import. A room is the first part of a module's name below the package.
MAY_IMPORT = {
    "errors": set(),
    "compat": set(),
    "assets": {"compat"},
    "provider_info": set(),
    "lineage": {"assets"},
    "metrics": {"compat", "errors"},
    "retry": {"compat", "errors"},
    "deadline": {"compat", "metrics"},
    "core": {"core", "errors"},
    "gcp": {"gcp", "core", "errors"},
    "steps": {"steps", "gcp", "core", "errors"},
    "hooks": {"gcp", "core", "errors"},
    "links": {"links", "core", "compat"},
    "triggers": {"triggers", "steps", "hooks", "core", "errors", "compat", "gcp"},
    "operators": {"operators", "steps", "hooks", "core", "errors", "compat", "triggers", "links", "gcp", "assets"}
    | {"lineage", "metrics"},
    "sensors": {"sensors", "operators", "steps", "hooks", "core", "errors", "compat", "triggers", "links", "gcp"},
    "rollout": {"operators", "sensors", "core", "errors", "compat"},
    "sandbox": {"sandbox"},
}
MAY_IMPORT_AIRFLOW = {"assets", "compat", "hooks", "lineage", "operators", "sensors", "triggers", "links"}
# What the sandbox runs inside an environment's image, as a program of its own: there Airflow is the point.
RUN_IN_AN_IMAGE = {"environment_airflow2.py", "environment_airflow3.py", "environment_process.py"}
MAY_IMPORT_GOOGLE = {"gcp", "hooks", "sandbox"}


def modules() -> list[Path]:
    return [path for path in sorted(ROOT.rglob("*.py")) if path != ROOT / "__init__.py"]


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = ("airflow_gar_provider", *path.relative_to(ROOT).parts[:-1])
            base = [*package[: len(package) - node.level + 1]] if node.level else []
            names |= {".".join([*base, *([node.module] if node.module else []), alias.name]) for alias in node.names}
    return names


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path: Path) -> None:
    """Each room imports only the rooms below it; only the surface knows Airflow, only gcp and hooks know Google."""
    room = path.relative_to(ROOT).parts[0].removesuffix(".py")
    for name in imported(path):
        parts = name.split(".")
        if parts[0] == "airflow_gar_provider":
            assert len(parts) == 1 or parts[1] in MAY_IMPORT[room], f"{room} may not import {name}"
        if parts[0] == "airflow":
            assert room in MAY_IMPORT_AIRFLOW or path.name in RUN_IN_AN_IMAGE, f"{room} may not import {name}"
        if parts[0] == "google":
            assert room in MAY_IMPORT_GOOGLE, f"{room} may not import {name}"


def test_nobody_imports_the_sandbox() -> None:
    """The product does not know that the sandbox exists: no import, no switch, no word."""
    for path in modules():
        if "sandbox" not in path.relative_to(ROOT).parts:
            code = ast.unparse(ast.parse(path.read_text()).body[1:])  # without the module's docstring
            assert "sandbox" not in code.lower(), path


def test_airflow_surface_is_cheap_to_import() -> None:
    """A DAG file pays for its imports at every parse: no Google client, no HTTP library, no gRPC."""
    code = """
import sys
try:
    import airflow.sdk
except ImportError:
    import airflow.models
import airflow.triggers.base
before = set(sys.modules)
from airflow_gar_provider.operators import *
import airflow_gar_provider.triggers.operation, airflow_gar_provider.links.gar, airflow_gar_provider.provider_info
new = set(sys.modules) - before
heavy = {"google.auth", "google.cloud", "google.api_core", "grpc", "requests", "packaging.metadata"}
print(sorted(new & heavy))
ours = [name.split(".")[1] for name in new if name.startswith("airflow_gar_provider.")]
print(sorted({"gcp", "hooks", "steps"} & set(ours)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-2:] == ["[]", "[]"], done.stdout + done.stderr
