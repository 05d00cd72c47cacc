"""The pure parts of the rehearsal's virtual machines."""
from __future__ import annotations

import io
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from rehearsal import machines
from rehearsal.__main__ import plan_files
from rehearsal.machines import network, qemu, seed
from rehearsal.nodes import NodesError

X86 = qemu.architecture("x86_64")
OWNER = network.cluster(Path("/a/ssh"))


def command(accel: str = "tcg", index: int = 0, folder: Path = Path("/a/ssh/node1")) -> list[str]:
    return qemu.qemu_command(X86, accel, OWNER, index, 40001, Path("/image"), folder, 1024, 1)


def value(words: list[str], option: str) -> str:
    return words[words.index(option) + 1]


def test_two_folders_are_two_clusters_that_do_not_hear_each_other() -> None:
    other = network.cluster(Path("/b/ssh"))
    assert network.cluster(Path("/a/ssh")) == OWNER
    assert (OWNER.name, OWNER.group) != (other.name, other.group)
    assert (OWNER.group, OWNER.port) != (other.group, other.port)
    assert OWNER.network != other.network
    for one in (OWNER, other):
        assert one.group.startswith("239.")
        assert 1024 < one.port < 32768


def test_every_interface_has_addresses_of_its_own() -> None:
    assert OWNER.address(0) == f"{OWNER.network}.11"
    macs = {OWNER.mac(index, interface) for index in range(9) for interface in (0, 1)}
    assert len(macs) == 18
    assert all(mac.startswith("52:54:") for mac in macs)


def test_software_emulation_and_acceleration_differ_in_processor() -> None:
    assert value(command("tcg"), "-accel") == "tcg,thread=multi"
    assert value(command("tcg"), "-cpu") == "max"
    assert value(command("kvm"), "-accel") == "kvm"
    assert value(command("kvm"), "-cpu") == "host"


def test_only_ssh_comes_in_and_nothing_goes_out() -> None:
    networks = [word for option, word in zip(command(), command()[1:]) if option == "-netdev"]
    assert networks == [
        "user,id=outside,net=10.0.2.0/24,restrict=on,hostfwd=tcp:127.0.0.1:40001-:22",
        f"socket,id=inside,mcast={OWNER.group}:{OWNER.port},localaddr=127.0.0.1"]


def test_a_machine_can_reboot_and_is_told_its_name() -> None:
    assert "-no-reboot" in command()
    assert "systemd.hostname=node2" in value(command(index=1), "-append").split()
    assert value(command(), "-pidfile") == "/a/ssh/node1/pid"


def test_a_comma_in_a_path_is_escaped_for_qemu() -> None:
    words = command(folder=Path("/a,b/node1"))
    assert any(word.startswith("file=/a,,b/node1/disk.qcow2,") for word in words)


@pytest.mark.parametrize(("does", "answer"), [("exit 0", "kvm"), ("exit 1", "tcg"), ("kill -ABRT $$", "tcg"), ("exec sleep 60", "tcg")])
def test_acceleration_counts_only_when_the_kernel_came_to_its_end(
        monkeypatch: pytest.MonkeyPatch, tmp_path: Path, does: str, answer: str) -> None:
    program = tmp_path / X86.qemu
    program.write_text(f"#!/bin/sh\n{does}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(qemu, "PROBE_TIMEOUT", 2.0)
    assert qemu.probe(X86, tmp_path) == answer


def test_an_unknown_architecture_is_named() -> None:
    with pytest.raises(NodesError, match="made for x86_64 and aarch64, found riscv64"):
        qemu.architecture("riscv64")


def test_the_seed_holds_what_a_machine_is() -> None:
    files = seed.seed_files(OWNER, 1, "ssh-ed25519 AAAA me\n", ("the private host key\n", "the public one\n"))
    packed = seed.seed_tar(files)
    assert len(packed) % 512 == 0
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        found = {entry.name: entry for entry in tar}
        assert found["etc/ssh/ssh_host_ed25519_key"].mode == 0o600
        assert found["etc/ssh/ssh_host_ed25519_key.pub"].mode == 0o644
        assert all(entry.uid == 0 and entry.gid == 0 for entry in found.values())
        # Unpacked last: without it a broken-off first boot is done again.
        assert list(found)[-1] == "etc/rehearsal/seeded"
    assert files["etc/hostname"][1] == "node2\n"
    assert f"Address={OWNER.address(1)}/24" in files["etc/systemd/network/20-inside.network"][1]
    assert f"MACAddress={OWNER.mac(1, 1)}" in files["etc/systemd/network/20-inside.network"][1]
    assert "Gateway" not in files["etc/systemd/network/10-outside.network"][1]


def test_a_process_that_is_not_ours_is_not_taken_for_a_machine(tmp_path: Path) -> None:
    # A stale pid file, its number given to another process by now.
    with subprocess.Popen([sys.executable, "-c", "input()", str(tmp_path / "pid")], stdin=subprocess.PIPE) as other:
        (tmp_path / "pid").write_text(f"{other.pid}\n")
        assert qemu.pid_of(tmp_path) is None
        assert other.stdin is not None
        other.stdin.close()


def test_a_machine_that_ended_is_reported_with_the_end_of_its_console(tmp_path: Path) -> None:
    (tmp_path / "node1").mkdir()
    (tmp_path / "node1" / "console.log").write_text("first\n\nKernel panic - not syncing\n")
    with pytest.raises(NodesError, match=r"node1 ended while it booted[\s\S]*Kernel panic"):
        machines._wait(tmp_path, "node1", deadline=float("inf"), seconds=1)


def test_the_plan_of_machines_shares_by_nfs_and_wins_over_others() -> None:
    assert plan_files("containers", "standin", "small") == []
    assert plan_files("vm", "standin", "small") == ["rehearsal/plans/vm.yml"]
    assert plan_files("containers", "real", "recipe") == ["rehearsal/plans/real.yml", "rehearsal/plans/recipe.yml"]
