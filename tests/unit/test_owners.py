"""Who owns what: no task gives the training user a thing that root made, or goes through a link."""
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WRITING = ("file", "copy", "template", "artifact", "get_url", "unarchive", "lineinfile", "blockinfile", "replace")
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir())


def tasks_of(some):
    for task in some or []:
        yield task
        for part in ("block", "rescue", "always"):
            yield from tasks_of(task.get(part))


def writing(role):
    """(name, module, arguments, whether it runs as another than root) of each task that writes a file on a node."""
    for path in sorted((ROOT / "roles" / role / "tasks").glob("*.yml")):
        for task in tasks_of(yaml.safe_load(path.read_text(encoding="utf-8"))):
            for key, arguments in task.items() if task.get("delegate_to") != "localhost" else ():
                if key.startswith(("ansible.builtin.", "ascend.cluster.")) and key.split(".")[-1] in WRITING:
                    yield f"{path.name}: {task['name']}", key, arguments, "become_user" in task


@pytest.mark.parametrize("role", ROLES)
def test_what_root_writes_is_roots(role):
    for name, module, arguments, as_user in writing(role):
        # Of these, `file` follows them where nobody says otherwise.
        assert not arguments.get("follow", module == "ansible.builtin.file" and arguments.get("state") != "absent"), f"{name} follows links"
        if as_user:
            assert "owner" not in arguments and "group" not in arguments, f"{name}: what a user writes is that user's"
        else:
            assert arguments.get("owner", "root") == "root" == arguments.get("group", "root"), (
                f"{name} gives away what root wrote: write it as that user (become_user), or make folders by user_folders")
            assert not arguments.get("recurse", False), name


def test_there_are_such_tasks():
    assert sum(1 for role in ROLES for _ in writing(role)) > 15
