//! The launcher alone: `cargo run -p journeyman-launcher --example sandbox-exec -- --map-user 1 -- id`.

/// Takes `sandbox-exec` as its first argument or leaves it out.
fn main() {
    let arguments = std::env::args_os().skip(1);
    std::process::exit(journeyman_launcher::main(
        arguments.skip_while(|argument| argument == journeyman_launcher::COMMAND),
    ));
}
