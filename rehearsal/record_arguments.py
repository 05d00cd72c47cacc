"""Record the option tables of a stack's real parsers for its stand-ins in ``rehearsal/upstream``.

Usage, in an environment that can import both projects (what ``.rehearsal/plans`` of the Makefile has, and
``rehearsal/npu_on_cpu`` on ``PYTHONPATH``), with the checkouts patched as the stack wants them::

    python -m rehearsal.record_arguments --megatron <checkout> --ascendspeed <checkout> --stack <name>

It runs upstream's own code up to the point where the command line would be parsed, once without and once with the
additions of AscendSpeed (MindSpeed, as it is called today), and writes each project's options as JSON beside the
stand-in that reads them; without ``--stack`` it prints them in one line.
"""
from __future__ import annotations

import argparse
import enum
import importlib
import inspect
import json
import subprocess
import sys
import types
from pathlib import Path
from typing import Any, Callable

UPSTREAM = Path(__file__).resolve().parent / "upstream"
ADAPTOR = "megatron_adaptor"
ACTIONS = {
    "_StoreAction": "store",
    "_StoreTrueAction": "store_true",
    "_StoreFalseAction": "store_false",
    "_StoreConstAction": "store_const",
    "_AppendAction": "append",
    "_CountAction": "count",
}
TYPES = {None: None, int: "int", float: "float", str: "str", bool: "bool"}


def tables(stack: str) -> dict[str, Path]:
    """Where the tables of a stack lie: those of its Megatron-LM and of its AscendSpeed, whatever the package is called."""
    (package,) = (UPSTREAM / stack / "AscendSpeed").glob(f"*/{ADAPTOR}.py")
    return {"Megatron-LM": UPSTREAM / stack / "Megatron-LM/megatron/training/arguments.json",
            "AscendSpeed": package.with_name("arguments.json")}


def package_of(ascendspeed: Path) -> str:
    """The name of the package in a checkout: ascendspeed, or mindspeed as later ones call it.

    Raises:
        ValueError: when it has none.
    """
    found = sorted(path.parent.name for path in ascendspeed.glob(f"*/{ADAPTOR}.py"))
    if len(found) != 1:
        raise ValueError(f"{ascendspeed} has {len(found)} packages with {ADAPTOR}.py: expected one, as in AscendSpeed and MindSpeed")
    return found[0]


class _Caught(Exception):
    """Carries a complete parser out of upstream's parse_args."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        super().__init__()
        self.parser = parser


def _plain(value: Any) -> Any:
    """A member of an enumeration by its name, and everything else as it is."""
    return value.name if isinstance(value, enum.Enum) else value


def option(action: argparse.Action, group: str) -> dict[str, Any]:
    """One option as plain data. A type that is a function of upstream's own is a text with the function's name beside it.

    Raises:
        ValueError: for an action or a type that the table cannot express.
    """
    kind = ACTIONS.get(type(action).__name__)
    function = isinstance(action.type, types.FunctionType)
    if kind is None or not (function or action.type in TYPES):
        raise ValueError(f"{action.option_strings}: cannot record {type(action).__name__} of type {action.type!r}")
    entry: dict[str, Any] = {"options": list(action.option_strings), "dest": action.dest, "action": kind,
                             "default": _plain(action.default), "group": group}
    if kind in ("store", "append"):
        entry["type"] = "str" if function else TYPES[action.type]  # type: ignore[index]
        entry["nargs"] = action.nargs
        entry["choices"] = None if action.choices is None else [_plain(choice) for choice in action.choices]
    if function:
        entry["parsed_by"] = getattr(action.type, "__name__", "")
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
    sys.argv = ["pretrain_gpt.py"]  # MindSpeed reads it when it is imported
    importlib.import_module(f"{package_of(ascendspeed)}.{ADAPTOR}")
    arguments = importlib.import_module("megatron.training.arguments")
    full = options(_parser_of(arguments.parse_args))
    plain = options(_parser_of(inspect.unwrap(arguments.parse_args)))
    return {
        "Megatron-LM": {"origin": "Megatron-LM", "commit": _commit(megatron), "options": plain},
        "AscendSpeed": {"origin": "AscendSpeed", "commit": _commit(ascendspeed), "options": additions(plain, full)},
    }


def main() -> None:
    """Write both tables, or print them."""
    parser = argparse.ArgumentParser(description="Record upstream's option tables.")
    parser.add_argument("--megatron", type=Path, required=True, help="a Megatron-LM checkout at the stack's commit")
    parser.add_argument("--ascendspeed", type=Path, required=True, help="an AscendSpeed or MindSpeed checkout at the stack's commit")
    parser.add_argument("--stack", help="write the tables of this stack's stand-ins; without it they are printed in one line")
    given = parser.parse_args()
    found = record(given.megatron.resolve(), given.ascendspeed.resolve())
    if given.stack is None:
        print(json.dumps(found))
        return
    for name, path in tables(given.stack).items():
        table = found[name]
        head = {key: value for key, value in table.items() if key != "options"}
        lines = ",\n".join("  " + json.dumps(entry, ensure_ascii=False) for entry in table["options"])
        path.write_text(json.dumps(head)[:-1] + ', "options": [\n' + lines + "\n]}\n")
        print(f"{path}: {len(table['options'])} options of {table['commit']}")


if __name__ == "__main__":
    main()
