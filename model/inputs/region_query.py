"""The region features of a query: the bytes of an npy file, refused by its header.

Nothing of the size that a header claims is allocated before the header agrees with the bytes, and
nothing is ever unpickled.
"""

import io
import math

import numpy as np
import numpy.typing as npt

from model.errors import RegionFeatureError
from model.inputs.regions import count_regions, is_feature_type

__all__ = ["MAX_REGIONS", "read_query_regions"]

MAX_REGIONS = 256
_SHOWN_CHARACTERS = 60
_HEADER_READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read_query_regions(content: bytes, *, region_dim: int) -> npt.NDArray[np.float32]:
    """Return the real regions (region, region_dim) of one image, from the bytes of an npy file.

    Args:
        content: A whole file: header and values.
        region_dim: The width that the encoder reads.

    Raises:
        RegionFeatureError: Not an npy file, objects, wrong type, shape or width, more than
            `MAX_REGIONS` regions, a header that disagrees with the bytes, NaN or infinity, or
            nothing but zeros.
    """
    shape, is_fortran, dtype, start = _read_header(content)
    if dtype.hasobject:
        raise RegionFeatureError("an array of objects is never read; send float32 values")
    if not is_feature_type(dtype):
        raise RegionFeatureError(f"the array holds {dtype}; send float32 (or float16, float64)")
    if len(shape) != 2 or shape[1] != region_dim:
        raise RegionFeatureError(
            f"the array has shape {_shown(shape)}; this checkpoint expects (region, {region_dim})"
        )
    if not 1 <= shape[0] <= MAX_REGIONS:
        raise RegionFeatureError(
            f"the array has {_shown(shape[0])} regions; send 1 to {MAX_REGIONS}"
        )
    expected, found = math.prod(shape) * dtype.itemsize, len(content) - start
    if expected != found:
        raise RegionFeatureError(
            f"the header says {expected:,} bytes of values, the body holds {found:,}"
        )
    values = np.frombuffer(content, dtype, offset=start).reshape(
        shape, order="F" if is_fortran else "C"
    )
    with np.errstate(over="ignore", invalid="ignore"):  # what is too large is refused below
        features = np.array(values, dtype=np.float32, order="C")
    if not np.isfinite(features).all():
        raise RegionFeatureError("the array holds NaN or infinity")
    count = int(count_regions(features[None])[0])
    if not count:
        raise RegionFeatureError("every region is zero; zeros at the end are padding")
    return features[:count]


def _read_header(content: bytes) -> tuple[tuple[int, ...], bool, np.dtype, int]:
    """Return (shape, Fortran order, type, where the values start) of an npy file."""
    file = io.BytesIO(content)
    try:
        read_header = _HEADER_READERS[np.lib.format.read_magic(file)]
        shape, is_fortran, dtype = read_header(file)
    # A hostile header makes numpy's parser raise more kinds than its documentation names.
    except Exception as error:
        raise RegionFeatureError(
            "the body is no .npy file of version 1 or 2; write it with numpy.save"
        ) from error
    return shape, is_fortran, dtype, file.tell()


def _shown(value: object) -> str:
    """Return a part of a header for people, however long it is."""
    text = str(value) if not isinstance(value, int) or abs(value) < 10**12 else "too many"
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."
