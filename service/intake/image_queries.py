"""The picture that a JSON body searches with: its bytes, an indexed image, or a URL to fetch."""

from model.errors import UnreadablePictureError
from service.errors import (
    BadPicture,
    BadPicturesError,
    FetchTooLargeError,
    UrlNotAllowedError,
    UrlUnreachableError,
)
from service.intake.remote_pictures import PictureFetcher
from service.problems import QUERY_ERRORS, Problem, ProblemItem
from service.schemas import ImageQuery
from service.searches.queries import IndexedImageQuery, PictureQueries, Queries, Upload

__all__ = ["image_queries"]


async def image_queries(
    image: ImageQuery, fetcher: PictureFetcher, *, max_pixels: int, where: str = "image"
) -> Queries:
    """Return the query that `image` stands for; a URL has been fetched by then.

    Args:
        image: One source of a picture.
        fetcher: Fetches it, where it is a URL.
        max_pixels: The largest picture that is decoded.
        where: Its place in the request, such as `parts[0].image`.

    Raises:
        Problem: The URL is not allowed, or nothing is to be had there.
        BadPicturesError: What is at the URL is no picture.
    """
    if image.id is not None:
        return IndexedImageQuery(image.id)
    if image.url is not None:
        where = f"{where}.url"
        content = await _fetched(image.url, fetcher, where)
    else:
        where = f"{where}.base64"
        content = image.base64 or b""
    return PictureQueries([Upload(where, content)], max_pixels)


async def _fetched(url: str, fetcher: PictureFetcher, where: str) -> bytes:
    # Not admitted yet: what waits for a stranger's server takes no place from other queries.
    try:
        return await fetcher.fetch(url)
    except UnreadablePictureError as error:
        raise BadPicturesError([BadPicture.of(where, error)]) from error
    except (UrlNotAllowedError, UrlUnreachableError, FetchTooLargeError) as error:
        code = QUERY_ERRORS[type(error)]
        item = ProblemItem(where=where, code=code, message=str(error))
        raise Problem(code, f"{where}: {error}", errors=[item]) from error
