"""The README's picture of the search page, taken from a running service.

make demo                              # in another terminal
python -m tests.browser.screenshot --query "a red circle"
"""

import io
import sys
from pathlib import Path
from typing import ClassVar

from PIL import Image
from pydantic import Field

from model import console
from model.command_line import Command, run_command
from tests.browser.chromium import open_chromium

SIZE = {"width": 1120, "height": 640}


class Screenshot(Command):
    """Search on the page of a running service and keep a small picture of it."""

    examples: ClassVar[tuple[str, ...]] = ("python -m tests.browser.screenshot",)

    url: str = Field(default="http://127.0.0.1:8000", description="address of the service")
    query: str = Field(default="a red circle", description="sentence to search with")
    output: Path = Field(
        default=Path("docs/images/search-page.png"), description="the picture to write"
    )

    def run(self) -> None:
        """Search, wait for the pictures, write the screenshot with 256 colours."""
        with open_chromium() as browser:
            page = browser.new_page(viewport=SIZE)
            page.goto(self.url)
            page.fill("#query", self.query)
            page.press("#query", "Enter")
            page.locator("#hits > li").first.wait_for()
            page.wait_for_load_state("networkidle")
            shown = Image.open(io.BytesIO(page.screenshot(animations="disabled")))
        self.output.parent.mkdir(parents=True, exist_ok=True)
        small = shown.convert("RGB").quantize(256, dither=Image.Dither.FLOYDSTEINBERG)
        small.save(self.output, optimize=True)
        console.say(f"wrote  {self.output}  ({self.output.stat().st_size / 1000:.0f} kB)")


if __name__ == "__main__":
    sys.exit(run_command("python -m tests.browser.screenshot", Screenshot))
