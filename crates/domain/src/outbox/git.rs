//! What git says when it does not reach a remote, or is refused by it.

use super::{Acted, Fault};

/// What git says where it is not let in: no helper knew a password, a key or a token is not taken.
const NOT_LET_IN: [&str; 12] = [
    "authentication failed",
    "could not read username",
    "could not read password",
    "permission denied",
    "permission to ",
    "invalid username or",
    "password authentication is not supported",
    "returned error: 401",
    "returned error: 403",
    "host key verification failed",
    "access denied",
    "http basic: access denied",
];
/// What it says where there is nothing to come to, or the remote has a rule against it.
const NEVER: [&str; 9] = [
    "repository not found",
    "does not appear to be a git repository",
    "returned error: 404",
    "returned error: 410",
    "does not match any",
    "not a git repository",
    "hook declined",
    "protected branch",
    "repository rule violations",
];
/// What it says where a branch of that name is there.
const IS_THERE: [&str; 6] = [
    "(stale info)",
    "reference already exists",
    "[rejected]",
    "cannot lock ref",
    "failed to update ref",
    "fetch first",
];
/// What it says where another branch is the folder that this one would lie in, or lies in the folder of its name.
const IN_THE_WAY: [&str; 2] = ["exists; cannot create", "directory file conflict"];
/// Letters of a reason.
const MOST: usize = 300;

/// What a refused push means. Where nothing else is said it may have arrived.
pub fn push_refused(target: &str, said: &str) -> Result<Acted, Fault> {
    if let Some(line) = said.lines().find(|line| IN_THE_WAY.iter().any(|mark| line.contains(mark)))
    {
        return Err(Fault::lasting(format!(
            "{target} does not take the branch, since another one is in the way of its name: {}",
            short(line.trim())
        )));
    }
    let lower = said.to_lowercase();
    let has = |marks: &[&str]| marks.iter().any(|mark| lower.contains(mark));
    if !has(&NOT_LET_IN) && !has(&NEVER) && has(&IS_THERE) {
        return Ok(Acted::IsThere { reason: telling(said) });
    }
    Err(unreachable(target, said))
}

/// Why git did not come to a remote.
pub fn unreachable(target: &str, said: &str) -> Fault {
    let lower = said.to_lowercase();
    let has = |marks: &[&str]| marks.iter().any(|mark| lower.contains(mark));
    let telling = telling(said);
    if has(&NOT_LET_IN) {
        return Fault::lasting(format!(
            "git is not let in by {target}: give its credentials helper a token or ssh a key that may push \
             there ({telling})"
        ));
    }
    if has(&NEVER) {
        return Fault::lasting(format!("{target} does not take the branch: {telling}"));
    }
    Fault::passing(format!("{target} was not reached: {telling}"))
}

/// The line that says most.
fn telling(said: &str) -> String {
    let lines = || said.lines().map(str::trim).filter(|line| !line.is_empty());
    let marks = ["! [", "fatal:", "error:", "remote: error", "remote:"];
    let marked = marks.iter().find_map(|mark| lines().find(|line| line.starts_with(mark)));
    let line = marked.or_else(|| lines().next()).unwrap_or("git did not say why");
    short(line)
}

fn short(line: &str) -> String {
    line.chars().take(MOST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const REJECTED: &str = "To github.com:acme/notes.git\n ! [rejected]        1234 -> x (stale info)\n\
        error: failed to push some refs to 'github.com:acme/notes.git'";

    #[test]
    fn a_branch_that_is_there_is_a_reason_to_look() {
        let said = " ! [remote rejected] 1234 -> x (cannot lock ref 'refs/heads/x': reference already exists)";
        for said in [REJECTED, said] {
            assert!(
                matches!(push_refused("acme/notes", said), Ok(Acted::IsThere { .. })),
                "{said}"
            );
        }
    }

    #[test]
    fn what_lasts_is_told_from_what_passes() {
        let fault = |said: &str| push_refused("acme/notes", said).unwrap_err();
        for said in [
            "fatal: could not read Username for 'https://github.com': terminal prompts disabled",
            "remote: Permission to acme/notes.git denied to me.\nfatal: unable to access: The requested URL returned error: 403",
            "git@github.com: Permission denied (publickey).\nfatal: Could not read from remote repository.",
            " ! [remote rejected] 1234 -> x (pre-receive hook declined)",
            "ERROR: Repository not found.\nfatal: Could not read from remote repository.",
            "error: src refspec 1234 does not match any",
        ] {
            assert!(matches!(fault(said), Fault::Lasting { .. }), "{said}");
        }
        for said in [
            "fatal: unable to access 'https://github.com/acme/notes/': Could not resolve host: github.com",
            "fatal: unable to access 'https://h/': The requested URL returned error: 503",
            "kex_exchange_identification: Connection closed by remote host\nfatal: Could not read from remote repository.",
            "send-pack: unexpected disconnect while reading sideband packet\nfatal: the remote end hung up unexpectedly",
            "",
        ] {
            assert!(matches!(fault(said), Fault::Passing { .. }), "{said}");
        }
    }

    #[test]
    fn a_reason_is_the_line_that_says_most() {
        let reason = fault_of(REJECTED.replace("stale info", "pre-receive hook declined").as_str());
        let line = "! [rejected]        1234 -> x (pre-receive hook declined)";
        assert_eq!(reason, format!("acme/notes does not take the branch: {line}"));
    }

    fn fault_of(said: &str) -> String {
        unreachable("acme/notes", said).to_string()
    }
}
