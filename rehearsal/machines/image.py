"""The image of the machines: kernel, initrd and disk, made of the root file system of all nodes; its sources are in ``image/``."""
from __future__ import annotations

import os
import platform
import shutil
import tempfile
from pathlib import Path

from rehearsal.machines.qemu import Architecture, architecture, missing_packages, processes, run
from rehearsal.nodes import STATE, Log, NodesError, locked, rootfs

SOURCES = Path(__file__).parent / "image"

# What node_base installs is there already: the compiler alone takes minutes to unpack without hardware acceleration, and the
# containers show that it can be installed. What sharing needs is installed by the roles.
IMAGE_PACKAGES = (*rootfs.IMAGE_PACKAGES, *rootfs.REPOSITORY_PACKAGES, "udev", "kmod", "initramfs-tools", "zstd")
REPOSITORY_PACKAGES = ("nfs-kernel-server", "nfs-common", "nftables", "iptables", "firewalld", "ufw")
# The lists of the machines' own package repository stay.
IMAGE_OPTIONS = ("--skip=cleanup/apt/lists",)

# Sparse: what is not written takes no room.
DISK_GIB = 16


def _key(arch: Architecture) -> str:
    return rootfs.digest([*(part.encode() for part in (
        rootfs.SUITE, arch.kernel_package, str(DISK_GIB), *IMAGE_PACKAGES, "--", *REPOSITORY_PACKAGES, *IMAGE_OPTIONS)),
        (rootfs.SOURCES / "local-repository.sh").read_bytes(),
        *rootfs.tree(rootfs.SOURCES / "root"), *rootfs.tree(SOURCES)])


def build_image(log: Log = print) -> Path:
    """Build the machines' image unless it is there; returns the folder of vmlinuz, initrd.img and root.img.

    Raises:
        NodesError: with the tail of the failing program's output.
    """
    missing = missing_packages()
    if missing:
        raise NodesError(f"This machine lacks what virtual machines need. As root: apt-get install --no-install-recommends {' '.join(missing)}")
    arch = architecture(platform.machine())
    home = STATE / "image"
    image = home / f"machine-{_key(arch)}"
    with locked(home / "machine.lock"):
        if image.exists():
            return image
        # Older images stay while a machine runs on them.
        used = {word for _, words in processes() for word in words}
        for old in home.glob("machine-*"):
            if old.is_dir() and str(old / "vmlinuz") not in used:
                shutil.rmtree(old)
        with tempfile.TemporaryDirectory(prefix="new-", dir=home) as made:
            fresh = Path(made) / "image"
            fresh.mkdir()
            tar = Path(made) / "machine.tar"
            rootfs.make_rootfs(tar, (*IMAGE_PACKAGES, arch.kernel_package), REPOSITORY_PACKAGES,
                               [*IMAGE_OPTIONS, f"--customize-hook={SOURCES / 'customize.sh'}"], log)
            log("making the disk of the machines")
            # Owners are kept: by root, or inside a user namespace where this user is root.
            script = ('set -eu; mkdir "$1/root"; tar -x --numeric-owner -f "$1/machine.tar" -C "$1/root"; '
                      'cp "$1"/root/boot/vmlinuz-* "$1/image/vmlinuz"; cp "$1"/root/boot/initrd.img-* "$1/image/initrd.img"; '
                      'chmod a+r "$1"/image/*; truncate -s "$2" "$1/image/root.img"; '
                      'mke2fs -q -t ext4 -i 65536 -m 0 -E lazy_itable_init=0,lazy_journal_init=0 -d "$1/root" "$1/image/root.img"; '
                      'rm -r "$1/root"')
            run(*([] if os.geteuid() == 0 else ["podman", "unshare"]), "sh", "-c", script, "sh", made, f"{DISK_GIB}G",
                what="The disk image could not be made")
            fresh.rename(image)
    return image
