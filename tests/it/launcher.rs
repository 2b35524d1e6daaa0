//! The sandbox: real programs that try to get out of it.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "the functions here are parts of tests"
)]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use journeyman_launcher::{Capabilities, Policy, ResourceLimits, hidden_by_default, probe};
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_journeyman");

fn policy(writable: &Path, namespaces: bool) -> Policy {
    Policy {
        namespaces,
        network: false,
        cwd: writable.into(),
        writable: vec![writable.into()],
        readable: Vec::new(),
        hidden: Vec::new(),
        temporary: None,
        limits: ResourceLimits::default(),
    }
}

fn launcher(options: &[&str], program: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.arg("sandbox-exec").args(options).arg("--").args(program);
    command.stdin(Stdio::null());
    command
}

fn sandboxed(policy: &Policy, script: &str) -> Command {
    let policy = serde_json::to_string(policy).unwrap();
    launcher(&["--policy", &policy], &["sh", "-c", script])
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What the machine permits; says so where a test cannot show anything on this one.
fn capabilities() -> Capabilities {
    let found = probe(Path::new(PROGRAM));
    if !found.namespaces() {
        eprintln!("namespaces are not permitted here: {found:?}");
    }
    found
}

/// A folder outside of `/tmp`, which the sandbox replaces.
pub(crate) fn outside() -> TempDir {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    if !target.starts_with("/tmp") && !target.starts_with("/var/tmp") {
        return TempDir::new_in(target).unwrap();
    }
    // The sources themselves lie where the sandbox puts a folder of its own.
    TempDir::new_in(std::env::var_os("HOME").unwrap()).unwrap()
}

/// The processes whose arguments contain `mark`.
fn alive(mark: &str) -> Vec<String> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.contains(mark)).collect()
}

