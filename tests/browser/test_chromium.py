"""A machine without a browser is told so: a skip for a person, a failure for CI."""

from pathlib import Path

import pytest

from tests.browser.chromium import find_chromium


@pytest.mark.parametrize(
    ("ci", "outcome"), [("", pytest.skip.Exception), ("true", pytest.fail.Exception)]
)
def test_a_missing_chromium_skips_loudly_and_fails_where_ci_is_true(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ci: str, outcome: type[BaseException]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CI", ci)
    with pytest.raises(outcome, match="the search page was NOT tested; install Chromium"):
        find_chromium()
