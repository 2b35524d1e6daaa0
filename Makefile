# What a person, and what the checks on every change, call. `make help` lists it.
.DEFAULT_GOAL := help
.PHONY: help setup build try test lint schema chaos soak bench bench-queue

# Server programs that `make setup` unpacked where no package manager could be used.
export PATH := $(CURDIR)/target/programs/postgres/bin:$(PATH)

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-11s  %s\n", $$1, $$2}'

setup: ## install what this machine lacks: a C compiler, PostgreSQL's server programs
	@sh scripts/setup.sh

build: ## build target/release/journeyman
	cargo build --release --locked -p journeyman

try: setup build ## run the main job on a small example, without a model or a key
	@sh scripts/try.sh

test: setup ## run all tests
	cargo test --workspace --locked

lint: ## formatting, lints, documentation, licences
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo check --release --workspace --locked
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked
	@if command -v cargo-deny >/dev/null; then cargo deny --offline check bans licenses sources; \
	else echo "cargo-deny is not installed: its checks are left out"; fi

schema: ## write the JSON schemas of configuration files anew, after their types have changed
	JOURNEYMAN_WRITE_SCHEMA=1 cargo test --quiet --locked -p journeyman --lib -- the_schema_in_the_repository

MINUTES ?= 60

chaos: setup ## kill the runtime everywhere for MINUTES=60; goes on where the last campaign ended, and adds up
	cargo build --quiet --locked --profile chaos -p journeyman -p journeyman-chaos
	@target/chaos/chaos run --program target/chaos/journeyman --folder target/chaos/campaign --results docs/campaign.json \
		--kind daemon --kind inside --trouble database --trouble wire --trouble agent --trouble sleep --trouble nodes \
		--trouble disk --minutes $(MINUTES)

soak: setup ## ten minutes of 200 runs at once with random kills: nothing grows, nothing is left
	cargo build --quiet --locked --profile chaos -p journeyman -p journeyman-chaos
	@target/chaos/chaos soak --program target/chaos/journeyman

bench: setup build ## print the figures of the benchmarks
	@sh benches/cluster_start.sh
	@cargo bench --quiet --locked --bench figures

bench-queue: setup ## compare the queue with ten others; builds them first, takes an hour
	cargo build --quiet --release --locked --manifest-path benches/queue/ours/Cargo.toml --target-dir target/queue-ours
	@python3 benches/queue/run.py --build --ours target/queue-ours/release/ours --ours-tasks 200000
