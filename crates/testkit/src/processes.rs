//! Processes of this machine, known by what stands in their environment.

use rustix::process::{Pid, Signal, kill_process};

/// The numbers of all that are alive.
pub fn all() -> impl Iterator<Item = i32> {
    let numbers = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    numbers.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Those with a variable, `NAME=value`, that is looked for.
pub fn marked(is_looked_for: impl Fn(&[u8]) -> bool) -> impl Iterator<Item = i32> {
    all().filter(move |pid| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(&is_looked_for)
    })
}

/// The arguments of one, with spaces between them; none where it is gone.
pub fn command_of(pid: i32) -> String {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).replace('\0', " ")
}

/// SIGKILL; one that is gone needs none.
pub fn kill(pid: i32) {
    let _ = Pid::from_raw(pid).map(|pid| kill_process(pid, Signal::KILL));
}
