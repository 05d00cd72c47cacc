"""Playing the project's playbooks against two nodes, and looking at what they did."""
import json
import os
import re
import shlex
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

PROJECT = Path(__file__).parents[1]
WORKSPACE = "/opt/ascend-cluster"
UNIT = "ascend-pretrain.service"
ENVIRONMENT = {"OMP_NUM_THREADS": 1}


class Site:
    """The project, played on two nodes as a user would; ``folder`` holds ssh/ as rehearsal/nodes/ssh.py writes it."""

    nodes = ("node1", "node2")
    inventory = "molecule/inventory"

    def __init__(self, folder, arguments=()):
        self.folder = Path(folder)
        self.arguments = list(arguments)

    def start(self, playbook, *arguments, inventories=(), session=False, **variables):
        """Start a playbook with extra variables, in a session of its own where that is asked for; its output, errors included, is a pipe."""
        words = ["ansible-playbook", playbook, "-i", str(self.inventory), *self.arguments]
        for inventory in inventories:
            words += ["-i", str(inventory)]
        if variables:
            words += ["-e", json.dumps(variables)]
        environment = {**os.environ, "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"), "ANSIBLE_FORCE_COLOR": "0",
                       "MOLECULE_EPHEMERAL_DIRECTORY": str(self.folder), "ANSIBLE_SSH_ARGS": f"-F {self.folder}/ssh/config", "COLUMNS": "200"}
        return subprocess.Popen([*words, *arguments], cwd=PROJECT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                start_new_session=session)

    def play(self, playbook, *arguments, **variables):
        """Run a playbook to its end; returns exit status and output, in one line and without the folds of yaml."""
        with self.start(playbook, *arguments, **variables) as process:
            output, _ = process.communicate(timeout=1800)
        return process.returncode, " ".join(output.replace("''", "'").split())

    def refused(self, playbook, *arguments, **variables):
        """Run a playbook that must fail, and by a message rather than by a crash; returns its output."""
        status, output = self.play(playbook, *arguments, **variables)
        assert status != 0, output
        assert "Traceback" not in output.split("Last lines of")[0], output
        return output

    def run(self, node, command):
        """Run a shell command as root on a node; returns the finished process."""
        return subprocess.run(["ssh", "-F", f"{self.folder}/ssh/config", f"ops@{node}", f"sudo bash -c {shlex.quote(command)}"], capture_output=True, text=True,
                              check=False, timeout=120)

    def snapshot(self):
        """Every file that the roles make, with size and time: equal means that nothing was changed."""
        find = (f"find {WORKSPACE} /usr/local/Ascend /etc/systemd/system /etc/sysctl.d /etc/security -xdev "
                r"\( -name __pycache__ -o -path '*/.git/*' \) -prune -o -type f -printf '%p %s %T@\n' | sort")
        with ThreadPoolExecutor() as pool:
            return dict(zip(self.nodes, pool.map(lambda node: self.run(node, find).stdout, self.nodes)))

    def broken(self, **environment):
        """Train anew with this in the ranks' environment, a fault say; the output of the refusal."""
        return self.refused("playbooks/pretrain.yml", pretrain_new_run=True, pretrain_environment_extra={**ENVIRONMENT, **environment})

    def curve(self, log="/opt/ascend-cluster/runs/current/train.log"):
        """Of each iteration in a log on the last node: the words of loss, grad norm and learning rate."""
        found = re.findall(r"iteration +(\d+)/ .*learning rate: (\S+) .*lm loss: (\S+) .*grad norm: (\S+) ", self.run("node2", f"cat {log}").stdout)
        return {int(iteration): (loss, norm, rate) for iteration, rate, loss, norm in found}

    def checkpoints(self, folder):
        """Every file of the checkpoints in a folder with its hash, on each node."""
        command = f"cd {folder} && find . -type f -name '*.pt' -o -name '*.txt' | sort | xargs sha256sum"
        return {node: self.run(node, command).stdout for node in self.nodes}

    def nothing_runs(self):
        """Fail where the job is active on a node, or the training user has a process."""
        for node in self.nodes:
            assert self.run(node, f"systemctl is-active {UNIT}").stdout.strip() in ("inactive", "failed")
            assert self.run(node, "pgrep -u ascend -a").stdout == ""


def fault(kinds, ranks, moments="3"):
    """After iteration 3, on these global ranks; each node has two."""
    return {"STANDIN_FAULT": kinds, "STANDIN_RANK": ranks, "STANDIN_AT": moments}
