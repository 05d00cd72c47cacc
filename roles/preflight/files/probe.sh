#!/bin/sh
# Tells what a node is like, as key=value lines between two markers, and changes nothing. It needs no Python:
# a POSIX shell, coreutils and /proc are enough; what else is missing leaves its line out.
#
#   probe_npus.sh and this one, with SENT WORKSPACE CANN_PATH DRIVER_INFO UNIT INTERPRETER PORTS RUNS USER RECORDS CHECKPOINTS DATA PLACES CANN_HOME PYTHON...
#
# SENT: the controller's clock, said back. PORTS: words like 7000 or 7000-7015. RUNS: the folder of the runs.
# INTERPRETER: the configured Python, or "". USER: who trains. RECORDS: root's folder of them.
# CHECKPOINTS: their folder. DATA: the data without .bin. PLACES: folders that the training user writes.
# CANN_HOME: the folder of the version wanted, or of all versions of its kind. PYTHON: those to look for, in order.
LC_ALL=C
export LC_ALL
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
sent=$1 workspace=$2 cann=$3 driver=$4 unit=$5 interpreter=$6 ports=$7 runs=$8 user=$9
shift 9
records=$1 checkpoints=$2 data=$3 places=$4 cann_home=$5
shift 5
# Lines of the kernel's log that mean something: the words of plugins/module_utils/_probe_kernel_log.py (compared by test).
faults='PCIe Bus Error:.*severity=Uncorrected|AER:.*[Uu]ncorrect|EDAC .* UE |[Hh]ardware [Ee]rror.*[Uu]ncorrect|error_type: 16|Memory failure: 0x|Out of memory: Kill|oom-kill:|Killed process [0-9]+|EXT4-fs error|XFS .*(Corruption|I/O [Ee]rror)|blk_update_request: .*I/O error|I/O error, dev |Remounting filesystem read-only|hard LOCKUP|soft lockup|self-detected stall|detected stalls on|blocked for more than [0-9]+ seconds|Heartbeat lost|Device is abnormal|devdrv_manager_send_msg unsuccessful|ipc channel idle timeout|DMA copy failed|Get mntn message'

limited() { # a command that hangs (a dead mount, a stuck driver) must not hang the preflight
    limited_to 30 "$@"
}

limited_to() { # limited_to SECONDS COMMAND...
    within "$@" </dev/null
}

within() { # the same for a command that reads what comes in; one that does not mind SIGTERM is killed
    # shellcheck disable=SC2086  # none, or two words
    if command -v timeout >/dev/null 2>&1; then timeout $killing "$@"; else shift && "$@"; fi
}
killing='-k 5'
# shellcheck disable=SC2086  # the same
timeout $killing 5 true 2>/dev/null || killing='' # of old busyboxes, which know no -k

there() { # whether a path is there, without hanging on a dead mount: 124 or 137 where one hangs
    limited_to 10 test -e "$1"
}

lines() { # lines KEY: its input as KEY=line; a KEY with = in it is the beginning of the lines
    case $1 in *=*) begin=$1 ;; *) begin=$1= ;; esac
    while IFS= read -r line || [ -n "$line" ]; do printf '%s%s\n' "$begin" "$line"; done
}

free_space() { # free_space NAME PATH: the nearest existing parent, its free KiB and type of file system
    place=$2
    while :; do
        there "$place"
        case $? in
            0) break ;;
            124 | 137) # what hangs is not asked for its space as well
                printf '%s_parent=%s\n' "$1" "$place"
                return ;;
        esac
        case $place in / | .) break ;; esac
        place=$(dirname "$place")
    done
    printf '%s_parent=%s\n' "$1" "$place"
    limited df -Pk "$place" 2>/dev/null | {
        read -r _ || :
        if read -r _ _ _ available _; then printf '%s_free_kib=%s\n' "$1" "$available"; fi
    }
    kind=$(limited stat -f -c %T "$place" 2>/dev/null) && printf '%s_filesystem=%s\n' "$1" "$kind"
    limited df -Pi "$place" 2>/dev/null | {
        read -r _ || :
        if read -r _ total _ available _ mounted; then
            [ "$total" = 0 ] || printf '%s_free_inodes=%s\n' "$1" "$available"
            while read -r _ where _ options _; do # the last mount of a place counts
                if [ "$where" = "$mounted" ]; then last=$options; fi
            done </proc/mounts
            case ",$last," in *,ro,*) printf '%s_readonly=%s\n' "$1" "$mounted" ;; esac
        fi
    }
}

