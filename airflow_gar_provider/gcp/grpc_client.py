"""Google's generated clients over gRPC, whose calls survive an access token that ends before its time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import grpc

from airflow_gar_provider.errors import AccessDeniedError, UnavailableError
from airflow_gar_provider.gcp.session import Session

Client = TypeVar("Client")


def grpc_client(kind: Callable[..., Client], session: Session) -> Client:
    """A client of this class, with the session's credentials."""
    # What Google's client makes of credentials, endpoint and client certificate is its own affair: its channel is taken
    # as it is.
    plain: Any = kind(credentials=session.credentials, transport="grpc")
    channel = grpc.intercept_channel(plain.transport.grpc_channel, _Renewing(session))
    return kind(transport=type(plain.transport)(host=plain.transport.host, channel=channel))


class _Renewing(grpc.UnaryUnaryClientInterceptor):  # type: ignore[misc]  # grpc is not followed by mypy
    """Sends a call once more, with a fresh token, when it was refused for its token: then it has done nothing.

    gRPC goes on with a token until the time at which it was to end; over HTTP, google-auth does this itself.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    def intercept_unary_unary(self, continuation: Callable[[Any, Any], Any], details: Any, request: Any) -> Any:
        """One call."""
        answer = continuation(details, request)
        if answer.code() is not grpc.StatusCode.UNAUTHENTICATED:
            return answer
        try:
            self._session.token(fresh=True)
        except (AccessDeniedError, UnavailableError):
            return answer
        return continuation(details, request)
