//! A template that has passed validation.
use crate::certificate::Certificate;
use crate::check::{CERTIFICATE_ID, Check, Read};
use crate::device_configuration::DeviceConfiguration;
use crate::json::{Node, member};
use crate::json_reader;
use crate::mappings::Mappings;
use crate::nearest::{did_you_mean, quoted};
use crate::parameters::Declarations;
use crate::policy::Policy;
use crate::problem::Problem;
use crate::run::Run;
use crate::thing::Thing;
use crate::{Evaluation, EvaluationError, Plan, Problems};
use std::collections::BTreeMap;

/// Parameter values by name.
pub type Parameters = BTreeMap<String, String>;

/// Who runs the template: the language differs a little (`spec/templates.md` sections 1, 2, 3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    /// Just-in-time provisioning: parameters come from the certificate.
    Jitp,
    /// The REST operation `RegisterThing`.
    Rest,
    /// A line of a bulk registration task.
    Bulk,
    /// Fleet provisioning: `RegisterThing` over MQTT.
    Fleet,
}

/// What validation depends on.
#[derive(Clone, Copy)]
pub struct Rules<'a> {
    /// Who will run the template.
    pub caller: Caller,
    /// Accepts or explains an inline policy document, given as [`crate::PolicySource::Inline`] will hold it
    /// (the policy language is not known here).
    pub policy: &'a dyn Fn(&str) -> Result<(), String>,
    /// Refuse `Fn::…` outside fleet templates (strict AWS reading). Default false.
    pub functions_in_fleet_only: bool,
}

/// The kinds of resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub enum ResourceKind {
    /// `AWS::IoT::Thing`
    #[serde(rename = "AWS::IoT::Thing")]
    Thing,
    /// `AWS::IoT::Certificate`
    #[serde(rename = "AWS::IoT::Certificate")]
    Certificate,
    /// `AWS::IoT::Policy`
    #[serde(rename = "AWS::IoT::Policy")]
    Policy,
}

/// A validated template; evaluating it is pure, total and deterministic.
#[derive(Debug, Clone)]
pub struct Template {
    caller: Caller,
    declarations: Declarations,
    mappings: Mappings,
    /// Referenced parameters, with the offset of the first reference.
    referenced: BTreeMap<String, usize>,
    resources: Vec<(String, ResourceKind)>,
    thing: Option<Thing>,
    certificate: Option<Certificate>,
    policies: Vec<Policy>,
    device_configuration: DeviceConfiguration,
}

impl Template {
    /// Bytes of a body, at most.
    pub const MAX_BYTES: usize = 10240;

    /// Parses and validates; reports every problem at once, in document order.
    ///
    /// # Errors
    /// [`Problems`], each with the JSON path and what to write instead. A body that is too long or not JSON
    /// yields one.
    pub fn parse(body: &str, rules: Rules<'_>) -> Result<Self, Problems> {
        if body.len() > Self::MAX_BYTES {
            let message =
                format!("the template has {} bytes; at most {} are possible", body.len(), Self::MAX_BYTES);
            return Err(Problems(vec![Problem { path: "$".to_owned(), message }]));
        }
        let (root, duplicates) = json_reader::read(body).map_err(|fault| {
            Problems(vec![Problem { path: fault.place.to_string(), message: fault.message }])
        })?;
        let mut check = Check::new(rules);
        for duplicate in duplicates {
            check.report(&duplicate.place, duplicate.message);
        }
        let read = Self::read(&root, &mut check);
        match read {
            Ok(template) if check.problems.is_empty() => Ok(template),
            _ => Err(Problems::in_order(check.problems)),
        }
    }

    /// Declared parameters with their defaults, in document order.
    pub fn parameters(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.declarations
            .in_order()
            .into_iter()
            .map(|(name, declaration)| (name, declaration.default.as_deref()))
    }

    /// Parameters that some expression refers to, in document order of their first reference; those of one
    /// `Fn::Sub` by name. Includes
    /// `AWS::IoT::Certificate::Id` of a fleet template, declared or not.
    pub fn references(&self) -> impl Iterator<Item = &str> {
        let mut names: Vec<(&str, usize)> =
            self.referenced.iter().map(|(name, at)| (name.as_str(), *at)).collect();
        names.sort_by_key(|(_, at)| *at);
        names.into_iter().map(|(name, _)| name)
    }

