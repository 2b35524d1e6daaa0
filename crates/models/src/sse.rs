//! Server-sent events out of bytes that arrive in any pieces.
//!
//! Owns: where a line and an event end (CR, LF or both; UTF-8 split across pieces; comments;
//! several `data` lines), as the HTML standard, section 9.2, says. Must never read what an event
//! says, and never hold more than [`MOST_BYTES`] of one.

/// Bytes that one event may have.
pub(crate) const MOST_BYTES: usize = 16 * 1024 * 1024;

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Event {
    /// What stands after `event:`; empty where nothing does.
    pub(crate) name: String,
    /// The lines after `data:`, joined.
    pub(crate) data: String,
}

/// An event with more than [`MOST_BYTES`] bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

/// Takes bytes, gives events.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    line: Vec<u8>,
    event: Event,
    has_data: bool,
    /// The last piece ended with CR; a LF at the start of the next one belongs to it.
    after_return: bool,
    started: bool,
}

impl Parser {
    /// The events that these bytes complete.
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) -> Result<Vec<Event>, TooLong> {
        let mut events = Vec::new();
        if self.after_return && bytes.first() == Some(&b'\n') {
            bytes = &bytes[1..];
        }
        if !bytes.is_empty() {
            self.after_return = false;
        }
        while let Some(end) = bytes.iter().position(|byte| matches!(byte, b'\r' | b'\n')) {
            self.hold(&bytes[..end])?;
            let returned = bytes[end] == b'\r';
            bytes = &bytes[end + 1..];
            if returned {
                match bytes.first() {
                    Some(b'\n') => bytes = &bytes[1..],
                    Some(_) => {}
                    None => self.after_return = true,
                }
            }
            events.extend(self.end_line());
        }
        self.hold(bytes)?;
        Ok(events)
    }

    /// The event that the end of the stream cut off, as far as it came. Some servers forget the
    /// blank line after the last one.
    pub(crate) fn finish(mut self) -> Option<Event> {
        if !self.line.is_empty()
            && let Some(event) = self.end_line()
        {
            return Some(event);
        }
        self.has_data.then_some(self.event)
    }

    fn hold(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        if self.line.len() + self.event.data.len() + bytes.len() > MOST_BYTES {
            return Err(TooLong);
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn end_line(&mut self) -> Option<Event> {
        let line = String::from_utf8_lossy(&self.line).into_owned();
        self.line.clear();
        let first = !std::mem::replace(&mut self.started, true);
        let line = if first { line.trim_start_matches('\u{feff}') } else { line.as_str() };
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            return std::mem::take(&mut self.has_data).then_some(event);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
            }
            "event" => value.clone_into(&mut self.event.name),
            // A comment (empty), an identifier, a wait before reconnecting, or unknown.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn event(name: &str, data: &str) -> Event {
        Event { name: name.into(), data: data.into() }
    }

    fn all(pieces: &[&[u8]]) -> Vec<Event> {
        let mut parser = Parser::default();
        let mut events = Vec::new();
        for piece in pieces {
            events.extend(parser.feed(piece).unwrap());
        }
        events.extend(parser.finish());
        events
    }

    #[test]
    fn all_line_endings_comments_and_several_lines_are_understood() {
        let text = "\u{feff}: hello\n\nevent: ping\ndata: {}\r\n\r\ndata:a\rdata: b\r\rid: 7\n\
                    retry: 5\ndata\n\nevent: lonely\n\ndata: end";
        let expected = [event("ping", "{}"), event("", "a\nb"), event("", ""), event("", "end")];
        assert_eq!(all(&[text.as_bytes()]), expected);
        let bytes: Vec<_> = text.as_bytes().chunks(1).collect();
        assert_eq!(all(&bytes), expected);
        let two_lines: [&[u8]; 2] = [b"data: a\r", b"\ndata: b\r\n\r\n"];
        assert_eq!(all(&two_lines), [event("", "a\nb")]);
    }

    #[test]
    fn an_event_without_end_is_refused() {
        let mut parser = Parser::default();
        let piece = vec![b'a'; MOST_BYTES / 2];
        assert_eq!(parser.feed(b"data: ").unwrap(), []);
        assert_eq!(parser.feed(&piece).unwrap(), []);
        assert_eq!(parser.feed(&piece), Err(TooLong));
        let mut lines = Parser::default();
        let line = [b"data: ".as_slice(), &piece, b"\n"].concat();
        assert_eq!(lines.feed(&line).unwrap(), []);
        assert_eq!(lines.feed(&line), Err(TooLong));
    }

    proptest! {
        #[test]
        fn where_the_bytes_are_split_does_not_matter(
            lines in prop::collection::vec("(data: ?|event: |: )?[a-zäß€😀:]{0,6}(\r\n|\n|\r){1,2}", 0..8),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let text = lines.concat();
            let bytes = text.as_bytes();
            let mut at: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            at.extend([0, bytes.len()]);
            at.sort_unstable();
            let pieces: Vec<_> = at.windows(2).map(|two| &bytes[two[0]..two[1]]).collect();
            prop_assert_eq!(all(&pieces), all(&[bytes]));
        }
    }
}
