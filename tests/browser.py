"""A headless Chromium for tests of pages: what a page says in its console and asks of the network is kept."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

#: Names of a system's Chromium, the first that is there is used.
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@dataclass
class Watched:
    """A page and what it did.

    Attributes:
        page: Playwright's page.
        errors: errors of the console, and exceptions that no script caught.
        requests: addresses that the page asked for, its own first.
    """

    page: Page
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    @property
    def outside(self) -> list[str]:
        """Requests that leave the machine's disk: neither a file nor data within the page."""
        return [url for url in self.requests if not url.startswith(("file:", "data:", "blob:"))]


OpenPage = Callable[..., Watched]


def system_browser() -> str | None:
    """The path of a Chromium that this system has."""
    return next(filter(None, map(shutil.which, NAMES)), None)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless Chromium; without one tests are skipped, but fail where CI is set.

    Of a module, because while Playwright runs no other asyncio loop can be started in this thread.
    """
    path = system_browser()
    if path is None:
        reason = f"no Chromium on the path (looked for {', '.join(NAMES)})"
        if os.environ.get("CI"):
            pytest.fail(f"{reason}; scripts/browser.sh installs one", pytrace=False)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        # Containers run as root, where Chromium's sandbox does not start, and have a small /dev/shm.
        started = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield started
        started.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenPage]:
    """Opens watched pages: `open_page(address, width=390, height=844, **options of Browser.new_context)`."""
    with ExitStack() as contexts:

        def opened(address: str, width: int = 1280, height: int = 900, **options: Any) -> Watched:
            context = browser.new_context(viewport={"width": width, "height": height}, **options)
            contexts.callback(context.close)
            watched = Watched(context.new_page())
            watched.page.on("console", lambda m: watched.errors.append(m.text) if m.type == "error" else None)
            watched.page.on("pageerror", lambda error: watched.errors.append(str(error)))
            watched.page.on("request", lambda request: watched.requests.append(request.url))
            watched.page.goto(address)
            return watched

        yield opened
