"""`python -m index_builder`: make an index, look after it, search it in the terminal."""

import sys

from index_builder.commands.build import Build
from index_builder.commands.inspect import Inspect
from index_builder.commands.search import Search
from model.command_line import run_commands

if __name__ == "__main__":
    sys.exit(
        run_commands(
            "python -m index_builder", {"build": Build, "inspect": Inspect, "search": Search}
        )
    )
