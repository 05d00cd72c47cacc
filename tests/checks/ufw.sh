#!/bin/sh
# Stand-in for ufw on a pretend node: what is not let in is dropped by a route into nowhere, and allowing an address takes that away.
rules=/run/rehearsal-ufw
case "$*" in
    status) echo 'Status: active' ;;
    'show added') cat "$rules" 2>/dev/null ;;
    'allow proto tcp from '*' to any port '*' comment ascend-cluster')
        ip route del blackhole "$5" 2>/dev/null
        echo "ufw allow from $5 to any port $9 proto tcp comment 'ascend-cluster'" >>"$rules"
        echo 'Rule added'
        ;;
    *)
        echo "ufw: the rehearsal does not know: $*" >&2
        exit 1
        ;;
esac
