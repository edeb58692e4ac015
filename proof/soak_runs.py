"""What the soak asks of the product: DAGs as teams write them, by chance, and the same as data for the checker."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from airflow.sdk import DAG

from airflow_gar_provider.core.environment import EnvironmentName
from airflow_gar_provider.operators import (
    ComposerPipConfigOperator,
    InstallPrivatePackageOperator,
    PrunePackageVersionsOperator,
    PublishWheelOperator,
    RollBackEnvironmentOperator,
)
from airflow_gar_provider.rollout import Fleet, Member, Stage, roll_out
from bench.played_images import BROKEN
from proof.dag_run import RUN_ID
from proof.google import BREAKS_DAGS
from proof.soak_world import ENVIRONMENTS, KEYED, PACKAGES, SoakWorld
from proof.world import wheel

FLEETS: Mapping[str, tuple[tuple[str, tuple[str, ...], int], ...]] = {
    "north": (("dev", ("e00",), 1), ("canary", ("e01", "e03"), 2), ("prod", ("e04", "e05", "e06"), 2)),
    "south": (("dev", ("e07",), 1), ("prod", ("e06", "e08", "e09", "e10"), 2)),
}
"""Fleet -> (stage, environments, how many at a time); e06 belongs to both."""


@dataclass(frozen=True)
class Asked:
    """One DAG run."""

    dag: Any
    data: dict[str, Any]
    """What was asked for, as the checker reads it."""


class Wishes:
    """Chance's choice of DAG runs in a world."""

    def __init__(self, soak: SoakWorld, chance: random.Random) -> None:
        self._soak, self._world, self._chance = soak, soak.world, chance
        self._rollouts: list[str] = []

    def next(self, number: int) -> Asked:
        """A DAG run. `number`: of the run, for its name."""
        kinds: tuple[tuple[Callable[[str], Asked], int], ...] = (
            (self._install, 8),
            (self._rollout, 4),
            (self._publish, 3),
            (self._pip_conf, 3),
            (self._rotation, 2),
            (self._roll_back, 2),
            (self._prune, 1),
        )
        kind = self._chance.choices([kind for kind, _ in kinds], [weight for _, weight in kinds])[0]
        return kind(f"run{number:04d}")

    def _pin(self, *, trouble: float = 0.15) -> tuple[str, str]:
        package = self._chance.choice(PACKAGES)
        if self._chance.random() < trouble:
            package = f"acme-{self._chance.choice((BROKEN, BREAKS_DAGS))}"
            self._soak.acts.append(self._soak._publish(package))  # a version that nobody has rolled back yet
            return package, self._soak.versions[package][-1]
        return package, self._chance.choice(self._soak.versions[package])

    def _dag(self, name: str) -> DAG:
        return DAG(name, schedule=None, default_args={"retries": 2, "retry_delay": timedelta(0)})

    def _install(self, name: str) -> Asked:
        environment = self._chance.choice(ENVIRONMENTS)
        pins = dict(self._pin() for _ in range(self._chance.choice((1, 1, 2))))
        gone = self._chance.choice([package for package in PACKAGES if package not in pins])
        absent = [gone] if self._chance.random() < 0.2 else []
        rollback = self._chance.random() < 0.6
        with self._dag(name) as dag:
            InstallPrivatePackageOperator(
                task_id="install",
                environment=self._world.environment(environment),
                requirements=[f"{package}=={version}" for package, version in pins.items()],
                absent=absent,
                repository=self._world.repository,
                rollback=rollback,
                deferrable=self._chance.random() < 0.5,
            )
        return Asked(dag, {"kind": "install", "environments": [environment], "pins": pins, "absent": absent})

    def _publish(self, name: str) -> Asked:
        files = {}
        for package in self._chance.sample(PACKAGES, self._chance.choice((1, 2))):
            file, content = wheel(package, self._soak.next_version(package))
            self._world.write(self._world.state_bucket, f"{name}/{file}", content)
            files[file] = hashlib.sha256(content).hexdigest()
        with self._dag(name) as dag:
            PublishWheelOperator(
                task_id="publish",
                wheels=f"gs://{self._world.state_bucket}/{name}/*.whl",
                repository=self._world.repository,
                parallel=1,
            )
        return Asked(dag, {"kind": "publish", "files": files})

    def _pip_conf(self, name: str) -> Asked:
        environment = self._chance.choice(ENVIRONMENTS)
        form = self._chance.choice(("index", "index", "extra_index", "absent"))
        with self._dag(name) as dag:
            ComposerPipConfigOperator(
                task_id="point",
                environment=self._world.environment(environment),
                repository=self._world.repository,
                form=form,
            )
        return Asked(dag, {"kind": "pip_conf", "environments": [environment], "form": form})

    def _rotation(self, name: str) -> Asked:
        environment = self._chance.choice(KEYED)
        account = self._soak.readers[environment]
        package, version = self._pin(trouble=0.0)
        shared: dict[str, Any] = {"environment": self._world.environment(environment)}
        keyed = {**shared, "auth": "service_account_key", "key_service_account": account}
        with self._dag(name) as dag:
            rotate = ComposerPipConfigOperator(
                task_id="rotate", rotate=True, repository=self._world.repository, **keyed
            )
            install = InstallPrivatePackageOperator(
                task_id="install", requirements=f"{package}=={version}", deferrable=False, **shared
            )
            operation = "{{ ti.xcom_pull(task_ids='install')['operation'] }}"
            rotate >> install >> ComposerPipConfigOperator(task_id="retire", retire=True, operation=operation, **keyed)
        asked = {"kind": "rotation", "environments": [environment], "pins": {package: version}, "account": account}
        return Asked(dag, asked)

    def _rollout(self, name: str) -> Asked:
        fleet = self._chance.choice(sorted(FLEETS))
        package, version = self._pin()
        stages = tuple(
            Stage(
                stage,
                tuple(Member(EnvironmentName.parse(self._world.environment(member))) for member in members),
                max_parallel=places,
                max_failures=self._chance.choice((0, 1)),
            )
            for stage, members, places in FLEETS[fleet]
        )
        state = f"gs://{self._world.state_bucket}/{fleet}"
        with self._dag(name) as dag:
            roll_out(
                Fleet(state, stages),
                requirements=f"{package}=={version}",
                repository=self._world.repository,
                on_failure=self._chance.choice(("stop", "roll_back")),
                changed=self._chance.choice(("refuse", "replan")),
            )
        self._rollouts.append(name)
        asked = {
            "kind": "rollout",
            "fleet": fleet,
            "environments": [member for _, members, _ in FLEETS[fleet] for member in members],
            "pins": {package: version},
            "places": {stage: places for stage, _, places in FLEETS[fleet]},
        }
        return Asked(dag, asked)

    def _roll_back(self, name: str) -> Asked:
        if not self._rollouts:
            return self._rollout(name)
        rollout = self._chance.choice(self._rollouts)
        environment = self._chance.choice(ENVIRONMENTS[:11])
        with self._dag(name) as dag:
            RollBackEnvironmentOperator(
                task_id="back", environment=self._world.environment(environment), rollout=f"{rollout}/{RUN_ID}"
            )
        return Asked(dag, {"kind": "roll_back", "environments": [environment], "rollout": rollout})

    def _prune(self, name: str) -> Asked:
        package = self._chance.choice(PACKAGES)
        with self._dag(name) as dag:
            PrunePackageVersionsOperator(
                task_id="prune",
                repository=self._world.repository,
                packages=[package],
                keep_last=4,
                environments=[self._world.environment(environment) for environment in ENVIRONMENTS],
                dry_run=False,
            )
        return Asked(dag, {"kind": "prune", "package": package, "keep_last": 4})
