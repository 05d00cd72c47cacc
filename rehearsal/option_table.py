"""Record a stack's options, by the kind of their values, for the rules of a plan: ``stacks/<name>_options.yml``.

Usage, in an environment as for :mod:`rehearsal.record_arguments`::

    python -m rehearsal.option_table --megatron <checkout> --accelerator <checkout> --into stacks/<name>_options.yml

The accelerator is AscendSpeed or MindSpeed, whichever the stack has.
"""
from __future__ import annotations

import argparse
import contextlib
import enum
import importlib
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any, Iterable, Mapping

KINDS = {
    "whole": "A whole number.",
    "fraction": "Any number.",
    "flag": "No value: the option is there or not.",
    "words": "Several words.",
    "text": "One word, whatever it is.",
    "choices": "One of these words.",
}
WIDTH = 150
NAMES = {"ascendspeed": "AscendSpeed", "mindspeed": "MindSpeed"}


def kind_of(action: argparse.Action) -> str:
    """The kind of value that an option takes."""
    if action.nargs == 0:
        return "flag"
    if action.choices:
        return "choices"
    if action.nargs in ("*", "+") or isinstance(action.nargs, int):
        return "words"
    return "whole" if action.type is int else "fraction" if action.type is float else "text"


def by_kind(actions: Iterable[argparse.Action]) -> dict[str, Any]:
    """The options of a parser's actions without their dashes: of each kind the words, of ``choices`` a mapping to each option's words."""
    found: dict[str, dict[str, str]] = {kind: {} for kind in KINDS}
    for action in actions:
        words = [word.name if isinstance(word, enum.Enum) else str(word) for word in action.choices or ()]
        for option in (option.lstrip("-") for option in action.option_strings if action.dest != "help"):
            found[kind_of(action)][option] = " ".join(dict.fromkeys(words))
    return {kind: dict(sorted(options.items())) if kind == "choices" else " ".join(sorted(options)) for kind, options in found.items()}


def as_yaml(table: Mapping[str, Any], of: Mapping[str, str]) -> str:
    """The text of a table's file; `of` are the projects whose parser it is, with their commits."""
    lines = ["---", "# Made by `python -m rehearsal.option_table` of the real parser.", "of:", *(f"  {name}: {commit}" for name, commit in of.items())]
    for kind, comment in KINDS.items():
        lines += ["", f"# {comment}"]
        depth, entries = ("  ", table[kind]) if kind == "choices" else ("", {kind: table[kind]})
        lines += ["choices:"] if depth else []
        for option, words in entries.items():
            short = f'{depth}{option}: "{words}"'
            folded = textwrap.wrap(words, WIDTH, initial_indent=f"{depth}  ", subsequent_indent=f"{depth}  ", break_long_words=False, break_on_hyphens=False)
            lines += [short] if len(short) <= WIDTH else [f"{depth}{option}: >-", *folded]
    return "\n".join(lines) + "\n"


def _real_actions() -> list[argparse.Action]:
    """The actions of the parser that both projects make together."""
    found: list[argparse.Action] = []

    def look(parser: argparse.ArgumentParser, *_args: Any, **_kwargs: Any) -> Any:
        found[:] = parser._actions
        return argparse.Namespace(yaml_cfg=None), []

    for name in ("parse_args", "parse_known_args"):
        setattr(argparse.ArgumentParser, name, look)
    with contextlib.suppress(AttributeError, TypeError):  # of what it would have read of the command line
        importlib.import_module("megatron.training.arguments").parse_args()
    return found


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description="Record a stack's options.")
    parser.add_argument("--megatron", type=Path, required=True, help="a Megatron-LM checkout")
    parser.add_argument("--accelerator", type=Path, required=True, help="an AscendSpeed or MindSpeed checkout")
    parser.add_argument("--into", type=Path, required=True, help="the file to write")
    given = parser.parse_args()
    package = next(name for name in NAMES if (given.accelerator / name).is_dir())
    sys.path[:0] = [str(given.megatron.resolve()), str(given.accelerator.resolve())]
    importlib.import_module(f"{package}.megatron_adaptor")
    table = by_kind(_real_actions())
    of = {name: subprocess.run(["git", "-C", checkout, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
          for name, checkout in (("Megatron-LM", given.megatron), (NAMES[package], given.accelerator))}
    given.into.write_text(as_yaml(table, of), encoding="utf-8")
    print(f"{given.into}: {sum(len(words) if isinstance(words, dict) else len(words.split()) for words in table.values())} options of {' and '.join(of)}")


if __name__ == "__main__":
    main()
