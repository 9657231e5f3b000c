//! `AWS::IoT::Certificate` (`spec/templates.md` section 3.2).
use crate::check::{CERTIFICATE_ID, Check, Read};
use crate::expression::{Allowed, Expression};
use crate::json::{Member, Node, member};
use crate::nearest::{did_you_mean, quoted};
use crate::overrides::{self, Key, Overrides};
use crate::problem::ProblemKind;
use crate::run::Run;
use crate::template::{Caller, Resource};
use crate::{CertificatePlan, CertificateSource, CertificateStatus, PrincipalType};

/// Characters of a signing request, at most (`spec/control-plane.md`, name patterns).
const MAX_SIGNING_REQUEST: usize = 4096;
/// Characters of a PEM certificate, at most.
const MAX_PEM: usize = 65536;

/// A validated certificate.
#[derive(Debug, Clone)]
pub(crate) struct Certificate {
    logical_name: String,
    source: Source,
    status: Option<Expression>,
    overrides: Overrides,
    principal_type: PrincipalType,
}

#[derive(Debug, Clone)]
enum Source {
    Id(Expression),
    SigningRequest(Expression),
    Pem { certificate: Expression, ca_certificate: Option<Expression> },
}

const PROPERTIES: [&str; 6] = [
    "CertificateId",
    "CertificateSigningRequest",
    "CertificatePem",
    "CACertificatePem",
    "Status",
    "ThingPrincipalType",
];

const OVERRIDES: [Key; 1] = [Key { name: "Status", prose_name: "STATUS", mergeable: false }];

impl Certificate {
    pub(crate) fn read(resource: &Resource<'_>, check: &mut Check<'_>) -> Read<Self> {
        let overrides = resource.overrides.map(|node| overrides::read(node, &OVERRIDES, check));
        let node = resource.properties(check)?;
        let members = check.record(node, "a certificate", &PROPERTIES)?;
        let source = match check.rules.caller {
            Caller::Jitp | Caller::Fleet => read_presented(node, members, check),
            Caller::Rest | Caller::Bulk => read_source(node, members, check),
        };
        let status = member(members, "Status").map(|node| read_status(node, check));
        let principal_type =
            member(members, "ThingPrincipalType").map(|node| read_principal_type(node, check));
        Ok(Self {
            logical_name: resource.logical_name.to_owned(),
            source: source?,
            status: status.transpose()?,
            overrides: overrides.unwrap_or_default(),
            principal_type: principal_type.transpose()?.unwrap_or_default(),
        })
    }

    pub(crate) fn evaluate<'t>(&'t self, run: &mut Run<'t>) -> Read<CertificatePlan> {
        run.enter_resource(Some(&self.logical_name));
        let source = self.source.evaluate(run);
        let status = self.status.as_ref().map(|value| evaluate_status(value, run));
        Ok(CertificatePlan {
            logical_name: self.logical_name.clone(),
            source: source?,
            status: status.transpose()?,
            status_override: self.overrides.get("Status").copied(),
            principal_type: self.principal_type,
        })
    }
}

impl Source {
    fn evaluate<'t>(&'t self, run: &mut Run<'t>) -> Read<CertificateSource> {
        match self {
            Self::Id(value) => {
                let text = run.text(value)?;
                match normal_id(&text) {
                    Some(id) => Ok(CertificateSource::Id(id)),
                    None => {
                        Err(run.fail(ProblemKind::InvalidCertificateSource, &value.place, not_an_id(&text)))
                    }
                }
            }
            Self::SigningRequest(value) => Ok(CertificateSource::SigningRequest(evaluate_pem(
                value,
                "CertificateSigningRequest",
                MAX_SIGNING_REQUEST,
                run,
            )?)),
            Self::Pem { certificate, ca_certificate } => {
                let certificate = evaluate_pem(certificate, "CertificatePem", MAX_PEM, run);
                let ca_certificate = ca_certificate
                    .as_ref()
                    .map(|value| evaluate_pem(value, "CACertificatePem", MAX_PEM, run));
                Ok(CertificateSource::Pem {
                    certificate: certificate?,
                    ca_certificate: ca_certificate.transpose()?,
                })
            }
        }
    }
}

/// JITP and fleet: the certificate at hand, and nothing else.
fn read_presented(node: &Node, members: &[Member], check: &mut Check<'_>) -> Read<Source> {
    let kind = match check.rules.caller {
        Caller::Jitp => "just-in-time provisioning",
        _ => "fleet provisioning",
    };
    let mut refused = None;
    for name in ["CertificateSigningRequest", "CertificatePem", "CACertificatePem"] {
        if let Some(other) = member(members, name) {
            let message = format!(
                "{name} is not possible in {kind}, where the certificate exists already: \
                 use \"CertificateId\": {{\"Ref\": \"{CERTIFICATE_ID}\"}}"
            );
            refused = Some(check.report(&other.place, message));
        }
    }
    let id = match (member(members, "CertificateId"), refused) {
        (None, Some(reported)) => return Err(reported),
        (None, None) => check.required(node, members, "CertificateId", &PROPERTIES)?,
        (Some(id), _) => id,
    };
    let expression = match id.call() {
        Some(("Ref", _)) => Expression::read(id, "CertificateId", Allowed::ReferenceOnly, check)?,
        _ => return Err(check.report(&id.place, must_be_reference(kind))),
    };
    if !expression.is_reference_to(CERTIFICATE_ID) {
        return Err(check.report(&id.place, must_be_reference(kind)));
    }
    Ok(Source::Id(expression))
}

