#!/bin/bash
# Makes what a virtual machine boots from, of Debian packages, in the directory $1: root/, vmlinuz, initrd.gz.
# Nothing of Larder is in it, so that it can be kept.
set -euo pipefail
cd "$1"
here=$(dirname "$(realpath "$0")")

debootstrap --variant=minbase bookworm root
chroot root apt-get install --yes --no-install-recommends \
    systemd systemd-sysv udev dbus podman crun ca-certificates iproute2 kmod curl
rm -rf root/usr/share/{doc,man,locale,info}/* root/var/lib/apt/lists/* root/var/cache/apt/*

# Debian's kernel, with those of its modules that the machine's devices, file systems and Larder need.
kernel=$(apt-cache depends linux-image-amd64 | awk '/Depends: linux-image-[0-9]/ { print $2; exit }')
apt-get download "$kernel" busybox-static
dpkg -x "$kernel"_*.deb kernel
dpkg -x busybox-static_*.deb busybox
version=${kernel#linux-image-}
mkdir -p root/lib/modules
mv "kernel/lib/modules/$version" root/lib/modules/
chroot root depmod "$version"
wanted=$(for module in virtio_pci virtio_blk ext4 crc32c_generic virtio_scsi sr_mod isofs tls overlay virtio_net \
        virtio_rng fuse loop dm_mod autofs4 virtio_console gcm ctr ghash_generic aesni_intel; do
    chroot root modprobe -S "$version" --show-depends $module
done | awk '/^insmod/ && !seen[$2]++ { print $2 }')
mkdir keep
(cd root && cp --parents $(sed 's|^/||' <<<"$wanted") "lib/modules/$version"/modules.{order,builtin,builtin.modinfo} ../keep)
rm -rf "root/lib/modules/$version"
mv "keep/lib/modules/$version" root/lib/modules/
chroot root depmod "$version"

# What finds the root file system: busybox, and the modules up to ext4 in the order in which they are loaded.
mkdir -p initrd/{bin,dev,proc,newroot,modules}
cp busybox/bin/busybox initrd/bin/
install -m 755 "$here/init" initrd/init
number=10
for module in $wanted; do
    case $module in */virtio_scsi.ko | */scsi_*) continue ;; esac
    cp "root$module" "initrd/modules/$number-$(basename "$module")"
    number=$((number + 1))
    case $module in */ext4.ko) break ;; esac
done
(cd initrd && find . | cpio --create --format=newc --quiet | gzip -1) >initrd.gz
cp kernel/boot/vmlinuz-* vmlinuz
rm -rf kernel busybox keep initrd ./*.deb