memory() { # of the host, and the least limit of control groups that a service is under
    while read -r key value _; do
        case $key in MemTotal: | MemAvailable: | SwapTotal: | SwapFree: | HugePages_Free: | Hugepagesize:) printf 'meminfo=%s %s\n' "${key%:}" "$value" ;; esac
    done </proc/meminfo
    for file in /sys/fs/cgroup/memory.max /sys/fs/cgroup/system.slice/memory.max /sys/fs/cgroup/memory/system.slice/memory.limit_in_bytes; do
        if [ -r "$file" ]; then printf 'memory_limit=%s %s\n' "$(cat "$file")" "$file"; fi
    done
}

limits() { # of the training's unit where it is there: what its processes get; else the service manager's own, which the unit has not changed
    if [ "$(limited systemctl show "$unit" --property=LoadState --value 2>/dev/null)" = loaded ]; then
        limited systemctl show "$unit" --property=LimitNOFILESoft --property=LimitNPROCSoft --property=LimitMEMLOCKSoft --property=TasksMax 2>/dev/null
    else
        limited systemctl show --property=DefaultLimitNPROCSoft 2>/dev/null
    fi | lines unit_limit
    most=$(limited systemctl show "$unit" --property=MemoryMax --value 2>/dev/null)
    case $most in '' | *[!0-9]*) ;; *) printf 'memory_limit=%s MemoryMax of %s\n' "$most" "$unit" ;; esac
}

roots_files() { # in the places that the training user writes: it could not write over them
    [ -z "$places" ] || ! id -u "$user" >/dev/null 2>&1 && return
    # shellcheck disable=SC2086  # several
    limited_to 20 find -H $places -xdev -maxdepth 4 -type f -user root 2>/dev/null | head -n 20 | lines roots_file
}

disks() { # what they say of their own health, where there is a tool to ask
    for disk in /sys/block/*; do
        name=${disk##*/}
        if ! [ -e "$disk/device" ] || ! [ -e "/dev/$name" ]; then continue; fi
        case $name in sr[0-9]* | fd[0-9]*) continue ;; esac
        said=''
        if command -v smartctl >/dev/null 2>&1; then
            said=$(limited_to 10 smartctl -n standby -H "/dev/$name" 2>/dev/null | grep -E 'overall-health|Health Status')
        elif command -v nvme >/dev/null 2>&1 && [ "${name#nvme}" != "$name" ]; then
            said=$(limited_to 10 nvme smart-log "/dev/$name" 2>/dev/null | grep '^critical_warning')
        fi
        if [ -n "$said" ]; then printf '%s\n' "$said" | lines "disk_health=$name "; else printf 'disk_silent=%s\n' "$name"; fi
    done
}

read_speed() { # of a large file of the training on a local disk, past the cache; at most 256 MiB, for 20 s
    for file in "$data.bin" $(limited_to 10 find -H "$checkpoints" -xdev -maxdepth 4 -type f -name '*.pt' -size +131071 2>/dev/null | head -n 1); do
        [ -n "$(limited_to 5 find -H "$file" -type f -size +131071 2>/dev/null)" ] || continue
        case $(limited_to 5 stat -f -c %T "$file" 2>/dev/null) in ext* | xfs | btrfs | zfs | f2fs | overlayfs) ;; *) continue ;; esac
        said=$(limited_to 20 dd if="$file" of=/dev/null bs=4M count=64 iflag=direct 2>&1)
        code=$? # dd says first what failed, and last how fast it was
        printf 'read_speed=%s %s %s\n' "$code" "$file" "$(printf '%s\n' "$said" | if [ "$code" = 0 ]; then tail -n 1; else head -n 1; fi)"
        return
    done
}

