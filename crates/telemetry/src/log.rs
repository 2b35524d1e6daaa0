//! One event, one line on stderr.
//!
//! Owns: the form of a log line, as `docs/LOGGING.md` describes it. Must never: write a private
//! field or a secret, let a value break the line, or fail when nobody reads.

use std::fmt::{self, Write as _};
use std::io::Write as _;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::{LookupSpan, Scope};

use crate::{TraceContext, redact};

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// For eyes; coloured or not.
    Human {
        /// Whether the level is coloured by ANSI sequences.
        color: bool,
    },
    /// One JSON object a line, its fields side by side under dotted names.
    Json,
}

/// Writes the events that its filter lets through, with the fields of the spans around them.
#[derive(Debug)]
pub struct LogLayer<W> {
    form: Form,
    writer: W,
}

/// The fields of a span, as its layer keeps them.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl<W> LogLayer<W> {
    /// A layer that writes to `writer`.
    pub fn new(form: Form, writer: W) -> Self {
        Self { form, writer }
    }
}

impl<S, W> Layer<S> for LogLayer<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'w> MakeWriter<'w> + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            // Visited before the lock is taken: a value's Debug may use the span itself.
            let mut fields = Fields::default();
            values.record(&mut fields);
            if let Some(known) = span.extensions_mut().get_mut::<Fields>() {
                known.0.append(&mut fields.0);
            }
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut own = Fields::default();
        event.record(&mut own);
        let message = match own.0.remove("message") {
            Some(Value::String(message)) => message,
            Some(other) => other.to_string(),
            None => String::new(),
        };
        let mut fields = Map::new();
        let mut span_name = None;
        for span in context.event_scope(event).into_iter().flat_map(Scope::from_root) {
            span_name = Some(Value::from(span.name()));
            if let Some(known) = span.extensions().get::<Fields>() {
                fields.extend(known.0.clone());
                // The name under which the trace shows it, where the span sets one.
                span_name = known.0.get("otel.name").cloned().or(span_name);
            }
        }
        fields.append(&mut own.0);
        fields.retain(|name, _| !name.starts_with("otel."));
        let mut line = Line {
            time: now(),
            level: *event.metadata().level(),
            target: event.metadata().target(),
            message,
            span: span_name,
            trace: TraceContext::current(),
            fields,
        };
        let text = match self.form {
            Form::Json => line.json(),
            Form::Human { color } => line.human(color),
        };
        // A reader that went away must not stop the work.
        let _ = self.writer.make_writer_for(event.metadata()).write_all(text.as_bytes());
    }
}

struct Line {
    time: String,
    level: Level,
    target: &'static str,
    message: String,
    span: Option<Value>,
    trace: Option<TraceContext>,
    fields: Map<String, Value>,
}

impl Line {
    fn json(&mut self) -> String {
        // The line's own keys win over fields of the same name.
        let mut object = std::mem::take(&mut self.fields);
        object.insert("timestamp".into(), std::mem::take(&mut self.time).into());
        object.insert("level".into(), self.level.as_str().into());
        object.insert("target".into(), self.target.into());
        object.insert("message".into(), std::mem::take(&mut self.message).into());
        if let Some(span) = self.span.take() {
            object.insert("span".into(), span);
        }
        if let Some(trace) = self.trace {
            object.insert("trace_id".into(), trace.trace_id_hex().into());
            object.insert("span_id".into(), trace.span_id_hex().into());
        }
        let mut text = Value::Object(object).to_string();
        text.push('\n');
        text
    }

    fn human(&self, color: bool) -> String {
        let code = match self.level {
            Level::ERROR => 31,
            Level::WARN => 33,
            Level::INFO => 32,
            Level::DEBUG => 34,
            Level::TRACE => 35,
        };
        let (on, off) =
            if color { (format!("\x1b[{code}m"), "\x1b[0m") } else { (String::new(), "") };
        let mut text =
            format!("{} {on}{:>5}{off} {}: ", self.time, self.level.as_str(), self.target);
        escape_controls(&mut text, &self.message);
        for (name, value) in &self.fields {
            let plain = value.as_str().filter(|text| is_plain(text));
            // Writing to a String cannot fail.
            let _ = match plain {
                Some(plain) => write!(text, " {name}={plain}"),
                None => write!(text, " {name}={value}"),
            };
        }
        if let Some(trace) = self.trace {
            let (trace_id, span_id) = (trace.trace_id_hex(), trace.span_id_hex());
            let _ = write!(text, " trace_id={trace_id} span_id={span_id}");
        }
        text.push('\n');
        text
    }
}

