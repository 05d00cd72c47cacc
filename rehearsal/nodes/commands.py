"""What the command lines of both kinds of nodes have in common."""
from __future__ import annotations

import sys
from typing import Callable, Mapping

from rehearsal.nodes import NodesError


def print_line(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)


def run_command(command: str, actions: Mapping[str, Callable[[], object]], missing: Callable[[], list[str]]) -> int:
    """Run one command of a command line; ``check`` prints the packages that are missing. Returns the exit status."""
    try:
        if command == "check":
            packages = missing()
            print(" ".join(packages))
            return 1 if packages else 0
        actions[command]()
    except NodesError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0
