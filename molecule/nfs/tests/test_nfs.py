"""Sharing by NFS between two machines: node1, the master, serves; node2 mounts."""
import contextlib
import json
import os
import re
import shlex
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from rehearsal import machines
from tests.playing import PROJECT, Site

MEGATRON = "/opt/ascend-cluster/Megatron-LM"
DATA = f"{MEGATRON}/dataset/Mixtral-8x7B"
TOKENIZER = f"{MEGATRON}/model_from_hf/Mixtral-8x7B"
CHECKPOINTS = f"{MEGATRON}/ckpt/Mixtral-8x7B"
LOGS = "/opt/ascend-cluster/logs"
ACCESS = {DATA: "ro", TOKENIZER: "ro", CHECKPOINTS: "rw", LOGS: "rw"}
PLAYBOOK = "playbooks/data_share.yml"


class Machines(Site):
    """The two machines, with what these tests ask of them."""

    def start(self, playbook, *arguments, inventories=(), **variables):
        return super().start(playbook, *arguments, inventories=("molecule/nfs/inventory", *inventories), **variables)

    def without_node2(self, folder):
        """The same with a cluster of node1 alone; node2 is in the inventory, and no node."""
        variables = {}
        for name in ("molecule/inventory/hosts.yml", "molecule/inventory/vars.yml", "molecule/nfs/inventory/share.yml"):
            variables.update(yaml.safe_load((PROJECT / name).read_text())["ascend_nodes"]["vars"])
        variables["rehearsal_artifacts"] = str(PROJECT / ".rehearsal/artifacts")
        path = folder / "one.yml"
        path.write_text(yaml.safe_dump({"all": {"vars": variables}, "ascend_nodes": {"hosts": {"node1": {}}}, "others": {"hosts": {"node2": {}}}}))
        one = Site(self.folder)
        one.inventory = path
        return one

    def run(self, node, command):
        """As of Site, with the patience that software emulation and a server's grace period need."""
        return subprocess.run(["ssh", "-F", f"{self.folder}/ssh/config", f"ops@{node}", f"sudo bash -c {shlex.quote(command)}"],
                              capture_output=True, text=True, check=False, timeout=600)

    def ok(self, node, command):
        done = self.run(node, command)
        assert done.returncode == 0, f"{node}: {command}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def user(self, node, command):
        """Run a command as the training user; returns the finished process."""
        return self.run(node, f"runuser -u ascend -- bash -c {shlex.quote(command)}")

    def mounts(self):
        listed = self.ok("node2", "findmnt -rn -t nfs4 -o TARGET,SOURCE,OPTIONS || true")
        return {line.split()[0]: line.split()[1:] for line in listed.splitlines()}

    def address(self, node):
        network = re.search(r"inet (10\.214\.[0-9.]+)/", self.ok(node, "ip -4 -o addr show"))
        assert network
        return network.group(1)


