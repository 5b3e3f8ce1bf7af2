"""One way to make a command: a settings class whose fields are flags, variables and file keys.

A command is a `Command` with fields and a `run`. For each field `learning_rate`:
the flag `--learning-rate`, the environment variable `HREM_LEARNING_RATE` (nested with `__`), the
key `learning_rate` of `--config FILE.toml`, and a line of `--help` all come from its definition.
Precedence: flag > environment > --config > --recipe > default.

Exit status: 0; 1 a foreseen failure, one sentence; 2 wrong settings, every problem on a line of
its own; 130 interrupted.
"""

import contextlib
import difflib
import json
import os
import sys
import tomllib
import traceback
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeAlias, TypeVar, get_args

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, BeforeValidator, Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    CliPositionalArg,
    CliSettingsSource,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from model import console
from model.errors import ConfigError, HremError
from model.variables import NESTED, PREFIX, misspelt_variables, variable_of

__all__ = [
    "Command",
    "Names",
    "Numbers",
    "description_of",
    "load_settings",
    "recipe_settings",
    "run_command",
    "run_commands",
    "settings_of",
]

_SHORTCUTS = {"json-output": "json"}
_POSITIONAL = get_args(CliPositionalArg[str])[1]
C = TypeVar("C", bound="Command")


def _listed(value: Any) -> Any:
    """Return the items in a string: a JSON list, or names with commas between them."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value) if value.startswith("[") else value.split(",")
    except json.JSONDecodeError as error:
        raise ValueError(f"{value!r} is no JSON list ({error.msg})") from error


# A flag with commas or several times, a TOML list; in the environment a plain name will do.
Names: TypeAlias = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed)]
Numbers: TypeAlias = Annotated[tuple[int, ...], NoDecode, BeforeValidator(_listed)]


class Command(BaseSettings):
    """Settings of one command; `run` does the work and returns the exit status (None = 0)."""

    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        env_prefix=PREFIX,
        env_nested_delimiter=NESTED,
        protected_namespaces=(),
    )

    examples: ClassVar[tuple[str, ...]] = ()
    recipes: ClassVar[Path | None] = None
    # What is said after "interrupted".
    when_interrupted: ClassVar[str] = ""

    config: Path | None = Field(default=None, description="TOML file with settings")
    json_output: bool = Field(default=False, description="print one JSON object on stdout")
    debug: bool = Field(default=False, description="show the traceback of a failure")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is pydantic-settings'
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take what is passed and nothing else; `load_settings` has already put it together."""
        return (init_settings,)

    @classmethod
    def home_of(cls, flag: str) -> str:  # noqa: ARG003 - for commands that have one to tell of
        """Return in words where the setting of a flag belongs that is none of this command."""
        return ""

    @abstractmethod
    def run(self) -> int | None:
        """Do the work of the command."""


