"""Which package indexes this machine's pip uses: read from pip when they are first needed, never written down."""

from __future__ import annotations

import ast
import asyncio
import os
import sys
from urllib.parse import urlsplit

_URL_OPTIONS = ("index-url", "extra-index-url", "find-links")
# pip's own default, from pip itself.
_DEFAULT = (
    "from pip._internal.models.index import PyPI as i; print(i.simple_url); print('https://' + i.file_storage_domain)"
)


class Indexes:
    """The index URLs of this machine's pip, and their hosts."""

    def __init__(self, allowed: tuple[str, ...] = ()) -> None:
        self._allowed = frozenset(host.lower() for host in allowed)
        self._reading: asyncio.Task[list[tuple[str, str]]] | None = None

    async def tunnels(self, host: str) -> bool:
        """True when connections to `host` may leave the sandbox."""
        # Without asking pip first when a host is allowed by name.
        return host in self._allowed or host in await self.hosts()

    async def hosts(self) -> frozenset[str]:
        """Every host that connections may go to."""
        options = await self._options()
        named = {urlsplit(url).hostname or "" for option, url in options if option != "trusted-host"}
        trusted = {url.partition(":")[0] for option, url in options if option == "trusted-host"}
        return (self._allowed | named | trusted) - {""}

    async def index_url(self) -> str:
        """The index that stands in for the public one."""
        options = await self._options()
        return next(url for option, url in options if option in {"index-url", "default"})

    async def _options(self) -> list[tuple[str, str]]:
        if self._reading is None:
            self._reading = asyncio.get_running_loop().create_task(self._read())
        return await asyncio.shield(self._reading)

    async def _read(self) -> list[tuple[str, str]]:
        options: list[tuple[str, str]] = []
        for line in (await _python("-m", "pip", "config", "list")).splitlines():
            name, _, value = line.partition("=")
            option = name.rpartition(".")[2]
            if option in {*_URL_OPTIONS, "trusted-host"}:
                options.extend((option, word) for word in str(ast.literal_eval(value)).split())
        options = [(option, word) for option, word in options if option == "trusted-host" or "://" in word]
        if not any(option == "index-url" for option, _ in options):
            options.extend(("default", url) for url in (await _python("-c", _DEFAULT)).split())
        return options


async def _python(*arguments: str) -> str:
    environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, stdout=asyncio.subprocess.PIPE, env=environment, start_new_session=True
    )
    output, _ = await process.communicate()
    return output.decode()
