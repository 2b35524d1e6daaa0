//! Rebuilds when a migration changes: they are compiled into the crate.

fn main() {
    println!("cargo::rustc-env=CARGO_BIN_EXE_journeyman=/none");
    println!("cargo::rerun-if-changed=../../migrations");
}