def run_commands(
    prog: str, commands: Mapping[str, type[Command]], argv: Sequence[str] | None = None
) -> int:
    """Run the command named by the first argument and return the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        with _reader_may_leave():
            console.result(_overview(prog, commands))
        return 0
    name, *rest = arguments
    if name not in commands:
        hint = _hint(name, commands)
        console.say(f"config error: no command {name!r}{hint} (commands: {', '.join(commands)})")
        return 2
    return run_command(f"{prog} {name}", commands[name], rest, siblings=commands.values())


def run_command(
    prog: str,
    command: type[Command],
    argv: Sequence[str] | None = None,
    *,
    siblings: Iterable[type[Command]] = (),
) -> int:
    """Run one command with `argv` (default: the process's) and return the exit status.

    The environment may hold settings of its `siblings`, the other commands of the program.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if "-h" in arguments or "--help" in arguments:
        with _reader_may_leave():
            _print_help(prog, command)
        return 0
    is_debug = "--debug" in arguments
    try:
        settings = load_settings(prog, command, arguments, siblings=siblings)
        is_debug = is_debug or settings.debug
        return settings.run() or 0
    except ConfigError as error:
        _show_traceback(is_debug)
        for problem in error.problems:
            console.say(f"config error: {problem}")
        return 2
    except HremError as error:
        _show_traceback(is_debug)
        console.say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        _show_traceback(is_debug)
        console.say(f"interrupted{command.when_interrupted}")
        return 130
    except BrokenPipeError:
        _forget_stdout()
        return 1
    except OSError as error:
        _show_traceback(is_debug)
        place = f": '{error.filename}'" if error.filename else ""
        console.say(f"error: {error.strerror or error}{place}")
        return 1


@contextlib.contextmanager
def _reader_may_leave() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        _forget_stdout()


def _forget_stdout() -> None:
    # The reader of our output has gone (`... | head`); Python would complain again at exit.
    sys.stdout = None


def load_settings(
    prog: str, command: type[C], argv: Sequence[str], *, siblings: Iterable[type[Command]] = ()
) -> C:
    """Return the settings of `command` from flags, environment, files and defaults.

    Raises:
        ConfigError: Anything is wrong; every problem is told, not only the first.
    """
    problems: list[str] = []
    flags = _flags(prog, command, argv, problems)
    variables = _variables(command, problems)
    others = set().union(*map(_variable_names, siblings))
    problems += misspelt_variables(os.environ, _variable_names(command), others)
    for common in Command.model_fields:
        variables.pop(common, None)
    merged: dict[str, Any] = {}
    if flags.get("config") is not None:
        merged = _read_toml(Path(str(flags["config"])))
    merged = _merge(_merge(merged, variables), flags)
    if command.recipes is not None and merged.get("recipe") is not None:
        merged = _merge(recipe_settings(command.recipes, str(merged["recipe"])), merged)
    try:
        settings = command(**merged)
    except ValidationError as error:
        problems += [_problem(command, detail) for detail in error.errors()]
    except ConfigError as error:
        problems += error.problems
    if problems:
        raise ConfigError(problems)
    return settings


def _variables(command: type[Command], problems: list[str]) -> dict[str, Any]:
    source = EnvSettingsSource(command)
    everything = source.env_vars
    for name, field in settings_of(command):
        # An empty path would be the folder where one stands; without its keys a service is open.
        variable, kind = variable_of(name), field.annotation
        if os.environ.get(variable) == "" and Path in (kind, *get_args(kind)):
            problems.append(f"{variable} is empty; unset it or give a path")
    try:
        return source()
    except SettingsError:
        # The error names the section; read one by one, the variables tell which of them it is.
        for name, value in everything.items():
            source.env_vars = {name: value}
            try:
                source()
            except SettingsError as error:
                reason = getattr(error.__cause__, "msg", "")
                problems.append(f"{name.upper()}: {value!r} is no JSON value ({reason})")
        return {}


def _variable_names(command: type[Command]) -> set[str]:
    return {variable_of(name) for name, _ in settings_of(command)}


def _flags(
    prog: str, command: type[Command], argv: Sequence[str], problems: list[str]
) -> dict[str, Any]:
    try:
        return _cli_source(prog, command, argv, ignore_unknown=False)()
    except SettingsError as error:
        told = str(error).removeprefix("error parsing CLI: ")
        problems.append(told + (_meant(command, argv) or _stray_word(command, told)))
    try:
        # Read on without the unknown flags, so that wrong values are told in the same breath.
        return _cli_source(prog, command, argv, ignore_unknown=True)()
    except SettingsError as error:
        raise ConfigError(problems) from error


def _meant(command: type[Command], argv: Sequence[str]) -> str:
    """Return a guess at the first flag that is none, or at a value that a switch was given."""
    # `--debug=false` is `--debug false`.
    words = [word for part in argv for word in part.split("=", 1)]
    for flag, value in pairwise(words):
        if flag.startswith("--") and value.lower() in ("true", "false"):
            switch = flag.removeprefix("--").removeprefix("no-")
            return f"; a switch takes no value: --{switch} or --no-{switch}"
    names = [
        name.replace("_", "-")
        for name, field in settings_of(command)
        if _POSITIONAL not in field.metadata
    ]
    known = [f"--{no}{name}" for name in (*names, *_SHORTCUTS.values()) for no in ("", "no-")]
    for part in argv:
        flag = part.split("=")[0]
        if flag.startswith("--") and flag not in known:
            home = command.home_of(flag)
            return f"; {home}" if home else _hint(flag, known, show=str)
    return ""


def _stray_word(command: type[Command], told: str) -> str:
    words = told.removeprefix("unrecognized arguments: ")
    if words == told or words.startswith("-"):
        return ""
    required = [
        name
        for name, field in command.model_fields.items()
        if field.is_required() and _POSITIONAL not in field.metadata
    ]
    if " " not in words and len(required) == 1:
        return f"; did you mean --{required[0].replace('_', '-')} {words}?"
    return "; a sentence, or a path with spaces, goes in quotes"


def _cli_source(
    prog: str, command: type[Command], argv: Sequence[str], *, ignore_unknown: bool
) -> CliSettingsSource[Any]:
    return CliSettingsSource(
        command,
        cli_prog_name=prog,
        cli_parse_args=list(argv),
        cli_kebab_case=True,
        cli_avoid_json=True,
        cli_implicit_flags=True,
        cli_enforce_required=False,
        cli_hide_none_type=True,
        cli_exit_on_error=False,
        cli_ignore_unknown_args=ignore_unknown,
        cli_shortcuts=_SHORTCUTS,
    )


def recipe_settings(folder: Path, name: str) -> dict[str, Any]:
    """Return what a recipe of a folder sets.

    Raises:
        ConfigError: There is no such recipe, or it is no TOML.
    """
    path = folder / f"{name}.toml"
    if not path.is_file():
        known = ", ".join(sorted(recipe.stem for recipe in folder.glob("*.toml")))
        raise ConfigError([f"recipe = {name!r}: there is no such recipe; there are: {known}"])
    return _read_toml(path)


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigError([f"config = '{path}': {error.strerror}; give a TOML file"]) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError([f"config = '{path}': not valid TOML: {error}"]) from error


def _merge(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(lower)
    for key, value in upper.items():
        below = merged.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            merged[key] = _merge(below, value)
        else:
            merged[key] = value
    return merged


def _problem(command: type[Command], detail: Any) -> str:
    place = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        return f"{place}: unknown setting" + _hint(place, [n for n, _ in settings_of(command)])
    if detail["type"] == "missing":
        flag = "--" + place.replace("_", "-")
        return f"{place}: required; give {flag}, or set it in --config or as {variable_of(place)}"
    if detail["type"] == "value_error":
        message = str(detail["ctx"]["error"])
        return f"{place}: {message}" if place else message
    message = detail["msg"][0].lower() + detail["msg"][1:]
    return f"{place} = {detail['input']!r}: {message}"


def _hint(word: str, known: Iterable[str], *, show: Callable[[str], str] = repr) -> str:
    """Return a guess at what a misspelt word should be, or nothing."""
    known = list(known)
    # `--steps` for `--schedule.steps`: the section is forgotten sooner than the name.
    in_sections = [name for name in known if name.rpartition(".")[2] == word.lstrip("-")]
    close = in_sections or difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {show(close[0])}?" if close else ""


def settings_of(section: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Yield every setting and section by its dotted name."""
    for name, field in section.model_fields.items():
        yield prefix + name, field
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from settings_of(field.annotation, f"{prefix}{name}.")


def _print_help(prog: str, command: type[Command]) -> None:
    for _, field in settings_of(command):
        field.description = description_of(field)
    with contextlib.suppress(SystemExit):
        _cli_source(prog, command, ["--help"], ignore_unknown=False)
    if command.examples:
        console.result("\nexamples:\n" + "\n".join(f"  {line}" for line in command.examples))


def description_of(field: FieldInfo) -> str:
    """Return what a setting does, with the bounds of a number."""
    described, bounds = field.description or "", _bounds(field)
    return described if bounds in described else f"{described} {bounds}".strip()


def _bounds(field: FieldInfo) -> str:
    """Return the bounds of a number as people write them, e.g. "[>= 0, < 1]"."""
    signs = {Gt: ">", Ge: ">=", Lt: "<", Le: "<="}
    told = [
        f"{sign} {getattr(bound, kind.__name__.lower())}"
        for bound in field.metadata
        for kind, sign in signs.items()
        if isinstance(bound, kind)
    ]
    return f"[{', '.join(told)}]" if told else ""


def _overview(prog: str, commands: Mapping[str, type[Command]]) -> str:
    width = max(len(name) for name in commands)
    lines = [f"usage: {prog} COMMAND [--help] [--SETTING VALUE ...]", "", "commands:"]
    for name, command in commands.items():
        summary = (command.__doc__ or "").strip().splitlines()[0]
        lines.append(f"  {name:<{width}}  {summary}")
    lines += ["", "examples:"]
    lines += [f"  {line}" for command in commands.values() for line in command.examples]
    return "\n".join(lines)


def _show_traceback(is_debug: bool) -> None:
    if is_debug:
        traceback.print_exc()
