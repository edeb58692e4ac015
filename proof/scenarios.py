"""What is run: DAGs as users write them, in worlds with what they need."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from airflow.sdk import DAG

from airflow_gar_provider.core.environment import EnvironmentName
from airflow_gar_provider.operators import (
    ComposerPipConfigOperator,
    InstallPrivatePackageOperator,
    PublishWheelOperator,
)
from airflow_gar_provider.rollout import Fleet, Member, Stage, roll_out
from bench.played_images import BROKEN
from proof.google import BREAKS_DAGS, Google
from proof.world import World, wheel

MANY = ("acme-lib", "acme-geo", "acme-log", "acme-net")
"""More packages than are listed one by one."""


@dataclass(frozen=True)
class Scenario:
    """One DAG, and the world that it runs in."""

    name: str
    prepare: Callable[[World], None]
    """What is there before."""
    dag: Callable[[World], Any]
    environments: tuple[str, ...] = ("dev",)

    def world(self, google: Google, prefix: str) -> World:
        """A world of its own for one run."""
        world = World.create(google, prefix, self.environments)
        self.prepare(world)
        return world


def _dag(name: str) -> DAG:
    return DAG(name, schedule=None, default_args={"retries": 2})


def _wheels(*packages: str) -> Callable[[World], None]:
    """Wheels in a bucket, to be published."""

    def prepare(world: World) -> None:
        for package in packages:
            name, content = wheel(package, "1.0")
            world.write(world.state_bucket, f"wheels/{name}", content)

    return prepare


def _published(*versions: tuple[str, str]) -> Callable[[World], None]:
    """Packages in the registry."""

    def prepare(world: World) -> None:
        for package, version in versions:
            world.publish(package, version)

    return prepare


def _publish(world: World) -> DAG:
    with _dag("publish") as dag:
        PublishWheelOperator(
            task_id="publish", wheels=f"gs://{world.state_bucket}/wheels/*.whl", repository=world.repository
        )
    return dag


def _pip_conf(world: World) -> DAG:
    with _dag("pip_conf") as dag:
        ComposerPipConfigOperator(task_id="point", environment=world.environment("dev"), repository=world.repository)
    return dag


def _install(requirement: str, **options: Any) -> Callable[[World], DAG]:
    def make(world: World) -> DAG:
        with _dag("install") as dag:
            InstallPrivatePackageOperator(
                task_id="install",
                environment=world.environment("dev"),
                requirements=requirement,
                repository=world.repository,
                **options,
            )
        return dag

    return make


def _rotation(world: World) -> DAG:
    """A key is made and installed with, then another one takes its place, and the first is retired."""
    shared: dict[str, Any] = {"environment": world.environment("dev")}
    keyed: dict[str, Any] = {**shared, "repository": world.repository, "auth": "service_account_key"}
    keyed["key_service_account"] = world.reader
    with _dag("rotation") as dag:
        point = ComposerPipConfigOperator(task_id="point", **keyed)
        first = InstallPrivatePackageOperator(task_id="first", requirements="acme-lib==1.0", **shared)
        rotate = ComposerPipConfigOperator(task_id="rotate", rotate=True, **keyed)
        second = InstallPrivatePackageOperator(task_id="second", requirements="acme-lib==1.1", **shared)
        retire = ComposerPipConfigOperator(
            task_id="retire",
            retire=True,
            key_service_account=world.reader,
            operation="{{ ti.xcom_pull(task_ids='second')['operation'] }}",
            auth="service_account_key",
            **shared,
        )
        point >> first >> rotate >> second >> retire
    return dag


def _rollout(world: World) -> DAG:
    names = ("dev", "canary", "prod")
    stages = tuple(Stage(name, (Member(EnvironmentName.parse(world.environment(name))),)) for name in names)
    with _dag("rollout") as dag:
        roll_out(
            Fleet(f"gs://{world.state_bucket}/gar", stages),
            requirements="acme-lib==1.0",
            repository=world.repository,
            on_failure="roll_back",
        )
    return dag


_LIB = _published(("acme-lib", "1.0"))
SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("publish_one", _wheels("acme-lib"), _publish),
        Scenario("publish_many", _wheels(*MANY), _publish),
        Scenario("pip_conf", lambda _: None, _pip_conf),
        Scenario("install", _LIB, _install("acme-lib==1.0")),
        Scenario("install_deferrable", _LIB, _install("acme-lib==1.0", deferrable=True)),
        Scenario(
            "install_failing",
            _published((f"acme-{BROKEN}", "1.0")),
            _install(f"acme-{BROKEN}==1.0", rollback=True),
        ),
        Scenario(
            "install_rollback",
            _published((f"acme-{BREAKS_DAGS}", "1.0")),
            _install(f"acme-{BREAKS_DAGS}==1.0", rollback=True),
        ),
        Scenario("key_rotation", _published(("acme-lib", "1.0"), ("acme-lib", "1.1")), _rotation),
        Scenario("rollout", _LIB, _rollout, ("dev", "canary", "prod")),
    )
}
"""By name, in the order of the table."""
