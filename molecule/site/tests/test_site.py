"""What a converged node has."""
import re

WORKSPACE = "/opt/ascend-cluster"
MEGATRON = f"{WORKSPACE}/Megatron-LM"
RUN = f"{WORKSPACE}/runs/current"


def test_the_training_user(host):
    user = host.user("ascend")
    assert "HwHiAiUser" in user.groups
    assert (user.uid, user.gid) == (2000, 2000)
    assert host.file(WORKSPACE).user == "root"
    assert host.file(f"{WORKSPACE}/runs").user == "ascend"


def test_ports_of_a_run_are_reserved(host):
    assert host.file("/proc/sys/net/ipv4/ip_local_reserved_ports").content_string.strip() == "6000-6015,16666,29400,60000-60031"


def test_the_environment_is_sourced_once(host):
    twice = host.check_output(f"bash -uc '. {WORKSPACE}/env.sh; before=$PATH; . {WORKSPACE}/env.sh; [ \"$PATH\" = \"$before\" ] && echo $ASCEND_TOOLKIT_HOME'")
    assert twice == "/usr/local/Ascend/ascend-toolkit/latest"


def test_torch_and_its_companions_import(host):
    with host.sudo("ascend"):
        assert host.check_output(f"{WORKSPACE}/bin/ascend-env python -c 'import torch, torch_npu, apex; print(torch.__version__)'").startswith("2.13.0")


def test_megatron_is_patched_and_hooked(host):
    text = host.file(f"{MEGATRON}/pretrain_gpt.py").content_string
    assert "import ascendspeed.megatron_adaptor" in text
    assert re.search(r"if __name__ == .__main__.:\n(.*\n)*.*ascend_cluster_hooks(.*\n)*.*pretrain\(", text)
    assert host.file(f"{MEGATRON}/megatron/__init__.py").exists
    assert host.run(f"ls {MEGATRON}/megatron/core/datasets/helpers*.so").rc == 0


def test_every_node_has_the_masters_data(host):
    with host.sudo("ascend"):
        done = host.run(f"sha256sum -c --quiet {WORKSPACE}/state/data_manifest.sha256")
    assert done.rc == 0, done.stdout
    listed = host.file(f"{WORKSPACE}/state/data_manifest.sha256").content_string
    for part in ("alpaca_text_document.bin", "alpaca_text_document.idx", "tokenizer.json", "shuffle_index.npy"):
        assert part in listed


def test_the_run_succeeded(host):
    result = host.file(f"{RUN}/result").content_string
    assert "status=succeeded" in result
    rank = 0 if "node1" in host.backend.get_hostname() else 1
    assert f"node {rank}/2, 2 ranks" in host.file(f"{RUN}/train.log").content_string


def test_the_last_node_logged_a_falling_loss(host):
    losses = [float(loss) for loss in re.findall(r"iteration +\d+/ +20 .*lm loss: (\S+)", host.file(f"{RUN}/train.log").content_string)]
    if "node2" in host.backend.get_hostname():
        assert len(losses) == 20
        assert losses[-1] < losses[0] - 0.3
    else:
        assert losses == []


def test_the_checkpoint_is_there(host):
    shards = host.run(f"ls {MEGATRON}/ckpt/Mixtral-8x7B/iter_0000020/").stdout.split()
    # TP2 EP2 on 2 x 2 ranks: each node writes the shards of one expert-parallel rank.
    assert shards == (["mp_rank_00_000", "mp_rank_01_000"] if "node1" in host.backend.get_hostname() else ["mp_rank_00_001", "mp_rank_01_001"])


def test_nothing_is_left_running(host):
    assert host.check_output("systemctl is-active ascend-pretrain.service || true") in ("inactive", "failed")
    assert host.run("pgrep -u ascend").stdout == ""
