# shellcheck shell=bash
# Sourced by the PID 1 of the controller and of each node.

own_tmp() { # FOLDER: a /tmp of one's own, in which the shared folders stand at their paths
  local path
  mkdir -p /run/stage
  mount -t tmpfs -o mode=1777 tmpfs /run/stage
  while IFS= read -r path; do
    mkdir -p "/run/stage${path#/tmp}"
    mount --rbind "$path" "/run/stage${path#/tmp}"
  done <"$1/shared"
  mount --move /run/stage /tmp
}
