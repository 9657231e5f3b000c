//! `AWS::IoT::Thing` (`spec/templates.md` section 3.1).
use crate::check::{Check, Read};
use crate::expression::{Allowed, Expression, List, ListKind};
use crate::json::{Node, member};
use crate::names::NameError;
use crate::nearest::quoted;
use crate::overrides::{self, Key, Overrides};
use crate::problem::ProblemKind;
use crate::run::Run;
use crate::template::Resource;
use crate::{
    AttributeName, AttributeValue, BillingGroupName, ThingGroupName, ThingName, ThingPlan, ThingTypeName,
};
use std::collections::BTreeMap;

/// Attributes of a thing with a type, at most; without a type 3, which only the provisioner can tell.
const MAX_ATTRIBUTES: usize = 50;
const MAX_GROUPS: usize = 10;

/// A validated thing.
#[derive(Debug, Clone)]
pub(crate) struct Thing {
    logical_name: String,
    name: Expression,
    attributes: Option<BTreeMap<AttributeName, Expression>>,
    thing_type: Option<Expression>,
    groups: Option<List>,
    billing_group: Option<Expression>,
    overrides: Overrides,
}

const PROPERTIES: [&str; 5] =
    ["ThingName", "AttributePayload", "ThingTypeName", "ThingGroups", "BillingGroup"];
const PACKAGE_VERSIONS: &str = "PackageVersions";

const OVERRIDES: [Key; 3] = [
    Key { name: "AttributePayload", prose_name: "ATTRIBUTE_PAYLOAD", mergeable: true },
    Key { name: "ThingTypeName", prose_name: "THING_TYPE_NAME", mergeable: false },
    Key { name: "ThingGroups", prose_name: "THING_GROUPS", mergeable: true },
];

impl Thing {
    pub(crate) fn read(resource: &Resource<'_>, check: &mut Check<'_>) -> Read<Self> {
        let overrides = resource.overrides.map(|node| overrides::read(node, &OVERRIDES, check));
        let node = resource.properties(check)?;
        let members = check.object(node, "\"Properties\"")?;
        if let Some(packages) = member(members, PACKAGE_VERSIONS) {
            check.report(
                &packages.place,
                "PackageVersions needs a software package catalog, \
                which this broker does not have: remove it",
            );
        }
        check.refuse_unknown(members, "a thing", &PROPERTIES, &[PACKAGE_VERSIONS]);

        let name = check
            .required(node, members, "ThingName", &PROPERTIES)
            .and_then(|node| read_name(node, "ThingName", check, ThingName::new));
        let attributes = member(members, "AttributePayload").map(|node| read_attributes(node, check));
        let thing_type = member(members, "ThingTypeName")
            .map(|node| read_name(node, "ThingTypeName", check, ThingTypeName::new));
        let groups = member(members, "ThingGroups").map(|node| read_groups(node, check));
        let billing_group = member(members, "BillingGroup")
            .map(|node| read_name(node, "BillingGroup", check, BillingGroupName::new));
        Ok(Self {
            logical_name: resource.logical_name.to_owned(),
            name: name?,
            attributes: attributes.transpose()?,
            thing_type: thing_type.transpose()?,
            groups: groups.transpose()?,
            billing_group: billing_group.transpose()?,
            overrides: overrides.unwrap_or_default(),
        })
    }

    pub(crate) fn evaluate<'t>(&'t self, run: &mut Run<'t>) -> Read<ThingPlan> {
        run.enter_resource(Some(&self.logical_name));
        let name = run.name(&self.name, ProblemKind::InvalidThingName, ThingName::new);
        let attributes = self.attributes.as_ref().map(|attributes| evaluate_attributes(attributes, run));
        let invalid = ProblemKind::InvalidName;
        let thing_type = self.thing_type.as_ref().map(|value| run.name(value, invalid, ThingTypeName::new));
        let groups = self.groups.as_ref().map(|groups| evaluate_groups(groups, run));
        let billing_group =
            self.billing_group.as_ref().map(|value| run.name(value, invalid, BillingGroupName::new));
        Ok(ThingPlan {
            logical_name: self.logical_name.clone(),
            name: name?,
            attributes: attributes.transpose()?,
            thing_type: thing_type.transpose()?,
            groups: groups.transpose()?,
            billing_group: billing_group.transpose()?,
            attributes_override: self.overrides.get("AttributePayload").copied(),
            thing_type_override: self.overrides.get("ThingTypeName").copied(),
            groups_override: self.overrides.get("ThingGroups").copied(),
        })
    }
}

