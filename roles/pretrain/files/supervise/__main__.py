"""Supervise a training on this node, or ask how it stands; docs/run.md.

python3 supervise run CONFIG
python3 supervise ask status CONFIG [--full] [--after N]
python3 supervise ask stop CONFIG [--who NAME]
python3 supervise evidence CONFIG GENERATION
"""
from __future__ import annotations

import argparse
import asyncio
import getpass
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Sequence

if not __package__:  # started as a folder: its modules are those of a package beside it
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from supervise import evidence, kept
from supervise.ask import ask
from supervise.config import Config, ConfigError, load
from supervise.supervisor import Supervisor, alone, say

#: exit status of a supervisor that failed itself
BROKEN = 6


def arguments(words: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="supervise", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("run", help="supervise this node's part of the run").add_argument("config")
    searching = commands.add_parser("evidence", help="keep what the logs tell of the end of a start")
    searching.add_argument("config")
    searching.add_argument("generation", type=int)
    asking = commands.add_parser("ask", help="print how the run stands, as one JSON object")
    asking.add_argument("what", choices=("status", "stop"))
    asking.add_argument("config")
    asking.add_argument("--full", action="store_true", help="with every node")
    asking.add_argument("--after", type=int, help="with the lines of the log after this one")
    asking.add_argument("--who", default=getpass.getuser(), help="who wants the stop")
    return parser.parse_args(words)


async def supervise(config: Config, token: bytes) -> None:
    """Supervise, and exit: a thread that hangs in a file system must not keep us."""
    status = await Supervisor(config, token).run()
    sys.stdout.flush()
    os._exit(status)


def main(words: Sequence[str]) -> int:
    """Entry."""
    args = arguments(words)
    try:
        config = load(args.config)
        if args.command == "ask":
            question = {"what": args.what, "full": args.full, "after": args.after, "who": args.who}
            answer = asyncio.run(ask(config, config.token(), question))
            print(json.dumps(answer))
            return 4 if "error" in answer else 0
        if args.command == "evidence":
            evidence.gather(config, args.generation)
            return 0
        alone(config)
        result = kept.read(os.path.join(config.folder, "result.json"))
        if result:
            say(f"run {config.run} is over: {result.get('verdict')}. A new launch (site.yml) removes {config.folder}/result.json")
            return 0
        asyncio.run(supervise(config, config.token()))
    except ConfigError as error:
        if args.command == "ask":
            print(json.dumps({"version": 1, "error": str(error)}))
            return 4
        print(f"supervise: {error}", file=sys.stderr)
        return 2
    except Exception:
        # Python's own status for this is 1, which is a run that failed.
        traceback.print_exc()
    return BROKEN


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