firewalls() { # those that filter what comes in
    if [ "$(limited firewall-cmd --state 2>/dev/null)" = running ]; then echo 'firewall=firewalld'; fi
    case $(limited ufw status 2>/dev/null) in 'Status: active'*) echo 'firewall=ufw' ;; esac
    limited nft list chains 2>/dev/null | grep -q 'hook input .*policy drop' && echo 'firewall=nftables (a chain of input with policy drop)'
    case $(limited iptables -S INPUT 2>/dev/null) in '-P INPUT DROP'*) echo 'firewall=iptables (INPUT has policy DROP)' ;; esac
    # Not by `read`: dash reads a byte at a time, and these files give all at once, or an end.
    sed -n 's/^\([0-9][0-9]*\)[[:space:]][[:space:]]*\([0-9][0-9]*\)$/ephemeral=\1-\2/p' /proc/sys/net/ipv4/ip_local_port_range 2>/dev/null
}

installed() { # CANN where the wanted one will be, and the chips whose kernels are there; ops_oam comes with the toolkit
    echo 'cann_exists=1'
    there "$cann_home" || return
    echo 'cann_installed=1'
    for folder in "$cann_home/latest" "$cann_home"; do
        for kernels in "$folder"/opp/built-in/op_impl/ai_core/tbe/kernel/ascend*; do
            for operator in "$kernels"/*; do
                [ -e "$operator" ] && [ "${operator##*/}" != ops_oam ] && printf 'kernels=%s\n' "${kernels##*/}" && break
            done
        done
    done
}

kernel_log() { # what the check of the kernel's log looks for, the newest first
    said=$(limited dmesg 2>/dev/null) && echo 'kernel_log_read=1'
    printf '%s\n' "$said" | grep -E "$faults" | tail -n 200 | cut -c 1-300 | lines kernel_log
}

find_python() { # the configured interpreter, else the first that exists, as ansible-core's discovery does
    if [ -n "$interpreter" ]; then
        set -- "$interpreter"
        printf 'python_configured=%s\n' "$interpreter"
    fi
    for candidate in "$@"; do
        found=$(command -v "$candidate" 2>/dev/null) || continue
        printf 'python=%s\n' "$found"
        version=$(limited "$found" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>&1)
        printf 'python_rc=%s\n' "$?"
        printf '%s\n' "$version" | lines python_version
        return
    done
}

wanted_port() {
    for range in $ports; do
        if [ "$1" -ge "${range%-*}" ] && [ "$1" -le "${range#*-}" ]; then return 0; fi
    done
    return 1
}

