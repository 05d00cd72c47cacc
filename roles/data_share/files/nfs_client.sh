#!/bin/bash
# The NFS mounts of one node, as key=value lines on stdout: changed=, hides=, error=. Only `mount` and `leave` change anything.
#   nfs_client.sh check|mount USER SERVER SOURCE_HOST SECONDS OPTIONS ACCESS:PATH...   (SOURCE_HOST: as in fstab, [..] around IPv6)
#   nfs_client.sh prove USER SERVER SOURCE_HOST SECONDS PROBE ACCESS:PATH...
#   nfs_client.sh leave|would-leave SECONDS KEEP_PATH...                   (what this project mounted, but for the paths named)
# Every call that a dead server could hold is under timeout(1).
set -uo pipefail
export LC_ALL=C
PATH=$PATH:/usr/sbin:/sbin
records=/run/ascend-cluster-nfs
mode=$1
shift

limited() { timeout -k 5 "${seconds}" "$@"; }
error() { echo "error=$*"; }
record_of() { printf '%s/%s' "${records}" "$(printf '%s' "$1" | tr / :)"; }

# Type, source and ro/rw of what is mounted last at a path; nothing where nothing is. Asks the kernel, never the server.
mounted() {
    awk -v path="$1" '$5 == path { for (i = 7; i <= NF; i++) if ($i == "-") { type = $(i + 1); source = $(i + 2) }
        split($6, own, ","); found = type " " source " " own[1] } END { print found }' /proc/self/mountinfo
}

# The options of our own line in fstab.
in_fstab() {
    awk -v path="$1" '/^# BEGIN ascend-cluster nfs$/ { ours = 1 } /^# END ascend-cluster nfs$/ { ours = 0 }
        ours && $2 == path { print $1 " " $4 }' /etc/fstab
}

users_of() {
    local process found=""
    for process in /proc/[0-9]*; do
        if find "${process}/cwd" "${process}/fd" -maxdepth 1 -type l \( -lname "$1" -o -lname "$1/*" \) 2>/dev/null | grep -q .; then
            found+="${process#/proc/} ($(cat "${process}/comm" 2>/dev/null)) "
        fi
    done
    echo "${found:-a process that cannot be told, or a mount below it}"
}

unmount() {
    local said
    if said=$(limited umount "$1" 2>&1); then
        rm -f "$(record_of "$1")"
        return 0
    fi
    case "${said}" in
        *"tale file handle"*) limited umount -l "$1" && rm -f "$(record_of "$1")" && return 0 ;;
        *busy*) error "$1 is in use and cannot be mounted anew, by: $(users_of "$1"); end these, then run this again" ; return 1 ;;
    esac
    error "$1 cannot be unmounted within ${seconds} s: ${said:-no answer from the server}"
    return 1
}

case "${mode}" in
    leave | would-leave)
        seconds=$1
        shift
        awk '/^# BEGIN ascend-cluster nfs$/ { ours = 1 } /^# END ascend-cluster nfs$/ { ours = 0 } ours && /^[^#]/ { print $2, $1 }' /etc/fstab |
            while read -r path source; do
                for keep in "$@"; do [ "${keep}" != "${path}" ] || continue 2; done
                case "$(mounted "${path}")" in
                    "nfs4 ${source} "*) if [ "${mode}" = would-leave ] || unmount "${path}"; then echo "changed=${path} unmounted"; fi ;;
                esac
            done
        exit 0
        ;;
esac

user=$1 server=$2 host=$3 seconds=$4 options=$5
shift 5

if [ "${mode}" = prove ]; then
    probe=${options}
    for share in "$@"; do
        access=${share%%:*} path=${share#*:}
        [ "$(mounted "${path}")" = "nfs4 ${host}:${path} ${access}" ] ||
            { error "${path}: expected nfs4 ${host}:${path} ${access}, found $(mounted "${path}" | grep . || echo nothing) mounted"; continue; }
        limited runuser -u "${user}" -- ls "${path}" >/dev/null || { error "${path} cannot be read by ${user}"; continue; }
        if [ "${access}" = rw ]; then
            # shellcheck disable=SC2016  # for the inner shell
            limited runuser -u "${user}" -- sh -c 'rm -f "$1" && echo probe >"$1"' - "${path}/${probe}" 2>/dev/null ||
                error "${path} cannot be written by ${user} (uid $(id -u "${user}")): compare its owner on ${server}"
        elif limited runuser -u "${user}" -- touch "${path}/${probe}" 2>/dev/null; then
            limited runuser -u "${user}" -- rm -f "${path}/${probe}"
            error "${path} can be written, expected it read-only"
        fi
    done
    exit 0
fi

reachable=
for share in "$@"; do
    access=${share%%:*} path=${share#*:}
    wanted="${options},${access}" source="${host}:${path}"
    record=$(record_of "${path}")
    now=$(mounted "${path}")
    old=$(cat "${record}" 2>/dev/null || in_fstab "${path}")
    if [ "${now}" = "nfs4 ${source} ${access}" ] && [ "${old}" = "${source} ${wanted}" ]; then
        said=$(limited stat "${path}" 2>&1 >/dev/null) && continue
        case "${said}" in *"tale file handle"*) ;; *) error "${path}: ${server} does not answer within ${seconds} s: ${said}"; continue ;; esac
    elif [ -n "${now}" ] && [ "${now% *}" != "nfs4 ${old%% *}" ]; then
        error "${path}: found ${now} mounted there, which this project did not make; expected nothing, or nfs4 ${source}. Unmount it, or set other paths"
        continue
    fi
    if [ -z "${now}" ] && [ -d "${path}" ] && [ -n "$(ls -A "${path}" 2>/dev/null)" ]; then
        echo "hides=${path}"
    fi
    if [ "${mode}" = check ]; then
        echo "changed=${path} would be mounted"
        continue
    fi
    if [ -z "${reachable}" ]; then
        address=${host#[} address=${address%]}
        # shellcheck disable=SC2016  # for the inner shell
        if ! timeout 10 bash -c 'exec 3<>"/dev/tcp/$1/2049"' - "${address}" 2>/dev/null; then
            error "port 2049/tcp of ${server} (${address}) cannot be reached: a firewall on the way, or its NFS server listens elsewhere"
            exit 0
        fi
        reachable=1
    fi
    if [ -n "${now}" ]; then unmount "${path}" || continue; fi
    if [ ! -d "${path}" ]; then
        # Below the training user's own folders they are that user's.
        runuser -u "${user}" -- mkdir -p "${path}" 2>/dev/null || mkdir -p "${path}" || { error "${path} cannot be made"; continue; }
    fi
    # bg and its endless retries are for the boot; here an answer is wanted.
    if said=$(limited mount -t nfs4 -o "${wanted},fg,retry=0" "${source}" "${path}" 2>&1); then
        mkdir -p "${records}"
        echo "${source} ${wanted}" >"${record}"
        echo "changed=${path} mounted"
    else
        case "${said}" in
            *"access denied"*) said+=" (its exports name the cluster_address of each node: does this node reach it from another address?)" ;;
            "") said="no answer within ${seconds} s" ;;
        esac
        error "${source} cannot be mounted: ${said//$'\n'/ }"
    fi
done
