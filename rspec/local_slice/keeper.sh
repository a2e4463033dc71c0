#!/bin/sh
# Keep one machine on. Usage: keeper.sh [CGROUP.PROCS FILE]... -- COMMAND...
# Joins the control groups named first, so that all it starts is in them, then runs the command again for as
# long as it ends with 133, by which systemd-nspawn says that the machine rebooted.
while [ "$1" != "--" ]; do
    echo $$ > "$1" || exit 1
    shift
done
shift
while :; do
    "$@"
    [ $? -eq 133 ] || exit 0
done
