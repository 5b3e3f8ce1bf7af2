"""What a file of `torch.save` holds, read without executing it.

A pickle is a program. Here it may only build plain containers, numbers, strings and tensors: every
global that it names is looked up in a short list, and what stands there is inert. Anything else is
refused before it is imported.

- Read: the zip layout that torch writes since 1.6, on any little-endian machine.
- Refused with a sentence: the older layout, compressed entries, unknown globals, tensors that
  reach beyond their storage, and whatever claims more memory than the file has bytes.
"""

import io
import pickle
import pickletools
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.errors import CheckpointError

__all__ = ["read_torch_file"]

_STORAGE_DTYPES = {
    "BFloat16Storage": torch.bfloat16,
    "BoolStorage": torch.bool,
    "ByteStorage": torch.uint8,
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "IntStorage": torch.int32,
    "LongStorage": torch.int64,
}
_LEGACY_START = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_BYTE_ORDER_ENTRY = "byteorder"


def read_torch_file(path: Path) -> object:
    """Return the object that was saved at `path`, with tensors on the CPU.

    Dicts come back as dicts, an `argparse.Namespace` as the dict of its attributes; attributes set
    on an ordered dict (torch puts `_metadata` there) are dropped.

    Raises:
        CheckpointError: There is no such file, it is not in torch's zip layout, it is damaged, or
            its pickle names anything but tensors, ordered dicts and namespaces.
    """
    if not path.is_file():
        raise CheckpointError(f"no file at {path}; expected a .pth file written by torch.save")
    try:
        with zipfile.ZipFile(path) as archive:
            return _plain(_read_archive(archive, byte_count=path.stat().st_size))
    except zipfile.BadZipFile as error:
        with path.open("rb") as file:
            is_legacy = file.read(len(_LEGACY_START)) == _LEGACY_START
        if is_legacy:
            raise CheckpointError(
                f"{path} is in the layout that torch wrote before 1.6, which is not read here; "
                "if you trust it, load it with torch and save it again with torch 1.6 or later"
            ) from error
        raise CheckpointError(f"{path} is not a file of torch.save: {error}") from error
    except CheckpointError as error:
        raise CheckpointError(f"{path} was refused: {error}") from error
    except Exception as error:  # a damaged pickle can fail in any way
        raise CheckpointError(f"{path} is damaged: {type(error).__name__}: {error}") from error


def _read_archive(archive: zipfile.ZipFile, *, byte_count: int) -> object:
    """Return the unpickled root of a zip archive of torch."""
    names = [name for name in archive.namelist() if name.endswith("/data.pkl")]
    if len(names) != 1:
        raise CheckpointError(f"found {len(names)} entries named data.pkl, expected one")
    # Torch stores entries uncompressed; a compressed one could unfold to any size.
    packed = [e.filename for e in archive.infolist() if e.compress_type != zipfile.ZIP_STORED]
    if packed:
        raise CheckpointError(f"entry {packed[0]} is compressed, which torch never does")
    claimed = sum(entry.file_size for entry in archive.infolist())
    if claimed > byte_count:
        raise CheckpointError(f"its entries claim {claimed:,} bytes, the file has {byte_count:,}")
    prefix = names[0].removesuffix("data.pkl")
    byte_order = prefix + _BYTE_ORDER_ENTRY
    if byte_order in archive.namelist() and archive.read(byte_order) != b"little":
        raise CheckpointError("its numbers are not little-endian; save it again on such a machine")
    pickled = archive.read(names[0])
    _refuse_huge_memo(pickled)
    return _TensorUnpickler(io.BytesIO(pickled), archive, prefix + "data/").load()


def _refuse_huge_memo(pickled: bytes) -> None:
    """Refuse a pickle that numbers an object beyond its own length.

    The unpickler makes room for every number up to the largest, so that a few bytes could take
    gigabytes. Reading the opcodes runs nothing.
    """
    for opcode, argument, _ in pickletools.genops(pickled):
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and (argument or 0) > len(pickled):
            raise CheckpointError(f"its pickle of {len(pickled)} bytes numbers object {argument}")


class _OrderedDict(dict[str, Any]):
    """Stands for `collections.OrderedDict`; a plain dict keeps order as well."""


class _Storage:
    """The bytes of one storage; several tensors may share them."""

    __slots__ = ("values",)

    def __init__(self, values: Tensor) -> None:
        self.values = values


