//! The edge of admissions: the fast way for a known certificate, a run for an unknown one, and a record of each refusal.
use crate::admission::cause::Cause;
use crate::admission::run::{Stop, run};
use crate::admission::standing::{Standing, standing};
use crate::admission::visit::Visit;
use crate::admission::{Admission, Presentation, Principal, Seen, leaf, report};
use crate::error::RegistryError;
use crate::issuing::claim;
use crate::names::CertificateId;
use crate::provisioner::Inner;
use crate::reason::ReasonCode;
use crate::records::{CertificateMode, CertificateRecord};
use crate::registry::principals;
use crate::renewal;
use crate::store::Revision;
use crate::tx::{Memory, Tx};
use jitp_certs::Certificate;
use std::sync::Arc;
use std::time::Instant;

impl Inner {
    /// Decides whether a connection is let in.
    pub(crate) async fn admit(self: &Arc<Self>, presentation: &Presentation<'_>) -> Admission {
        let began = Instant::now();
        let leaf = match leaf::parse(presentation) {
            Ok(leaf) => leaf,
            Err((id, cause)) => {
                return self.refuse(Visit::new(presentation, began).with_id(id), &cause, None);
            }
        };
        let seen = match self.known(presentation, &leaf).await {
            Ok(Known::Admitted(principal)) => return Admission::Admitted(*principal),
            Ok(Known::Undecided(seen)) => seen,
            Err((cause, ca)) => {
                return self.refuse(Visit::new(presentation, began).with_leaf(&leaf), &cause, ca);
            }
        };
        let visit = Visit::new(presentation, began).with_leaf(&leaf).with_chain(presentation.chain);
        match self.fly(leaf, visit.clone(), seen).await {
            Ok(principal) => Admission::Admitted(principal),
            Err(Grounded { stop, led }) if led && stop.logged => {
                let attempt = visit.refused(&stop.cause, stop.ca, self.registry.clock().now());
                report::refusal(&attempt);
                Admission::Refused(stop.cause.refusal())
            }
            Err(Grounded { stop, .. }) => self.refuse(visit, &stop.cause, stop.ca),
        }
    }

    /// Decides whether a certificate that is known already is let in.
    pub(crate) async fn authenticate(&self, presentation: &Presentation<'_>) -> Admission {
        let visit = Visit::new(presentation, Instant::now());
        let leaf = match leaf::parse(presentation) {
            Ok(leaf) => leaf,
            Err((id, cause)) => return self.refuse(visit.with_id(id), &cause, None),
        };
        match self.known(presentation, &leaf).await {
            Ok(Known::Admitted(principal)) => Admission::Admitted(*principal),
            Ok(Known::Undecided(_)) => {
                let message = "the certificate is not registered and ACTIVE, and only a connection over MQTT provisions \
                               it: connect the device once, or register its certificate";
                let cause = Cause::new(ReasonCode::CertificateNotRegistered, message);
                self.refuse(visit.with_leaf(&leaf), &cause, None)
            }
            Err((cause, ca)) => self.refuse(visit.with_leaf(&leaf), &cause, ca),
        }
    }

    /// A certificate that may connect: two reads and no lock, whatever the number of devices.
    async fn known(
        &self,
        presentation: &Presentation<'_>,
        leaf: &Certificate,
    ) -> Result<Known, (Cause, Option<CertificateId>)> {
        let as_of = self.registry.changes().latest();
        let mut tx = self.registry.begin();
        let mut ca = None;
        let decided = async {
            if tx.options().require_sni && presentation.server_name.is_none() {
                return Err(Cause::sni_missing("this broker requires one"));
            }
            leaf::check(leaf, tx.now().unix_seconds())?;
            let record: Option<CertificateRecord> = tx.get(&leaf.id()).await?;
            let Some(record) = record else {
                return match self.issuing.may_have_issued(leaf) {
                    true => Ok(claim::admit(&mut tx, leaf, as_of).await?),
                    false => Ok(None),
                };
            };
            ca = record.ca_certificate_id;
            if record.mode == CertificateMode::SniOnly && presentation.server_name.is_none() {
                return Err(Cause::sni_missing("the certificate was registered in mode SNI_ONLY"));
            }
            match standing(&record)? {
                Standing::Active => {
                    if record.retires.is_some() {
                        renewal::connected(&self.registry, record.certificate_id).await;
                    }
                    Ok(Some(self.principal(&mut tx, leaf, &record, as_of).await?))
                }
                Standing::Pending(_) => Ok(None),
            }
        }
        .await;
        let principal: Option<Principal> = decided.map_err(|cause| (cause, ca))?;
        let memory = tx.into_memory();
        Ok(match principal {
            Some(principal) => Known::Admitted(Box::new(Principal { seen: Seen::of(memory), ..principal })),
            None => Known::Undecided(memory),
        })
    }

    /// Waits for the run of this certificate, starting it if nobody has; not longer than the deadline.
    async fn fly(
        self: &Arc<Self>,
        leaf: Certificate,
        visit: Visit,
        seen: Memory,
    ) -> Result<Principal, Grounded> {
        let ground = |reason, message: &str| {
            let cause = Cause::new(reason, message);
            Grounded { stop: Arc::new(Stop { cause, ca: None, logged: false }), led: true }
        };
        let options = self.registry.options();
        let rate = options.runs_per_certificate_per_second;
        if !self.failing.has_token(&leaf.id(), rate, self.registry.clock().now()) {
            let message = "the last run of this certificate failed a moment ago: mend what the attempt before tells, \
                           the device may try again in a second";
            return Err(ground(ReasonCode::CertificateRateExceeded, message));
        }
        let inner = Arc::clone(self);
        let Some(flight) = self.flights.board(leaf.id(), || Box::pin(run(inner, leaf, visit, seen))) else {
            let message = "too many provisioning runs are under way: the device succeeds when it retries";
            return Err(ground(ReasonCode::ProvisioningTimeout, message));
        };
        let led = flight.led;
        match tokio::time::timeout(options.run_deadline, flight.landed()).await {
            Ok(Some(Ok(principal))) => Ok(principal),
            Ok(Some(Err(stop))) => Err(Grounded { stop, led }),
            Ok(None) => {
                Err(ground(ReasonCode::Internal, "the provisioning run crashed: see the broker's log"))
            }
            Err(_) => {
                let message = "the run outlasts its deadline and goes on in the background: the device succeeds when \
                               it retries";
                Err(ground(ReasonCode::ProvisioningTimeout, message))
            }
        }
    }

