"""The Google of `bench.fleet`: the sandbox, whose images are played. No pip runs, so a hundred updates take seconds.

What is played: an image has what its environment declares, in the version that the pin names. All else is the sandbox
as it is: the lists, the masks and states of updates, their operations, permissions, and the record of every call.
"""

from __future__ import annotations

import asyncio
import os
import sys

from airflow_gar_provider.sandbox.server import Sandbox, ready_line
from airflow_gar_provider.sandbox.setup import Setup
from bench.played_images import PlayedImages

PACKAGES, FLEET, SMALL = "acme-packages", "acme-fleet", "acme-small"
"""Projects: the registry's, that of the thousand environments, that of the hundred."""
LOCATIONS = ("europe-west1", "us-central1", "asia-east1")
CALLER = f"management@{FLEET}.iam.gserviceaccount.com"
STATE = f"{FLEET}-state"
"""The fleet's bucket."""
DECLARED = {f"public-{number:02d}": f"=={number}.0" for number in range(20)}
"""What every environment has already, besides one of our packages in an older version."""


def environments(project: str, count: int) -> list[str]:
    """Names, spread over the locations."""
    return [
        f"projects/{project}/locations/{LOCATIONS[number % len(LOCATIONS)]}/environments/env-{number:04d}"
        for number in range(count)
    ]


async def serve(large: int, small: int) -> None:
    """Print the ready line, serve until standard input ends."""
    names = environments(FLEET, large) + environments(SMALL, small)
    readers = [f"{name.rsplit('/', 1)[1]}-sa@{SMALL}.iam.gserviceaccount.com" for name in names[large:]]
    setup = Setup.from_texts(
        projects=(PACKAGES,),
        environments=tuple(names),
        buckets=(f"{FLEET}/{STATE}",),
        accounts=(CALLER,),
        grants=(
            *(f"serviceAccount:{CALLER}=roles/owner@projects/{project}" for project in (PACKAGES, FLEET, SMALL)),
            f"serviceAccount:{CALLER}=roles/iam.serviceAccountTokenCreator@projects/{SMALL}",
            *(f"serviceAccount:{reader}=roles/artifactregistry.reader@projects/{PACKAGES}" for reader in readers),
        ),
    )
    sandbox = Sandbox(environment=os.environ, setup=setup, images=PlayedImages())
    try:
        await sandbox.start()
        for name in names:
            environment = sandbox.environments.get(name)
            environment.config.software_config.pypi_packages.update({**DECLARED, "acme-lib0": "==0.9"})
            sandbox.environments.put(environment)
        print(ready_line(sandbox), flush=True)
        await asyncio.to_thread(sys.stdin.read)
    finally:
        await sandbox.stop()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2])))
