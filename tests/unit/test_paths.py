"""Paths that are refused before anything is done with them."""
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.ascend.cluster.plugins.module_utils._paths import path_errors

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("path", ["/opt/ascend-cluster", "/data_1/a.b,c@d+e=f", "/", "/a/..b/c../d"])
def test_plain_paths(path):
    assert path_errors({"cluster_workspace": path}) == []


@pytest.mark.parametrize("character", [" ", "'", '"', "%", "$", "`", "\\", "\n", "\t", ":", ";", "&", "|", "*", "?", "~", "#", "(", "[", "{", "!", "é", "\0"])
@pytest.mark.parametrize("where", ["/opt/a{}b", "/opt/a{}", "/{}opt"])
def test_characters_that_something_would_read_otherwise(character, where):
    error, = path_errors({"cluster_workspace": where.format(character)})
    assert repr(character) in error
    assert "expected an absolute path of letters, digits and _ . , @ + = - /" in error
    assert "Set cluster_workspace in group_vars/all/cluster.yml" in error


@pytest.mark.parametrize(("path", "words"), [("opt/a", "no / at its beginning"), ("", "no / at its beginning"), ("/opt/../etc", "`..` in it"),
                                             ("/opt/$(rm -rf x)", "' ' and '$' and '(' and ')'")])
def test_no_absolute_path(path, words):
    error, = path_errors({"x": path})
    assert words in error


def test_what_follows_from_another_is_not_named_again():
    errors = path_errors({"cluster_artifact_dir": "/opt/a b/artifacts", "cluster_workspace": "/opt/a b", "cluster_data_prefix": "/data/50%/x",
                          "cluster_run_dir": "/opt/a bc/runs"})
    assert [error.split()[0] for error in errors] == ["cluster_workspace", "cluster_data_prefix", "cluster_run_dir"]


@pytest.mark.parametrize(("variable", "path"), [("cluster_workspace", "/opt/my cluster"), ("cluster_dataset_dir", "/data/50%"),
                                                ("cluster_checkpoint_dir", "/data/$(id)"), ("cluster_conda_env_name", "a'b")])
def test_every_role_refuses_them_before_it_reaches_a_node(variable, path, tmp_path):
    (tmp_path / "hosts.yml").write_text(json.dumps({"ascend_nodes": {"hosts": {"node1": {"ansible_host": "192.0.2.1"}}}}))
    (tmp_path / "play.yml").write_text(json.dumps([{"name": "One", "hosts": "ascend_nodes", "gather_facts": False,
                                                    "roles": ["ascend.cluster.cluster"]}]))
    done = subprocess.run(["ansible-playbook", "-i", str(tmp_path / "hosts.yml"), str(tmp_path / "play.yml"), "-e", json.dumps({
        variable: path, "ansible_python_interpreter": sys.executable, "__cluster_guard": False})],
        cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_FORCE_COLOR": "0"})
    output = " ".join(done.stdout.replace("''", "'").split())
    assert done.returncode != 0
    assert f"{variable.replace('env_name', 'env_dir')} is" in output and "expected an absolute path of letters" in output, output
