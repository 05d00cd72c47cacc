"""A converged cluster is asked little: what grows with the number of nodes is what the controller sends to each of them."""
import json
import os
from pathlib import Path

import pytest

COUNTS = json.loads((Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "remote_executions.json").read_text(encoding="utf-8"))
WANTED = "run `molecule converge -s site && molecule idempotence -s site` first: the last play of molecule is counted"


@pytest.mark.parametrize(("node", "most"), [("node1", 40), ("node2", 30)])
def test_a_site_that_has_converged_costs_few_remote_executions(node, most):
    assert {"pretrain", "data_share", "conda_env"} <= set(COUNTS[node]), WANTED
    # The quick tier of the checks: one look, and three more where nodes have never launched.
    assert 1 <= COUNTS[node]["preflight"] <= 6, WANTED
    assert sum(COUNTS[node].values()) <= most, f"{WANTED}. By role: {COUNTS[node]}"
