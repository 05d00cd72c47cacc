"""Bad input: each is refused with a message that tells the way out, before anything is changed."""
import platform
import shutil
from pathlib import Path

import pytest
import yaml

ARTIFACTS = Path(__file__).parents[3] / ".rehearsal/artifacts"
ARCH = platform.machine()
OTHER = "aarch64" if ARCH == "x86_64" else "x86_64"
CANN = f"Ascend-cann-toolkit_8.0.RC1_linux-{ARCH}.run"
# Another version than the nodes have makes the role look for archives at all.
WANTED = {"cann_toolkit_version": "8.0.RC2", "cann_toolkit_src": str(ARTIFACTS / "hardware" / CANN),
          "cann_toolkit_kernels_src": str(ARTIFACTS / "hardware" / "Ascend-cann-kernels-910b_8.0.RC1_linux.run")}

pytestmark = pytest.mark.usefixtures("unchanged")


class TestWrongFiles:
    def test_a_missing_archive(self, site):
        output = site.refused("playbooks/cann_toolkit.yml", **{**WANTED, "cann_toolkit_src": "/nowhere/toolkit.run", "cann_toolkit_sha256": "0" * 64})
        assert "/nowhere/toolkit.run" in output
        assert "cann_toolkit_src" in output

    def test_a_corrupt_archive(self, site, tmp_path):
        broken = tmp_path / CANN
        data = (ARTIFACTS / "hardware" / broken.name).read_bytes()
        broken.write_bytes(data[:-100])
        wanted = (ARTIFACTS / f"hardware/{broken.name}.sha256").read_text()
        output = site.refused("playbooks/cann_toolkit.yml", **{**WANTED, "cann_toolkit_src": str(broken), "cann_toolkit_sha256": wanted})
        assert wanted in output
        assert "cann_toolkit_sha256" in output

    def test_the_licence_not_accepted(self, site):
        output = site.refused("playbooks/cann_toolkit.yml", **WANTED, cann_toolkit_accept_eula=False)
        assert "cann_toolkit_accept_eula is false" in output
        assert "set cann_toolkit_accept_eula: true in group_vars/all/cann_toolkit.yml" in output

    @pytest.mark.parametrize(("name", "message"), [
        (None, "torch"),
        (f"torch-2.13.0+cpu-cp38-cp38-manylinux_2_28_{ARCH}.whl", "cp38"),
        (f"torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_{OTHER}.whl", OTHER),
    ])
    def test_a_wheel_that_is_missing_or_for_another_python_or_architecture(self, site, tmp_path, name, message):
        for wheel in (ARTIFACTS / "wheels").glob("*.whl"):
            if not wheel.name.startswith("torch-"):
                shutil.copy(wheel, tmp_path)
        if name:
            (tmp_path / name).write_bytes(b"PK")
        output = site.refused("playbooks/conda_env.yml", conda_env_wheel_dir=str(tmp_path))
        assert str(tmp_path) in output
        assert message in output

    def test_a_corrupt_wheel(self, site, tmp_path):
        for wheel in (ARTIFACTS / "wheels").glob("*.whl"):
            if wheel.name.startswith("apex"):
                (tmp_path / wheel.name).write_bytes(wheel.read_bytes()[:-200])
            else:
                (tmp_path / wheel.name).symlink_to(wheel)
        output = site.refused("playbooks/conda_env.yml", conda_env_wheel_dir=str(tmp_path))
        assert "apex" in output


