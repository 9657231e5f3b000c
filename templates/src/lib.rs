//! The provisioning-template language (`spec/templates.md`): parse, validate, evaluate to a [`Plan`].
//!
//! Pure: no I/O, no clock, no global state. A body goes through [`Template::parse`], which reports every
//! mistake at once with its JSON path, and then any number of times through [`Template::evaluate`], which
//! turns parameter values into a [`Plan`] or into every reason why it cannot. What exists already (things,
//! groups, policies) is not known here: carrying out a plan is the provisioner's part.
//!
//! ```
//! use jitp_templates::{Caller, Parameters, Rules, Template};
//!
//! let body = r#"{
//!   "Parameters": { "AWS::IoT::Certificate::CommonName": { "Type": "String" },
//!                   "AWS::IoT::Certificate::Id": { "Type": "String" } },
//!   "Resources": {
//!     "gw":   { "Type": "AWS::IoT::Thing",
//!               "Properties": { "ThingName": { "Ref": "AWS::IoT::Certificate::CommonName" } } },
//!     "cert": { "Type": "AWS::IoT::Certificate",
//!               "Properties": { "CertificateId": { "Ref": "AWS::IoT::Certificate::Id" } } }
//!   }
//! }"#;
//! let rules = Rules { caller: Caller::Jitp, policy: &|_| Ok(()), functions_in_fleet_only: false };
//! let template = Template::parse(body, rules)?;
//!
//! let values = Parameters::from([
//!     ("AWS::IoT::Certificate::CommonName".to_owned(), "gw-17".to_owned()),
//!     ("AWS::IoT::Certificate::Id".to_owned(), "5f".repeat(32)),
//! ]);
//! let plan = template.evaluate(&values)?;
//! assert_eq!(plan.thing.map(|thing| thing.name.to_string()).as_deref(), Some("gw-17"));
//!
//! // The subject has no CommonName: the run fails and says so.
//! let error = template.evaluate(&Parameters::new()).unwrap_err();
//! assert_eq!(error.0[0].path, "$.Resources.gw.Properties.ThingName");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![deny(missing_docs)]

mod certificate;
mod check;
mod device_configuration;
mod expression;
mod json;
mod json_reader;
mod mappings;
mod names;
pub mod nearest;
mod overrides;
mod parameters;
mod place;
mod plan;
mod policy;
mod problem;
mod run;
mod template;
mod thing;

pub use names::{
    AttributeName, AttributeValue, BillingGroupName, NameError, PolicyName, ThingGroupName, ThingName,
    ThingTypeName,
};
pub use plan::{
    CertificatePlan, CertificateSource, CertificateStatus, Override, Plan, PolicyPlan, PolicySource,
    PrincipalType, ThingPlan,
};
pub use policy::generated_policy_name;
pub use problem::{Evaluation, EvaluationError, EvaluationProblem, Problem, ProblemKind, Problems};
pub use template::{Caller, Parameters, ResourceKind, Rules, Template};
