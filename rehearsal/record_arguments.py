"""Record the option tables of the real parsers for the stand-ins in ``rehearsal/upstream``.

Usage, in an environment that can import both projects (torch for CPU, setuptools below 82, six, regex,
einops, transformers, and packages standing in for torch_npu and apex on ``PYTHONPATH``)::

    python -m rehearsal.record_arguments --megatron <checkout> --ascendspeed <checkout>

It runs upstream's own code up to the point where the command line would be parsed, once without and once with
AscendSpeed's additions, and writes each project's options as JSON beside the stand-in that reads them.
"""
from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable

UPSTREAM = Path(__file__).resolve().parent / "upstream"
TABLES = {
    "Megatron-LM": UPSTREAM / "Megatron-LM" / "megatron" / "training" / "arguments.json",
    "AscendSpeed": UPSTREAM / "AscendSpeed" / "ascendspeed" / "arguments.json",
}
ACTIONS = {
    "_StoreAction": "store",
    "_StoreTrueAction": "store_true",
    "_StoreFalseAction": "store_false",
    "_StoreConstAction": "store_const",
    "_AppendAction": "append",
    "_CountAction": "count",
}
TYPES = {None: None, int: "int", float: "float", str: "str", bool: "bool"}


class _Caught(Exception):
    """Carries a complete parser out of upstream's parse_args."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        super().__init__()
        self.parser = parser


def option(action: argparse.Action, group: str) -> dict[str, Any]:
    """One option as plain data.

    Raises:
        ValueError: for an action or a type that the table cannot express.
    """
    kind = ACTIONS.get(type(action).__name__)
    if kind is None or action.type not in TYPES:
        raise ValueError(f"{action.option_strings}: cannot record {type(action).__name__} of type {action.type!r}")
    entry: dict[str, Any] = {"options": list(action.option_strings), "dest": action.dest, "action": kind,
                             "default": action.default, "group": group}
    if kind in ("store", "append"):
        entry["type"] = TYPES[action.type]
        entry["nargs"] = action.nargs
        entry["choices"] = None if action.choices is None else list(action.choices)
    if kind == "store_const":
        entry["const"] = action.const
    if action.required:
        entry["required"] = True
    return entry


def options(parser: argparse.ArgumentParser) -> list[dict[str, Any]]:
    """All options of a parser, without ``--help``, in the parser's order."""
    groups = {id(action): group.title or "" for group in parser._action_groups for action in group._group_actions}
    return [option(action, groups.get(id(action), "")) for action in parser._actions if action.dest != "help"]


def additions(plain: list[dict[str, Any]], full: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The options of ``full`` that are not in ``plain``, or differ there."""
    return [entry for entry in full if entry not in plain]


def _parser_of(parse_args: Callable[[], Any]) -> argparse.ArgumentParser:
    def caught(self: argparse.ArgumentParser, *_args: Any, **_kwargs: Any) -> Any:
        raise _Caught(self)

    original = argparse.ArgumentParser.parse_args
    argparse.ArgumentParser.parse_args = caught  # type: ignore[method-assign]
    try:
        parse_args()
    except _Caught as done:
        return done.parser
    finally:
        argparse.ArgumentParser.parse_args = original  # type: ignore[method-assign]
    raise RuntimeError("upstream's parse_args returned without parsing a command line")


def _commit(checkout: Path) -> str:
    return subprocess.run(["git", "-C", str(checkout), "rev-parse", "HEAD"],
                          check=True, capture_output=True, text=True).stdout.strip()


def record(megatron: Path, ascendspeed: Path) -> dict[str, dict[str, Any]]:
    """Import both checkouts and return each one's table: origin, commit, options."""
    sys.path[:0] = [str(megatron), str(ascendspeed)]
    importlib.import_module("ascendspeed.megatron_adaptor")
    arguments = importlib.import_module("megatron.training.arguments")
    full = options(_parser_of(arguments.parse_args))
    plain = options(_parser_of(arguments.parse_args.__wrapped__))
    return {
        "Megatron-LM": {"origin": "Megatron-LM", "commit": _commit(megatron), "options": plain},
        "AscendSpeed": {"origin": "AscendSpeed", "commit": _commit(ascendspeed), "options": additions(plain, full)},
    }


def main() -> None:
    """Write both tables."""
    parser = argparse.ArgumentParser(description="Record upstream's option tables.")
    parser.add_argument("--megatron", type=Path, required=True, help="a Megatron-LM checkout at the pinned commit")
    parser.add_argument("--ascendspeed", type=Path, required=True, help="an AscendSpeed checkout at the pinned commit")
    given = parser.parse_args()
    for name, table in record(given.megatron.resolve(), given.ascendspeed.resolve()).items():
        head = {key: value for key, value in table.items() if key != "options"}
        lines = ",\n".join("  " + json.dumps(entry, ensure_ascii=False) for entry in table["options"])
        TABLES[name].parent.mkdir(parents=True, exist_ok=True)
        TABLES[name].write_text(json.dumps(head)[:-1] + ', "options": [\n' + lines + "\n]}\n")
        print(f"{TABLES[name]}: {len(table['options'])} options of {table['commit']}")


if __name__ == "__main__":
    main()
