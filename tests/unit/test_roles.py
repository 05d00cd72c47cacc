"""Every role keeps the one skeleton: its defaults, argument specs and README say the same."""
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if path.is_dir())


def load(role, name):
    return yaml.safe_load((ROOT / "roles" / role / name).read_text(encoding="utf-8")) or {}


def options(role):
    return load(role, "meta/argument_specs.yml")["argument_specs"]["main"].get("options", {})


@pytest.mark.parametrize("role", ROLES)
def test_argument_specs_have_the_defaults(role):
    defaults = load(role, "defaults/main.yml")
    specified = options(role)
    assert {name: spec.get("default") for name, spec in specified.items() if not spec.get("required")} == defaults
    assert not any("default" in spec for spec in specified.values() if spec.get("required"))
    for name, spec in specified.items():
        assert spec.get("type"), name
        assert spec.get("description"), name


@pytest.mark.parametrize("role", ROLES)
def test_public_variables_carry_the_roles_name(role):
    assert [name for name in load(role, "defaults/main.yml") if not name.startswith(f"{role}_")] == []


@pytest.mark.parametrize("role", ROLES)
def test_the_readme_lists_every_variable(role):
    readme = (ROOT / "roles" / role / "README.md").read_text(encoding="utf-8")
    table = re.search(r"<!-- variables -->(.*)<!-- /variables -->", readme, re.DOTALL)
    assert table
    assert set(re.findall(r"^\| `(\w+)`", table.group(1), re.MULTILINE)) == set(options(role))


@pytest.mark.parametrize("role", ROLES)
def test_the_role_says_who_made_it(role):
    info = load(role, "meta/main.yml")["galaxy_info"]
    assert (info["license"], info["min_ansible_version"]) == ("Apache-2.0", "2.19")
    assert info["description"]


# What others are made with: no play and no tag of their own.
SHARED = {"cluster", "plan", "git_checkout", "node_transfer", "nfs_server", "nfs_client"}


@pytest.mark.parametrize("role", [role for role in ROLES if role not in SHARED])
def test_every_role_stands_behind_the_guard(role):
    dependencies = [item["role"] for item in load(role, "meta/main.yml")["dependencies"]]
    assert dependencies[0] == "ascend.cluster.cluster"
