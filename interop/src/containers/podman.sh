# A Podman of our own: its files are in the folder $1, its socket is $2. What it leaves to others to remove (mounts, bridges, processes
# that outlive its service) is in namespaces that end with us; netavark's, because it turns on forwarding where it makes bridges.
# The service itself, and with it what images are built with, is in the network of our parent.
set -eu
directory=$1 socket=$2 netavark=$3 init=$4
mkdir -p "$directory/bin"
touch "$directory/network" "$directory/processes"
mount --bind /proc/self/ns/net "$directory/network"
cat > "$directory/bin/netavark" <<END
#!/bin/sh
exec nsenter --net="$directory/network" -- "$netavark" "\$@"
END
chmod 755 "$directory/bin/netavark"
# Limits: the usual ones are higher than a root without CAP_SYS_RESOURCE may set.
# Locks: the usual ones are in shared memory, for all Podmans of the host together.
cat > "$directory/containers.conf" <<END
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
[network]
network_backend = "netavark"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
helper_binaries_dir = ["$directory/bin"]
lock_type = "file"
END
export CONTAINERS_CONF="$directory/containers.conf" TMPDIR="$directory"
nsenter --net=/proc/$PPID/ns/net -- unshare --pid="$directory/processes" --fork --kill-child --mount-proc -- "$init" -- \
    podman --root "$directory/root" --runroot "$directory/run" --tmpdir "$directory/tmp" \
    --network-config-dir "$directory/networks" system service --time 0 "$socket" &
end() {
    trap '' TERM
    # Twice: a container is not removed before those that are in its network.
    for _ in 1 2; do podman --url "$socket" rm --all --force --time 0 || true; done
    nsenter --pid="$directory/processes" -- sh -c 'kill -TERM 1'
}
trap end TERM
# The signal ends the first wait, and not what is waited for.
wait $! || true
wait
# Podman's control groups, if nobody else is in them.
find /sys/fs/cgroup -depth -type d -path '*/libpod_parent*' -exec rmdir {} + 2> /dev/null || true