/// An expression which, if literal, must satisfy the rule already.
fn read_name<T>(
    node: &Node,
    what: &str,
    check: &mut Check<'_>,
    rule: impl Fn(&str) -> Result<T, NameError>,
) -> Read<Expression> {
    let expression = Expression::read(node, what, Allowed::Functions, check)?;
    if let Some(Err(error)) = expression.literal().map(rule) {
        return Err(check.report(&expression.place, error.to_string()));
    }
    Ok(expression)
}

fn read_attributes(node: &Node, check: &mut Check<'_>) -> Read<BTreeMap<AttributeName, Expression>> {
    if node.call().is_some() {
        let message = "AttributePayload must be an object of names and values; \
                Ref and functions are possible in the values";
        return Err(check.report(&node.place, message));
    }
    let members = check.object(node, "AttributePayload")?;
    if members.len() > MAX_ATTRIBUTES {
        let message = format!("a thing has at most {MAX_ATTRIBUTES} attributes, not {}", members.len());
        check.report(&node.place, message);
    }
    let mut attributes = BTreeMap::new();
    let mut faulty = None;
    for attribute in members {
        let place = &attribute.node.place;
        if matches!(&*attribute.name, "attributes" | "Attributes")
            && attribute.node.text().is_none()
            && attribute.node.call().is_none()
        {
            let message =
                "AttributePayload is a flat map of names and values: move the members of this one up";
            faulty = Some(check.report(place, message));
            continue;
        }
        let name =
            AttributeName::new(&attribute.name).map_err(|error| check.report(place, error.to_string()));
        let what = format!("the value of the attribute {}", quoted(&attribute.name));
        let value = read_name(&attribute.node, &what, check, AttributeValue::new);
        match (name, value) {
            (Ok(name), Ok(value)) => {
                attributes.insert(name, value);
            }
            (Err(reported), _) | (_, Err(reported)) => faulty = Some(reported),
        }
    }
    faulty.map_or(Ok(attributes), Err)
}

fn read_groups(node: &Node, check: &mut Check<'_>) -> Read<List> {
    let list = List::read(node, "an element of ThingGroups", Allowed::Functions, check)?;
    if let ListKind::Items(items) = &list.kind {
        for item in items.iter().flatten() {
            if let Some(Err(error)) = item.literal().map(ThingGroupName::new) {
                check.report(&item.place, error.to_string());
            }
        }
        if items.len() > MAX_GROUPS {
            let message =
                format!("a thing is in at most {MAX_GROUPS} groups, not {}: remove some", items.len());
            check.report(&list.place, message);
        }
    }
    Ok(list)
}

fn evaluate_attributes<'t>(
    attributes: &'t BTreeMap<AttributeName, Expression>,
    run: &mut Run<'t>,
) -> Read<BTreeMap<AttributeName, AttributeValue>> {
    let values: Vec<Read<(AttributeName, AttributeValue)>> = attributes
        .iter()
        .map(|(name, value)| {
            Ok((name.clone(), run.name(value, ProblemKind::InvalidAttribute, AttributeValue::new)?))
        })
        .collect();
    values.into_iter().collect()
}

fn evaluate_groups<'t>(list: &'t List, run: &mut Run<'t>) -> Read<Vec<ThingGroupName>> {
    let names = run.list(list)?;
    let mut groups: Vec<ThingGroupName> = Vec::new();
    let mut faulty = None;
    for (index, name) in names.iter().enumerate().take(MAX_GROUPS + 1) {
        match ThingGroupName::new(name) {
            Ok(group) if groups.contains(&group) => {}
            Ok(group) => groups.push(group),
            Err(error) => {
                let place = match &list.kind {
                    ListKind::Items(items) => {
                        items.get(index).and_then(Option::as_ref).map(|item| &item.place)
                    }
                    _ => None,
                };
                let place = place.unwrap_or(&list.place);
                faulty = Some(run.fail(ProblemKind::InvalidName, place, error.to_string()));
            }
        }
    }
    if names.len() > MAX_GROUPS {
        let message = format!("a thing is in at most {MAX_GROUPS} groups, and these are {}", names.len());
        faulty = Some(run.fail(ProblemKind::TooLong, &list.place, message));
    }
    faulty.map_or(Ok(groups), Err)
}
