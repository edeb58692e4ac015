"""Uses a private package in a DAG: the distance between two points, computed by ``mypythonlib``.

This is the DAG of a team that consumes the package, in an environment that got ``mypythonlib`` from the repository. It
runs on Airflow 2.11 and 3.x and needs nothing else, not even this provider. The package is imported inside the task: an
environment without it still parses the DAG, and the task says what is missing.
"""

from __future__ import annotations

import importlib
import os
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.sdk import DAG, Param, task
else:
    try:
        from airflow.sdk import DAG, Param, task
    except ImportError:  # Airflow 2
        from airflow.decorators import task
        from airflow.models.dag import DAG
        from airflow.models.param import Param

PACKAGE = "mypythonlib"

DOC = f"""
### How far is it?

Prints the great-circle distance between two points, as `{PACKAGE}` computes it, and returns it with the version of
the package that did it. `{PACKAGE}` is a private package: it comes from the team's Artifact Registry repository. If the
task says that it is missing, this environment has not got it yet.
"""


def point_param(which: str, default: list[float]) -> Param:
    """One point as two numbers in the trigger form; the form and the API refuse anything else."""
    return Param(
        default,
        type="array",
        items={"type": "number"},
        minItems=2,
        maxItems=2,
        title=f"{which} point",
        description_md="Latitude (-90 to 90) and longitude in degrees, two numbers in brackets: `[48.1, 11.6]`.",
    )


def import_package() -> Any:
    """Import the package, or say what is missing, where, and what to do about it."""
    try:
        return importlib.import_module(PACKAGE)
    except ModuleNotFoundError as error:
        if error.name != PACKAGE:
            raise  # the package is there; something that it imports is not
        environment = os.environ.get("COMPOSER_ENVIRONMENT")
        where = f"the environment {environment!r}" if environment else "this Airflow (COMPOSER_ENVIRONMENT is not set)"
        raise ModuleNotFoundError(
            f"The private package {PACKAGE!r} is not installed in {where}. Install it from your Artifact Registry"
            f" repository: with the task InstallPrivatePackageOperator(environment=…, requirements={PACKAGE + '==…'!r},"
            f" repository=…), or by running the DAG publish_and_roll_out for it. Then run this DAG again.",
            name=PACKAGE,
        ) from error


with DAG(
    dag_id="haversine_distance",
    dag_display_name="Haversine distance",
    description="Compute a distance with a private package",
    schedule=None,
    catchup=False,
    doc_md=DOC,
    default_args={"owner": "data-platform"},
    owner_links={"data-platform": "https://wiki.example.com/data-platform"},
    tags=["example", "private package"],
    params={
        "point_a": point_param("First", [1, 2]),
        "point_b": point_param("Second", [3, 4]),
    },
) as dag:

    @task(task_display_name="Print the distance")
    def print_distance(params: dict[str, Any] | None = None) -> dict[str, Any]:
        """Print the distance in kilometres; return it with the version of the package that computed it."""
        assert params is not None, "Airflow passes the run's params"
        library = import_package()
        point_a, point_b = tuple(params["point_a"]), tuple(params["point_b"])
        distance_km: float = library.haversine_distance(point_a, point_b)
        installed = version(PACKAGE)
        print(f"{PACKAGE} {installed}: the distance between {point_a} and {point_b} is {distance_km:.1f} km")
        return {"distance_km": distance_km, "package": PACKAGE, "version": installed}

    print_distance()
