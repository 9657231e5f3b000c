//! Keys that are made before they are asked for: an RSA key takes most of a tenth of a second of one processor, and devices
//! come in crowds.
use super::{IssuingError, IssuingOptions};
use jitp_certs::{Attribute, CertificateError, CertificateRequest, KeyKind, KeyPair, PrivateKeyPem};
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::sync::Once;
use tokio::sync::Semaphore;

/// A new key pair. `Debug` shows nothing of the private key, which is wiped on drop.
#[derive(Debug)]
pub struct DeviceKeys {
    /// The private key.
    pub private_key: PrivateKeyPem,
    /// PEM of the public key (`PUBLIC KEY`).
    pub public_key_pem: String,
    /// The request for its certificate, signed by it.
    pub(super) request: CertificateRequest,
}

/// Keys in stock.
pub(crate) struct KeyPool {
    shelf: Arc<Shelf>,
    filler: Once,
    /// Keys that are made on demand at the same time: one processor is left to everybody else.
    makers: Arc<Semaphore>,
}

struct Shelf {
    kind: KeyKind,
    subject: Vec<(Attribute, String)>,
    /// How many are kept.
    most: usize,
    stock: Mutex<Stock>,
    /// Keys have been taken or made, or the stock is closed.
    changed: Condvar,
}

#[derive(Default)]
struct Stock {
    keys: Vec<DeviceKeys>,
    closed: bool,
}

impl Stock {
    fn take(&mut self) -> Option<DeviceKeys> {
        let keys = self.keys.pop();
        self.report();
        keys
    }
    fn put(&mut self, keys: DeviceKeys) {
        self.keys.push(keys);
        self.report();
    }
    fn report(&self) {
        metrics::gauge!("IssuingKeys.Ready").set(self.keys.len() as f64);
    }
}

impl KeyPool {
    pub(crate) fn new(options: &IssuingOptions) -> Self {
        let takes_time = matches!(options.keys, KeyKind::Rsa2048 | KeyKind::Rsa3072 | KeyKind::Rsa4096);
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            shelf: Arc::new(Shelf {
                kind: options.keys,
                subject: options.subject.clone(),
                most: if takes_time { options.key_pool } else { 0 },
                stock: Mutex::default(),
                changed: Condvar::new(),
            }),
            filler: Once::new(),
            makers: Arc::new(Semaphore::new(processors.saturating_sub(1).max(1))),
        }
    }

    /// Begins to fill the stock, in a thread that yields to all others.
    pub(crate) fn fill(&self) {
        if self.shelf.most == 0 {
            return;
        }
        self.filler.call_once(|| {
            let shelf = Arc::clone(&self.shelf);
            let thread = std::thread::Builder::new().name("jitp-keys".into());
            if let Err(error) = thread.spawn(move || shelf.keep_full()) {
                tracing::warn!(%error, "no thread for making keys ahead: each is made when it is asked for");
            }
        });
    }

    /// A key out of the stock, or a new one if there is none.
    pub(crate) async fn take(&self) -> Result<DeviceKeys, IssuingError> {
        self.fill();
        if let Some(keys) = self.shelf.take() {
            return Ok(keys);
        }
        let failed = |error: String| IssuingError::Issuer(format!("a key could not be made: {error}"));
        let turn =
            Arc::clone(&self.makers).acquire_owned().await.map_err(|error| failed(error.to_string()))?;
        if let Some(keys) = self.shelf.take() {
            return Ok(keys);
        }
        let shelf = Arc::clone(&self.shelf);
        let made = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            shelf.make()
        });
        made.await.map_err(|error| failed(error.to_string()))?.map_err(|error| failed(error.to_string()))
    }
}

impl Drop for KeyPool {
    fn drop(&mut self) {
        self.shelf.stock.lock().closed = true;
        self.shelf.changed.notify_all();
    }
}

impl Shelf {
    fn take(&self) -> Option<DeviceKeys> {
        let keys = self.stock.lock().take();
        self.changed.notify_all();
        keys
    }

    fn make(&self) -> Result<DeviceKeys, CertificateError> {
        let pair = KeyPair::generate(self.kind)?;
        let request = CertificateRequest::from_pem(&pair.sign_request(&self.subject)?)?;
        Ok(DeviceKeys { private_key: pair.private_key()?, public_key_pem: pair.public_key_pem()?, request })
    }

