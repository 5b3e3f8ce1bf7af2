"""Both pages with the network cut: nothing is asked of anybody else, and no policy is broken.

Names of the outside do not resolve for this browser, and every request that is not for the service
is stopped and counted on its way.
"""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.browser.chromium import TIMEOUT_MS, open_chromium
from tests.live_service import Service

pytestmark = pytest.mark.browser

CUT = ("--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",)
REMEMBER_VIOLATIONS = """
    window.violations = [];
    document.addEventListener("securitypolicyviolation", (event) =>
        window.violations.push(`${event.effectiveDirective} ${event.blockedURI}`));
"""


@pytest.fixture(scope="module")
def cut_chromium() -> Iterator[Browser]:
    with open_chromium(*CUT) as browser:
        yield browser


class Visit:
    """A page, what it wanted from elsewhere, and what it said on the console."""

    def __init__(self, page: Page, home: str) -> None:
        self.page = page
        self.attempts: list[str] = []
        self.console: list[str] = []
        page.add_init_script(REMEMBER_VIOLATIONS)
        page.on("console", lambda line: self.console.append(f"{line.type}: {line.text}"))
        page.on("pageerror", lambda error: self.console.append(f"uncaught: {error}"))

        def pass_on(route: Route) -> None:
            if route.request.url.startswith((home, "data:", "blob:")):
                route.continue_()
            else:
                self.attempts.append(route.request.url)
                route.abort()

        page.context.route("**/*", pass_on)

    def check(self) -> None:
        assert self.attempts == []
        assert self.page.evaluate("window.violations") == []
        assert self.console == []


@pytest.fixture
def visit(cut_chromium: Browser, service: Service) -> Iterator[Visit]:
    context = cut_chromium.new_context(base_url=service.url)
    context.set_default_timeout(TIMEOUT_MS)
    visit = Visit(context.new_page(), service.url)
    yield visit
    context.close()


def test_the_search_page_needs_nobody_else(visit: Visit) -> None:
    page = visit.page
    answer = page.goto("/")
    assert answer is not None
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "script-src 'self';" in policy
    assert "unsafe" not in policy
    page.fill("#query", "a red circle")
    page.press("#query", "Enter")
    expect(page.locator("#hits > li").first).to_be_visible()
    assert page.locator("#hits img").first.evaluate("i => i.decode().then(() => i.naturalWidth)")
    page.wait_for_load_state("networkidle")
    visit.check()


def test_the_documentation_needs_nobody_else(visit: Visit) -> None:
    page = visit.page
    answer = page.goto("/docs")
    assert answer is not None
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "script-src 'self';" in policy
    page.locator(".opblock-summary").first.click()
    page.get_by_role("button", name="Try it out").first.click()
    page.get_by_role("button", name="Execute", exact=True).first.click()
    answer = page.locator(".live-responses-table .response .response-col_status")
    expect(answer.first).to_contain_text("200")
    page.wait_for_load_state("networkidle")
    visit.check()


def test_what_is_asked_of_others_would_be_seen(visit: Visit) -> None:
    """The two tests above can fail: a picture and a script from elsewhere are noticed."""
    visit.page.goto("/")
    visit.page.evaluate("""() => {
        const image = document.createElement("img");
        image.src = "https://example.org/a.png";
        document.body.append(image);
    }""")
    visit.page.wait_for_function("window.violations.length > 0")
    assert any("example.org" in line for line in visit.console)
    visit.page.goto("about:blank")
    visit.page.evaluate("fetch('https://example.org/').catch(() => null)")
    assert visit.attempts == ["https://example.org/"]