class TestWrongInventory:
    def inventory(self, tmp_path, nodes):
        path = tmp_path / "more.yml"
        path.write_text(yaml.safe_dump({"ascend_nodes": {"hosts": nodes}}))
        return path

    def test_an_empty_group(self, site, tmp_path):
        path = tmp_path / "empty.yml"
        path.write_text(yaml.safe_dump({"ascend_nodes": {"hosts": {}}, "some_nodes": {"hosts": {"storage": {}}}}))
        output = site.refused("site.yml", "--limit", "some_nodes", inventories=[path])
        assert "None of the 2 nodes of the inventory group ascend_nodes is left by --limit some_nodes" in output
        site.inventory = path
        try:
            output = site.refused("site.yml")
        finally:
            del site.inventory
        assert "ascend_nodes is empty" in output

    def test_a_node_rank_given_twice(self, site, tmp_path):
        path = self.inventory(tmp_path, {"node1": {"node_rank": 0}, "node2": {"node_rank": 0}})
        output = site.refused("site.yml", inventories=[path])
        assert "node_rank 0 is given to node1 and to node2" in output

    def test_an_unreachable_node_stops_everything(self, site, tmp_path):
        path = self.inventory(tmp_path, {"node3": {"ansible_host": "127.0.0.1", "ansible_port": 9, "cluster_address": "10.213.255.3"}})
        output = site.refused("site.yml", inventories=[path])
        assert "node3" in output
        assert "unreachable" in output.lower()
        assert "Prepare the operating system" not in output

    def test_a_limited_launch(self, site):
        output = site.refused("playbooks/pretrain.yml", "--limit", "node1")
        assert "needs all 2 nodes" in output
        assert "missing node2" in output


class TestWrongPlan:
    @pytest.mark.parametrize(("variables", "message"), [
        ({"plan_tensor_model_parallel_size": 8}, "plan_tensor_model_parallel_size"),
        ({"plan_expert_model_parallel_size": 3}, "plan_expert_model_parallel_size"),
        ({"plan_pipeline_model_parallel_size": 3}, "plan_pipeline_model_parallel_size"),
        ({"plan_sequence_parallel": False}, "plan_sequence_parallel"),
    ])
    def test_a_plan_that_breaks_a_rule(self, site, variables, message):
        for playbook in ("playbooks/preflight.yml", "playbooks/pretrain.yml"):
            assert message in site.refused(playbook, **variables)


class TestWrongNodes:
    def test_a_node_with_fewer_npus(self, site):
        site.run("node2", "echo npu_count=1 >/etc/rehearsal/faults")
        try:
            output = site.refused("playbooks/preflight.yml")
        finally:
            site.run("node2", "rm /etc/rehearsal/faults")
        assert "node2" in output
        assert "plan_nproc_per_node" in output

    def test_the_npus_own_network(self, site):
        """A link that is down, a TLS switch that differs; and what is only doubtful is told and refuses nothing."""
        site.run("node2", r"printf 'link_down_1\ntls_0=1\n' >/etc/rehearsal/faults")
        try:
            output = site.refused("playbooks/preflight.yml")
            site.run("node2", "echo rx_power_1=0.0054 >/etc/rehearsal/faults")
            status, doubtful = site.play("playbooks/preflight.yml")
        finally:
            site.run("node2", "rm /etc/rehearsal/faults")
        assert "node2: - The network link of an NPU is down: found NPU 1: DOWN" in output
        assert "The TLS switch of NPUs differs: found NPU 0: 1; expected 0, as on 3 of 4 NPUs" in output
        assert status == 0 and "Preflight: 1 warning on 1 of 2 nodes." in doubtful, doubtful
        assert "found NPU 1: Rx lane 1 has 0.0054 mW" in doubtful

    def test_an_npu_that_does_no_operation(self, site):
        site.run("node2", "echo npu_count=1 >/etc/rehearsal/faults")
        try:
            output = site.refused("playbooks/conda_env.yml", "--tags", "verify")
        finally:
            site.run("node2", "rm /etc/rehearsal/faults")
        assert "On node2 a small bf16 matrix product (plan_precision) fails" in output
        assert "On node1" not in output
        assert "NPU 1: it failed. Its last words: ValueError: device 1 does not exist: there are 1" in output
        assert "Likely cause: there is no NPU of that number" in output

    def test_the_master_port_in_use(self, site):
        listener = "import socket, time; s = socket.create_server((str(), 6000)); time.sleep(600)"
        assert site.run("node1", f"systemd-run --unit=test-listener --collect python3 -c '{listener}'").returncode == 0
        try:
            for playbook in ("playbooks/preflight.yml", "playbooks/pretrain.yml"):
                output = site.refused(playbook, pretrain_new_run=True)
                assert "6000" in output
                assert "cluster_ports" in output
        finally:
            site.run("node1", "systemctl stop test-listener")
