//! HTTPS of devices: the API's HTTP over the broker's TLS streams. Neither knows the other.
use jitp_api::{DeviceLimits, DeviceRequests, serve_device};
use jitp_broker::{Device, DeviceHttp, DeviceStream, Upgraded};
use jitp_certs::Certificate;
use jitp_provisioner::{Answer, EnrollmentError, Publication, PublicationError};
use std::sync::Arc;
use tokio::sync::watch;

/// Speaks HTTP with devices of the broker.
pub struct HttpOverTls(pub DeviceLimits);

impl DeviceHttp for HttpOverTls {
    fn serve(
        &self,
        stream: DeviceStream,
        device: Arc<Device>,
        stopping: watch::Receiver<bool>,
    ) -> Answer<'static, Option<Upgraded>> {
        let serving = serve_device(stream, Arc::new(Connected(device)), self.0, stopping);
        Box::pin(async {
            let (stream, received) = serving.await?;
            Some(Upgraded { stream, received })
        })
    }
}

struct Connected(Arc<Device>);

impl DeviceRequests for Connected {
    fn publish<'a>(
        &'a self,
        publication: Publication,
        trace: &'a str,
    ) -> Answer<'a, Result<(), PublicationError>> {
        Box::pin(self.0.publish(publication, trace))
    }
    fn enroll<'a>(
        &'a self,
        csr: String,
        same_subject: bool,
        trace: &'a str,
    ) -> Answer<'a, Result<Certificate, EnrollmentError>> {
        Box::pin(self.0.enroll(csr, same_subject, trace))
    }
    fn ca_certificates(&self) -> Vec<Certificate> {
        self.0.ca_certificates()
    }
}
