#!/bin/bash
# Makes the disks of a machine: a copy of the base $1 with the package $2 installed and the files under $3 added, as
# root.img, and a disk for /var/lib/larder with the tree $4, as data.img; both in the directory $5.
set -euo pipefail
base=$1 package=$2 files=$3 tree=$4
cd "$5"

rm -rf root root.img data.img
# The kernel without its compression: undoing that takes seconds in software emulation.
if [ ! -e "$base/vmlinux" ]; then
    at=$(LC_ALL=C grep --text --byte-offset --only-matching --perl-regexp --max-count=1 '\xfd7zXZ\x00' "$base/vmlinuz" |
        head -1 | cut -d: -f1)
    # What follows the kernel in the file is nothing to xz.
    tail -c "+$((at + 1))" "$base/vmlinuz" | xz -dc >"$base/vmlinux.unfinished" 2>/dev/null || true
    [ "$(head -c 4 "$base/vmlinux.unfinished" | tail -c 3)" = ELF ]
    mv "$base/vmlinux.unfinished" "$base/vmlinux"
fi
# Links where that can be: what is changed below is replaced, never written to in place.
cp -al "$base/root" root 2>/dev/null || { rm -rf root && cp -a "$base/root" root; }
rm -f root/var/log/{dpkg,alternatives}.log root/etc/{hostname,machine-id,fstab}
cp "$package" root/tmp/larder.deb
chroot root dpkg --force-depends --install /tmp/larder.deb
rm root/tmp/larder.deb
# What an administrator adds, and the harness.
cp -r --remove-destination --no-preserve=ownership "$files/." root/
chroot root chown -R root:larder /etc/larder
chroot root chmod 640 /etc/larder/tls.key /etc/larder/htpasswd /etc/larder/pull-secret.json
chroot root systemctl enable harness.service network.service port-answers.service
# What the machine has no use for, and in software emulation takes seconds: podman as a service, logins, timers.
chroot root systemctl mask getty@tty1.service serial-getty@ttyS0.service apt-daily.timer apt-daily-upgrade.timer \
    fstrim.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service systemd-networkd.service \
    podman.service podman.socket podman-restart.service podman-auto-update.service podman-auto-update.timer \
    systemd-logind.service systemd-update-utmp.service systemd-update-utmp-runlevel.service \
    systemd-random-seed.service >/dev/null 2>&1
mkdir -p root/etc/systemd/system-generators
for generator in cryptsetup debug getty gpt-auto hibernate-resume integritysetup rc-local run system-update sysv \
        veritysetup; do
    ln -s /dev/null "root/etc/systemd/system-generators/systemd-$generator-generator"
done
echo machine >root/etc/hostname
machine_id=$(tr -d - </proc/sys/kernel/random/uuid)
echo "$machine_id" >root/etc/machine-id
mke2fs -q -t ext4 -d root root.img 900M
chown -R "$(stat -c %u:%g root/var/lib/larder)" "$tree"
mke2fs -q -t ext4 -L larder -d "$tree" data.img 320M
rm -rf root
