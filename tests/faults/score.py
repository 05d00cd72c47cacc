"""Scores the words about failed runs: the corpus of faults, played through what reads the logs and what judges them.

    PYTHONPATH=collections python -m tests.faults.score [--write-docs]

Of each row: was the right rank named, the right node, the right cause, and was anybody innocent blamed? The rows are played as the launch script
leaves them, then with the nodes' times removed, with the ranks interleaved in other orders, and without logs of their own.
Beside it, what torchrun's own summary ("first observed failure") says.
"""
from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
from pathlib import Path
from typing import Any, Callable, Iterable

from ansible_collections.ascend.cluster.plugins.module_utils import _evidence, _fault_codes, _fault_patterns, _run, _training_log

from tests.faults import compose

DOCS = Path(__file__).parents[2] / "docs/faults.md"

#: how rows are played: name to arguments of compose.compose
PLAYS: dict[str, dict[str, Any]] = {
    "as left": {},
    "no times": {"times": False},
    "interleaved": {"shuffle": 1},
    "one log": {"layout": "mixed"},
    "one log, interleaved": {"layout": "mixed", "shuffle": 2},
    "one log, no times": {"layout": "mixed", "times": False},
}


@dataclasses.dataclass(frozen=True)
class Score:
    """What was right about one row."""

    name: str
    kind: str
    held_out: bool
    node: bool
    rank: bool
    cause: bool
    said: bool
    wrong_blame: bool
    found: str
    message: str
    torchrun_node: bool
    torchrun_rank: bool


def verdict_of(nodes: list[compose.NodeRun], ranks_per_node: int) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """The product's verdict on run folders, and the outcomes that it was given."""
    outcomes: dict[str, dict[str, Any]] = {}
    for node in nodes:
        journal = node.folder / "journal.txt"
        evidence = {}
        # A node that does not answer cannot be read.
        if node.outcome not in ("succeeded", "unreachable"):
            collector = _evidence.Collector(str(node.folder), node.node_rank, ranks_per_node)
            evidence = collector.collect("", journal.read_text(encoding="utf-8") if journal.exists() else "")
        log = node.folder / "train.log"
        seen: list[_training_log.Iteration] = []
        if node is nodes[-1] and log.exists():
            with log.open(encoding="utf-8", errors="replace") as file:
                seen = list(_training_log.iterations(file))
        outcomes[node.name] = {"outcome": node.outcome, "reason": node.reason, "ended_at": node.ended_at, "clock": node.clock, "evidence": evidence,
                               "log": str(log), "iterations": [dataclasses.asdict(item) for item in seen]}
    expected = {"last_iteration": compose.TRAIN_ITERS, "log_interval": 1, "first_iteration": -1, "nproc_per_node": ranks_per_node}
    addresses = {node.name: f"10.0.0.{node.node_rank + 1}" for node in nodes}
    return _run.training_verdict(outcomes, expected, addresses), outcomes


def score(row: compose.Row, folder: Path, **how: Any) -> Score:
    """Play one row below a folder and compare."""
    nodes = compose.compose(row, folder, **how)
    verdict, outcomes = verdict_of(nodes, row.ranks_per_node)
    expect, untimed = row.expect, how.get("times") is False
    culprit, ranks = verdict["culprit"], set(verdict["ranks"])
    # Nobody is the culprit where the verdict says that the order cannot be told; then the right one must be among those that it names.
    named = {culprit} if culprit else set(verdict["nodes"])
    right_nodes = set(expect.nodes) | (set(expect.untimed_nodes) if untimed else set())
    right_ranks = set(expect.ranks) | (set(expect.untimed_ranks) if untimed else set())
    tells = expect.mixed_tells if how.get("layout") == "mixed" else "all"
    unknown_is_right = "" in right_nodes or tells == "nothing"
    failed = not verdict["succeeded"]
    node_right = failed and (named <= right_nodes if named else unknown_is_right)
    rank_right = failed and ranks <= right_ranks and (bool(ranks) or not expect.ranks or tells == "node" or (not culprit and unknown_is_right))
    innocent = set(expect.innocent) - (right_nodes | right_ranks)
    wrong = verdict["succeeded"] or bool((named | ranks) & innocent or named - right_nodes or ranks - right_ranks)
    words = verdict["message"].lower()
    said = all(any(choice.lower() in words for choice in word.split("|")) for word in expect.say)
    first = _torchrun(outcomes, row.ranks_per_node)
    return Score(row.name, row.kind, compose.held_out(row.name), node_right, rank_right, failed and verdict["cause"] in expect.causes, said,
                 wrong, f"{' or '.join(sorted(named)) or 'nobody'} {sorted(ranks)} {verdict['cause'] or 'success'}", verdict["message"],
                 first is not None and first[0] in expect.nodes, first is not None and first[1] in expect.ranks)


