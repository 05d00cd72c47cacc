"""The command line of the containers."""
from __future__ import annotations

import argparse
from pathlib import Path
from typing import Sequence

from rehearsal.containers import FOLDER, NAME, clean, down, up
from rehearsal.containers.podman import missing_packages
from rehearsal.nodes.commands import print_line, run_command


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m rehearsal.containers", description="The nodes of a rehearsal as containers.")
    commands = parser.add_subparsers(dest="command", required=True)
    up_parser = commands.add_parser("up", help="bring the nodes up (those that run are kept)")
    up_parser.add_argument("--count", type=int, default=2, help="how many nodes (default: %(default)s)")
    up_parser.add_argument("--npus", type=int, default=2, help="NPUs that each node shows (default: %(default)s)")
    up_parser.add_argument("--name", default=NAME, help="what container names begin with (default: %(default)s)")
    down_parser = commands.add_parser("down", help="remove nodes and network")
    for one in (up_parser, down_parser):
        one.add_argument("--folder", type=Path, default=FOLDER, help="keys and ssh configuration (default: %(default)s)")
    commands.add_parser("clean", help="remove nodes, networks, images and the folder .rehearsal")
    commands.add_parser("check", help="print the Debian packages that this machine lacks for it")
    given = parser.parse_args(arguments)

    return run_command(given.command, {
        "up": lambda: up(given.count, given.npus, given.folder, given.name, print_line),
        "down": lambda: down(given.folder, print_line),
        "clean": lambda: clean(print_line),
    }, missing_packages)


if __name__ == "__main__":
    raise SystemExit(main())
