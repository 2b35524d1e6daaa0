//! From a request to its answer.
//!
//! Owns: the order of judging, misbehaving and replying. Must never: word a wire's answer itself.

use std::io::BufReader;
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::SystemTime;

use journeyman_domain::model::{TokenUsage, Wire};
use serde_json::{Value, json};

use super::dialect::{self, Answer, Rendered, reply_bytes};
use super::http::{self, End, Request, Response};
use super::ledger::Entered;
use super::misbehaviour::ErrorBody;
use super::refusal::{self, Refusal};
use super::reply::{Pace, Reply, UsageSaid};
use super::{Misbehaviour, ProviderError, Seen, Shared};

/// What is done with a request.
enum Action {
    /// An answer, with the items of the turn if it is one.
    Send(Box<Response>, Option<(Arc<Seen>, Vec<Value>)>),
    HangHeaders,
    Reset,
}

/// Serves one connection until either side ends it.
pub(super) fn connection(stream: &TcpStream, shared: &Shared) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut requests = BufReader::new(stream);
    while let Some(request) = http::read_request(&mut requests, stream)? {
        let close = request.headers.get("connection").is_some_and(|value| value == "close");
        match action(request, shared) {
            Action::HangHeaders => return hang(stream, shared, ""),
            Action::Reset => return http::reset_on_close(stream),
            Action::Send(response, turn) => {
                send(stream, shared, &response, turn)?;
                match response.end {
                    End::Complete | End::Early if !close => {}
                    End::Complete | End::Early | End::Cut => {
                        return stream.shutdown(Shutdown::Both);
                    }
                    End::Hang => return hang(stream, shared, ""),
                    End::Comments => return hang(stream, shared, ": ping\n\n"),
                }
            }
        }
    }
    Ok(())
}

/// Leaves the caller alone with a comment now and then, where there is one.
fn hang(stream: &TcpStream, shared: &Shared, comment: &str) -> std::io::Result<()> {
    let is_over = || {
        let mut stream = stream;
        let chunk = format!("{:x}\r\n{comment}\r\n", comment.len());
        // A caller who has hung up is noticed by the reading.
        if !comment.is_empty() {
            let _ = std::io::Write::write_all(&mut stream, chunk.as_bytes());
        }
        shared.is_stopping()
    };
    if http::hang(stream, is_over)? {
        shared.ledger().hung_up += 1;
        shared.changed.notify_all();
    }
    Ok(())
}

/// The answer is in the book before its last byte is sent: who has read it finds it there.
fn send(
    stream: &TcpStream,
    shared: &Shared,
    response: &Response,
    turn: Option<(Arc<Seen>, Vec<Value>)>,
) -> std::io::Result<()> {
    let Some((seen, items)) = turn else { return response.send(stream, || {}) };
    let mut noted = false;
    let sent = response.send(stream, || {
        shared.ledger().answer(&seen, items);
        noted = true;
    });
    if sent.is_err() && noted {
        shared.ledger().take_back(&seen);
    }
    sent
}

fn plain(code: u16, body: &Value) -> Response {
    Response {
        code,
        content_type: "application/json",
        headers: Vec::new(),
        chunks: vec![body.to_string().into_bytes()],
        is_stream: false,
        pace: Pace::default(),
        end: End::Complete,
    }
}

fn simple(response: Response) -> Action {
    Action::Send(Box::new(response), None)
}

fn refused(refusal: Refusal) -> Action {
    simple(Response { headers: refusal.headers, ..plain(refusal.code, &refusal.body) })
}

fn action(request: Request, shared: &Shared) -> Action {
    let path = request.path.split('?').next().unwrap_or_default();
    let wire = match (request.method.as_str(), path) {
        ("GET", "/v1/models") => return simple(plain(200, &models(&shared.script.models))),
        ("POST", "/v1/chat/completions") => Wire::OpenAiChat,
        ("POST", "/v1/responses") => Wire::OpenAiResponses,
        ("POST", "/v1/messages") => Wire::AnthropicMessages,
        (method, path) => {
            let message = format!("Invalid URL ({method} {path})");
            shared.ledger().violations.push(message.clone());
            return refused(Refusal { code: 404, ..refusal::invalid(Wire::OpenAiChat, &message) });
        }
    };
    let Ok(body) = serde_json::from_slice::<Value>(&request.body) else {
        let message = "We could not parse the JSON body of your request.";
        shared.ledger().violations.push(message.to_owned());
        return refused(refusal::invalid(wire, message));
    };
    let seen = Seen {
        at: SystemTime::now(),
        wire,
        path: request.path,
        headers: request.headers,
        body,
        conversation: String::new(),
        turn: 0,
        last: Vec::new(),
    };
    let entered = shared.ledger().enter(seen, &shared.script, dialect::of(wire));
    shared.changed.notify_all();
    judged(&entered, shared)
}

fn models(names: &[String]) -> Value {
    let names = if names.is_empty() { &["scripted".to_owned()][..] } else { names };
    let model = |id: &String| {
        json!({
            "id": id, "object": "model", "created": super::chat::CREATED, "owned_by": "scripted",
        })
    };
    json!({ "object": "list", "data": names.iter().map(model).collect::<Vec<_>>() })
}

fn judged(entered: &Entered, shared: &Shared) -> Action {
    let seen = &entered.seen;
    let refuse = |error: ProviderError| {
        refused(error.on(seen.wire, seen.model(), seen.key().unwrap_or_default()))
    };
    if shared.script.key.as_deref().is_some_and(|key| seen.key() != Some(key)) {
        return refuse(ProviderError::Unauthorized);
    }
    if !shared.script.knows(seen.model()) {
        return refuse(ProviderError::UnknownModel);
    }
    if let Some(fault) = entered.faults.first() {
        return refused(refusal::invalid(seen.wire, fault));
    }
    match shared.script.misbehaviour(seen) {
        None => reply(entered, &shared.script.reply(seen), None),
        Some(Misbehaviour::Refuse(error)) => refuse(error),
        Some(misbehaviour) => misbehave(entered, shared, misbehaviour),
    }
}

