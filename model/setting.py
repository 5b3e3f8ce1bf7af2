"""The settings of a command as a list, for whoever writes them down: the reference pages."""

from collections.abc import Iterator
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from model.command_line import Command, description_of, settings_of
from model.variables import variable_of

__all__ = ["Setting", "list_settings"]


@dataclass(frozen=True)
class Setting:
    """One setting, as it is given on the command line and in the environment.

    Attributes:
        flag: `--schedule.batch-size`.
        variable: `HREM_SCHEDULE__BATCH_SIZE`; empty for what every command has and only flags set.
        kind: Its type, for people.
        default: For people; `required` where there is none.
        description: What it does, with unit and bounds.
    """

    flag: str
    variable: str
    kind: str
    default: str
    description: str


def list_settings(command: type[Command]) -> Iterator[Setting]:
    """Yield every setting of a command in the order of its help; sections are left out."""
    for name, field in settings_of(command):
        kind: Any = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            continue
        default = field.get_default(call_default_factory=True, validated_data={})
        yield Setting(
            flag=f"--{name.replace('_', '-')}",
            variable="" if name in Command.model_fields else variable_of(name),
            kind=_named(kind),
            default="required" if default is PydanticUndefined else _shown(default),
            description=description_of(field),
        )


def _named(kind: Any) -> str:
    if get_origin(kind) is Annotated:
        return _named(get_args(kind)[0])
    if get_origin(kind) is Literal:
        return " or ".join(map(str, get_args(kind)))
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(_named(one) for one in get_args(kind) if one is not NoneType)
    text = kind.__name__ if isinstance(kind, type) and not get_args(kind) else str(kind)
    return text.replace("typing.", "").replace("pathlib.", "")


def _shown(value: Any) -> str:
    if value is None or value == ():
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value)
