"""What OpenLineage is told of a result; `test_in_airflow` sees it arrive."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from airflow_gar_provider import lineage
from airflow_gar_provider.operators import InstallPrivatePackageOperator, PublishWheelOperator

REPOSITORY = "projects/acme-packages/locations/europe-west1/repositories/python"
ENVIRONMENT = "projects/acme-data/locations/europe-west1/environments/dev"
DEV = ("composer://acme-data", "europe-west1/dev", None)


def names(datasets: list[Any]) -> list[tuple[str, str, str | None]]:
    """Namespace, name, version."""
    return [
        (
            dataset.namespace,
            dataset.name,
            dataset.facets["version"].datasetVersion if "version" in dataset.facets else None,
        )
        for dataset in datasets
    ]


def test_a_publication() -> None:
    """One output for each version, whatever the number of its files and the spelling of its name."""
    files = [
        {"package": "My_Lib", "version": "1.0"},
        {"package": "my-lib", "version": "1.0"},
        {"package": "a", "version": "2"},
    ]
    found = lineage.lineage_of_publication({"repository": REPOSITORY, "files": files})
    assert found.inputs == []
    assert names(found.outputs) == [
        ("gar://acme-packages", "europe-west1/python/a", "2"),
        ("gar://acme-packages", "europe-west1/python/my-lib", "1.0"),
    ]


def test_an_install() -> None:
    """What is there now comes in, what was removed does not; without a repository nobody knows where it came from."""
    packages = [{"package": "lib", "before": None, "after": "1.0"}, {"package": "old", "before": "1", "after": None}]
    result = {"environment": ENVIRONMENT, "packages": packages}
    found = lineage.lineage_of_install(result, REPOSITORY)
    assert names(found.inputs) == [("gar://acme-packages", "europe-west1/python/lib", "1.0")]
    assert names(found.outputs) == [DEV]
    alone = lineage.lineage_of_install(result, None)
    assert (alone.inputs, names(alone.outputs)) == ([], [DEV])


def test_a_task_that_did_not_end_well_has_none() -> None:
    """OpenLineage asks after a failure, too."""
    tasks = [
        PublishWheelOperator(task_id="a", repository=REPOSITORY, wheels="a.whl"),
        InstallPrivatePackageOperator(task_id="b", environment=ENVIRONMENT, requirements="a==1"),
    ]
    assert [task.get_openlineage_facets_on_complete(None) for task in tasks] == [None, None]


def test_what_is_no_environment() -> None:
    """It is named, and the form that is expected."""
    with pytest.raises(ValueError, match="'dev' is not projects/PROJECT/locations/LOCATION/environments/ENVIRONMENT"):
        lineage.environment_name("dev")


WITHOUT = """
import sys
sys.modules["airflow.providers.openlineage"] = None
from airflow_gar_provider.lineage import lineage_of_install
print(lineage_of_install({"environment": sys.argv[1], "packages": []}, None))
"""


@pytest.mark.slow
def test_without_openlineage_there_is_none() -> None:
    """Its provider is not a requirement."""
    done = subprocess.run([sys.executable, "-c", WITHOUT, ENVIRONMENT], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1:] == ["None"], done.stderr
