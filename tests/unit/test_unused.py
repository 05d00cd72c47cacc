"""Nothing is there that nobody uses: filters, modules, actions, and variables of roles."""
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
TEXTS = {path.relative_to(ROOT): path.read_text(encoding="utf-8")
         for pattern in ("roles/*/[dtvhf]*/**/*.*", "playbooks/*.yml", "templates/*", "plugins/**/*.py", "inventory/*/*.yml", "rehearsal/**/*.yml",
                         "molecule/**/*.yml") for path in ROOT.glob(pattern) if path.suffix in (".yml", ".j2", ".sh", ".py")}


def code(text):
    """Without the lines that are comments."""
    return re.sub(r"^\s*#.*$", "", text, flags=re.MULTILINE)


PLAYED = "\n".join(code(text) for path, text in TEXTS.items() if path.parts[0] != "plugins")
PYTHON = {path: text for path, text in TEXTS.items() if path.parts[0] == "plugins"}

# A key with a colon, and the name after `register:`, give a value; every other mention reads it.
READ = set(re.findall(r"(?<!\w)(?<!register: )([a-z_]\w*)\b(?!: |:\n)", PLAYED + "\n" + "\n".join(code(text) for text in PYTHON.values())))


@pytest.mark.parametrize("name", sorted(path.stem for path in ROOT.glob("plugins/filter/*.py")))
def test_every_filter_is_called(name):
    assert re.search(rf"""(\||map\(['"])\s*ascend\.cluster\.{name}\b|['"]ascend\.cluster\.{name}['"]""", PLAYED)


@pytest.mark.parametrize("name", sorted({path.stem for kind in ("modules", "action") for path in ROOT.glob(f"plugins/{kind}/*.py")}))
def test_every_module_is_called(name):
    by_an_action = any(f'"ascend.cluster.{name}"' in text for path, text in PYTHON.items() if path.parts[1] == "action")
    assert by_an_action or re.search(rf"^\s*(- )?ascend\.cluster\.{name}:", PLAYED, re.MULTILINE)


def defined(tasks):
    """Names that tasks register or set."""
    for task in tasks or []:
        for inner in ("block", "rescue", "always"):
            yield from defined(task.get(inner))
        yield from [task["register"]] if "register" in task else []
        yield from (name for name in task.get("ansible.builtin.set_fact", {}) if name != "cacheable")


VARIABLES = sorted(
    {(path.parts[1], name) for path, text in TEXTS.items() if path.parts[0] == "roles" and path.suffix == ".yml"
     for name in (yaml.safe_load(text) or {} if path.parts[2] in ("defaults", "vars") else
                  defined(yaml.safe_load(text)) if path.parts[2] in ("tasks", "handlers") else ())})


def test_the_variables_are_found():
    assert ("cluster", "cluster_user") in VARIABLES
    assert ("cluster", "__cluster_job") in VARIABLES
    assert ("pretrain", "__pretrain_kept") in VARIABLES
    assert ("pretrain", "pretrain_run_id") in VARIABLES


def test_every_variable_is_read():
    """By something other than the line that gives it a value; what this lists can go."""
    assert [f"{role}: {name}" for role, name in VARIABLES if name not in READ] == []
