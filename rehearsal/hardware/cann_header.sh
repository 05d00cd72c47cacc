# shellcheck shell=sh disable=SC2154
# The head of a simulated CANN archive. makeself sources this file, twice: once to
# count its lines, once with the real sums. Plain makeself refuses the vendor's
# options unless they stand behind `--`; this head takes them directly.
cat << HEAD > "$archname"
#!/bin/sh
# $LABEL
# Simulated for the rehearsal: contains no vendor software.
sum="$SHAsum"
size="$filesizes"
skip="$SKIP"
HEAD
cat << 'HEAD' >> "$archname"
usage() {
    cat << 'TEXT'
Usage: bash ARCHIVE.run [options]
  --check               Check the integrity of the archive
  --install             Install
  --upgrade             Replace another installed version
  --uninstall           Uninstall
  --quiet               Ask nothing; accepts the EULA
  --install-for-all     Let every user of the machine use it
  --install-path=PATH   Where to install: by default as before, or /usr/local/Ascend
  --help                This text
TEXT
}

check=n quiet=n for_all=n mode='' install_path=''
[ $# -gt 0 ] || { usage; exit 1; }
for option in "$@"; do
    case $option in
        --help) usage; exit 0 ;;
        --check) check=y ;;
        --quiet) quiet=y ;;
        --install-for-all) for_all=y ;;
        --install-path=/*) install_path=${option#--install-path=} ;;
        --install | --upgrade | --uninstall)
            [ -z "$mode" ] || { echo "[ERROR] --$mode and $option exclude each other." >&2; exit 1; }
            mode=${option#--}
            ;;
        *) echo "Unrecognized flag : $option" >&2; usage >&2; exit 1 ;;
    esac
done

printf 'Verifying archive integrity...'
found=$(tail -n "+$((skip + 1))" "$0" | wc -c | tr -d ' ')
if [ "$found" -ne "$size" ]; then
    echo ' Unexpected archive size.' >&2
    exit 2
fi
found=$(tail -n "+$((skip + 1))" "$0" | sha256sum | cut -c -64)
if [ "$found" != "$sum" ]; then
    echo "Error in SHA256 checksums: $found is different from $sum" >&2
    exit 2
fi
echo '  100%   SHA256 checksums are OK. All good.'
[ -n "$mode" ] || { [ "$check" = y ] && exit 0; usage >&2; exit 1; }

if [ "$quiet" = n ] && [ "$mode" != uninstall ]; then
    printf 'Do you accept the EULA to install CANN? [Y/N] '
    read -r answer || answer=N
    case $answer in [Yy]) ;; *) echo '[ERROR] The EULA is not accepted.' >&2; exit 1 ;; esac
fi

folder=$(mktemp -d) || exit 1
trap 'rm -rf "$folder"' EXIT
printf 'Uncompressing ASCEND_RUN_PACKAGE'
tail -n "+$((skip + 1))" "$0" | tar -xf - -C "$folder" || { echo ' ... Extraction failed.' >&2; exit 1; }
echo '  100%'
(cd "$folder" && sh ./install.sh "$mode" "$install_path" "$for_all")
exit $?
HEAD
