"""What the C library does with memory that was freed.

By default it gives large pieces back to the system at once, and asks for them anew: decoding
pictures and convolving batches of them frees and takes some hundred MB again and again, and the
system clears every page of it each time. `python -m benchmarks.index_build` shows what that costs.
"""

import contextlib
import ctypes

from PIL import Image

__all__ = ["keep_freed_memory"]

# From malloc.h of glibc.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_PILLOW_BLOCK_BYTES = 16 << 20


def keep_freed_memory(most_bytes: int) -> None:
    """Let this process keep up to so many bytes of what it freed, for what it takes next.

    Pillow, which has a store of its own, keeps as much again. Does nothing for a C library other
    than glibc.
    """
    Image.core.set_blocks_max(most_bytes // _PILLOW_BLOCK_BYTES)  # type: ignore[attr-defined]
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, most_bytes)
        libc.mallopt(_M_TRIM_THRESHOLD, most_bytes)
