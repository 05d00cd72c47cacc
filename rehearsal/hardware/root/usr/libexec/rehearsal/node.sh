#!/bin/sh
# shellcheck disable=SC2034  # those that source this file use the rest
# What the stand-ins of this node's hardware share: what the node is (/etc/rehearsal/node.env), and what is wrong with it
# (/etc/rehearsal/faults, a line each: `name` or `name=value`, where N in a name is the number of an NPU).
root=${REHEARSAL_ROOT:-}
faults=$root/etc/rehearsal/faults
# What a fault counts across calls; program hardware, beside this file, forgets it.
state=$root/run/rehearsal
NODE_INDEX=0 NPU_COUNT=8 NPU_NAME=910B3 NPU_HBM_MB=65536
# shellcheck source=/dev/null
[ ! -f "$root/etc/rehearsal/node.env" ] || . "$root/etc/rehearsal/node.env"

fault() { # fault NAME DEFAULT: the value of the last such line
    value=$2
    if [ -r "$faults" ]; then
        while IFS= read -r line; do
            case $line in "$1="*) value=${line#*=} ;; esac
        done <"$faults"
    fi
    printf '%s\n' "$value"
}

flag() { # flag NAME: whether there is such a line
    grep -qx "$1" "$faults" 2>/dev/null
}

address() { # address N: of that NPU's own port
    fault "ip_$1" "10.20.$NODE_INDEX.$(($1 + 1))"
}

netmask() { fault "netmask_$1" 255.255.0.0; }

gateway() { fault "gateway_$1" 10.20.255.254; }

netdetect() { fault "netdetect_$1" 10.20.0.1; }

tls() { fault "tls_$1" 0; }
