"""The tasks that follow a run, over real supervisors with a fake training: on a terminal and without, interrupted, and where the master is not reached."""
import json
import os
import pty
import re
import select
import subprocess
import sys
from pathlib import Path

import pytest

from rehearsal import supervisors

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_FORCE_COLOR": "0", "COLUMNS": "160", "LINES": "40"}


class Site:
    """Two nodes whose supervisors live here, and a controller."""

    def __init__(self, folder, cluster, **hosts):
        self.folder, self.cluster = folder, cluster
        (folder / "inventory").mkdir()
        (folder / "bin").mkdir()
        (folder / "bin/supervise").symlink_to(supervisors.PROGRAM)
        nodes = {}
        for place, name in enumerate(cluster.names):
            runs = folder / f"runs-{name}"
            (runs / cluster.run).mkdir(parents=True)
            (runs / "current").symlink_to(cluster.run)
            (runs / cluster.run / "pretrain_mixtral.sh").touch()
            for part in ("supervise", "failures", "stacks", "train.log"):
                (runs / cluster.run / part).symlink_to(folder / name / part)
            nodes[name] = {"ansible_connection": "local", "cluster_run_dir": str(runs), "cluster_node_rank": place, **hosts.get(name, {})}
        (folder / "inventory/hosts.yml").write_text(json.dumps({"ascend_nodes": {"hosts": nodes, "vars": {
            "ansible_python_interpreter": sys.executable, "cluster_python": supervisors.PYTHON, "cluster_workspace": str(folder),
            "cluster_unit": "no-such-unit.service",
            "cluster_user": subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip(), "cluster_nodes": cluster.names,
            "cluster_master": cluster.names[0], "cluster_project_dir": str(ROOT), "plan_settings": {"log-interval": 1}, "plan_nproc_per_node": 1,
            "cluster_topology": {"nodes": [{"name": name, "address": cluster.address(name)} for name in cluster.names]},
            "pretrain_poll_seconds": 4, "pretrain_unreachable_timeout": 60, "pretrain_on_end": f"cat >{folder}/told"}}}))

    def command(self, tasks):
        play = self.folder / f"{tasks}.yml"
        play.write_text(json.dumps([{"name": "Play", "hosts": "ascend_nodes", "gather_facts": False, "any_errors_fatal": True,
                                     "vars_files": [str(ROOT / "roles/pretrain/vars/main.yml")],
                                     "tasks": [{"name": "Do", "ansible.builtin.import_tasks": str(ROOT / f"roles/pretrain/tasks/{tasks}.yml")}]}]))
        return ["ansible-playbook", str(play), "-i", str(self.folder / "inventory")]

    def play(self, tasks):
        done = subprocess.run(self.command(tasks), cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    def on_a_terminal(self, tasks):
        """Play on a terminal, and press Ctrl-C when it was drawn some times between the lines; returns the status and all that was printed."""
        words = self.command(tasks)
        pid, terminal = pty.fork()
        if pid == 0:
            os.chdir(ROOT)
            os.execvpe(words[0], words, {**ENVIRONMENT, "TERM": "xterm-256color"})
        seen, pressed = b"", False
        while select.select([terminal], [], [], 120)[0]:
            try:
                data = os.read(terminal, 65536)
            except OSError:  # the other side is closed
                break
            if not data:
                break
            seen += data
            if not pressed and seen.partition(b"tokens/s")[2].count(b"n1: iteration") > 2:
                os.write(terminal, b"\x03")
                pressed = True
        os.close(terminal)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), seen.decode("utf-8", "replace")


@pytest.fixture
def clusters():
    made = []
    yield made
    for one in made:
        one.close()


def iterations(text):
    """The numbers of the plain lines, in their order; those that follow each other folded."""
    found = []
    for number in map(int, re.findall(r"^n1: iteration +(\d+)/", text, re.MULTILINE)):
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ", ".join(f"{first}-{last}" for first, last in found)


def test_a_run_is_drawn_on_a_terminal_and_goes_on_after_an_interrupt(tmp_path, clusters):
    cluster = supervisors.Cluster(tmp_path, training={"iterations": 5000, "seconds": 0.5})
    clusters.append(cluster)
    site = Site(tmp_path, cluster)
    cluster.start()
    cluster.training()
    status, seen = site.on_a_terminal("follow")
    # The plain lines and what is drawn below them, each whole.
    words = " ".join(re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen).split())
    assert "Ctrl-C ends the following, not the training. To follow again" in words
    assert f"playbooks/follow_training.yml -i {tmp_path}/inventory" in words
    assert re.search(r"n1: iteration +\d+/5000 \| lm loss \d\.\d+ \| grad norm 1\.000 \| 0\.50 s *\r?\n", seen), seen
    assert re.search(rf"run {cluster.run} · running for [\d:]+ · 2 nodes · asking n0 *\r?\n", seen), seen
    assert re.search(r"\niteration \d+/5000 · loss \d\.\d{4} · grad norm 1\.000 · 500 ms · 1,024 tokens/s · 512 per NPU · \d+:\d\d:?\d* left", seen), seen
    assert "User interrupted execution" in seen and status != 0
    assert seen.rindex("\x1b[?25h") > seen.rindex("\x1b[?25l"), "the cursor is there again"
    assert not (tmp_path / "told").exists()
    # Nobody looked; it trained on. It is followed again, here to a stop.
    assert cluster.ask()["state"] == "running"
    status, table = site.play("status")
    assert status == 0, table
    assert re.search(rf"Run +{cluster.run}: running for", table) and re.search(r"n1 +running", table), table
    assert cluster.ask("n1", "stop", who="me")["stop_asked"] == "me"
    status, text = site.play("follow")
    assert status == 2
    assert re.search(r"The training was stopped: asked for by me(; checkpoint of iteration \d+)?, at iteration \d+ of 5000\.", " ".join(text.split())), text
    assert "Gather the evidence" not in text and json.loads((tmp_path / "told").read_text())["cause"] == "stopped"


