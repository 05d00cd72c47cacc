#!/bin/bash
# Simulated for the rehearsal: the options, messages and exit codes of a Miniforge installer. It installs no conda
# distribution but a stand-in that makes environments from this system's Python.
set -eu

arch=@ARCH@
batch=0
force=0
update=0
prefix=${HOME:-/opt}/miniforge3

usage() {
  cat <<EOF
usage: $0 [options]

Installs Miniforge3 (simulated)

-b           run install in batch mode (without manual intervention)
-f           no error if install prefix already exists
-h           print this help message and exit
-p PREFIX    install prefix, defaults to $prefix, must not contain spaces.
-s           skip running pre/post-link/install scripts
-u           update an existing installation
EOF
}

while getopts "bfhp:su" option; do
  case $option in
    h) usage; exit 2 ;;
    b) batch=1 ;;
    f) force=1 ;;
    u) force=1; update=1 ;;
    s) ;;
    p) prefix=$OPTARG ;;
    *) printf "ERROR: did not recognize option '%s', please try -h\n" "$option" >&2; exit 1 ;;
  esac
done
shift $((OPTIND - 1))
if [ $# -gt 0 ]; then
  printf "ERROR: did not recognize option '%s', please try -h\n" "$1" >&2
  exit 1
fi
if [ "$batch" = 0 ]; then
  echo "ERROR: this simulated installer has no interactive mode, use -b" >&2
  exit 1
fi
if [ "$(uname -m)" != "$arch" ]; then
  echo "ERROR: Your machine hardware does not appear to be $arch" >&2
  exit 1
fi
case $prefix in
  *\ *) echo "ERROR: Cannot install into directories with spaces" >&2; exit 1 ;;
esac
if [ "$force" = 0 ] && [ -e "$prefix" ]; then
  printf "ERROR: File or directory already exists: '%s'\n" "$prefix" >&2
  echo "If you want to update an existing installation, use the -u option." >&2
  exit 1
fi
if [ "$update" = 1 ] && [ ! -e "$prefix/conda-meta" ]; then
  printf "ERROR: '%s' is not a conda installation\n" "$prefix" >&2
  exit 1
fi

mkdir -p "$prefix/bin" "$prefix/conda-meta" "$prefix/envs"
prefix=$(cd "$prefix" && pwd)
echo "PREFIX=$prefix"
touch "$prefix/conda-meta/history"
cat >"$prefix/bin/conda" <<'END_OF_CONDA'
@CONDA@
END_OF_CONDA
chmod 0755 "$prefix/bin/conda"
echo "installation finished."
