"""What a cluster shares by NFS."""
import pytest
from ansible_collections.ascend.cluster.plugins.module_utils._nfs import nfs_shares

HOME = "/opt/ascend-cluster"


def test_folders_and_their_access() -> None:
    assert nfs_shares([f"{HOME}/t", f"{HOME}/d"], [f"{HOME}/ckpt", f"{HOME}/logs"], HOME) == {"errors": [], "folders": [
        {"path": f"{HOME}/ckpt", "access": "rw"}, {"path": f"{HOME}/d", "access": "ro"},
        {"path": f"{HOME}/logs", "access": "rw"}, {"path": f"{HOME}/t", "access": "ro"}]}


def test_a_folder_inside_another_comes_with_it() -> None:
    shares = nfs_shares(["/data/x/cache", "/data/x/", "/data/x", "/data/xy"], ["/ckpt", "/ckpt/logs", ""], HOME)
    assert shares["errors"] == []
    assert [folder["path"] for folder in shares["folders"]] == ["/ckpt", "/data/x", "/data/xy"]


@pytest.mark.parametrize(("read_only", "writable", "message"), [
    (["/data"], ["/data/ckpt"], "/data is shared read-only and /data/ckpt writable"),
    (["/data/x"], ["/data"], "/data/x is shared read-only and /data writable"),
    (["/data"], ["/data/"], "/data is shared read-only and /data writable"),
    (["/opt"], [], "/opt contains the workspace /opt/ascend-cluster"),
    ([], [HOME + "/"], "contains the workspace"),
    (["/"], [], "cannot be shared"),
    (["/da ta"], [], "'/da ta' cannot be shared by NFS"),
    (["data"], [], "'data' cannot be shared by NFS"),
])
def test_what_cannot_be_shared_is_refused(read_only: list[str], writable: list[str], message: str) -> None:
    shares = nfs_shares(read_only, writable, HOME)
    assert shares["folders"] == []
    assert any(message in error for error in shares["errors"]), shares["errors"]
