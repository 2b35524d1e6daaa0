//! What an answer of GitHub means: done, to be tried again, or never.

use journeyman_domain::forge::ForgeRepository;
use journeyman_domain::outbox::Fault;
use reqwest::Response;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Letters of what GitHub says that go into a sentence.
const MOST: usize = 300;
/// What it asks to wait where it says only that it was too much.
const USUAL_WAIT_MS: u64 = 60_000;

/// An answer.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
    /// `retry-after`, in seconds.
    retry_after: Option<u64>,
    /// `x-ratelimit-remaining`.
    remaining: Option<u64>,
    /// `x-ratelimit-reset`, in seconds since 1970.
    reset: Option<u64>,
    /// `location`.
    location: Option<String>,
}

impl Said {
    /// Status and headers; the body is read apart.
    pub(super) fn of(response: &Response) -> Self {
        let header = |name: &str| response.headers().get(name)?.to_str().ok().map(str::to_owned);
        let number = |name: &str| header(name)?.trim().parse().ok();
        Self {
            status: response.status().as_u16(),
            body: Vec::new(),
            retry_after: number("retry-after"),
            remaining: number("x-ratelimit-remaining"),
            reset: number("x-ratelimit-reset"),
            location: header("location"),
        }
    }

    /// The body as its type. A success that cannot be read has happened all the same: the next attempt looks.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, Fault> {
        serde_json::from_slice(&self.body)
            .map_err(|error| Fault::passing(format!("GitHub's answer cannot be read: {error}")))
    }

    /// What it says, the messages of its errors included.
    pub(super) fn message(&self) -> String {
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let errors = body["errors"].as_array().into_iter().flatten().map(|error| {
            let own = error["message"].as_str().or_else(|| error.as_str());
            let of_field =
                || Some(format!("{} {}", error["field"].as_str()?, error["code"].as_str()?));
            own.map(str::to_owned).or_else(of_field).unwrap_or_default()
        });
        let all = body["message"].as_str().map(str::to_owned).into_iter().chain(errors);
        let all: Vec<_> = all.filter(|part| !part.is_empty()).collect();
        let said = all.join(": ");
        if said.is_empty() {
            "it did not say why".to_owned()
        } else {
            said.chars().take(MOST).collect()
        }
    }

    /// Whether it refuses since there is one already.
    pub(super) fn is_there(&self) -> bool {
        self.message().to_lowercase().contains("already exists")
    }

    /// Whether it does not know a branch that was pushed only now.
    fn is_behind(&self) -> bool {
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let errors = body["errors"].as_array().into_iter().flatten();
        errors.into_iter().any(|error| error["field"] == "head" && error["code"] == "invalid")
    }

    /// Milliseconds that it asks to wait, where it says that it was too much.
    fn too_much(&self, now_s: u64) -> Option<u64> {
        let asked = self.retry_after.map(|seconds| seconds.saturating_mul(1000));
        let reset = self.reset.filter(|_| self.remaining == Some(0));
        let until = reset.map(|at| at.saturating_sub(now_s).saturating_mul(1000));
        let secondary = self.message().to_lowercase().contains("rate limit");
        asked.or(until).or_else(|| (secondary || self.status == 429).then_some(USUAL_WAIT_MS))
    }
}

/// Why an answer is none that was hoped for.
pub(super) fn fault(said: &Said, repository: &ForgeRepository) -> Fault {
    let now = chrono::Utc::now().timestamp();
    fault_at(said, repository, u64::try_from(now).unwrap_or_default())
}

