"""Encoding in bfloat16: the laws of a dual encoder hold, to the digits that bfloat16 has."""

from pathlib import Path

import pytest
import torch

from model.dual_encoder import DualEncoder, load_dual_encoder
from model.hrem import HREM
from model.precision import is_quick
from tests.tiny_pretrained import KINDS, tiny_pretrained
from tests.worlds import BACKBONES, captions_of, made_up_picture, tiny_checkpoint

CAPTIONS = [*captions_of(3), "a red circle", captions_of(5)[0]]
PICTURES = [made_up_picture(number) for number in range(5)]
# bfloat16 has 8 significant bits, so an operand is off by 2^-9 of itself. A few layers add up, and
# each kind of processor adds in another order: 0.006 was seen on one, 0.010 on another.
ROUNDED = {"atol": 2**-6, "rtol": 0}
PROCESSOR = Path("/proc/cpuinfo")


@pytest.fixture(scope="module", params=[*KINDS, *sorted(BACKBONES)])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp(request.param)
    if request.param in KINDS:
        return tiny_pretrained(place, request.param)
    return tiny_checkpoint(place, backbone=request.param)


@pytest.fixture(scope="module")
def pair(folder: Path) -> tuple[DualEncoder, DualEncoder]:
    """The same network in float32 and in bfloat16."""
    return load_dual_encoder(folder), load_dual_encoder(folder, precision="bfloat16")


def test_rows_are_float32_unit_rows_near_those_of_float32_and_not_the_same(
    pair: tuple[DualEncoder, DualEncoder],
) -> None:
    exact, rounded = pair
    assert (exact.precision, rounded.precision) == ("float32", "bfloat16")
    for ours, expected in (
        (rounded.encode_captions(CAPTIONS), exact.encode_captions(CAPTIONS)),
        (rounded.encode_images(PICTURES), exact.encode_images(PICTURES)),
    ):
        assert (ours.dtype, ours.device.type, ours.requires_grad) == (torch.float32, "cpu", False)
        torch.testing.assert_close(ours.norm(dim=1), torch.ones(len(ours)), atol=1e-6, rtol=0)
        torch.testing.assert_close(ours, expected, **ROUNDED)
        assert (ours - expected).abs().max() > 1e-5, "nothing was multiplied in bfloat16"


def test_one_alone_equals_the_same_in_a_batch(pair: tuple[DualEncoder, DualEncoder]) -> None:
    _, rounded = pair
    captions, pictures = rounded.encode_captions(CAPTIONS), rounded.encode_images(PICTURES)
    one_by_one = rounded.encode_captions(CAPTIONS, batch_size=1)
    torch.testing.assert_close(one_by_one, captions, **ROUNDED)
    one_by_one = rounded.encode_images(PICTURES, batch_size=1)
    torch.testing.assert_close(one_by_one, pictures, **ROUNDED)


def test_the_weights_and_so_the_fingerprint_are_those_of_the_checkpoint(
    pair: tuple[DualEncoder, DualEncoder],
) -> None:
    exact, rounded = pair
    rounded.encode_captions(CAPTIONS)
    assert rounded.fingerprint == exact.fingerprint


def test_regions_are_encoded_in_bfloat16_too(tmp_path: Path) -> None:
    folder = tiny_checkpoint(tmp_path, backbone=None, region_dim=12)
    features = torch.randn(3, 5, 12, generator=torch.Generator().manual_seed(0))
    exact = HREM.from_pretrained(folder).encode_regions(features)
    rounded = HREM.from_pretrained(folder, precision="bfloat16").encode_regions(features)
    torch.testing.assert_close(rounded, exact, **ROUNDED)
    assert not torch.equal(rounded, exact)


def test_float32_is_float32_whatever_surrounds_it(pair: tuple[DualEncoder, DualEncoder]) -> None:
    exact, _ = pair
    expected = exact.encode_captions(CAPTIONS)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(exact.encode_captions(CAPTIONS), expected)


def test_float32_is_quick_everywhere() -> None:
    assert is_quick("float32", "cpu") and is_quick("float32", "cuda:1")


@pytest.mark.skipif(
    not PROCESSOR.is_file() or "flags\t" not in PROCESSOR.read_text(),
    reason="only Linux on x86 tells the processor's instructions in /proc/cpuinfo",
)
def test_bfloat16_is_quick_on_processors_that_multiply_it() -> None:
    line = next(one for one in PROCESSOR.read_text().splitlines() if one.startswith("flags"))
    has_products = bool({"avx512_bf16", "amx_bf16"} & set(line.split()))
    assert is_quick("bfloat16", "cpu") is has_products
