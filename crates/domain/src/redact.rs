//! Secrets become `***` wherever text leaves: logs, spans, prompts, journals, evidence.
//!
//! Exact values that the runtime knows are found whatever they look like; well-known shapes of
//! tokens are found although nobody told of them. One pass, linear in the text. It never decides
//! whether a text may leave; and a secret that two separately redacted pieces share is not seen,
//! so whole texts are redacted before they are cut.

use std::borrow::Cow;

/// What stands in a secret's place.
const MASK: &str = "***";
/// Shorter values would mask ordinary words.
const SHORTEST_SECRET: usize = 6;
/// How far a token is looked at to judge its shape.
const SHAPE: usize = 64;

/// A token's well-known beginning, and how many characters must follow.
const PREFIXES: &[(&str, usize)] = &[
    ("ghp_", 20),
    ("gho_", 20),
    ("ghu_", 20),
    ("ghs_", 20),
    ("ghr_", 20),
    ("github_pat_", 20),
    ("glpat-", 16),
    ("sk-ant-", 16),
    ("sk-", 20),
    ("sk_live_", 16),
    ("sk_test_", 16),
    ("rk_live_", 16),
    ("whsec_", 16),
    ("xoxb-", 10),
    ("xoxp-", 10),
    ("xoxa-", 10),
    ("xoxr-", 10),
    ("xoxs-", 10),
    ("xapp-", 10),
    ("lin_api_", 16),
    ("npm_", 30),
    ("hf_", 30),
    ("AIza", 30),
    ("AKIA", 16),
    ("ASIA", 16),
];

/// Replaces secrets.
#[derive(Clone)]
pub struct Redactor {
    /// Longest first, so that a secret within another does not leave the other's rest.
    secrets: Vec<String>,
    /// Bytes at which something may begin.
    starts: [bool; 256],
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Redactor({} secrets)", self.secrets.len())
    }
}

impl Default for Redactor {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl Redactor {
    /// Knows these values, of which those below six bytes are left out, and all shapes.
    pub fn new(secrets: Vec<String>) -> Self {
        let mut secrets: Vec<String> = secrets
            .into_iter()
            .map(|secret| secret.trim().to_owned())
            .filter(|secret| secret.len() >= SHORTEST_SECRET)
            .collect();
        secrets.sort_unstable_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        secrets.dedup();
        let mut starts = [false; 256];
        let first = |text: &str| usize::from(text.as_bytes()[0]);
        for secret in &secrets {
            starts[first(secret)] = true;
        }
        for (prefix, _) in PREFIXES {
            starts[first(prefix)] = true;
        }
        for start in ["e", "-", ":", "a", "A", "b", "B"] {
            starts[first(start)] = true;
        }
        Self { secrets, starts }
    }

    /// The text with `***` in place of every secret; borrowed where there is none.
    pub fn redact<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let bytes = text.as_bytes();
        let mut clean = String::new();
        let (mut copied, mut at) = (0, 0);
        // A run without a dot holds no JWT, wherever in it one looks.
        let mut no_jwt_before = 0;
        while at < bytes.len() {
            if !self.starts[usize::from(bytes[at])] {
                at += 1;
                continue;
            }
            match self.secret_at(bytes, at, &mut no_jwt_before) {
                Some((from, to)) => {
                    clean.push_str(&text[copied..from]);
                    clean.push_str(MASK);
                    (copied, at) = (to, to);
                }
                None => at += 1,
            }
        }
        if copied == 0 {
            return Cow::Borrowed(text);
        }
        clean.push_str(&text[copied..]);
        Cow::Owned(clean)
    }

    /// The range to mask of a secret that begins, or is announced, here.
    fn secret_at(
        &self,
        bytes: &[u8],
        at: usize,
        no_jwt_before: &mut usize,
    ) -> Option<(usize, usize)> {
        let rest = &bytes[at..];
        if let Some(secret) = self.secrets.iter().find(|secret| rest.starts_with(secret.as_bytes()))
        {
            return Some((at, at + secret.len()));
        }
        let found = match rest[0] {
            b':' => return url_password(bytes, at),
            b'-' => return private_key(rest).map(|(from, to)| (at + from, at + to)),
            // Within a word nothing begins.
            _ if at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_') => {
                return None;
            }
            b'a' | b'A' | b'b' | b'B' => bearer(rest),
            b'e' if at >= *no_jwt_before => {
                let found = jwt(rest);
                if let Err(searched) = found {
                    *no_jwt_before = at + searched;
                }
                found.ok().map(|len| (0, len))
            }
            _ => None,
        };
        found.or_else(|| token(rest).map(|len| (0, len))).map(|(from, to)| (at + from, at + to))
    }
}

