"""Makes the tables of checks.md from the table of checks itself: ``PYTHONPATH=collections python docs/checks.py``.

tests/unit/test_checks.py says when they are out of date.
"""
from __future__ import annotations

import re
from itertools import groupby
from pathlib import Path

from ansible_collections.ascend.cluster.plugins.module_utils._checks import TABLE, Check, offer

PAGE = Path(__file__).resolve().parent / "checks.md"


def _cell(text: str) -> str:
    return re.sub(r"\{(\w+)\}", r"…", text).replace("|", "\\|") or "-"


def _row(check: Check) -> str:
    cells = (check.read, check.cause, check.expected, check.remedy + offer(check), check.source)
    return f"| `{check.name}` | {check.severity} | {check.tier} | {' | '.join(map(_cell, cells))} |"


def tables() -> str:
    """Return the tables, one an area in the order of the table."""
    parts = [f"{len(TABLE)} checks, {sum(check.severity == 'failure' for check in TABLE)} of which refuse."]
    for area, checks in groupby(TABLE, key=lambda check: check.area):
        rows = [_row(check) for check in checks]
        parts.append("\n".join([f"### {area[0].upper()}{area[1:]}", "",
                                "| check | severity | tier | read by | what is wrong | expected | the way out | known from |",
                                "|---|---|---|---|---|---|---|---|", *rows]))
    return "\n\n".join(parts)


def page(text: str) -> str:
    """Return the page with the tables between its marks."""
    before, start, rest = text.partition("<!-- checks -->\n")
    _, end, after = rest.partition("<!-- /checks -->")
    if not start or not end:
        raise SystemExit("docs/checks.md lacks `<!-- checks -->` … `<!-- /checks -->`, between which the tables go.")
    return f"{before}{start}\n{tables()}\n\n{end}{after}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
