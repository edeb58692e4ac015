"""`airflowUri`: the Airflow REST API of an environment, behind Google's sign-in."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ..environment_child import EndedError
from ..errors import ApiError
from ..web import Answer, json_answer
from .environments import State

if TYPE_CHECKING:
    from ..faults import Gate
    from ..identity import Identity
    from ..policies import Policies
    from ..web import Request
    from .dags import DagsFolders
    from .environments import Environments
    from .reality import Reality

HOST = re.compile(r"[0-9a-f]{32}-dot-[a-z0-9-]+\.composer\.googleusercontent\.com")
METHOD = "airflow.rest"
_PERMISSION = "composer.dags.execute"
_FORBIDDEN = "The caller may not open this environment's Airflow: it needs a role like roles/composer.user."


class AirflowWeb:
    """Checks the caller as Google's proxy in front of Airflow does, then asks the environment's Airflow."""

    def __init__(
        self,
        *,
        environments: Environments,
        reality: Reality,
        dags: DagsFolders,
        policies: Policies,
        identity: Identity,
        gate: Gate,
    ) -> None:
        self._environments = environments
        self._reality = reality
        self._dags = dags
        self._policies = policies
        self._identity = identity
        self._gate = gate

    async def answer(self, request: Request) -> Answer:
        """Answer one request below `airflowUri`. Queued faults hit the method `airflow.rest`."""
        host = str(request.connection.host)
        environment = self._environments.by_host(host)
        if environment is None:
            raise ApiError("NOT_FOUND", "There is no environment here.")
        principal = self._identity.bearer(request.header("authorization"), host=host)
        project = "/".join(environment.split("/")[:2])
        self._policies.require(principal, _PERMISSION, project, service="composer.googleapis.com", message=_FORBIDDEN)
        return await self._gate.enter(METHOD, principal, environment, lambda: self._ask(request, environment))

    async def _ask(self, request: Request, environment: str) -> Answer:
        body = await request.json()
        if not self._environments.inner(environment).image:
            raise ApiError("UNAVAILABLE", "The environment is being created: its Airflow does not run yet.")
        image, dags = self._environments.image(environment), await self._dags.sync(environment)
        try:
            status, value = await self._reality.airflow(environment).handle(
                request.verb, request.path, request.query, body, image=image, dags=dags
            )
        except EndedError as error:
            # The update ends the processes first, and changes the image and the state after that.
            running = self._environments.get(environment).state == State.RUNNING
            if running and self._environments.image(environment) == image:
                raise
            raise ApiError("UNAVAILABLE", "An update has ended this environment's Airflow.") from error
        if status == 204:
            return Answer(204)
        answer = json_answer(value, status)
        if status >= 400:
            return Answer(status, answer.body, "application/problem+json", answer.headers)
        return answer
