#!/usr/bin/env bash
# controller.sh FOLDER NETWORK GPUS [GROUPS]: PID 1 of the controller's namespaces, which end when its input does.
set -euo pipefail
folder=$1 network=$2 gpus=$3 groups=$4
exec 3>&1 >>"$folder/log/controller.log" 2>&1
# shellcheck disable=SC1091 # is checked by itself
. "$(dirname "$0")/own_tmp.sh"

hostname ctl
mount -t tmpfs tmpfs /run # also the nodes'
mkdir /run/munge /run/gpus
own_tmp "$folder"
mount -t tmpfs tmpfs /dev/shm
mount --bind "$folder/hosts" /etc/hosts
if [[ -e /etc/nsswitch.conf ]]; then # who asks a name server waits for ever
  sed 's/^hosts:.*/hosts: files/' /etc/nsswitch.conf >/run/nsswitch.conf
  mount --bind /run/nsswitch.conf /etc/nsswitch.conf
fi
for ((gpu = 0; gpu < gpus; gpu++)); do mknod "/run/gpus/gpu$gpu" c 1 3; done

ip link set lo up
ip link add br0 type bridge
ip address add "$network.1/24" dev br0
ip link set br0 up
# that nobody has an address any more is known within a second, not eight: SLURM finds dead nodes the sooner
neighbours=/proc/sys/net/ipv4/neigh/br0
echo 100 >"$neighbours/retrans_time_ms"
echo 1 >"$neighbours/delay_first_probe_time"
echo 1000 >"$neighbours/base_reachable_time_ms"

head -c 1024 /dev/urandom >/run/munge/key
chmod 400 /run/munge/key
munged --key-file=/run/munge/key --socket=/run/munge/socket --pid-file=/run/munge/pid \
  --seed-file=/run/munge/seed --log-file="$folder/log/munged.log"
slurmctld -f "$folder/slurm.conf"

echo up >&3
exec 3>&-
while read -r _; do :; done # bash reaps orphans meanwhile
if [[ $groups ]]; then # what is frozen could not die with this process; first those end that may freeze it
  kill -KILL -1 || true
  for _ in 1 2; do
    find "$groups" -name freezer.state -exec sh -c 'echo THAWED >"$1"' sh {} \; || true
    sleep 0.05
  done
fi
