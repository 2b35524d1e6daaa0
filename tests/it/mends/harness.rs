//! Executes a driver's calls in a temporary folder and keeps a copy of it after each, so that a
//! restore is exact.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use journeyman_domain::check::{Check, CheckKind};
use journeyman_domain::driver::{Action, Assignment, Observation};
use journeyman_domain::limits::Limits;
use journeyman_domain::status::DriverKind;
use journeyman_domain::tool::{Ended, FileEdit, Tool, ToolCall, ToolResult};
use journeyman_drivers::build;

pub(crate) type Tree = BTreeMap<String, Vec<u8>>;

/// What a run left behind.
pub(crate) struct Outcome {
    pub(crate) action: Action,
    pub(crate) before: Tree,
    pub(crate) after: Tree,
    pub(crate) assignment: Assignment,
    pub(crate) calls: Vec<ToolCall>,
    pub(crate) observations: Vec<Observation>,
}

impl Outcome {
    pub(crate) fn text(&self, path: &str) -> &str {
        std::str::from_utf8(&self.after[path]).unwrap()
    }

    pub(crate) fn finished(&self) -> &str {
        match &self.action {
            Action::Finished { summary } => summary,
            other @ (Action::Call(_)
            | Action::Reads { .. }
            | Action::Ask(_)
            | Action::Exhausted { .. }
            | Action::Stuck { .. }) => {
                panic!("not finished: {other:?}\n{:#?}", self.titles())
            }
        }
    }

    pub(crate) fn stuck(&self) -> &str {
        match &self.action {
            Action::Stuck { reason } => reason,
            other @ (Action::Call(_)
            | Action::Reads { .. }
            | Action::Ask(_)
            | Action::Exhausted { .. }
            | Action::Finished { .. }) => {
                panic!("not stuck: {other:?}\n{:#?}", self.titles())
            }
        }
    }

    pub(crate) fn titles(&self) -> Vec<&str> {
        self.calls.iter().map(|call| call.title.as_str()).collect()
    }

    /// Files that are not what they were; a lock file that a tool wrote is none of them.
    pub(crate) fn changed(&self) -> Vec<&str> {
        let paths = self.before.keys().chain(self.after.keys());
        let mut changed: Vec<&str> = paths
            .filter(|path| *path != "Cargo.lock" && self.before.get(*path) != self.after.get(*path))
            .map(String::as_str)
            .collect();
        changed.sort_unstable();
        changed.dedup();
        changed
    }
}

pub(crate) fn check(name: &str, kind: CheckKind) -> Check {
    let argv = name.split(' ').map(ToOwned::to_owned).collect();
    Check { name: name.to_owned(), kind, argv, network: false, timeout_ms: None }
}

/// Whether a tool is here; says so where it is not.
#[expect(clippy::print_stderr, reason = "what is left out shall be read")]
pub(crate) fn has(program: &str, arguments: &[&str]) -> bool {
    let found = Command::new(program)
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !found {
        eprintln!("skipped: {program} {} does not work here", arguments.join(" "));
    }
    found
}

pub(crate) fn mend(files: &[(&str, &str)], checks: Vec<Check>) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    mend_folder(folder.path(), checks)
}

