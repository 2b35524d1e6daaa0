#!/bin/sh
# Prints what a start of the embedded cluster costs: cold (a new data folder) beside a bare `initdb` and start of the
# server with the same programs and settings, and warm (the cluster is there, the server is not).
# Medians of 5, in turns, so that both sides see the same machine.
set -eu
cd "$(dirname "$0")/.."
program="$PWD/target/release/journeyman"
runs=5
bin="${JOURNEYMAN__DATABASE__BIN_DIR:-}"
for found in "$(pg_config --bindir 2>/dev/null)" /usr/lib/postgresql/*/bin "$(dirname "$(command -v postgres || echo /)")"; do
    if [ -x "$found/initdb" ] && [ -x "$found/postgres" ]; then bin="${bin:-$found}"; fi
done
export JOURNEYMAN__DATABASE__BIN_DIR="$bin"
# The server refuses root: there the bare side takes the same way around it as the cluster.
as=""
[ "$(id -u)" != 0 ] || as="$program sandbox-exec --map-user 1000 --"
scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT

now_us() { echo $(($(date +%s%N) / 1000)); }
median() { sort -n "$1" | sed -n "$(((runs + 1) / 2))p"; }

bare() {
    data="$scratch/bare"
    rm -rf "$data"
    start=$(now_us)
    # shellcheck disable=SC2086 # words on purpose
    $as "$bin/initdb" -U journeyman --auth=trust -E UTF8 --locale=C.UTF-8 --no-instructions -k -D "$data" >/dev/null
    # shellcheck disable=SC2086
    $as "$bin/postgres" -D "$data" -k "$scratch" -c listen_addresses= -c shared_buffers=32MB -c jit=off 2>/dev/null &
    until grep -q '^ready' "$data/postmaster.pid" 2>/dev/null; do sleep 0.005; done
    echo $(($(now_us) - start)) >>"$scratch/bare.us"
    kill -INT $!
    wait $! || true
}

# A user of the cluster that leaves as soon as the database answered; then waits until the server has stopped.
ours() {
    start=$(now_us)
    "$program" cluster-keeper hold "$scratch/data" </dev/null >/dev/null
    echo $(($(now_us) - start)) >>"$scratch/$1.us"
    while [ -e "$(echo "$scratch"/data/postgres-*/data/postmaster.pid)" ]; do sleep 0.01; done
}

for _ in $(seq $runs); do
    bare
    rm -rf "$scratch/data"
    ours cold
    ours warm
done
bare=$(median "$scratch/bare.us")
cold=$(median "$scratch/cold.us")
warm=$(median "$scratch/warm.us")
awk -v bare="$bare" -v cold="$cold" -v warm="$warm" -v runs=$runs 'BEGIN {
    printf "embedded cluster, medians of %d\n", runs
    printf "  bare initdb and start  %7.0f ms\n", bare / 1000
    printf "  cold start             %7.0f ms   %.2f times the bare one (at most 1.30)\n", cold / 1000, cold / bare
    printf "  warm start             %7.0f ms   (below 500)\n", warm / 1000
}'
