"""Breaks runs in every way, and says what the user saw of it: ``make test-run``.

    PYTHONPATH=collections:roles/pretrain/files python -m tests.run [--write-docs] [CASE …]

The two pretend nodes are brought up once, and taken down at the end. Exit status 1 when a case is not as expected.
"""
from __future__ import annotations

import argparse
import contextlib
import sys
import time
import traceback
from typing import Any

from bench.report import between
from rehearsal import artifacts, containers, nodes
from tests.playing import PROJECT
from tests.run import ends, meeting, others, restarts
from tests.run.controller import Missed
from tests.run.nodes import Player
from tests.run.table import CASES as KNOWN
from tests.run.table import Case, Result, Told, table

FOLDER = PROJECT / ".rehearsal/run"
DOCUMENT = PROJECT / "docs/run.md"
#: in this order: cases of one file may go on with one training
CASES = [case for module in (meeting, restarts, others, ends) for case in KNOWN if case.play.__module__ == module.__name__]


def played(case: Case, player: Player | None) -> Result:
    """Play a case; it is taken for wrong by whatever it raises."""
    begun, told, wrong = time.monotonic(), Told(), ""
    try:
        told = case.play(player) or (player.told if player else told)
    except Exception as error:
        wrong = str(error) if isinstance(error, Missed) else traceback.format_exc()
        if player:
            told = player.told
            with contextlib.suppress(Exception):
                player.finish()
    return Result(case, time.monotonic() - begun, "; ".join(told.seconds), told.saw, wrong)


def show(result: Result) -> None:
    """At once: a long time passes until the table."""
    print(f"{result.case.name}: {'NOT RIGHT' if result.wrong else 'ok'}, {result.took:.0f} s; {result.seconds}\n    {result.saw[:600]}", flush=True)
    if result.wrong:
        print("    " + result.wrong.replace("\n", "\n    "), flush=True)


def main() -> int:
    """Play the cases."""
    parser = argparse.ArgumentParser(prog="python -m tests.run", description="Break runs in every way.")
    parser.add_argument("names", nargs="*", help="cases to play; all when none is named")
    parser.add_argument("--write-docs", action="store_true", help="write the table into docs/run.md")
    parser.add_argument("--keep", action="store_true", help="leave the nodes up, and take those that are")
    wanted = parser.parse_args()
    unknown = sorted(set(wanted.names) - {case.name for case in CASES})
    if unknown:
        parser.error(f"no case {', '.join(unknown)}; there are {', '.join(case.name for case in CASES)}")
    cases = [case for case in CASES if not wanted.names or case.name in wanted.names]
    results: list[Result] = []
    with contextlib.ExitStack() as stack:
        for case in (case for case in cases if not case.nodes):
            results.append(played(case, None))
            show(results[-1])
        on_nodes = [case for case in cases if case.nodes]
        if on_nodes:
            player = _nodes(stack, wanted.keep)
        for case in on_nodes:
            results.append(played(case, player))
            show(results[-1])
        if on_nodes:
            results.append(played(Case("end", "nothing is done any more; the nodes are looked at", True, _end), player))
            show(results[-1])
    print(table(results))
    if wanted.write_docs:
        DOCUMENT.write_text(between(DOCUMENT.read_text(encoding="utf-8"), "test-run", table(results)), encoding="utf-8")
    wrong = [one.case.name for one in results if one.wrong]
    print(f"{len(results)} cases, {sum(one.took for one in results) / 60:.0f} min; " + (f"NOT RIGHT: {' '.join(wrong)}" if wrong else "all as expected"))
    return 1 if wrong else 0


def _end(player: Player) -> Told:
    player.finish()
    player.nothing_left()
    return Told(saw="nothing is left")


def _nodes(stack: contextlib.ExitStack, keep: bool) -> Any:
    """The two nodes, ready for a launch."""
    begun = time.monotonic()
    artifacts.build("standin", ["recipe"])
    FOLDER.mkdir(parents=True, exist_ok=True)
    if not keep:
        stack.callback(containers.down, FOLDER / "ssh")
    player = Player(FOLDER)
    player.converge()
    player.shorten()
    print(f"site.yml: {time.monotonic() - begun:.0f} s", flush=True)
    return player


if __name__ == "__main__":
    with contextlib.suppress(nodes.NodesError):
        sys.exit(main())
    sys.exit(1)
