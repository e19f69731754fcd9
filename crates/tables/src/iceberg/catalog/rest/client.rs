//! [`Client`]: requests to a REST catalogue, with its prefix, its token, and bounded retries of what changes nothing.
//!
//! Credentials go into the header or the form of a request and nowhere else; what a server says is shown without them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lakeshift_core::spec::{Catalog as CatalogSpec, CatalogCredentials};
use lakeshift_journal::Clock;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Method, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::{Mutex, OnceCell};
use url::form_urlencoded;

use super::messages::{Config, ErrorBody, Token};

const CONNECT_MAX: Duration = Duration::from_secs(10);
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// How often a request that changes nothing is sent again.
pub(super) const RETRIES_MAX: u32 = 3;
const FIRST_WAIT: Duration = Duration::from_millis(200);
/// Separates the levels of a namespace in a path, where the catalogue says nothing else.
const SEPARATOR: &str = "%1F";
/// Characters of a server's message that are shown at most.
const MESSAGE_MAX: usize = 300;
/// What a path segment keeps as it is.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A segment of a path.
pub(super) fn encoded(segment: &str) -> String {
    utf8_percent_encode(segment, SEGMENT).to_string()
}

/// A catalogue's answer.
#[derive(Debug)]
pub(super) enum Answer {
    Done(Bytes),
    Refused(Refusal),
}

/// A request that was answered and not carried out, or of which that is not known.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    kind: String,
    message: String,
}

impl Refusal {
    /// The table or the namespace is not there, and it is the catalogue that says so, not a wrong address.
    pub fn is_missing(&self) -> bool {
        self.status == StatusCode::NOT_FOUND && self.kind.starts_with("NoSuch")
    }

    /// Somebody else was first, or this very request was when it came before.
    pub fn is_conflict(&self) -> bool {
        self.status == StatusCode::CONFLICT
    }

    /// Whether the request may have been carried out all the same.
    pub fn is_open(&self) -> bool {
        self.is_conflict() || self.is_passing()
    }

    /// Whether asking again may help.
    fn is_passing(&self) -> bool {
        self.status.is_server_error() || matches!(self.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.status.as_u16(), self.kind, self.message)
    }
}