/// Runs the mechanic to its end in a folder.
pub(crate) fn mend_folder(folder: &Path, checks: Vec<Check>) -> Outcome {
    let before = tree(folder);
    let assignment = Assignment {
        prompt: "mend it".into(),
        checks,
        files: before.keys().cloned().collect(),
        workspace: folder.to_str().unwrap().to_owned(),
        ..Assignment::default()
    };
    let mut driver = build(DriverKind::Mechanic, assignment.clone(), &Limits::default());
    let mut snapshots = BTreeMap::from([(None, before.clone())]);
    let mut now = before.clone();
    let (mut calls, mut observations) = (Vec::new(), Vec::new());
    let action = loop {
        let call = match driver.next() {
            Action::Call(call) => call,
            end @ (Action::Reads { .. }
            | Action::Ask(_)
            | Action::Exhausted { .. }
            | Action::Finished { .. }
            | Action::Stuck { .. }) => break end,
        };
        let (ended, output) = execute(folder, &call.tool, &snapshots);
        let after = tree(folder);
        let changed = after != now;
        now = after;
        snapshots.insert(Some(call.call_id.clone()), now.clone());
        let result = ToolResult {
            call_id: call.call_id.clone(),
            ended,
            head: String::new(),
            tail: None,
            output_bytes: output.len() as u64,
            duration_ms: 0,
            changed,
        };
        calls.push(call);
        assert!(calls.len() < 300, "no end: {calls:#?}");
        let observation = Observation::CallEnded { result, output };
        observations.push(observation.clone());
        driver.observe(observation);
    };
    Outcome { action, before, after: now, assignment, calls, observations }
}

fn execute(
    folder: &Path,
    tool: &Tool,
    snapshots: &BTreeMap<Option<String>, Tree>,
) -> (Ended, String) {
    let refused = |reason: String| (Ended::Refused { reason }, String::new());
    match tool {
        Tool::Exec(exec) => {
            let mut command = Command::new(&exec.argv[0]);
            command
                .args(&exec.argv[1..])
                .envs(&exec.env)
                .current_dir(folder)
                .env_remove("CARGO_TARGET_DIR");
            match command.output() {
                Ok(output) => {
                    let text = [output.stdout, output.stderr].concat();
                    (
                        Ended::Exited { code: output.status.code().unwrap() },
                        String::from_utf8_lossy(&text).into_owned(),
                    )
                }
                Err(error) => refused(error.to_string()),
            }
        }
        Tool::Read { path } => match fs::read_to_string(folder.join(path)) {
            Ok(text) => (Ended::Exited { code: 0 }, text),
            Err(error) => refused(error.to_string()),
        },
        other @ (Tool::View { .. }
        | Tool::Replace { .. }
        | Tool::Write { .. }
        | Tool::Patch { .. }) => panic!("no call of the mechanic: {other:?}"),
        Tool::Edit { edits } => {
            edit(folder, edits);
            (Ended::Exited { code: 0 }, String::new())
        }
        Tool::Restore { after_call } => {
            let wanted = &snapshots[after_call];
            for (path, content) in tree(folder) {
                if wanted.get(&path) != Some(&content) {
                    fs::remove_file(folder.join(path)).unwrap();
                }
            }
            for (path, content) in wanted {
                if !folder.join(path).exists() {
                    fs::write(folder.join(path), content).unwrap();
                }
            }
            (Ended::Exited { code: 0 }, String::new())
        }
    }
}

/// As the runtime promises: what is replaced is checked, edits of one file do not overlap.
fn edit(folder: &Path, edits: &[FileEdit]) {
    let mut files = BTreeMap::<&str, Vec<&FileEdit>>::new();
    for edit in edits {
        files.entry(&edit.path).or_default().push(edit);
    }
    for (path, mut edits) in files {
        edits.sort_by_key(|edit| edit.start);
        assert!(
            edits
                .windows(2)
                .all(|pair| pair[0].end <= pair[1].start && pair[0].start < pair[1].start),
            "{edits:?}"
        );
        let mut text = fs::read_to_string(folder.join(path)).unwrap();
        for edit in edits.into_iter().rev() {
            assert_eq!(Some(&text[edit.start..edit.end]), edit.expected.as_deref());
            text.replace_range(edit.start..edit.end, &edit.replacement);
        }
        fs::write(folder.join(path), text).unwrap();
    }
}

pub(crate) fn tree(folder: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() {
                if name != "target" && name != "node_modules" && !name.starts_with('.') {
                    folders.push(path);
                }
            } else {
                let relative = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                tree.insert(relative, fs::read(&path).unwrap());
            }
        }
    }
    tree
}
