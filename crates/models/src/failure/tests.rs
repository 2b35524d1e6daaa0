use journeyman_domain::model::FailureKind as Kind;

use super::*;

fn refused(status: u16, body: &str) -> ModelFailure {
    of_status("acme", status, None, &Complaint::of_body(body))
}

#[test]
fn refusals_are_of_the_kind_that_code_words_and_status_say() {
    let openai = |code: &str, message: &str| {
        format!(
            r#"{{"error":{{"message":"{message}","type":"invalid_request_error","code":"{code}"}}}}"#
        )
    };
    let anthropic = |kind: &str, message: &str| {
        format!(r#"{{"type":"error","error":{{"type":"{kind}","message":"{message}"}}}}"#)
    };
    for (status, body, expected) in [
        (401, String::new(), Kind::Auth),
        (401, openai("invalid_api_key", "Incorrect API key"), Kind::Auth),
        (403, anthropic("permission_error", "not yours"), Kind::Auth),
        (403, openai("x", "You are out of credits"), Kind::Quota),
        (402, anthropic("billing_error", "pay"), Kind::Quota),
        (402, String::new(), Kind::Quota),
        (429, openai("insufficient_quota", "You exceeded it"), Kind::Quota),
        (429, openai("rate_limit_exceeded", "slow down, too many tokens"), Kind::RateLimit),
        (429, anthropic("rate_limit_error", "would exceed your rate limit"), Kind::RateLimit),
        (429, anthropic("rate_limit_error", "the spend limit of your organization"), Kind::Quota),
        (429, "Too Many Requests".into(), Kind::RateLimit),
        (400, anthropic("invalid_request_error", "Your credit balance is too low"), Kind::Quota),
        (400, openai("billing_hard_limit_reached", "no"), Kind::Quota),
        (404, openai("model_not_found", "no such model"), Kind::NotFound),
        (400, openai("model_not_found", "no such model"), Kind::NotFound),
        (404, "404 page not found".into(), Kind::NotFound),
        (301, String::new(), Kind::NotFound),
        (408, String::new(), Kind::Transient),
        (409, String::new(), Kind::Transient),
        (500, anthropic("api_error", "Internal server error"), Kind::Transient),
        (502, "<html>Bad Gateway, billing".into(), Kind::Transient),
        (504, anthropic("timeout_error", "slow"), Kind::Transient),
        (503, String::new(), Kind::Overloaded),
        (529, anthropic("overloaded_error", "Overloaded"), Kind::Overloaded),
        (400, openai("context_length_exceeded", "too long"), Kind::ContextOverflow),
        (400, openai("x", "This model's maximum context length is 8192"), Kind::ContextOverflow),
        (
            400,
            anthropic("invalid_request_error", "prompt is too long: 9 > 8"),
            Kind::ContextOverflow,
        ),
        (400, anthropic("exceed_context_size_error", "no"), Kind::ContextOverflow),
        (500, openai("x", "the request exceeds the available context size"), Kind::ContextOverflow),
        (400, openai("content_policy_violation", "no"), Kind::ContentPolicy),
        (
            400,
            openai("invalid_prompt", "flagged as violating our usage policy"),
            Kind::ContentPolicy,
        ),
        (400, openai("cyber_policy", "no"), Kind::ContentPolicy),
        (400, openai("", "Unsupported parameter"), Kind::Invalid),
        (413, anthropic("request_too_large", "too large"), Kind::Invalid),
        (422, r#"{"detail":[{"msg":"field required"}]}"#.into(), Kind::Invalid),
        (418, String::new(), Kind::Invalid),
        (204, String::new(), Kind::Protocol),
    ] {
        assert_eq!(refused(status, &body).kind, expected, "{status} {body}");
    }
}

#[test]
fn errors_inside_a_stream_are_told_by_their_type() {
    for (json, expected) in [
        (r#"{"type":"error","error":{"type":"overloaded_error","message":"m"}}"#, Kind::Overloaded),
        (r#"{"type":"error","error":{"type":"rate_limit_error","message":"m"}}"#, Kind::RateLimit),
        (r#"{"type":"error","error":{"type":"api_error","message":"m"}}"#, Kind::Transient),
        (r#"{"code":"server_error","message":"m"}"#, Kind::Transient),
        (r#"{"code":"context_length_exceeded","message":"m"}"#, Kind::ContextOverflow),
        (r#"{"code":"insufficient_quota","message":"m"}"#, Kind::Quota),
        (r#"{"error":{"code":502,"message":"upstream"}}"#, Kind::Transient),
        (r#"{"error":{"type":"invalid_request_error","message":"m"}}"#, Kind::Invalid),
        (r#"{"error":{"type":"permission_error","message":"m"}}"#, Kind::Auth),
        (r#"{"error":{"type":"not_found_error","message":"m"}}"#, Kind::NotFound),
    ] {
        let value = serde_json::from_str(json).unwrap();
        assert_eq!(in_stream("acme", &Complaint::of_json(&value)).kind, expected, "{json}");
    }
}

#[test]
fn the_sentence_has_the_name_the_status_and_the_words() {
    let body = "{\"error\":{\"message\":\"Rate limit.\\n Please try again in 1.3s.\"}}";
    let failure = of_status("acme", 429, Some("Too Many Requests"), &Complaint::of_body(body));
    let expected = ModelFailure {
        http_status: Some(429),
        retry_after_ms: Some(1_300),
        ..ModelFailure::of(
            Kind::RateLimit,
            "acme answered 429 Too Many Requests: Rate limit. Please try again in 1.3s.",
        )
    };
    assert_eq!(failure, expected);
    for (body, expected) in [
        ("", "acme answered 500"),
        ("<!doctype html><p>oops", "acme answered 500: an HTML page"),
        ("plain\u{1b}[31m words", "acme answered 500: plain [31m words"),
        (r#"{"error":"a string"}"#, "acme answered 500: a string"),
        (r#"{"message":"m"}"#, "acme answered 500: m"),
        (r#"{"detail":"d"}"#, "acme answered 500: d"),
        (r#"[{"error":{"message":"listed"}}]"#, "acme answered 500: listed"),
        (r#"{"detail":[{"msg":"field required"}]}"#, "acme answered 500: field required"),
        (r#"{"odd":1}"#, r#"acme answered 500: {"odd":1}"#),
    ] {
        assert_eq!(refused(500, body).message, expected);
    }
}

#[test]
fn long_words_are_cut() {
    let failure = refused(500, &"ä".repeat(10_000));
    assert_eq!(failure.message, format!("acme answered 500: {}…", "ä".repeat(500)));
}
