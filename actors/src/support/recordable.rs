//! Text as rows keep it, and as it may leave the machine.

/// The text without secrets, and without the one character that PostgreSQL's texts cannot hold.
pub fn recordable(text: &str) -> String {
    journeyman_telemetry::redact::mask(text).replace('\0', "\u{fffd}")
}
