"""`LOCATION-python.pkg.dev`: the upload of package tools and the index of installers.

What is known of Google's side: HTML only, no `/simple/` root, a duplicate file name is 400 with "Requested entity
already exists.", downloads are redirects on the same host, uploads go to standard repositories only.
"""

from __future__ import annotations

import hashlib
import html
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from google.cloud import artifactregistry_v1 as ar
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import InvalidVersion, Version
from python_multipart.exceptions import FormParserError
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect
from starlette.requests import Request as FormRequest

from ..errors import ApiError, ConnectionCut
from ..identity import Principal
from ..web import Answer, file_answer, text_answer
from .registry import Content

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.datastructures import FormData, UploadFile

    from ..faults import Gate
    from ..identity import Identity
    from ..policies import Policies
    from ..web import Request
    from .registry import Registry
    from .upstreams import Upstreams

HOST = re.compile(r"([a-z0-9-]+)-python\.pkg\.dev")
_SERVICE = "artifactregistry.googleapis.com"
_SIMPLE = re.compile(r"/([^/]+)/([^/]+)/simple/(?:([^/]+)/?)?")
_FILE = re.compile(r"/(?:artifacts-downloads/)?([^/]+)/([^/]+)/([^/]+)/([0-9a-f]{64})/([^/]+)")
_UPLOAD = re.compile(r"/([^/]+)/([^/]+)/?")
# Nothing else may become part of an upstream's URL.
_PACKAGE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_CHUNK = 1 << 20


