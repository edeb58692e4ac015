"""One function per API method, served as gRPC and as REST.

A service is described by what Google's generated Python client carries: the names of its methods, the type of
each request (the annotation of `request`), and the HTTP rules (`transports/rest_base.py`). Every method of the
service is registered; one that has no function in the implementation answers UNIMPLEMENTED (501) with its name.
So a method is added by writing the function, under the client's own name for it: `async def get_repository(self,
call, request)`.
"""

from __future__ import annotations

import logging
import typing
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import grpc
from google.protobuf import empty_pb2

from .discovery import unknown_method
from .errors import ApiError, ConnectionCut, unplayed
from .transcoding import Rule, new_message, read_request, sorted_rules, to_json, unwrap, wrap
from .web import Answer, api_error, json_answer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from .faults import Gate
    from .identity import Identity, Principal
    from .web import Request

logger = logging.getLogger(__name__)

MIXINS = {
    "GetOperation": "google.longrunning.Operations",
    "ListOperations": "google.longrunning.Operations",
    "DeleteOperation": "google.longrunning.Operations",
    "CancelOperation": "google.longrunning.Operations",
    "WaitOperation": "google.longrunning.Operations",
    "GetLocation": "google.cloud.location.Locations",
    "ListLocations": "google.cloud.location.Locations",
}
"""Methods that every generated client has and that belong to a service of their own."""
TRAILERS = 7_900
"""Bytes of an error's message and details over gRPC: with the rest, less than the 8 KiB that a client always takes."""


@dataclass(frozen=True)
class Call:
    """Who called what."""

    principal: Principal | None
    """The caller; None when the request had no credentials."""
    method: str
    """Google's full name of the method."""
    host: str
    """The API's host name."""


@dataclass(frozen=True)
class Method:
    """One API method."""

    name: str
    """Google's full name, `google.cloud.….Environments.GetEnvironment`."""
    path: str
    """The gRPC path, `/google.cloud.….Environments/GetEnvironment`."""
    request_type: Any
    """The message class of the request."""
    rules: tuple[Rule, ...]
    """The HTTP rules."""
    function: Callable[[Call, Any], Awaitable[Any]] | None
    """What plays it; None when the sandbox does not."""


def methods_of(service: str, client: type, rest_base: type, implementation: object) -> list[Method]:
    """Every method of a generated client, with the functions of `implementation` that play them."""
    functions = {name.replace("_", ""): name for name in dir(client) if not name.startswith("_")}
    methods = []
    for inner in sorted(vars(rest_base)):
        if not inner.startswith("_Base") or (inner.startswith("_BaseR") and "RestTransport" in inner):
            continue
        name = inner.removeprefix("_Base")
        options = getattr(rest_base, inner)._get_http_options()
        function = functions[name.lower()]
        owner = MIXINS.get(name, service)
        methods.append(
            Method(
                name=f"{owner}.{name}",
                path=f"/{owner}/{name}",
                request_type=_request_type(getattr(client, function)),
                rules=tuple(Rule.from_option(option) for option in options),
                function=getattr(implementation, function, None),
            )
        )
    return methods


def _request_type(function: Any) -> Any:
    annotation = typing.get_type_hints(function)["request"]
    candidates = [item for item in typing.get_args(annotation) or (annotation,) if item not in {dict, type(None)}]
    return candidates[0]


