#!/usr/bin/env bash
# node.sh FOLDER NAME NUMBER NETWORK [GROUP]: PID 1 of a node's namespaces, which end when its input does. It is started
# in those of the controller, whose network is therefore that of process 1 until /proc is the node's own.
set -euo pipefail
folder=$1 name=$2 number=$3 network=$4 group=$5
exec 3>&1 >>"$folder/log/$name.log" 2>&1
# shellcheck disable=SC1091 # is checked by itself
. "$(dirname "$0")/own_tmp.sh"

hostname "$name"
controller() { nsenter --net=/proc/1/ns/net "$@"; }
controller ip link delete "node$number" 2>/dev/null || true # is there for a moment after the node's death
controller ip link add "node$number" type veth peer name eth0 address "02:00:00:00:00:$(printf %02x "$number")" netns $$
controller ip link set "node$number" master br0 up
mount -t proc proc /proc
ip link set lo up
ip address add "$network.$((10 + number))/24" dev eth0
ip link set eth0 up
ip route add default via "$network.1"

own_tmp "$folder"
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /var/spool
mkdir /var/spool/slurmd
if [[ $group ]]; then # so that two sites' nodes of one name have each their own groups
  mkdir -p "$group"
  mount --bind "$group" /sys/fs/cgroup/freezer
fi

echo up >&3
exec 3>&-
while read -r _; do :; done
