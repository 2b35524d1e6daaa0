//! What a call does, from its arguments to the exit status.

use std::ffi::OsString;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use rustix::process::{Pid, Signal, WaitOptions, getpid, getppid, kill_process, wait};
use rustix::thread::UnshareFlags;
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;

use crate::arguments::{Call, Mode};
use crate::error::{LaunchError, Step as _};
use crate::namespaces::{self, Appear};
use crate::policy::Policy;
use crate::{filesystem, landlocked, privileges, probe};

/// Does what the call says; returns only when the program ran in a process of its own.
pub(crate) fn run(call: &Call) -> Result<i32, LaunchError> {
    match &call.mode {
        Mode::Plain => {
            bind_to_parent(call.die_with_parent, call.parent)?;
            Err(take_over(Command::new(&call.argv[0]), &call.argv))
        }
        Mode::MapUser(number) => {
            namespaces::enter(UnshareFlags::NEWUSER, Appear::User(*number))?;
            // After the change of credentials, which would undo it.
            bind_to_parent(call.die_with_parent, call.parent)?;
            Err(take_over(Command::new(&call.argv[0]), &call.argv))
        }
        Mode::Policy(policy) if policy.namespaces => outer(call, policy),
        Mode::Policy(policy) => Err(in_place(call, policy)),
        Mode::Init(policy) => init(call, policy),
        Mode::Probe(kind) => probe::try_one(kind),
    }
}

/// Replaces this process by the program; returns only why that failed.
fn take_over(mut command: Command, argv: &[OsString]) -> LaunchError {
    let source = command.args(&argv[1..]).exec();
    LaunchError::Program { program: (&argv[0]).into(), source }
}

/// Has the kernel send `signal` when the thread that started this process ends, and makes sure
/// that it has not ended yet.
fn bind_to_parent(signal: Option<Signal>, parent: Option<Pid>) -> Result<(), LaunchError> {
    let Some(signal) = signal else { return Ok(()) };
    rustix::process::set_parent_process_death_signal(Some(signal)).step("follow the parent")?;
    match parent {
        Some(parent) if getppid() != Some(parent) => Err(LaunchError::Orphaned),
        _ => Ok(()),
    }
}

/// A session of its own, so that no terminal's signals reach the sandbox.
fn own_session() {
    // It fails only for the leader of a process group, which a shell made us: then the group is
    // our own already.
    let _ = rustix::process::setsid();
}

/// The sandbox of a machine without namespaces. Returns only why it failed.
fn in_place(call: &Call, policy: &Policy) -> LaunchError {
    let prepare = || {
        own_session();
        bind_to_parent(call.die_with_parent.or(Some(Signal::KILL)), call.parent)?;
        enter_folder(policy)?;
        policy.limits.apply()?;
        rustix::thread::set_no_new_privs(true).step("forbid new privileges")?;
        landlocked::confine(policy)
    };
    match prepare() {
        Ok(()) => {
            let mut command = Command::new(&call.argv[0]);
            if let Some(folder) = &policy.temporary {
                command.env("TMPDIR", folder);
            }
            take_over(command, &call.argv)
        }
        Err(error) => error,
    }
}

/// The first stage: enters the namespaces and waits for the second, whose parent it is. When
/// this process is killed, the kernel kills the second, and with it all of the sandbox.
fn outer(call: &Call, policy: &Policy) -> Result<i32, LaunchError> {
    own_session();
    let mut flags =
        UnshareFlags::NEWUSER | UnshareFlags::NEWNS | UnshareFlags::NEWPID | UnshareFlags::NEWIPC;
    flags.set(UnshareFlags::NEWNET, !policy.network);
    namespaces::enter(flags, Appear::Unchanged)?;
    bind_to_parent(call.die_with_parent.or(Some(Signal::KILL)), call.parent)?;
    if !policy.network {
        namespaces::loopback_up()?;
    }
    namespaces::keep_capabilities()?;
    let policy = serde_json::to_string(policy).map_err(LaunchError::Policy)?;
    let mut second = Command::new("/proc/self/exe");
    // The name in lists of processes.
    second.arg0("journeyman");
    second.args([crate::COMMAND, "--policy", &policy, "--parent"]);
    second.arg(getpid().to_string()).args(["--init", "--"]).args(&call.argv);
    start_and_wait(second)
}

/// The second stage: process 1 of the sandbox.
fn init(call: &Call, policy: &Policy) -> Result<i32, LaunchError> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .step("follow the parent")?;
    // `getppid` tells nothing across a PID namespace, but the outer `/proc` is still there.
    if outer_parent() != call.parent {
        return Err(LaunchError::Orphaned);
    }
    own_session();
    filesystem::confine(policy)?;
    enter_folder(policy)?;
    policy.limits.apply()?;
    privileges::drop_all()?;
    let mut program = Command::new(&call.argv[0]);
    program.args(&call.argv[1..]);
    start_and_wait(program)
}

fn outer_parent() -> Option<Pid> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
    Pid::from_raw(line.trim().parse().ok()?)
}

fn enter_folder(policy: &Policy) -> Result<(), LaunchError> {
    std::env::set_current_dir(&policy.cwd).step(format!("enter {}", policy.cwd.display()))
}

/// Starts `command`, passes signals on to it, reaps everything, and returns its exit status.
fn start_and_wait(mut command: Command) -> Result<i32, LaunchError> {
    let forwarded = [SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2];
    let mut signals = Signals::new(forwarded).step("watch for signals")?;
    let child = command
        .spawn()
        .map_err(|source| LaunchError::Program { program: command.get_program().into(), source })?;
    let child = Pid::from_child(&child);
    loop {
        while let Some((pid, status)) = wait(WaitOptions::NOHANG).step("wait for the program")? {
            if pid == child {
                let signalled = status.terminating_signal().map(|number| 128 + number);
                return Ok(status.exit_status().or(signalled).unwrap_or_default());
            }
        }
        for number in signals.wait() {
            if number != SIGCHLD
                && let Some(signal) = Signal::from_named_raw(number)
            {
                // It may just have ended; the next turn sees that.
                let _ = kill_process(child, signal);
            }
        }
    }
}
