"""The modules that read a run's folder on a node: what they see there is what the training user sees."""
import json
import os
import pwd
import shutil
import tempfile
from pathlib import Path

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.ascend.cluster.plugins.modules import training_evidence, training_stacks

USER = "nobody" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
BROKEN = "RuntimeError: NPU out of memory. Tried to allocate 20.00 MiB (NPU 0; 60.97 GiB total capacity)"


@pytest.fixture
def runs(monkeypatch):
    """A folder of runs that the user can reach, and a journal that is empty."""
    folder = Path(tempfile.mkdtemp(prefix="training-modules-", dir="/srv" if os.geteuid() == 0 else None))
    folder.chmod(0o755)
    (folder / "bin").mkdir()
    (folder / "bin" / "journalctl").write_text(f"#!/bin/sh\nid -u >> {folder}/asked\n")
    (folder / "bin" / "journalctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}/bin:{os.environ['PATH']}")
    (folder / "runs" / "abc").mkdir(parents=True)
    (folder / "runs" / "current").symlink_to("abc")
    yield folder / "runs"
    shutil.rmtree(folder)


def ask(module, capsys, **options):
    with patch_module_args(options), pytest.raises(SystemExit):
        module.main()
    return json.loads(capsys.readouterr().out)


def evidence(runs, capsys, **options):
    return ask(training_evidence, capsys, unit="u", run_dir=str(runs), run_id="abc", user=USER, node_rank=0, nproc_per_node=2, **options)["evidence"]


def test_evidence(runs, capsys):
    (runs / "abc" / "train.log").write_text(f"[default0]:{BROKEN}\n")
    (runs / "abc" / "result").write_text("status=failed\n")
    found = evidence(runs, capsys)
    assert found["ranks"]["0"]["findings"][0]["line"] == BROKEN
    assert found["tail"] == [f"[default0]:{BROKEN}"]
    assert set((runs.parent / "asked").read_text().split()) == {str(os.geteuid())}, "the journal is asked as root"


def test_what_the_supervisor_kept_of_a_start_is_not_searched_for_again(runs, capsys):
    (runs / "abc" / "train.log").write_text(f"[default0]:{BROKEN}\n")
    (runs / "abc" / "supervise").mkdir()
    path = runs / "abc" / "supervise" / "evidence-2.json"
    (runs.parent / "bin" / "journalctl").write_text("#!/bin/sh\necho 'Out of memory: Killed process 7 (python)'\n")
    kept = {"ranks": {"1": {"findings": [], "exit": None, "record": None}}, "node": [], "first_observed": 1, "searched": 9, "left_out": 0, "tail": []}
    path.write_text(json.dumps({"version": 1, "generation": 2, "evidence": kept}))
    found = evidence(runs, capsys, generation=2)
    assert {name: found[name] for name in kept if name != "tail"} == {name: kept[name] for name in kept if name != "tail"}
    assert found["journal"][0]["cause"] == "host_out_of_memory" and found["tail"], "what root alone can read is added"
    for text, generation in ((path.read_text(), 1), (path.read_text(), None), ("{", 2), ("[]", 2), ('{"version": 1, "generation": 2, "evidence": {}}', 2),
                             (path.read_text().replace('"generation": 2', '"generation": 3'), 2)):
        path.write_text(text)
        options = {} if generation is None else {"generation": generation}
        assert list(evidence(runs, capsys, **options)["ranks"]) == ["0"], (text, generation)


@pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: that root reads runs as the training user, since this is not root")
def test_evidence_of_what_only_root_reads_is_none(runs, capsys):
    secret = runs.parent / "secret"
    secret.write_text(f"[default0]:{BROKEN}\n")
    secret.chmod(0o600)
    (runs / "abc" / "result").write_text("status=failed\n")
    (runs / "abc" / "train.log").symlink_to(secret)
    (runs / "abc" / "failures").mkdir()
    (runs / "abc" / "failures" / "rank0.json").symlink_to(secret)
    found = evidence(runs, capsys)
    assert (found["ranks"], found["node"], found["tail"]) == ({}, [], [])


def test_stacks_of_no_run(runs, capsys):
    assert ask(training_stacks, capsys, run_dir=str(runs), user=USER, seconds=0)["stacks"] == {}
    assert "no user no-such-user" in ask(training_stacks, capsys, run_dir=str(runs), user="no-such-user")["msg"]
