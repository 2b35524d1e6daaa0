"""A private PostgreSQL cluster in a temporary folder: made, started, asked and stopped here.

It owns the settings under which everything is measured: durable, and no checkpoint within a run but those asked for.
It must never touch a cluster that it did not make.
"""

import glob
import os
import pathlib
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

SETTINGS = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "shared_buffers": "256MB",
    "max_connections": "200",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "30min",
    "listen_addresses": "127.0.0.1",
}
START_LIMIT_S = 60
STOP_LIMIT_S = 60
COMMIT_RATE_S = 3


def programs():
    """The folder of the server's programs."""
    found = []
    config = shutil.which("pg_config")
    if config:
        found.append(subprocess.run([config, "--bindir"], capture_output=True, text=True, check=True).stdout.strip())
    by_version = glob.glob("/usr/lib/postgresql/*/bin")
    found += sorted(by_version, key=lambda path: [int(n) for n in re.findall(r"\d+", path)], reverse=True)
    initdb = shutil.which("initdb")
    if initdb:
        found.append(os.path.dirname(initdb))
    for folder in found:
        if os.access(f"{folder}/initdb", os.X_OK) and os.access(f"{folder}/postgres", os.X_OK):
            return pathlib.Path(folder)
    raise SystemExit("PostgreSQL's server programs are missing: install them, or put initdb on the PATH")


def unprivileged():
    """Whom the server runs as: the server refuses root, and needs a user whose name can be looked up."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise SystemExit("root needs a user `postgres` or `nobody` to run the server as")


def free_port():
    """A port of the loopback address that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


class Cluster:
    """The cluster, running between `with` and its end."""

    def __init__(self, parent=None):
        self.programs = programs()
        self.user = unprivileged()
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="queue-benchmark-", dir=parent))
        self.port = free_port()
        self.server = None

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if self.server and self.server.poll() is None:
            self.server.send_signal(signal.SIGINT)
            try:
                self.server.wait(STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                self.server.send_signal(signal.SIGQUIT)
                self.server.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self):
        """Makes the cluster and waits until it answers."""
        self.folder.chmod(0o755)
        if self.user:
            os.chown(self.folder, self.user.pw_uid, self.user.pw_gid)
        as_user = {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []} if self.user else {}
        data = self.folder / "data"
        subprocess.run(
            [self.programs / "initdb", "-U", "postgres", "--auth=trust", "-E", "UTF8", "--locale=C.UTF-8", "-D", data],
            check=True, stdout=subprocess.DEVNULL, cwd="/", **as_user,
        )
        options = [word for name, value in SETTINGS.items() for word in ("-c", f"{name}={value}")]
        with open(self.folder / "log", "w", encoding="utf-8") as log:
            self.server = subprocess.Popen(
                [self.programs / "postgres", "-D", data, "-k", self.folder, "-p", str(self.port), *options],
                stdout=log, stderr=log, cwd="/", start_new_session=True, **as_user,
            )
        limit = time.monotonic() + START_LIMIT_S
        while not self.answers():
            if self.server.poll() is not None or time.monotonic() > limit:
                raise SystemExit("PostgreSQL did not start:\n" + (self.folder / "log").read_text())
            time.sleep(0.05)

    def answers(self):
        """True when a connection is served."""
        return self.psql("SELECT 1", check=False).returncode == 0

    def psql(self, statement, database="postgres", check=True):
        """Runs one statement over the Unix socket."""
        return subprocess.run(
            [self.programs / "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-h", self.folder, "-p", str(self.port),
             "-U", "postgres", "-d", database, "-c", statement],
            capture_output=True, text=True, check=check,
        )

    def url(self, database):
        """How a runner reaches the database: over TCP, since not every peer's driver takes a socket."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def create(self, database):
        """An empty database, with the pages of what was there before written out."""
        self.psql(f'CREATE DATABASE "{database}"')
        self.psql("CHECKPOINT")

    def drop(self, database):
        """Drops it, whoever is still connected."""
        self.psql(f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)')

    def version(self):
        """The server's version."""
        return self.psql("SHOW server_version").stdout.strip()

    def commits_per_s(self):
        """Single-row commits a second of one connection: how fast the disk is now. None without pgbench."""
        if not os.access(self.programs / "pgbench", os.X_OK):
            return None
        self.psql("CREATE TABLE IF NOT EXISTS commit_rate (n bigint)")
        script = self.folder / "commit_rate.sql"
        script.write_text("INSERT INTO commit_rate VALUES (1);\n")
        said = subprocess.run(
            [self.programs / "pgbench", "-n", "-M", "prepared", "-c", "1", "-T", str(COMMIT_RATE_S), "-f", script,
             "-h", self.folder, "-p", str(self.port), "-U", "postgres", "postgres"],
            capture_output=True, text=True, check=True,
        ).stdout
        self.psql("TRUNCATE commit_rate")
        return float(re.search(r"tps = ([0-9.]+) \(without", said).group(1))
