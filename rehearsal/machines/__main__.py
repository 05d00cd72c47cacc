"""The command line of the virtual machines."""
from __future__ import annotations

import argparse
import signal
from pathlib import Path
from typing import Sequence

from rehearsal.machines import FOLDER, MEMORY_MIB, clean, down, reboot, up
from rehearsal.machines.qemu import missing_packages
from rehearsal.nodes.commands import print_line, run_command


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m rehearsal.machines", description="The nodes of a rehearsal as virtual machines.")
    commands = parser.add_subparsers(dest="command", required=True)
    up_parser = commands.add_parser("up", help="bring the machines up (those that run are kept)")
    up_parser.add_argument("--count", type=int, default=2, help="how many machines (default: %(default)s)")
    up_parser.add_argument("--npus", type=int, default=2, help="NPUs that each machine shows (default: %(default)s)")
    up_parser.add_argument("--memory", type=int, default=MEMORY_MIB, help="MiB for each (default: %(default)s)")
    up_parser.add_argument("--cpus", type=int, default=0, help="processors for each (default: those of this machine, divided)")
    reboot_parser = commands.add_parser("reboot", help="reboot a machine and wait for it")
    reboot_parser.add_argument("name", help="for example node2")
    down_parser = commands.add_parser("down", help="end and remove the machines")
    for one in (up_parser, reboot_parser, down_parser):
        one.add_argument("--folder", type=Path, default=FOLDER, help="keys, ssh configuration, disks (default: %(default)s)")
    commands.add_parser("clean", help="remove all machines of this checkout, and the image")
    commands.add_parser("check", help="print the Debian packages that this machine lacks for it")
    given = parser.parse_args(arguments)
    # Being told to end is an interruption: what was started is ended too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)

    try:
        return run_command(given.command, {
            "up": lambda: up(given.count, given.npus, given.folder, given.memory, given.cpus, print_line),
            "reboot": lambda: reboot(given.name, given.folder, log=print_line),
            "down": lambda: down(given.folder, print_line),
            "clean": lambda: clean(print_line),
        }, missing_packages)
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    raise SystemExit(main())
