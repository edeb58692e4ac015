"""Where the sandbox stops pretending: images that pip builds and the Airflow that runs in them.

The two modules behind this are handed in, so that tests of the Composer service need no pip and no Airflow.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

from ..clock import CLOCK

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from pathlib import Path

    from ..identity import Identity


class BuildResult(Protocol):
    """How a build ended."""

    @property
    def succeeded(self) -> bool:
        """True when the image is good."""

    @property
    def error(self) -> str | None:
        """A short reason in Google's words, or None."""

    @property
    def conflict(self) -> bool:
        """True when it failed because packages contradict each other."""


class Airflow(Protocol):
    """The Airflow of one environment."""

    async def handle(
        self, method: str, path: str, query: Mapping[str, str], body: object | None, *, image: Path, dags: Path
    ) -> tuple[int, object]:
        """One request to its REST API."""

    async def command(
        self,
        arguments: Sequence[str],
        *,
        image: Path,
        dags: Path,
        on_line: Callable[[str], None] | None = None,
        on_start: Callable[[Process], None] | None = None,
    ) -> tuple[int, str]:
        """One `airflow` command: exit code and output; lines and the process are handed over as they come."""

    async def schedule(self, image: Path, dags: Path) -> None:
        """Start the scheduler and the triggerer, when it has its own and they do not run."""

    @property
    def scheduled_from(self) -> Path | None:
        """The DAG folder of its running scheduler; None when it has none."""

    async def close(self) -> None:
        """End its processes."""


class Images(Protocol):
    """The module `images`."""

    async def create_image(self, folder: Path) -> None:
        """An empty image."""

    async def build_image(
        self,
        folder: Path,
        *,
        requirements: Mapping[str, str],
        pip_conf: bytes | None,
        proxy_url: str,
        ca_file: Path,
        log: Callable[[str], None],
        timeout: float,
    ) -> Any:
        """An image with packages."""

    async def installed_packages(self, folder: Path) -> dict[str, str]:
        """What `pip list` prints."""


class Reality:
    """Builds images and keeps one Airflow per environment."""

    def __init__(
        self,
        images: Images,
        make_airflow: Callable[[str], Airflow],
        identity: Identity,
        *,
        port: Callable[[], int],
        ca_file: Path,
    ) -> None:
        self._images = images
        self._make_airflow = make_airflow
        self._identity = identity
        self._port = port
        self._ca_file = ca_file
        self._airflows: dict[str, Airflow] = {}

    async def create_image(self, folder: Path) -> None:
        """An image without packages of its own."""
        await self._images.create_image(folder)

    async def build(
        self,
        folder: Path,
        *,
        account: str,
        requirements: Mapping[str, str],
        pip_conf: bytes | None,
        log: Callable[[str], None],
    ) -> BuildResult:
        """Build an image with pip, as `account`."""
        async with self._proxy_url(account) as proxy_url:
            result: BuildResult = await self._images.build_image(
                folder,
                requirements=requirements,
                pip_conf=pip_conf,
                proxy_url=proxy_url,
                ca_file=self._ca_file,
                log=log,
                timeout=CLOCK.build_timeout_seconds,
            )
        return result

    @asynccontextmanager
    async def _proxy_url(self, account: str) -> AsyncIterator[str]:
        user, secret = self._identity.proxy_user(account)
        try:
            yield f"http://{user}:{quote(secret, safe='')}@127.0.0.1:{self._port()}"
        finally:
            self._identity.forget_proxy_user(user)

    async def installed_packages(self, image: Path) -> dict[str, str]:
        """Name to version of everything that the image has."""
        return await self._images.installed_packages(image)

    def airflow(self, environment: str) -> Airflow:
        """The Airflow of an environment, made when it is first needed."""
        if environment not in self._airflows:
            self._airflows[environment] = self._make_airflow(environment)
        return self._airflows[environment]

    async def end(self, environment: str) -> Path | None:
        """End the environment's processes; the next request starts them on the image of then.

        Returns the DAG folder of the scheduler that ran, for `resume`.
        """
        airflow = self._airflows.pop(environment, None)
        if airflow is None:
            return None
        dags = airflow.scheduled_from
        await airflow.close()
        return dags

    async def resume(self, environment: str, image: Path, dags: Path | None) -> None:
        """Start the scheduler again that `end` ended: what was deferred or queued there goes on without a request."""
        if dags is not None:
            await self.airflow(environment).schedule(image, dags)

    async def close(self) -> None:
        """End every process."""
        for environment in list(self._airflows):
            await self.end(environment)
