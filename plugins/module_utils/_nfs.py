"""What a cluster shares by NFS, and with which addresses, from its variables alone."""
from __future__ import annotations

import posixpath
import re
from typing import Any, Sequence


def _inside(path: str, parent: str) -> bool:
    return path == parent or path.startswith(parent.rstrip("/") + "/")


def nfs_shares(read_only: Sequence[str], writable: Sequence[str], workspace: str) -> dict[str, Any]:
    """Settle which folders a data host serves.

    A folder inside another one of the same access comes with it and is not served again.

    Args:
        read_only: absolute paths that the other nodes only read; empty ones are left out.
        writable: absolute paths that all nodes write; empty ones are left out.
        workspace: the folder of everything on a node, which must stay each node's own.

    Returns:
        ``folders``: list of ``path`` and ``access`` (ro or rw) in the order of paths, empty with errors; ``errors``: messages.
    """
    errors: list[str] = []
    paths: dict[str, list[str]] = {}
    for access, given in (("ro", read_only), ("rw", writable)):
        paths[access] = []
        for path in given:
            # Of exports(5) and fstab(5) both: no blanks, quotes, backslashes, or what separates host and path.
            if path and not re.fullmatch(r"/[A-Za-z0-9_./,@%+=-]+", path):
                errors.append(f"{path!r} cannot be shared by NFS: expected an absolute path of letters, digits and _ . / , @ % + = -.")
            elif path:
                paths[access].append(posixpath.normpath(path))
    home = posixpath.normpath(workspace)
    for path in paths["ro"] + paths["rw"]:
        if _inside(home, path):
            errors.append(f"{path} contains the workspace {home}, which must stay each node's own (cluster_workspace): share folders inside it, or elsewhere.")
    for one in dict.fromkeys(paths["ro"]):
        for other in dict.fromkeys(paths["rw"]):
            if _inside(other, one) or _inside(one, other):
                errors.append(f"{one} is shared read-only and {other} writable, and one lies inside the other: expected folders apart. "
                              "Set cluster_tokenizer_dir, cluster_data_prefix and cluster_data_cache_dir (read-only), "
                              "or cluster_checkpoint_dir and cluster_log_dir (writable).")
    folders = [{"path": path, "access": access} for access, given in paths.items() for path in dict.fromkeys(given)
               if not any(path != other and _inside(path, other) for other in given)]
    return {"folders": [] if errors else sorted(folders, key=lambda folder: folder["path"]), "errors": errors}
