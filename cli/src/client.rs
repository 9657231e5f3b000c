//! The API as a command sees it: signed requests, errors in words.
use crate::credentials::Key;
use crate::exit::InvalidInput;
use crate::http::{Http, Unreachable, whole};
use anyhow::{Context, bail};
use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use serde_json::Value;
use std::time::{Duration, SystemTime};

const CALL_DEADLINE: Duration = Duration::from_secs(60);
/// The largest reply that is read into memory, in bytes.
const LARGEST_REPLY: usize = 64 * 1024 * 1024;

/// A running broker's API, called with an operator's key.
pub struct Client {
    http: Http,
    base: String,
    region: String,
    key: Key,
}

/// What the API answered when it said no.
#[derive(Debug, thiserror::Error)]
#[error("{exception}: {message}")]
pub struct ApiError {
    pub exception: String,
    pub message: String,
    pub status: u16,
}

impl Client {
    pub fn new(base: &str, region: &str, key: Key) -> anyhow::Result<Self> {
        let base = base.trim_end_matches('/');
        let Some(http) = Http::of(base) else {
            return Err(InvalidInput(format!(
                "{base:?} is not a URL: expected http://HOST:PORT or https://HOST:PORT"
            ))
            .into());
        };
        Ok(Self { http, base: base.to_owned(), region: region.to_owned(), key })
    }

    /// Is what is said on the way encrypted?
    pub fn is_encrypted(&self) -> bool {
        self.http.is_encrypted()
    }

    /// The same over TLS, trusting these CA certificates (PEM) and no others.
    pub fn trusting(self, ca_certificates: &str) -> anyhow::Result<Self> {
        Ok(Self { http: self.http.trusting(ca_certificates)?, ..self })
    }

    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.call("GET", path, None).await
    }
    pub async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.call("POST", path, Some(body)).await
    }
    pub async fn put(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.call("PUT", path, Some(body)).await
    }
    pub async fn patch(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.call("PATCH", path, Some(body)).await
    }
    pub async fn delete(&self, path: &str) -> anyhow::Result<Value> {
        self.call("DELETE", path, None).await
    }

    /// Every item of a paginated list: `member` holds the items, `next` names the cursor in the reply, `cursor` in the query.
    pub async fn list(
        &self,
        path: &str,
        member: &str,
        next: &str,
        cursor: &str,
    ) -> anyhow::Result<Vec<Value>> {
        let mut items = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let mut reply = self.page(path, cursor, token.as_deref()).await?;
            if let Some(Value::Array(more)) = reply.get_mut(member).map(Value::take) {
                items.extend(more);
            }
            match reply.get(next).and_then(Value::as_str) {
                Some(more) => token = Some(more.to_owned()),
                None => return Ok(items),
            }
        }
    }

    /// One page of such a list: the first without a token.
    pub async fn page(&self, path: &str, cursor: &str, token: Option<&str>) -> anyhow::Result<Value> {
        let separator = if path.contains('?') { '&' } else { '?' };
        match token {
            Some(token) => self.get(&format!("{path}{separator}{cursor}={}", encode(token))).await,
            None => self.get(path).await,
        }
    }

    /// A reply that goes on: the caller reads it chunk by chunk.
    pub async fn stream(&self, path: &str) -> anyhow::Result<Response<Incoming>> {
        let response = self.send("GET", path, &[], Vec::new()).await?;
        if response.status().is_success() { Ok(response) } else { Err(refusal(response).await) }
    }

    /// A body that is no JSON.
    pub async fn post_bytes(&self, path: &str, body: Vec<u8>) -> anyhow::Result<Value> {
        self.call_with("POST", path, &[], body).await
    }

    async fn call(&self, method: &str, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let body = body.map(Value::to_string).unwrap_or_default().into_bytes();
        self.call_with(method, path, &[], body).await
    }

    /// An operation that has inputs in headers, and no body.
    pub async fn call_with_headers(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
    ) -> anyhow::Result<Value> {
        self.call_with(method, path, headers, Vec::new()).await
    }

    async fn call_with(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> anyhow::Result<Value> {
        let reply = async {
            let response = self.send(method, path, headers, body).await?;
            if !response.status().is_success() {
                return Err(refusal(response).await);
            }
            whole(response, LARGEST_REPLY).await
        };
        let reply = tokio::time::timeout(CALL_DEADLINE, reply).await;
        let bytes = reply.with_context(|| format!("{} did not answer in time", self.base))??;
        if bytes.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&bytes).context("the reply is not JSON: is this the API of jitp?")
    }

    async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> anyhow::Result<Response<Incoming>> {
        let uri = format!("{}{path}", self.base);
        let identity =
            Credentials::new(self.key.id.as_str(), self.key.secret.as_str(), None, None, "jitp").into();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name("iot")
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()?;
        let host = self.base.split("://").nth(1).unwrap_or_default();
        let signed = std::iter::once(("host", host)).chain(headers.iter().copied());
        let signable = SignableRequest::new(method, &uri, signed, SignableBody::Bytes(&body))?;
        let (instructions, _) = sign(signable, &parameters.into())?.into_parts();
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", host)
            .header("user-agent", concat!("jitp/", env!("CARGO_PKG_VERSION")))
            .header("content-type", "application/json");
        for (name, value) in headers.iter().copied().chain(instructions.headers()) {
            request = request.header(name, value);
        }
        match self.http.send(request.body(Full::from(body))?).await {
            Err(error) if error.is::<Unreachable>() && self.is_encrypted() => Err(error).with_context(|| {
                format!("no broker answers at {} with a certificate of the CA that --api-ca names", self.base)
            }),
            Err(error) if error.is::<Unreachable>() => bail!(
                "no broker answers at {}: is `jitp serve` running? (--api gives another address)",
                self.base
            ),
            answered => answered.with_context(|| format!("the call to {} failed", self.base)),
        }
    }
}

async fn refusal(response: Response<Incoming>) -> anyhow::Error {
    let status = response.status().as_u16();
    let exception = response
        .headers()
        .get("x-amzn-errortype")
        .and_then(|value| value.to_str().ok())
        .unwrap_or("error")
        .to_owned();
    let body = whole(response, LARGEST_REPLY).await.unwrap_or_default();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let message = body.get("message").and_then(Value::as_str).unwrap_or("no message").to_owned();
    let error = ApiError { exception, message, status };
    if matches!(status, 400 | 404 | 406 | 409 | 410) {
        anyhow::Error::new(InvalidInput(error.to_string()))
    } else {
        error.into()
    }
}

/// Percent-encodes one path segment or query value.
pub fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_but_unreserved_characters_is_percent_encoded() {
        assert_eq!(encode("arn:aws:iot/Ä~x"), "arn%3Aaws%3Aiot%2F%C3%84~x");
    }
}
