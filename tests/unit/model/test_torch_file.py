"""The reader of torch files runs nothing, whatever the file says."""

import argparse
import collections
import io
import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch

from model.errors import CheckpointError
from model.torch_file import read_torch_file


class _Hostile:
    """Pickles into a call of anything."""

    def __init__(self, function, *args):
        self.call = (function, args)

    def __reduce__(self):
        return self.call


def _write_archive(path: Path, pickled: bytes, storages=None, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/byteorder", "little")
        for key, content in (storages or {}).items():
            archive.writestr(f"archive/data/{key}", content)
    return path


def test_it_reads_what_torch_reads(tmp_path):
    shared = torch.arange(12, dtype=torch.float32)
    state = collections.OrderedDict(
        whole=shared,
        part=shared[4:10].view(2, 3).t(),
        half=torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
        scalar=torch.tensor(7),
        empty=torch.empty(0, 3),
        mask=torch.tensor([True, False]),
    )
    state._metadata = {"": {"version": 1}}
    options = argparse.Namespace(nhead=8, schedule=[15, 25])
    torch.save({"model": [state], "opt": options, "epoch": 3}, tmp_path / "a.pth")

    found = read_torch_file(tmp_path / "a.pth")

    assert found["opt"] == {"nhead": 8, "schedule": [15, 25]}
    assert found["epoch"] == 3
    assert list(found["model"][0]) == list(state)
    for name, expected in state.items():
        assert found["model"][0][name].dtype == expected.dtype
        assert torch.equal(found["model"][0][name], expected), name


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_a_hostile_pickle_is_refused_and_nothing_ran(tmp_path, protocol):
    proof = tmp_path / "ran"
    hostile = pickle.dumps({"model": _Hostile(os.mkdir, str(proof))}, protocol=protocol)
    path = _write_archive(tmp_path / "hostile.pth", hostile)

    with pytest.raises(CheckpointError, match="mkdir"):
        read_torch_file(path)

    assert not proof.exists()
    pickle.loads(hostile)  # the same bytes do run elsewhere, so the proof above is one
    assert proof.exists()


@pytest.mark.parametrize(
    "pickled",
    [
        b"cbuiltins\neval\n(V1\ntR.",
        b"ctorch._utils\n_rebuild_tensor_v2.__globals__\n.",
        b"\x80\x04\x8c\x08builtins\x8c\x07getattr\x93.",
        b"(ibuiltins\nexec\n.",
        b"\x82\x01.",
    ],
)
def test_no_opcode_reaches_another_global(tmp_path, pickled):
    with pytest.raises(CheckpointError):
        read_torch_file(_write_archive(tmp_path / "x.pth", pickled))


def test_a_pickle_cannot_change_the_reader_for_the_next_file(tmp_path):
    # BUILD with (None, {...}) sets attributes on what is on the stack: here on the classes given.
    for name in (b"ccollections\nOrderedDict\n", b"cargparse\nNamespace\n"):
        attributes = b"(Vitems\nVstolen\nV__init__\nVstolen\nd"
        poison = name + b"(N" + attributes + b"tb."
        read_torch_file(_write_archive(tmp_path / "poison.pth", poison))
    rebuild = b"ctorch._utils\n_rebuild_tensor_v2\n(N(V__call__\nVstolen\ndtb."
    with pytest.raises(CheckpointError):
        read_torch_file(_write_archive(tmp_path / "poison.pth", rebuild))

    torch.save({"opt": argparse.Namespace(a=torch.ones(2))}, tmp_path / "good.pth")
    found = read_torch_file(tmp_path / "good.pth")
    assert torch.equal(found["opt"]["a"], torch.ones(2))


@pytest.mark.parametrize(
    ("size", "stride", "offset"),
    [((3,), (1,), 2), ((1000, 1000), (0, 0), 0), ((2,), (-1,), 1), ((2, 2), (1,), 0)],
)
def test_a_tensor_beyond_its_storage_is_refused(tmp_path, size, stride, offset):
    pid = b"(Vstorage\nctorch\nFloatStorage\nV0\nVcpu\nI4\ntQ"
    row = b"(" + b"".join(b"I%d\n" % n for n in size) + b"t"
    steps = b"(" + b"".join(b"I%d\n" % n for n in stride) + b"t"
    pickled = (
        b"ctorch._utils\n_rebuild_tensor_v2\n(" + pid + b"I%d\n" % offset + row + steps + b"tR."
    )
    path = _write_archive(tmp_path / "x.pth", pickled, {"0": bytes(16)})
    with pytest.raises(CheckpointError, match="a tensor of size"):
        read_torch_file(path)


def test_a_container_shared_a_million_times_is_walked_once(tmp_path):
    nested: list = []
    for _ in range(200):
        nested = [nested, nested]
    nested.append(nested)
    read_torch_file(_write_archive(tmp_path / "x.pth", pickle.dumps(nested, protocol=2)))


def test_other_files_are_refused_with_what_to_do(tmp_path):
    with pytest.raises(CheckpointError, match="no file at"):
        read_torch_file(tmp_path / "none.pth")
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(CheckpointError, match=r"not a file of torch\.save"):
        read_torch_file(tmp_path / "text.pth")
    torch.save({"a": torch.ones(2)}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    with pytest.raises(CheckpointError, match=r"before 1\.6.*save it again"):
        read_torch_file(tmp_path / "old.pth")
    bomb = _write_archive(tmp_path / "bomb.pth", pickle.dumps({}), {}, zipfile.ZIP_DEFLATED)
    with pytest.raises(CheckpointError, match="compressed"):
        read_torch_file(bomb)
    buffer = io.BytesIO()
    torch.save({"a": torch.arange(1000)}, buffer)
    (tmp_path / "cut.pth").write_bytes(buffer.getvalue()[:-700])
    with pytest.raises(CheckpointError):
        read_torch_file(tmp_path / "cut.pth")


def test_a_few_bytes_cannot_ask_for_gigabytes(tmp_path):
    # The unpickler makes room for every number up to the largest that an object is given.
    for numbered in (b"q\xc8", b"r\xe8\x03\x00\x00", b"p1000\n"):
        path = _write_archive(tmp_path / "memo.pth", b"\x80\x02N" + numbered + b".")
        with pytest.raises(CheckpointError, match="numbers object"):
            read_torch_file(path)
    path = _write_archive(tmp_path / "claims.pth", pickle.dumps({}), {"0": bytes(16)})
    content = path.read_bytes()
    # The central directory, which comes last, tells the sizes: compressed, then whole.
    sizes = (16).to_bytes(4, "little") * 2
    place = content.rindex(sizes)
    claimed = (16).to_bytes(4, "little") + (2**31).to_bytes(4, "little")
    path.write_bytes(content[:place] + claimed + content[place + 8 :])
    with pytest.raises(CheckpointError, match="entries claim"):
        read_torch_file(path)
