"""docs/architecture.md: its generated parts are those of this tree, and what it names is there."""
from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/architecture.md"
MAKER = runpy.run_path(str(ROOT / "docs/architecture.py"))


def test_the_picture_is_that_of_this_tree() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert text == MAKER["page"](text), "docs/architecture.md is out of date: run `python docs/architecture.py`"


def test_every_step_and_every_role_is_in_it() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for entry in yaml.safe_load((ROOT / "playbooks/site.yml").read_text(encoding="utf-8")):
        step = entry["ansible.builtin.import_playbook"].removesuffix(".yml")
        assert re.search(rf'^  {step}\["<b>{step}</b>.*{entry["name"]}"\]$', text, re.M), step
    named = set(re.findall(r"^\| \[(\w+)\]\(\.\./roles/\1/README\.md\) \|", text, re.M))
    assert named == {path.name for path in (ROOT / "roles").iterdir() if (path / "tasks").is_dir()}


def test_what_it_links_to_is_there() -> None:
    links = re.findall(r"\]\(([^)]+)\)", PAGE.read_text(encoding="utf-8"))
    assert len(links) > 20
    assert [link for link in links if not (PAGE.parent / link).exists()] == []


def test_roles_are_found_however_they_are_brought_in() -> None:
    found = MAKER["roles_of"]([
        {"hosts": "all", "roles": ["ascend.cluster.plan", {"role": "ascend.cluster.dataset", "tags": ["x"]}]},
        {"block": [{"ansible.builtin.import_role": {"name": "ascend.cluster.megatron"}}],
         "rescue": [{"ansible.builtin.include_role": {"name": "ascend.cluster.cluster", "tasks_from": "job"}}]},
        {"dependencies": [{"role": "ascend.cluster.plan"}]}, {"roles": ["elsewhere.other.thing"]}])
    assert found == ["plan", "dataset", "megatron", "cluster"]


def test_a_page_without_a_place_for_it_is_refused() -> None:
    with pytest.raises(SystemExit, match=r"architecture\.md lacks `<!-- roles -->`"):
        MAKER["page"]("<!-- picture -->\n<!-- /picture -->\n")
