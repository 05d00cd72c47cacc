"""Data copied from the master: only what changed, verified, gone on with, and looked at again before a launch."""
import re
import threading

import pytest

from rehearsal import containers

WORKSPACE = "/opt/ascend-cluster"
DATA = f"{WORKSPACE}/Megatron-LM/dataset/Mixtral-8x7B"
TOKENIZER = f"{WORKSPACE}/Megatron-LM/model_from_hf/Mixtral-8x7B"
BIN = f"{DATA}/alpaca_text_document.bin"
IDX = f"{DATA}/alpaca_text_document.idx"
BIG = f"{TOKENIZER}/big.bin"
SHARE = "playbooks/data_share.yml"

pytestmark = pytest.mark.usefixtures("mended")


@pytest.fixture
def mended(site):
    """Afterwards the nodes have what the master had."""
    yield
    site.run("node1", f"rm -f {BIG}")
    site.run("node2", f"rm -f {BIG}")
    status, output = site.play(SHARE)
    assert status == 0, output


def inodes(site):
    return dict(reversed(line.split(maxsplit=1)) for line in site.run(
        "node2", rf"find {TOKENIZER} {DATA} -type f -not -path '*/.*' -printf '%i %p\n'").stdout.splitlines())


def whole(site):
    done = site.run("node2", f"cd / && sha256sum -c --quiet {WORKSPACE}/state/data_manifest.sha256")
    return done.returncode == 0, done.stdout + done.stderr


def leftovers(site):
    """Keys, temporary folders, and parts of files."""
    look = f"grep -h ascend-transfer ~ascend/.ssh/authorized_keys; ls -d /tmp/ascend-transfer-*; find {TOKENIZER} {DATA} -name '.*'"
    return "".join(site.run(node, look).stdout for node in site.nodes)


def test_only_what_changed_travels(site):
    gone, foreign = IDX, f"{DATA}/index_cache/of-older-data.npy"
    extra = f"{DATA}/index_cache/{'0' * 32}-GPTDataset-train-sample_index.npy"
    unknown = extra.replace("0" * 32, "1" * 32)
    stale = site.run("node2", f"ls {DATA}/index_cache/*shuffle_index.npy").stdout.strip()
    before = inodes(site)
    site.run("node2", f"printf x >> {stale}; rm {gone}; runuser -u ascend -- touch {extra} {foreign} {unknown}")
    # The first was the master's once, as this node remembers; the others are somebody's.
    record = f"{WORKSPACE}/state/index_cache.json"
    assert site.run("node2", f"sed -i 's#\"shared\": \\[#&\"{extra}\",#' {record} && grep -q {extra} {record}").returncode == 0
    status, output = site.play(SHARE)
    assert status == 0, output
    assert f"missing: {gone}; other content: {stale}; not on the list: {extra}" in output
    assert "node2 fetched 2 files from node1" in output
    assert whole(site) == (True, "")
    after = inodes(site)
    assert {path for path in before if before[path] != after.get(path)} == {stale, gone}
    assert set(after) == {*before, foreign, unknown}
    assert f"2 files in {DATA}/index_cache that the master lacks and that this project did not make" in output
    assert site.run("node2", f"rm {foreign} {unknown}").returncode == 0
    assert leftovers(site) == ""
    status, output = site.play(SHARE)
    assert status == 0, output
    assert not re.search("(changed|rescued)=[1-9]", output), output


def test_check_mode_says_what_would_travel(site):
    site.run("node2", f"printf x >> {IDX}")
    before = site.snapshot()
    status, output = site.play(SHARE, "--check")
    assert status == 0, output
    assert f"other content: {IDX}" in output
    assert re.search(r"node2 : ok=\d+ changed=[1-9]", output), output
    assert site.snapshot() == before


def test_existing_storage_is_compared_and_left_alone(site):
    status, output = site.play(SHARE, data_share_mode="existing")
    assert status == 0, output
    assert not re.search("(changed|rescued)=[1-9]", output), output
    site.run("node2", f"rm {IDX}")
    before = inodes(site)
    output = site.refused(SHARE, data_share_mode="existing")
    assert "node2 does not see the master's data at the same paths" in output and f"missing: {IDX}" in output
    assert inodes(site) == before and IDX not in before


def test_a_killed_copy_goes_on_where_it_stopped(site):
    """The receiving rsync is killed like by a power cut, with a part of the file there; the next run brings the rest alone."""
    total = 256 << 20
    assert site.run("node1", f"head -c {total} /dev/urandom > {BIG} && chown ascend: {BIG}").returncode == 0
    kill = (f"for n in $(seq 6000); do part=$(ls {TOKENIZER}/.big.bin.?????? 2>/dev/null) && [ $(stat -c %s $part) -gt {total // 8} ] && "
            "exec pkill -9 -u ascend -x rsync; sleep 0.01; done; exit 9")
    killed = []
    watcher = threading.Thread(target=lambda: killed.append(site.run("node2", kill).returncode))
    watcher.start()
    output = site.refused(SHARE)
    watcher.join()
    assert killed == [0]
    assert "node2 could not copy the data from node1" in output
    assert "the next run goes on from there" in output
    part = int(site.run("node2", f"stat -c %s {TOKENIZER}/.big.bin.??????").stdout)
    assert total // 8 < part < total
    assert "ascend-transfer" not in leftovers(site)
    status, output = site.play(SHARE)
    assert status == 0, output
    literal = int(re.search(r"Literal data: ([\d,]+) bytes", output)[1].replace(",", ""))
    assert literal < total - part * 0.9
    assert whole(site) == (True, "")
    assert leftovers(site) == ""