fn fault_at(said: &Said, repository: &ForgeRepository, now_s: u64) -> Fault {
    let (status, message) = (said.status, said.message());
    let place = repository.to_string();
    if matches!(status, 403 | 429)
        && let Some(wait_ms) = said.too_much(now_s)
    {
        let reason = format!("{} asks to wait: {message}", repository.host);
        return Fault::Passing { reason, wait_ms: Some(wait_ms) };
    }
    match status {
        401 => Fault::lasting(format!(
            "{} does not take the token that github.token names; give it one that may open pull requests on \
             {place} ({message})",
            repository.host
        )),
        403 => Fault::lasting(format!(
            "the token that github.token names may not open pull requests on {place}; it needs the permission \
             'pull requests: write', or the scope 'repo' ({message})"
        )),
        404 => Fault::lasting(format!(
            "{place} is not there, or the token that github.token names cannot see it"
        )),
        301 | 302 | 307 | 308 => Fault::lasting(format!(
            "{place} has moved to {}; set the remote's address anew",
            said.location.as_deref().unwrap_or("another place")
        )),
        422 if said.is_behind() => Fault::passing(format!(
            "{} does not know the pushed branch yet: {message}",
            repository.host
        )),
        408 | 409 | 425 | 429 | 500.. => {
            Fault::passing(format!("{} answered with status {status}: {message}", repository.host))
        }
        _ => Fault::lasting(format!(
            "{place} refused the pull request with status {status}: {message}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(status: u16, body: &Value) -> Said {
        Said { status, body: body.to_string().into_bytes(), ..Said::default() }
    }

    fn judged(said: &Said) -> Fault {
        let repository = ForgeRepository {
            host: "github.com".into(),
            owner: "acme".into(),
            name: "notes".into(),
        };
        fault_at(said, &repository, 1_000)
    }

    #[test]
    fn what_never_succeeds_is_told_from_what_passes() {
        let nothing = json!({ "message": "x" });
        for status in [301, 400, 401, 403, 404, 410, 422] {
            let fault = judged(&said(status, &nothing));
            assert!(matches!(fault, Fault::Lasting { .. }), "{status}: {fault:?}");
        }
        for status in [408, 409, 429, 500, 502, 503, 504] {
            let fault = judged(&said(status, &nothing));
            assert!(matches!(fault, Fault::Passing { .. }), "{status}: {fault:?}");
        }
        let behind = json!({ "message": "Validation Failed",
            "errors": [{ "resource": "PullRequest", "field": "head", "code": "invalid" }] });
        let Fault::Passing { reason, wait_ms: None } = judged(&said(422, &behind)) else {
            panic!()
        };
        assert!(reason.ends_with("Validation Failed: head invalid"), "{reason}");
    }

    #[test]
    fn a_limit_of_its_rate_is_waited_for_and_no_lack_of_a_right() {
        let body = json!({ "message": "API rate limit exceeded" });
        let limited = Said { remaining: Some(0), reset: Some(1_090), ..said(403, &body) };
        assert!(matches!(judged(&limited), Fault::Passing { wait_ms: Some(90_000), .. }));
        let secondary = json!({ "message": "You have exceeded a secondary rate limit." });
        let asked = Said { retry_after: Some(7), ..said(403, &secondary) };
        assert!(matches!(judged(&asked), Fault::Passing { wait_ms: Some(7_000), .. }));
        assert!(matches!(
            judged(&said(403, &secondary)),
            Fault::Passing { wait_ms: Some(USUAL_WAIT_MS), .. }
        ));
        let right = json!({ "message": "Resource not accessible by personal access token" });
        let refused = Said { remaining: Some(4_999), reset: Some(9_999), ..said(403, &right) };
        let Fault::Lasting { reason } = judged(&refused) else { panic!() };
        assert!(reason.contains("'pull requests: write'"), "{reason}");
    }

    #[test]
    fn that_there_is_one_is_known_by_its_words() {
        let taken = json!({ "message": "Validation Failed", "errors": [{ "resource": "PullRequest",
            "code": "custom", "message": "A pull request already exists for acme:x." }] });
        assert!(said(422, &taken).is_there());
        let other = json!({ "message": "Validation Failed", "errors": [{ "field": "base", "code": "invalid" }] });
        assert!(!said(422, &other).is_there());
    }
}
