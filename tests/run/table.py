"""The cases of ``make test-run``, and what became of them as a table."""
from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Callable, Sequence

#: characters of what the user saw that the table shows
SHOWN = 420


@dataclass(frozen=True)
class Case:
    """One thing that is done to a run.

    Attributes:
        name: by which it is chosen.
        what: is done.
        nodes: whether the two pretend nodes play it; else supervisors on the loopback.
        play: does it; an exception is a failure.
    """

    name: str
    what: str
    nodes: bool
    play: Callable[..., Any]


@dataclass(frozen=True)
class Result:
    """What became of a case; ``wrong`` is empty when all was as expected."""

    case: Case
    took: float
    seconds: str
    saw: str
    wrong: str = ""


@dataclass
class Told:
    """What a case has to show: named seconds, and what the user saw."""

    seconds: list[str] = field(default_factory=list)
    saw: str = ""


CASES: list[Case] = []


def case(what: str, nodes: bool = True) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Put a function into the table, in the order of the files."""
    def kept(play: Callable[..., Any]) -> Callable[..., Any]:
        CASES.append(Case(play.__name__, what, nodes, play))
        return play
    return kept


def shown(text: str) -> str:
    """For a cell: in one line, not too long."""
    words = " ".join(text.split()).replace("|", "\\|")
    return words if len(words) <= SHOWN else words[:SHOWN].rsplit(" ", 1)[0] + " …"


def table(results: Sequence[Result]) -> str:
    """All results, in Markdown."""
    lines = ["| case | what is done | seconds | what the user saw |", "| --- | --- | --- | --- |"]
    for one in results:
        lines.append(f"| `{one.case.name}` | {one.case.what} | {one.seconds or '–'} | {'**NOT RIGHT** ' + shown(one.wrong) if one.wrong else shown(one.saw)} |")
    return "\n".join(lines)