@pytest.fixture(scope="session")
def site():
    return Machines(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"])


def test_mounts_and_their_options(site):
    server, mounts = site.address("node1"), site.mounts()
    assert set(mounts) == set(ACCESS)
    for path, (source, options) in mounts.items():
        assert source == f"{server}:{path}"
        words = options.split(",")
        assert {ACCESS[path], "hard", "noatime", "nodev", "nosuid", "noexec", "proto=tcp", "lookupcache=pos"} <= set(words), options
        assert any(word.startswith("vers=4") for word in words)


def test_exports_are_for_the_other_node_alone(site):
    client = site.address("node2")
    exported = sorted(site.ok("node1", "cat /var/lib/nfs/etab").splitlines())
    assert len(exported) == len(ACCESS)
    for line in exported:
        path, clients = line.split("\t")
        assert re.fullmatch(rf"{re.escape(client)}\([^()]*\)", clients), line
        assert f"({ACCESS[path]}," in clients and ",root_squash," in clients and ",sec=sys" in clients


def test_the_server_listens_on_the_clusters_network_by_version_4_alone(site):
    listening = site.ok("node1", "ss -Hltn 'sport = :2049'").split()
    assert listening[3] == f"{site.address('node1')}:2049" and listening.count("LISTEN") == 1
    assert {"-3", "+4"} <= set(site.ok("node1", "cat /proc/fs/nfsd/versions").split())


def test_the_training_user_reads_and_writes_on_both_sides(site):
    assert site.user("node2", f"sha256sum -c --quiet {'/opt/ascend-cluster/state/data_manifest.sha256'}").returncode == 0
    for path in (CHECKPOINTS, LOGS):
        for writer, reader in (("node1", "node2"), ("node2", "node1")):
            assert site.user(reader, f"cat {path}/seen").returncode != 0  # looked for before it is there
            assert site.user(writer, f"echo from {writer} >{path}/seen").returncode == 0
            assert site.user(reader, f"cat {path}/seen && stat -c %U {path}/seen").stdout.split() == ["from", writer, "ascend"]
            assert site.user(reader, f"rm {path}/seen").returncode == 0


@pytest.mark.parametrize("path", [DATA, TOKENIZER])
def test_data_cannot_be_written(site, path):
    for who in (site.user, site.run):
        done = who("node2", f"touch {path}/new")
        assert done.returncode != 0 and "Read-only file system" in done.stderr
    # nor by a client that mounts it writable
    other = f"mkdir -p /tmp/other && mount -t nfs4 -o rw,retry=0 {site.address('node1')}:{path} /tmp/other"
    try:
        site.run("node2", other)
        assert site.user("node2", "touch /tmp/other/new").returncode != 0
    finally:
        site.run("node2", "umount /tmp/other")
    assert site.run("node1", f"ls {path}/new").returncode != 0


def test_root_of_a_node_is_nobody(site):
    assert "Permission denied" in site.run("node2", f"touch {CHECKPOINTS}/by-root").stderr
    site.ok("node1", f"install -m 0600 -o root /dev/null {CHECKPOINTS}/secret")
    try:
        assert "Permission denied" in site.run("node2", f"cat {CHECKPOINTS}/secret").stderr
    finally:
        site.ok("node1", f"rm {CHECKPOINTS}/secret")


def test_an_address_that_is_no_node_is_refused(site):
    """From a network namespace: it has connections of its own, so none of the node's is used."""
    server = site.address("node1")
    stranger = server.rsplit(".", 1)[0] + ".99"
    device = site.ok("node2", f"ip -o route get {server}").split(" dev ")[1].split()[0]
    mount = f"mkdir -p /tmp/other && ip netns exec stranger timeout 120 mount -t nfs4 -o ro,retry=0 {server}:{DATA} /tmp/other"
    site.ok("node2", f"ip netns add stranger && ip link add link {device} name stranger0 type macvlan mode bridge && ip link set stranger0 netns stranger "
                     f"&& ip -n stranger addr add {stranger}/24 dev stranger0 && ip -n stranger link set stranger0 up")
    try:
        done = site.run("node2", mount)
        assert done.returncode != 0 and re.search("access denied|No such file|not permitted", done.stderr), done.stderr
        # The same is let in as soon as it is named: it was refused for its address.
        site.ok("node1", f"exportfs -o ro,no_subtree_check {stranger}:{DATA}")
        site.ok("node2", mount)
    finally:
        site.run("node2", "umount /tmp/other; ip netns del stranger")
        site.run("node1", f"exportfs -u {stranger}:{DATA}")


def test_a_second_run_changes_nothing_and_check_mode_agrees(site):
    for arguments in ([], ["--check"]):
        status, output = site.play(PLAYBOOK, *arguments)
        assert status == 0, output
        assert re.findall(r"(changed|rescued)=(\d+)", output) == [("changed", "0"), ("rescued", "0")] * 2, output


def test_other_numbers_of_the_user_are_refused_before_any_change(site):
    before = site.mounts(), site.ok("node1", "cat /etc/exports.d/ascend-cluster.exports"), site.ok("node2", "cat /etc/fstab")
    site.ok("node2", "cp -p /etc/passwd /etc/passwd.kept && sed -i 's/^ascend:x:[0-9]*/ascend:x:2999/' /etc/passwd")
    try:
        output = site.refused(PLAYBOOK, "--tags", "configure")
    finally:
        site.ok("node2", "mv /etc/passwd.kept /etc/passwd")
    assert "node2 has 2999:" in output and "node_base_uid" in output
    assert (site.mounts(), site.ok("node1", "cat /etc/exports.d/ascend-cluster.exports"), site.ok("node2", "cat /etc/fstab")) == before


def test_reading_outlives_a_restart_of_the_server(site):
    site.ok("node1", f"head -c 300000000 /dev/urandom >{DATA}/.big && chown ascend {DATA}/.big")
    try:
        digest = site.ok("node1", f"sha256sum <{DATA}/.big")
        with subprocess.Popen(["ssh", "-F", f"{site.folder}/ssh/config", "ops@node2", f"sudo -u ascend sha256sum <{DATA}/.big; true"],
                              stdout=subprocess.PIPE, text=True) as reading:
            time.sleep(1)
            site.ok("node1", "systemctl stop nfs-server && sleep 5 && systemctl start nfs-server")
            output, _ = reading.communicate(timeout=600)
        assert output.strip() == digest
    finally:
        site.run("node1", f"rm -f {DATA}/.big")


@pytest.mark.parametrize("node", ["node2", "node1"])
def test_a_reboot_of_either_side(site, node):
    machines.reboot(node, Path(site.folder) / "ssh")
    deadline = time.monotonic() + 600
    while set(site.mounts()) != set(ACCESS) and time.monotonic() < deadline:
        time.sleep(2)
    assert set(site.mounts()) == set(ACCESS)
    done = site.user("node2", "sha256sum -c --quiet /opt/ascend-cluster/state/data_manifest.sha256")
    assert done.returncode == 0, done.stderr
    assert site.user("node2", f"touch {CHECKPOINTS}/after && rm {CHECKPOINTS}/after").returncode == 0


def test_a_firewall_that_drops_is_told(site):
    client = site.address("node2")
    if site.run("node1", "command -v firewall-cmd").returncode != 0:
        site.ok("node1", "DEBIAN_FRONTEND=noninteractive apt-get install -y firewalld")
    site.ok("node1", "systemctl start firewalld && firewall-cmd --set-default-zone=drop "
                     "&& firewall-cmd --permanent --add-service=ssh && firewall-cmd --add-service=ssh")
    try:
        rule = f"rule family='ipv4' source address='{client}' port port='2049' protocol='tcp' accept"
        for _ in range(2):
            status, output = site.play(PLAYBOOK)
            assert status == 0, output
        assert re.findall(r"(changed|rescued)=(\d+)", output) == [("changed", "0"), ("rescued", "0")] * 2, output
        for kind in ("", "--permanent"):
            assert site.ok("node1", f"firewall-cmd {kind} --query-rich-rule={shlex.quote(rule)}") == "yes"
    finally:
        with contextlib.suppress(AssertionError):
            site.ok("node1", "systemctl disable --now firewalld")


def test_another_node_serves(site):
    """The master prepares the data; the host that serves it is filled from there, and mounts nothing that it served before or serves now."""
    for _ in range(2):
        status, output = site.play(PLAYBOOK, data_share_nfs_server="node2")
        assert status == 0, output
    assert re.findall(r"changed=(\d+)", output) == ["0", "0"], output
    assert site.mounts() == {}
    assert site.ok("node2", f"find {DATA} {TOKENIZER} -type f ! -name '.*' ! -user ascend") == ""
    for node in site.nodes:
        assert site.user(node, "sha256sum -c --quiet /opt/ascend-cluster/state/data_manifest.sha256").returncode == 0
    mounted = site.ok("node1", "findmnt -rn -t nfs4 -o TARGET,SOURCE").splitlines()
    assert sorted(mounted) == [f"{path} {site.address('node2')}:{path}" for path in sorted((CHECKPOINTS, LOGS))]
    assert site.ok("node1", "cat /var/lib/nfs/etab") == ""
    status, output = site.play(PLAYBOOK)
    assert status == 0, output
    assert set(site.mounts()) == set(ACCESS)
    assert site.ok("node1", "findmnt -rn -t nfs4 || true") == ""


def test_to_copy_and_back(site):
    status, output = site.play(PLAYBOOK, data_share_mode="copy")
    assert status == 0, output
    assert site.mounts() == {}
    assert "ascend-cluster nfs" not in site.ok("node2", "cat /etc/fstab")
    assert "ascend-cluster" not in site.ok("node1", "cat /var/lib/nfs/etab; ls /etc/exports.d /etc/nfs.conf.d")
    assert site.user("node2", "sha256sum -c --quiet /opt/ascend-cluster/state/data_manifest.sha256").returncode == 0
    status, output = site.play(PLAYBOOK)
    assert status == 0, output
    assert "are hidden by the mount" in output
    assert set(site.mounts()) == set(ACCESS)


def test_a_run_limited_to_one_node_leaves_the_server_to_the_others(site):
    status, output = site.play(PLAYBOOK, "--limit", "node1", data_share_mode="copy")
    assert status == 0, output
    assert "is served still: 1 nodes take no part in this run" in output
    assert site.ok("node1", "wc -l </var/lib/nfs/etab") == str(len(ACCESS))
    assert set(site.mounts()) == set(ACCESS)


SHARED = "/srv/shared"


@pytest.fixture
def squashed(site):
    """A folder of the site's on node1, all of it the training user's alone, and mounted on node2 with root squashed; what the roles know of it."""
    server, client = site.address("node1"), site.address("node2")
    site.ok("node1", f"mkdir -p {SHARED} && chmod 0755 {SHARED} && install -d -m 0700 -o ascend -g ascend {SHARED}/dataset {SHARED}/tokenizer "
                     f"&& cp -a {DATA}/. {SHARED}/dataset/ && cp -a {TOKENIZER}/. {SHARED}/tokenizer/ && chmod 0700 {SHARED}/dataset {SHARED}/tokenizer")
    try:
        # In a file of the site's own: leaving nfs reads the files again, which ends exports made by hand.
        site.ok("node1", f"echo '{SHARED} {client}(rw,root_squash,no_subtree_check)' >/etc/exports.d/site.exports && exportfs -ra")
        site.ok("node2", f"mkdir -p {SHARED} && mount -t nfs4 {server}:{SHARED} {SHARED}")
        assert "Permission denied" in site.run("node2", f"ls {SHARED}/dataset").stderr  # by root
        yield {"data_share_mode": "existing", "cluster_dataset_dir": f"{SHARED}/dataset", "cluster_tokenizer_dir": f"{SHARED}/tokenizer"}
    finally:
        site.run("node2", f"umount {SHARED}; rmdir {SHARED}")
        site.run("node1", f"rm -f /etc/exports.d/site.exports; exportfs -ra; rm -rf {SHARED}")
        status, output = site.play(PLAYBOOK)
        assert status == 0, output


def test_storage_of_the_site_on_which_root_may_do_nothing(site, squashed):
    """Read as the training user, compared, and left as it is; the list is each node's own."""
    look = f"find {SHARED} -printf '%p %U %m %T@\\n' | sort"
    before = site.ok("node1", look)
    for _ in range(2):
        status, output = site.play(PLAYBOOK, **squashed)
        assert status == 0, output
    assert re.findall(r"(changed|rescued)=(\d+)", output) == [("changed", "0"), ("rescued", "0")] * 2, output
    assert site.ok("node1", look) == before
    for node in site.nodes:
        listed = site.ok(node, "stat -c %U:%a /opt/ascend-cluster/state/data_manifest.sha256; cat /opt/ascend-cluster/state/data_manifest.sha256")
        assert listed.startswith("root:644") and f"  {SHARED}/dataset/alpaca_text_document.bin" in listed
        assert site.user(node, "sha256sum -c --quiet /opt/ascend-cluster/state/data_manifest.sha256").returncode == 0
    # What is missing is said, and by the reading of the user: root would see nothing at all there.
    site.ok("node1", f"chmod 0000 {SHARED}/dataset/alpaca_text_document.idx")
    try:
        output = site.refused(PLAYBOOK, **squashed)
    finally:
        site.ok("node1", f"chmod 0644 {SHARED}/dataset/alpaca_text_document.idx")
    assert f"{SHARED}/dataset/alpaca_text_document.idx (Permission denied)" in output


def test_folders_on_such_storage_are_made_as_the_training_user(site, squashed):
    module = ["ansible", "node2", "-i", "molecule/inventory", "-i", "molecule/nfs/inventory", "--become", "-m", "ascend.cluster.user_folders", "-a"]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"), "ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_SSH_ARGS": f"-F {site.folder}/ssh/config",
                   "MOLECULE_EPHEMERAL_DIRECTORY": str(site.folder)}

    def make(path):
        return subprocess.run([*module, json.dumps({"paths": [path], "user": "ascend"})], cwd=PROJECT, env=environment, capture_output=True, text=True,
                              check=False)

    done = make(f"{SHARED}/dataset/ckpt/new")
    assert done.returncode == 0, done.stdout + done.stderr
    assert site.ok("node1", f"stat -c %U:%a {SHARED}/dataset/ckpt/new") == "ascend:755"
    done = make(f"{SHARED}/ckpt")
    assert done.returncode != 0
    assert "Make it by hand, on the server where the storage is shared" in " ".join(done.stdout.split())


