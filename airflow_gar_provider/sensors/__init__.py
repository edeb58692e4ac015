"""The sensors. Importing one costs a DAG file nothing but Airflow's own bases: names are looked up when used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_gar_provider.sensors.package_installed import PackageInstalledSensor
    from airflow_gar_provider.sensors.package_version import PackageVersionSensor
    from airflow_gar_provider.sensors.stage_verdict import StageVerdictSensor

__all__ = ["PackageInstalledSensor", "PackageVersionSensor", "StageVerdictSensor"]

_MODULES = {
    "PackageInstalledSensor": "package_installed",
    "PackageVersionSensor": "package_version",
    "StageVerdictSensor": "stage_verdict",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