const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

fn run(bytes: &[u8], belongs: impl Fn(u8) -> bool) -> usize {
    bytes.iter().position(|byte| !belongs(*byte)).unwrap_or(bytes.len())
}

/// A token with a well-known prefix: long enough, and with a digit, which words lack.
fn token(rest: &[u8]) -> Option<usize> {
    let (prefix, least) =
        PREFIXES.iter().find(|(prefix, _)| rest.starts_with(prefix.as_bytes()))?;
    let body = &rest[prefix.len()..];
    let seen = &body[..body.len().min(SHAPE)];
    let len = run(seen, is_token_byte);
    let shaped = len >= *least && seen[..len].iter().any(u8::is_ascii_digit);
    shaped.then(|| prefix.len() + run(body, is_token_byte))
}

/// `eyJ….….…`; otherwise how many bytes were searched in vain.
fn jwt(rest: &[u8]) -> Result<usize, usize> {
    if !rest.starts_with(b"eyJ") {
        return Err(1);
    }
    let header = run(rest, is_token_byte);
    if header < 10 || rest.get(header) != Some(&b'.') {
        return Err(header);
    }
    let payload = run(&rest[header + 1..], is_token_byte);
    let signature = header + 1 + payload;
    if payload < 4 || rest.get(signature) != Some(&b'.') {
        return Err(header);
    }
    Ok(signature + 1 + run(&rest[signature + 1..], is_token_byte))
}

/// The value after `Authorization:` and its scheme, or after a bare `Bearer`.
fn bearer(rest: &[u8]) -> Option<(usize, usize)> {
    let starts = |text: &[u8], word: &str| {
        text.get(..word.len()).is_some_and(|head| head.eq_ignore_ascii_case(word.as_bytes()))
    };
    let value = |byte: u8| is_token_byte(byte) || b"._~+/=".contains(&byte);
    let header = starts(rest, "authorization");
    let mut from = if header { "authorization".len() } else { 0 };
    if header {
        let glue = run(&rest[from..], |byte| b" \t\"':=\\".contains(&byte));
        if !rest[from..from + glue].iter().any(|byte| b":=".contains(byte)) {
            return None;
        }
        from += glue;
    }
    let scheme =
        ["bearer ", "basic ", "token "].into_iter().find(|scheme| starts(&rest[from..], scheme));
    if !header && scheme != Some("bearer ") {
        return None;
    }
    from += scheme.map_or(0, str::len);
    let seen = &rest[from..rest.len().min(from + SHAPE)];
    let len = run(seen, value);
    // A bare "bearer" is a word of prose too; a token has digits.
    let shaped = if header {
        len >= SHORTEST_SECRET
    } else {
        len >= 12 && seen[..len].iter().any(u8::is_ascii_digit)
    };
    shaped.then(|| (from, from + run(&rest[from..], value)))
}

/// The password in `scheme://user:password@host`, or a user that is itself a long token.
fn url_password(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    let rest = bytes[at..].strip_prefix(b"://")?;
    let authority =
        &rest[..run(rest, |byte| !byte.is_ascii_whitespace() && !b"/?#\"'<>`".contains(&byte))];
    let host = authority.iter().rposition(|byte| *byte == b'@')?;
    let from = match authority[..host].iter().position(|byte| *byte == b':') {
        Some(colon) => colon + 1,
        None if host >= 16 && authority[..host].iter().any(u8::is_ascii_digit) => 0,
        None => return None,
    };
    (from < host).then(|| (at + 3 + from, at + 3 + host))
}

