"""Region features of a query: what numpy.save wrote comes back, anything else is refused early."""

import io
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.errors import RegionFeatureError
from model.inputs.region_query import MAX_REGIONS, read_query_regions

DIM = 6


def npy(array: np.ndarray, *, version: tuple[int, int] = (1, 0)) -> bytes:
    content = io.BytesIO()
    np.lib.format.write_array(content, array, version=version)
    return content.getvalue()


def rows(count: int, dtype: str = "<f4") -> np.ndarray:
    return np.random.default_rng(0).uniform(0.1, 1, (count, DIM)).astype(dtype)


def header(text: str, values: bytes = b"") -> bytes:
    padded = text.encode() + b" " * (53 - len(text) % 16) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(padded)) + padded + values


def claim(descr: str, shape: str, *, fortran: bool = False) -> str:
    return f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}"


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f2", "<f8", ">f8"])
@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
@pytest.mark.parametrize("count", [1, 36, MAX_REGIONS])
def test_what_was_saved_comes_back_as_float32(
    dtype: str, version: tuple[int, int], count: int
) -> None:
    array = rows(count, dtype)
    for order in (array, np.asfortranarray(array)):
        found = read_query_regions(npy(order, version=version), region_dim=DIM)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, array.astype(np.float32))


def test_rows_of_zeros_at_the_end_are_padding() -> None:
    array = rows(5)
    array[1] = array[3:] = 0
    np.testing.assert_array_equal(read_query_regions(npy(array), region_dim=DIM), array[:3])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", r"no \.npy file"),
        (b"\x93NUMPY", r"no \.npy file"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), r"no \.npy file"),
        (b"\x93NUMPY\x03\x00" + bytes(100), r"no \.npy file"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff{", r"no \.npy file"),
        (header("{'descr': '<f4'"), r"no \.npy file"),
        (header("(" * 5000), r"no \.npy file"),
        (header("-" * 9000 + "1"), r"no \.npy file"),
        (header("__import__('os').system('false')"), r"no \.npy file"),
        (header(claim("'<f4'", "(-1, 6)")), "send 1 to 256"),
        (header(claim("'<f4'", "(0, 6)")), "send 1 to 256"),
        (header(claim("'<f4'", f"({10**30}, 6)")), "too many regions; send 1 to 256"),
        (header(claim("'<f4'", "(257, 6)")), "257 regions; send 1 to 256"),
        (header(claim("'<f4'", "(2, 7)")), r"shape \(2, 7\); this checkpoint expects \(region, 6"),
        (header(claim("'<f4'", "(12,)")), r"shape \(12,\)"),
        (header(claim("'<f4'", "(1, 2, 6)")), r"shape \(1, 2, 6\)"),
        (header(claim("'<f4'", "(2, 6)"), bytes(47)), "48 bytes of values, the body holds 47"),
        (header(claim("'<f4'", "(2, 6)"), bytes(49)), "48 bytes of values, the body holds 49"),
        (header(claim("'|O'", "(2, 6)"), bytes(96)), "an array of objects is never read"),
        (header(claim("[('a', '|O')]", "(2, 6)"), bytes(96)), "array of objects is never read"),
        (header(claim("'<i4'", "(2, 6)"), bytes(48)), "holds int32; send float32"),
        (header(claim("'<c8'", "(2, 6)"), bytes(96)), "holds complex64"),
        (header(claim("'|V1000000000'", "(2, 6)")), "send float32"),
        (header(claim("'<f4'", "(2, 6)"), bytes(48)), "every region is zero"),
        (npy(np.full((2, DIM), np.nan, np.float32)), "NaN or infinity"),
        (npy(np.full((2, DIM), 1e300)), "NaN or infinity"),
    ],
)
def test_what_is_no_region_array_is_refused(content: bytes, said: str) -> None:
    with pytest.raises(RegionFeatureError, match=said) as told:
        read_query_regions(content, region_dim=DIM)
    assert len(str(told.value)) < 300


def test_an_array_of_objects_is_not_unpickled() -> None:
    class Bomb:
        def __reduce__(self) -> tuple:
            return (pytest.fail, ("it was unpickled",))

    content = io.BytesIO()
    np.save(content, np.array([[Bomb()] * DIM], dtype=object), allow_pickle=True)
    with pytest.raises(RegionFeatureError, match="objects"):
        read_query_regions(content.getvalue(), region_dim=DIM)


def test_a_header_that_lies_costs_no_memory() -> None:
    lying = header(claim("'<f8'", f"(256, {10**7})"))
    tracemalloc.start()
    with pytest.raises(RegionFeatureError, match="the header says"):
        read_query_regions(lying, region_dim=10**7)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


@settings(max_examples=200, deadline=None)
@given(place=st.integers(0, 200), damage=st.binary(max_size=30), cut=st.integers(0, 300))
def test_damaged_bytes_are_read_or_refused_and_nothing_else(
    place: int, damage: bytes, cut: int
) -> None:
    content = npy(rows(3))
    content = content[:place] + damage + content[place + len(damage) :]
    try:
        found = read_query_regions(content[: len(content) - cut], region_dim=DIM)
    except RegionFeatureError as error:
        assert str(error)
    else:
        assert found.shape[1] == DIM and np.isfinite(found).all()
