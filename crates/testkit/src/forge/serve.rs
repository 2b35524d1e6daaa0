//! From a request to its answer.

use std::io::{BufReader, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::PoisonError;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Asked, Fault, Pull, Shared};
use crate::model::http::{self, Request};

/// How long an answer is held at the most.
const LONGEST: Duration = Duration::from_mins(2);

/// Serves one connection until either side ends it.
pub(super) fn connection(stream: &TcpStream, shared: &Shared) -> std::io::Result<()> {
    let mut requests = BufReader::new(stream);
    while let Some(request) = http::read_request(&mut requests, stream)? {
        let asked = Asked { method: request.method.clone(), path: request.path.clone() };
        let fault = {
            let mut state = shared.state();
            state.asked.push(asked);
            let opens = request.method == "POST";
            opens.then(|| state.faults.pop_front()).flatten()
        };
        shared.changed.notify_all();
        match fault {
            None => answer(stream, judged(&request, shared))?,
            Some(Fault::DropBeforeWork) => return stream.shutdown(Shutdown::Both),
            Some(Fault::Status(status)) => answer(stream, refusal(status))?,
            Some(Fault::HoldBeforeWork) => {
                hold(shared);
                return stream.shutdown(Shutdown::Both);
            }
            Some(after_work) => {
                let done = judged(&request, shared);
                match after_work {
                    Fault::StatusAfterWork(status) => answer(stream, refusal(status))?,
                    Fault::AlreadyExists => answer(stream, already_exists(&request))?,
                    Fault::SlowAfterWork(pause) => {
                        std::thread::sleep(pause);
                        answer(stream, done)?;
                    }
                    Fault::HoldAfterWork => {
                        hold(shared);
                        return stream.shutdown(Shutdown::Both);
                    }
                    Fault::DropAfterWork
                    | Fault::DropBeforeWork
                    | Fault::Status(_)
                    | Fault::HoldBeforeWork => return stream.shutdown(Shutdown::Both),
                }
            }
        }
    }
    Ok(())
}

fn hold(shared: &Shared) {
    let held = |state: &mut super::State| !state.is_released;
    let waited = shared.changed.wait_timeout_while(shared.state(), LONGEST, held);
    drop(waited.unwrap_or_else(PoisonError::into_inner));
}

type Answer = (u16, Value);

fn answer(mut stream: &TcpStream, (status, body): Answer) -> std::io::Result<()> {
    let body = body.to_string();
    let head = format!(
        "HTTP/1.1 {status} Status\r\ncontent-type: application/json; charset=utf-8\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body.as_bytes()].concat())
}

fn refusal(status: u16) -> Answer {
    let message = match status {
        401 => "Bad credentials",
        403 => "Resource not accessible by personal access token",
        404 => "Not Found",
        _ => "Server Error",
    };
    (status, json!({ "message": message, "documentation_url": "https://docs.github.com/rest" }))
}

fn invalid(error: &Value) -> Answer {
    (422, json!({ "message": "Validation Failed", "errors": [error] }))
}

fn already_exists(request: &Request) -> Answer {
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let message = format!(
        "A pull request already exists for acme:{}.",
        body["head"].as_str().unwrap_or_default()
    );
    invalid(&json!({ "resource": "PullRequest", "code": "custom", "message": message }))
}

pub(super) fn html_url(shared: &Shared, number: usize) -> String {
    format!("http://{}/acme/notes/pull/{number}", shared.address)
}

fn document(shared: &Shared, pull: &Pull) -> Value {
    json!({
        "number": pull.number, "html_url": html_url(shared, pull.number), "state": pull.state,
        "title": pull.title, "body": pull.body, "head": { "ref": pull.head }, "base": { "ref": pull.base },
    })
}

/// What the real one would answer.
fn judged(request: &Request, shared: &Shared) -> Answer {
    let authorization = request.headers.get("authorization").map(String::as_str);
    if authorization != Some(&format!("Bearer {}", shared.token)) {
        return refusal(401);
    }
    let wrong = |what: &str| shared.state().violations.push(what.to_owned());
    if !request.headers.contains_key("user-agent") {
        wrong("no user agent");
    }
    if request.headers.get("x-github-api-version").map(String::as_str) != Some("2022-11-28") {
        wrong("no version of the API");
    }
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let ["repos", owner, name, "pulls"] = parts.as_slice() else {
        wrong("a path that is none of ours");
        return refusal(404);
    };
    let repository = format!("{owner}/{name}");
    match request.method.as_str() {
        "GET" => list(shared, owner, &repository, query),
        "POST" => open(shared, &repository, &request.body),
        _ => refusal(404),
    }
}

fn list(shared: &Shared, owner: &str, repository: &str, query: &str) -> Answer {
    let value = |name: &str| {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.into_iter().find(|(key, _)| *key == name).map(|(_, value)| decoded(value))
    };
    let head = value("head");
    let all = value("state").as_deref() == Some("all");
    let state = shared.state();
    let fits = |pull: &&Pull| {
        let branch = head.as_deref().and_then(|head| head.strip_prefix(&format!("{owner}:")));
        pull.repository == repository
            && (all || pull.state == "open")
            && branch.is_none_or(|branch| branch == pull.head)
    };
    let found: Vec<Value> =
        state.pulls.iter().rev().filter(fits).map(|pull| document(shared, pull)).collect();
    (200, Value::from(found))
}

fn open(shared: &Shared, repository: &str, body: &[u8]) -> Answer {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    for name in ["title", "head", "base"] {
        if text(name).is_empty() {
            return invalid(
                &json!({ "resource": "PullRequest", "code": "missing_field", "field": name }),
            );
        }
    }
    let mut state = shared.state();
    // The real one refuses a second open one; this one would open it, so that a sender that trusts in that shows.
    let pull = Pull {
        number: state.pulls.len() + 1,
        repository: repository.to_owned(),
        head: text("head"),
        base: text("base"),
        title: text("title"),
        body: text("body"),
        state: "open",
    };
    state.pulls.push(pull.clone());
    drop(state);
    (201, document(shared, &pull))
}

/// A value of a query without its percent signs.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let digits = |rest: &mut std::str::Bytes<'_>| {
            let pair = [rest.next()?, rest.next()?];
            u8::from_str_radix(std::str::from_utf8(&pair).ok()?, 16).ok()
        };
        bytes.push(match byte {
            b'%' => digits(&mut rest).unwrap_or(b'%'),
            b'+' => b' ',
            other => other,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
