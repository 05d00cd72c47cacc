"""The rendered launch script: its text, and its behaviour around a torchrun that the test plays."""
import contextlib
import getpass
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from supervise import config

ROOT = Path(__file__).parents[2]

PLAYBOOK = """
- name: Render the launch script
  hosts: ascend_nodes
  gather_facts: false
  tasks:
    - name: Render
      ansible.builtin.import_role:
        name: ascend.cluster.pretrain
        tasks_from: render
"""

LOG_LINE = (" [2026-01-01 00:00:00] iteration {:8d}/{:8d} | consumed samples:            8 | elapsed time per iteration (ms): 10.0 | "
            "learning rate: 1.250E-07 | global batch size:     8 | lm loss: 6.0E+00 | loss scale: 1.0 | grad norm: 1.0 | "
            "number of skipped iterations:   0 | number of nan iterations:   0 |")


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    """The scripts of two nodes with one rank each, in a workspace of the test's own."""
    folder = tmp_path_factory.mktemp("launch")
    hosts = {}
    for index, name in enumerate(("node1", "node2"), start=1):
        workspace = folder / name
        for part in ("Megatron-LM", "bin", "runs/abc/supervise"):
            (workspace / part).mkdir(parents=True)
        (workspace / "env.sh").write_text(f'export PATH="{workspace}/bin:$PATH"\n')
        hosts[name] = {"ansible_host": f"192.0.2.{index}", "cluster_workspace": str(workspace), "cluster_log_dir": str(folder / "logs")}
    (folder / "hosts.yml").write_text(json.dumps({"ascend_nodes": {"hosts": hosts}}))
    (folder / "play.yml").write_text(PLAYBOOK)
    variables = {
        "ansible_python_interpreter": sys.executable, "cluster_user": getpass.getuser(), "pretrain_run_id": "abc",
        "__pretrain_ifname": "eth0", "__cluster_guard": False, "__pretrain_checkpoints_shared": False,
        "plan_nproc_per_node": 1, "plan_tensor_model_parallel_size": 1, "plan_pipeline_model_parallel_size": 2,
        "plan_expert_model_parallel_size": 1, "plan_train_iters": 20, "pretrain_environment_extra": {"SITE_NOTE": "two words; $HOME"}}
    done = subprocess.run(
        ["ansible-playbook", str(folder / "play.yml"), "-i", str(folder / "hosts.yml"), "-c", "local", "-e", json.dumps(variables)],
        cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")})
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(autouse=True)
def no_checkpoint(rendered):
    """Each test begins without checkpoints, as after a launch that moved them aside."""
    for node in ("node1", "node2"):
        shutil.rmtree(rendered / node / "Megatron-LM/ckpt", ignore_errors=True)


def torchrun(rendered, node, body):
    """Play torchrun: a bash script that may use $CKPT."""
    program = rendered / node / "bin/torchrun"
    program.write_text(f'#!/usr/bin/env bash\nCKPT="{rendered}/{node}/Megatron-LM/ckpt/Mixtral-8x7B"\n'
                       f'printf "%s\\n" "$@" >"{rendered}/argv"\nenv >"{rendered}/environment"\n{body}\n')
    program.chmod(0o755)


def script(rendered, node):
    return ["bash", str(rendered / node / "runs/abc/pretrain_mixtral.sh")]


def run(rendered, node, body, **environment):
    torchrun(rendered, node, body)
    done = subprocess.run(script(rendered, node), capture_output=True, text=True, check=False, timeout=60, env={**os.environ, **environment})
    result = dict(line.split("=", 1) for line in (rendered / node / "runs/abc/result").read_text().splitlines())
    return done, result


def save(iteration, shard):
    return (f'mkdir -p "$CKPT/iter_{iteration:07d}/{shard}"; sleep 0.02; echo x >"$CKPT/iter_{iteration:07d}/{shard}/model_optim_rng.pt"; '
            f'echo {iteration} >"$CKPT/latest_checkpointed_iteration.txt"')


def lines(*iterations, of=20, change=("", "")):
    return "\n".join(f"echo '{LOG_LINE.format(i, of).replace(*change)}'" for i in iterations)


ALL = range(1, 21)


def test_it_passes_shellcheck(rendered):
    scripts = [script(rendered, node)[1] for node in ("node1", "node2")]
    done = subprocess.run(["shellcheck", *scripts], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_supervisors_settings_are_what_it_takes(rendered):
    for rank, node in enumerate(("node1", "node2")):
        settings = config.load(str(rendered / node / "runs/abc/supervise/config.json"))
        assert (settings.run, settings.node, settings.nodes) == ("abc", node, ("node1", "node2"))
        assert (settings.address, settings.hub, settings.port, settings.master_port) == (f"192.0.2.{rank + 1}", "192.0.2.1", 29400, 6000)
        assert settings.command == ("/usr/bin/env", *script(rendered, node))
        assert (settings.folder, settings.token_file) == (f"{rendered}/{node}/runs/abc/supervise", f"{rendered}/{node}/runs/abc/supervise/token")
        assert settings.checkpoints.shards == (f"mp_rank_00_00{rank}/model_optim_rng.pt",)
        assert settings.checkpoints.folder == f"{rendered}/{node}/Megatron-LM/ckpt/Mixtral-8x7B"
        assert settings.checkpoints.bytes > 100e9, "a half of Mixtral-8x7B with its optimizer"
        assert (settings.nproc_per_node, settings.train_iters, settings.tokens_per_iteration) == (1, 20, 4096 * 128)
        assert (settings.max_restarts, settings.stop_saves, settings.on_end, settings.checkpoints.keep, settings.checkpoints.shared) == (0, False, "", 0, False)
        assert (settings.times.hang, settings.times.first, settings.times.form, settings.times.grace, settings.times.save) == (600, 1800, 600, 120, 1800)


def test_the_program_of_the_supervisor_is_brought_whole(rendered):
    there = {path.name: path.read_text() for path in (rendered / "node1/bin/supervise").iterdir()}
    assert there == {path.name: path.read_text() for path in (ROOT / "roles/pretrain/files/supervise").glob("*.py")}
    done = subprocess.run([sys.executable, str(rendered / "node1/bin/supervise"), "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "supervise run CONFIG" in done.stdout


@pytest.mark.parametrize(("missing", "words"), [
    ("", ""), ("list", "data_manifest.sha256"), ("file", "two  words.bin ("), ("pretrain_gpt.py", "pretrain_gpt.py cannot be read: is its storage mounted?")])
def test_a_node_is_ready_when_its_data_and_programs_can_be_read(rendered, missing, words):
    home = rendered / "node1"
    paths = {"list": home / "state/data_manifest.sha256", "file": home / "two  words.bin", "pretrain_gpt.py": home / "Megatron-LM/pretrain_gpt.py",
             "python": home / "conda/envs/test/bin/python"}
    command = json.loads((home / "runs/abc/supervise/config.json").read_text())["ready"]
    assert str(paths["list"]) in command and str(home / "env.sh") in command
    paths["python"] = Path(next(word for word in command if word.endswith("bin/python")))
    try:
        for name, path in paths.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            if name != missing:
                path.write_text(f"{'0' * 64}  {paths['file']}\n")
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    finally:
        for path in paths.values():
            path.unlink(missing_ok=True)
    assert (done.returncode == 0) == (not missing)
    assert words in done.stdout + done.stderr


def test_arguments_and_environment_reach_torchrun(rendered):
    run(rendered, "node2", "exit 1")
    argv = (rendered / "argv").read_text().split("\n")
    pairs = set(zip(argv, argv[1:], strict=False))
    assert {("--nnodes", "2"), ("--node_rank", "1"), ("--master_addr", "192.0.2.1"), ("--master_port", "6000"), ("--nproc_per_node", "1"),
            ("--pipeline-model-parallel-size", "2"), ("--moe-model-type", "mixtral_moe"), ("--train-iters", "20"),
            ("--distributed-backend", "nccl")} <= pairs
    assert "--load" not in argv
    assert "--no-load-optim" not in argv
    environment = (rendered / "environment").read_text().splitlines()
    assert {"HCCL_DETERMINISTIC=true", "HCCL_IF_IP=192.0.2.2", "GLOO_SOCKET_IFNAME=eth0", "HCCL_EXEC_TIMEOUT=120", "HCCL_IF_BASE_PORT=60000",
            "SITE_NOTE=two words; $HOME"} <= set(environment)


def test_success_is_the_last_iteration_and_the_checkpoint(rendered):
    done, result = run(rendered, "node2", f"{lines(*ALL)}\n{save(20, 'mp_rank_00_001')}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (result["status"], result["last_iteration"]) == ("succeeded", "20")
    assert "iteration       20/      20" in (rendered / "node2/runs/abc/train.log").read_text()


@pytest.mark.parametrize(("node", "body", "reason"), [
    ("node2", lines(1, 2, 3), "torchrun exited 0, but the last iteration logged is 3 of 20"),
    ("node2", "true", "the last iteration logged is none of 20"),
    ("node2", lines(19, 20), "torchrun exited 0, but only 2 of 20 iterations were logged between 0 and 20"),
    ("node2", lines(*ALL, change=("lm loss: 6.0E+00 |", "")), "the loss of the last iteration logged, 20, is missing (bad since iteration 1)"),
    ("node2", lines(*ALL, change=("grad norm: 1.0", "grad norm: nan")), "the grad norm of the last iteration logged, 20, is nan"),
    ("node2", lines(*ALL), "mp_rank_00_001/model_optim_rng.pt was not written"),
    ("node1", save(20, "mp_rank_00_000").replace("echo 20", "echo 10"), "latest_checkpointed_iteration.txt says '10', expected 20"),
    ("node1", "echo boom; exit 7", "torchrun exited 7"),
])
def test_exit_status_0_is_not_enough(rendered, node, body, reason):
    done, result = run(rendered, node, body)
    assert done.returncode == 1
    assert result["status"] == "failed"
    assert reason in result["reason"]
    assert reason in done.stderr


def test_files_of_an_older_run_do_not_pass(rendered):
    assert run(rendered, "node2", f"{lines(*ALL)}\n{save(20, 'mp_rank_00_001')}")[0].returncode == 0
    folder = rendered / "node2/Megatron-LM/ckpt/Mixtral-8x7B"
    (folder / "iter_0000020").rename(folder / "other")
    (folder / "latest_checkpointed_iteration.txt").unlink()
    # Brought back as it was while this run trained.
    assert "was not written" in run(rendered, "node2", f'{lines(*ALL)}\nmv "$CKPT/other" "$CKPT/iter_0000020"')[1]["reason"]


def test_the_log_of_an_earlier_try_is_kept(rendered):
    run(rendered, "node1", "echo first; exit 1")
    run(rendered, "node1", "echo second; exit 1")
    folder = rendered / "node1/runs/abc"
    assert any("first" in path.read_text() for path in folder.glob("train.*log"))
    assert "second" in (folder / "train.log").read_text()


def test_the_log_is_kept_on_shared_storage_too(rendered):
    shutil.rmtree(rendered / "logs", ignore_errors=True)
    for node in ("node1", "node2"):
        run(rendered, node, f"echo here is {node}; exit 1")
    logs = {path.name: path.read_text() for path in (rendered / "logs/abc").iterdir()}
    assert set(logs) == {"node1.log", "node2.log"}
    for node in ("node1", "node2"):
        assert logs[f"{node}.log"] == (rendered / node / "runs/abc/train.log").read_text()
        assert f"here is {node}" in logs[f"{node}.log"] and "FAILED: torchrun exited 1" in logs[f"{node}.log"]


def test_shared_storage_that_cannot_be_written_does_not_stop_the_training(rendered):
    shutil.rmtree(rendered / "logs", ignore_errors=True)
    (rendered / "logs").write_text("in the way")
    try:
        done, result = run(rendered, "node2", f"{lines(*ALL)}\n{save(20, 'mp_rank_00_001')}")
    finally:
        (rendered / "logs").unlink()
    assert (done.returncode, result["status"]) == (0, "succeeded")
    assert "node2.log cannot be written (cluster_log_dir)" in done.stderr


def test_a_stop_reaches_torchrun_and_is_told_apart(rendered):
    torchrun(rendered, "node1", "trap 'echo last words; kill $!; exit 143' TERM\nsleep 300 >/dev/null 9>&- & echo started; wait $!")
    log = rendered / "node1/runs/abc/train.log"
    log.unlink(missing_ok=True)
    with subprocess.Popen(script(rendered, "node1"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 30
        while not log.exists() or "started" not in log.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        second = subprocess.run(script(rendered, "node1"), capture_output=True, text=True, check=False, timeout=30)
        process.send_signal(signal.SIGTERM)
    assert second.returncode == 1
    assert "another training holds" in second.stderr
    assert "status=stopped" in (rendered / "node1/runs/abc/result").read_text()
    assert "last words" in log.read_text()


def test_a_slow_log_is_waited_for(rendered):
    slow = rendered / "node2/bin/tee"
    slow.write_text(f'#!/usr/bin/env bash\nsleep 1\nexec {shutil.which("tee")} "$@"\n')
    slow.chmod(0o755)
    try:
        done, result = run(rendered, "node2", f"{lines(*ALL)}\n{save(20, 'mp_rank_00_001')}")
    finally:
        slow.unlink()
    assert (done.returncode, result["status"]) == (0, "succeeded"), result


@pytest.mark.parametrize("earlier", ["latest_checkpointed_iteration.txt", "iter_0000010", "release"])
def test_a_run_that_loads_nothing_never_begins_over_a_checkpoint(rendered, earlier):
    folder = rendered / "node1/Megatron-LM/ckpt/Mixtral-8x7B"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / earlier).write_text("1000")
    done, result = run(rendered, "node1", "touch $CKPT/trained")
    assert done.returncode == 1
    assert f"there is a checkpoint already, {folder}/{earlier}" in result["reason"]
    assert "pretrain_resume=true" in result["reason"] and "pretrain_new_run=true" in result["reason"]
    assert (folder / earlier).read_text() == "1000"
    assert not (folder / "trained").exists()


def test_each_ranks_words_are_kept_apart(rendered):
    run(rendered, "node1", "exit 1")
    argv = (rendered / "argv").read_text().split("\n")
    folder = rendered / "node1/runs/abc"
    assert {("--log_dir", f"{folder}/ranks"), ("--redirects", "3"), ("--tee", "3")} <= set(zip(argv, argv[1:], strict=False))
    environment = (rendered / "environment").read_text().splitlines()
    assert {f"ASCEND_RUN_DIR={folder}", "PYTHONUNBUFFERED=1"} <= set(environment)


def test_what_an_earlier_try_left_is_put_aside(rendered):
    folder = rendered / "node1/runs/abc"
    run(rendered, "node1", f"echo first >{folder}/ranks/word; touch {folder}/failures/rank0.json {folder}/stacks/rank0.txt; exit 1")
    run(rendered, "node1", "exit 1")
    assert not list((folder / "ranks").iterdir()) and not list((folder / "failures").iterdir()) and not list((folder / "stacks").iterdir())
    assert any((path / "word").read_text() == "first\n" for path in folder.glob("ranks.*") if (path / "word").exists())


def test_each_start_of_the_supervisor_has_a_port_of_its_own(rendered):
    run(rendered, "node2", "exit 1", MASTER_PORT="6003")
    argv = (rendered / "argv").read_text().split("\n")
    assert argv[argv.index("--master_port") + 1] == "6003"


@pytest.fixture
def other_start(rendered):
    """The script of node2 as it is rendered for a start from other weights, and for a given step."""
    path = Path(script(rendered, "node2")[1])
    text = path.read_text()
    words = "--load /weights --no-load-optim --ckpt-step 3 --no-load-rng --finetune --lr-decay-style cosine"
    path.write_text(text.replace("EXTRA_ARGS=(\n", f"EXTRA_ARGS=(\n    {words}\n"))
    yield path
    path.write_text(text)


@pytest.mark.usefixtures("other_start")
def test_a_start_after_a_failure_loads_the_newest_whole_checkpoint_whatever_was_rendered(rendered):
    folder = rendered / "node2/Megatron-LM/ckpt/Mixtral-8x7B"
    run(rendered, "node2", "exit 1")
    first = (rendered / "argv").read_text().split("\n")
    assert "/weights" in first and "--no-load-optim" in first
    (folder / "iter_0000015").mkdir(parents=True)
    (folder / "latest_checkpointed_iteration.txt").write_text("15")
    done, result = run(rendered, "node2", f"{lines(*range(16, 21))}\n{save(20, 'mp_rank_00_001')}", SUPERVISE_LOAD="15", SUPERVISE_GENERATION="1")
    assert (done.returncode, result["status"]) == (0, "succeeded"), result
    argv = (rendered / "argv").read_text().split("\n")
    assert argv.count("--load") == 1 and argv[argv.index("--load") + 1] == str(folder)
    assert not {"--no-load-optim", "--no-load-rng", "--finetune", "--ckpt-step", "/weights"} & set(argv)
    # All else is as before.
    changed = {"--load", "/weights", "--no-load-optim", "--ckpt-step", "3", "--no-load-rng", "--finetune", str(folder)}
    assert [word for word in argv if word not in changed] == [word for word in first if word not in changed]


def test_a_start_after_a_failure_is_judged_from_where_it_began(rendered):
    (rendered / "node2/Megatron-LM/ckpt/Mixtral-8x7B/iter_0000015").mkdir(parents=True)
    _, result = run(rendered, "node2", f"{lines(*range(17, 21))}\n{save(20, 'mp_rank_00_001')}", SUPERVISE_LOAD="15", SUPERVISE_GENERATION="1")
    assert "only 4 of 5 iterations were logged between 15 and 20" in result["reason"]


def test_a_start_from_the_beginning_is_not_refused_for_what_this_run_itself_left(rendered):
    folder, began = rendered / "node1/Megatron-LM/ckpt/Mixtral-8x7B", rendered / "node1/runs/abc/began"
    began.unlink(missing_ok=True)
    run(rendered, "node1", 'mkdir -p "$CKPT/iter_0000005"; exit 1')
    _, result = run(rendered, "node1", "exit 9", SUPERVISE_LOAD="", SUPERVISE_GENERATION="1")
    assert result["reason"] == "torchrun exited 9"
    # By hand, and in a launch, it is somebody's checkpoint; so it is where this run has not begun.
    assert "there is a checkpoint already" in run(rendered, "node1", "exit 9")[1]["reason"]
    assert "there is a checkpoint already" in run(rendered, "node1", "exit 9", SUPERVISE_GENERATION="0")[1]["reason"]
    began.unlink()
    assert "there is a checkpoint already" in run(rendered, "node1", "exit 9", SUPERVISE_LOAD="", SUPERVISE_GENERATION="1")[1]["reason"]
    assert (folder / "iter_0000005").exists()


def test_a_stop_that_let_the_ranks_save_is_told_apart_from_a_success(rendered):
    note = rendered / "node1/runs/abc/stopping"
    _, result = run(rendered, "node1", f"touch {note}; exit 0")
    assert (result["status"], result["reason"]) == ("stopped", "stopped by the supervisor, which let the ranks save first; torchrun exited 0")
    assert run(rendered, "node1", "exit 4")[1]["reason"] == "torchrun exited 4"


@pytest.fixture
def survivors(rendered):
    """Make pretrain_gpt.py wait in node1's checkout; what is left of it is ended after the test."""
    program = rendered / "node1/Megatron-LM/pretrain_gpt.py"
    program.write_text("import sys, time\nopen(sys.argv[1], 'w').write('started')\ntime.sleep(600)\n")
    pids = rendered / "survivors"
    yield program, pids
    for pid in pids.read_text().split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    program.unlink()


def test_a_second_start_is_refused_while_ranks_outlive_their_torchrun(rendered, survivors):
    _, pids = survivors
    # As torchrun starts its ranks: without what it inherited, in sessions of their own.
    start = f'for rank in 0 1; do {sys.executable} -u pretrain_gpt.py {rendered}/started$rank 9>&- 8>&- >/dev/null 2>&1 & echo $! >>{pids}; done'
    body = (f'setsid bash -c {shlex.quote(start)}; until [ -s {rendered}/started0 ] && [ -s {rendered}/started1 ]; do sleep 0.05; done; kill -KILL $$')
    _, result = run(rendered, "node1", body)
    assert result["reason"] == "torchrun exited 137"
    left = pids.read_text().split()
    assert len(left) == 2
    torchrun(rendered, "node1", "exit 5")
    second = subprocess.run(script(rendered, "node1"), capture_output=True, text=True, check=False, timeout=60)
    assert second.returncode == 1
    assert "ranks of an earlier start still live on this node" in second.stderr
    assert all(pid in second.stderr.split("(kill")[1].split(";")[0].split() for pid in left), second.stderr
    assert "torchrun exited 137" in (rendered / "node1/runs/abc/result").read_text(), "the earlier start's result is what tells of it"
    for pid in left:
        os.kill(int(pid), signal.SIGKILL)
    while any(Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes() for pid in left):
        time.sleep(0.05)
    assert run(rendered, "node1", "exit 5")[1]["reason"] == "torchrun exited 5"


def test_another_program_of_that_name_is_no_rank(rendered, survivors):
    program, pids = survivors
    with subprocess.Popen([sys.executable, "-u", program.name, str(rendered / "started2")], cwd=program.parent) as other:
        pids.write_text(str(other.pid))
        while not (rendered / "started2").exists():
            time.sleep(0.05)
        assert run(rendered, "node1", "exit 6")[1]["reason"] == "torchrun exited 6"
        other.kill()


@pytest.mark.parametrize(("settings", "loaded", "first", "interval"), [
    ({}, None, 0, 5), ({"load": "/ckpt"}, "15", 15, 5), ({"load": "/ckpt"}, None, -1, 5), ({"load": "/ckpt"}, "release", 0, 5),
    ({"load": "/ckpt", "finetune": True}, "15", 0, 5), ({"log-interval": False}, None, 0, 100)])
def test_what_a_good_end_looks_like(settings, loaded, first, interval):
    variables = yaml.safe_load((ROOT / "roles/pretrain/vars/main.yml").read_text(encoding="utf-8"))
    given = {"plan_settings": {"load": False, "log-interval": 5, "train-iters": 200, **settings}, "plan_nproc_per_node": 8,
             **({"__pretrain_iteration": loaded} if loaded else {})}
    templar = Templar(DataLoader(), variables=given)
    assert int(templar.template(trust_as_template(variables["__pretrain_first_iteration"]))) == first
    assert int(templar.template(trust_as_template(variables["__pretrain_supervise"]["log_interval"]))) == interval