def _torchrun(outcomes: dict[str, dict[str, Any]], ranks_per_node: int) -> tuple[str, int] | None:
    """Node and rank of the first failure by torchrun's summaries: each node has one of its own, so the one that ended first counts."""
    told = [(outcome["ended_at"], name, outcome["evidence"]["first_observed"]) for name, outcome in outcomes.items()
            if outcome["evidence"].get("first_observed") is not None]
    return min(told)[1:] if told else None


def play(rows: Iterable[compose.Row], how: dict[str, Any]) -> list[Score]:
    """Score rows, each in a folder of its own that does not stay."""
    scores = []
    for row in rows:
        with tempfile.TemporaryDirectory(prefix="faults-") as folder:
            scores.append(score(row, Path(folder), **how))
    return scores


def share(scores: list[Score], right: Callable[[Score], bool]) -> str:
    """``41/42 98 %``."""
    count = sum(right(one) for one in scores)
    return f"{count}/{len(scores)} {100 * count / max(1, len(scores)):.0f} %"


COLUMNS: dict[str, Callable[[Score], bool]] = {
    "right rank": lambda one: one.rank, "right node": lambda one: one.node, "right cause": lambda one: one.cause, "right words": lambda one: one.said,
    "wrong blame": lambda one: one.wrong_blame, "torchrun: rank": lambda one: one.torchrun_rank, "torchrun: node": lambda one: one.torchrun_node}


def table(results: dict[str, list[Score]]) -> str:
    """Markdown: a line a way of playing, the rows looked at and those held out apart."""
    lines = ["| played | rows | " + " | ".join(COLUMNS) + " |", "| --- | --- |" + " --- |" * len(COLUMNS)]
    for name, scores in results.items():
        for which, part in (("", [one for one in scores if not one.held_out]), (" (held out)", [one for one in scores if one.held_out])):
            if part:
                lines.append(f"| {name}{which} | {len(part)} | " + " | ".join(share(part, right) for right in COLUMNS.values()) + " |")
    return "\n".join(lines)


def good_enough(results: dict[str, list[Score]]) -> bool:
    """95 % of the ranks right as the launch script leaves the logs, and nobody innocent blamed in any play."""
    left = results["as left"]
    return sum(one.rank for one in left) >= 0.95 * len(left) and not any(one.wrong_blame for scores in results.values() for one in scores)


def write_docs(results: dict[str, list[Score]]) -> None:
    """Put the tables into docs/faults.md: the score, the causes with their remedies, and the vendor's codes."""
    causes = ["| cause | in words | what to do |", "| --- | --- | --- |"]
    causes += [f"| `{key}` | {cause.words} | {cause.remedy} |" for key, cause in _fault_patterns.CAUSES.items()]
    codes = ["| code | whose fault | in words | source |", "| --- | --- | --- | --- |"]
    whose = {"cause": "this rank's", "cascade": "another's, or between them", "confirmation": "told by another line"}
    codes += [f"| {row.code} | {whose[row.role]} | {row.en} {row.zh} | {row.source}, {row.version} |" for row in _fault_codes.CODES.values()]
    text = DOCS.read_text(encoding="utf-8")
    for name, lines in (("score", table(results).split("\n")), ("causes", causes), ("codes", codes)):
        begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        head, rest = text.split(begin)
        text = "\n".join([head + begin, *lines, end + rest.split(end)[1]])
    DOCS.write_text(text, encoding="utf-8")


def main() -> int:
    """Entry: 0 when the score is good enough."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.score", description="Score the words about failed runs.")
    parser.add_argument("--show", action="store_true", help="show the message of each row that is not right")
    parser.add_argument("--write-docs", action="store_true", help="put the table into docs/faults.md")
    parser.add_argument("--play", choices=list(PLAYS), action="append", help="only this way of playing")
    wanted = parser.parse_args()
    # Huge logs once: they are written and read for minutes.
    results = {name: play([row for row in compose.rows() if how == {} or not row.huge], how) for name, how in PLAYS.items()
               if name in (wanted.play or PLAYS)}
    print(table(results))
    for name, scores in results.items():
        for one in scores:
            wrong = [column for column, right in COLUMNS.items() if ":" not in column and right(one) == (column == "wrong blame")]
            if wrong and not one.held_out:
                print(f"{name}: {one.name}: not right: {', '.join(wrong)}; found {one.found}")
                if wanted.show:
                    print("    " + one.message.replace("\n", "\n    "))
    if wanted.write_docs:
        write_docs(results)
    good = good_enough(results)
    print("ok" if good else "MISSED: 95 % of the ranks, and no wrong blame, are wanted")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
