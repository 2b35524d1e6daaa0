//! GitHub's REST API: pull requests by their head branch, and opening one.
//!
//! <https://docs.github.com/en/rest/pulls/pulls>, version 2022-11-28. An enterprise server speaks it under
//! `https://HOST/api/v3`.

mod answer;

use std::time::Duration;

use journeyman_domain::forge::ForgeRepository;
use journeyman_domain::outbox::{Acted, Fault, Found, PullRequest};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{RequestBuilder, Response, Url};
use serde::Deserialize;
use serde_json::json;

use self::answer::{Said, fault};
use crate::Token;

/// How long a connection may take to be made, and a whole answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of an answer that are read.
const MOST_BYTES: usize = 4 * 1024 * 1024;
/// Pull requests of one branch that are looked at: more than one is rare.
const LISTED: &str = "20";
/// The version of the API that this client speaks.
const VERSION: &str = "2022-11-28";

/// A client of one GitHub. Cheap to clone.
#[derive(Clone, Debug)]
pub struct GitHub {
    http: reqwest::Client,
    api_url: String,
    token: Token,
}

/// A pull request, as far as it matters.
#[derive(Debug, Deserialize)]
struct Pull {
    html_url: String,
    state: String,
    body: Option<String>,
    head: Head,
}

/// The branch that a pull request is of.
#[derive(Debug, Deserialize)]
struct Head {
    #[serde(rename = "ref")]
    branch: String,
}

impl GitHub {
    /// A client. `api_url` is `https://api.github.com`, or that of an enterprise server. Fails where the
    /// system's certificates cannot be read.
    pub fn new(api_url: &str, token: Token) -> Result<Self, reqwest::Error> {
        // An error says that another part of the process installed a provider before.
        rustls::crypto::ring::default_provider().install_default().ok();
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(ANSWER_TIMEOUT)
            .user_agent(concat!("journeyman/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { http, api_url: api_url.trim_end_matches('/').to_owned(), token })
    }

    /// The pull request of a branch, in whatever state: the one that bears `marker`, else one that is open,
    /// else any.
    pub async fn pull_request(&self, wanted: &PullRequest, marker: &str) -> Result<Found, Fault> {
        let PullRequest { repository, head, .. } = wanted;
        let by_head = format!("{}:{head}", repository.owner);
        let query = [("head", by_head.as_str()), ("state", "all"), ("per_page", LISTED)];
        let address = Url::parse_with_params(&self.pulls(repository), query)
            .map_err(|error| Fault::lasting(format!("github.api_url is no address: {error}")))?;
        let said = self.send(self.http.get(address), repository).await?;
        if said.status != 200 {
            return Err(fault(&said, repository));
        }
        let pulls: Vec<Pull> = said.json()?;
        // A filter that it does not understand is answered with all there are.
        let mut ours: Vec<_> = pulls.into_iter().filter(|pull| pull.head.branch == *head).collect();
        let has_marker =
            |pull: &Pull| pull.body.as_deref().is_some_and(|body| body.contains(marker));
        ours.sort_by_key(|pull| (!has_marker(pull), pull.state != "open"));
        Ok(match ours.into_iter().next() {
            Some(pull) => Found::Ours { remote_id: pull.html_url },
            None => Found::Nothing,
        })
    }

    /// Opens a pull request. After [`Fault::Passing`] it may be open.
    pub async fn open_pull_request(&self, wanted: &PullRequest) -> Result<Acted, Fault> {
        let PullRequest { repository, head, base, title, body } = wanted;
        let sent = json!({ "title": title, "head": head, "base": base, "body": body });
        let request = self
            .http
            .post(self.pulls(repository))
            .header(CONTENT_TYPE, "application/json")
            .body(sent.to_string());
        let said = self.send(request, repository).await?;
        match said.status {
            201 => Ok(Acted::Done { remote_id: said.json::<Pull>()?.html_url }),
            422 if said.is_there() => Ok(Acted::IsThere { reason: said.message() }),
            _ => Err(fault(&said, repository)),
        }
    }

    fn pulls(&self, repository: &ForgeRepository) -> String {
        format!("{}/repos/{}/{}/pulls", self.api_url, repository.owner, repository.name)
    }

    async fn send(
        &self,
        request: RequestBuilder,
        repository: &ForgeRepository,
    ) -> Result<Said, Fault> {
        let mut headers = HeaderMap::new();
        let bearer = self.token.bearer().ok_or_else(|| {
            Fault::lasting("the token for GitHub has characters that no header can carry")
        })?;
        headers.insert(AUTHORIZATION, bearer);
        headers.insert(ACCEPT, HeaderValue::from_static("application/vnd.github+json"));
        headers.insert("x-github-api-version", HeaderValue::from_static(VERSION));
        let away = |error: reqwest::Error| {
            let why = if error.is_timeout() {
                format!("it did not answer within {} s", ANSWER_TIMEOUT.as_secs())
            } else {
                journeyman_domain::failure::sentence(&error.without_url())
            };
            Fault::passing(
                self.token.redact(&format!("{} was not reached: {why}", repository.host)),
            )
        };
        let response = request.headers(headers).send().await.map_err(away)?;
        let mut said = Said::of(&response);
        said.body = read(response).await.map_err(away)?;
        Ok(said)
    }
}

/// The body, as far as it is read.
async fn read(mut response: Response) -> Result<Vec<u8>, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        body.extend_from_slice(&chunk);
        if body.len() > MOST_BYTES {
            break;
        }
    }
    Ok(body)
}
