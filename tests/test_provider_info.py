"""What Airflow reads at start-up: an error there ends every airflow command on the host."""

from __future__ import annotations

import json
from importlib import import_module
from importlib.metadata import distribution, entry_points
from pathlib import Path

import jsonschema
from packaging.utils import canonicalize_name

import airflow_gar_provider
from airflow_gar_provider import operators
from airflow_gar_provider.provider_info import get_provider_info

ROOT = Path(airflow_gar_provider.__file__).parent


def test_airflow_accepts_it() -> None:
    """The description is valid by the schema that this Airflow ships, and its name is the distribution's."""
    import airflow

    [schema] = Path(airflow.__file__).parent.rglob("provider_info.schema.json")
    jsonschema.validate(get_provider_info(), json.loads(schema.read_text()))
    name = distribution("airflow-gar-provider").metadata["Name"]
    assert get_provider_info()["package-name"] == canonicalize_name(name)


def test_airflow_finds_it() -> None:
    """The entry point that Airflow looks for leads to it."""
    [point] = [p for p in entry_points(group="apache_airflow_provider") if p.value.startswith("airflow_gar_provider")]
    assert point.load()() == get_provider_info()


def test_it_lists_what_there_is() -> None:
    """Every module that it names can be imported, and every module of the surface is named."""
    info = get_provider_info()
    for kind in ("operators", "sensors", "hooks", "triggers"):
        [entry] = info[kind]
        named = {name.rsplit(".", 1)[1] for name in entry["python-modules"]}
        shared = {"__init__", "base", "rollout_base", "poller"}
        there = {path.stem for path in (ROOT / kind).glob("*.py")} - shared
        assert named == there
        for name in entry["python-modules"]:
            import_module(name)
    for link in info["extra-links"]:
        module, _, name = link.rpartition(".")
        assert getattr(import_module(module), name)().name


def test_operators_are_exported() -> None:
    """`from airflow_gar_provider.operators import X` works for every operator, and every link it has is listed."""
    links = set(get_provider_info()["extra-links"])
    for name in operators.__all__:
        operator = getattr(operators, name)
        assert operator.__name__ == name
        for link in operator.operator_extra_links:
            assert f"{type(link).__module__}.{type(link).__qualname__}" in links
