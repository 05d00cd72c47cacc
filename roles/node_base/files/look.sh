#!/bin/sh
# Says which system it is, what is missing, which limits root may not set, and which ports are reserved, as key=value lines; changes nothing.
#   look.sh USER NPU_GROUP OWN_PORTS_FILE NAME:BYTES...
user=$1 npu_group=$2 own=$3
shift 3

sed -n 's/^ID\(_LIKE\)\{0,1\}=/os=/p' /etc/os-release 2>/dev/null || sed -n 's/^ID\(_LIKE\)\{0,1\}=/os=/p' /usr/lib/os-release
getent group "$npu_group" >/dev/null || echo missing=npu_group
getent group "$user" >/dev/null || echo missing=group
if getent passwd "$user" >/dev/null; then
    for group in "$user" "$npu_group"; do
        id -nG "$user" | tr ' ' '\n' | grep -qxF "$group" || { echo missing=membership; break; }
    done
else
    echo missing=user
fi

for limit in "$@"; do # in a process of its own each
    prlimit "--${limit%%:*}=${limit#*:}:${limit#*:}" true 2>/dev/null || echo "limit=${limit%%:*}"
done

key='^[[:space:]]*-\{0,1\}net[./]ipv4[./]ip_local_reserved_ports[[:space:]]*=[[:space:]]*'
for file in /etc/sysctl.conf /etc/sysctl.d/*.conf /run/sysctl.d/*.conf /usr/local/lib/sysctl.d/*.conf /usr/lib/sysctl.d/*.conf; do
    if [ -r "$file" ] && [ "$file" != "$own" ]; then sed -n "s|$key|reserved=|p" "$file"; fi
done
printf 'running=%s\n' "$(cat /proc/sys/net/ipv4/ip_local_reserved_ports 2>/dev/null)"
