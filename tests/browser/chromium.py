"""The machine's own Chromium, and what a page that it shows must never do."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page, Request, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
TIMEOUT_MS = 30_000


def find_chromium() -> str:
    """Return the path of a Chromium; without one, skip loudly, or fail where CI=true."""
    for name in NAMES:
        if path := shutil.which(name):
            return path
    message = (
        "NO BROWSER: the search page was NOT tested; install Chromium "
        f"(Debian: apt-get install chromium), one of {', '.join(NAMES)} on the PATH"
    )
    if os.environ.get("CI", "").lower() in ("1", "true"):
        pytest.fail(message)
    pytest.skip(message)


@contextmanager
def open_chromium(*more_arguments: str) -> Iterator[Browser]:
    """Yield a Chromium with a profile of its own."""
    path = find_chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=[*ARGUMENTS, *more_arguments]
        )
        yield browser
        browser.close()


class Watched:
    """What a page did behind the picture: lines on its console, requests it made.

    `expected` are parts of console lines that a test provokes on purpose.
    """

    def __init__(self, page: Page, home: str) -> None:
        self.home = home
        self.expected: list[str] = []
        self.lines: list[str] = []
        self.requests: list[Request] = []
        page.on("console", lambda line: self.lines.append(f"{line.type}: {line.text}"))
        page.on("pageerror", lambda error: self.lines.append(f"uncaught: {error}"))
        page.on("request", lambda request: self.requests.append(request))

    def check(self) -> None:
        """Refuse unexpected console lines (a CSP violation is one) and any foreign address."""
        lines = [line for line in self.lines if not any(part in line for part in self.expected)]
        assert not lines, lines
        local = (self.home, "blob:" + self.home, "data:")
        foreign = [request.url for request in self.requests if not request.url.startswith(local)]
        assert not foreign, foreign
