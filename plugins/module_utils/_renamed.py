"""Variables that had another name once. A site that still sets the old one is told the new one."""
from __future__ import annotations

#: Old name to what to do instead.
RENAMED = {
    "cluster_group": "it is not needed any more: the group of the nodes is always ascend_nodes, and a site maps its own onto it in the inventory "
                     "(`ascend_nodes: {children: {my_group: {}}}`). Remove it",
    "data_share_manifest": "it is not needed any more: the list lies in cluster_stack_dir, in state/data_manifest.sha256. Remove it",
    "data_share_nfs_mount_options": "it is called nfs_client_options now. Rename it",
    "data_share_nfs_threads": "it is called nfs_server_threads now. Rename it",
    "data_share_nfs_timeout": "it is called nfs_client_timeout now. Rename it",
    "data_share_parallel": "it is called node_transfer_parallel now. Rename it",
    "data_share_ssh_port": "it is called node_transfer_ssh_port now, and is needed only where the port is not the one of Ansible's own connection. Rename it",
    "data_share_ssh_user": "it is called node_transfer_ssh_user now. Rename it",
    "node_base_reserved_ports": "it is called cluster_ports now, the one list of all ports of a run: all of them are reserved. "
                                "Write them there, and remove this name",
    "preflight_compare": "it is called check_cluster_compare now, and read by playbooks/check_cluster.yml. Rename it",
    "preflight_hccl_ports": "it is called cluster_ports now, the one list of all ports of a run: these are its hccl. "
                            "Write them there, and remove this name",
    "preflight_master_port": "it is called cluster_ports now, the one list of all ports of a run: this is its master. "
                             "Write it there, and remove this name",
    "preflight_report_dir": "it is called check_cluster_report_dir now, and read by playbooks/check_cluster.yml. Rename it",
    "preflight_strict": "it is called check_cluster_strict now. Rename it",
    "pretrain_master_port": "it is called cluster_ports now, the one list of all ports of a run: this is its master. "
                            "Write it there, and remove this name",
}
