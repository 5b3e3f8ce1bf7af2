"""One environment for all programs: no variable of one is taken for a slip of another's."""

from collections.abc import Mapping

import pytest

from deploy.demo import Demo
from index_builder.__main__ import COMMANDS as INDEX_COMMANDS
from model.command_line import Command, settings_of
from model.data.scenes.__main__ import Scenes
from model.training.__main__ import COMMANDS as TRAINING_COMMANDS
from model.variables import misspelt_variables, variable_of
from service.config import ServiceConfig

PROGRAMS: dict[str, Mapping[str, type[Command]]] = {
    "demo": {"": Demo},
    "scenes": {"": Scenes},
    "training": TRAINING_COMMANDS,
    "index_builder": INDEX_COMMANDS,
    "service": {"": ServiceConfig},
}


# One program's singular is another's plural; whoever exports these has to unset them for it.
ALIKE = {"HREM_SEEDS", "HREM_IMAGE"}


def variables(command: type[Command]) -> set[str]:
    return {variable_of(name) for name, _ in settings_of(command)}


# Those of the Makefile and of the tests.
OTHERS = {f"HREM_{name}" for name in ("DATA", "BACKBONE", "KILL_COUNT", "SWAP_COUNT", "FUZZ_COUNT")}


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_variables_of_a_program_stop_no_other(program: str) -> None:
    elsewhere = OTHERS.union(
        *(
            variables(command)
            for other, commands in PROGRAMS.items()
            if other != program
            for command in commands.values()
        )
    )
    siblings = set().union(*map(variables, PROGRAMS[program].values()))
    for name, command in PROGRAMS[program].items():
        given = elsewhere - ALIKE
        taken_for_slips = list(misspelt_variables(given, variables(command), siblings))
        assert taken_for_slips == [], name


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("HREM_KEY", "HREM_KEYS"),
        ("HREM_PROT", "HREM_PORT"),
        ("HREM_INDX", "HREM_INDEX"),
        ("HREM_ALLOWED_HOST", "HREM_ALLOWED_HOSTS"),
        ("HREM_IMAGE_ROOT", "HREM_IMAGES_ROOT"),
        ("HREM_TRUSTED_PROXY", "HREM_TRUSTED_PROXIES"),
        ("HREM_MAX_WAITING_ITEM", "HREM_MAX_WAITING_ITEMS"),
    ],
)
def test_a_slip_in_a_variable_of_the_service_is_told(given: str, meant: str) -> None:
    (told,) = misspelt_variables([given], variables(ServiceConfig))
    assert f"did you mean {meant}?" in told


def test_what_kubernetes_sets_beside_a_service_named_hrem_search_is_no_slip() -> None:
    injected = [
        "HREM_SEARCH_PORT",
        "HREM_SEARCH_PORT_80_TCP",
        "HREM_SEARCH_PORT_80_TCP_ADDR",
        "HREM_SEARCH_SERVICE_HOST",
        "HREM_SEARCH_SERVICE_PORT",
        "HREM_SEARCH_SERVICE_PORT_HTTP",
    ]
    assert list(misspelt_variables(injected, variables(ServiceConfig))) == []