fn must_be_reference(kind: &str) -> String {
    format!("in {kind} CertificateId must be {{\"Ref\": \"{CERTIFICATE_ID}\"}}")
}

/// REST and bulk: exactly one of three.
fn read_source(node: &Node, members: &[Member], check: &mut Check<'_>) -> Read<Source> {
    const SOURCES: [&str; 3] = ["CertificateId", "CertificateSigningRequest", "CertificatePem"];
    let given: Vec<&str> = SOURCES.into_iter().filter(|name| member(members, name).is_some()).collect();
    let count = if given.len() > 1 {
        Err(check.report(
            &node.place,
            format!("a certificate has one source, not {}: keep one", given.join(" and ")),
        ))
    } else {
        Ok(())
    };
    let ca_certificate = member(members, "CACertificatePem");
    if let (Some(ca), None) = (ca_certificate, member(members, "CertificatePem")) {
        check.report(
            &ca.place,
            "CACertificatePem is the issuer of a CertificatePem, which is missing: add it or remove this",
        );
    }
    let mut read = |name: &str| {
        member(members, name).map(|node| Expression::read(node, name, Allowed::Functions, check)).transpose()
    };
    let id = read("CertificateId");
    let request = read("CertificateSigningRequest");
    let certificate = read("CertificatePem");
    let ca_certificate = read("CACertificatePem");
    count?;
    let (id, request, certificate, ca_certificate) = (id?, request?, certificate?, ca_certificate?);
    match (id, request, certificate) {
        (Some(id), _, _) => {
            if let Some(text) = id.literal()
                && normal_id(text).is_none()
            {
                return Err(check.report(&id.place, not_an_id(text)));
            }
            Ok(Source::Id(id))
        }
        (None, Some(request), _) => Ok(Source::SigningRequest(request)),
        (None, None, Some(certificate)) => Ok(Source::Pem { certificate, ca_certificate }),
        (None, None, None) => {
            let message = "the certificate has no source: \
                add CertificateId, CertificateSigningRequest or CertificatePem";
            Err(check.report(&node.place, message))
        }
    }
}

fn read_status(node: &Node, check: &mut Check<'_>) -> Read<Expression> {
    let status = Expression::read(node, "Status", Allowed::Functions, check)?;
    match status.literal() {
        Some(text) if parse_status(text).is_none() => Err(check.report(&node.place, unknown_status(text))),
        _ => Ok(status),
    }
}

fn read_principal_type(node: &Node, check: &mut Check<'_>) -> Read<PrincipalType> {
    const EXCLUSIVE: &str = "EXCLUSIVE_THING";
    const NON_EXCLUSIVE: &str = "NON_EXCLUSIVE_THING";
    match check.literal(node, "ThingPrincipalType")? {
        EXCLUSIVE => Ok(PrincipalType::ExclusiveThing),
        NON_EXCLUSIVE => Ok(PrincipalType::NonExclusiveThing),
        other => {
            let hint = did_you_mean(
                other,
                [EXCLUSIVE, NON_EXCLUSIVE],
                ": write EXCLUSIVE_THING or NON_EXCLUSIVE_THING",
            );
            Err(check.report(&node.place, format!("unknown ThingPrincipalType {}{hint}", quoted(other))))
        }
    }
}

fn evaluate_status<'t>(value: &'t Expression, run: &mut Run<'t>) -> Read<CertificateStatus> {
    let text = run.text(value)?;
    parse_status(&text)
        .ok_or_else(|| run.fail(ProblemKind::InvalidStatus, &value.place, unknown_status(&text)))
}

fn evaluate_pem<'t>(value: &'t Expression, what: &str, max: usize, run: &mut Run<'t>) -> Read<String> {
    let text = run.bounded(value, what, max)?;
    if text.is_empty() {
        return Err(run.fail(
            ProblemKind::InvalidCertificateSource,
            &value.place,
            format!("{what} is empty"),
        ));
    }
    Ok(text)
}

/// AWS writes `ACTIVE` in its reference and `Active` in its fleet sample.
fn parse_status(text: &str) -> Option<CertificateStatus> {
    if text.eq_ignore_ascii_case("ACTIVE") {
        Some(CertificateStatus::Active)
    } else if text.eq_ignore_ascii_case("INACTIVE") {
        Some(CertificateStatus::Inactive)
    } else {
        None
    }
}

fn unknown_status(text: &str) -> String {
    format!("unknown Status {}: write ACTIVE or INACTIVE", quoted(text))
}

/// 64 lower-case digits of `(0x)?[a-fA-F0-9]{64}`.
fn normal_id(text: &str) -> Option<String> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    (digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_hexdigit())).then(|| digits.to_ascii_lowercase())
}

fn not_an_id(text: &str) -> String {
    format!("{} is not a certificate id: that is 64 hexadecimal digits", quoted(text))
}
