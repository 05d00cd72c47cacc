"""Variables that no role knows: misspellings are ignored by Ansible without a word. Only names are looked at."""
from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Iterable, Mapping, Sequence

import yaml
from ansible_collections.ascend.cluster.plugins.module_utils._renamed import RENAMED

# Of all names of the roles none but a variant of the same is this close: plan_tensor_parallel_size is .89 from
# plan_tensor_model_parallel_size, cluster_uuid .83 from cluster_unit.
_CLOSE = 0.88
# The become plugins' variables for the user, which come before a task's become_user.
_BECOME = ("ansible_become_user", "ansible_su_user", "ansible_sudo_user")


def of_roles(project: Path) -> tuple[set[str], set[str], tuple[str, ...]]:
    """Read the project's own files.

    Returns:
        The public variables (of all argument specs), all names that any file of a role or a playbook uses, and how the
        names of each role begin.
    """
    roles = sorted(path.parent.parent for path in (project / "roles").glob("*/meta/argument_specs.yml"))
    begins = tuple(f"{role.name}_" for role in roles)
    public: set[str] = set()
    for role in roles:
        specs = yaml.safe_load((role / "meta/argument_specs.yml").read_text(encoding="utf-8"))["argument_specs"]
        public.update(name for spec in specs.values() for name in spec.get("options", {}))
    # What roles set, register or derive is told by its use: these are names that a site may see, not misspellings.
    used = set(public)
    name = re.compile(rf"\b(?:{'|'.join(begins)})\w+")
    for path in [*(project / "roles").glob("*/*/*.*"), *(project / "playbooks").glob("*.yml"), *(project / "templates").glob("*.j2")]:
        if path.suffix in (".yml", ".j2"):
            used.update(name.findall(path.read_text(encoding="utf-8")))
    return public, used, begins


def _near(name: str, public: Iterable[str], ours: bool) -> str:
    """Name the variable that `name` was meant for, "" when none is close."""
    plain = name.lower().replace("-", "_")
    # A wrong beginning is a letter more, less or changed; a word before or after makes another variable.
    among = [other for other in public if ours or abs(len(other) - len(plain)) <= 1]
    swapped = [other for other in among if sorted(other) == sorted(plain)]  # in a short name that is not close by the measure
    return next(iter(swapped or difflib.get_close_matches(plain, among, 1, _CLOSE)), "")


def _where(hosts: Sequence[str], count: int) -> str:
    if len(hosts) == count:
        return "all nodes" if count > 1 else hosts[0]
    return ", ".join(hosts[:3]) + (f" … ({len(hosts)} nodes)" if len(hosts) > 3 else "")


def judge(names: Mapping[str, Iterable[str]], known: Iterable[str], project: Path) -> dict[str, list[str]]:
    """Judge the names of the variables of each host.

    Args:
        names: the names by host.
        known: those that belong to something else.
        project: the checkout, whose roles say which names there are.

    Returns:
        ``errors``: names close to one that exists, and old names; ``warnings``: others that begin like those of a role.
    """
    public, used, begins = of_roles(project)
    skipped = (used - set(RENAMED)) | set(known)
    owners: dict[str, list[str]] = {}
    for host, some in names.items():
        for name in some:
            if name not in skipped and not name.startswith(("ansible_", "_")):
                owners.setdefault(name, []).append(host)
    found: dict[str, list[str]] = {"errors": [], "warnings": []}
    for name in _BECOME:
        hosts = [host for host, some in names.items() if name in set(some)]
        if hosts:
            found["errors"].append(
                f"{name} is set for {_where(hosts, len(names))}, and beats the user that a task names: what has to be done as cluster_user would be done as "
                "another one. Remove it where it is set (the inventory, group_vars, host_vars or -e); tasks that need root become root without it.")
    for name, hosts in sorted(owners.items()):
        ours = name.startswith(begins)
        where = _where(hosts, len(names))
        if name in RENAMED:
            found["errors"].append(f"{name} is set for {where}, and changes nothing: {RENAMED[name]} where it is set "
                                   "(the inventory, group_vars, host_vars or -e).")
            continue
        near = _near(name, public, ours)
        otherwise = "one that belongs to something else goes into preflight_known_variables"
        if name.startswith("plan_"):
            otherwise = f"an argument of Megatron-LM or AscendSpeed that has no variable goes into plan_extra_arguments, {otherwise}"
        if near:
            found["errors"].append(
                f"{name} is set for {where}, and no role knows that name: expected {near}. Correct it where it is set "
                f"(the inventory, group_vars, host_vars or -e); {otherwise}.")
        elif ours:
            found["warnings"].append(f"{name} is set for {where} and changes nothing: no role has a variable of that name ({otherwise})")
    return found
