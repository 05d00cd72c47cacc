"""The table of checks: what is looked at, how it is read, what is expected, how bad it is, and the way out.

Code asks for a check by its name and gives what was found; words and severity stand here alone. docs/checks.md is made from this table.
``{…}`` in a text is a setting, or what the check was given. Severities: a ``failure`` refuses a launch, a ``warning`` is told
(``check_cluster_strict`` makes it a failure).
"""
from __future__ import annotations

from typing import Any, Dict, NamedTuple

from ansible_collections.ascend.cluster.plugins.module_utils import _checks_deep

Finding = Dict[str, str]
# States of the training's unit in which its processes, ports and NPUs are its own.
RUNNING = ("active", "activating", "deactivating", "reloading")


class Check(NamedTuple):
    """One row."""

    name: str
    # What it belongs to: a heading of docs/checks.md.
    area: str
    severity: str
    # How it is read on the node.
    read: str
    cause: str
    expected: str
    # One or more whole sentences.
    remedy: str
    # Where the fault, the form or the threshold is known from.
    source: str = ""
    # When it is looked at: in every preflight, or where check_cluster_tier says so.
    tier: str = "quick"
    # What check_cluster_fix calls the way to mend it, where there is a safe one; OFFERS tells what it does.
    fix: str = ""


OFFERS = {"firewall": "opens firewalld, ufw or nftables for these ports and the nodes' addresses", "limits": "makes a drop-in for the unit",
          "npu_address": "sets what /etc/hccn.conf has for such an NPU", "tls_switch": "does that"}
_HDK = "Install the vendor's driver and firmware (HDK)."
_VENDOR_LIMITS = "Ascend/mind-cluster, ascend_fd_tk/core/config/threshold_config.py"
_EVENTS = "Ascend/mind-cluster, ascend_fd/configuration/kg-config.json"
_HCCN = "hccn_tool -i N -{} -g"