    /// Parameters that an evaluation cannot do without: they have no default and are referenced or, in JITP,
    /// declared.
    pub fn needs(&self) -> impl Iterator<Item = &str> {
        let declared = self.declarations.in_order().into_iter().filter_map(|(name, declaration)| {
            let needed = self.caller == Caller::Jitp || self.referenced.contains_key(name);
            (needed && declaration.default.is_none()).then_some(name)
        });
        let implicit =
            self.references().filter(|name| *name == CERTIFICATE_ID && !self.declarations.contains(name));
        declared.chain(implicit).collect::<Vec<_>>().into_iter()
    }

    /// The keys of `Resources` with their kinds, in document order: the keys of `resourceArns` in a reply.
    pub fn resource_logical_names(&self) -> impl Iterator<Item = (&str, ResourceKind)> {
        self.resources.iter().map(|(name, kind)| (name.as_str(), *kind))
    }

    /// Whom the template was validated for.
    pub fn caller(&self) -> Caller {
        self.caller
    }

    /// Fills in the values. `AWS::…` values in `values` are trusted: the caller has put only its own there.
    /// Values of parameters that are not declared are ignored. A value is plain text: `${x}` or `{"Ref": …}`
    /// in it means nothing.
    ///
    /// An empty value of a parameter that is filled from the certificate counts as missing. Time and memory
    /// are bounded by the size of the template and of the values, and the functions together produce at most
    /// 1 MiB.
    ///
    /// # Errors
    /// [`EvaluationError`] with every property that fails and every value that is missing, not only the
    /// first.
    pub fn evaluate(&self, values: &Parameters) -> Evaluation {
        let mut run = Run::new(self.caller, &self.declarations, &self.mappings, values);
        run.check_declared(&self.referenced);
        let plan = self.plan(&mut run);
        match plan {
            Ok(plan) if run.problems.is_empty() => Ok(plan),
            _ => Err(EvaluationError::in_order(run.problems)),
        }
    }

    fn plan<'t>(&'t self, run: &mut Run<'t>) -> Read<Plan> {
        let thing = self.thing.as_ref().map(|thing| thing.evaluate(run));
        let certificate = self.certificate.as_ref().map(|certificate| certificate.evaluate(run));
        let policies: Vec<Read<_>> = self.policies.iter().map(|policy| policy.evaluate(run)).collect();
        let device_configuration = self.device_configuration.evaluate(run);
        Ok(Plan {
            thing: thing.transpose()?,
            certificate: certificate.transpose()?,
            policies: policies.into_iter().collect::<Read<_>>()?,
            device_configuration: device_configuration?,
        })
    }

    fn read(root: &Node, check: &mut Check<'_>) -> Read<Self> {
        let members = check.object(root, "a template")?;
        let caller = check.rules.caller;
        let known: &[&str] = match caller {
            Caller::Fleet => &["Parameters", "Mappings", "Resources", "DeviceConfiguration"],
            _ => &["Parameters", "Resources"],
        };
        const FLEET_ONLY: [&str; 2] = ["Mappings", "DeviceConfiguration"];
        check.refuse_unknown(members, "a template", known, &FLEET_ONLY);
        for name in FLEET_ONLY {
            if let Some(node) = member(members, name).filter(|_| caller != Caller::Fleet) {
                check.report(
                    &node.place,
                    format!("{name:?} is only possible in a fleet provisioning template: remove it"),
                );
            }
        }

        // Declarations first, wherever they stand: expressions refer to them.
        if let Some(node) = member(members, "Parameters") {
            check.declarations = Declarations::read(node, check);
        }
        if let Some(node) = member(members, "Mappings").filter(|_| caller == Caller::Fleet) {
            check.mappings = Mappings::read(node, check);
        }
        let resources =
            check.required(root, members, "Resources", known).map(|node| Resources::read(node, check));
        let device_configuration = member(members, "DeviceConfiguration")
            .filter(|_| caller == Caller::Fleet)
            .map(|node| DeviceConfiguration::read(node, check));

        let resources = resources??;
        Ok(Self {
            caller,
            declarations: std::mem::take(&mut check.declarations),
            mappings: std::mem::take(&mut check.mappings),
            referenced: std::mem::take(&mut check.referenced),
            resources: resources.names,
            thing: resources.thing,
            certificate: resources.certificate,
            policies: resources.policies,
            device_configuration: device_configuration.transpose()?.unwrap_or_default(),
        })
    }
}

