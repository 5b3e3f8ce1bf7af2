"""Files that are no pictures, or would be bombs: made on the spot, so that none lies here.

Each has a name, and what a reader must find: `readable`, `unreadable` or `too_many_pixels`.
Damage that a decoder may or may not notice is `either`: readable or not, but never a failure.
"""

import io
import random
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from PIL import Image

__all__ = ["HostileFile", "bombs_of_work", "hostile_files", "noise", "tiff", "with_exif"]

Finding = Literal["readable", "unreadable", "too_many_pixels", "either"]

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
ALMOST_10_MB = 9_900_000


@dataclass(frozen=True)
class HostileFile:
    """A file and what a reader must find in it."""

    name: str
    content: bytes
    finding: Finding


def hostile_files() -> Iterator[HostileFile]:
    """Yield them all, one at a time: some have 10 MB."""
    for family in (
        _truncated,
        _bombs_of_pixels,
        bombs_of_work,
        _lying_headers,
        _lying_tiffs,
        _polyglots,
        _unusual_pictures,
        _other_formats,
        _no_pictures,
    ):
        yield from family()


def noise(side: int = 64) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 255, (side, side, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def _encoded(picture: Image.Image, form: str, **options: Any) -> bytes:
    content = io.BytesIO()
    picture.save(content, form, **options)
    return content.getvalue()


def _jpeg(**options: Any) -> bytes:
    return _encoded(noise(), "JPEG", **options)


def _png(**options: Any) -> bytes:
    return _encoded(noise(), "PNG", **options)


def _chunk(kind: bytes, content: bytes) -> bytes:
    check = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)


def _raw_png(
    width: int, height: int, data: bytes, *, depth: int = 8, colour: int = 0, before: bytes = b""
) -> bytes:
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    ending = _chunk(b"IDAT", zlib.compress(data, 9)) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + before + ending


def _segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def _with_segments(segments: bytes) -> bytes:
    content = _jpeg()
    return content[:2] + segments + content[2:]


def _with_size(content: bytes, width: int, height: int) -> bytes:
    """A JPEG that claims another size."""
    place = content.index(b"\xff\xc0") + 5
    return content[:place] + struct.pack(">HH", height, width) + content[place + 4 :]


def tiff(entries: list[tuple[int, int, int, int | bytes]], data: bytes = b"") -> bytes:
    """A TIFF of one directory of (tag, type, count, value or the bytes of the values)."""
    listed, values = struct.pack("<H", len(entries)), b""
    behind = 8 + 2 + 12 * len(entries) + 4
    for tag, kind, count, value in entries:
        if isinstance(value, bytes):
            listed += struct.pack("<HHLL", tag, kind, count, behind + len(values))
            values += value
        else:
            listed += struct.pack("<HHLL", tag, kind, count, value)
    return b"II*\0" + struct.pack("<L", 8) + listed + bytes(4) + values + data


def _grey_tiff(
    width: int = 8, height: int = 8, *, compression: int = 1, more: Any = (), data: bytes = b""
) -> bytes:
    changed = {entry[0]: entry for entry in more}
    entries = [
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, compression),
        (262, 3, 1, 1), (273, 4, 1, 8), (277, 3, 1, 1), (278, 4, 1, height),
        (279, 4, 1, min(width * height, 2**32 - 1)),
    ]  # fmt: skip
    kept = [changed.pop(entry[0], entry) for entry in entries]
    return tiff(sorted([*kept, *changed.values()]), data or bytes(200))


def _bmp(
    width: int, height: int, data: bytes, *, bits: int = 8, compression: int = 0, colours: int = 256
) -> bytes:
    palette = b"".join(bytes((n % 256, 0, 255 - n % 256, 0)) for n in range(min(colours, 256)))
    start = 54 + len(palette)
    head = struct.pack("<2sLHHL", b"BM", start + len(data), 0, 0, start)
    sizes = struct.pack("<LllHHLLllLL", 40, width, height, 1, bits, compression, len(data), 0, 0, colours, 0)  # fmt: skip # noqa: E501
    return head + sizes + palette + data


