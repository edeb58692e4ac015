"""Images of environments that are played, for what needs many of them quickly: no pip, no virtual environment."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

BROKEN = "broken"
"""In a package's name: its build fails."""
_BASE = {"pip": "25.0", "apache-airflow": "3.1.8"}
_NOT_FOUND = "ERROR: Could not find a version that satisfies the requirement {0} (from versions: none)"


@dataclass(frozen=True)
class Built:
    """How a played build ended."""

    succeeded: bool = True
    error: str | None = None
    conflict: bool = False


class PlayedImages:
    """Images that are a file each: what is declared is what is installed."""

    async def create_image(self, folder: Path) -> None:
        """An image without packages."""
        self._write(folder, {})

    async def build_image(
        self, folder: Path, *, requirements: Mapping[str, str], log: Callable[[str], None], **_: object
    ) -> Built:
        """An image with packages; nothing is downloaded."""
        broken = [f"{name}{value}" for name, value in requirements.items() if BROKEN in name]
        if broken:
            log(_NOT_FOUND.format(broken[0]))
            return Built(succeeded=False, error=_NOT_FOUND.format(broken[0]))
        self._write(folder, {name: value.rpartition("==")[2] for name, value in requirements.items()})
        log("played: no pip ran")
        return Built()

    async def installed_packages(self, folder: Path) -> dict[str, str]:
        """What `pip list` would print."""
        return packages_of(folder)

    def _write(self, folder: Path, packages: Mapping[str, str]) -> None:
        folder.mkdir(parents=True)
        (folder / "packages.json").write_text(json.dumps({**_BASE, **packages}))


def packages_of(image: Path) -> dict[str, str]:
    """What a played image has."""
    found: dict[str, str] = json.loads((image / "packages.json").read_text())
    return found
