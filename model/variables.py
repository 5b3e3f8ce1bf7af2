"""Environment variables of settings: their names, and what is one slip away from a name."""

import difflib
from collections.abc import Collection, Iterable, Iterator

__all__ = ["NESTED", "PREFIX", "misspelt_variables", "variable_of"]

PREFIX = "HREM_"
NESTED = "__"
# As alike as `KEY` and `KEYS` (0.86) or `TRUSTED_PROXY` and `TRUSTED_PROXIES` (0.85).
_ALIKE = 0.84


def variable_of(setting: str) -> str:
    """Return the environment variable of a setting by its dotted name."""
    return f"{PREFIX}{setting.replace('.', NESTED).upper()}"


def misspelt_variables(
    given: Iterable[str], own: Collection[str], others: Collection[str] = ()
) -> Iterator[str]:
    """Yield a sentence for every variable that is nearly the name of a setting, and is none.

    The `HREM_KEY` of somebody who means `HREM_KEYS` would leave a service open. Names that are
    like no setting are let through: other programs have settings, too.

    Args:
        given: Names in the environment.
        own: Variables of the command's settings and sections.
        others: Variables that are known to be another command's.
    """
    plain = {_letters(name): name for name in own}
    for variable in sorted(given):
        name = variable.upper()
        if not name.startswith(PREFIX) or name in own or name in others:
            continue
        # Within a section the settings' own reading refuses what is not there.
        if any(name.startswith(section + NESTED) for section in own):
            continue
        letters = _letters(name)
        swapped = [one for one in plain if sorted(one) == sorted(letters)]
        close = swapped or difflib.get_close_matches(letters, plain, n=1, cutoff=_ALIKE)
        if close:
            meant = plain[close[0]]
            yield f"{variable}: no such setting; did you mean {meant}? (if not, unset it)"


def _letters(name: str) -> str:
    return name.removeprefix(PREFIX).replace("_", "")
