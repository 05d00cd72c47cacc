"""Two stacks on one cluster: the second is put beside the first, and which one trains is one variable."""
import re

import pytest

from tests.playing import WORKSPACE

CURRENT = {"cluster_stack": "current", "plan_train_iters": 4, "plan_save_interval": 4}
# What trains, and nothing that a run writes: of another run, a link and the systemd unit.
OF_A_RUN = re.compile(rf"{WORKSPACE}/(runs|logs)/|/etc/systemd/system/ascend-pretrain.service |{WORKSPACE}/(current/)?Megatron-LM/(logs|ckpt)/")


def installed(site, pattern):
    """Files that the roles made, by node, whose line a pattern finds."""
    return {node: [line for line in files.splitlines() if re.search(pattern, line) and not OF_A_RUN.search(line)] for node, files in site.snapshot().items()}


def of_the_first(site):
    return installed(site, rf"^({WORKSPACE}/(?!current/|conda/envs/current/|conda/pkgs/|artifacts/)|/usr/local/Ascend/ascend-toolkit/)")


@pytest.fixture(scope="module")
def first(site):
    """The first stack as it was before there was a second."""
    return of_the_first(site)


def test_a_second_stack_is_put_beside_the_first_and_trains(site, first):
    """The controller is killed in the middle of it; the next run mends what it left."""
    with site.start("site.yml", **CURRENT) as process:
        for line in process.stdout:
            if "conda_env : Install | Install the wheels and packages" in line:
                process.kill()
                break
    status, output = site.play("site.yml", **CURRENT)
    assert status == 0, output
    assert "launching the training" in output or "succeeded" in output
    for node in site.nodes:
        assert "status=succeeded" in site.run(node, f"cat {WORKSPACE}/runs/current/result").stdout
        assert "import mindspeed.megatron_adaptor" in site.run(node, f"cat {WORKSPACE}/current/Megatron-LM/pretrain_gpt.py").stdout
        home = site.run(node, f"{WORKSPACE}/current/bin/ascend-env printenv ASCEND_TOOLKIT_HOME").stdout.strip()
        assert home == "/usr/local/Ascend/cann-9.1.0"
    assert "--tokenizer-type HuggingFaceTokenizer" in site.run("node1", f"cat {WORKSPACE}/runs/current/pretrain_mixtral.sh").stdout
    assert site.run("node1", f"cat {WORKSPACE}/current/Megatron-LM/ckpt/Mixtral-8x7B/latest_checkpointed_iteration.txt").stdout == "4"
    assert of_the_first(site) == first


@pytest.mark.parametrize("variables", [{}, CURRENT], ids=["recipe", "current"])
def test_switching_to_and_fro_changes_nothing(site, first, variables):
    """Both have trained: neither is launched again, and no file of either changes."""
    before = site.snapshot()
    status, output = site.play("site.yml", **variables)
    assert status == 0, output
    assert re.findall(r"node\d : ok=\d+ changed=(\d+)", output) == ["0", "0"]
    assert "nothing is launched" in output
    assert site.snapshot() == before