/// One entry of `Resources`, before its kind is looked into.
pub(crate) struct Resource<'n> {
    pub(crate) logical_name: &'n str,
    pub(crate) overrides: Option<&'n Node>,
    node: &'n Node,
}

const RESOURCE_MEMBERS: [&str; 3] = ["Type", "Properties", "OverrideSettings"];

impl<'n> Resource<'n> {
    pub(crate) fn properties(&self, check: &mut Check<'_>) -> Read<&'n Node> {
        let members = check.object(self.node, "a resource")?;
        check.required(self.node, members, "Properties", &RESOURCE_MEMBERS)
    }
}

/// What `Resources` holds.
#[derive(Default)]
struct Resources {
    names: Vec<(String, ResourceKind)>,
    thing: Option<Thing>,
    certificate: Option<Certificate>,
    policies: Vec<Policy>,
}

/// Policies of one template, at most: as many as a certificate may have.
const MAX_POLICIES: usize = 10;

impl Resources {
    fn read(node: &Node, check: &mut Check<'_>) -> Read<Self> {
        let members = check.object(node, "\"Resources\"")?;
        check.logical_names = members.iter().map(|member| member.name.to_string()).collect();
        if members.is_empty() {
            return Err(
                check.report(&node.place, "\"Resources\" is empty: add a thing, a certificate or a policy")
            );
        }
        let mut resources = Self::default();
        let mut unclear = false;
        for resource in members {
            unclear |= resources.add(&resource.name, &resource.node, check).is_err();
        }
        let needed = matches!(check.rules.caller, Caller::Jitp | Caller::Fleet);
        if needed && !unclear && resources.count(ResourceKind::Certificate) == 0 {
            let message = format!(
                "the certificate is missing: add {{\"Type\": \"AWS::IoT::Certificate\", \"Properties\": \
                 {{\"CertificateId\": {{\"Ref\": \"{CERTIFICATE_ID}\"}}}}}}"
            );
            check.report(&node.place, message);
        }
        Ok(resources)
    }

    /// Fails if it is unclear what the resource is; other faults are reported only.
    fn add(&mut self, logical_name: &str, node: &Node, check: &mut Check<'_>) -> Read<()> {
        let members = check.record(node, "a resource", &RESOURCE_MEMBERS)?;
        let kind = read_kind(check.required(node, members, "Type", &RESOURCE_MEMBERS)?, check)?;
        let before = self.count(kind);
        self.names.push((logical_name.to_owned(), kind));
        let excess = match kind {
            ResourceKind::Thing if before > 0 => {
                Some("a template describes one thing, and another stands before: remove one".to_owned())
            }
            ResourceKind::Certificate if before > 0 => {
                Some("a template describes one certificate, and another stands before: remove one".to_owned())
            }
            ResourceKind::Policy if before == MAX_POLICIES => Some(format!(
                "a template has at most {MAX_POLICIES} policies: remove this and all further ones"
            )),
            _ => None,
        };
        if let Some(message) = excess {
            check.report(&node.place, message);
        }
        let resource = Resource { logical_name, overrides: member(members, "OverrideSettings"), node };
        match kind {
            ResourceKind::Thing => self.thing = Thing::read(&resource, check).ok(),
            ResourceKind::Certificate => self.certificate = Certificate::read(&resource, check).ok(),
            ResourceKind::Policy => self.policies.extend(Policy::read(&resource, check)),
        }
        Ok(())
    }

    fn count(&self, kind: ResourceKind) -> usize {
        self.names.iter().filter(|(_, other)| *other == kind).count()
    }
}

fn read_kind(node: &Node, check: &mut Check<'_>) -> Read<ResourceKind> {
    const KINDS: [&str; 3] = ["AWS::IoT::Thing", "AWS::IoT::Certificate", "AWS::IoT::Policy"];
    match check.literal(node, "\"Type\" of a resource")? {
        "AWS::IoT::Thing" => Ok(ResourceKind::Thing),
        "AWS::IoT::Certificate" => Ok(ResourceKind::Certificate),
        "AWS::IoT::Policy" => Ok(ResourceKind::Policy),
        other => {
            let hint = did_you_mean(other, KINDS, &format!("; there are {}", KINDS.join(", ")));
            Err(check.report(&node.place, format!("unknown resource type {}{hint}", quoted(other))))
        }
    }
}
