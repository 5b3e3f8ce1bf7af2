"""The pages for people: the search page and the documentation of the API, from our own files."""

from pathlib import Path

from fastapi import APIRouter, FastAPI
from fastapi.responses import FileResponse
from starlette.staticfiles import StaticFiles

__all__ = ["install_pages"]

SEARCH_PAGE = Path(__file__).parent.parent / "page"
DOCS_PAGE = Path(__file__).parent.parent / "docs_page"
# Asked for again with every visit, answered by 304 while it is the same.
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


def install_pages(app: FastAPI) -> None:
    """Serve both pages and the files that belong to them."""
    app.include_router(router)
    app.mount("/page", StaticFiles(directory=SEARCH_PAGE))
    app.mount("/docs", StaticFiles(directory=DOCS_PAGE))