/// Why a catalogue could not be asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum RestError {
    /// No answer.
    #[error("the catalogue did not answer")]
    Transport(#[source] reqwest::Error),
    /// An answer that is an error.
    #[error("the catalogue answered {0}")]
    Refused(Refusal),
    /// No token.
    #[error("the catalogue gave no token for the credential (not shown): {0}")]
    Token(Refusal),
    /// Not what the protocol says.
    #[error("the catalogue's answer is not the JSON of the Iceberg REST protocol; check its address")]
    Unintelligible(#[source] serde_json::Error),
    /// A table that was created is not there.
    #[error("the catalogue does not have the table that it was told to create")]
    Vanished,
}

impl RestError {
    /// Whether the request may have been carried out all the same.
    pub fn is_open(&self) -> bool {
        matches!(self, Self::Transport(_) | Self::Unintelligible(_))
    }
}

/// How to reach a catalogue. Holds credentials: its `Debug` shows none.
pub(super) struct Client {
    spec: CatalogSpec,
    credentials: CatalogCredentials,
    clock: Arc<dyn Clock>,
    http: OnceCell<reqwest::Client>,
    base: OnceCell<String>,
    token: Mutex<Option<String>>,
}

impl Client {
    pub fn new(spec: &CatalogSpec, credentials: &CatalogCredentials, clock: Arc<dyn Clock>) -> Self {
        Self {
            spec: spec.clone(),
            credentials: credentials.clone(),
            clock,
            http: OnceCell::new(),
            base: OnceCell::new(),
            token: Mutex::new(credentials.token.clone()),
        }
    }

    /// A namespace as a segment of a path.
    pub fn namespace(&self, levels: &[String]) -> String {
        levels.iter().map(|level| encoded(level)).collect::<Vec<_>>().join(SEPARATOR)
    }

    /// Sends a request below the catalogue's prefix.
    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Answer, RestError> {
        let base = self.base.get_or_try_init(|| self.configured()).await?;
        self.send(method, &format!("{base}/{path}"), body).await
    }

    /// The address that requests go below, with the prefix that the catalogue says.
    async fn configured(&self) -> Result<String, RestError> {
        let root = format!("{}/v1", self.spec.uri.trim_end_matches('/'));
        let query = self.spec.warehouse.as_ref().map(|warehouse| format!("?warehouse={}", encoded(warehouse)));
        let config: Config =
            match self.send(Method::GET, &format!("{root}/config{}", query.unwrap_or_default()), None).await? {
                Answer::Done(body) => parse(&body)?,
                Answer::Refused(refusal) => return Err(RestError::Refused(refusal)),
            };
        Ok(match config.get("prefix").filter(|prefix| !prefix.is_empty()) {
            Some(prefix) => format!("{root}/{prefix}"),
            None => root,
        })
    }

    /// Sends a request with a token; what changes nothing is sent again where that may help.
    async fn send(&self, method: Method, url: &str, body: Option<&Value>) -> Result<Answer, RestError> {
        let retries = if method == Method::GET { RETRIES_MAX } else { 0 };
        for retry in 0..retries {
            let answer = self.send_with_token(&method, url, body).await;
            let again = match &answer {
                Ok(Answer::Refused(refusal)) => refusal.is_passing(),
                Ok(Answer::Done(_)) => false,
                Err(error) => matches!(error, RestError::Transport(_)),
            };
            if !again {
                return answer;
            }
            self.wait(retry).await;
        }
        self.send_with_token(&method, url, body).await
    }

    /// Waits before a request is sent again: longer each time, `retry` counting from 0.
    pub async fn wait(&self, retry: u32) {
        self.clock.sleep(FIRST_WAIT * 2_u32.pow(retry)).await;
    }

    /// A token may have run out: the credential gets another, once.
    async fn send_with_token(&self, method: &Method, url: &str, body: Option<&Value>) -> Result<Answer, RestError> {
        let mut token = self.token.lock().await.clone();
        if token.is_none() {
            token = self.renewed(None).await?;
        }
        match self.once(method, url, body, token.as_deref()).await? {
            Answer::Refused(refusal)
                if refusal.status == StatusCode::UNAUTHORIZED && self.credentials.credential.is_some() =>
            {
                let token = self.renewed(token.as_deref()).await?;
                self.once(method, url, body, token.as_deref()).await
            }
            answer => Ok(answer),
        }
    }

    async fn once(
        &self,
        method: &Method,
        url: &str,
        body: Option<&Value>,
        token: Option<&str>,
    ) -> Result<Answer, RestError> {
        let mut request = self.http().await?.request(method.clone(), url);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        self.answer(request).await
    }

    /// The token in place of `old`, which may have been replaced meanwhile; `None` where there is no credential.
    async fn renewed(&self, old: Option<&str>) -> Result<Option<String>, RestError> {
        let Some(credential) = &self.credentials.credential else { return Ok(None) };
        let mut held = self.token.lock().await;
        if held.as_deref() != old {
            return Ok(held.clone());
        }
        let own = || format!("{}/v1/oauth/tokens", self.spec.uri.trim_end_matches('/'));
        let url = self.spec.oauth2_server_uri.clone().unwrap_or_else(own);
        let scope = self.spec.scope.as_deref().unwrap_or("catalog");
        let mut form = vec![("grant_type", "client_credentials"), ("scope", scope)];
        match credential.split_once(':') {
            Some((id, secret)) => form.extend([("client_id", id), ("client_secret", secret)]),
            None => form.push(("client_secret", credential)),
        }
        match self.answer(self.http().await?.post(url).form(&form)).await? {
            Answer::Done(body) => *held = Some(parse::<Token>(&body)?.access_token),
            Answer::Refused(refusal) => return Err(RestError::Token(refusal)),
        }
        Ok(held.clone())
    }

    async fn answer(&self, request: reqwest::RequestBuilder) -> Result<Answer, RestError> {
        // Without its URL: the object of the error names the catalogue.
        let lost = |error: reqwest::Error| RestError::Transport(error.without_url());
        let response = request.send().await.map_err(lost)?;
        let status = response.status();
        let body = response.bytes().await.map_err(lost)?;
        if status.is_success() {
            return Ok(Answer::Done(body));
        }
        let (kind, message) = match serde_json::from_slice::<ErrorBody>(&body) {
            Ok(body) => (body.error.kind, body.error.message),
            Err(_) => (status.canonical_reason().unwrap_or_default().to_owned(), "(no message)".to_owned()),
        };
        Ok(Answer::Refused(Refusal { status, kind: self.shown(&kind), message: self.shown(&message) }))
    }

    /// A server's words without credentials, on one line, not too long.
    fn shown(&self, text: &str) -> String {
        let credential = self.credentials.credential.as_deref();
        let secret = credential.and_then(|credential| credential.split_once(':')).map(|(_, secret)| secret);
        let held = self.token.try_lock().ok().and_then(|token| token.clone());
        let secrets = [credential, secret, self.credentials.token.as_deref(), held.as_deref()];
        let secrets = secrets.into_iter().flatten().filter(|secret| !secret.is_empty());
        // A form that is repeated has them in its own spelling.
        let spelled =
            secrets.flat_map(|secret| [secret.to_owned(), form_urlencoded::byte_serialize(secret.as_bytes()).collect()]);
        let text = spelled.fold(text.to_owned(), |text, secret| text.replace(&secret, "***"));
        text.chars().take(MESSAGE_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect()
    }

    async fn http(&self) -> Result<&reqwest::Client, RestError> {
        let build = || async {
            let builder = reqwest::Client::builder().connect_timeout(CONNECT_MAX).timeout(ANSWER_MAX);
            // A redirect would carry the token elsewhere.
            builder.redirect(reqwest::redirect::Policy::none()).user_agent("lakeshift").build()
        };
        self.http.get_or_try_init(build).await.map_err(RestError::Transport)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("uri", &self.spec.uri).finish_non_exhaustive()
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, RestError> {
    serde_json::from_slice(body).map_err(RestError::Unintelligible)
}
