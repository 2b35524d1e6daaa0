//! The launcher's own command line. Written by hand: it is private to this program, and each
//! start of a child pays for it.

use std::ffi::{OsStr, OsString};
use std::str::FromStr;

use rustix::process::{Pid, Signal};

use crate::error::LaunchError;
use crate::policy::Policy;

/// What one call of the launcher shall do.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) mode: Mode,
    /// Sent to the program when the parent ends.
    pub(crate) die_with_parent: Option<Signal>,
    /// Who the parent must be, so that a parent that ended too early is noticed.
    pub(crate) parent: Option<Pid>,
    /// The program and its arguments.
    pub(crate) argv: Vec<OsString>,
}

/// The kinds of a call.
#[derive(Debug)]
pub(crate) enum Mode {
    /// Starts the program in place.
    Plain,
    /// Starts the program in place, in a user namespace where this user has that number.
    MapUser(u32),
    /// The sandbox.
    Policy(Box<Policy>),
    /// The sandbox's process 1, started by the first stage.
    Init(Box<Policy>),
    /// Tries one capability.
    Probe(OsString),
}

/// Reads the arguments after `sandbox-exec`.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Call, LaunchError> {
    let mut arguments = arguments.into_iter();
    let mut call =
        Call { mode: Mode::Plain, die_with_parent: None, parent: None, argv: Vec::new() };
    let mut init = false;
    while let Some(option) = arguments.next() {
        match option.to_str().unwrap_or_default() {
            "--" => break,
            "--init" => init = true,
            "--map-user" => call.mode = Mode::MapUser(number(&option, arguments.next())?),
            "--die-with-parent" => call.die_with_parent = Some(signal(arguments.next())?),
            "--parent" => call.parent = Pid::from_raw(number(&option, arguments.next())?),
            "--probe" => call.mode = Mode::Probe(value(&option, arguments.next())?),
            "--policy" => {
                let json = value(&option, arguments.next())?;
                let policy = serde_json::from_slice(json.as_encoded_bytes());
                call.mode = Mode::Policy(policy.map_err(LaunchError::Policy)?);
            }
            other => return Err(LaunchError::Usage(format!("unknown option '{other}'"))),
        }
    }
    call.argv = arguments.collect();
    if init {
        let Mode::Policy(policy) = call.mode else {
            return Err(LaunchError::Usage("--init needs --policy".into()));
        };
        call.mode = Mode::Init(policy);
    }
    if call.argv.is_empty() && !matches!(call.mode, Mode::Probe(_)) {
        return Err(LaunchError::Usage("no program is given after '--'".into()));
    }
    Ok(call)
}

fn value(option: &OsStr, value: Option<OsString>) -> Result<OsString, LaunchError> {
    value.ok_or_else(|| LaunchError::Usage(format!("{} needs a value", option.display())))
}

fn number<T: FromStr>(option: &OsStr, given: Option<OsString>) -> Result<T, LaunchError> {
    let given = value(option, given)?;
    given.to_str().and_then(|text| text.parse().ok()).ok_or_else(|| {
        LaunchError::Usage(format!(
            "{} takes a number, not '{}'",
            option.display(),
            given.display()
        ))
    })
}

fn signal(given: Option<OsString>) -> Result<Signal, LaunchError> {
    let given = value(OsStr::new("--die-with-parent"), given)?;
    match given.to_str().map(|name| name.strip_prefix("SIG").unwrap_or(name)) {
        Some("KILL") => Ok(Signal::KILL),
        Some("TERM") => Ok(Signal::TERM),
        Some("INT") => Ok(Signal::INT),
        Some("QUIT") => Ok(Signal::QUIT),
        Some("HUP") => Ok(Signal::HUP),
        _ => Err(LaunchError::Usage(format!("no such signal: '{}'", given.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str]) -> Result<Call, LaunchError> {
        parse(arguments.iter().map(OsString::from))
    }

    #[test]
    fn options_of_the_program_are_left_alone() {
        let call = parsed(&["--map-user", "70", "--", "postgres", "--policy", "--", "x"]).unwrap();
        assert!(matches!(call.mode, Mode::MapUser(70)));
        assert_eq!(call.argv, ["postgres", "--policy", "--", "x"]);
    }

    #[test]
    fn a_wrong_call_says_what_is_wrong() {
        for (arguments, message) in [
            (&["--map-user", "root", "--", "x"][..], "--map-user takes a number, not 'root'"),
            (&["--die-with-parent", "STOP", "--", "x"], "no such signal: 'STOP'"),
            (&["--polici", "{}", "--", "x"], "unknown option '--polici'"),
            (&["--init", "--", "x"], "--init needs --policy"),
            (&["--map-user", "1"], "no program is given after '--'"),
            (&["--policy", "{}", "--", "x"], "the policy cannot be read"),
        ] {
            assert_eq!(parsed(arguments).unwrap_err().to_string(), message);
        }
    }
}
