"""The pages for people: the search page and the documentation of the API, from our own files."""

from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles

__all__ = ["install_pages"]

SEARCH_PAGE = Path(__file__).parent.parent / "page"
DOCS_PAGE = Path(__file__).parent.parent / "docs_page"
# Asked for again with every visit, answered by 304 while it is the same: a browser never mixes
# the files of two releases.
REVALIDATE = {"Cache-Control": "no-cache"}

router = APIRouter(include_in_schema=False)


@router.api_route("/", methods=["GET", "HEAD"])
async def read_search_page() -> FileResponse:
    """Return the search page."""
    return FileResponse(SEARCH_PAGE / "index.html", headers=REVALIDATE)


@router.api_route("/docs", methods=["GET", "HEAD"])
async def read_docs_page() -> FileResponse:
    """Return the documentation of the API."""
    return FileResponse(DOCS_PAGE / "index.html", headers=REVALIDATE)


class _PageFiles(StaticFiles):
    """The files of a page."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        """Return the file, or 304 if the browser has it."""
        response = super().file_response(*args, **kwargs)
        response.headers.update(REVALIDATE)
        return response


def install_pages(app: FastAPI) -> None:
    """Serve both pages and the files that belong to them."""
    app.include_router(router)
    app.mount("/page", _PageFiles(directory=SEARCH_PAGE))
    app.mount("/docs", _PageFiles(directory=DOCS_PAGE))