    /// The principal of a certificate that is provisioned already.
    pub(crate) async fn principal(
        &self,
        tx: &mut Tx,
        leaf: &Certificate,
        record: &CertificateRecord,
        as_of: Revision,
    ) -> Result<Principal, RegistryError> {
        let exclusive_thing = principals::exclusive_thing(tx, record.certificate_id).await?;
        Ok(Principal {
            certificate: leaf.clone(),
            ca_certificate_id: record.ca_certificate_id,
            provisioned_now: false,
            exclusive_thing,
            as_of,
            claim: None,
            seen: Seen::default(),
        })
    }

    /// Refuses, and has it written to the attempt log without waiting for the disk.
    fn refuse(&self, visit: Visit, cause: &Cause, ca: Option<CertificateId>) -> Admission {
        let attempt = visit.refused(cause, ca, self.registry.clock().now());
        report::refusal(&attempt);
        self.attempts.enter_later(attempt);
        Admission::Refused(cause.refusal())
    }
}

/// What the fast way came to.
enum Known {
    Admitted(Box<Principal>),
    /// A run decides, which need not read again what was read.
    Undecided(Memory),
}

/// A connection that its run did not let in.
struct Grounded {
    stop: Arc<Stop>,
    /// This connection started the run.
    led: bool,
}

#[cfg(test)]
mod tests {
    use crate::admission::budget::CaBudget;
    use crate::admission::{Admission, Presentation};
    use crate::clock::SystemClock;
    use crate::names::ThingName;
    use crate::provisioner::{Options, Provisioner};
    use crate::reason::ReasonCode;
    use crate::records::{CertificateMode, RegistrationConfig};
    use crate::registry::RegisterCaCertificate;
    use jitp_certs::{Attribute, Authority, KeyKind, LeafRequest, Validity};
    use std::net::{Ipv4Addr, SocketAddr};
    use std::sync::Arc;
    use std::time::Duration;

    const TEMPLATE: &str = r#"{"Parameters":{"AWS::IoT::Certificate::Id":{"Type":"String"}},"Resources":{
        "gw":{"Type":"AWS::IoT::Thing","Properties":{"ThingName":"pump-1"}},
        "cert":{"Type":"AWS::IoT::Certificate","Properties":{"CertificateId":{"Ref":"AWS::IoT::Certificate::Id"}}}}}"#;

    #[tokio::test]
    async fn a_run_that_outlasts_its_deadline_goes_on_and_the_device_may_retry() {
        let directory = tempfile::tempdir().unwrap();
        let options = Options { run_deadline: Duration::from_millis(1), ..Options::default() };
        let provisioner = Provisioner::open(directory.path(), options, Arc::new(SystemClock)).await.unwrap();
        let validity = Validity { not_before: 0, not_after: 4_000_000_000 };
        let subject = [(Attribute::CommonName, "Plant".to_owned())];
        let ca = Authority::create(&subject, validity, KeyKind::EcP256).unwrap();
        let request = RegisterCaCertificate {
            ca_certificate: ca.certificate().to_pem(),
            mode: CertificateMode::SniOnly,
            set_as_active: true,
            allow_auto_registration: true,
            registration_config: Some(RegistrationConfig {
                template_name: None,
                template_body: Some(TEMPLATE.into()),
                role_arn: Some("arn:aws:iam::000000000000:role/provisioner".into()),
            }),
            ..RegisterCaCertificate::default()
        };
        let registered = provisioner.registry().register_ca_certificate(request).await.unwrap();
        let budget = CaBudget { runs_per_second: None, total_runs: Some(1) };
        provisioner.registry().set_ca_budget(registered.certificate_id, budget).await.unwrap();
        let leaf = LeafRequest { subject: subject.to_vec(), validity, key: KeyKind::EcP256 };
        let leaf = ca.issue_device(&leaf).unwrap().certificate;
        let presentation = Presentation {
            chain: &[leaf.der()],
            leaf: None,
            client_id: "pump-1",
            source: SocketAddr::from((Ipv4Addr::LOCALHOST, 1)),
            server_name: Some("broker.example"),
            trace: "",
        };

        // The run waits for its turn, which is taken.
        let turn = provisioner.inner.budget.lock().await;
        let Admission::Refused(refusal) = provisioner.admit(&presentation).await else { panic!("admitted") };
        assert_eq!((refusal.reason, refusal.retry), (ReasonCode::ProvisioningTimeout, true));
        drop(turn);
        let thing = ThingName::new("pump-1").unwrap();
        loop {
            let latest = provisioner.changes().latest();
            if provisioner.registry().thing(&thing).await.is_ok() {
                break;
            }
            provisioner.changes().beyond(latest).await;
        }
        let Admission::Admitted(principal) = provisioner.admit(&presentation).await else {
            panic!("refused")
        };
        assert!(!principal.provisioned_now);
    }
}
