#!/bin/sh
# Installs what a simulated CANN archive contains. Simulated for the rehearsal.
# Usage: install.sh install|upgrade|uninstall INSTALL_PATH|'' y|n
# REHEARSAL_ROOT goes before every path, for tests.
set -eu
umask 022
package='' label='' title='' version='' innerversion='' arch='' layout=''  # in package.env, made by cann.py
# shellcheck source=/dev/null
. ./package.env
mode=$1 install_path=$2 for_all=$3
root=${REHEARSAL_ROOT:-}
machine=$(uname -m)
record=$root/etc/Ascend/ascend_cann_install.info
log=$root/var/log/ascend_seclog/ascend_toolkit_install.log

mkdir -p "$root/var/log/ascend_seclog"
say() {
    printf '[%s] [%s] [%s] %s\n' "$label" "$(date +%Y%m%d-%H:%M:%S)" "$1" "$2" | tee -a "$log"
}
die() {
    say ERROR "$1"
    exit 1
}
value() {  # value KEY FILE
    sed -n "s/^$1=//p" "$2" 2> /dev/null | head -n 1
}

say INFO "LogFile:/var/log/ascend_seclog/ascend_toolkit_install.log"
[ "$arch" = any ] || [ "$arch" = "$machine" ] ||
    die "the package is for $arch, but the current architecture is $machine."
# Without a path given, an upgrade takes that of the installation, as the vendor's does.
recorded=$(value Toolkit_InstallPath "$record")
before=${recorded%/*}
[ -n "$install_path" ] || install_path=$before
install_path=${install_path:-/usr/local/Ascend}
if [ "$layout" = new ]; then
    # A folder of its own for each version, and links to the last one installed.
    home=$install_path/cann-$version latest=$root$install_path/cann-$version
    kernels_info=$latest/$machine-linux/ascend_ops_install.info kernels_key=version
else
    home=$install_path/ascend-toolkit latest=$root$install_path/ascend-toolkit/latest
    kernels_info=$latest/opp_kernel/version.info kernels_key=version_dir
    [ -z "$recorded" ] || [ "$before" = "$install_path" ] ||
        die "the install path $install_path is different from the last one, $before."
    # A version of the new layout may have it as a link to itself.
    [ ! -L "$latest" ] || [ "$mode" = uninstall ] || rm "$latest"
fi
there=$root$home

toolkit_version=$(value version "$latest/$machine-linux/ascend_toolkit_install.info")
case $package in
    toolkit) installed=$toolkit_version ;;
    kernels) installed=$(value "$kernels_key" "$kernels_info") ;;
esac

case $mode in
    install) [ -z "$installed" ] || die "$title $installed is installed in $install_path: use --upgrade or --uninstall." ;;
    upgrade | uninstall) [ -n "$installed" ] || die "$title is not installed in $install_path: nothing to $mode." ;;
esac
if [ "$package" = kernels ] && [ "$mode" != uninstall ] && [ "$toolkit_version" != "$version" ]; then
    die "$title $version needs the toolkit $version, found ${toolkit_version:-none}: install the toolkit first."
fi
say INFO "$mode package $title start"

remove() {
    if [ "$layout" = new ]; then
        if [ "$package" = kernels ]; then rm -f "$kernels_info"; else rm -rf "${there:?}"; fi
        return
    fi
    if [ "$package" = toolkit ]; then
        # Replacing the toolkit takes the kernels with it, as the vendor's installer does.
        rm -rf "${there:?}/$installed" "$there/latest"
        rm -f "$there/set_env.sh" "$record"
    else
        rm -rf "$there/$installed/opp_kernel" "$there/latest/opp_kernel"
    fi
    rmdir "$there/$installed" "$there/latest" "$there" 2> /dev/null || true
}
[ "$mode" = install ] || remove
if [ "$mode" = uninstall ]; then
    if [ "$package" = toolkit ]; then rm -f "$there/.install_for_all"; rmdir "$there" 2> /dev/null || true; fi
    say INFO "$title uninstall success"
    exit 0
fi

if [ "$layout" = new ]; then tree=$there/$machine-linux; else tree=$there/$version/$machine-linux; fi
mkdir -p "$tree"
# An upgrade takes this option from the installation before it, as the vendor's does.
[ "$for_all" = n ] || : > "$there/.install_for_all"
[ ! -e "$there/.install_for_all" ] || for_all=y
if [ "$package" = toolkit ]; then
    mkdir -p "$root/etc/Ascend"
    cp -R content/. "$tree"
    cat > "$tree/ascend_toolkit_install.info" << INFO
package_name=Ascend-cann-toolkit
version=$version
innerversion=$innerversion
compatible_version=[V100R001C15],[V100R001C17]
arch=$machine
os=linux
path=${tree#"$root"}
INFO
    if [ "$layout" = new ]; then
        mkdir -p "$there/opp" "$root$install_path/ascend-toolkit"
        ln -sfn "cann-$version" "$root$install_path/cann"
        [ -e "$root$install_path/ascend-toolkit/latest" ] || ln -s ../cann "$root$install_path/ascend-toolkit/latest"
        toolkit_home=$home
    else
        mkdir -p "$there/$version/opp" "$latest"
        ln -sfn "../$version/$machine-linux" "$latest/$machine-linux"
        ln -sfn "../$version/opp" "$latest/opp"
        toolkit_home=$home/latest
    fi
    # Like the vendor's: it reads unset variables, and sourced twice it stacks the paths.
    cat > "$there/set_env.sh" << SETENV
export ASCEND_TOOLKIT_HOME=$toolkit_home
export LD_LIBRARY_PATH=\${ASCEND_TOOLKIT_HOME}/lib64:\${ASCEND_TOOLKIT_HOME}/lib64/plugin/opskernel:\$LD_LIBRARY_PATH
export PYTHONPATH=\${ASCEND_TOOLKIT_HOME}/python/site-packages:\$PYTHONPATH
export PATH=\${ASCEND_TOOLKIT_HOME}/bin:\${ASCEND_TOOLKIT_HOME}/compiler/ccec_compiler/bin:\$PATH
export ASCEND_AICPU_PATH=\${ASCEND_TOOLKIT_HOME}
export ASCEND_OPP_PATH=\${ASCEND_TOOLKIT_HOME}/opp
export TOOLCHAIN_HOME=\${ASCEND_TOOLKIT_HOME}/toolkit
export ASCEND_HOME_PATH=\${ASCEND_TOOLKIT_HOME}
SETENV
    echo "Toolkit_InstallPath=$home" > "$record"
    say INFO "Write Toolkit_InstallPath to /etc/Ascend/ascend_cann_install.info."
elif [ "$layout" = new ]; then
    printf '%s\n' package_name=Ascend-cann-910b-ops "version=$version" "arch=$machine" os=linux "path=$home" > "$kernels_info"
else
    mkdir -p "$there/$version/opp_kernel"
    cp -R content/. "$there/$version/opp_kernel"
    printf 'Version=%s\nversion_dir=%s\n' "$innerversion" "$version" > "$there/$version/opp_kernel/version.info"
    ln -sfn "../$version/opp_kernel" "$latest/opp_kernel"
fi
[ "$for_all" = y ] || chmod -R o-rwx "${tree%/*}"

cat << SUMMARY

===========
= Summary =
===========

$label:  $title $mode success, installed in $install_path.

Please make sure that the environment variables have been configured.
-  To take effect for all users, you can add "source $home/set_env.sh" to /etc/profile.
SUMMARY
say INFO "$title $mode success"