fn misbehave(entered: &Entered, shared: &Shared, misbehaviour: Misbehaviour) -> Action {
    let seen = &entered.seen;
    let real = || shared.script.reply(seen);
    let broken = |after, end, extra| reply(entered, &real(), Some(Broken { after, end, extra }));
    match misbehaviour {
        Misbehaviour::Refuse(error) => refused(error.on(seen.wire, seen.model(), "")),
        Misbehaviour::Status { code, body, headers } => simple(status(code, body, headers)),
        Misbehaviour::CutStream { after_events } => broken(after_events, End::Cut, None),
        Misbehaviour::EndStream { after_events } => broken(after_events, End::Early, None),
        Misbehaviour::HangStream { after_events } => broken(after_events, End::Hang, None),
        Misbehaviour::OnlyComments { after_events } => broken(after_events, End::Comments, None),
        Misbehaviour::ErrorAfter200 { after_events, error } => {
            let event = dialect::of(seen.wire).stream_error(error);
            broken(after_events, End::Early, Some(event))
        }
        Misbehaviour::Nonsense => {
            let event = "data: this is no JSON {\n\n".to_owned();
            broken(0, End::Early, Some(event))
        }
        Misbehaviour::HangHeaders => Action::HangHeaders,
        Misbehaviour::Html200 => {
            let page = "<!DOCTYPE html><html><body>Sign in to the network</body></html>";
            let chunks = vec![page.as_bytes().to_vec()];
            simple(Response { content_type: "text/html", chunks, ..plain(200, &Value::Null) })
        }
        Misbehaviour::EmptyAnswer => reply(entered, &Reply::empty(), None),
        Misbehaviour::SplitUtf8 => reply(entered, &real().split_every(1), None),
        Misbehaviour::HugeArguments(bytes) => reply(entered, &huge(seen, bytes), None),
        Misbehaviour::Reset => Action::Reset,
    }
}

fn status(code: u16, body: ErrorBody, headers: Vec<(String, String)>) -> Response {
    match body {
        ErrorBody::Json(body) => Response { headers, ..plain(code, &body) },
        ErrorBody::Text(text) => Response {
            content_type: "text/plain",
            headers,
            chunks: vec![text.into_bytes()],
            ..plain(code, &Value::Null)
        },
    }
}

/// A call of the first tool that the request offers, with arguments of so many bytes.
fn huge(seen: &Seen, bytes: usize) -> Reply {
    const AROUND: usize = r#"{"text":""}"#.len();
    let names = seen.tool_names();
    let name = names.first().copied().unwrap_or("unknown");
    let arguments = json!({ "text": "x".repeat(bytes.saturating_sub(AROUND)) });
    Reply::call(name, &arguments).delta_bytes(64 * 1024)
}

/// A stream that does not come to its end.
struct Broken {
    after: usize,
    end: End,
    /// An event instead of the rest.
    extra: Option<String>,
}

fn usage(entered: &Entered, reply: &Reply) -> Option<TokenUsage> {
    let tokens = |bytes: usize| bytes.div_ceil(4) as u64;
    match reply.usage {
        UsageSaid::Nothing => None,
        UsageSaid::Given(usage) => Some(usage),
        UsageSaid::Computed => {
            let caches = match entered.seen.wire {
                Wire::AnthropicMessages => entered.has_cache_marks,
                Wire::OpenAiChat | Wire::OpenAiResponses => true,
            };
            let input = tokens(entered.bytes);
            let cache_read = if caches { entered.shared_bytes as u64 / 4 } else { 0 };
            // Only Anthropic bills what goes into the cache.
            let cache_write = if entered.has_cache_marks { input - cache_read } else { 0 };
            let (output, reasoning) = reply_bytes(reply);
            Some(TokenUsage {
                uncached_input: input - cache_read - cache_write,
                cache_read,
                cache_write,
                output: tokens(output),
                reasoning: tokens(reasoning),
            })
        }
    }
}

fn reply(entered: &Entered, reply: &Reply, broken: Option<Broken>) -> Action {
    let seen = &entered.seen;
    let json = seen.wants_json().then(|| reply.under_schema());
    let reply = json.as_ref().unwrap_or(reply);
    let usage = usage(entered, reply);
    let answer = Answer { reply, seen, tag: &entered.tag, usage };
    let Rendered { mut events, closing, whole, items } = dialect::of(seen.wire).render(answer);
    let (end, extra) = match broken {
        None => (End::Complete, None),
        Some(broken) => {
            events.truncate(broken.after.min(events.len() - closing));
            (broken.end, broken.extra)
        }
    };
    let is_stream = seen.wants_stream() || extra.is_some();
    let turn = (end == End::Complete).then(|| (Arc::clone(seen), items));
    let response = if is_stream {
        Response {
            content_type: "text/event-stream; charset=utf-8",
            headers: reply.headers.clone(),
            chunks: events.into_iter().chain(extra).map(String::into_bytes).collect(),
            is_stream,
            pace: reply.pace,
            end,
            ..plain(200, &Value::Null)
        }
    } else {
        // Without a stream, an answer that breaks off is one whose half is missing.
        let end = if end == End::Early { End::Cut } else { end };
        Response { headers: reply.headers.clone(), pace: reply.pace, end, ..plain(200, &whole) }
    };
    Action::Send(Box::new(response), turn)
}
