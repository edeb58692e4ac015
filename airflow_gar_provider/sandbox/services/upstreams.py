"""Which files a repository serves: its own (standard), another index's (remote), or the union of several (virtual).

A remote repository of the public index reads the index that this machine's pip is configured for; one with a URL of
its own reads that, where the sandbox is allowed to go there (`--allow-host`). With `--public-index` a folder of files
stands in for the public index. Files are kept once they were downloaded.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import shutil
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit

from google.cloud import artifactregistry_v1 as ar
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import InvalidVersion

from ..errors import ApiError

if TYPE_CHECKING:
    from pathlib import Path

    from ..indexes import Indexes
    from .registry import Registry

_SECONDS = 30
_PAGE_LIMIT = 64 << 20


@dataclass(frozen=True)
class Link:
    """One file of an index page."""

    filename: str
    """The file's name."""
    version: str
    """The version in that name."""
    sha256: str
    """Hex digest."""
    requires_python: str = ""
    """What the index says of the Python that the file needs."""
    url: str = ""
    """Where a remote file is; "" for one of our own."""
    file: Path | None = None
    """The file itself, in a folder that stands in for the public index."""


class Upstreams:
    """Resolves what a repository serves; in a virtual one, priority decides per version."""

    def __init__(self, registry: Registry, indexes: Indexes, ca_file: Path, public: Path | None = None) -> None:
        self._registry = registry
        self._public = public
        self._indexes = indexes
        self._ca_file = ca_file
        self._kept: dict[str, str] = {}
        self._lock = asyncio.Lock()

    async def links(self, repository: Any, package: str) -> list[Link]:
        """The files of a package that the repository serves."""
        modes = ar.Repository.Mode
        if repository.mode == modes.VIRTUAL_REPOSITORY:
            return await self._union(repository, package)
        if repository.mode == modes.REMOTE_REPOSITORY:
            return await self._remote(repository, package)
        return [
            Link(item.filename, item.version, item.sha256, item.requires_python)
            for item in self._registry.contents(repository.name, package)
        ]

    async def _union(self, repository: Any, package: str) -> list[Link]:
        chosen: dict[str, list[Link]] = {}
        for upstream in self._ranked(repository):
            by_version: dict[str, list[Link]] = {}
            for link in await self.links(upstream, package):
                by_version.setdefault(link.version, []).append(link)
            for version, links in by_version.items():
                chosen.setdefault(version, links)
        return [link for links in chosen.values() for link in links]

    def _ranked(self, repository: Any) -> list[Any]:
        policies = sorted(repository.virtual_repository_config.upstream_policies, key=lambda policy: -policy.priority)
        found = [self._registry.repositories.get(policy.repository) for policy in policies]
        return [upstream for upstream in found if upstream is not None]

    async def file(self, repository: Any, sha256: str, filename: str) -> Path | None:
        """The bytes of a file that the repository serves."""
        modes = ar.Repository.Mode
        if repository.mode == modes.VIRTUAL_REPOSITORY:
            for upstream in self._ranked(repository):
                path = await self.file(upstream, sha256, filename)
                if path is not None:
                    return path
            return None
        if repository.mode == modes.REMOTE_REPOSITORY:
            return await self._fetched(repository, sha256, filename)
        content = self._registry.find(repository.name, sha256, filename)
        return None if content is None else self._registry.path(content)

    # Remote repositories

    async def _base(self, repository: Any) -> str:
        """The URL below which the upstream has its project pages."""
        config = repository.remote_repository_config
        uri = config.python_repository.custom_repository.uri or config.common_repository.uri
        if uri:
            # The documented URL of an upstream is that of its root; package pages are below simple/.
            base = f"{uri.rstrip('/')}/" if uri.rstrip("/").endswith("/simple") else f"{uri.rstrip('/')}/simple/"
        elif config.python_repository.public_repository.name == "PYPI":
            base = f"{(await self._indexes.index_url()).rstrip('/')}/"
        else:
            raise ApiError("UNIMPLEMENTED", "The sandbox serves no upstream of this kind.")
        return base

    async def _check(self, url: str) -> frozenset[str]:
        """The hosts that a request may be redirected to; an error when the URL's own is none of them."""
        hosts = await self._indexes.hosts()
        _let_out(url, hosts)
        return hosts

    async def _remote(self, repository: Any, package: str) -> list[Link]:
        config = repository.remote_repository_config.python_repository
        if self._public is not None and config.public_repository.name == "PYPI":
            return await asyncio.to_thread(_in_folder, self._public, package)
        url = f"{await self._base(repository)}{package}/"
        page = await asyncio.to_thread(self._page, url, await self._check(url))
        if page is None:
            return []
        parser = _Links()
        parser.feed(page)
        links = (_link(url, href, attributes) for href, attributes in parser.found)
        return [link for link in links if link is not None]

    def _open(self, url: str, hosts: frozenset[str]) -> Any:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        request = urllib.request.Request(urlunsplit(parts._replace(netloc=host)))  # noqa: S310 - scheme checked below
        if parts.scheme not in {"http", "https"}:
            raise ApiError("UNAVAILABLE", f"The sandbox reads no {parts.scheme} upstream.", http_status=502)
        request.add_header("accept", "application/vnd.pypi.simple.v1+html, text/html;q=0.9")
        if parts.username:
            user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            request.add_header("authorization", f"Basic {base64.b64encode(user.encode()).decode()}")
        context = ssl.create_default_context(cafile=str(self._ca_file))
        handlers = (urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context), _Redirects(hosts))
        return urllib.request.build_opener(*handlers).open(request, timeout=_SECONDS)

    def _page(self, url: str, hosts: frozenset[str]) -> str | None:
        try:
            with self._open(url, hosts) as answer:
                return str(answer.read(_PAGE_LIMIT).decode())
        except urllib.error.HTTPError as error:
            error.close()
            if error.code in {403, 404}:
                return None
            raise ApiError("UNAVAILABLE", f"The upstream answered {error.code}.", http_status=502) from error
        except OSError as error:
            raise ApiError("UNAVAILABLE", f"The upstream cannot be reached: {error}", http_status=502) from error

    async def _fetched(self, repository: Any, sha256: str, filename: str) -> Path | None:
        async with self._lock:
            if sha256 not in self._kept:
                named = _named(filename)
                links = await self._remote(repository, named[0]) if named else []
                link = next((item for item in links if (item.sha256, item.filename) == (sha256, filename)), None)
                if link is None:
                    return None
                if link.file is not None:
                    return link.file
                self._kept[sha256] = await asyncio.to_thread(self._download, link, await self._check(link.url))
        return self._registry.blobs.path(self._kept[sha256])

    def _download(self, link: Link, hosts: frozenset[str]) -> str:
        blob, path = self._registry.blobs.new()
        try:
            with self._open(link.url, hosts) as answer, path.open("wb") as file:
                shutil.copyfileobj(answer, file)
        except (OSError, ApiError) as error:
            path.unlink(missing_ok=True)
            if isinstance(error, ApiError):
                raise
            raise ApiError("UNAVAILABLE", f"The upstream's file cannot be read: {error}", http_status=502) from error
        if _sha256(path) != link.sha256:
            path.unlink()
            raise ApiError(
                "UNAVAILABLE", "The upstream's file has another SHA-256 than its index says.", http_status=502
            )
        return blob