def test_a_run_that_ended_while_nobody_looked_is_told_and_judged(tmp_path, clusters):
    cluster = supervisors.Cluster(tmp_path)
    clusters.append(cluster)
    site = Site(tmp_path, cluster)
    assert cluster.start().end() == [0, 0]
    status, text = site.play("follow")
    assert status == 0, text
    assert iterations(text) == "1-8", text
    assert "\x1b" not in text and "tokens/s" not in text, "nothing is drawn where there is no terminal"
    assert "Trained 8 iterations on 2 nodes; lm loss 5.99 at iteration 1, 5.92 at 8, 0.10 s per iteration (median)." in " ".join(text.split())
    kept = tmp_path / "inventory/runs" / cluster.run / "verdict.json"
    assert f"The verdict is kept in {kept}." in " ".join(text.split())
    verdict = json.loads(kept.read_text())
    assert (verdict["succeeded"], verdict["run"], verdict["losses"][0], verdict["losses"][-1]) == (True, cluster.run, [1, 5.99], [8, 5.92])
    assert json.loads((tmp_path / "told").read_text()) == verdict
    # Who follows it once more is told, and the site's command is not.
    (tmp_path / "told").unlink()
    status, text = site.play("follow")
    assert status == 0 and "Trained 8 iterations" in text, text
    assert json.loads(kept.read_text()) == verdict and not (tmp_path / "told").exists()
    # What is kept there names no hosts.
    status, listed = site.play("list")
    assert status == 0 and "WARNING" not in listed, listed
    assert re.search(rf"\* {cluster.run} +succeeded +8/8 +5\.9900 +5\.9200 +\d:\d\d +0", listed), listed


def test_where_the_master_is_not_reached_another_node_is_asked_and_who_failed_is_named(tmp_path, clusters):
    cluster = supervisors.Cluster(tmp_path, training={"iterations": 500, "faults": [{"node": 1, "iteration": 25, "kind": "raise"}]})
    clusters.append(cluster)
    gone = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 9, "ansible_ssh_common_args": "-o ConnectTimeout=5"}
    site = Site(tmp_path, cluster, n0=gone)
    (tmp_path / "inventory/runs").write_text("in the way")
    cluster.start()
    status, text = site.play("follow")
    flat = " ".join(text.split())
    assert status == 2, text
    assert "n0 does not answer: it is not reached" in flat
    assert iterations(text) == "1-24", text
    assert "The training failed on n1 (node rank 1), global rank 1 (local rank 0): an exception in the training code." in flat
    assert "ValueError: as planned" in flat
    assert "The supervisors heard first of n1: rank 1 (local 0) failed: ValueError: as planned" in flat
    assert "The logs of n0 could not be read" in flat
    assert "The verdict could not be kept in" in flat
    verdict = json.loads((tmp_path / "told").read_text())
    assert (verdict["culprit"], verdict["ranks"], verdict["cause"], verdict["code"]) == ("n1", [1], "python_exception", 1)


def test_a_run_that_no_node_knows_is_not_waited_for(tmp_path, clusters):
    cluster = supervisors.Cluster(tmp_path)
    clusters.append(cluster)
    site = Site(tmp_path, cluster)
    hosts = json.loads((tmp_path / "inventory/hosts.yml").read_text())
    # A day: it must not matter.
    hosts["ascend_nodes"]["vars"].update(pretrain_run_id="abc", pretrain_unreachable_timeout=86400)
    (tmp_path / "inventory/hosts.yml").write_text(json.dumps(hosts))
    status, text = site.play("follow")
    flat = " ".join(text.split())
    assert status == 2, text
    assert "Nobody knows of run abc. n0: run abc has no" in flat and "n1: run abc has no" in flat and "list_training.yml names the runs" in flat
    assert "Where a training runs" not in flat and "86400" not in flat


def test_where_nobody_answers_that_is_said_and_nothing_is_judged(tmp_path, clusters):
    cluster = supervisors.Cluster(tmp_path)
    clusters.append(cluster)
    site = Site(tmp_path, cluster, n0={"pretrain_unreachable_timeout": 0})
    status, text = site.play("follow")
    flat = " ".join(text.split())
    assert status == 2
    assert "n0: no supervisor of run" in flat and "Where a training runs it goes on by itself" in flat
    assert "Judge the run" not in text and not (tmp_path / "inventory/runs").exists()
    status, text = site.play("status")
    assert status == 2 and "Nobody can tell how the training stands. n0: no supervisor of run" in " ".join(text.split()), text