class PackageIndex:
    """The HTTP application of every `LOCATION-python.pkg.dev`."""

    def __init__(
        self, registry: Registry, policies: Policies, identity: Identity, gate: Gate, upstreams: Upstreams
    ) -> None:
        self._registry = registry
        self._policies = policies
        self._identity = identity
        self._gate = gate
        self._upstreams = upstreams

    async def answer(self, request: Request) -> Answer:
        """Answer one request; errors are plain text, as package tools show them."""
        try:
            return await self._answer(request)
        except ApiError as error:
            headers = {"www-authenticate": 'Basic realm="Artifact Registry"'} if error.http_status == 401 else {}
            if error.retry_after is not None:
                headers["retry-after"] = str(error.retry_after)
            return text_answer(error.message, error.http_status, headers)

    async def _answer(self, request: Request) -> Answer:
        principal = self._principal(request)
        host = HOST.fullmatch(str(request.connection.host))
        assert host is not None
        location = host.group(1)
        upload = _UPLOAD.fullmatch(request.raw_path)
        if request.verb == "POST" and upload is not None:
            repository = _repository(location, *upload.groups())
            return await self._gate.enter(
                "Python-UploadPackage", principal, repository, lambda: self._upload(request, principal, repository)
            )
        if request.verb not in {"GET", "HEAD"}:
            raise ApiError("UNIMPLEMENTED", "Method Not Allowed", http_status=405)
        simple = _SIMPLE.fullmatch(request.raw_path)
        if simple is not None:
            repository, package = _repository(location, *simple.groups()[:2]), simple.group(3)
            if package is None or not _PACKAGE.fullmatch(unquote(package)):
                raise ApiError("NOT_FOUND", "Not Found")
            method = "Python-PackageVersions" if request.verb == "GET" else "Python-HeadPackageVersions"
            return await self._gate.enter(
                method, principal, repository, lambda: self._index(principal, repository, unquote(package))
            )
        file = _FILE.fullmatch(request.raw_path)
        if file is None:
            raise ApiError("NOT_FOUND", "Not Found")
        repository = _repository(location, *file.groups()[:2])
        if not request.raw_path.startswith("/artifacts-downloads/"):
            self._allow(principal, "downloadArtifacts", repository)
            return Answer(302, headers={"location": f"/artifacts-downloads{request.raw_path}"})
        method = "Python-InstallPackage" if request.verb == "GET" else "Python-HeadFile"
        digest, name = file.group(4), unquote(file.group(5))
        return await self._gate.enter(
            method, principal, repository, lambda: self._download(request, principal, repository, digest, name)
        )

    def _principal(self, request: Request) -> Principal | None:
        header = request.header("authorization")
        if header is None and request.connection.account is not None:
            return Principal(request.connection.account)
        return self._identity.basic_or_bearer(header, host=str(request.connection.host))

    def _allow(self, principal: Principal | None, permission: str, repository: str) -> Any:
        full = f"artifactregistry.repositories.{permission}"
        text = f'Permission "{full}" denied on resource "{repository}" (or it may not exist)'
        self._policies.require(principal, full, repository, service=_SERVICE, message=text)
        found = self._registry.repositories.get(repository)
        if found is None or found.format_ != ar.Repository.Format.PYTHON:
            raise ApiError("NOT_FOUND", f'Repository "{repository}" not found')
        return found

    # Index and downloads

    async def _index(self, principal: Principal | None, repository: str, package: str) -> Answer:
        record = self._allow(principal, "downloadArtifacts", repository)
        links = await self._upstreams.links(record, canonicalize_name(package))
        if not links:
            raise ApiError("NOT_FOUND", f'Package "{package}" not found')
        project, identifier = repository.split("/")[1], repository.split("/")[5]
        lines = []
        for link in links:
            path = f"/{project}/{identifier}/{canonicalize_name(package)}/{link.sha256}/{quote(link.filename)}"
            python = f' data-requires-python="{html.escape(link.requires_python)}"' if link.requires_python else ""
            lines.append(f'    <a href="{path}#sha256={link.sha256}"{python}>{html.escape(link.filename)}</a><br/>')
        title = f"Links for {html.escape(package)}"
        head = '<meta name="pypi:repository-version" content="1.0">'
        body = f"<!DOCTYPE html>\n<html>\n  <head>{head}<title>{title}</title></head>\n  <body>\n    <h1>{title}</h1>\n"
        return text_answer(body + "\n".join(lines) + "\n  </body>\n</html>\n", html=True)

    async def _download(
        self, request: Request, principal: Principal | None, repository: str, digest: str, filename: str
    ) -> Answer:
        record = self._allow(principal, "downloadArtifacts", repository)
        path = await self._upstreams.file(record, digest, filename)
        if path is None:
            raise ApiError("NOT_FOUND", f'File "{filename}" not found')
        return file_answer(path, request.header("range"), "application/octet-stream", {})

    # Upload

    async def _upload(self, request: Request, principal: Principal | None, repository: str) -> Answer:
        record = self._allow(principal, "uploadArtifacts", repository)
        if record.mode != ar.Repository.Mode.STANDARD_REPOSITORY:
            mode = ar.Repository.Mode(record.mode).name
            raise ApiError("INVALID_ARGUMENT", f"Cannot upload artifacts to a repository of mode {mode}.")
        # Starlette's parser writes the file part to disk as it arrives.
        form_request = FormRequest(request.scope, request.receive)
        try:
            async with form_request.form(max_fields=5000, max_part_size=16 << 20) as form:
                self._take(repository, form)
        except ClientDisconnect as error:  # in the middle of its body: nothing is kept
            raise ConnectionCut from error
        except (MultiPartException, FormParserError) as error:  # an older Starlette passes on what its parser says
            raise ApiError("INVALID_ARGUMENT", f"Invalid upload: {error}") from error
        except AssertionError as error:
            raise ApiError("INVALID_ARGUMENT", "Invalid upload: not multipart/form-data.") from error
        return text_answer("")

    def _take(self, repository: str, form: FormData) -> None:
        fields = {name: value for name, value in form.multi_items() if isinstance(value, str)}
        content = next((value for name, value in form.multi_items() if name == "content"), None)
        if content is None or isinstance(content, str):
            raise ApiError("INVALID_ARGUMENT", "Invalid upload: the field 'content' must be a file.")
        if fields.get(":action") != "file_upload":
            raise ApiError("INVALID_ARGUMENT", "Invalid upload: ':action' must be 'file_upload'.")
        filename = content.filename or ""
        package, version = _named(filename)
        if canonicalize_name(fields.get("name", "")) != package:
            raise ApiError("INVALID_ARGUMENT", f"The name {fields.get('name')!r} does not match the file {filename!r}.")
        if _version(fields.get("version", "")) != version:
            text = f"The version {fields.get('version')!r} does not match the file {filename!r}."
            raise ApiError("INVALID_ARGUMENT", text)
        blob, path = self._registry.blobs.new()
        sha256, md5, size = _copy(content, path)
        try:
            if fields.get("sha256_digest", sha256).lower() != sha256:
                raise ApiError("INVALID_ARGUMENT", f"The file's SHA-256 is {sha256}, not {fields['sha256_digest']}.")
            python = fields.get("requires_python", "")
            record = Content(blob, filename, package, str(version), sha256, size, python)
            self._registry.add(repository, record, md5=md5, summary=fields.get("summary", ""))
        except ApiError as error:
            path.unlink()
            if error.code == "ALREADY_EXISTS":
                # The status is 400, not 409 (twine knows this of Artifact Registry).
                raise ApiError("ALREADY_EXISTS", error.message, http_status=400) from error
            raise


def _repository(location: str, project: str, identifier: str) -> str:
    return f"projects/{unquote(project)}/locations/{location}/repositories/{unquote(identifier)}"


def _named(filename: str) -> tuple[str, Version]:
    """Project and version by the file's name, which must be a wheel's or a source distribution's."""
    try:
        if filename.endswith(".whl"):
            name, version, _, _ = parse_wheel_filename(filename)
        else:
            name, version = parse_sdist_filename(filename)
    except (InvalidWheelFilename, InvalidSdistFilename, InvalidVersion) as error:
        raise ApiError("INVALID_ARGUMENT", f"Invalid file name {filename!r}: {error}") from error
    if re.search(r"[/\\\x00-\x1f%]", filename):
        raise ApiError("INVALID_ARGUMENT", f"Invalid file name {filename!r}.")
    return str(name), version


def _version(text: str) -> Version | None:
    try:
        return Version(text)
    except InvalidVersion:
        return None


def _copy(content: UploadFile, path: Path) -> tuple[str, bytes, int]:
    """Write the part's file to the blob; its SHA-256, MD5 and size."""
    sha256, md5, size = hashlib.sha256(), hashlib.md5(usedforsecurity=False), 0
    with path.open("wb") as target:
        while piece := content.file.read(_CHUNK):
            sha256.update(piece)
            md5.update(piece)
            size += len(piece)
            target.write(piece)
    return sha256.hexdigest(), md5.digest(), size
