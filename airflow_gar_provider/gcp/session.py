"""Credentials, and Google's errors as ours."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any, TypeVar

import google.auth.exceptions
import grpc
import requests
from google.api_core import exceptions as api
from google.api_core.retry import Retry, if_exception_type
from google.auth import impersonated_credentials
from google.auth.credentials import Credentials
from google.auth.transport.requests import AuthorizedSession, Request
from google.protobuf.message import DecodeError

from airflow_gar_provider.core.redaction import redact, redact_error
from airflow_gar_provider.errors import (
    AccessDeniedError,
    ConcurrentChangeError,
    GoogleApiError,
    NotFoundError,
    UnavailableError,
)

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_LIFETIME = 600
"""Seconds that an impersonated account's token lives: enough for some questions."""

CALL_TIMEOUT = 60.0
"""Seconds that one call may take, its retries included."""

RETRY = Retry(
    predicate=if_exception_type(api.ServiceUnavailable, api.TooManyRequests, api.InternalServerError, api.BadGateway),
    initial=0.5,
    maximum=10.0,
    timeout=CALL_TIMEOUT,
)
"""For calls that change nothing, or that say with an etag or generation what they expect to change."""


_READ = RETRY.with_predicate(if_exception_type(UnavailableError)).with_timeout(15.0)
T = TypeVar("T")


def read_again(read: Callable[[], T]) -> T:
    """Do what only reads over plain HTTP, and again while Google is away for a moment: UnavailableError after 15 s.

    What is read is often what a warning could do without; a check that an outage of a second took away is not made.
    """
    again: Callable[[], T] = _READ(read)
    try:
        return again()
    except api.RetryError as error:
        raise error.cause or error from None


class _Redacting(logging.Filter):
    """Takes credentials out of records before any handler sees them."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the record; none is dropped."""
        if record.exc_info and record.exc_info[1] is not None:
            redact_error(record.exc_info[1])
        record.msg, record.args = redact(record.getMessage()), None
        return True


# gRPC logs what getting a token raised, with its traceback: the whole answer of IAM among it.
logging.getLogger("grpc._plugin_wrapping").addFilter(_Redacting())


class Session:
    """One identity's credentials, and an HTTP session that carries them."""

    def __init__(self, credentials: Credentials, project_id: str | None = None) -> None:
        self.credentials = credentials
        self.project_id = project_id
        self._lock = threading.Lock()

    @cached_property
    def http(self) -> requests.Session:
        """A session that sends the access token and refreshes it."""
        session: requests.Session = AuthorizedSession(self.credentials)
        return session

    def token(self, *, fresh: bool = False) -> str:
        """An access token that is valid for some minutes yet; `fresh`: a new one. Raises AccessDeniedError.

        `valid` is False already minutes before a token ends (google-auth's REFRESH_THRESHOLD).
        """
        with self._lock, google_errors("get an access token", resource=None):
            if fresh or not self.credentials.valid:
                self.credentials.refresh(Request())
            return str(self.credentials.token)

    def impersonate(self, service_account: str) -> Session:
        """A session as a service account (its e-mail address); no call is made before a token is needed.

        The caller needs `iam.serviceAccounts.getAccessToken` on it (roles/iam.serviceAccountTokenCreator).
        """
        credentials = impersonated_credentials.Credentials(
            source_credentials=self.credentials,
            target_principal=service_account,
            target_scopes=[_SCOPE],
            lifetime=_LIFETIME,
        )
        return Session(credentials, self.project_id)


@contextmanager
def google_errors(action: str, *, resource: str | None, remedy: str | None = None) -> Iterator[None]:
    """Turn what Google's clients raise into this package's errors; `action` is an infinitive: "read the policy"."""
    try:
        yield
    except api.GoogleAPICallError as error:
        raise _from_call(error, action, resource, remedy) from _clean(error)
    except api.RetryError as error:
        if isinstance(error.cause, api.GoogleAPICallError):
            raise _from_call(error.cause, action, resource, remedy) from _clean(error)
        raise UnavailableError(f"could not {action}: {redact(str(error))}", resource=resource) from _clean(error)
    except google.auth.exceptions.GoogleAuthError as error:
        if isinstance(error, google.auth.exceptions.TransportError) or error.retryable:
            # The token endpoint, or the metadata server, is away: the credentials may be good.
            raise UnavailableError(
                f"could not {action}: no access token ({redact(str(error))})", resource=resource
            ) from _clean(error)
        raise AccessDeniedError(
            f"could not {action}: no usable Google credentials ({redact(str(error))})",
            resource=resource,
            remedy="look at the Airflow connection's credentials (gcp_conn_id) and impersonation_chain",
        ) from _clean(error)
    except requests.RequestException as error:
        raise UnavailableError(f"could not {action}: {redact(str(error))}", resource=resource) from _clean(error)
    except (ValueError, DecodeError) as error:
        refused = error.__context__
        if not isinstance(refused, grpc.RpcError):
            raise
        raise _from_call(_without_details(refused), action, resource, remedy) from _clean(error)


