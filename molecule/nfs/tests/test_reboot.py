"""A run outlives the reboot of a machine: the real supervisors in the real unit, with a training that trains nothing."""
import io
import json
import os
import secrets
import subprocess
import tarfile
import time
from pathlib import Path

import jinja2
import pytest

from rehearsal import fake_training, machines
from tests.playing import PROJECT, UNIT, Site

RUN = "/home/ascend/run"
PROGRAM = "/opt/supervise"
PYTHON = "/usr/bin/python3"


class Run(Site):
    """A run of the two machines."""

    def send(self, node, files):
        """Write files, {path: (content, mode)}, as the training user's."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            for path, (content, mode) in files.items():
                entry = tarfile.TarInfo(path.lstrip("/"))
                entry.size, entry.mode = len(content), mode
                archive.addfile(entry, io.BytesIO(content))
        unpack = "sudo tar -x -C / && sudo chown -R ascend: /home/ascend"
        subprocess.run(["ssh", "-F", f"{self.folder}/ssh/config", f"ops@{node}", unpack], input=packed.getvalue(), check=True, timeout=600)

    def start(self, **plan):
        """Write what the role pretrain would, and start all."""
        token = secrets.token_hex(32).encode()
        addresses = {node: json.loads((self.folder / "ssh/nodes.json").read_text())[node]["address"] for node in self.nodes}
        template = jinja2.Environment(undefined=jinja2.StrictUndefined).from_string((PROJECT / "templates/ascend-pretrain.service.j2").read_text())
        unit = template.render(pretrain_run_id="r1", cluster_user="ascend", cluster_megatron_dir="/home/ascend", cluster_python=PYTHON,
                               pretrain_supervise_program=PROGRAM, pretrain_run_path=RUN, __pretrain_stop_seconds=60)
        programs = {f"{PROGRAM}/{path.name}": (path.read_bytes(), 0o644) for path in (PROJECT / "roles/pretrain/files/supervise").glob("*.py")}
        hooks = {f"/opt/hooks/{path.relative_to(PROJECT / 'roles/ascendspeed/files')}": (path.read_bytes(), 0o644)
                 for path in (PROJECT / "roles/ascendspeed/files").rglob("*.py")}
        for rank, node in enumerate(self.nodes):
            orders = {"node": rank, "nodes": 2, "ranks": 1, "run_dir": RUN, "hooks": "/opt/hooks", "checkpoints": f"{RUN}/ckpt", "iterations": 100000,
                      "seconds": 1, "save_every": 5, "save_seconds": 0, "saves": 0, "kill_after": 5, "faults": [], **plan}
            config = {"version": 1, "run": "r1", "node": node, "nodes": list(self.nodes), "address": addresses[node], "hub": addresses["node1"], "port": 29400,
                      "master_port": 6000, "token_file": f"{RUN}/supervise/token", "run_dir": RUN, "nproc_per_node": 1, "max_restarts": 1,
                      "command": ["/usr/bin/env", f"ASCEND_RUN_DIR={RUN}", PYTHON, "/opt/fake_training.py", json.dumps(orders)],
                      "train_iters": orders["iterations"], "checkpoints": {"folder": f"{RUN}/ckpt", "shards": [fake_training.shard(rank)]},
                      # A machine that is emulated boots for minutes.
                      "times": {"form": 1200, "lost": 30, "orphan": 60, "grace": 20, "backoff": 1}}
            self.run(node, f"systemctl disable --now {UNIT}; rm -rf {RUN}; install -d -m 0700 -o ascend {RUN} {RUN}/supervise {RUN}/ckpt")
            self.send(node, {**programs, **hooks, "/opt/fake_training.py": (Path(fake_training.__file__).read_bytes(), 0o644),
                             f"/etc/systemd/system/{UNIT}": (unit.encode(), 0o644), f"{RUN}/supervise/token": (token, 0o600),
                             f"{RUN}/supervise/config.json": (json.dumps(config).encode(), 0o644)})
        for node in self.nodes:
            done = self.run(node, f"systemctl daemon-reload && systemctl enable --now {UNIT}")
            assert done.returncode == 0, done.stderr

    def ask(self, what="status", node="node1"):
        done = self.run(node, f"runuser -u ascend -- {PYTHON} {PROGRAM} ask {what} {RUN}/supervise/config.json")
        return json.loads(done.stdout) if done.stdout.startswith("{") else {"error": done.stdout + done.stderr}

    def until(self, condition, seconds=1800):
        """Ask until the answer is as wanted."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            told = self.ask()
            if "error" not in told and condition(told):
                return told
            time.sleep(2)
        raise AssertionError("\n".join([str(told), *(self.run(node, f"journalctl -u {UNIT} -n 40 --no-pager").stdout for node in self.nodes)]))


@pytest.fixture
def run():
    run = Run(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"])
    run.start()
    yield run
    for node in run.nodes:
        run.run(node, f"systemctl disable --now {UNIT}; rm -rf {RUN}")


@pytest.mark.parametrize("node", ["node2", "node1"])
def test_a_machine_that_is_rebooted_comes_back_into_its_run_by_itself(run, node):
    run.until(lambda told: told["state"] == "running" and told["checkpoint"]["newest"] >= 5)
    machines.reboot(node, run.folder / "ssh")
    told = run.until(lambda told: told["state"] == "running" and told["generation"] >= 1 and told["training"]["iteration"])
    # The first failure is the machine that went, whichever way the others learned of it; it began again from a checkpoint.
    assert (told["restarts"], told["order"][0]["node"]) == (1, node), told
    assert told["training"]["loaded"] >= 5 and told["training"]["loaded"] % 5 == 0
    assert run.ask("stop")["state"] != "error"
    told = run.until(lambda told: told["state"] == "done")
    assert told["code"] == 3, told
    # The run is over: another boot (here: a start of the unit) begins nothing.
    for one in run.nodes:
        deadline = time.monotonic() + 120
        while run.run(one, f"systemctl is-active {UNIT}").stdout.strip() not in ("inactive", "failed") and time.monotonic() < deadline:
            time.sleep(1)
        run.run(one, f"systemctl start {UNIT}; sleep 2")
        # A stop's status is 3, which systemd keeps in mind.
        assert run.run(one, f"systemctl is-active {UNIT}").stdout.strip() in ("inactive", "failed")
        assert run.run(one, "pgrep -u ascend -a").stdout == ""
