//! What a test has armed in this process, by a call or by the environment.
//!
//! `JOURNEYMAN_FAILPOINT` is `point:half:nth=action`, several separated by commas, as `queue.claim:after:1=kill`;
//! `JOURNEYMAN_FAILPOINT_LOG` names a file to which each half that is reached adds a line; `JOURNEYMAN_WITHOUT` names
//! mechanisms that are out, separated by commas.

#![cfg_attr(
    not(debug_assertions),
    expect(dead_code, reason = "nothing looks at it in a release build")
)]

use std::collections::HashMap;
use std::fs::File;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};

use crate::{Mechanism, Point};

/// Which half of a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Half {
    /// Nothing of the work has begun.
    Before,
    /// All of the work is done.
    After,
}

impl Half {
    /// Its word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::After => "after",
        }
    }
}

/// What happens where an armed half is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The process is killed, as by `kill -9`.
    Kill,
    /// The process is stopped, as by `kill -STOP`, and goes on where somebody wakes it.
    Stop,
    /// From now on no point of this process lets anything pass, and [`Arm::cut`] is told.
    Cut,
}

/// One armed half.
pub struct Arm {
    /// The point's name.
    pub point: String,
    /// Its half.
    pub half: Half,
    /// At which time that it is reached, from 1.
    pub nth: u32,
    /// What happens there.
    pub action: Action,
    /// Called once when the life is cut.
    pub cut: Option<Box<dyn FnOnce() + Send>>,
}

#[derive(Default)]
struct Switchboard {
    armed: Vec<Arm>,
    counts: HashMap<(&'static str, Half), u32>,
    log: Option<File>,
}

/// How long a process has to be stopped by its own signal.
const TO_STOP: Duration = Duration::from_millis(100);

/// Whether anything is armed, counted or logged: all that a process without a test ever looks at.
static IS_WATCHED: AtomicBool = AtomicBool::new(false);
static IS_CUT: AtomicBool = AtomicBool::new(false);
static OUT: AtomicU32 = AtomicU32::new(0);
static BOARD: OnceLock<Mutex<Switchboard>> = OnceLock::new();

fn board() -> MutexGuard<'static, Switchboard> {
    BOARD.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads the environment once.
fn begin() {
    static BEGUN: OnceLock<()> = OnceLock::new();
    BEGUN.get_or_init(|| {
        let text = |name| std::env::var(name).unwrap_or_default();
        for name in text("JOURNEYMAN_WITHOUT").split(',') {
            if let Some(mechanism) = Mechanism::ALL.iter().find(|known| known.name() == name) {
                take_out(*mechanism, true);
            }
        }
        let armed: Vec<Arm> = text("JOURNEYMAN_FAILPOINT").split(',').filter_map(parse).collect();
        let log = std::env::var_os("JOURNEYMAN_FAILPOINT_LOG")
            .and_then(|path| File::options().create(true).append(true).open(path).ok());
        if !armed.is_empty() || log.is_some() {
            let mut board = board();
            board.armed.extend(armed);
            board.log = log;
            IS_WATCHED.store(true, Ordering::Release);
        }
    });
}

fn parse(text: &str) -> Option<Arm> {
    let (place, action) = text.split_once('=')?;
    let mut parts = place.split(':');
    let point = parts.next()?.to_owned();
    let half = match parts.next()? {
        "before" => Half::Before,
        "after" => Half::After,
        _ => return None,
    };
    let nth = parts.next()?.parse().ok()?;
    let action = match action {
        "kill" => Action::Kill,
        "stop" => Action::Stop,
        _ => return None,
    };
    Some(Arm { point, half, nth, action, cut: None })
}

pub(crate) fn is_watched() -> bool {
    begin();
    IS_WATCHED.load(Ordering::Acquire)
}

/// Arms halves; what was armed and counted before is forgotten. A cut that was made is over.
pub fn arm(armed: Vec<Arm>) {
    let mut board = board();
    board.armed = armed;
    board.counts.clear();
    IS_CUT.store(false, Ordering::Release);
    IS_WATCHED.store(true, Ordering::Release);
}

/// Nothing is armed, counted or cut any more.
pub fn disarm() {
    let mut board = board();
    board.armed.clear();
    board.counts.clear();
    IS_CUT.store(false, Ordering::Release);
    IS_WATCHED.store(board.log.is_some(), Ordering::Release);
}

/// Cuts this life here and now.
pub fn cut() {
    IS_WATCHED.store(true, Ordering::Release);
    IS_CUT.store(true, Ordering::Release);
}

/// How often each half was reached since it was armed last.
pub fn hits() -> Vec<(&'static str, Half, u32)> {
    board().counts.iter().map(|((name, half), count)| (*name, *half, *count)).collect()
}

pub(crate) async fn hit(point: Point, half: Half) {
    if IS_CUT.load(Ordering::Acquire) {
        return std::future::pending().await;
    }
    let (action, cut) = {
        let mut board = board();
        let count = board.counts.entry((point.name, half)).or_default();
        *count += 1;
        let nth = *count;
        if let Some(log) = &mut board.log {
            // One write, so that lines of several processes stay whole.
            let _ = log.write_all(format!("{} {}\n", point.name, half.word()).as_bytes());
        }
        let here = board
            .armed
            .iter()
            .position(|arm| arm.point == point.name && arm.half == half && arm.nth == nth);
        let Some(here) = here else { return };
        let arm = board.armed.remove(here);
        if arm.action == Action::Cut {
            // Under the lock: nobody passes between this and what is told.
            IS_CUT.store(true, Ordering::Release);
        }
        (arm.action, arm.cut)
    };
    match action {
        Action::Kill => {
            let _ = kill_process(getpid(), Signal::KILL);
            std::future::pending::<()>().await;
        }
        Action::Stop => {
            let _ = kill_process(getpid(), Signal::STOP);
            // Another thread may be the one that takes the signal: this one must not go on before it has.
            std::thread::sleep(TO_STOP);
        }
        Action::Cut => {
            if let Some(cut) = cut {
                cut();
            }
            std::future::pending::<()>().await;
        }
    }
}

/// Takes a mechanism out of this process, or puts it back.
pub fn take_out(mechanism: Mechanism, is_out: bool) {
    let bit = 1 << mechanism as u32;
    if is_out {
        OUT.fetch_or(bit, Ordering::AcqRel);
    } else {
        OUT.fetch_and(!bit, Ordering::AcqRel);
    }
}

pub(crate) fn is_out(mechanism: Mechanism) -> bool {
    begin();
    OUT.load(Ordering::Acquire) & (1 << mechanism as u32) != 0
}