fn assert_gone(mark: &str) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !alive(mark).is_empty() {
        assert!(Instant::now() < deadline, "still alive: {:?}", alive(mark));
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn only_the_workspace_and_a_private_tmp_can_be_written() {
    if !capabilities().namespaces() {
        return;
    }
    let (home, machine_tmp) = (outside(), TempDir::new().unwrap());
    let workspace = home.path().join("wörk späce");
    let in_tmp = machine_tmp.path().join("in tmp");
    for folder in [&workspace, &in_tmp, &home.path().join("secret")] {
        fs::create_dir_all(folder).unwrap();
    }
    fs::write(home.path().join("secret/key"), "s3cret").unwrap();
    fs::write(home.path().join("token"), "t0ken").unwrap();
    fs::write(machine_tmp.path().join("other"), "not for the sandbox").unwrap();
    let mut policy = policy(&workspace, true);
    policy.writable.push(in_tmp.clone());
    policy.hidden = ["secret", "token", "missing"].map(|name| home.path().join(name)).to_vec();
    let script = format!(
        "echo in > file; echo in > '{tmp}/file'; echo in > /tmp/file && cat /tmp/file
        touch '{home}/escaped' /etc/escaped; cat '{tmp}/../other' '{home}/token'
        ls -A '{home}/secret'; echo x > /proc/sys/kernel/hostname
        mount -o remount,rw / ; ls /dev/[hsv]d* /dev/mem
        cat /proc/1/environ > /dev/null && echo $$ > pid; ls -d /proc/[0-9]* | wc -l
        grep -E 'CapEff|CapBnd|NoNewPrivs' /proc/self/status",
        home = home.path().display(),
        tmp = in_tmp.display(),
    );
    let output = sandboxed(&policy, &script).output().unwrap();
    let shown = stdout(&output);
    let lines: Vec<_> = shown.lines().collect();
    let no_capability = "0000000000000000";
    assert_eq!(lines[0], "in");
    // The launcher, the shell, `ls` and `wc`.
    assert!((3..=4).contains(&lines[1].parse::<usize>().unwrap()), "{shown}");
    assert_eq!(
        lines[2..],
        [
            format!("CapEff:\t{no_capability}"),
            format!("CapBnd:\t{no_capability}"),
            "NoNewPrivs:\t1".to_owned(),
        ]
    );
    assert_eq!(fs::read_to_string(workspace.join("file")).unwrap(), "in\n");
    assert_eq!(fs::read_to_string(in_tmp.join("file")).unwrap(), "in\n");
    assert!(!home.path().join("escaped").exists());
    assert!(!Path::new("/etc/escaped").exists());
    let entered: i32 = fs::read_to_string(workspace.join("pid")).unwrap().trim().parse().unwrap();
    assert!(entered < 10, "the process numbers are the sandbox's own");
}

#[test]
fn a_private_folder_can_stand_for_tmp_and_parts_of_it_stay_visible() {
    if !capabilities().namespaces() {
        return;
    }
    let (workspace, tmp, machine_tmp) = (outside(), outside(), TempDir::new().unwrap());
    fs::write(machine_tmp.path().join("tool"), "tool").unwrap();
    let mut policy = policy(workspace.path(), true);
    policy.temporary = Some(tmp.path().into());
    policy.readable = vec![machine_tmp.path().join("tool"), PathBuf::from("/tmp/not there")];
    let tool = machine_tmp.path().join("tool");
    let script = format!("echo x > /tmp/kept; cat '{0}'; echo y > '{0}'", tool.display());
    let output = sandboxed(&policy, &script).output().unwrap();
    assert_eq!(stdout(&output), "tool");
    assert_eq!(fs::read_to_string(&tool).unwrap(), "tool");
    assert_eq!(fs::read_to_string(tmp.path().join("kept")).unwrap(), "x\n");
    assert!(!Path::new("/tmp/kept").exists());
}

#[test]
fn without_the_network_there_is_a_loopback_of_its_own() {
    if !capabilities().namespaces() {
        return;
    }
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let workspace = outside();
    let script = format!(
        "(: < /dev/tcp/127.0.0.1/{port}) 2>/dev/null && echo reached
        read -r flags < /sys/class/net/lo/flags 2>/dev/null
        grep -c : /proc/net/dev; grep -q lo: /proc/net/dev && echo loopback"
    );
    let mut open = policy(workspace.path(), true);
    open.network = true;
    let run = |policy: &Policy| {
        let policy = serde_json::to_string(policy).unwrap();
        launcher(&["--policy", &policy], &["bash", "-c", &script]).output().unwrap()
    };
    assert_eq!(stdout(&run(&policy(workspace.path(), true))), "1\nloopback\n");
    assert!(stdout(&run(&open)).starts_with("reached\n"));
}

#[test]
fn the_exit_status_is_the_programs() {
    let workspace = outside();
    for namespaces in [capabilities().namespaces(), false] {
        let policy = policy(workspace.path(), namespaces);
        let code = |script: &str| {
            use std::os::unix::process::ExitStatusExt as _;
            let status = sandboxed(&policy, script).status().unwrap();
            status.code().unwrap_or_else(|| 128 + status.signal().unwrap())
        };
        assert_eq!(code("exit 7"), 7);
        assert_eq!(code("kill -SEGV $$"), 139);
        let json = serde_json::to_string(&policy).unwrap();
        let missing = launcher(&["--policy", &json], &["no-such-program"]).output().unwrap();
        assert_eq!(missing.status.code(), Some(127));
        let message = String::from_utf8_lossy(&missing.stderr);
        assert!(message.starts_with("sandbox-exec: cannot start no-such-program: "), "{message}");
    }
    let mut nowhere = policy(workspace.path(), capabilities().namespaces());
    nowhere.writable = vec![workspace.path().join("missing")];
    nowhere.cwd = workspace.path().join("missing");
    let output = sandboxed(&nowhere, "touch /tmp/started").output().unwrap();
    assert_eq!(output.status.code(), Some(125), "a sandbox that is not whole starts nothing");
}

#[test]
fn when_the_launcher_is_killed_everything_in_the_sandbox_dies() {
    if !capabilities().namespaces() {
        return;
    }
    let workspace = outside();
    // A grandchild in a session of its own, whose parent has ended: no group would find it.
    let script = "(setsid sh -c 'sleep 86399.1 & sleep 86399.1' &) ; echo up; sleep 86399.1";
    let mut command = sandboxed(&policy(workspace.path(), true), script);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "up\n");
    assert!(!alive("86399.1").is_empty());
    child.kill().unwrap();
    child.wait().unwrap();
    assert_gone("86399.1");
}

#[test]
fn when_the_program_ends_what_it_left_behind_dies() {
    if !capabilities().namespaces() {
        return;
    }
    let workspace = outside();
    let script = "setsid sleep 86399.2 < /dev/null > /dev/null 2>&1 & exit 3";
    let status = sandboxed(&policy(workspace.path(), true), script).status().unwrap();
    assert_eq!(status.code(), Some(3));
    assert_gone("86399.2");
}

#[test]
fn when_the_parent_is_killed_the_program_dies() {
    let (workspace, found) = (outside(), capabilities());
    let sandbox = |namespaces| {
        let policy = serde_json::to_string(&policy(workspace.path(), namespaces)).unwrap();
        vec!["--policy".to_owned(), policy]
    };
    let mapped = ["--map-user", "70", "--die-with-parent", "INT"].map(str::to_owned).to_vec();
    let plain = ["--die-with-parent", "KILL"].map(str::to_owned).to_vec();
    let ways = [
        (found.namespaces(), sandbox(true), "86399.3"),
        (true, sandbox(false), "86399.4"),
        (found.user_namespace, mapped, "86399.5"),
        (true, plain, "86399.6"),
    ];
    for (_, options, mark) in ways.into_iter().filter(|(permitted, ..)| *permitted) {
        let script = format!("\"$0\" sandbox-exec \"$@\" -- sleep {mark} & echo; wait");
        let mut parent = Command::new("bash");
        // An interactive shell's children do not ignore SIGINT.
        parent.args(["-c", &format!("set -m; {script}"), PROGRAM]).args(options);
        let mut parent = parent.stdout(Stdio::null()).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while !alive(mark).iter().any(|line| line.starts_with("sleep")) {
            assert!(Instant::now() < deadline, "it never started: {mark}");
            std::thread::sleep(Duration::from_millis(5));
        }
        parent.kill().unwrap();
        parent.wait().unwrap();
        assert_gone(mark);
    }
}

