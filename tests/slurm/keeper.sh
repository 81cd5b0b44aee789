#!/usr/bin/env bash
# keeper.sh FOLDER NETWORK GPUS [GROUPS]: keeps a controller's namespaces until its own input ends, which it does with
# the process that started it, however that one ends; then removes the control groups, which nothing else would.
set -u
trap '' INT TERM HUP
unshare --net --mount --uts --ipc --pid --fork --kill-child --mount-proc -- \
  bash "$(dirname "$0")/controller.sh" "$1" "$2" "$3" "${4:-}"
status=$?
for _ in {1..100}; do
  [[ -d ${4:-} ]] || break
  find "$4" -depth -type d -exec rmdir {} + 2>/dev/null
  [[ -d $4 ]] && sleep 0.05
done
exit "$status"