def _riff(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"".join(
        kind + struct.pack("<L", len(data)) + data + bytes(len(data) % 2) for kind, data in chunks
    )
    return b"RIFF" + struct.pack("<L", len(body) + 4) + b"WEBP" + body


def _truncated() -> Iterator[HostileFile]:
    for form in FORMATS:
        whole = _encoded(noise(), form)
        for tenth in range(1, 10):
            cut = whole[: len(whole) * tenth // 10]
            yield HostileFile(f"{form} after {tenth}0 %", cut, "unreadable")


def _bombs_of_pixels() -> Iterator[HostileFile]:
    huge = 30_000
    row = bytes(huge // 8 + 1)
    yield HostileFile(
        "PNG of 30,000 x 30,000 in half a megabyte",
        _raw_png(huge, huge, row * huge, depth=1),
        "too_many_pixels",
    )
    yield HostileFile(
        "PNG of 5,001 x 5,000",
        _raw_png(5001, 5000, bytes(626) * 5000 + b"", depth=1),
        "too_many_pixels",
    )
    yield HostileFile(
        "PNG of 2^31 - 1 a side", _raw_png(2**31 - 1, 2**31 - 1, b""), "too_many_pixels"
    )
    yield HostileFile(
        "PNG whose pixels are compressed a thousand times",
        _raw_png(4, 4, bytes(50_000_000)),
        "readable",
    )
    yield HostileFile(
        "PNG with fifty times its pixels", _raw_png(64, 64, bytes(65 * 64 * 50)), "either"
    )
    yield HostileFile("JPEG of 65,500 a side", _with_size(_jpeg(), 65500, 65500), "too_many_pixels")
    yield HostileFile("JPEG of 65,500 x 380", _with_size(_jpeg(), 65500, 380), "either")
    yield HostileFile("GIF screen of 65,535 a side", _gif_of(65535, 65535, 8, 8), "too_many_pixels")
    yield HostileFile("GIF frame of 65,535 a side", _gif_of(8, 8, 65535, 65535), "too_many_pixels")
    yield HostileFile(
        "WebP canvas of 16,384 a side",
        _riff((b"VP8X", bytes(4) + b"\xff\x3f\0\xff\x3f\0"), (b"VP8L", b"\x2f" * 9)),
        "too_many_pixels",
    )
    yield HostileFile("BMP of 2^31 - 1 a side", _bmp(2**31 - 1, 2**31 - 1, b""), "too_many_pixels")
    yield HostileFile("BMP of 65,536 upside down", _bmp(65536, -65536, b""), "too_many_pixels")
    yield HostileFile(
        "TIFF of 2^32 - 1 a side", _grey_tiff(2**32 - 1, 2**32 - 1), "too_many_pixels"
    )
    for name, code in (("deflate", 8), ("LZW", 5), ("PackBits", 32773), ("fax", 4)):
        yield HostileFile(
            f"TIFF of 60,000 a side by {name}",
            _grey_tiff(60000, 60000, compression=code),
            "too_many_pixels",
        )
    yield HostileFile(
        "1 x 25,000,000", _raw_png(25_000_000, 1, bytes(3_125_001), depth=1), "readable"
    )
    for name, form, options in (
        ("GIF", "GIF", {}),
        ("WebP", "WEBP", {"lossless": True}),
        ("PNG", "PNG", {}),
    ):
        yield HostileFile(f"{name} of 500 frames", _animated(form, 500, **options), "readable")


def _gif_of(screen_width: int, screen_height: int, width: int, height: int) -> bytes:
    screen = b"GIF89a" + struct.pack("<HHBBB", screen_width, screen_height, 0x80, 0, 0)
    frame = b"," + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02\x02\x4c\x01\0"
    return screen + bytes(3) + b"\xff" * 3 + frame + b";"


def _animated(form: str, count: int, **options: Any) -> bytes:
    frames = [Image.new("RGB", (16, 16), (n % 256, n // 256, 7)) for n in range(count)]
    return _encoded(frames[0], form, save_all=True, append_images=frames[1:], **options)


def bombs_of_work() -> Iterator[HostileFile]:
    """What has few pixels and little to show, and millions of steps."""

    def filled(piece: bytes) -> bytes:
        return piece * (ALMOST_10_MB // len(piece))

    exif_piece = _segment(0xE1, b"Exif\0\0a")
    yield HostileFile("JPEG of EXIF in pieces", _with_segments(filled(exif_piece)), "unreadable")
    yield HostileFile("JPEG of comments", _with_segments(filled(_segment(0xFE, b""))), "unreadable")
    yield HostileFile("JPEG of segments", _with_segments(filled(_segment(0xE5, b""))), "unreadable")
    yield HostileFile("JPEG of padding", _with_segments(filled(b"\xff")), "unreadable")
    yield HostileFile("JPEG of junk", _with_segments(filled(b"junk")), "unreadable")
    yield HostileFile("JPEG of a thousand scans", _many_scans(1000), "unreadable")
    values = 1_200_000
    rationals = struct.pack("<LL", 3, 7) * values
    yield HostileFile(
        "JPEG whose EXIF has a million densities",
        with_exif(tiff([(282, 5, values, rationals)])),
        "unreadable",
    )
    yield HostileFile(
        "PNG of chunks",
        _raw_png(8, 8, bytes(72), before=filled(_chunk(b"abCd", b""))),
        "unreadable",
    )
    texts = b"".join(
        _chunk(b"zTXt", b"k%d\0\0" % n + zlib.compress(bytes(1_000_000), 9)) for n in range(80)
    )
    yield HostileFile(
        "PNG of compressed texts", _raw_png(8, 8, bytes(72), before=texts), "unreadable"
    )
    giant = _chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(100_000_000), 9))
    yield HostileFile("PNG of a giant text", _raw_png(8, 8, bytes(72), before=giant), "unreadable")
    nested = zlib.compress(zlib.compress(bytes(200_000_000), 9), 9)
    profile = _chunk(b"iCCP", b"sRGB\0\0" + nested)
    yield HostileFile(
        "PNG of a nested profile", _raw_png(8, 8, bytes(72), before=profile), "either"
    )
    screen = _gif_of(8, 8, 8, 8)
    place = screen.index(b",")
    for name, piece in (("extensions", b"!\xfe\x01a\0"), ("junk", b"a")):
        yield HostileFile(
            f"GIF of {name}", screen[:place] + filled(piece) + screen[place:], "unreadable"
        )
    yield HostileFile(
        "GIF of a comment",
        screen[:place] + b"!\xfe" + filled(b"\x01a") + b"\0" + screen[place:],
        "unreadable",
    )
    yield HostileFile("BMP of runs", _bmp(5000, 1000, filled(b"\1\5"), compression=1), "unreadable")
    yield HostileFile(
        "BMP of moves", _bmp(5000, 5000, filled(b"\0\2\1\0"), compression=1), "unreadable"
    )
    yield HostileFile("BMP of line ends", _bmp(8, 8, filled(b"\0\0"), compression=1), "unreadable")
    strips = 1_150_000
    offsets = (273, 4, strips, struct.pack("<L", 8) * strips)
    sizes = (279, 4, strips, struct.pack("<L", 1) * strips)
    yield HostileFile(
        "TIFF of a million strips",
        _grey_tiff(1, strips, more=[offsets, sizes, (278, 4, 1, 1)]),
        "unreadable",
    )
    yield HostileFile(
        "TIFF of a million densities", _grey_tiff(more=[(282, 5, values, rationals)]), "unreadable"
    )
    yield HostileFile(
        "WebP of a million chunks",
        _riff((b"VP8X", bytes(10)), *[(b"junk", b"")] * 1_000_000),
        "either",
    )


def _many_scans(count: int) -> bytes:
    whole = _encoded(noise(256), "JPEG", progressive=True)
    last = whole[whole.rindex(b"\xff\xda") : -2]
    return whole[:-2] + last * count + b"\xff\xd9"


def with_exif(block: bytes) -> bytes:
    pieces = [block[at : at + 65_000] for at in range(0, len(block), 65_000)]
    content = _jpeg()
    exif = b"".join(_segment(0xE1, b"Exif\0\0" + piece) for piece in pieces)
    return content[:2] + exif + content[20:]  # without the JFIF segment and its density


def _lying_headers() -> Iterator[HostileFile]:
    png, jpeg = _png(), _jpeg()
    taller = png[:20] + struct.pack(">I", 640) + png[24:]
    yield HostileFile("PNG of a wrong height", taller, "unreadable")
    checked = _raw_png(64, 640, bytes(65 * 64))
    yield HostileFile("PNG of a wrong height with its checksum", checked, "either")
    smaller = _raw_png(64, 6, bytes(65 * 64))
    yield HostileFile("PNG of too few rows", smaller, "readable")
    yield HostileFile("PNG of no pixels", _raw_png(0, 0, b""), "unreadable")
    yield HostileFile("PNG of depth 3", _raw_png(8, 8, bytes(72), depth=3), "unreadable")
    yield HostileFile("PNG of colour 9", _raw_png(8, 8, bytes(72), colour=9), "unreadable")
    wrong_check = bytearray(png)
    wrong_check[29] ^= 0xFF
    yield HostileFile("PNG of a wrong checksum", bytes(wrong_check), "unreadable")
    flipped = bytearray(png)
    flipped[len(png) // 2] ^= 0xFF
    yield HostileFile("PNG of a flipped bit", bytes(flipped), "unreadable")
    endless = png[:33] + struct.pack(">I", 2**31 - 1) + png[37:]
    yield HostileFile("PNG of a chunk of 2 GB", endless, "either")
    backwards = png[:33] + struct.pack(">I", 2**32 - 12) + png[37:]
    yield HostileFile("PNG of a chunk that leads back", backwards, "either")
    yield HostileFile("JPEG of a wrong size", _with_size(jpeg, 6400, 640), "either")
    yield HostileFile("JPEG of no pixels", _with_size(jpeg, 0, 0), "unreadable")
    tables = jpeg.replace(b"\xff\xdb", b"\xff\xec")
    yield HostileFile("JPEG without tables", tables, "unreadable")
    yield HostileFile("JPEG of one marker", b"\xff\xd8\xff\xda\0\x02", "unreadable")
    yield HostileFile("JPEG whose segment has no length", jpeg[:2] + b"\xff\xe0\0\0", "unreadable")
    yield HostileFile(
        "GIF of no colours", b"GIF89a" + bytes(7) + b"," + bytes(9) + b"\x02\0;", "either"
    )
    yield HostileFile(
        "GIF of an impossible code size", _gif_of(8, 8, 8, 8)[:-6] + b"\xff\0;", "unreadable"
    )
    yield HostileFile("BMP of a negative width", _bmp(-64, 64, bytes(4096)), "too_many_pixels")
    yield HostileFile("BMP of no height", _bmp(64, 0, bytes(4096)), "either")
    yield HostileFile(
        "BMP of 2^32 - 1 colours", _bmp(8, 8, bytes(64), colours=2**32 - 1), "unreadable"
    )
    yield HostileFile("BMP of 77 bits", _bmp(8, 8, bytes(64), bits=77), "unreadable")
    yield HostileFile("BMP with a JPEG inside", _bmp(8, 8, jpeg, compression=4), "unreadable")
    yield HostileFile(
        "BMP that moves past its end",
        _bmp(24_000_000, 1, b"\0\2\0\xff\0\1", compression=1),
        "either",
    )
    header = bytearray(_bmp(8, 8, bytes(64)))
    header[14:18] = struct.pack("<L", 2**32 - 1)
    yield HostileFile("BMP of a header of 4 GB", bytes(header), "unreadable")
    webp = _encoded(noise(), "WEBP")
    yield HostileFile("WebP of a wrong length", webp[:4] + b"\xff" * 4 + webp[8:], "either")
    yield HostileFile("WebP of nothing", _riff((b"VP8 ", b"")), "unreadable")
    frame = (b"ANMF", b"\xff" * 16)
    yield HostileFile(
        "WebP whose frame leaves its canvas",
        _riff((b"VP8X", b"\x02" + bytes(9)), (b"ANIM", bytes(6)), frame),
        "unreadable",
    )


def _lying_tiffs() -> Iterator[HostileFile]:
    loop = bytearray(_grey_tiff())
    loop[10 + 12 * 9 : 14 + 12 * 9] = struct.pack("<L", 8)
    yield HostileFile("the next directory is this one", bytes(loop), "readable")
    yield HostileFile("the directory lies in the header", b"II*\0" + bytes(4) * 9, "unreadable")
    yield HostileFile("the directory lies past the end", b"II*\0\xff\xff\xff\xff", "unreadable")
    yield HostileFile("65,535 tags", b"II*\0\x08\0\0\0\xff\xff" + bytes(100), "unreadable")
    every = [(tag, 1, 150, 64) for tag in range(1000, 61_000)]
    yield HostileFile("60,000 tags of the same bytes", tiff(every, bytes(1000)), "unreadable")
    yield HostileFile(
        "a tag of 2^32 - 1 values", _grey_tiff(more=[(320, 3, 2**32 - 1, 8)]), "either"
    )
    yield HostileFile("2^32 - 1 strips", _grey_tiff(more=[(273, 4, 2**32 - 1, 8)]), "unreadable")
    yield HostileFile("a strip past the end", _grey_tiff(more=[(273, 4, 1, 2**31)]), "unreadable")
    yield HostileFile("no rows in a strip", _grey_tiff(more=[(278, 4, 1, 0)]), "either")
    yield HostileFile("5,000 samples", _grey_tiff(more=[(277, 3, 1, 5000)]), "unreadable")
    yield HostileFile("65,535 bits", _grey_tiff(more=[(258, 3, 1, 65535)]), "unreadable")
    yield HostileFile("an unknown compression", _grey_tiff(compression=60000), "unreadable")
    for name, code in (
        ("JPEG", 7),
        ("old JPEG", 6),
        ("WebP", 50001),
        ("zstd", 50000),
        ("LZMA", 34925),
    ):
        yield HostileFile(
            f"junk as {name}", _grey_tiff(compression=code, data=b"junk" * 99), "unreadable"
        )
    tiles = [(322, 4, 1, 2**31), (323, 4, 1, 2**31), (324, 4, 1, 8), (325, 4, 1, 64)]
    yield HostileFile("tiles of 2^31 a side", _grey_tiff(compression=8, more=tiles), "unreadable")
    big = b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 2**63) + bytes(99)
    yield HostileFile("BigTIFF of 2^63 tags", big, "unreadable")


def _polyglots() -> Iterator[HostileFile]:
    page = b"<html><script>alert(document.domain)</script></html>"
    comment = _segment(0xFE, b"*/" + page + b"/*")
    yield HostileFile("JPEG and HTML", _with_segments(comment), "readable")
    yield HostileFile("JPEG and ZIP", _jpeg() + _zip(_png()), "readable")
    gif = _encoded(noise().convert("P"), "GIF")
    script = b"GIF89a/*" + gif[8:] + b"*/=1;alert(1)//"
    yield HostileFile("GIF and script", script, "either")
    yield HostileFile("PNG and HTML", _png() + page, "readable")
    yield HostileFile("PNG in a ZIP", _zip(_png()), "unreadable")
    yield HostileFile("PDF before a JPEG", b"%PDF-1.7\n" + _jpeg(), "unreadable")
    yield HostileFile("HTML before a PNG", page + _png(), "unreadable")
    yield HostileFile("BMP and script", b"BM" + page * 9, "either")
    yield HostileFile(
        "PNG inside a PNG", _raw_png(8, 8, bytes(72), before=_chunk(b"abCd", _png())), "readable"
    )
    yield HostileFile("JPEG named as a TIFF", b"II*\0" + _jpeg(), "unreadable")


def _zip(content: bytes) -> bytes:
    import zipfile

    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as members:
        members.writestr("a.png", content)
    return archive.getvalue()


def _unusual_pictures() -> Iterator[HostileFile]:
    """What is rare but right is read."""
    grey = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) * 16
    wide = Image.fromarray(grey)
    yield HostileFile("PNG of 16 bits", _encoded(wide, "PNG"), "readable")
    yield HostileFile("TIFF of 16 bits", _encoded(wide, "TIFF"), "readable")
    real = Image.fromarray(np.full((8, 8), np.nan, dtype=np.float32))
    yield HostileFile("TIFF of no numbers", _encoded(real, "TIFF"), "readable")
    infinite = Image.fromarray(np.full((8, 8), np.inf, dtype=np.float32))
    yield HostileFile("TIFF of infinities", _encoded(infinite, "TIFF"), "readable")
    for mode in ("CMYK", "L", "1", "YCbCr"):
        yield HostileFile(f"JPEG or TIFF of {mode}", _of_mode(mode), "readable")
    palette = noise().convert("P")
    clear = bytes(range(256))
    yield HostileFile(
        "PNG of a palette with transparency",
        _encoded(palette, "PNG", transparency=clear),
        "readable",
    )
    yield HostileFile(
        "PNG of one transparent colour",
        _encoded(noise(), "PNG", transparency=(1, 2, 3)),
        "readable",
    )
    yield HostileFile("PNG of grey and alpha", _encoded(noise().convert("LA"), "PNG"), "readable")
    yield HostileFile(
        "interlaced GIF of 1 x 1",
        _encoded(Image.new("P", (1, 1)), "GIF", interlace=True),
        "readable",
    )
    for orientation in (0, 9, 65535):
        yield HostileFile(
            f"EXIF of orientation {orientation}",
            with_exif(tiff([(274, 3, 1, orientation)])),
            "readable",
        )
    yield HostileFile("EXIF of junk", with_exif(b"II*\0" + b"\xff" * 999), "readable")
    loop = [(34665, 4, 1, 8), (40965, 4, 1, 8), (34853, 4, 1, 8), (274, 3, 1, 6)]
    yield HostileFile("EXIF that names itself", with_exif(tiff(sorted(loop))), "readable")
    profile = random.Random(0).randbytes(60_000)
    yield HostileFile("ICC profile of junk", _jpeg(icc_profile=profile * 9), "readable")
    yield HostileFile(
        "many pictures in one JPEG",
        _encoded(noise(), "MPO", save_all=True, append_images=[noise()]),
        "readable",
    )
    names = b"MPF\0II*\0\x08\0\0\0" + b"\xff" * 60_000
    yield HostileFile(
        "a JPEG that says it is many", _with_segments(_segment(0xE2, names)), "readable"
    )


def _of_mode(mode: str) -> bytes:
    return _encoded(noise().convert(mode), "TIFF" if mode == "1" else "JPEG")


def _other_formats() -> Iterator[HostileFile]:
    """What is a picture, but none of those on the list; nothing else is ever started for it."""
    svg = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
    yield HostileFile("SVG", svg, "unreadable")
    yield HostileFile("SVG after a declaration", b'<?xml version="1.0"?>' + svg, "unreadable")
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n%%EndComments\n(%pipe%id) (w) file"
    yield HostileFile("EPS", eps, "unreadable")
    yield HostileFile("EPS for DOS", b"\xc5\xd0\xd3\xc6" + bytes(26) + eps, "unreadable")
    for form in (
        "ICO",
        "PPM",
        "TGA",
        "PCX",
        "SGI",
        "DDS",
        "ICNS",
        "JPEG2000",
        "AVIF",
        "PDF",
        "QOI",
    ):
        yield HostileFile(form, _if_writable(form), "unreadable")
    psd = b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 64, 64, 8, 3) + bytes(64)
    yield HostileFile("PSD", psd, "unreadable")
    yield HostileFile("HEIC", b"\0\0\0\x18ftypheic" + bytes(99), "unreadable")
    yield HostileFile("WMF", b"\xd7\xcd\xc6\x9a" + bytes(99), "unreadable")
    yield HostileFile("FITS", b"SIMPLE  =                    T" + b" " * 2850, "unreadable")


def _if_writable(form: str) -> bytes:
    try:
        return _encoded(noise(), form)
    except (KeyError, OSError):
        return form.encode()


def _no_pictures() -> Iterator[HostileFile]:
    chance = random.Random(1)
    yield HostileFile("nothing", b"", "unreadable")
    yield HostileFile("one byte", b"\xff", "unreadable")
    yield HostileFile("a megabyte of chance", chance.randbytes(1_000_000), "unreadable")
    yield HostileFile("zeros", bytes(ALMOST_10_MB), "unreadable")
    yield HostileFile("ones", b"\xff" * 1_000_000, "unreadable")
    yield HostileFile("text", b"this is no picture" * 99, "unreadable")
    for form, start in (
        ("JPEG", b"\xff\xd8\xff\xe0"),
        ("PNG", b"\x89PNG\r\n\x1a\n"),
        ("GIF", b"GIF89a"),
        ("BMP", b"BM"),
        ("TIFF", b"II*\0"),
        ("WebP", b"RIFF\xff\xff\xff\x7fWEBPVP8L"),
    ):
        yield HostileFile(
            f"chance that begins like a {form}", start + chance.randbytes(50_000), "either"
        )