def _without_details(refused: Any) -> api.GoogleAPICallError:
    """What a call over gRPC was refused with, where Google's library could not read the details of the refusal.

    They are in trailers, and gRPC itself ends a call whose trailers are too large (8 KiB and more): its status is not
    that of the details then, which google-api-core answers with a ValueError (`grpc_status.rpc_status.from_call`).
    """
    found: api.GoogleAPICallError = api.from_grpc_status(refused.code(), refused.details() or "")
    return found


E = TypeVar("E", bound=Exception)


def _clean(error: E) -> E:
    """The error of Google's client, fit to be printed as the cause of ours: a task's log shows both."""
    for call in (error, getattr(error, "cause", None)):
        if isinstance(call, api.GoogleAPICallError):
            # Its text is composed of its message and these; its answer would carry the request with its token along.
            call._details, call._errors, call._response = [], [], None
    redact_error(error)
    return error


@contextmanager
def understood(action: str, *, resource: str) -> Iterator[None]:
    """For reading an answer: one of another form than is documented is a GoogleApiError, never a KeyError."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        redact_error(error)
        raise GoogleApiError(
            f"could not {action}: the answer is not of the form that Google documents "
            f"({type(error).__name__}: {redact(str(error))[:200]})",
            resource=resource,
            remedy="look whether a proxy answers in Google's place; else try again",
        ) from error


_KINDS: tuple[tuple[tuple[type[Exception], ...], type[GoogleApiError]], ...] = (
    ((api.NotFound,), NotFoundError),
    ((api.Forbidden, api.Unauthorized), AccessDeniedError),
    ((api.Conflict, api.PreconditionFailed), ConcurrentChangeError),
    ((api.TooManyRequests, api.ServerError), UnavailableError),
)
_REMEDIES: dict[type[GoogleApiError], str] = {
    NotFoundError: "look at the name, its project and location, and whether the caller may see it",
    AccessDeniedError: "grant the caller (the connection's identity) the permission that Google names",
    ConcurrentChangeError: "try again: the next try begins with what is there now",
    UnavailableError: "try again; Google's status page tells of outages",
}


def _from_call(error: api.GoogleAPICallError, action: str, resource: str | None, remedy: str | None) -> GoogleApiError:
    kind = next((ours for theirs, ours in _KINDS if isinstance(error, theirs)), GoogleApiError)
    if kind.retryable:
        remedy = None  # a caller's remedy is a permission, or another name: no cure for an outage
    return kind(
        f"could not {action}",
        resource=resource,
        remedy=remedy or _REMEDIES.get(kind),
        status=status_of(error),
        message=redact(str(error.message)),
    )


def status_of(error: api.GoogleAPICallError) -> str:
    """The google.rpc status name; REST answers lose it, then the class of the exception has to do."""
    code: Any = getattr(error, "grpc_status_code", None)
    return str(code.name) if code is not None else type(error).__name__


def error_of_response(
    response: requests.Response, action: str, *, resource: str, remedy: str | None = None
) -> GoogleApiError:
    """The error for an HTTP answer of 400 or more, with Google's words from its body."""
    error = api.from_http_response(response)
    try:
        body = response.json()["error"]
        error.message, status = body["message"], body.get("status")
    except (ValueError, KeyError, TypeError):
        error.message, status = (response.text.strip()[:500] or response.reason), None
    found = _from_call(error, action, resource, remedy)
    found.status = status or f"HTTP {response.status_code}"
    if isinstance(found, UnavailableError):
        found.retry_after = _seconds(response.headers.get("Retry-After"))
    return found


def _seconds(retry_after: str | None) -> float | None:
    """Retry-After in seconds; its other form, a date, is as good as none: nobody's clock is trusted that far."""
    return float(retry_after) if retry_after and retry_after.strip().isdigit() else None