listeners() { # PORT PID NAME of each listening socket on a port of interest
    cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | while read -r _ address _ state _ _ _ _ _ inode _; do
        [ "$state" = 0A ] || continue
        port=$((0x${address##*:}))
        wanted_port "$port" || continue
        pid='' name=''
        socket=$(find /proc/[0-9]*/fd -lname "socket:\[$inode\]" 2>/dev/null | head -n 1)
        if [ -n "$socket" ]; then
            pid=${socket#/proc/}
            pid=${pid%%/*}
            name=$(cat "/proc/$pid/comm" 2>/dev/null)
            # Of a preflight that was broken off: it ends by itself.
            if command_of "$pid" | tr '\0' ' ' | grep -q 'reach\.py listen ADDRESS'; then continue; fi
        fi
        printf 'listen=%s %s %s\n' "$port" "${pid:--}" "${name:--}"
    done
}

addresses() {
    if command -v ip >/dev/null 2>&1; then
        ip -o addr show 2>/dev/null | while read -r _ device family address _; do
            case $family in inet | inet6) printf 'address=%s %s\n' "${address%%/*}" "$device" ;; esac
        done
    else # no iproute2: the kernel's own table, IPv4 only, and hostname's list
        last=''
        while read -r mark word kind _; do
            if [ "$mark" = '|--' ]; then
                last=$word
            elif [ "$mark $word $kind" = '/32 host LOCAL' ]; then
                printf 'address=%s -\n' "$last"
            fi
        done 2>/dev/null </proc/net/fib_trie
        for address in $(hostname -I 2>/dev/null); do printf 'address=%s -\n' "$address"; done
    fi
    for device in /sys/class/net/*; do
        printf 'interface=%s %s %s\n' "${device##*/}" "$(cat "$device/operstate" 2>/dev/null)" "$(cat "$device/mtu" 2>/dev/null)"
    done
}

echo 'ASCEND-PROBE 1 BEGIN'
printf 'sent=%s\n' "$sent"
printf 'date=%s\n' "$(date +%s)"
printf 'uid=%s\n' "$(id -u)"
printf 'arch=%s\n' "$(uname -m)"
printf 'kernel=%s\n' "$(uname -r)"
printf 'processors=%s\n' "$(grep -c '^processor' /proc/cpuinfo)"
name=$(uname -n)
printf 'name=%s\n' "$name"
printf 'name_address=%s\n' "$(limited getent hosts "$name" 2>/dev/null | { read -r first _; echo "$first"; })"
container=$(limited systemd-detect-virt --container 2>/dev/null) && [ "$container" != none ] && printf 'container=%s\n' "$container"
printf 'synchronized=%s\n' "$(limited timedatectl show --property NTPSynchronized --value 2>/dev/null)"
memory
firewalls
for release in /etc/os-release /usr/lib/os-release; do
    [ -r "$release" ] || continue
    while IFS='=' read -r key value; do
        case $key in ID | ID_LIKE | VERSION_ID | PRETTY_NAME) printf 'os_%s=%s\n' "$key" "$value" ;; esac
    done <"$release"
    break
done
find_python "$@"
free_space workspace "$workspace"
# A link whose run is gone was a launch, too.
[ -n "$(limited_to 10 find "$runs/current" -maxdepth 0 2>/dev/null)" ] && echo 'workspace_used=1'
free_space checkpoints "$checkpoints"
free_space cann "$cann"
roots_files
disks
there "$cann" && installed
if [ -r "$driver" ]; then lines driver_info <"$driver"; fi
firmware=${driver%/driver/*}/firmware/version.info
if [ -r "$firmware" ]; then lines firmware_info <"$firmware"; fi
limited grep -hE '^(toolkit|python) |^torch_npu-' "$records/cann_toolkit.txt" "$records/conda_env.txt" 2>/dev/null | lines record
for device in /sys/bus/pci/devices/*; do
    case $(cat "$device/vendor" "$device/device" 2>/dev/null) in
        0x19e5*0xd801 | 0x19e5*0xd802 | 0x19e5*0xd803) printf 'pci=%s\n' "${device##*/}" ;;
    esac
done
output='' map=''
if command -v npu-smi >/dev/null 2>&1; then
    printf 'npu_smi=%s\n' "$(command -v npu-smi)"
    output=$(limited npu-smi info 2>&1)
    printf 'npu_smi_rc=%s\n' "$?"
    printf '%s\n' "$output" | lines npu_smi_line
    # shellcheck disable=SC2034  # of probe_npus.sh
    map=$(limited npu-smi info -m 2>/dev/null)
    printf '%s\n' "$map" | lines npu_map
    ask_chips
fi
tool=${driver%/version.info}/tools/hccn_tool
[ -x "$tool" ] || tool=$(command -v hccn_tool 2>/dev/null)
if [ -n "$tool" ]; then
    printf 'hccn_tool=%s\n' "$tool"
    devices=$(npu_devices)
    for device in $devices; do printf 'npu_device=%s\n' "$device"; done
    fabric
fi
if [ -r /etc/hccn.conf ]; then lines hccn_conf </etc/hccn.conf; fi
kernel_log
held_by=$(holders)
launched | processes
[ -z "$held_by" ] || printf '%s\n' "$held_by" | lines holder
listeners
addresses
if [ -d /run/systemd/system ]; then
    echo 'systemd=1'
    unit_state=$(limited systemctl is-active "$unit" 2>/dev/null)
    printf 'unit_state=%s\n' "$unit_state"
    limits
    # Nothing that takes time from a training.
    case $unit_state in inactive | failed) read_speed ;; esac
fi
if ids=$(id -u "$user" 2>/dev/null); then printf 'user_ids=%s:%s\n' "$ids" "$(id -g "$user")"; fi
if grep -qw nfs4 /proc/filesystems 2>/dev/null || find "/lib/modules/$(uname -r)/" -name 'nfsv4.ko*' 2>/dev/null | grep -q .; then
    echo 'nfs_client=1'
fi
echo 'ASCEND-PROBE 1 END'
