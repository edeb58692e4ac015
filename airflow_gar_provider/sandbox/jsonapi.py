"""APIs that are spoken as JSON only: a table from path to function, with the same gate as everything else."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from .discovery import unknown_method
from .errors import ApiError, unplayed
from .transcoding import Rule
from .web import Answer, json_answer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from .faults import Gate
    from .identity import Identity, Principal
    from .web import Request


@dataclass(frozen=True)
class JsonCall:
    """One call of a JSON method."""

    principal: Principal | None
    """The caller; None when the request had no credentials."""
    request: Request
    """The HTTP request; its body is not read yet."""
    variables: Mapping[str, str]
    """The variables of the path, decoded."""

    async def body(self) -> dict[str, Any]:
        """The JSON object in the body; {} when there is none."""
        value = await self.request.json()
        if value is not None and not isinstance(value, dict):
            raise ApiError("INVALID_ARGUMENT", "Invalid JSON payload received. Root element must be a message.")
        return value or {}


@dataclass(frozen=True)
class Route:
    """One method of a JSON API."""

    name: str
    """Google's name, `storage.objects.insert`."""
    verb: str
    """GET, POST, …"""
    template: str
    """The path, with variables as in Google's HTTP rules: `/storage/v1/b/{bucket}/o`."""
    function: Callable[[JsonCall], Awaitable[Any]] | None
    """Plays it and returns JSON or an `Answer`; None when the sandbox does not."""


class JsonApi:
    """The API of one host."""

    def __init__(self, host: str, routes: Sequence[Route], gate: Gate, identity: Identity) -> None:
        self._host = host
        self._gate = gate
        self._identity = identity
        rules = [(Rule.from_option({"method": route.verb, "uri": route.template}), route) for route in routes]
        self._routes = sorted(rules, key=lambda item: (not item[0].custom, -len(item[1].template)))

    async def answer(self, request: Request) -> Answer:
        """Answer one request."""
        for rule, route in self._routes:
            variables = rule.match(request.verb, request.raw_path)
            if variables is None:
                continue
            function = route.function
            if function is None:
                raise unplayed(route.name)
            principal = self._identity.bearer(request.header("authorization"), host=self._host)
            call = JsonCall(principal, request, variables)
            resource = "/".join(variables.values())
            result = await self._gate.enter(route.name, principal, resource, partial(function, call))
            return result if isinstance(result, Answer) else json_answer({} if result is None else result)
        raise unknown_method(self._host, request.verb, request.raw_path)
