//! What the tests of the API share: a running API over a fresh registry, a signing client, and replies without the
//! values that differ from run to run.
#![allow(dead_code, reason = "every test file uses its own part")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use jitp_api::{AccessKey, AccessKeys, Api, Config, Limits, Rates};
use jitp_certs::{Attribute, Authority, Issued, KeyKind, LeafRequest, Validity};
use jitp_provisioner::{Clock as _, Options, Provisioner, SystemClock};
use serde_json::{Value, json};

/// Far beyond what anything takes; only a test that fails waits this long.
pub const PATIENCE: Duration = Duration::from_secs(120);

pub const REGION: &str = "local-1";
pub const ACCOUNT: &str = "000000000000";
pub const KEY: &str = "AKIATESTTESTTESTTEST";
pub const SECRET: &str = "a secret of forty characters, as at AWS.";
pub const ROLE: &str = "arn:aws:iam::000000000000:role/provisioner";
pub const POLICY: &str =
    r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:Connect","Resource":"*"}]}"#;

/// A running API over a registry of its own.
pub struct Server {
    pub provisioner: Provisioner,
    pub api: Api,
    pub client: Client,
    _directory: tempfile::TempDir,
}

impl Server {
    pub async fn start() -> Self {
        Self::start_in(REGION, |_| {}).await
    }
    /// In another region, with another configuration.
    pub async fn start_in(region: &str, configure: impl FnOnce(&mut Config)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options = Options { account: ACCOUNT.into(), region: region.into(), ..Options::default() };
        let provisioner = Provisioner::open(directory.path(), options, Arc::new(SystemClock)).await.unwrap();
        let mut config = Config {
            listen: ([127, 0, 0, 1], 0).into(),
            tls: None,
            limits: Limits::default(),
            rates: Rates::default(),
            keys: AccessKeys(vec![AccessKey { id: KEY.into(), secret: SECRET.to_string().into() }]),
            endpoint: "broker.example:18883".into(),
            reset: None,
            metrics: Some(Arc::new(|| "jitp_up 1\n".to_string())),
        };
        configure(&mut config);
        let api = Api::start(config, provisioner.clone()).await.unwrap();
        let client = Client::new(api.local_address());
        Self { provisioner, api, client, _directory: directory }
    }

    /// A client with a new access key of a role.
    pub async fn client_of(&self, role: &str) -> Client {
        let key = self.client.ok("POST", "/jitp/v1/keys", json!({"role": role})).await;
        let text = |name: &str| key[name].as_str().unwrap().to_string();
        Client { key: text("accessKeyId"), secret: text("secretAccessKey"), ..self.client.clone() }
    }
}

/// Signs and sends requests.
#[derive(Clone)]
pub struct Client {
    pub address: SocketAddr,
    pub http: reqwest::Client,
    pub key: String,
    pub secret: String,
    pub region: String,
    pub age: Duration,
}

/// What came back.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub status: u16,
    pub exception: Option<String>,
    pub request_id: String,
    pub body: Value,
}

impl Client {
    pub fn new(address: SocketAddr) -> Self {
        // Where the whole workspace is built, reqwest has TLS and asks for it.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        Self {
            address,
            http: reqwest::Client::builder().no_proxy().read_timeout(PATIENCE).build().unwrap(),
            key: KEY.into(),
            secret: SECRET.into(),
            region: REGION.into(),
            age: Duration::ZERO,
        }
    }

    /// A signed request with a JSON body.
    pub async fn call(&self, method: &str, target: &str, body: Value) -> Answer {
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        self.send(self.signed(method, target, &[], body)).await
    }
    /// A signed request that must succeed.
    pub async fn ok(&self, method: &str, target: &str, body: Value) -> Value {
        let answer = self.call(method, target, body).await;
        assert_eq!(answer.status, 200, "{method} {target}: {answer:?}");
        assert_eq!(answer.exception, None);
        answer.body
    }
    /// A signed request about the things of a principal.
    pub async fn with_principal(&self, method: &str, target: &str, arn: &str) -> Answer {
        self.send(self.signed(method, target, &[("x-amzn-principal", arn)], Vec::new())).await
    }

    pub fn signed(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> reqwest::Request {
        let url = format!("http://{}{target}", self.address);
        let host = self.address.to_string();
        let identity = Credentials::new(&self.key, &self.secret, None, None, "test").into();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name("iot")
            .time(SystemTime::now() - self.age)
            .settings(SigningSettings::default())
            .build()
            .unwrap();
        let all = [("host", host.as_str())].into_iter().chain(headers.iter().copied());
        let signable = SignableRequest::new(method, &url, all, SignableBody::Bytes(&body)).unwrap();
        let (instructions, _) = sign(signable, &parameters.into()).unwrap().into_parts();
        let mut request = self.http.request(method.parse().unwrap(), &url).body(body);
        for (name, value) in headers.iter().copied().chain(instructions.headers()) {
            request = request.header(name, value);
        }
        request.build().unwrap()
    }

    pub async fn send(&self, request: reqwest::Request) -> Answer {
        let response = self.stream(request).await;
        let header =
            |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_string());
        let (exception, request_id) = (header("x-amzn-errortype"), header("x-amzn-requestid").unwrap());
        let status = response.status().as_u16();
        let bytes = response.bytes().await.unwrap();
        let body = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into_owned().into());
        Answer { status, exception, request_id, body }
    }
    pub async fn stream(&self, request: reqwest::Request) -> reqwest::Response {
        self.http.execute(request).await.unwrap()
    }
    /// An unsigned GET.
    pub async fn plain(&self, path: &str) -> Answer {
        let url = format!("http://{}{path}", self.address);
        self.send(self.http.get(url).build().unwrap()).await
    }
}

