"""The recipe's resume defect in its stand-in, and the hook that repairs it; the current one has none and needs no hook."""
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
HOOKS = PROJECT / "roles/ascendspeed/files"

# Three steps, a checkpoint, three more: the parameters with and without having loaded it.
PROGRAM = """
import copy, sys, types
import torch
from megatron.core.optimizer import get_megatron_optimizer
if "hook" in sys.argv:
    from ascend_cluster_hooks import resume
    from megatron.core.optimizer import optimizer
    assert resume.repair_chain(optimizer)

def make():
    buffer = torch.nn.Parameter(torch.linspace(-1, 1, 8))
    args = types.SimpleNamespace(lr=1.0, adam_beta1=0.9, adam_beta2=0.95, adam_eps=1e-8, weight_decay=0.1, num_experts=4)
    return buffer, get_megatron_optimizer(args, types.SimpleNamespace(param_buffer=buffer))

def train(buffer, optimizer, iterations):
    for iteration in iterations:
        buffer.grad = buffer.detach() * iteration
        optimizer.step()
        for group in optimizer.param_groups:
            group["lr"] = 1.0 / (iteration + 1)

buffer, whole = make()
train(buffer, whole, range(3))
again, resumed = make()
again.data.copy_(buffer.data)
resumed.load_state_dict(copy.deepcopy(whole.state_dict()))
train(buffer, whole, range(3, 6))
train(again, resumed, range(3, 6))
print("equal" if torch.equal(buffer, again) else "different", resumed.param_groups[0]["lr"] == whole.param_groups[0]["lr"])
"""


@pytest.mark.parametrize(("stack", "defect", "hook", "found"), [
    ("recipe", "1", "", "different True"), ("recipe", "1", "hook", "equal True"), ("recipe", "0", "", "equal True"), ("recipe", "0", "hook", "equal True"),
    ("current", "1", "", "equal True")])
def test_the_learning_rate_after_loading(trees: dict[str, Path], stack: str, defect: str, hook: str, found: str) -> None:
    environment = {**os.environ, "STANDIN_RESUME_DEFECT": defect, "PYTHONPATH": os.pathsep.join(map(str, (trees[stack] / "Megatron-LM", HOOKS))),
                   "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-c", PROGRAM, hook], env=environment, capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.returncode) == (found, 0), done.stderr
