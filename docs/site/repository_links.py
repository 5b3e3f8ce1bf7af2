"""Links of the pages to files of the repository become the files' names: the site has no copy."""

import re
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[1]
_LINK = re.compile(r"\[(?P<text>[^\]]+)\]\((?P<target>[^)#\s:]+)(?:#[^)]*)?\)")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Return the page with links that lead out of docs/, or to a folder, as code."""
    folder = (DOCS / page.file.src_uri).parent

    def replaced(link: re.Match[str]) -> str:
        target = (folder / link["target"]).resolve()
        if target.is_relative_to(DOCS) and not target.is_dir():
            return link[0]
        if not target.exists():
            return link[0]
        shown = target.relative_to(DOCS.parent).as_posix()
        text = link["text"].strip("`")
        return f"`{shown}`" if text in shown or shown in text else f"{link['text']} (`{shown}`)"

    return _LINK.sub(replaced, markdown)