/// A CA outside of the registry, as a factory has one.
pub fn authority(name: &str) -> Authority {
    Authority::create(&[(Attribute::CommonName, name.into())], validity(), KeyKind::EcP256).unwrap()
}

/// A device's certificate.
pub fn device(authority: &Authority, name: &str) -> Issued {
    let request = LeafRequest {
        subject: vec![(Attribute::CommonName, name.into())],
        validity: validity(),
        key: KeyKind::EcP256,
    };
    authority.issue_device(&request).unwrap()
}

fn validity() -> Validity {
    let now = SystemClock.now().unix_seconds();
    Validity { not_before: now - 3600, not_after: now + 86_400 }
}

/// A JITP template that names the thing after the certificate.
pub fn jitp_template() -> String {
    let name = json!({"Ref": "AWS::IoT::Certificate::CommonName"});
    json!({
        "Parameters": {
            "AWS::IoT::Certificate::CommonName": {"Type": "String"},
            "AWS::IoT::Certificate::Id": {"Type": "String"},
        },
        "Resources": {
            "thing": {"Type": "AWS::IoT::Thing", "Properties": {"ThingName": name}},
            "certificate": {
                "Type": "AWS::IoT::Certificate",
                "Properties": {"CertificateId": {"Ref": "AWS::IoT::Certificate::Id"}, "Status": "ACTIVE"},
            },
            "policy": {"Type": "AWS::IoT::Policy", "Properties": {"PolicyDocument": POLICY}},
        },
    })
    .to_string()
}

/// Registers a CA without proof (`SNI_ONLY`), active and with auto-registration. Its id.
pub async fn register(client: &Client, authority: &Authority) -> String {
    let body = json!({"caCertificate": authority.certificate().to_pem(), "certificateMode": "SNI_ONLY"});
    let reply = client.ok("POST", "/cacertificate?setAsActive=true&allowAutoRegistration=true", body).await;
    reply["certificateId"].as_str().unwrap().to_string()
}

pub fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'-' | b'.' | b'_' | b'~' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}

/// The reply without what differs from run to run: ids, times, tokens, keys.
pub fn steady(value: &Value) -> Value {
    match value {
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| {
                let value = match name.as_str() {
                    "notBefore" | "notAfter" => json!("[time]"),
                    _ if name.ends_with("Date") || name == "expiration" => {
                        let at = value.as_f64().expect("epoch seconds");
                        assert!((1.7e9..1.0e10).contains(&at), "{name} is in seconds: {at}");
                        json!("[time]")
                    }
                    "nextMarker" | "nextToken" => json!("[token]"),
                    _ => steady(value),
                };
                (name.clone(), value)
            })
            .collect(),
        Value::Array(items) => items.iter().map(steady).collect(),
        Value::String(text) if text.starts_with("-----BEGIN") => json!("[PEM]"),
        Value::String(text) => json!(steady_text(text)),
        other => other.clone(),
    }
}

fn steady_text(text: &str) -> String {
    let mut steady = String::new();
    let mut run = String::new();
    for c in text.chars().chain(['\n']) {
        if c.is_ascii_hexdigit() || c == '-' {
            run.push(c);
            continue;
        }
        let hex = run.chars().all(|c| c.is_ascii_hexdigit());
        let uuid = run.len() == 36 && run.matches('-').count() == 4;
        steady.push_str(match run.len() {
            64 if hex => "[id]",
            _ if uuid => "[uuid]",
            _ => &run,
        });
        run.clear();
        steady.push(c);
    }
    steady.pop();
    steady
}