def test_a_host_outside_the_cluster_serves(site, tmp_path):
    one = site.without_node2(tmp_path)
    alone = {"data_share_nfs_server": "node2"}
    status, output = site.play(PLAYBOOK, data_share_mode="copy")
    assert status == 0, output
    site.ok("node2", f"rm -r {DATA} {TOKENIZER}")
    try:
        for _ in range(2):
            status, output = one.play(PLAYBOOK, **alone)
            assert status == 0, output
        assert re.findall(r"changed=(\d+)", output) == ["0"], output
        exported = site.ok("node2", "cut -f 1 /var/lib/nfs/etab").splitlines()
        assert set(exported) == set(ACCESS)
        assert site.user("node2", f"cd {DATA} && cat alpaca_text_document.idx >/dev/null").returncode == 0
        assert site.user("node1", f"touch {CHECKPOINTS}/over-there").returncode == 0
        assert site.user("node2", f"rm {CHECKPOINTS}/over-there").returncode == 0
        output = one.refused(PLAYBOOK, **{**alone, "data_share_nfs_server": "nowhere"})
        assert "no host of the inventory is called" in output
    finally:
        status, output = one.play(PLAYBOOK, **alone, data_share_mode="copy")
        assert status == 0, output
    assert site.ok("node2", "cat /var/lib/nfs/etab; ls /etc/exports.d") == ""
    assert site.ok("node1", "findmnt -rn -t nfs4 || true") == ""