TABLE = (
    # --- the node ---
    Check("reachable", "node", "failure", "ssh", "The node cannot be reached", "a login by ssh",
          "Try `ansible {host} -m ansible.builtin.raw -a true`; check ansible_host, ansible_port, ansible_user, the key and known_hosts."),
    Check("become_root", "node", "failure", "sudo", "The login user may not become root", "sudo without a question",
          "Run with --ask-become-pass, set ansible_become_password (vaulted), or allow sudo for ansible_user."),
    Check("probe_ran", "node", "failure", "raw sh", "The node did not run the probe", "a POSIX shell and coreutils",
          "Try `ansible {host} -b -m ansible.builtin.raw -a 'uname -a'`."),
    Check("probe_ended", "node", "failure", "raw sh", "The look at the node did not end", "an end within 300 s",
          "Something hangs there, mostly a process stuck in state D (a driver, a dead NFS mount): "
          "`ansible {host} -b -m ansible.builtin.raw -a \"ps -eo pid,stat,wchan:30,comm | grep ' D'\"` lists those."),
    Check("root", "node", "failure", "id -u", "The probe did not run as root", "uid 0", "Allow sudo for ansible_user, or log in as root."),
    Check("python", "node", "failure", "the interpreter that Ansible would take", "No Python for Ansible",
          "Python {min_python} or newer (preflight_min_python)", "{remedy}"),
    Check("python_runs", "node", "failure", "its sys.version_info", "Python does not run",
          "Python {min_python} or newer (preflight_min_python)", "{remedy}", "a pyenv shim without a version"),
    Check("python_version", "node", "failure", "its sys.version_info", "Python is too old for Ansible",
          "Python {min_python} or newer (preflight_min_python)", "{remedy}", "ansible/ansible#82068: openEuler 20.03 and Kylin V10 ship 3.7"),
    Check("operating_system", "node", "failure", "/etc/os-release", "The operating system is not supported",
          "one of {supported_os} in ID or ID_LIKE of /etc/os-release",
          "Use another system; or, where it takes packages like Debian or RedHat, set node_base_platform to that one for the node "
          "(inventory or group_vars/all/node_base.yml)."),
    Check("architecture", "node", "failure", "uname -m", "The architecture is not supported", "{supported_arch}",
          "CANN and torch_npu are built for these only (preflight_supported_arch)."),
    Check("systemd", "node", "failure", "/run/systemd/system", "systemd does not run", "systemd as init",
          "The training runs as a systemd unit; use a node, or a container, that boots systemd."),
    Check("space_known", "node", "failure", "df", "The free space for {path} is unknown", "at least {least} GiB",
          "Run `df -P {parent}` on the node; a dead mount hangs there."),
    Check("space", "node", "failure", "df", "Too little free space for {path}", "at least {least} GiB ({setting})",
          "Free some, or point {place} at a larger disk."),
    Check("checkpoint_space", "node", "warning", "df", "No room for two checkpoints in {path}",
          "{needed} GB, twice what the plan writes there ({saves} will be written, and all are kept unless pretrain_keep_checkpoints is set)",
          "Free the disk, set cluster_checkpoint_dir to a larger one, or raise plan_save_interval.", "the formulas of docs/plan.md"),
    Check("inodes", "node", "failure", "df -i", "Too few free inodes for {path}", "at least 100,000",
          "Remove small files there (an old environment or cache), or point {place} at another disk.", "a full index looks like a full disk: ENOSPC"),
    Check("writable", "node", "failure", "/proc/mounts", "{path} lies on a file system that is mounted read-only", "one that can be written",
          "Look at `dmesg` for errors of that disk, repair it, and mount it read-write.", "a kernel remounts a broken ext4 read-only"),
    Check("cann_local_disk", "node", "failure", "stat -f", "{cann_path} lies on shared storage", "a local disk",
          "CANN's file locks do not work there; set cann_toolkit_install_path to a local disk.", "vendor's installation guide"),
    Check("memory_available", "node", "warning", "MemAvailable of /proc/meminfo", "Little memory is free",
          "at least {least} GiB for {ranks} ranks (preflight_memory_gib_per_rank)",
          "Look with `ps aux --sort -rss | head` who holds it; a rank takes several GiB on the host while it loads."),
    Check("swap", "node", "warning", "/proc/swaps", "Swap is in use", "less than 1 GiB swapped out",
          "Something took more than the memory: a swapped rank makes all others wait. Find it, then `swapoff -a && swapon -a`."),
    Check("memory_limit", "node", "warning", "memory.max of the slices, MemoryMax of the unit", "A control group limits the memory of services",
          "no limit below the node's memory", "Raise MemoryMax of that slice or unit, or of the container that the node is."),
    Check("huge_pages", "node", "warning", "HugePages_Free of /proc/meminfo", "Much memory is reserved for huge pages that nobody uses", "at most {most} of it",
          "Lower vm.nr_hugepages (`sysctl vm.nr_hugepages`, /etc/sysctl.d, hugepages= of the kernel's command line): ranks cannot have that memory."),
    Check("limits", "node", "warning", "systemctl show", "A limit of the training is low", "{wanted}",
          "Set it in the unit (pretrain_unit_template) or in a drop-in (`systemctl edit {unit}`), or the default in /etc/systemd/system.conf; "
          "look for one that lowers it with `systemctl cat {unit}`.",
          "Too many open files; Resource temporarily unavailable; memory that HCCL cannot pin", fix="limits"),
    Check("roots_files", "node", "warning", "find, in runs, checkpoints and logs", "Files of root lie where the training user writes", "files of its own alone",
          "Somebody ran a training, or copied a checkpoint, as root: give them to the training user (`chown -h`), or move them away; a save over them fails."),
    Check("disk_health", "node", "warning", "smartctl -H, else nvme smart-log", "A disk says that it is failing", "PASSED, OK or no critical warning",
          "Look with `smartctl -a /dev/{disk}`, and replace it; bring checkpoints to safety.", "smartctl(8), nvme-smart-log(1)"),
    Check("read_speed", "node", "warning", "dd of 256 MiB of the data or a checkpoint, past the cache, while no training runs",
          "The disk of the training reads slowly", "at least {least} MB/s",
          "Look with `iostat -x 1` who else reads or writes, and at its health; a checkpoint is read whole by every resumed run.",
          "338 GB of a checkpoint on each node of the default plan"),
    Check("read_error", "node", "failure", "dd of the same", "A file of the training cannot be read", "no error of the disk",
          "Look at `dmesg` and `smartctl -a` of that disk, bring checkpoints to safety, and replace it.", "EIO of read(2)"),
    Check("clock_synchronized", "node", "warning", "timedatectl", "The clock is not synchronized", "NTPSynchronized=yes",
          "Start chrony or another time service: logs and time-outs are compared between nodes."),
    Check("own_name", "node", "warning", "getent hosts", "The node's own name does not resolve", "an address of the node for {hostname}",
          "Add it to /etc/hosts: programs that ask for their own name wait for DNS otherwise.", "NCCL and gloo issues of slow or failing gethostname"),
    # --- the network of hosts ---
    Check("cluster_address", "network", "failure", "ip addr", "cluster_address is not an address of the node", "its address on the network of the training",
          "Set cluster_address for the node in the inventory."),
    Check("interface_up", "network", "failure", "operstate", "The interface of the training network is not up", "up",
          "Look at cable, switch and `ip link` on the node."),
    Check("nfs_client", "network", "failure", "/proc/filesystems, /lib/modules", "The kernel has no NFS client", "NFS 4 (data_share_mode is nfs)",
          "Install the modules of the running kernel, or set data_share_mode to copy."),
    Check("master_port", "network", "failure", "/proc/net/tcp", "The master port {port} is in use", "a free port ({entry} of cluster_ports)",
          "Stop that process, or set {entry} of cluster_ports (group_vars/all/cluster.yml) to another."),
    Check("hccl_port", "network", "failure", "/proc/net/tcp", "A port of HCCL is in use", "{hccl_ports} to be free (hccl of cluster_ports)",
          "Stop that process, or set hccl of cluster_ports (group_vars/all/cluster.yml) to others.", "EJ0003; vllm-project/vllm-ascend#405"),
    Check("firewall", "network", "warning", "firewalld, ufw, nftables, iptables", "A firewall is active",
          "none between the nodes, or rules that let them reach each other",
          "Let the nodes' addresses in: {ports} (cluster_ports) and the ephemeral range ({ephemeral}), which torch and gloo use between all nodes: {how}.",
          "EI0006 without a name where a port is dropped", fix="firewall"),
    Check("reach_in", "network", "failure", "a listener on every node, connections from all others", "Others do not reach this node",
          "every node to reach every other on these ports",
          "Let the nodes' addresses in on this node (firewalld, ufw, nftables, security group), and look at the way between. The run needs "
          "cluster_ports and the ephemeral range between all nodes.", "EI0006 without a name where a port is dropped", "reach", fix="firewall"),
    Check("reach_out", "network", "failure", "a listener on every node, connections from all others", "This node does not reach others",
          "every node to reach every other on these ports",
          "Look at the rules for what goes out on this node, at its routes, and at the way between.", "", "reach"),
    Check("reach_large", "network", "failure", "200 kB over each connection, in segments of the full MTU", "Large packets do not come through",
          "packets of the full MTU",
          "A smaller MTU lies on the way, and nobody says so: set the same MTU on nodes, bonds, VLANs and switches (`ip link`, "
          "`ping -M do -s <MTU - 28> <address>`).", "a good start, and then a hang at the first large message", "reach"),
    Check("reach_unknown", "network", "warning", "a listener on every node", "Whether the nodes reach each other is unknown",
          "a Python from 3.6 on, and ports to listen on",
          "Nothing is said of this node's firewall; install a Python, or free the ports.", "", "reach"),
    # --- driver, firmware, chips ---
    Check("driver", "NPU", "failure", "{driver_info}", "The NPU driver is not installed", "an installed driver",
          "Install the vendor's driver and firmware (HDK), and reboot."),
    Check("npu_smi", "NPU", "failure", "the PATH", "npu-smi is not installed", "npu-smi, which comes with the driver", _HDK),
    Check("npu_table", "NPU", "failure", "npu-smi info", "npu-smi prints a table that is not understood", "the tables of the generations that are known",
          "Whether the NPUs are healthy and idle is unknown. Run `npu-smi info` on the node, and report its output."),
    Check("npu_answers", "NPU", "failure", "npu-smi info", "npu-smi shows no NPU", "{nproc_per_node} NPUs",
          "Run `npu-smi info` on the node; after 30 s it counts as stuck (return code 124). Check that driver and firmware fit, and `dmesg`."),
    Check("npu_health", "NPU", "failure", "npu-smi info", "An NPU is not healthy", "OK or Warning",
          "Run `npu-smi info -t health -i <NPU>`; reset or replace it."),
    Check("npu_warning", "NPU", "warning", "npu-smi info", "An NPU has the health Warning", "OK",
          "Run `npu-smi info -t health -i <NPU>`: its codes say why; it can train."),
    Check("npu_count", "NPU", "failure", "npu-smi info", "Too few NPUs", "at least {nproc_per_node} (plan_nproc_per_node)",
          "Repair the node, take it out of the inventory group, or lower plan_nproc_per_node for all nodes."),
    Check("npu_memory_errors", "NPU", "warning", "npu-smi info -t ecc", "An NPU's memory had errors that cannot be corrected",
          "none since the start, and fewer than {pages} isolated pages",
          "Reset the chip (`npu-smi set -t reset -i <NPU> -c <chip>`) or reboot, and watch it; have the card replaced when they go on.",
          _EVENTS + ": 0x80E18401"),
    Check("npu_memory_worn", "NPU", "failure", "npu-smi info -t ecc", "An NPU's memory is worn", "at most {most} isolated pages",
          "Have the card replaced.", _EVENTS + ": 0x80E18402"),
    Check("npu_on_bus", "NPU", "failure", "/sys/bus/pci/devices", "A card is on the PCI bus that npu-smi does not show", "as many chips in both",
          "A card was lost by the driver: look at `dmesg`, power the node off and on, or replace the card.", "PCI ids 19e5:d801, 19e5:d802 and 19e5:d803"),
    Check("npu_memory_size", "NPU", "warning", "npu-smi info", "A chip has less memory than others of its kind", "at least 95 % of {usual} MiB",
          "Its memory is partly switched off: reset it, or have the card replaced.", "95 %: HBMInfoParser of Ascend/mind-cluster"),
    Check("bf16", "NPU", "failure", "the chips' name", "The chips do not compute in bf16", "Atlas A2 (910B1 to 910B4), A3 or 950, as plan_precision is bf16",
          "Train on such nodes, or set plan_precision to fp16 (group_vars/all/plan.yml).", "hiyouga/LlamaFactory#8768, #4339; vllm-project/vllm-ascend#9294"),
    Check("kernels_package", "NPU", "failure", "the chips' name, the archive's name", "The package of kernels is for other chips", "{archives}",
          "Set cann_toolkit_kernels_src (group_vars/all/cann_toolkit.yml) to that archive."),
    Check("npus_idle", "NPU", "failure", "npu-smi info", "NPUs are in use", "idle NPUs", "Stop these processes, or wait for them."),
    Check("npu_container", "NPU", "failure", "npu-smi info, /proc/<pid>/fd and cgroup", "A container holds NPUs", "idle NPUs",
          "Find it by its id with `docker ps`, `podman ps` or `crictl ps` on the node, and stop it, or wait for its end.", "npu-smi's -8020"),
    Check("left_processes", "NPU", "failure", "/proc, npu-smi info", "Processes of an earlier run are left", "none while {unit} does not run", "{remedy}"),
    Check("npu_memory_held", "NPU", "failure", "npu-smi info", "Memory of NPUs is held, though npu-smi lists no process there",
          "at most {max_npu_memory_used_percent} % in use on an idle chip (preflight_max_npu_memory_used_percent)",
          "A process in a container or of a virtual NPU holds it, or one that died: look with `fuser -v /dev/davinci*` on the node and in "
          "its containers; with nobody there, `npu-smi set -t reset -i <NPU> -c <chip>`, or reboot.", "Project-HAMi/HAMi#1064"),
    # --- versions that go together ---
    Check("firmware_pair", "versions", "failure", "version.info of driver and firmware", "Driver and firmware do not go together",
          "firmware {ranges}, as the driver says (compatible_version_fw)",
          "Install driver and firmware of one HDK, and reboot.", "compatible_version_fw of the driver's version.info; 24.1.rc2 with firmware 7.3.0 knows no "
          "memory shared between processes"),
    Check("pair_planned", "versions", "failure", "the stack's tables, version.info of the driver", "Versions do not go together", "{fits}",
          "Install another driver, or set other versions (cann_toolkit_version, conda_env_wheels, conda_env_python_version); where the vendor lists this "
          "pair, add it to conda_env_cann_pairs, conda_env_python_pairs, or driver_pairs of the stack's file (docs/stacks.md).",
          "release notes of CANN and torch_npu, named in stacks/*.yml"),
    Check("pair_installed", "versions", "warning", "cann_toolkit.txt and conda_env.txt in state/", "Installed versions do not go together", "{fits}",
          "site.yml installs those that are set; a training that is launched before may fail at its first operator.",
          "release notes of CANN and torch_npu, named in stacks/*.yml"),
    # --- the kernel's log ---
    Check("kernel_driver_fault", "kernel log", "warning", "dmesg", "The kernel's log has faults of the NPU driver", "none since the start",
          "Compare with `npu-smi info -t health -i <NPU>`; reset the chip, or reboot.", _EVENTS),
    Check("kernel_pcie", "kernel log", "warning", "dmesg", "The kernel's log has uncorrected errors of PCIe", "none since the start",
          "Reseat or replace the card that it names.", _EVENTS + ": Comp_OS_HW_PCIE_02"),
    Check("kernel_memory", "kernel log", "warning", "dmesg", "The kernel's log has uncorrected errors of memory", "none since the start",
          "Replace the memory module that it names.", _EVENTS),
    Check("kernel_oom", "kernel log", "warning", "dmesg", "The kernel has killed processes for want of memory", "none since the start",
          "See which in `dmesg`; a rank that is killed this way ends the run without a word."),
    Check("kernel_disk", "kernel log", "warning", "dmesg", "The kernel's log has errors of a disk", "none since the start",
          "Look with `smartctl -a`; checkpoints and data are at risk.", _EVENTS),
    Check("kernel_stuck", "kernel log", "warning", "dmesg", "The kernel's log has stuck processors or tasks", "none since the start",
          "See which in `dmesg`; a dead mount, a driver that hangs, or broken hardware. Reboot.", _EVENTS),
    # --- the fabric of NPUs ---
    Check("hccn_tool", "fabric", "warning", "/usr/local/Ascend/driver/tools", "hccn_tool is not there", "hccn_tool, which comes with the driver",
          "Links, addresses and TLS switches of the NPUs are unknown. " + _HDK),
    Check("hccn_answers", "fabric", "failure", "hccn_tool", "hccn_tool gives no answer that is understood", "its answers of the generations that are known",
          "Whether this part of the fabric is well is unknown. Run `hccn_tool -i <NPU> -<query> -g` on the node, and report its output."),
    Check("hccn_busy", "fabric", "warning", "hccn_tool", "hccn_tool was busy each time", "an answer within six tries",
          "Somebody else asks all the time (a monitor?): whether this part of the fabric is well is unknown. Run the check again."),
    Check("link", "fabric", "failure", _HCCN.format("link"), "The network link of an NPU is down", "link status UP",
          "Look at the module, the cable and the port of the switch; `hccn_tool -i <NPU> -optical -g`, `-lldp -g`."),
    Check("net_health", "fabric", "failure", _HCCN.format("net_health"), "The network of an NPU is not healthy",
          "net health status Success (or Init without a detection address)",
          "Look at the gateway and the detection address (`hccn_tool -i <NPU> -gateway -g`, `-netdetect -g`), and at the switch.",
          "Ascend/mind-cluster, _check_net_health; DCMI manual"),
    Check("npu_address", "fabric", "failure", _HCCN.format("ip"), "An NPU has no address of its own", "an address for each",
          "Set it: `hccn_tool -i <NPU> -ip -s address <address> netmask <mask>` on the node.", "facts of users: EI0006, EI0015", fix="npu_address"),
    Check("hccn_conf", "fabric", "failure", "/etc/hccn.conf", "/etc/hccn.conf names another address than the NPU has", "the address that the NPU has",
          "Set the right one with `hccn_tool -i <NPU> -ip -s …`, which writes both; after a restart that of the file counts.",
          "vllm-project/vllm-ascend#16847"),
    Check("npu_address_unique", "fabric", "failure", _HCCN.format("ip"), "Two NPUs have the same address", "an address of its own for each NPU of the cluster",
          "Give one of them another: `hccn_tool -i <NPU> -ip -s address <address> netmask <mask>`."),
    Check("npu_netmask", "fabric", "warning", _HCCN.format("ip"), "The netmask of NPUs differs", "{usual}, as on {count} of {total} NPUs",
          "Set the same: `hccn_tool -i <NPU> -ip -s address <address> netmask <mask>`."),
    Check("npu_route", "fabric", "failure", _HCCN.format("gateway"), "An NPU has no way to the subnets of others",
          "a gateway where the NPUs lie in more than one subnet",
          "Set it: `hccn_tool -i <NPU> -gateway -s gateway <address>`, or put all NPUs into one subnet."),
    Check("npu_gateway", "fabric", "failure", _HCCN.format("gateway"), "The gateway of an NPU is wrong",
          "another address than its own, in its own subnet", "Set the right one: `hccn_tool -i <NPU> -gateway -s gateway <address>`.",
          "RFC 1812, 2.2.7: the first router is on a network that one is connected to"),
    Check("tls_switch", "fabric", "failure", _HCCN.format("tls"), "The TLS switch of NPUs differs", "{usual}, as on {count} of {total} NPUs",
          "Set the same everywhere: `hccn_tool -i <NPU> -tls -s enable {usual}`.",
          "EI0016 and EI0006 of HCCL; the answer of nine public threads", fix="tls_switch"),
    Check("tls_certificate", "fabric", "failure", _HCCN.format("tls"), "A certificate of an NPU has expired while TLS is on",
          "valid certificates, or TLS off on all NPUs",
          "Load new certificates (`hccn_tool -i <NPU> -tls -s …`), or switch TLS off on all: `hccn_tool -i <NPU> -tls -s enable 0`."),
    Check("link_flaps", "fabric", "warning", _HCCN.format("link_stat"), "The link of an NPU was down in the last {hours} hours",
          "none for longer than 30 s, and fewer than three within an hour",
          "Look at module, cable and switch port: a link that drops ends a run with error CQE 12.", "30 s: npu_info_parser.py of Ascend/mind-cluster"),
    Check("link_errors", "fabric", "warning", _HCCN.format("stat") + ", twice", "Errors of an NPU's network rise", "no error counted between two looks",
          "Look at module and cable: `hccn_tool -i <NPU> -optical -g`."),
    Check("optical_power", "fabric", "warning", _HCCN.format("optical"), "The optical power of a lane is out of its range", "{least} to {most} mW",
          "Clean or replace fibre and module.", "the module's own limits where it tells them, else " + _VENDOR_LIMITS),
    Check("optical_snr", "fabric", "warning", _HCCN.format("optical"), "The signal of a lane is noisy", "an SNR of 20 dB at least",
          "Clean or replace fibre and module.", _VENDOR_LIMITS),
    # --- in comparison ---
    Check("npu_count_equal", "comparison", "failure", "npu-smi info", "The number of usable NPUs differs between the nodes",
          "{usual}, as on {count} of {total} nodes",
          "Repair the node, or take it out of the inventory group: every node starts plan_nproc_per_node ranks."),
    Check("npu_name_equal", "comparison", "warning", "npu-smi info", "The kind of NPUs differs between the nodes", "{usual}, as on {count} of {total} nodes",
          "Train on nodes of one kind: the slowest sets the pace, and kernels differ."),
    Check("driver_equal", "comparison", "failure", "{driver_info}", "The driver version differs between the nodes", "{usual}, as on {count} of {total} nodes",
          "Install the same driver and firmware on all nodes: HCCL fails between different ones."),
    Check("firmware_equal", "comparison", "failure", "firmware/version.info", "The firmware version differs between the nodes",
          "{usual}, as on {count} of {total} nodes",
          "Install the same driver and firmware on all nodes."),
    Check("kernel_equal", "comparison", "warning", "uname -r", "The kernel differs between the nodes", "{usual}, as on {count} of {total} nodes",
          "Install the same; the driver is built for one."),
    Check("system_equal", "comparison", "warning", "/etc/os-release", "The operating system differs between the nodes",
          "{usual}, as on {count} of {total} nodes",
          "Install the same: wheels and packages are made for one."),
    Check("mtu_equal", "comparison", "warning", "/sys/class/net/*/mtu", "The MTU of the training network's interface differs between the nodes",
          "{usual}, as on {count} of {total} nodes",
          "Set the same MTU on nodes and switches: where one on the way is smaller, large packets vanish, and a run hangs after a good start."),
    Check("npu_mtu_equal", "comparison", "warning", _HCCN.format("mtu"), "The MTU of NPUs differs", "{usual}, as on {count} of {total} NPUs",
          "Set the same: `hccn_tool -i <NPU> -mtu -s size <bytes>`."),
    Check("npu_speed_equal", "comparison", "warning", _HCCN.format("speed"), "The speed of NPUs' links differs", "{usual}, as on {count} of {total} NPUs",
          "Look at the module and the port of the switch: the slowest link sets the pace of all."),
    Check("memory_equal", "comparison", "warning", "MemTotal of /proc/meminfo", "The memory of the host differs between the nodes",
          "{usual} GiB, as on {count} of {total} nodes",
          "A module may have failed: compare with `dmidecode -t memory`."),
    Check("processors_equal", "comparison", "warning", "/proc/cpuinfo", "The number of processors differs between the nodes",
          "{usual}, as on {count} of {total} nodes",
          "Some may be switched off: `lscpu`."),
    Check("user_numbers_equal", "comparison", "failure", "id", "The training user has other numbers (uid:gid) than on the other nodes",
          "{usual}, as on {count} of {total} nodes",
          "NFS knows users by number: give cluster_user the same uid and gid on all nodes (usermod -u, groupmod -g); "
          "node_base_uid sets them where the user is made."),
    Check("profile_failure", "comparison", "failure", "check_cluster_profile", "{attribute} is not that of the profile", "{usual}, as in {profile}",
          "{remedy} Or write the profile anew from a good cluster (check_cluster_profile_write)."),
    Check("profile_warning", "comparison", "warning", "check_cluster_profile", "{attribute} is not that of the profile", "{usual}, as in {profile}",
          "{remedy} Or write the profile anew from a good cluster (check_cluster_profile_write)."),
    Check("clock_equal", "comparison", "failure", "date", "The clock differs from the other nodes",
          "at most {max_clock_skew_seconds} s (preflight_max_clock_skew_seconds)",
          "Start chrony or another time service there."),
    *(Check(**{"area": "deep", "tier": "deep", **row}) for row in _checks_deep.ROWS),
)
CHECKS = {check.name: check for check in TABLE}


def finding(name: str, found: str, **words: Any) -> Finding:
    """Make a finding of a check; ``words`` fill its texts.

    Raises:
        KeyError: for a check that is not in the table, or a word that is missing.
    """
    check = CHECKS[name]
    return {"check": name, "severity": check.severity, "found": found, "cause": check.cause.format(**words),
            "expected": check.expected.format(**words), "remedy": check.remedy.format(**words) + offer(check)}


def offer(check: Check) -> str:
    """Say how a finding of a check can be mended by us; "" where it cannot."""
    return f" `ansible-playbook playbooks/check_cluster.yml -e check_cluster_fix={check.fix}` {OFFERS[check.fix]}." if check.fix else ""
