#!/bin/sh
# Customize hook of mmdebstrap: makes a bootable server of the root file system.
#   customize.sh ROOT
set -eu
root=$1
sources=$(dirname "$0")

# As root of the image, whoever owns the checkout.
tar -C "$sources/../../nodes/image/root" --owner=0 --group=0 --mode=u+rwX,go=rX -c . | tar -C "$root" --no-overwrite-dir -x
tar -C "$sources/root" --owner=0 --group=0 --mode=u+rwX,go=rX -c . | tar -C "$root" --no-overwrite-dir -x
chroot "$root" /usr/libexec/rehearsal/build

# Only what finds the root disk: booting is slow enough without hardware acceleration.
echo MODULES=list > "$root/etc/initramfs-tools/conf.d/machine"
printf '%s\n' virtio_pci virtio_mmio virtio_blk ext4 > "$root/etc/initramfs-tools/modules"
chroot "$root" update-initramfs -u

chroot "$root" systemctl unmask systemd-networkd-wait-online.service
chroot "$root" systemctl enable systemd-networkd.service rehearsal-seed.service
chroot "$root" systemctl mask dpkg-db-backup.timer e2scrub_reap.service systemd-pstore.service systemd-binfmt.service \
    systemd-network-generator.service sys-kernel-debug.mount sys-kernel-tracing.mount
# The first boot has nothing to bring up to date, and is not one to ask questions.
: > "$root/etc/machine-id"
touch "$root/etc/.updated" "$root/var/.updated"
