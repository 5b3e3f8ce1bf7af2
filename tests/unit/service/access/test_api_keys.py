"""The file of keys: what it may say, and that all that is wrong with it is told."""

import hashlib
import logging
from pathlib import Path

import pytest

from model.errors import ConfigError
from service.access.api_keys import ApiKey, digest_of, read_key_ring

KEY = "correct-horse-battery-staple"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "keys.toml"
    path.touch(mode=0o600)
    return path


def problems_of(file: Path, text: str) -> list[str]:
    file.write_text(text)
    with pytest.raises(ConfigError) as refusal:
        read_key_ring(file)
    assert KEY not in str(refusal.value)
    assert all(problem.startswith(f"keys = '{file}': ") for problem in refusal.value.problems)
    return [problem.split(": ", 1)[1] for problem in refusal.value.problems]


def test_a_key_is_given_itself_or_by_its_sha256(file: Path) -> None:
    digest = hashlib.sha256(b"another-key-of-someone").hexdigest().upper()
    file.write_text(
        f'[[keys]]\nname = "page"\nkey = "{KEY}"\n'
        f'[[keys]]\nname = "ops"\nsha256 = "{digest}"\nrate_per_minute = 5\nburst = 2\nadmin = true'
    )
    ring = read_key_ring(file)
    assert ring.find(digest_of(KEY)) == ApiKey("page", digest_of(KEY))
    ops = ApiKey("ops", bytes.fromhex(digest), rate_per_minute=5, burst=2, is_admin=True)
    assert ring.find(digest_of("another-key-of-someone")) == ops
    assert ring.find(digest_of(KEY + "x")) is None
    assert KEY not in repr(ring) and ops.digest.hex() not in repr(ring)


def test_sessions_are_signed_by_the_files_secret_the_callers_or_a_new_one(file: Path) -> None:
    keys = f'[[keys]]\nname = "page"\nkey = "{KEY}"\n'
    file.write_text(keys)
    random = read_key_ring(file).session_secret
    assert random != read_key_ring(file).session_secret and len(random) == 32
    assert read_key_ring(file, session_secret=b"kept").session_secret == b"kept"
    file.write_text(f'session_secret = "{"s" * 40}"\n{keys}')
    assert read_key_ring(file, session_secret=b"kept").session_secret == b"s" * 40


def test_every_problem_is_told_and_no_key(file: Path) -> None:
    told = problems_of(
        file,
        f"""
        sesion_secret = "{KEY}"
        [[keys]]
        name = "a b"
        key = "{KEY}"
        [[keys]]
        name = "both"
        key = "{KEY}"
        sha256 = "{KEY}"
        [[keys]]
        name = "neither"
        rate_per_minute = 0
        [[keys]]
        name = "neither too"
        [[keys]]
        name = "odd"
        key = "{KEY} {KEY}"
        burst = "many"
        [[keys]]
        key = 12
        admin = 1
        """,
    )
    places = sorted(problem.split(":")[0] for problem in told)
    assert places == [
        "keys[0].name", "keys[1]", "keys[1]", "keys[1].sha256", "keys[2]",
        "keys[2].rate_per_minute",
        "keys[3]", "keys[3].name", "keys[4].burst", "keys[4].key", "keys[5].admin", "keys[5].key",
        "keys[5].name", "sesion_secret",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ('sha256 = "abc"', "64 hex digits"),
        ('key = "short"', "5 characters, at least 16"),
        (f'key = "{KEY} {KEY}"', "spaces"),
        ('key = "schlüssel-schlüssel"', "outside ASCII"),
        ("", "exactly one of key and sha256"),
    ],
)
def test_an_unusable_key_is_told(file: Path, entry: str, said: str) -> None:
    [problem] = problems_of(file, f'[[keys]]\nname = "page"\n{entry}')
    assert problem.startswith("keys[0]") and said in problem


def test_names_and_keys_stand_once(file: Path) -> None:
    entry = f'[[keys]]\nname = "page"\nkey = "{KEY}"\n'
    told = problems_of(file, entry + entry)
    assert told == [
        "keys[1]: the name page is keys[0]'s too",
        "keys[1]: the key is keys[0]'s too",
    ]


@pytest.mark.parametrize("text", ["", "# nothing", "keys = []", 'session_secret = "x"'])
def test_a_file_without_keys_is_refused(file: Path, text: str) -> None:
    [problem] = problems_of(file, text)
    assert problem.startswith("holds no key; add one")


@pytest.mark.parametrize("content", [b"[[keys]", b"\xff\xfe", b"keys = 3", b"keys = [1]"])
def test_a_file_that_is_no_list_of_keys_is_refused(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(ConfigError):
        read_key_ring(file)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(ConfigError, match=r"give a TOML file of keys"):
            read_key_ring(path)


@pytest.mark.parametrize(("mode", "is_told"), [(0o600, False), (0o640, False), (0o644, True)])
def test_a_file_that_everyone_can_read_is_warned_of(
    file: Path, mode: int, is_told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    file.write_text(f'[[keys]]\nname = "page"\nkey = "{KEY}"\n')
    file.chmod(mode)
    with caplog.at_level(logging.WARNING):
        read_key_ring(file)
    assert ("chmod o=" in caplog.text) == is_told
    assert KEY not in caplog.text