@dataclass
class ProtoApi:
    """The API of one host: some services' methods over gRPC and REST."""

    host: str
    methods: list[Method]
    gate: Gate
    identity: Identity
    bugs: Callable[[str], None]
    media: Mapping[str, Callable[[Request, Call, dict[str, str]], Awaitable[Answer]]] = field(default_factory=dict)
    """Downloads, which no rule of the clients has: `VERB /path/{name=…}` to a function."""

    def __post_init__(self) -> None:
        self._by_path = {method.path: method for method in self.methods}
        self._rules = sorted_rules([(rule, method) for method in self.methods for rule in method.rules])
        self._media = [
            (Rule.from_option({"method": verb, "uri": uri}), name, function)
            for key, function in self.media.items()
            for name, verb, uri in [key.split(" ")]
        ]

    async def call(self, method: Method, principal: Principal | None, message: Any) -> Any:
        """Play one call: gate, faults, function."""
        function = method.function
        if function is None:
            raise unplayed(method.name)
        call = Call(principal, method.name, self.host)
        request = wrap(method.request_type, message)
        answer = await self.gate.enter(method.name, principal, resource_of(message), lambda: function(call, request))
        return empty_pb2.Empty() if answer is None else unwrap(answer)

    # REST

    async def rest(self, request: Request) -> Answer:
        """Answer one REST request."""
        try:
            principal = self.identity.bearer(request.header("authorization"), host=self.host)
            if request.parameter("alt") == "media":
                for rule, name, function in self._media:
                    variables = rule.match(request.verb, request.raw_path)
                    if variables is not None:
                        work = partial(function, request, Call(principal, name, self.host), variables)
                        return await self.gate.enter(name, principal, variables["name"], work)
            for rule, method in self._rules:
                variables = rule.match(request.verb, request.raw_path)
                if variables is None:
                    continue
                if method.function is None:
                    raise unplayed(method.name)
                body = await request.body()
                message = read_request(method.request_type, rule, variables, request.query_string, body)
                answer = await self.call(method, principal, message)
                return json_answer(to_json(answer, request.query_string))
            raise unknown_method(self.host, request.verb, request.raw_path)
        except ApiError as error:
            return api_error(error)

    # gRPC

    def service(self, details: Any) -> Any:
        """The handler of one gRPC call (grpc.GenericRpcHandler)."""
        method = self._by_path.get(details.method)
        if method is None:
            return None
        deserializer = type(new_message(method.request_type)).FromString

        async def behaviour(message: Any, context: Any) -> Any:
            return await self._grpc(method, message, context)

        return grpc.unary_unary_rpc_method_handler(
            behaviour, request_deserializer=deserializer, response_serializer=lambda answer: answer.SerializeToString()
        )

    async def _grpc(self, method: Method, message: Any, context: Any) -> Any:
        try:
            metadata = dict(context.invocation_metadata() or ())
            principal = self.identity.bearer(metadata.get("authorization"), host=self.host)
            return await self.call(method, principal, message)
        except ApiError as error:
            failure = error
        except ConnectionCut:
            # What a client sees of a cut HTTP/2 connection; cutting it for real would hit the calls beside this one.
            failure = ApiError("UNAVAILABLE", "Socket closed")
        except Exception as error:
            logger.exception("sandbox bug: %s", method.name)
            self.bugs(f"{method.name}: {error!r}")
            failure = ApiError("INTERNAL", f"sandbox bug: {error!r}")
        status = failure.status().SerializeToString()
        # The details repeat the message; where both do not fit into a client's 8 KiB of trailers, it would refuse them
        # by chance, and Google's library fails on the two codes that it then has.
        fits = len(quote(failure.message)) + len(status) < TRAILERS
        trailing = (("grpc-status-details-bin", status),) if fits else ()
        code = next(code for code in grpc.StatusCode if code.value[0] == failure.grpc_code)
        await context.abort(code, failure.message, trailing_metadata=trailing)
        raise AssertionError("abort raises")


def resource_of(message: Any) -> str:
    """The resource that a request is about, for the record of calls."""
    for name in ("name", "parent", "resource", "environment", "project"):
        if name in message.DESCRIPTOR.fields_by_name:
            value = getattr(message, name)
            if isinstance(value, str) and value:
                return value
    for descriptor, value in message.ListFields():
        if descriptor.message_type is not None and "name" in descriptor.message_type.fields_by_name:
            name = getattr(value, "name", "")
            if isinstance(name, str) and name:
                return name
    return ""
