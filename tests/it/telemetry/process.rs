//! Telemetry of a whole process, whose collector is dead.

use std::process::Command;
use std::time::Instant;

use journeyman_telemetry::export::Otlp;
use journeyman_telemetry::setup::{SHUTDOWN_LIMIT, SetupError};
use journeyman_telemetry::{LogFormat, Settings, TraceContext, init, panic};

const ROLE: &str = "TELEMETRY_TEST_ROLE";
/// The test below, which is also its own child.
const NAME: &str = "telemetry::process::a_process_speaks_in_lines_only_and_ends_in_time";

#[test]
fn a_process_speaks_in_lines_only_and_ends_in_time() {
    if std::env::var_os(ROLE).is_some() {
        return child();
    }
    // Bound and closed again: nobody listens there.
    let dead = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
    for protocol in ["http/protobuf", "grpc"] {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", NAME, "--nocapture"])
            .env(ROLE, "child")
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{dead}"))
            .env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
            .env_remove("RUST_BACKTRACE")
            .output()
            .unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{stderr}{}", String::from_utf8_lossy(&output.stdout));
        let lines: Vec<serde_json::Value> =
            stderr.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
        assert_eq!(lines.len(), 2, "{stderr}");
        assert_eq!(lines[0]["message"], "work");
        assert_eq!(lines[1]["target"], "journeyman::panic");
        assert_eq!(lines[1]["panic.name"], "worker");
        assert_eq!(lines[1]["panic.message"], "a bug");
        assert_eq!(lines[1]["trace_id"], lines[0]["trace_id"]);
        assert_eq!(lines[0]["trace_id"].as_str().unwrap().len(), 32);
    }
}

fn child() {
    let settings = Settings {
        log_filter: "info".into(),
        log_format: LogFormat::Json,
        otlp: Otlp::from_env(),
        service_version: "1".into(),
        resource: Vec::new(),
    };
    assert!(settings.otlp.traces.is_some());
    let guard = init(&settings).unwrap();
    assert!(matches!(init(&settings), Err(SetupError::AlreadySet(_))));
    let span = tracing::info_span!("execute_task");
    let trace = span.in_scope(|| {
        tracing::info!("work");
        tracing::info!(target: "hyper::client", "chatter");
        TraceContext::current()
    });
    let worker = std::thread::Builder::new().name("worker".into());
    let worker = worker.spawn(move || span.in_scope(|| panic!("a bug"))).unwrap();
    assert!(worker.join().is_err());
    assert_eq!(panic::take_last("worker").unwrap().trace, trace);
    let start = Instant::now();
    assert!(!guard.shutdown(), "nobody was there");
    // The limit holds; the margin is for a machine that is busy.
    assert!(start.elapsed() < SHUTDOWN_LIMIT * 5, "{:?}", start.elapsed());
}
