"""An earlier training's checkpoints go aside before another one begins, on disks of the nodes' own and on shared ones."""
import getpass
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLAYBOOK = [{"name": "Move", "hosts": "ascend_nodes", "gather_facts": False, "tasks": [
    {"name": "Look", "ansible.builtin.import_role": {"name": "ascend.cluster.pretrain", "tasks_from": "checkpoint"}},
    {"name": "Move", "ansible.builtin.import_role": {"name": "ascend.cluster.pretrain", "tasks_from": "checkpoint_move"}}]}]


def move(folder, checkpoints, *words):
    """Play the tasks on two nodes whose checkpoint folders are these. Returns the status and what was said."""
    hosts = {name: {"ansible_host": f"192.0.2.{index}", "ansible_connection": "local", "ansible_become": False, "cluster_checkpoint_dir": str(path)}
             for index, (name, path) in enumerate(checkpoints.items(), start=1)}
    (folder / "hosts.yml").write_text(json.dumps({"ascend_nodes": {"hosts": hosts}}), encoding="utf-8")
    (folder / "play.yml").write_text(json.dumps(PLAYBOOK), encoding="utf-8")
    variables = {"ansible_python_interpreter": sys.executable, "cluster_user": getpass.getuser(), "pretrain_run_id": "abc", "__cluster_guard": False}
    done = subprocess.run(["ansible-playbook", "-i", str(folder / "hosts.yml"), str(folder / "play.yml"), "-e", json.dumps(variables), *words],
                          cwd=ROOT, capture_output=True, text=True, check=False,
                          env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_FORCE_COLOR": "0"})
    return done.returncode, " ".join((done.stdout + done.stderr).split())


def fill(folder, *parts):
    """An earlier training's files, and what is not its own."""
    for part in (*parts, "iter_0000010/mp_rank_00", "before_20260101T000000Z_old/iter_0000005", "lost+found"):
        (folder / part).mkdir(parents=True)
    (folder / "latest_checkpointed_iteration.txt").write_text("10", encoding="utf-8")
    (folder / ".started-node0").touch()


def content(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize("shared", [False, True])
def test_all_of_it_goes_into_one_folder(shared, tmp_path):
    folders = {"node1": tmp_path / "a,b@c", "node2": tmp_path / ("a,b@c" if shared else "other")}
    for folder in set(folders.values()):
        fill(folder)
    if not shared:
        status, output = move(tmp_path, folders, "--check", "-e", "pretrain_new_run=true")
        assert status == 0, output
        assert f"checkpoints would be moved to {tmp_path}/a,b@c/before_" in output
        assert all((folder / "iter_0000010").is_dir() for folder in folders.values())
    status, output = move(tmp_path, folders, "-e", "pretrain_new_run=true")
    assert status == 0, output
    assert f"checkpoints are in {tmp_path}/a,b@c/before_" in output and "_abc on node1, node2." in output
    for folder in folders.values():
        aside, = folder.glob("before_*_abc")
        assert content(aside) == [".started-node0", "iter_0000010", "iter_0000010/mp_rank_00", "latest_checkpointed_iteration.txt"]
        assert sorted(path.name for path in folder.iterdir()) == sorted([aside.name, "before_20260101T000000Z_old", "lost+found"])


def test_a_move_that_broke_off_is_refused_until_it_is_asked_for_again(tmp_path):
    folders = {"node1": tmp_path / "1", "node2": tmp_path / "2"}
    (folders["node1"] / "before_20260102T000000Z_abc/iter_0000010").mkdir(parents=True)
    fill(folders["node2"])
    status, output = move(tmp_path, folders)
    assert status == 2, output
    assert f"There are checkpoints in cluster_checkpoint_dir {tmp_path}/" in output
    assert "node2 has iter_0000010, latest_checkpointed_iteration.txt; run abc would begin" in output
    assert "node1 has" not in output
