//! The control plane of jitp as its callers see it: requests signed (SigV4) before a clock starts, over connections that
//! stay open.
use anyhow::{Context, ensure};
use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::net::TcpStream;

const DEADLINE: Duration = Duration::from_secs(60);
/// The path of the pages that are open to everybody.
const METRICS: &str = "/metrics";

/// A request, ready to be sent. Good for fifteen minutes.
pub type Signed = Request<Full<Bytes>>;

/// The API of a running jitp, and the operator's key for it.
pub struct Api {
    authority: String,
    credentials: Credentials,
    /// Connections that nobody uses at the moment.
    idle: Mutex<Vec<SendRequest<Full<Bytes>>>>,
}

impl Api {
    /// The API at `http://HOST:PORT`, with the key that jitp has written into its data directory.
    pub fn new(url: &str, data_dir: &Path) -> anyhow::Result<Self> {
        let file = data_dir.join("credentials");
        let text =
            std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.trim().strip_prefix('='));
            line.map(str::trim).with_context(|| format!("{} has no {name}", file.display()))
        };
        let (id, secret) = (value("aws_access_key_id")?, value("aws_secret_access_key")?);
        Ok(Self {
            authority: url.strip_prefix("http://").context("the API is not at http://")?.to_owned(),
            credentials: Credentials::new(id, secret, None, None, "jitp-bench"),
            idle: Mutex::default(),
        })
    }

    /// Signs a request; `Value::Null` is an empty body.
    pub fn sign(&self, method: &str, path: &str, body: &Value) -> anyhow::Result<Signed> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let uri = format!("http://{}{path}", self.authority);
        let identity = self.credentials.clone().into();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region("us-east-1")
            .name("iot")
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()?;
        let host = std::iter::once(("host", self.authority.as_str()));
        let signable = SignableRequest::new(method, &uri, host, SignableBody::Bytes(body.as_bytes()))?;
        let (instructions, _) = sign(signable, &parameters.into())?.into_parts();
        let mut request = Request::builder().method(method).uri(path).header("host", &self.authority);
        for (name, value) in instructions.headers() {
            request = request.header(name, value);
        }
        Ok(request.body(Full::from(body))?)
    }

    /// Signs and sends.
    pub async fn call(&self, method: &str, path: &str, body: &Value) -> anyhow::Result<Value> {
        let answer = self.send(self.sign(method, path, body)?).await;
        answer.with_context(|| format!("{method} {path}"))
    }

    /// Sends a signed request; gives the body of the answer, which must be a success.
    pub async fn send(&self, request: Signed) -> anyhow::Result<Value> {
        let body = self.exchange(request).await?;
        if body.is_empty() { Ok(Value::Null) } else { Ok(serde_json::from_slice(&body)?) }
    }

    /// A figure among the metrics, if it is there by now.
    pub async fn metric(&self, name: &str) -> anyhow::Result<Option<f64>> {
        let request = Request::builder().uri(METRICS).header("host", &self.authority);
        let text = String::from_utf8(self.exchange(request.body(Full::default())?).await?.to_vec())?;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(value.map(str::parse).transpose()?)
    }

    async fn exchange(&self, request: Signed) -> anyhow::Result<Bytes> {
        let exchange = async {
            let mut connection = self.connection().await?;
            let response = connection.send_request(request).await?;
            let status = response.status();
            let body = response.into_body().collect().await?.to_bytes();
            ensure!(status.is_success(), "{status}: {}", String::from_utf8_lossy(&body));
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            Ok(body)
        };
        tokio::time::timeout(DEADLINE, exchange).await.context("the API does not answer")?
    }

    async fn connection(&self) -> anyhow::Result<SendRequest<Full<Bytes>>> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(mut connection) = idle
            && connection.ready().await.is_ok()
        {
            return Ok(connection);
        }
        let stream = TcpStream::connect(&self.authority).await.context("no API answers")?;
        stream.set_nodelay(true)?;
        let (connection, driver) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(driver);
        Ok(connection)
    }
}