/// The body of a PEM private key; where its end was cut off, as far as it looks like one.
fn private_key(rest: &[u8]) -> Option<(usize, usize)> {
    const END: &[u8] = b"-----END";
    let label = rest.strip_prefix(b"-----BEGIN ")?;
    let label =
        run(label, |byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b' ');
    let from = "-----BEGIN ".len() + label;
    if !rest[..from].ends_with(b"PRIVATE KEY") || !rest[from..].starts_with(b"-----") {
        return None;
    }
    let from = from + 5;
    let body = |byte: u8| {
        byte.is_ascii_alphanumeric() || byte.is_ascii_whitespace() || b"+/=\\:,-".contains(&byte)
    };
    let length = run(&rest[from..], body);
    let body = &rest[from..from + length];
    let to = body.windows(END.len()).position(|window| window == END).unwrap_or(length);
    (to > 0).then(|| (from, from + to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let redactor = Redactor::new(vec![
            "hunter2-and-more".into(),
            "hunter2".into(),
            "short".into(),
            "pässwört".into(),
        ]);
        assert_eq!(redactor.redact(text), expected);
    }

    #[test]
    fn known_values_go_wherever_they_stand() {
        check("xhunter2x hunter2-and-more", "x***x ***");
        check("ä pässwört ä", "ä *** ä");
        check("short is no secret", "short is no secret");
        assert!(matches!(Redactor::default().redact("plain"), Cow::Borrowed("plain")));
        assert_eq!(format!("{:?}", Redactor::new(vec!["hunter2".into()])), "Redactor(1 secrets)");
    }

    #[test]
    fn shapes_of_tokens() {
        check("token=ghp_0123456789abcdefghijABCDEFGHIJ012345, x", "token=***, x");
        check("github_pat_11ABCDEFG0abcdefghijkl_mnopqrstu", "***");
        check("sk-ant-api03-abcdefghijklmnop sk-proj-abcdefghijklmno1234", "*** ***");
        check(
            "xoxb-1234567890-abc lin_api_0123456789abcdefXYZ AKIAIOSFODNN7EXAMPLE",
            "*** *** ***",
        );
        check("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl.", "***.");
        check("Authorization: Bearer abc.def-ghi", "Authorization: Bearer ***");
        check(r#"{"authorization":"Basic dXNlcjpwYXNz"}"#, r#"{"authorization":"Basic ***"}"#);
        check("curl -H 'bearer 0123456789abcdef'", "curl -H 'bearer ***'");
        check(
            "postgres://me:p@ss:w0rd@db:5432/x https://u@h/",
            "postgres://me:***@db:5432/x https://u@h/",
        );
        check("https://0123456789abcdef0123@github.com/x", "https://***@github.com/x");
        check(
            "-----BEGIN RSA PRIVATE KEY-----\nMIIE\nabc+/=\n-----END RSA PRIVATE KEY-----\nx",
            "-----BEGIN RSA PRIVATE KEY-----***-----END RSA PRIVATE KEY-----\nx",
        );
    }

    #[test]
    fn words_stay() {
        for text in [
            "task-0123456789012345678901234 and risk-free-0123456789012345678",
            "the bearer authentication scheme; authorization failed for user 123456789",
            "class=\"sk-fading-circle-and-a-half\" eyJ. http://host:8080/a@b std::vec::Vec<u8>",
            "-----BEGIN CERTIFICATE-----\nMIIE\n-----END CERTIFICATE-----",
        ] {
            check(text, text);
        }
    }

    #[test]
    fn hostile_runs_stay_linear() {
        // Quadratic work on these would take minutes.
        for piece in
            ["sk-", "eyJ-", "://", "-----BEGIN A PRIVATE KEY-----", "authorization:", "bearer "]
        {
            let text = piece.repeat(2_000_000 / piece.len());
            let _ = Redactor::default().redact(&text);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_known_value_survives(before in "[a-z:/@ -]{0,12}", secret in "[A-Za-z0-9ä/+]{6,20}", after in "\\PC{0,12}") {
            let redactor = Redactor::new(vec![secret.clone()]);
            let clean = redactor.redact(&format!("{before}{secret}{after}")).into_owned();
            proptest::prop_assert!(!clean.contains(&secret), "{}", clean);
        }
    }
}
