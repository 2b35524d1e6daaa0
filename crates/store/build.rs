//! Rebuilds when a migration changes: they are compiled into the crate.

fn main() {
    println!("cargo::rerun-if-changed=../../migrations");
}
