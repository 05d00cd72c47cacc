"""Draws the picture and the table of architecture.md from playbooks/ and roles/ themselves: ``python docs/architecture.py``.

tests/unit/test_architecture.py says when they are out of date.
"""
from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Iterator

import yaml

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "architecture.md"
#: what all roles ask: an arrow to each would hide the others
SERVING = ("cluster", "plan")
USES_ROLE = ("ansible.builtin.import_role", "ansible.builtin.include_role")


def _load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def _name(role: str) -> str:
    return role.rpartition(".")[2]


def _walk(part: Any) -> Iterator[dict[str, Any]]:
    """Yield every mapping of a document, however deep: tasks of blocks, too."""
    if isinstance(part, dict):
        yield part
    for inner in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from _walk(inner)


def roles_of(document: Any) -> list[str]:
    """Return the roles that a play, a file of tasks or a role's meta data names, in their order, each once."""
    found = []
    for part in _walk(document):
        found += [_name(part[word]["name"]) for word in USES_ROLE if word in part]
        listed = [*(part.get("roles") or []), *(part.get("dependencies") or [])]
        found += [_name(one["role"] if isinstance(one, dict) else one) for one in listed]
    return [name for name in dict.fromkeys(found) if (ROOT / "roles" / name).is_dir()]


def steps() -> list[tuple[str, str, list[str]]]:
    """Return what playbooks/site.yml imports: playbook, what it is said to do, and the roles of its plays."""
    listed = []
    for entry in _load(ROOT / "playbooks/site.yml"):
        playbook = entry["ansible.builtin.import_playbook"]
        listed.append((playbook.removesuffix(".yml"), entry["name"], roles_of(_load(ROOT / "playbooks" / playbook))))
    return listed


def used_by(role: str) -> list[str]:
    """Return the roles that a role works through, without those that serve all."""
    folder = ROOT / "roles" / role
    documents = [_load(path) for path in sorted([*folder.glob("meta/main.yml"), *folder.glob("tasks/*.yml"), *folder.glob("handlers/*.yml")])]
    return sorted(set(roles_of(documents)) - {role, *SERVING})


def plugins_of(role: str) -> list[str]:
    """Return the modules and actions of this collection that a role's tasks call."""
    known = {path.stem for kind in ("modules", "action") for path in (ROOT / "plugins" / kind).glob("*.py")}
    texts = [path.read_text(encoding="utf-8") for part in ("tasks", "handlers") for path in (ROOT / "roles" / role / part).glob("*.yml")]
    return sorted(known & {name for text in texts for name in re.findall(r"\bascend\.cluster\.(\w+)", text)})


def roles() -> list[str]:
    """Return all roles: those that serve all, those of the steps, in order, those that these work through, the rest."""
    found = list(dict.fromkeys([*SERVING, *(role for _, _, names in steps() for role in names)]))
    for role in found:  # it grows
        found += [name for name in used_by(role) if name not in found]
    return [*found, *sorted({path.parent.name for path in (ROOT / "roles").glob("*/tasks")} - set(found))]


def picture() -> str:
    """Return the diagram, in mermaid: steps in their order, dotted lines to the roles that they work through."""
    lines = ["```mermaid", "flowchart TB", "  inventory([inventory: nodes, variables]) --> preflight"]
    listed = steps()
    drawn = set()
    for (playbook, title, names), after in zip(listed, [*listed[1:], ("checkpoint", "", [])]):
        known = "".join(f"<br>role {name}" for name in names if name != playbook and name not in SERVING)
        lines += [f'  {playbook}["<b>{playbook}</b>{known}<br>{title}"]', f"  {playbook} --> {after[0]}"]
        drawn.add(playbook)
    lines.append("  checkpoint([a verified run, and its checkpoint on every node])")
    for role in [role for role in roles() if role not in SERVING]:
        if role not in drawn:
            lines.append(f'  {role}["{role}"]')
        lines += [f"  {role} -.-> {name}" for name in used_by(role)]
    return "\n".join([*lines, "```"])


def table() -> str:
    """Return a row for each role: its files of tasks, the programs that it brings to nodes, our modules that it calls, its roles."""
    rows = ["| role | tasks | programs for nodes | modules of ours | works through |", "|---|---|---|---|---|"]
    for role in roles():
        folder = ROOT / "roles" / role
        tasks = sorted(path.stem for path in folder.glob("tasks/*.yml") if path.stem != "main")
        programs = sorted(path.name for path in folder.glob("files/*") if path.is_dir() or path.suffix in ("", ".py", ".sh"))
        cells = [f"[{role}](../roles/{role}/README.md)", *(", ".join(words) for words in (tasks, programs, plugins_of(role), used_by(role)))]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def page(text: str) -> str:
    """Return the page with its generated parts as they are now."""
    for name, made in (("picture", picture()), ("roles", table())):
        before, start, rest = text.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition(f"<!-- /{name} -->")
        if not start or not end:
            raise SystemExit(f"docs/architecture.md lacks `<!-- {name} -->` … `<!-- /{name} -->`, between which the {name} go.")
        text = f"{before}{start}{made}\n{end}{after}"
    return text


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
