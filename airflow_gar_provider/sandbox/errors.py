"""How Google says no: one exception that every API answers with, over gRPC and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf import any_pb2, json_format
from google.rpc import error_details_pb2, status_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping

CODES: Mapping[str, tuple[int, int]] = {
    "OK": (0, 200),
    "CANCELLED": (1, 499),
    "UNKNOWN": (2, 500),
    "INVALID_ARGUMENT": (3, 400),
    "DEADLINE_EXCEEDED": (4, 504),
    "NOT_FOUND": (5, 404),
    "ALREADY_EXISTS": (6, 409),
    "PERMISSION_DENIED": (7, 403),
    "RESOURCE_EXHAUSTED": (8, 429),
    "FAILED_PRECONDITION": (9, 400),
    "ABORTED": (10, 409),
    "OUT_OF_RANGE": (11, 400),
    "UNIMPLEMENTED": (12, 501),
    "INTERNAL": (13, 500),
    "UNAVAILABLE": (14, 503),
    "DATA_LOSS": (15, 500),
    "UNAUTHENTICATED": (16, 401),
}
"""google.rpc.Code: name to (gRPC number, HTTP status), as google/rpc/code.proto maps them."""

NAME_OF_STATUS: Mapping[int, str] = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    412: "FAILED_PRECONDITION",
    413: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
"""The code that a queued fault of an HTTP status gets."""

MISSING_CREDENTIALS = (
    "Request is missing required authentication credential. Expected OAuth 2 access token, login cookie or other valid "
    "authentication credential. See https://developers.google.com/identity/sign-in/web/devconsole-project."
)
INVALID_CREDENTIALS = (
    "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid "
    "authentication credential. See https://developers.google.com/identity/sign-in/web/devconsole-project."
)


class ApiError(Exception):
    """An error that a Google API answers with."""

    def __init__(
        self, code: str, message: str, *, details: tuple[Any, ...] = (), http_status: int | None = None
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.details = details
        self.retry_after: int | None = None
        """Seconds of the answer's Retry-After."""
        self.http_status = CODES[code][1] if http_status is None else http_status

    @property
    def grpc_code(self) -> int:
        """The number of the code in google.rpc.Code."""
        return CODES[self.code][0]

    def status(self) -> Any:
        """The error as a google.rpc.Status message."""
        status = status_pb2.Status(code=self.grpc_code, message=self.message)
        for detail in self.details:
            packed = any_pb2.Any()
            packed.Pack(detail)
            status.details.append(packed)
        return status

    def json(self) -> dict[str, Any]:
        """The error as the body of a REST answer."""
        error: dict[str, Any] = {"code": self.http_status, "message": self.message, "status": self.code}
        if self.details:
            error["details"] = json_format.MessageToDict(self.status())["details"]
        return {"error": error}


class ConnectionCut(Exception):  # noqa: N818 - not an error of the API: the client loses its connection
    """A fault asks that the client's connection is cut instead of answered."""


def permission_denied(message: str, *, permission: str, resource: str, service: str) -> ApiError:
    """PERMISSION_DENIED with the ErrorInfo that Google attaches to it."""
    info = error_details_pb2.ErrorInfo(
        reason="IAM_PERMISSION_DENIED",
        domain=service,
        metadata={"permission": permission, "resource": resource},
    )
    return ApiError("PERMISSION_DENIED", message, details=(info,))


def unplayed(method: str) -> ApiError:
    """The answer of a method that the sandbox does not play."""
    return ApiError("UNIMPLEMENTED", f"The sandbox does not play {method}.")