def test_a_key_that_a_killed_run_left_is_withdrawn_by_the_next(site):
    line = 'restrict,from=\\"192.0.2.1\\",command=\\"true\\" ssh-ed25519 AAAA ascend-transfer-node2'
    marked = f"# BEGIN of a transfer between the cluster's nodes\\n{line}\\n# END of a transfer between the cluster's nodes\\n"
    keys = "~ascend/.ssh/authorized_keys"
    assert site.run("node1", f'runuser -u ascend -- bash -c "mkdir -p ~ascend/.ssh; chmod 0700 ~ascend/.ssh"; printf "ssh-rsa OTHER site\\n{marked}" >>{keys}; '
                             f"chown ascend: {keys}; chmod 0600 {keys}").returncode == 0
    try:
        status, output = site.play(SHARE)
        assert status == 0, output
        left = site.run("node1", f"cat {keys}").stdout
    finally:
        site.run("node1", f"sed -i '/OTHER site/d' {keys}")
    assert "ascend-transfer" not in left and "of a transfer" not in left
    assert "ssh-rsa OTHER site" in left


def test_the_program_of_a_transfer_is_roots_alone(site):
    """What runs at the source under another node's key must be nobody else's to change."""
    site.run("node2", f"rm {IDX}")
    status, output = site.play(SHARE)
    assert status == 0, output
    program = f"{WORKSPACE}/bin/ascend-data-sender"
    assert site.run("node1", f"stat -c %U:%G:%a {program}").stdout.strip() == "root:root:755"
    site.run("node2", f"rm {IDX}")
    mode = site.run("node1", f"stat -c %a {WORKSPACE}/bin").stdout.strip()
    site.run("node1", f"chmod 0777 {WORKSPACE}/bin")
    try:
        output = site.refused(SHARE)
    finally:
        site.run("node1", f"chmod {mode} {WORKSPACE}/bin")
    assert f"{WORKSPACE}/bin has mode 0777" in output and "root alone can write" in output


@pytest.mark.parametrize(("node", "playbook"), [("node2", "playbooks/data_share.yml"), ("node1", "playbooks/dataset.yml")])
def test_a_damaged_file_is_refused_before_a_launch(site, node, playbook):
    """One byte, with the size and the time of before."""
    assert site.run(node, f"cp -p {BIN} {WORKSPACE}/kept && "
                    f"printf '\\377' | dd of={BIN} bs=1 seek=7 conv=notrunc && touch -r {WORKSPACE}/kept {BIN}").returncode == 0
    before = site.run("node1", f"readlink {WORKSPACE}/runs/current").stdout
    try:
        output = site.refused("playbooks/pretrain.yml", pretrain_new_run=True)
    finally:
        site.run(node, f"cat {WORKSPACE}/kept > {BIN}; rm {WORKSPACE}/kept")
    assert f"The data on {node} is not what was shared" in output
    assert f"other content: {BIN}" in output
    assert playbook in output
    assert site.run("node1", f"readlink {WORKSPACE}/runs/current").stdout == before


def test_a_list_that_is_not_there_stops_a_launch(site):
    for node in site.nodes:
        site.run(node, f"mv {WORKSPACE}/state/data_manifest.sha256 {WORKSPACE}/kept")
    try:
        output = site.refused("playbooks/pretrain.yml", pretrain_new_run=True)
    finally:
        for node in site.nodes:
            site.run(node, f"mv {WORKSPACE}/kept {WORKSPACE}/state/data_manifest.sha256")
    assert "playbooks/data_share.yml writes it" in output


@pytest.fixture
def three_more(site, tmp_path):
    """node3 to node5, with an operating system that is prepared and no data; gives an inventory that adds them."""
    containers.up(count=5, folder=site.folder / "ssh", name="ascend-molecule", log=lambda line: None)
    inventory = tmp_path / "inventory.ini"
    inventory.write_text("[ascend_nodes]\nnode3\nnode4\nnode5\n")
    status, output = site.play("playbooks/node_base.yml", inventories=[inventory])
    assert status == 0, output
    return inventory


def test_several_nodes_copy_at_once_and_not_more(site, three_more):
    """Four nodes lack a file; two may copy at once."""
    assert site.run("node1", f"head -c {256 << 20} /dev/urandom > {BIG} && chown ascend: {BIG}").returncode == 0
    count = "most=0; while sleep 0.02; do now=$(pgrep -xc rsync); if ((now > most)); then most=$now; echo $most > /run/copies; fi; done"
    assert site.run("node1", f"systemd-run --quiet --unit=count-copies bash -c '{count}'").returncode == 0
    try:
        status, output = site.play(SHARE, inventories=[three_more], node_transfer_parallel=2)
    finally:
        most = site.run("node1", "systemctl stop count-copies; cat /run/copies; rm -f /run/copies").stdout.strip()
    assert status == 0, output
    assert "node2 fetched 1 files from node1" in output
    for node in ("node2", "node3", "node4", "node5"):
        assert f"{node} fetched" in output
        done = site.run(node, f"cd / && sha256sum -c --quiet {WORKSPACE}/state/data_manifest.sha256 && grep -c {BIG} {WORKSPACE}/state/data_manifest.sha256")
        assert (done.returncode, done.stdout.strip()) == (0, "1"), done.stdout + done.stderr
    assert most == "2"
