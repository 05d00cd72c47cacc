"""Options of the real parsers at other commits, and how they differ from a stack's recorded ones."""
from __future__ import annotations

import ast
import json
import os
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from rehearsal import nodes, record_arguments

PYTHON = nodes.STATE / "plans/bin/python"
_MISSING = re.compile(r"^ModuleNotFoundError: No module named '(\w+)")
# How many missing modules are pretended before it is given up.
_PATIENCE = 12

Entry = dict[str, Any]


@dataclass
class Found:
    """What is known of the options of a pair of checkouts."""

    #: project to option to its entry; an option has its first name
    tables: dict[str, dict[str, Entry]] = field(default_factory=dict)
    #: projects whose sources were read because their parser could not be asked: incomplete
    read: set[str] = field(default_factory=set)
    #: modules that the rehearsal's environment lacks
    missing: list[str] = field(default_factory=list)
    #: options that a table cannot express
    unrecorded: list[str] = field(default_factory=list)
    #: why a parser could not be asked
    reasons: list[str] = field(default_factory=list)


def by_name(entries: list[Entry]) -> dict[str, Entry]:
    """Entries by their first names."""
    return {entry["options"][0]: entry for entry in entries}


def recorded(stack: str) -> dict[str, dict[str, Entry]]:
    """A stack's recorded tables, by project."""
    return {name: by_name(json.loads(path.read_text(encoding="utf-8"))["options"]) for name, path in record_arguments.tables(stack).items()}


def _ask(megatron: Path, ascendspeed: Path | None, pretended: list[str]) -> tuple[dict[str, Any] | None, str]:
    """The tables of the real parsers, or None and the last words of what went wrong."""
    words = ["--megatron", str(megatron), *(["--ascendspeed", str(ascendspeed)] if ascendspeed else []), "--pretend", ",".join(pretended)]
    path = os.pathsep.join(map(str, (nodes.PROJECT, nodes.PROJECT / "rehearsal/npu_on_cpu")))
    done = subprocess.run([str(PYTHON), "-W", "ignore", "-m", "rehearsal.record_arguments", *words], stdin=subprocess.DEVNULL, check=False,
                          capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"})
    if done.returncode:
        return None, (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
    tables: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return tables, ""


def ask(megatron: Path, ascendspeed: Path) -> Found:
    """Ask the parsers of both checkouts; where that fails Megatron-LM's alone, and the sources of the others are read."""
    found = Found()
    if not PYTHON.exists():
        found.reasons.append(f"{PYTHON} is not there, which runs the real parsers: make .rehearsal/plans/.done")
    for second in (ascendspeed, None) if PYTHON.exists() else ():
        pretended: list[str] = []
        for _ in range(_PATIENCE):
            tables, why = _ask(megatron, second, pretended)
            match = _MISSING.match(why)
            if tables is not None or not match or match.group(1) in {*pretended, "megatron", "megatron_adaptor"}:
                break
            pretended.append(match.group(1))
        found.missing = sorted({*found.missing, *pretended})
        if tables is not None:
            found.unrecorded = tables.pop("unrecorded")["options"]
            found.tables = {name: by_name(table["options"]) for name, table in tables.items()}
            break
        found.reasons.append(f"the parser of {'both together' if second else 'Megatron-LM alone'} cannot be asked: {why}")
    for name, folder in (("Megatron-LM", megatron / "megatron/training"), ("AscendSpeed", ascendspeed)):
        if name not in found.tables:
            found.tables[name] = read(folder)
            found.read.add(name)
    return found


def read(folder: Path) -> dict[str, Entry]:
    """The options that sources add by a literal name. What becomes of them, and whether anybody runs it, is not known."""
    found: dict[str, Entry] = {}
    for path in sorted(folder.rglob("*.py")):
        if "test" in path.relative_to(folder).as_posix():
            continue
        try:
            tree = ast.parse(path.read_text(encoding="utf-8", errors="replace"))
        except SyntaxError:
            continue
        for call in ast.walk(tree):
            if isinstance(call, ast.Call) and getattr(call.func, "attr", "") == "add_argument":
                names = [arg.value for arg in call.args if isinstance(arg, ast.Constant) and str(arg.value).startswith("--")]
                if names:
                    found[str(names[0])] = {"options": names}
    return found


def changes(before: dict[str, Entry], after: dict[str, Entry]) -> dict[str, str]:
    """What is another way in options that both have: "default 1 -> 2"."""
    found = {}
    for name in sorted(before.keys() & after.keys()):
        old, new = ({**entry, "type": entry.get("type") or "str"} for entry in (before[name], after[name]))
        words = [f"{key} {old.get(key)!r} -> {new.get(key)!r}" for key in ("action", "type", "nargs", "choices", "default") if old.get(key) != new.get(key)]
        if words:
            found[name] = ", ".join(words)
    return found


def given(stack: dict[str, Any]) -> dict[str, Any]:
    """The options that the plan of a stack gives, with their values; None where a site decides."""
    roles = nodes.PROJECT / "roles/plan"
    groups = yaml.safe_load((roles / "vars/main.yml").read_text(encoding="utf-8"))
    defaults = yaml.safe_load((roles / "defaults/main.yml").read_text(encoding="utf-8"))
    found: dict[str, Any] = dict(stack["deterministic_arguments"])
    for group, options in groups.items():
        for name, value in options.items() if re.fullmatch(r"plan_\w+_arguments", group) and isinstance(options, dict) else ():
            template = str(value)
            variable = re.match(r"\{\{ plan_(\w+)(?: \| bool)? \}\}$", template)
            if variable:
                value = stack["plan"].get(variable.group(1), defaults.get(f"plan_{variable.group(1)}"))
            if "tokenizer.option" in template and name != stack["tokenizer"]["option"]:
                continue
            if template == "{{ cluster_stack_data.tokenizer.type }}":
                value = stack["tokenizer"]["type"]
            if value is not False and value != "" and name not in found:
                found[name] = None if "{{" in str(value) else value
    return {f"--{name}": value for name, value in found.items()}


def refused(stack: dict[str, Any], found: Found) -> tuple[list[str], list[str]]:
    """Options of the plan that are gone or do not take its value any more, and what is not known of others."""
    gone: list[str] = []
    unread: list[str] = []
    perhaps: list[str] = []
    # What MindSpeed adds counts, unless it was only read.
    order = sorted(found.tables, key=lambda project: (project not in found.read, project == "AscendSpeed"))
    every = {other: entry for project in order for entry in found.tables[project].values() for other in entry["options"]}
    for name, value in given(stack).items():
        entry = every.get(name)
        if entry is None and (found.read or name in found.unrecorded):
            unread.append(name)
        elif entry is None:
            gone.append(f"{name} is no option any more")
        elif entry.get("choices") and value is not None and value not in entry["choices"]:
            words = f"{name} {value}: {{}} only {', '.join(map(str, entry['choices']))}"
            if found.read:
                perhaps.append(words.format("Megatron-LM alone takes") + "; whether AscendSpeed adds to them could not be asked")
            else:
                gone.append(words.format("it takes"))
    if unread:
        perhaps.append(f"options of the plan that reading the sources of {' and '.join(sorted(found.read))} did not find: {', '.join(unread)}")
    return gone, perhaps
