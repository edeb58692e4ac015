"""`LOCATION-python.pkg.dev`: the package index of a repository, as pip reads it and as twine uploads to it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import BinaryIO, Protocol
from urllib.parse import unquote, urljoin, urlsplit

import requests
from packaging.utils import canonicalize_name

from airflow_gar_provider.core.repository import RepositoryName
from airflow_gar_provider.errors import AccessDeniedError, GoogleApiError
from airflow_gar_provider.gcp.session import CALL_TIMEOUT, Session, error_of_response, google_errors, read_again
from airflow_gar_provider.gcp.upload_body import UploadBody

_UPLOAD_TIMEOUT = (20.0, 300.0)
"""Seconds to connect, and between two bytes of the answer."""
_USER = "oauth2accesstoken"
"""The user name that goes with an access token (Artifact Registry's documentation of Python authentication)."""


@dataclass(frozen=True)
class IndexFile:
    """One link of a package's page in the index: what pip can choose from."""

    file: str
    """The file's name, without a folder."""
    sha256: str | None
    """Hexadecimal; None when the page does not say."""
    requires_python: str | None
    """PEP 440 specifier, or None."""
    url: str
    """Absolute, without the fragment."""
    yanked: str | None
    """None: not yanked; else the reason, which may be empty (PEP 592)."""


class Upload(Protocol):
    """What can be uploaded: a checked wheel or sdist."""

    @property
    def file(self) -> str:
        """The file's name."""

    @property
    def size(self) -> int:
        """Bytes."""

    @property
    def sha256(self) -> str:
        """Hexadecimal."""

    def form(self) -> list[tuple[str, str]]:
        """The fields of the upload form before the file's content."""


class PackageIndex:
    """One identity's view of repositories' package indexes. May be used from several threads; errors are typed."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._local = threading.local()
        self._made: list[requests.Session] = []

    @property
    def _http(self) -> requests.Session:
        """This thread's connections, kept alive. `requests.Session` itself is not made for several threads."""
        http: requests.Session | None = getattr(self._local, "http", None)
        if http is None:
            http = self._local.http = requests.Session()
            self._made.append(http)
        return http

    def close(self) -> None:
        """Close the connections of all threads; a later call opens new ones."""
        while self._made:
            self._made.pop().close()
        self._local = threading.local()

    def files(self, repository: RepositoryName, package: str) -> tuple[IndexFile, ...] | None:
        """What the index offers of a package, in the page's order; None when it answers 404.

        A 404 does not tell a package that is not there from a repository that is not there. An index that is away for
        a moment is asked again. Raises AccessDeniedError, UnavailableError.
        """
        return read_again(lambda: self._files(repository, package))

    def _files(self, repository: RepositoryName, package: str) -> tuple[IndexFile, ...] | None:
        url = f"{repository.index_url}{canonicalize_name(package)}/"
        action = f"read the index page of {package}"
        with google_errors(action, resource=str(repository)):
            response = self._with_token(
                lambda auth: self._http.get(url, auth=auth, timeout=CALL_TIMEOUT, headers={"Accept": "text/html"})
            )
        if response.status_code == 404:
            return None
        if response.status_code >= 400:
            remedy = "grant the caller roles/artifactregistry.reader on the repository"
            raise error_of_response(
                response, action, resource=str(repository), remedy=remedy if response.status_code == 403 else None
            )
        return read_index_page(response.content.decode("utf-8", "replace"), response.url)

    def upload(
        self, repository: RepositoryName, file: Upload, stream: BinaryIO, progress: Callable[[int], None]
    ) -> bool:
        """Send one file; `progress` is told the bytes of it read so far. False when its name is there already.

        The form is that of the legacy PyPI protocol; a duplicate is answered with 400 "Requested entity already
        exists." (twine 7 lists Artifact Registry among the indexes that do so; pypa/twine #816). A 401 is answered
        with a fresh token, once. Raises FileChangedError, AccessDeniedError, NotFoundError, UnavailableError.
        """
        body = UploadBody(file.form(), file.file, stream, size=file.size, sha256=file.sha256, progress=progress)
        action = f"upload {file.file}"
        with google_errors(action, resource=str(repository)):
            response = self._with_token(
                lambda auth: self._http.post(
                    repository.upload_url,
                    data=body,
                    auth=auth,
                    headers={"Content-Type": body.content_type},
                    timeout=_UPLOAD_TIMEOUT,
                    allow_redirects=False,
                )
            )
        if response.status_code in (200, 201, 202, 204):
            return True
        if _is_duplicate(response):
            return False
        remedies = {
            401: "the connection's access token was refused: look at its credentials",
            403: "grant the caller roles/artifactregistry.writer on the repository",
            404: "create the repository first (CreateRepositoryOperator), or correct its name",
            413: "the registry refuses a file of this size: split the package, or ask Google for its limit",
        }
        raise error_of_response(response, action, resource=str(repository), remedy=remedies.get(response.status_code))

    def _with_token(self, send: Callable[[tuple[str, str]], requests.Response]) -> requests.Response:
        """Send with the token; after a 401 once more with a fresh one, where the credentials can give one.

        `auth=` instead of a header: requests would replace a header by what a netrc file says of the host.
        """
        response = send((_USER, self._session.token()))
        if response.status_code != 401:
            return response
        try:
            token = self._session.token(fresh=True)
        except AccessDeniedError:
            return response
        return send((_USER, token))


def _is_duplicate(response: requests.Response) -> bool:
    """Google answers a duplicate with 400 and prose, not with 409; see tests/samples."""
    if response.status_code == 409:
        return True
    return response.status_code == 400 and "already exist" in f"{response.reason} {response.text}".lower()


def read_index_page(page: str, url: str) -> tuple[IndexFile, ...]:
    """The links of a PEP 503 page; `url` is where it was read, after redirects. Raises GoogleApiError for no page."""
    parser = _Links(url)
    try:
        parser.feed(page)
        parser.close()
    except (AssertionError, ValueError) as error:  # how Python's parser gives up on `<![x`, for one
        raise GoogleApiError("the index answered with what is no HTML page", resource=url) from error
    return tuple(parser.found)


class _Links(HTMLParser):
    def __init__(self, url: str) -> None:
        super().__init__(convert_charrefs=True)
        self._url = url
        self.found: list[IndexFile] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Every link of the page is a file; a `base` moves those that follow."""
        values = dict(attrs)
        href = values.get("href")
        if tag not in ("a", "base") or not href:
            return
        try:
            whole = urljoin(self._url, href)
            urlsplit(whole)
        except ValueError:  # no URL (`http://[x`): pip passes it over, too
            return
        if tag == "base":
            self._url = whole
            return
        url, _, fragment = whole.partition("#")
        digest = fragment.removeprefix("sha256=") if fragment.startswith("sha256=") else None
        yanked = (values.get("data-yanked") or "") if "data-yanked" in values else None
        name = unquote(urlsplit(url).path.rsplit("/", 1)[-1])
        self.found.append(IndexFile(name, digest, values.get("data-requires-python") or None, url, yanked))
