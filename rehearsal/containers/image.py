"""The image of the containers: the root file system of all nodes, imported into podman, and ``Containerfile`` on top."""
from __future__ import annotations

import platform
from pathlib import Path

from rehearsal.containers import podman
from rehearsal.nodes import STATE, Log, locked
from rehearsal.nodes.rootfs import IMAGE_PACKAGES, REPOSITORY_PACKAGES, SOURCES, SUITE, digest, make_rootfs, tree

CONTAINERFILE = Path(__file__).parent / "Containerfile"
ROOTFS_IMAGE = "localhost/ascend-rehearsal-rootfs"
NODE_IMAGE = "localhost/ascend-rehearsal-node"


def _keys() -> tuple[str, str]:
    """Return the keys of the root file system and of the image, made from all that goes into them."""
    rootfs = digest(part.encode() for part in (
        SUITE, platform.machine(), *IMAGE_PACKAGES, "--", *REPOSITORY_PACKAGES,
        (SOURCES / "local-repository.sh").read_text()))
    return rootfs, digest([rootfs.encode(), CONTAINERFILE.read_bytes(), *tree(SOURCES / "root")])


def _has_image(image: str) -> bool:
    return bool(podman.run("images", "--quiet", "--filter", f"reference={image}"))


def build_image(log: Log = print) -> str:
    """Build the node image unless it is there, and return its name.

    Raises:
        NodesError: with the tail of the failing program's output.
    """
    podman.require_programs()
    rootfs_key, image_key = _keys()
    image = f"{NODE_IMAGE}:{image_key}"
    with locked(STATE / "image" / "lock"):
        if _has_image(image):
            return image
        rootfs = f"{ROOTFS_IMAGE}:{rootfs_key}"
        if not _has_image(rootfs):
            tar = STATE / "image" / f"rootfs-{rootfs_key}.tar"
            if not tar.exists():
                for old in tar.parent.glob("rootfs-*"):
                    old.unlink()
                make_rootfs(tar, IMAGE_PACKAGES, REPOSITORY_PACKAGES, (), log)
            log("importing the root file system into podman")
            podman.run("import", str(tar), rootfs)
        log("building the node image")
        podman.run("build", "--quiet", "--network=none", "--build-arg", f"ROOTFS={rootfs}", "--tag", image,
                   "--file", str(CONTAINERFILE), str(SOURCES))
    return image
