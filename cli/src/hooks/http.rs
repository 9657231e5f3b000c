//! A hook behind a URL: POST of JSON, signed if there is a secret.
use super::signature::{SIGNATURE_HEADER, Secret, TIMESTAMP_HEADER};
use anyhow::{Context, bail};
use async_trait::async_trait;
use jitp_provisioner::{Callback, Callbacks, Clock, SystemClock};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, Url, redirect};
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;

/// A hook behind a URL. Connections are kept and used again; redirects are not followed, proxies of the environment not used.
pub struct HttpHook {
    client: Client,
    url: Url,
    secret: Option<Secret>,
}

impl HttpHook {
    /// `ca_file`: PEM of the only CAs to trust with HTTPS; otherwise those of the system.
    pub fn new(url: &str, ca_file: Option<&Path>, secret: Option<Secret>) -> anyhow::Result<Self> {
        let url: Url = url.parse().context("url cannot be read")?;
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            bail!("url must be http://… or https://…");
        }
        if !url.username().is_empty() || url.password().is_some() {
            bail!("url must not carry a user or a password: let the hook check the signature (secret_file)");
        }
        let roots = match url.scheme() {
            "https" => trusted(ca_file)?,
            _ if ca_file.is_some() => bail!("ca_file is for https"),
            _ => RootCertStore::empty(),
        };
        let client = Client::builder()
            .redirect(redirect::Policy::none())
            .no_proxy()
            .use_preconfigured_tls(tls(roots)?)
            .build()?;
        Ok(Self { client, url, secret })
    }
}

#[async_trait]
impl Callback for HttpHook {
    async fn call(&self, question: &[u8]) -> Result<Vec<u8>, String> {
        let mut request = self.client.post(self.url.clone()).header(CONTENT_TYPE, "application/json");
        if let Some(secret) = &self.secret {
            let now = SystemClock.now().unix_seconds();
            request =
                request.header(TIMESTAMP_HEADER, now).header(SIGNATURE_HEADER, secret.sign(now, question));
        }
        let mut response = request.body(question.to_vec()).send().await.map_err(|error| in_words(&error))?;
        if !response.status().is_success() {
            return Err(format!("it answered HTTP {}", response.status().as_u16()));
        }
        let mut answer = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| in_words(&error))? {
            answer.extend_from_slice(&chunk);
            // One byte too many is enough to say that it is too long.
            if answer.len() > Callbacks::LONGEST_ANSWER {
                break;
            }
        }
        Ok(answer)
    }
}

/// Whom to trust: the CAs of a file, or those of the system.
fn trusted(ca_file: Option<&Path>) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(path) => {
            let pem =
                std::fs::read(path).with_context(|| format!("cannot read ca_file {}", path.display()))?;
            for certificate in CertificateDer::pem_slice_iter(&pem) {
                roots.add(certificate.context("ca_file is not PEM")?).context("ca_file")?;
            }
            if roots.is_empty() {
                bail!("ca_file {} holds no CERTIFICATE block", path.display());
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                bail!("this system has no CA certificates: name those to trust as ca_file");
            }
        }
    }
    Ok(roots)
}

fn tls(roots: RootCertStore) -> anyhow::Result<rustls::ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    Ok(rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

/// The error and what is behind it; the innermost says most.
fn in_words(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// Answers one request with these bytes; gives what was asked.
    async fn asked(response: String) -> (Result<Vec<u8>, String>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/check?site=1", listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"{\"q\":1}") {
                assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0);
            }
            // The client may stop reading what is too long.
            let _ = stream.write_all(response.as_bytes()).await;
            String::from_utf8(request).unwrap()
        });
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("secret");
        std::fs::write(&file, "correct horse battery").unwrap();
        let hook = HttpHook::new(&url, None, Secret::find(Some(&file), None).unwrap()).unwrap();
        (hook.call(b"{\"q\":1}").await, server.await.unwrap())
    }

    fn answer(head: &str, body: &str) -> String {
        format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
    }

    #[tokio::test]
    async fn a_question_is_posted_as_json_with_a_signature_over_time_and_body() {
        let (answered, request) = asked(answer("200 OK", "yes")).await;
        assert_eq!(answered.unwrap(), b"yes");
        assert!(request.starts_with("POST /check?site=1 HTTP/1.1\r\n"), "{request}");
        let header = |name: &str| {
            let line = request.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_once(": ").unwrap().1.to_owned()
        };
        assert_eq!(header("content-type"), "application/json");
        let secret = Secret::find(None, None).unwrap();
        assert!(secret.is_none());
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("secret");
        std::fs::write(&file, "correct horse battery").unwrap();
        let secret = Secret::find(Some(&file), None).unwrap().unwrap();
        let at: i64 = header(TIMESTAMP_HEADER).parse().unwrap();
        assert_eq!(header(SIGNATURE_HEADER), secret.sign(at, b"{\"q\":1}"));
    }

    #[tokio::test]
    async fn whatever_is_not_success_is_no_answer() {
        for head in
            ["500 Oops", "404 Not Found", "302 Found\r\nlocation: http://127.0.0.1:1/", "403 Forbidden"]
        {
            let (answered, _) = asked(answer(head, "{}")).await;
            assert!(answered.unwrap_err().contains("it answered HTTP "), "{head}");
        }
        let (answered, _) = asked("HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nshort".into()).await;
        assert!(answered.is_err());
        let nobody = HttpHook::new("http://127.0.0.1:1/", None, None).unwrap();
        assert!(nobody.call(b"{}").await.is_err());
    }

    #[tokio::test]
    async fn an_answer_without_end_is_not_read_to_the_end() {
        let (answered, _) = asked(answer("200 OK", &"x".repeat(2 * Callbacks::LONGEST_ANSWER))).await;
        assert!(
            (Callbacks::LONGEST_ANSWER + 1..2 * Callbacks::LONGEST_ANSWER).contains(&answered.unwrap().len())
        );
    }
}
