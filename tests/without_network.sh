#!/bin/sh
# Runs a command where no network is: in a network namespace of its own that has nothing but a loopback which is
# down. Where the system allows none it says so and runs the command as it is.
#
#     sh tests/without_network.sh .venv/bin/pytest tests/arc
#
# The user stays who he is where that is possible, because some tests ask whether a folder can be written.
for unshare in 'unshare --net' 'unshare --map-current-user --net' 'unshare --map-root-user --net'; do
    # shellcheck disable=SC2086
    if $unshare true 2>/dev/null; then
        exec $unshare "$@"
    fi
done
echo 'tests: no namespace without network can be made here (unshare --net), so the network stays within reach' >&2
exec "$@"
