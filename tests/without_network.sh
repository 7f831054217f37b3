#!/bin/sh
# Runs a command where no network is: in a network namespace of its own that has nothing but a loopback, on which some
# tests serve and fetch. Where the system allows none it says so and runs the command as it is.
#
#     sh tests/without_network.sh .venv/bin/pytest tests/arc
#
# The user stays who he is, without further rights, because some tests ask whether a folder can be written.
# 0x8914 is SIOCSIFFLAGS, 0x41 an interface that is up and runs.
up='import fcntl, socket, struct; fcntl.ioctl(socket.socket(), 0x8914, struct.pack("16sH14x", b"lo", 0x41))'
inside='python3 -c "$0" || exit 1; '
if [ "$(id -u)" = 0 ]; then
    unshare='unshare --net'
else
    unshare='unshare --map-current-user --keep-caps --net'
    inside="$inside"'set -- setpriv --inh-caps=-all --ambient-caps=-all -- "$@"; '
fi
# shellcheck disable=SC2086
if $unshare sh -c "$inside"'exec "$@"' "$up" true 2>/dev/null; then
    exec $unshare sh -c "$inside"'exec "$@"' "$up" "$@"
fi
echo 'tests: no namespace without network can be made here (unshare --net), so the network stays within reach' >&2
exec "$@"