class _Rebuilt:
    """Holds a tensor while the pickle runs: a tensor itself has methods that a pickle can call."""

    __slots__ = ("tensor",)

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


class _RebuildTensor:
    """Stands for `torch._utils._rebuild_tensor_v2`; its instances cannot be altered by a pickle."""

    __slots__ = ()

    def __call__(
        self,
        storage: _Storage,
        offset: int,
        size: tuple[int, ...],
        stride: tuple[int, ...],
        *_unused: object,
    ) -> _Rebuilt:
        if not isinstance(storage, _Storage):
            raise CheckpointError("a tensor without a storage")
        numbers = (offset, *size, *stride)
        if len(size) != len(stride) or any(type(n) is not int or n < 0 for n in numbers):
            raise CheckpointError(f"a tensor of size {size!r}, stride {stride!r}, at {offset!r}")
        count = storage.values.numel()
        is_empty = 0 in size
        last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        # A stride of 0 would let a small file ask for any amount of memory.
        if not is_empty and (last >= count or torch.Size(size).numel() > count):
            raise CheckpointError(f"a tensor of size {size!r} reaches beyond {count} stored values")
        if is_empty:
            return _Rebuilt(storage.values.new_empty(size))
        return _Rebuilt(storage.values.as_strided(size, stride, offset))


class _TensorUnpickler(pickle.Unpickler):
    """An unpickler that knows four kinds of global and imports none of them."""

    def __init__(self, file: Any, archive: zipfile.ZipFile, data_prefix: str) -> None:
        super().__init__(file, encoding="utf-8")
        self._archive = archive
        self._data_prefix = data_prefix
        self._storages: dict[str, _Storage] = {}
        # Made anew for each file: a pickle can set attributes on the classes that it is given.
        self._allowed: Mapping[tuple[str, str], object] = {
            ("collections", "OrderedDict"): type("OrderedDict", (_OrderedDict,), {}),
            ("argparse", "Namespace"): type("Namespace", (_Attributes,), {}),
            ("torch._utils", "_rebuild_tensor_v2"): _RebuildTensor(),
            **{("torch", name): name for name in _STORAGE_DTYPES},
        }

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        """Return the stand-in of an allowed global."""
        try:
            return self._allowed[module_name, global_name]
        except KeyError:
            raise CheckpointError(
                f"its pickle asks for {module_name}.{global_name}, which a released checkpoint "
                "does not need; nothing was run. Do not load this file with torch either"
            ) from None

    def persistent_load(self, pid: Any, /) -> _Storage:
        """Return the storage that a persistent id ("storage", kind, key, place, count) names."""
        tag, kind, key, _place, count = pid
        if tag != "storage" or kind not in _STORAGE_DTYPES or type(key) is not str:
            raise CheckpointError(f"an unknown kind of reference: {pid!r}")
        if key not in self._storages:
            content = bytearray(self._archive.read(self._data_prefix + key))
            dtype = _STORAGE_DTYPES[kind]
            if type(count) is not int or len(content) != count * dtype.itemsize:
                raise CheckpointError(f"storage {key} has {len(content)} bytes, not {count} values")
            empty = torch.empty(0, dtype=dtype)
            values = torch.frombuffer(content, dtype=dtype) if count else empty
            self._storages[key] = _Storage(values)
        return self._storages[key]


class _Attributes:
    """Stands for `argparse.Namespace`: only ever a bag of attributes."""


def _plain(value: object, done: dict[int, object] | None = None) -> object:
    """Return `value` with stand-ins replaced by dicts, lists and tensors, all the way down.

    `done` holds what was replaced already, by identity: a container that is shared a million times
    is walked once, and one that holds itself ends.
    """
    done = {} if done is None else done
    if id(value) in done:
        return done[id(value)]
    if isinstance(value, _Rebuilt):
        return value.tensor
    if isinstance(value, _Attributes):
        return _plain(value.__dict__, done)
    if isinstance(value, dict):
        plain_dict: dict[object, object] = {}
        done[id(value)] = plain_dict
        plain_dict.update((key, _plain(item, done)) for key, item in dict.items(value))
        return plain_dict
    if isinstance(value, list | tuple):
        plain_list: list[object] = []
        done[id(value)] = plain_list
        plain_list.extend(_plain(item, done) for item in value)
        return plain_list
    return value
