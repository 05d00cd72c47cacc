"""Record the option tables of a stack's real parsers for its stand-ins in ``rehearsal/upstream``.

Usage, in an environment that can import both projects (what ``.rehearsal/plans`` of the Makefile has, and
``rehearsal/npu_on_cpu`` on ``PYTHONPATH``), with the checkouts patched as the stack wants them::

    python -m rehearsal.record_arguments --megatron <checkout> --ascendspeed <checkout> --stack <name>

It runs upstream's own code up to the point where the command line would be parsed, once without and once with the
additions of AscendSpeed (MindSpeed, as it is called today), and writes each project's options as JSON beside the
stand-in that reads them. Without ``--stack`` it prints them in one line, with the options that a table cannot express
by their names; rehearsal/check_upstream asks in this way.
"""
from __future__ import annotations

import argparse
import enum
import importlib
import importlib.abc
import importlib.machinery
import inspect
import json
import os
import subprocess
import sys
import types
from pathlib import Path
from typing import Any, Callable, Sequence

UPSTREAM = Path(__file__).resolve().parent / "upstream"
ADAPTOR = "megatron_adaptor"
ACTIONS = {
    "_StoreAction": "store",
    "_StoreTrueAction": "store_true",
    "_StoreFalseAction": "store_false",
    "_StoreConstAction": "store_const",
    "_AppendAction": "append",
    "_CountAction": "count",
    "BooleanOptionalAction": "boolean_optional",
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
    """A member of an enumeration by its name, the folder that this is run in as ".", and everything else as it is."""
    if isinstance(value, enum.Enum):
        return value.name
    return "." if value == os.getcwd() else value


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
    return _options(parser, None)


def _options(parser: argparse.ArgumentParser, unrecorded: list[str] | None) -> list[dict[str, Any]]:
    """As :func:`options`; what cannot be recorded is listed by name where a list is given."""
    groups = {id(action): group.title or "" for group in parser._action_groups for action in group._group_actions}
    found = []
    for action in parser._actions:
        try:
            if action.dest != "help":
                found.append(option(action, groups.get(id(action), "")))
        except ValueError:
            if unrecorded is None:
                raise
            unrecorded.append(action.option_strings[0])
    return found


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


class _Anything(type):
    """Classes that have every attribute and give another one when they are called: decorators, types and functions of what is not there."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Anything(name, (), {})

    def __call__(cls, *_args: Any, **_words: Any) -> Any:
        """Another one."""
        return _Anything("anything", (), {})


class _Pretended(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds modules that are not there, with anything in them."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        """Ours, where the first part of the name is."""
        if fullname.split(".")[0] in self.names:
            return importlib.machinery.ModuleSpec(fullname, self, is_package=True)
        return None

    def create_module(self, spec: Any) -> types.ModuleType:
        """An empty module that has everything."""
        module = types.ModuleType(spec.name)
        module.__version__ = "0"  # type: ignore[attr-defined]
        module.__getattr__ = lambda name: getattr(_Anything("module", (), {}), name)  # type: ignore[method-assign]
        return module

    def exec_module(self, module: types.ModuleType) -> None:
        """There is nothing to run."""


def record(megatron: Path, ascendspeed: Path | None, pretended: Sequence[str] = (), strict: bool = True) -> dict[str, dict[str, Any]]:
    """Import the checkouts and return each one's table: origin, commit, options.

    Args:
        megatron: checkout of Megatron-LM.
        ascendspeed: of AscendSpeed or MindSpeed; None for Megatron-LM alone.
        pretended: modules that need not be there.
        strict: raise ValueError for an option that a table cannot express; otherwise its name is in ``unrecorded``.
    """
    sys.meta_path.append(_Pretended(pretended))
    sys.path[:0] = [str(megatron), *([str(ascendspeed)] if ascendspeed else [])]
    sys.argv = ["pretrain_gpt.py"]  # MindSpeed reads it when it is imported
    if ascendspeed:
        importlib.import_module(f"{package_of(ascendspeed)}.{ADAPTOR}")
    arguments = importlib.import_module("megatron.training.arguments")
    unrecorded: list[str] | None = None if strict else []
    full = _options(_parser_of(arguments.parse_args), unrecorded)
    plain = _options(_parser_of(inspect.unwrap(arguments.parse_args)), None if strict else [])
    tables = {"Megatron-LM": {"origin": "Megatron-LM", "commit": _commit(megatron), "options": plain}}
    if ascendspeed:
        tables["AscendSpeed"] = {"origin": "AscendSpeed", "commit": _commit(ascendspeed), "options": additions(plain, full)}
    return tables if strict else {**tables, "unrecorded": {"options": unrecorded}}


def main() -> None:
    """Write both tables, or print them."""
    parser = argparse.ArgumentParser(description="Record upstream's option tables.")
    parser.add_argument("--megatron", type=Path, required=True, help="a Megatron-LM checkout at the stack's commit")
    parser.add_argument("--ascendspeed", type=Path, help="an AscendSpeed or MindSpeed checkout at the stack's commit; without it Megatron-LM's alone")
    parser.add_argument("--stack", help="write the tables of this stack's stand-ins; without it they are printed in one line")
    parser.add_argument("--pretend", default="", help="modules that need not be there, with commas between; only to look at options")
    given = parser.parse_args()
    if given.stack is not None and (given.ascendspeed is None or given.pretend):
        parser.error("--stack wants --ascendspeed, and no --pretend: what is kept is recorded from whole parsers")
    found = record(given.megatron.resolve(), given.ascendspeed and given.ascendspeed.resolve(), given.pretend.split(","), given.stack is not None)
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
