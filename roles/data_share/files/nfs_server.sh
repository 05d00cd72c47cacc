#!/bin/bash
# The NFS server of a data host, as key=value lines on stdout. Only `apply` and `leave` change anything.
#   nfs_server.sh look USER                     what is there: user=uid:gid, others=N exports of the site, dir=<folder that exists>
#   nfs_server.sh check|apply|reload UNIT ADDRESS...   the running exports are those of our file (read again when told), the firewall lets these in
#   nfs_server.sh check|leave                   no exports of ours, no rules of ours
# Rules that this made are listed in a record of its own: others in the firewall are never touched.
set -uo pipefail
export LC_ALL=C
PATH=$PATH:/usr/sbin:/sbin
ours=/etc/exports.d/ascend-cluster.exports
record=/var/lib/ascend-cluster-nfs/firewall
mode=$1
shift

error() { echo "error=$*"; }

if [ "${mode}" = look ]; then
    if id -u "$1" >/dev/null 2>&1; then echo "user=$(id -u "$1"):$(id -g "$1")"; fi
    others=0
    for file in /etc/exports /etc/exports.d/*.exports; do
        if [ -r "${file}" ] && [ "${file}" != "${ours}" ]; then others=$((others + $(grep -cvE '^[[:space:]]*(#|$)' "${file}"))); fi
    done
    echo "others=${others}"
    for folder in /etc/exports.d /etc/nfs.conf.d /etc/systemd/system/nfs-server.service.d; do if [ -d "${folder}" ]; then echo "dir=${folder}"; fi; done
    if [ -e "${ours}" ]; then echo "serving=1"; fi
    exit 0
fi

dry=
[ "${mode}" != check ] || dry=1
unit=${1:-}
[ $# -eq 0 ] || shift

firewall=none
if command -v firewall-cmd >/dev/null && firewall-cmd --state >/dev/null 2>&1; then
    firewall=firewalld
elif command -v ufw >/dev/null && ufw status 2>/dev/null | grep -q '^Status: active'; then
    firewall=ufw
fi

rule_of() { # address
    local family=ipv4
    case "$1" in *:*) family=ipv6 ;; esac
    printf 'rule family="%s" source address="%s" port port="2049" protocol="tcp" accept' "${family}" "$1"
}

zone_of() { # of the interface that leads to an address
    local interface zone=
    interface=$(ip -o route get "$1" 2>/dev/null | sed -n 's/.* dev \([^ ]*\).*/\1/p')
    [ -z "${interface}" ] || zone=$(firewall-cmd --get-zone-of-interface="${interface}" 2>/dev/null)
    echo "${zone:-$(firewall-cmd --get-default-zone)}"
}

add() { # kind zone address
    local rule permanent changed=
    if [ "$1" = ufw ]; then
        if ! ufw show added | grep -qE "^ufw allow from $3 to any port 2049 proto tcp( |\$)"; then
            [ -n "${dry}" ] || ufw allow proto tcp from "$3" to any port 2049 comment ascend-cluster-nfs >/dev/null || { error "ufw does not take $3"; return 1; }
            changed=1
        fi
    else
        rule=$(rule_of "$3")
        for permanent in --permanent ""; do
            if ! firewall-cmd ${permanent} --zone="$2" --query-rich-rule="${rule}" >/dev/null 2>&1; then
                [ -n "${dry}" ] || firewall-cmd ${permanent} --zone="$2" --add-rich-rule="${rule}" >/dev/null || { error "firewalld does not take $3 in zone $2"; return 1; }
                changed=1
            fi
        done
    fi
    if [ -n "${changed}" ]; then
        echo "changed=$1 lets $3 in"
        if [ -z "${dry}" ] && ! grep -qxF "$1 $2 $3" "${record}" 2>/dev/null; then
            mkdir -p "${record%/*}" && echo "$1 $2 $3" >>"${record}"
        fi
    fi
}

remove() { # kind zone address; a firewall that does not run is told by its files
    local permanent
    echo "changed=$1 lets $3 in no more"
    [ -z "${dry}" ] || return 0
    if [ "$1" = ufw ]; then
        ufw delete allow proto tcp from "$3" to any port 2049 >/dev/null
    elif firewall-cmd --state >/dev/null 2>&1; then
        for permanent in --permanent ""; do firewall-cmd ${permanent} --zone="$2" --remove-rich-rule="$(rule_of "$3")" >/dev/null 2>&1; done
    else
        firewall-offline-cmd --zone="$2" --remove-rich-rule="$(rule_of "$3")" >/dev/null 2>&1
    fi
    grep -vxF "$1 $2 $3" "${record}" >"${record}.new"
    mv "${record}.new" "${record}"
}

if [ "${mode}" = leave ] || [ -z "${unit}" ]; then
    if [ -e "${ours}" ]; then
        echo "changed=${ours} removed"
        if [ -z "${dry}" ]; then
            rm -f "${ours}"
            exportfs -ra || error "exportfs -ra failed"
        fi
    fi
    for file in /etc/nfs.conf.d/ascend-cluster.conf /etc/systemd/system/nfs-server.service.d/ascend-cluster.conf; do
        if [ -e "${file}" ]; then
            echo "changed=${file} removed"
            if [ -z "${dry}" ]; then
                rm -f "${file}"
                systemctl daemon-reload
                # Without exports there is nothing to serve; with those of the site, its own settings hold again.
                if exportfs -s 2>/dev/null | grep -q .; then systemctl restart nfs-server; else systemctl disable --now nfs-server 2>/dev/null; fi
            fi
        fi
    done
else
    if ! systemctl is-active --quiet "${unit}"; then
        echo "changed=${unit} started"
        [ -n "${dry}" ] || systemctl start "${unit}" || error "${unit} does not start: $(systemctl status "${unit}" 2>&1 | tail -3 | tr '\n' ' ')"
    fi
    # Path and address of each export: what the file says, and what mountd was told.
    said() { awk '/^\// { for (i = 2; i <= NF; i++) print $1, $i }' "$1" 2>/dev/null | sed 's/(\(r[ow]\).*/ \1/' | sort; }
    running() {
        awk 'NR == FNR { if (/^\//) own[$1]; next } $1 in own { for (i = 2; i <= NF; i++) print $1, $i }' "${ours}" /var/lib/nfs/etab 2>/dev/null |
            sed 's/(\(r[ow]\).*/ \1/' | sort
    }
    # Not every time: it ends exports that the site made by hand.
    if [ "${mode}" = reload ] || [ "$(said "${ours}")" != "$(running)" ]; then
        echo "changed=exports"
        if [ -z "${dry}" ]; then
            complaint=$(exportfs -ra 2>&1) || error "exportfs -ra: ${complaint//$'\n'/ }"
            [ "$(said "${ours}")" = "$(running)" ] || error "the running exports differ from ${ours}: $(running | tr '\n' ';') ${complaint}"
        fi
    fi
    if [ "${firewall}" != none ]; then
        for address in "$@"; do
            zone=-
            [ "${firewall}" != firewalld ] || zone=$(zone_of "${address}")
            add "${firewall}" "${zone}" "${address}"
        done
    fi
fi

if [ -r "${record}" ]; then
    while read -r kind zone address; do
        [ -n "${kind}" ] || continue
        for keep in "$@"; do [ "${keep}" != "${address}" ] || continue 2; done
        remove "${kind}" "${zone}" "${address}"
    done < <(cat "${record}")
fi
exit 0
