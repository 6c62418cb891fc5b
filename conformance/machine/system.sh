#!/bin/bash
# Makes the disks of a machine: a copy of the base $1 with the package $2 installed and the files under $3 added, as
# root.img, and a disk for /var/lib/larder with the tree $4, as data.img; both in the directory $5.
set -euo pipefail
base=$1 package=$2 files=$3 tree=$4
cd "$5"

rm -rf root root.img data.img
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
chroot root systemctl mask getty@tty1.service serial-getty@ttyS0.service apt-daily.timer apt-daily-upgrade.timer \
    fstrim.timer dpkg-db-backup.timer e2scrub_all.timer systemd-networkd.service >/dev/null 2>&1
echo machine >root/etc/hostname
machine_id=$(tr -d - </proc/sys/kernel/random/uuid)
echo "$machine_id" >root/etc/machine-id
mke2fs -q -t ext4 -d root root.img 900M
chown -R "$(stat -c %u:%g root/var/lib/larder)" "$tree"
mke2fs -q -t ext4 -L larder -d "$tree" data.img 320M
rm -rf root
