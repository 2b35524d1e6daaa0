//! A model that costs nothing: it reads a request without looking into it and answers at once with one
//! call of `read`, a line further each time, as chat completions stream it. After so many it is done.
//! What is measured beside it is the loop alone.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;

/// Its address. It lives as long as the process.
pub(crate) fn start(turns: usize) -> Result<String> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let address = format!("http://{}/v1", listener.local_addr()?);
    let asked = Arc::new(AtomicUsize::new(0));
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let asked = Arc::clone(&asked);
            // It ends with its connection.
            std::thread::spawn(move || drop(serve(stream, &asked, turns)));
        }
    });
    Ok(address)
}

fn serve(stream: TcpStream, asked: &AtomicUsize, turns: usize) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if line.trim().is_empty() {
                break;
            }
            let lower = line.to_ascii_lowercase();
            if let Some(value) = lower.strip_prefix("content-length:") {
                length = value.trim().parse()?;
            }
        }
        std::io::copy(&mut reader.by_ref().take(length), &mut std::io::sink())?;
        let events = events(asked.fetch_add(1, Ordering::Relaxed), turns);
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {}\r\n\r\n{events}",
            events.len()
        );
        writer.write_all(answer.as_bytes())?;
    }
}

fn events(turn: usize, turns: usize) -> String {
    let (delta, reason) = if turn < turns {
        let arguments = format!(
            "{{\\\"path\\\":\\\"Cargo.toml\\\",\\\"offset\\\":{},\\\"limit\\\":1}}",
            turn + 1
        );
        let call = format!(
            "{{\"tool_calls\":[{{\"index\":0,\"id\":\"c{turn}\",\"type\":\"function\",\
             \"function\":{{\"name\":\"read\",\"arguments\":\"{arguments}\"}}}}]}}"
        );
        (call, "tool_calls")
    } else {
        ("{\"content\":\"Read.\"}".to_owned(), "stop")
    };
    let chunk = |delta: &str, reason: &str| {
        format!(
            "data: {{\"id\":\"a{turn}\",\"object\":\"chat.completion.chunk\",\"model\":\"m\",\
             \"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":{reason}}}]}}\n\n"
        )
    };
    let usage = "data: {\"id\":\"a\",\"object\":\"chat.completion.chunk\",\"model\":\"m\",\"choices\":[],\
                 \"usage\":{\"prompt_tokens\":100,\"completion_tokens\":10,\"total_tokens\":110}}\n\n";
    format!(
        "{}{}{usage}data: [DONE]\n\n",
        chunk(&delta, "null"),
        chunk("{}", &format!("\"{reason}\""))
    )
}
