//! A pre-provisioning hook that says yes at once.
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

/// Answers until it is dropped.
pub struct Hook {
    address: SocketAddr,
    asked: Arc<AtomicU64>,
    listening: AbortHandle,
}

impl Hook {
    /// What templates call it.
    pub const ARN: &'static str = "arn:aws:lambda:us-east-1:000000000000:function:bench";

    pub async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let asked = Arc::<AtomicU64>::default();
        let listening = tokio::spawn(listen(listener, asked.clone())).abort_handle();
        Ok(Self { address, asked, listening })
    }

    /// The section of the broker's configuration.
    pub fn config(&self) -> String {
        format!("[hooks.bench]\narn = \"{}\"\nurl = \"http://{}/\"\n", Self::ARN, self.address)
    }

    /// How often it was asked.
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Drop for Hook {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn listen(listener: TcpListener, asked: Arc<AtomicU64>) {
    while let Ok((stream, _)) = listener.accept().await {
        let asked = asked.clone();
        let service = service_fn(move |question| answer(question, asked.clone()));
        // A connection that breaks off is the broker's matter.
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn answer(question: Request<Incoming>, asked: Arc<AtomicU64>) -> hyper::Result<Response<Full<Bytes>>> {
    question.into_body().collect().await?;
    asked.fetch_add(1, Ordering::Relaxed);
    Ok(Response::new(Full::from(r#"{"allowProvisioning":true}"#)))
}
