#!/bin/sh
# Customize hook of mmdebstrap: puts a small package repository into the root file
# system, with the packages named in $NODE_REPOSITORY and all they still need.
#   local-repository.sh ROOT
set -eu
root=$1
repository=$root/srv/debian
mkdir -p "$repository/partial"

# shellcheck disable=SC2086  # a list of names
APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get --yes --no-install-recommends --download-only \
    -o Dir::Cache::archives="$repository" install $NODE_REPOSITORY
rm -rf "$repository/partial" "$repository/lock"

# The index: each package's own control fields, and where it lies.
cd "$repository"
for deb in *.deb; do
    dpkg-deb --field "$deb"
    printf 'Filename: ./%s\nSize: %s\nSHA256: %s\n\n' \
        "$deb" "$(stat -c %s "$deb")" "$(sha256sum "$deb" | cut -d' ' -f1)"
done > Packages