    fn keep_full(&self) {
        // The lowest priority of this one thread; where the system does not know that, it competes like any other.
        let _ = rustix::process::setpriority_process(None, 19);
        loop {
            {
                let mut stock = self.stock.lock();
                while !stock.closed && stock.keys.len() >= self.most {
                    self.changed.wait(&mut stock);
                }
                if stock.closed {
                    return;
                }
            }
            match self.make() {
                Ok(keys) => {
                    self.stock.lock().put(keys);
                    self.changed.notify_all();
                }
                Err(error) => {
                    tracing::error!(%error, "keys are no longer made ahead: each is made when it is asked for");
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::provisioner::{Options, Provisioner};
    use crate::records::TemplateType;
    use crate::registry::CreateTemplate;
    use std::time::Duration;

    impl Shelf {
        fn wait_for_a_key(&self) {
            let mut stock = self.stock.lock();
            while stock.keys.is_empty() {
                let waited = self.changed.wait_for(&mut stock, Duration::from_secs(60));
                assert!(!waited.timed_out(), "no key was made");
            }
        }
    }

    fn pool(keys: KeyKind, key_pool: usize) -> KeyPool {
        KeyPool::new(&IssuingOptions { keys, key_pool, ..IssuingOptions::default() })
    }

    #[tokio::test]
    async fn a_key_comes_with_the_request_for_its_certificate_and_no_two_are_the_same() {
        let pool = pool(KeyKind::EcP256, 8);
        let (one, other) = (pool.take().await.unwrap(), pool.take().await.unwrap());
        assert_ne!(one.public_key_pem, other.public_key_pem);
        assert_eq!(one.request.subject().to_string(), "CN=AWS IoT Certificate");
        assert!(one.public_key_pem.starts_with("-----BEGIN PUBLIC KEY-----"));
        assert!(!format!("{one:?}").contains("PRIVATE KEY"));
    }

    #[tokio::test]
    async fn keys_are_made_ahead_up_to_the_bound_and_anew_when_one_is_taken() {
        let pool = pool(KeyKind::Rsa2048, 1);
        pool.fill();
        for _ in 0..2 {
            pool.shelf.wait_for_a_key();
            assert!(pool.take().await.unwrap().private_key.to_traditional_pem().contains("RSA PRIVATE KEY"));
        }
    }

    #[tokio::test]
    async fn a_registry_begins_where_a_fleet_template_waits_for_devices() {
        let directory = tempfile::tempdir().unwrap();
        let options = Options {
            templates: 1000,
            issuing: IssuingOptions { key_pool: 1, ..IssuingOptions::default() },
            ..Options::default()
        };
        let provisioner = Provisioner::open(directory.path(), options, Arc::new(SystemClock)).await.unwrap();
        let create = async |name: String, template_type| {
            let create = CreateTemplate {
                name: name.parse().unwrap(),
                template_type,
                body: r#"{"Parameters":{"AWS::IoT::Certificate::Id":{"Type":"String"}},"Resources":{"c":{
                    "Type":"AWS::IoT::Certificate","Properties":{
                    "CertificateId":{"Ref":"AWS::IoT::Certificate::Id"}}}}}"#
                    .into(),
                description: None,
                enabled: true,
                role_arn: "arn:aws:iam::000000000000:role/provisioner".into(),
                hook: None,
                tags: Default::default(),
            };
            provisioner.registry().create_template(create).await.unwrap();
        };
        for number in 0..251 {
            create(format!("jitp-{number}"), TemplateType::Jitp).await;
        }
        provisioner.prepare_keys().await.unwrap();
        let filler = &provisioner.inner.issuing.keys().filler;
        assert!(!filler.is_completed(), "nobody will ask");
        create("z-fleet".into(), TemplateType::FleetProvisioning).await;
        provisioner.prepare_keys().await.unwrap();
        assert!(filler.is_completed());
    }

    #[tokio::test]
    async fn an_empty_stock_makes_nobody_wait_for_the_filler() {
        let pool = pool(KeyKind::Rsa2048, 0);
        assert!(pool.take().await.is_ok());
        assert!(!pool.filler.is_completed(), "nothing is made ahead");
    }
}