fn now() -> String {
    let mut text = String::new();
    // The clock's only error is the writer's, and a String has none.
    let _ = SystemTime.format_time(&mut Writer::new(&mut text));
    text
}

/// Whether a value can stand without quotes.
fn is_plain(text: &str) -> bool {
    let quoted = |c: char| c.is_whitespace() || c.is_control() || c == '"' || c == '=';
    !text.is_empty() && !text.contains(quoted)
}

/// A line break or an escape sequence in a message must not look like another line.
fn escape_controls(text: &mut String, message: &str) {
    for c in message.chars() {
        if c.is_control() {
            text.extend(c.escape_default());
        } else {
            text.push(c);
        }
    }
}

impl Fields {
    fn insert(&mut self, field: &Field, value: impl FnOnce() -> Value) {
        let value =
            if redact::is_private(field.name()) { Value::from(redact::MASK) } else { value() };
        self.0.insert(field.name().to_owned(), value);
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.insert(field, || redact::clean(&format!("{value:?}")).into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.insert(field, || redact::clean(value).into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.insert(field, || value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.insert(field, || value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.insert(field, || value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.insert(field, || value.into());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.insert(field, || {
            let mut text = value.to_string();
            let mut source = value.source();
            while let Some(cause) = source {
                let _ = write!(text, ": {cause}");
                source = cause.source();
            }
            redact::clean(&text).into()
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn lines(form: Form, emit: impl FnOnce()) -> Vec<String> {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let layer = LogLayer::new(form, move || writer.clone());
        let providers = crate::export::Providers::without_export();
        let subscriber = tracing_subscriber::registry().with(layer).with(providers.layer());
        tracing::subscriber::with_default(subscriber, emit);
        let bytes = buffer.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_json_line_has_the_trace_and_the_fields_of_all_spans() {
        let mut expected = None;
        let found = lines(Form::Json, || {
            let outer =
                tracing::info_span!("execute_task", task.id = "t1", driver = tracing::field::Empty);
            outer.record("driver", "mechanic");
            let _outer = outer.enter();
            let inner = tracing::info_span!("tool", otel.name = "execute_tool bash", run.id = 7);
            let _inner = inner.enter();
            expected = TraceContext::of(&inner);
            tracing::info!(duration_ms = 12, message.kind = "x", "done");
        });
        let trace = expected.unwrap();
        let mut line: Value = serde_json::from_str(&found[0]).unwrap();
        assert!(line["timestamp"].as_str().unwrap().ends_with('Z'));
        line["timestamp"].take();
        assert_eq!(
            line,
            serde_json::json!({
                "timestamp": null, "level": "INFO", "target": module_path!(), "message": "done",
                "span": "execute_tool bash", "task.id": "t1", "driver": "mechanic", "run.id": 7,
                "duration_ms": 12, "message.kind": "x",
                "trace_id": trace.trace_id_hex(), "span_id": trace.span_id_hex(),
            })
        );
    }

    #[test]
    fn a_value_can_neither_forge_a_line_nor_show_a_secret() {
        redact::register("hush-hush-hush");
        let emit = || {
            let text = "a\nERROR forged \x1b[31m hush-hush-hush";
            tracing::warn!(prompt = "write me a poem", note = text, level = "FATAL", "{text}");
        };
        let human = lines(Form::Human { color: false }, emit);
        assert_eq!(human.len(), 1);
        let (_, rest) = human[0].split_once("  WARN ").unwrap();
        assert_eq!(
            rest,
            concat!(
                "journeyman_telemetry::log::tests: a\\nERROR forged \\u{1b}[31m ***",
                r#" level=FATAL note="a\nERROR forged \u001b[31m ***" prompt=***"#
            )
        );
        let json = lines(Form::Json, emit);
        let line: Value = serde_json::from_str(&json[0]).unwrap();
        assert_eq!((&line["level"], &line["prompt"]), (&"WARN".into(), &"***".into()));
        assert!(!json[0].contains("hush-hush") && !json[0].contains("poem"));
    }
}
