//! A test that waits for ever fails by its name: what it has started, and waits for, is killed.

use std::io::Write as _;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use crate::processes::{command_of, kill, marked};

/// How long a test has to fail after that.
const TO_FAIL: Duration = Duration::from_mins(1);

/// Held for as long as a test may take.
#[derive(Debug)]
pub struct Watch {
    _held: Sender<()>,
}

/// After `limit`, kills whatever has `mark` in its environment; where that does not end the test either, this process
/// ends, and says which test it was.
pub fn watch(mark: impl Into<String>, limit: Duration) -> Watch {
    let (held, over) = channel();
    let (mark, test) = (mark.into(), thread::current().name().unwrap_or_default().to_owned());
    thread::spawn(move || {
        if is_over(&over, limit) {
            return;
        }
        let is_its_own =
            |variable: &[u8]| variable.windows(mark.len()).any(|part| part == mark.as_bytes());
        for pid in marked(is_its_own) {
            say(&format!("{test} takes too long: killing {pid}, {}", command_of(pid)));
            kill(pid);
        }
        if !is_over(&over, TO_FAIL) {
            say(&format!("{test} takes too long, and nothing of what it started is alive"));
            std::process::exit(101);
        }
    });
    Watch { _held: held }
}

/// Nothing is ever sent: the test drops its end.
fn is_over(over: &Receiver<()>, limit: Duration) -> bool {
    over.recv_timeout(limit) != Err(RecvTimeoutError::Timeout)
}

/// Past the capture of a test's output, which is lost where this process ends.
fn say(what: &str) {
    // Without a reader there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "{what}");
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::Command;

    use super::*;

    #[test]
    fn what_a_test_waits_for_too_long_is_killed() {
        let mark = format!("TEST_OF={}", std::process::id());
        let start = |mark: &str| {
            let (name, value) = mark.split_once('=').unwrap();
            Command::new("sleep").arg("600").env(name, value).spawn().unwrap()
        };
        let mut other = start("TEST_OF=another");
        let mut child = start(&mark);
        let _watch = watch(mark, Duration::from_millis(50));
        assert_eq!(child.wait().unwrap().signal(), Some(9));
        assert_eq!(other.try_wait().unwrap(), None);
        other.kill().unwrap();
        other.wait().unwrap();
    }
}
