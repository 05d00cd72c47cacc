"""What the vendor's tools answered: a value, or why there is none.

Their exit status tells little (hccn_tool returns the low byte of an internal code, where one number stands for several things, and
0 for some of them), so the words decide, and what is not understood is quoted.
"""
from __future__ import annotations

import re
from typing import Any, Callable, Mapping, NamedTuple, Sequence, Tuple

#: exit status of `timeout`: what it stopped, and what it had to kill
KILLED = (124, 137)

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_TIME = re.compile(r"\w{3} (\w{3}) +(\d{1,2}) (\d\d:\d\d:\d\d) (\d{4})")


class Unread(NamedTuple):
    """Why an answer has no value.

    ``kind`` is one of:

    * not_set: it was never configured,
    * absent: there is no such device or no optical module,
    * busy: somebody else asks, or it is not ready yet; ask again,
    * unsupported: this product or this version cannot tell,
    * no_permission: asked by somebody who is not root,
    * timeout: it was killed, or gave up,
    * no_answer: it said nothing, or that it could not find out,
    * unknown: it said something that is not understood.

    ``words`` is what it said.
    """

    kind: str
    words: str


class StrangeError(ValueError):
    """An answer that is not understood as a whole."""


Refusals = Sequence[Tuple[str, str]]


def quote(lines: Sequence[str]) -> str:
    """Put an answer into one line of at most 300 characters."""
    said = " ".join(" ".join(lines).split())
    return said if len(said) <= 300 else said[:299] + "…"


def understand(code: int, text: Sequence[str], refusals: Refusals, value: Callable[[Sequence[str]], Any]) -> Any:
    """Read an answer.

    Args:
        code: exit status of the tool.
        text: stdout and stderr together.
        refusals: kind, and how lines begin that say it.
        value: reads the lines, without blanks around them and without empty ones; raises StrangeError.

    Returns:
        The value, or an Unread.
    """
    lines = [line.strip() for line in text if line.strip()]
    if code in KILLED:
        return Unread("timeout", quote(lines))
    for line in lines:
        for kind, pattern in refusals:
            if re.match(pattern, line, re.IGNORECASE):
                return Unread(kind, quote(lines))
    if not lines:
        return Unread("no_answer", f"nothing, exit status {code}")
    try:
        return value(lines)
    except StrangeError:
        return Unread("unknown", quote(lines) + (f" (exit status {code})" if code else ""))


def gather(lines: Sequence[str]) -> dict[tuple[str, str], tuple[int, list[str]]]:
    """Collect lines ``WHO|QUERY|RC|TEXT``, in their order: exit status and text of each query. Lines of another form are left out."""
    found: dict[tuple[str, str], tuple[int, list[str]]] = {}
    for line in lines:
        words = line.split("|", 3)
        if len(words) == 4 and words[2].isdecimal():
            found.setdefault((words[0], words[1]), (int(words[2]), []))[1].append(words[3])
    return found


def iso_time(text: str) -> str:
    """Convert the time that C's asctime prints, ``Tue Aug  1 14:44:40 2022``."""
    found = _TIME.fullmatch(text)
    if not found or found.group(1) not in MONTHS:
        raise StrangeError(text)
    month, day, clock, year = found.groups()
    return f"{year}-{MONTHS.index(month) + 1:02d}-{int(day):02d}T{clock}"


def plain(value: Any) -> Any:
    """Make a value of what may hold Unread: ``{"error": kind, "words": words}`` in its place."""
    if isinstance(value, Unread):
        return {"error": value.kind, "words": value.words}
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    return value
