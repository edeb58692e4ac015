"""Chromium as the pictures and the browser tests start it: headless, with a new profile, and on this machine only."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from playwright.sync_api import sync_playwright

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, BrowserContext

PROGRAM = Path("/usr/bin/chromium")
"""Where Debian's package `chromium` puts it."""
FLAGS = (
    "--headless",
    "--no-sandbox",  # in a container Chromium's own sandbox finds no user namespaces
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-proxy-server",
    # No name but the loopback's is looked up: a page that wants something of another host does not get it.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
)
SIZE = {"width": 1440, "height": 900}
TIMEOUT = 180_000
"""Milliseconds for which Playwright waits for what has to appear: the machine may have much else to do."""


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser; its profile is made for it, and deleted with it. Raises FileNotFoundError without Chromium."""
    if not PROGRAM.exists():
        raise FileNotFoundError(f"there is no {PROGRAM}: install Debian's package chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=PROGRAM, args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()


def visitor(browser: Browser, *, scale: float = 1) -> BrowserContext:
    """Somebody who is not logged in; a visitor's cookies are nobody else's."""
    context = browser.new_context(
        viewport={"width": SIZE["width"], "height": SIZE["height"]},
        device_scale_factor=scale,
        locale="en-GB",
        timezone_id="UTC",
        reduced_motion="reduce",
        permissions=[],
    )
    context.set_default_timeout(TIMEOUT)
    context.set_default_navigation_timeout(TIMEOUT)
    return context
