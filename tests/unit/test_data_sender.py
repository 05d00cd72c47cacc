"""The forced command of a transfer: what it runs, and that it runs nothing else."""
from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[2] / "roles" / "node_transfer" / "files" / "ascend-data-sender"
# As rsync 3.2.7 on Debian 12 asks for --times --copy-links --ignore-times --relative.
FLAGS = "-LtIRe.iLsfxCIvu"


def ask(folder: Path, command: str | None) -> subprocess.CompletedProcess[str]:
    """Run it with a stand-in for rsync that prints its words."""
    rsync = folder / "rsync"
    rsync.write_text('#!/bin/bash\nprintf "[%s]" "$@"\n')
    rsync.chmod(0o755)
    environment = {"PATH": f"{folder}:{os.environ['PATH']}"}
    if command is not None:
        environment["SSH_ORIGINAL_COMMAND"] = command
    return subprocess.run([str(PROGRAM), "/data/a", "/data/b"], env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("paths", ["/data/a", "/data/b", "/data/b /data/a"])
@pytest.mark.parametrize("options", [FLAGS, f"{FLAGS} --timeout=300", f"{FLAGS} --timeout=300 --no-implied-dirs"])
def test_sends_its_files(paths: str, options: str, tmp_path: Path) -> None:
    done = ask(tmp_path, f"rsync --server --sender {options} . {paths}")
    words = ["--server", "--sender", *options.split(), ".", *paths.split()]
    assert done.stdout == "".join(f"[{word}]" for word in words)


@pytest.mark.parametrize("command", [
    None, "", "bash", "cat /etc/passwd", f"rsync --server {FLAGS} . /data/a",
    f"rsync --server --sender {FLAGS} . /", f"rsync --server --sender {FLAGS} . /data/a/", f"rsync --server --sender {FLAGS} .",
    f"rsync --server --sender {FLAGS} . /data/a/../../etc", f"rsync --server --sender {FLAGS} . /data/a /etc",
    f"rsync --server --sender {FLAGS} . /data/*", f"rsync --server --sender {FLAGS} --remove-source-files . /data/a",
    f"rsync --server --sender {FLAGS} --log-file=/home/x/.bashrc . /data/a", f"rsync --server --sender {FLAGS} . /data/a; id",
    f"rsync --server --sender {FLAGS} . /data/a\nid", "rsync --server --sender -se.iLsfxCIvu . /data/a",
    "rsync --server --sender -rLtIRe.iLsfxCIvu . /data/a", "rsync --server --sender . /data/a",
    f"rsync --server --sender {FLAGS} --timeout=3x . /data/a", f"/tmp/rsync --server --sender {FLAGS} . /data/a",
])
def test_refuses_everything_else(command: str | None, tmp_path: Path) -> None:
    done = ask(tmp_path, command)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "refused" in done.stderr
