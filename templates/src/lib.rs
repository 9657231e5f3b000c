//! The provisioning-template language (`spec/templates.md`): parse, validate, evaluate to a [`Plan`]. Pure.
#![deny(missing_docs)]

mod names;
mod plan;
mod problem;
mod template;

pub use names::{
    AttributeName, AttributeValue, BillingGroupName, NameError, PolicyName, ThingGroupName, ThingName,
    ThingTypeName,
};
pub use plan::{
    CertificatePlan, CertificateSource, CertificateStatus, Override, Plan, PolicyPlan, PolicySource,
    PrincipalType, ThingPlan,
};
pub use problem::{Evaluation, EvaluationError, EvaluationProblem, Problem, ProblemKind, Problems};
pub use template::{Caller, Parameters, Rules, Template, generated_policy_name};
