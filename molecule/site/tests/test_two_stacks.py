"""Two stacks on one cluster: the second is put beside the first, and which one trains is one variable."""
import re

import pytest

from tests.playing import WORKSPACE

CURRENT = {"cluster_stack": "current", "plan_train_iters": 4, "plan_save_interval": 4}
OF_THE_FIRST = re.compile(rf"({WORKSPACE}/(Megatron-LM|AscendSpeed|state|bin|hooks|conda/envs/test|env\.sh)|/usr/local/Ascend/ascend-toolkit)\b")


def files(site):
    """Every file that the roles make but the preprocessor's log, which says each time that all is up to date."""
    return {node: [line for line in found.splitlines() if "/preprocess.log " not in line] for node, found in site.snapshot().items()}


def of_the_first(site):
    return {node: [line for line in found if OF_THE_FIRST.match(line)] for node, found in files(site).items()}


@pytest.fixture(scope="module")
def first(site):
    """The first stack as it was before there was a second."""
    found = of_the_first(site)
    assert all(len(lines) > 100 for lines in found.values())
    return found


def test_a_second_stack_is_put_beside_the_first_and_trains(site, first):
    """The controller is killed in the middle of it; the next run mends what it left."""
    with site.start("site.yml", **CURRENT) as process:
        for line in process.stdout:
            if "conda_env : Install | Install the wheels and packages" in line:
                process.kill()
                break
    status, output = site.play("site.yml", **CURRENT)
    assert status == 0, output
    assert "Trained 4 iterations on 2 nodes" in output
    for node in site.nodes:
        assert "status=succeeded" in site.run(node, f"cat {WORKSPACE}/runs/current/result").stdout
        assert "import mindspeed.megatron_adaptor" in site.run(node, f"cat {WORKSPACE}/current/Megatron-LM/pretrain_gpt.py").stdout
        home = site.run(node, f"{WORKSPACE}/current/bin/ascend-env printenv ASCEND_TOOLKIT_HOME").stdout.strip()
        assert home == "/usr/local/Ascend/cann-9.1.0"
    assert "--tokenizer-type HuggingFaceTokenizer" in site.run("node1", f"cat {WORKSPACE}/runs/current/pretrain_mixtral.sh").stdout
    assert site.run("node1", f"cat {WORKSPACE}/current/Megatron-LM/ckpt/Mixtral-8x7B/latest_checkpointed_iteration.txt").stdout == "4"
    assert of_the_first(site) == first


@pytest.mark.parametrize("variables", [{}, CURRENT], ids=["recipe", "current"])
def test_switching_to_and_fro_changes_nothing(site, variables):
    """Both have trained: neither is launched again, and no file of either changes."""
    before = files(site)
    status, output = site.play("site.yml", **variables)
    assert status == 0, output
    assert re.findall(r"node\d : ok=\d+ changed=(\d+)", output) == ["0", "0"]
    assert "nothing is launched" in output
    assert files(site) == before
