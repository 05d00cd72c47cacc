#!/usr/bin/env bash
# Installs the Debian or Ubuntu packages named, those that are missing, as root or by sudo.
set -euo pipefail

missing=()
for package in "$@"; do
    if ! dpkg-query -W -f '${Status}' "${package}" 2>/dev/null | grep -q 'ok installed'; then
        missing+=("${package}")
    fi
done
if [ "${#missing[@]}" -eq 0 ]; then
    exit 0
fi
if ! command -v apt-get >/dev/null; then
    echo "These packages are needed: ${missing[*]}. This machine has no apt-get: install their likes by hand." >&2
    exit 1
fi
as_root=()
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { echo "Installing ${missing[*]} needs root: run as root, or install sudo." >&2; exit 1; }
    as_root=(sudo)
fi
echo "Installing: ${missing[*]}"
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