#[test]
fn a_workspace_within_a_hidden_folder_is_still_there() {
    if !capabilities().namespaces() {
        return;
    }
    let data = outside();
    for folder in ["runs/1/tree", "runs/1/git", "runs/2/tree"] {
        fs::create_dir_all(data.path().join(folder)).unwrap();
    }
    let tree = data.path().join("runs/1/tree");
    let mut policy = policy(&tree, true);
    policy.readable = vec![data.path().join("runs/1/git")];
    policy.hidden = vec![data.path().into()];
    let script = "touch file ../other ../git/other; cd ../..; echo *; echo 1/*; touch 1/x; pwd";
    let output = sandboxed(&policy, script).output().unwrap();
    let runs = data.path().join("runs");
    assert_eq!(stdout(&output), format!("1\n1/git 1/tree\n{}\n", runs.display()));
    assert!(tree.join("file").exists());
    assert_eq!(fs::read_dir(data.path().join("runs/1/git")).unwrap().count(), 0);
}

#[test]
fn a_parent_that_is_gone_already_is_noticed() {
    let output = launcher(&["--die-with-parent", "KILL", "--parent", "1"], &["echo"]).output();
    let output = output.unwrap();
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(125), ""));
}

#[test]
fn a_signal_reaches_the_program() {
    let workspace = outside();
    for namespaces in [capabilities().namespaces(), false] {
        let script = "trap 'echo stopping; exit 5' TERM; echo up; while :; do sleep 0.02; done";
        let mut command = sandboxed(&policy(workspace.path(), namespaces), script);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "up");
        let pid = child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        assert_eq!(lines.next().unwrap().unwrap(), "stopping");
        assert_eq!(child.wait().unwrap().code(), Some(5));
    }
}

#[test]
fn without_namespaces_landlock_confines_writes() {
    if capabilities().landlock_abi == 0 {
        eprintln!("this kernel has no Landlock");
        return;
    }
    let (workspace, tmp, elsewhere) = (outside(), outside(), outside());
    fs::write(elsewhere.path().join("file"), "whole").unwrap();
    let mut policy = policy(workspace.path(), false);
    policy.temporary = Some(tmp.path().into());
    let script = format!(
        "echo x > in; echo x > \"$TMPDIR/in\"; true > '{0}/file'; rm '{0}/file'; touch '{0}/new'
        ls -A '{0}'; echo quiet > /dev/null && echo done",
        elsewhere.path().display()
    );
    let output = sandboxed(&policy, &script).output().unwrap();
    assert_eq!(stdout(&output), "file\ndone\n");
    assert_eq!(fs::read_to_string(elsewhere.path().join("file")).unwrap(), "whole");
    assert!(workspace.path().join("in").exists() && tmp.path().join("in").exists());
}

#[test]
fn limits_hold_in_the_sandbox() {
    let workspace = outside();
    for namespaces in [capabilities().namespaces(), false] {
        let mut policy = policy(workspace.path(), namespaces);
        policy.limits.file_bytes = Some(4096);
        policy.limits.open_files = Some(64);
        let script = "ulimit -n; ulimit -c; head -c 100000 /dev/zero > big; wc -c < big";
        let output = sandboxed(&policy, script).output().unwrap();
        assert_eq!(stdout(&output), "64\n0\n4096\n");
    }
}

#[test]
fn a_user_can_appear_as_another_one() {
    if !capabilities().user_namespace {
        return;
    }
    let output = launcher(&["--map-user", "70"], &["sh", "-c", "id -u; id -g"]).output().unwrap();
    assert_eq!(stdout(&output), "70\n70\n");
}

#[test]
fn a_socket_in_a_hidden_folder_cannot_be_reached() {
    assert!(hidden_by_default(Path::new("/home/me")).contains(&PathBuf::from("/run/user")));
    if !capabilities().namespaces() {
        return;
    }
    let (workspace, runtime) = (outside(), outside());
    let socket = runtime.path().join("bus");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let script = format!(
        "test -S '{0}' && echo there; ls -A '{1}'",
        socket.display(),
        runtime.path().display()
    );
    let mut policy = policy(workspace.path(), true);
    assert_eq!(stdout(&sandboxed(&policy, &script).output().unwrap()), "there\nbus\n");
    policy.hidden = vec![runtime.path().into()];
    assert_eq!(stdout(&sandboxed(&policy, &script).output().unwrap()), "");
    // Or the socket alone, where more than sockets is beside it.
    policy.hidden = vec![socket];
    assert_eq!(stdout(&sandboxed(&policy, &script).output().unwrap()), "bus\n");
}
