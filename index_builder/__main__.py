"""`python -m index_builder`: make an index, look after it, search it in the terminal."""

import sys

from index_builder.commands.add import Add
from index_builder.commands.build import Build
from index_builder.commands.inspect import Inspect
from index_builder.commands.prune import Prune
from index_builder.commands.remove import Remove
from index_builder.commands.rollback import Rollback
from index_builder.commands.search import Search
from index_builder.commands.verify import Verify
from model.command_line import Command, run_commands

COMMANDS: dict[str, type[Command]] = {
    "build": Build,
    "add": Add,
    "remove": Remove,
    "inspect": Inspect,
    "verify": Verify,
    "prune": Prune,
    "rollback": Rollback,
    "search": Search,
}

if __name__ == "__main__":
    sys.exit(run_commands("python -m index_builder", COMMANDS))