def _in_folder(folder: Path, package: str) -> list[Link]:
    """The files of a package in a folder of wheels and source distributions, whatever its subfolders are called."""
    links = []
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        named = _named(file.name)
        if named is not None and named[0] == package:
            links.append(Link(file.name, named[1], _sha256(file), file=file))
    return links


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while piece := stream.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def _let_out(url: str, hosts: frozenset[str]) -> None:
    host = urlsplit(url).hostname or ""
    if host not in hosts:
        text = f"The sandbox does not let requests out to {host or url}; start it with --allow-host {host or 'HOST'}."
        raise ApiError("UNAVAILABLE", text, http_status=502)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """An upstream may not send the sandbox where it would not go on its own."""

    def __init__(self, hosts: frozenset[str]) -> None:
        self._hosts = hosts

    def redirect_request(  # noqa: PLR0917 - the signature is urllib's
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        _let_out(newurl, self._hosts)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "a" and "href" in values:
            self.found.append((values["href"], values))


def _link(page: str, href: str, attributes: dict[str, str]) -> Link | None:
    """The link of an index page; None for what is no distribution or has no hash."""
    url, _, fragment = urljoin(page, href).partition("#")
    filename = unquote(urlsplit(url).path.rpartition("/")[2])
    named = _named(filename)
    if named is None or not fragment.startswith("sha256=") or "data-yanked" in attributes:
        return None
    user = urlsplit(page).netloc.rpartition("@")[0]
    parts = urlsplit(url)
    if user and "@" not in parts.netloc and parts.netloc == urlsplit(page).netloc.rpartition("@")[2]:
        # Credentials in the index URL count for files on the same host.
        url = urlunsplit(parts._replace(netloc=f"{user}@{parts.netloc}"))
    return Link(filename, named[1], fragment.removeprefix("sha256="), attributes.get("data-requires-python", ""), url)


def _named(filename: str) -> tuple[str, str] | None:
    try:
        if filename.endswith(".whl"):
            name, version, _, _ = parse_wheel_filename(filename)
        else:
            name, version = parse_sdist_filename(filename)
    except (InvalidWheelFilename, InvalidSdistFilename, InvalidVersion):
        return None
    return str(canonicalize_name(name)), str(version)
