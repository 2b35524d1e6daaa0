//! Following a task: a live line on a terminal, plain lines otherwise, JSON lines on request.
//!
//! Progress goes to standard error, so that standard output holds the result alone.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use journeyman_web::types::Event;

use crate::client::Client;
use crate::failure::Failure;

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// A line that changes, with a clock.
    Terminal,
    /// One line an event.
    Lines,
    /// One JSON object an event, on standard output.
    Json,
    /// Nothing.
    Silent,
}

impl View {
    /// What fits this process.
    pub fn choose(json: bool) -> Self {
        if json {
            Self::Json
        } else if std::io::stderr().is_terminal() {
            Self::Terminal
        } else {
            Self::Lines
        }
    }
}

/// Follows a task's events until its state is one to stop at; answers that state.
///
/// A stream that breaks is taken up again after the last event that arrived.
pub async fn follow(client: &Client, task: &str, view: View) -> Result<String, Failure> {
    let mut screen = Screen::new(view);
    let mut after = 0;
    let mut broken = 0;
    loop {
        let body = client.stream(&format!("/api/v1/tasks/{task}/events?after={after}")).await;
        let mut body = match body {
            Ok(body) => body,
            Err(failure) if broken < 5 && failure.code == "internal" => {
                broken += 1;
                tokio::time::sleep(Duration::from_millis(500)).await;
                continue;
            }
            Err(failure) => return Err(failure),
        };
        let mut parser = Parser::default();
        let mut clock = tokio::time::interval(Duration::from_millis(200));
        loop {
            let piece = tokio::select! {
                piece = body.next() => piece,
                _ = clock.tick() => {
                    screen.draw();
                    continue;
                }
            };
            let Some(Ok(piece)) = piece else { break };
            for event in parser.push(&piece) {
                broken = 0;
                after = after.max(event.seq);
                screen.show(&event);
                if event.kind == "end" {
                    return Ok(event.detail["status"].as_str().unwrap_or_default().to_owned());
                }
            }
        }
        broken += 1;
        if broken > 5 {
            return Err(Failure::broken("the stream of events broke off"));
        }
    }
}

/// Takes server-sent events apart; a piece may end anywhere.
#[derive(Default)]
struct Parser {
    buffer: Vec<u8>,
}

impl Parser {
    fn push(&mut self, piece: &[u8]) -> Vec<Event> {
        self.buffer.extend_from_slice(piece);
        let mut events = Vec::new();
        while let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\n\n") {
            let block: Vec<u8> = self.buffer.drain(..end + 2).collect();
            let text = String::from_utf8_lossy(&block);
            let data: String = text
                .lines()
                .filter_map(|line| line.strip_prefix("data:"))
                .map(str::trim_start)
                .collect();
            if let Ok(event) = serde_json::from_str(&data) {
                events.push(event);
            }
        }
        events
    }
}

struct Screen {
    view: View,
    began: Instant,
    now: String,
    drawn: bool,
}

impl Screen {
    fn new(view: View) -> Self {
        Self { view, began: Instant::now(), now: String::new(), drawn: false }
    }

    fn show(&mut self, event: &Event) {
        match self.view {
            View::Silent => {}
            View::Json => print_line(&serde_json::to_string(event).unwrap_or_default()),
            View::Lines | View::Terminal => {
                if event.kind == "now" {
                    self.now.clone_from(&event.text);
                } else if !event.text.is_empty() {
                    self.clear();
                    let mut out = anstream::stderr().lock();
                    // A closed standard error is no reason to stop the work.
                    let _ = writeln!(out, "{}  {}", self.clock(), event.text);
                    self.now.clear();
                }
                self.draw();
            }
        }
    }

    fn draw(&mut self) {
        if self.view != View::Terminal || self.now.is_empty() {
            return;
        }
        let width = 100;
        let line: String =
            format!("{}  … {}", self.clock(), self.now).chars().take(width).collect();
        let mut out = anstream::stderr().lock();
        let _ = write!(out, "\r\x1b[2K\x1b[2m{line}\x1b[0m");
        let _ = out.flush();
        self.drawn = true;
    }

    fn clear(&mut self) {
        if self.drawn {
            let mut out = anstream::stderr().lock();
            let _ = write!(out, "\r\x1b[2K");
            self.drawn = false;
        }
    }

    fn clock(&self) -> String {
        let seconds = self.began.elapsed().as_secs();
        format!("{:>3}:{:02}", seconds / 60, seconds % 60)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Prints one line of a stream; a closed pipe ends the program quietly later.
fn print_line(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}");
    let _ = out.flush();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_arrive_whole_however_they_are_cut() {
        let event =
            r#"{"seq":3,"at":"2026-01-02T03:04:05Z","kind":"now","text":"ä","detail":null}"#;
        let wire = format!(": keep\n\nid: 3\ndata: {event}\n\n");
        for cut in 0..wire.len() {
            let mut parser = Parser::default();
            let mut events = parser.push(&wire.as_bytes()[..cut]);
            events.extend(parser.push(&wire.as_bytes()[cut..]));
            assert_eq!(events.len(), 1, "cut at {cut}");
            assert_eq!((events[0].seq, events[0].text.as_str()), (3, "ä"));
        }
    }
}
