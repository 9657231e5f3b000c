//! The control plane as an AWS tool sees it: signed requests over HTTP.
use crate::Broker;
use crate::patience::LONG_PATIENCE;
use anyhow::{Context, bail, ensure};
use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use serde_json::Value;
use std::time::SystemTime;

/// A client of a broker's API with the operator's key.
pub struct Api {
    http: reqwest::Client,
    base: String,
    key_id: String,
    secret: String,
}

/// What the API answered.
#[derive(Debug)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The name of the exception, when it said no.
    pub exception: Option<String>,
    /// The body; `null` when it is empty.
    pub body: Value,
}

impl Reply {
    /// The body; fails unless the call succeeded.
    pub fn ok(self) -> anyhow::Result<Value> {
        ensure!(self.status == 200, "{self:?}");
        Ok(self.body)
    }
}

impl Broker {
    /// A client of this broker's API.
    pub fn api(&self) -> anyhow::Result<Api> {
        let credentials = std::fs::read_to_string(self.data_dir().join("credentials"))?;
        let value = |name: &str| {
            let line = credentials.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.trim().strip_prefix('=')).map(|text| text.trim().to_owned())
        };
        // Where the whole workspace is built, reqwest has TLS and asks for it.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        Ok(Api {
            http: reqwest::Client::builder().no_proxy().timeout(LONG_PATIENCE).build()?,
            base: self.api_url(),
            key_id: value("aws_access_key_id").context("no access key id")?,
            secret: value("aws_secret_access_key").context("no secret")?,
        })
    }

    /// What `/readyz` says: ready, or read-only for a reason.
    pub async fn is_ready(&self) -> anyhow::Result<bool> {
        let reply = self.api()?.open("/readyz").await?;
        match reply.status {
            200 => Ok(true),
            503 => {
                ensure!(reply.body.pointer("/status") == Some(&"read-only".into()), "{reply:?}");
                let reason = reply.body.pointer("/reason").and_then(Value::as_str);
                ensure!(reason.is_some_and(|text| !text.is_empty()), "{reply:?}");
                Ok(false)
            }
            _ => bail!("{reply:?}"),
        }
    }
}

impl Api {
    /// GET; the body, or an error.
    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.call("GET", path, None, None).await?.ok()
    }
    /// POST; the body, or an error.
    pub async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.call("POST", path, Some(body), None).await?.ok()
    }
    /// PUT; the body, or an error.
    pub async fn put(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.call("PUT", path, Some(body), None).await?.ok()
    }
    /// PATCH; the body, or an error.
    pub async fn patch(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.call("PATCH", path, Some(body), None).await?.ok()
    }
    /// DELETE; the body, or an error.
    pub async fn delete(&self, path: &str) -> anyhow::Result<Value> {
        self.call("DELETE", path, None, None).await?.ok()
    }

    /// Every item of a list: `member` holds the items, `next` names the cursor in the reply, `cursor` in the query.
    pub async fn list(
        &self,
        path: &str,
        member: &str,
        next: &str,
        cursor: &str,
    ) -> anyhow::Result<Vec<Value>> {
        let mut items = Vec::new();
        let mut page = path.to_owned();
        loop {
            let reply = self.get(&page).await?;
            items.extend(reply.get(member).and_then(Value::as_array).cloned().unwrap_or_default());
            let Some(token) = reply.get(next).and_then(Value::as_str) else { return Ok(items) };
            let separator = if path.contains('?') { '&' } else { '?' };
            page = format!("{path}{separator}{cursor}={}", encode(token));
        }
    }

    /// One request, signed; `principal` goes into the header `x-amzn-principal`.
    pub async fn call(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
        principal: Option<&str>,
    ) -> anyhow::Result<Reply> {
        let uri = format!("{}{path}", self.base);
        let body = body.map(Value::to_string).unwrap_or_default();
        let identity = Credentials::new(&self.key_id, &self.secret, None, None, "tests").into();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region("us-east-1")
            .name("iot")
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()?;
        let host = self.base.trim_start_matches("http://");
        let headers = [("host", host)].into_iter().chain(principal.map(|arn| ("x-amzn-principal", arn)));
        let signable =
            SignableRequest::new(method, &uri, headers.clone(), SignableBody::Bytes(body.as_bytes()))?;
        let (instructions, _) = sign(signable, &parameters.into())?.into_parts();
        let mut request = self.http.request(method.parse()?, &uri);
        for (name, value) in headers.filter(|(name, _)| *name != "host").chain(instructions.headers()) {
            request = request.header(name, value);
        }
        Self::reply(request.body(body).send().await?).await
    }

    /// GET without a signature: `/readyz`, `/healthz`, `/metrics`.
    pub async fn open(&self, path: &str) -> anyhow::Result<Reply> {
        Self::reply(self.http.get(format!("{}{path}", self.base)).send().await?).await
    }

    /// What `/metrics` says of a name and its labels, as `reason="queue_full"`: the sum of all that have them; 0 if nothing has.
    pub async fn metric(&self, name: &str, labels: &[&str]) -> anyhow::Result<f64> {
        let reply = self.open("/metrics").await?;
        let text = reply.body.as_str().context("no metrics")?;
        let of_name = text.lines().filter_map(|line| line.strip_prefix(name));
        let meant =
            of_name.filter(|rest| rest.starts_with(['{', ' ']) && labels.iter().all(|l| rest.contains(l)));
        Ok(meant.filter_map(|rest| rest.rsplit_once(' ')?.1.parse::<f64>().ok()).sum())
    }

    async fn reply(response: reqwest::Response) -> anyhow::Result<Reply> {
        let status = response.status().as_u16();
        let exception = response.headers().get("x-amzn-errortype").and_then(|value| value.to_str().ok());
        let exception = exception.map(str::to_owned);
        let text = response.text().await?;
        let body = if text.is_empty() {
            Value::Null
        } else {
            serde_json::from_str(&text).unwrap_or(Value::String(text))
        };
        Ok(Reply { status, exception, body })
    }
}

/// Percent-encodes one path segment or query value.
pub(crate) fn encode(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
        out
    })
}
