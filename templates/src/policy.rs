//! `AWS::IoT::Policy` (`spec/templates.md` section 3.3).
use crate::check::{Check, Read, Reported};
use crate::expression::{Allowed, Expression};
use crate::json::{Node, Value, member, write_string};
use crate::json_reader;
use crate::nearest::nearest;
use crate::problem::ProblemKind;
use crate::run::Run;
use crate::template::Resource;
use crate::{PolicyName, PolicyPlan, PolicySource};
use sha2::{Digest, Sha256};

/// A validated policy.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    logical_name: String,
    source: Source,
}

#[derive(Debug, Clone)]
enum Source {
    Existing(Expression),
    Inline { name: PolicyName, document: String },
}

const PROPERTIES: [&str; 2] = ["PolicyName", "PolicyDocument"];

impl Policy {
    pub(crate) fn read(resource: &Resource<'_>, check: &mut Check<'_>) -> Read<Self> {
        if let Some(overrides) = resource.overrides {
            check.report(&overrides.place, "a policy has no OverrideSettings: remove them");
        }
        let node = resource.properties(check)?;
        let members = check.record(node, "a policy", &PROPERTIES)?;
        let source = match (member(members, "PolicyName"), member(members, "PolicyDocument")) {
            (Some(name), None) => read_name(name, check)?,
            (None, Some(document)) => read_document(document, check)?,
            (Some(name), Some(document)) => {
                check.report(
                    &node.place,
                    "a policy has either PolicyName or PolicyDocument, not both: remove one",
                );
                let _ = read_name(name, check);
                let _ = read_document(document, check);
                return Err(Reported);
            }
            (None, None) if members.iter().any(|other| nearest(&other.name, PROPERTIES).is_some()) => {
                // The misspelt member has been reported.
                return Err(Reported);
            }
            (None, None) => {
                return Err(
                    check.report(&node.place, "the policy has no source: add PolicyName or PolicyDocument")
                );
            }
        };
        Ok(Self { logical_name: resource.logical_name.to_owned(), source })
    }

    pub(crate) fn evaluate<'t>(&'t self, run: &mut Run<'t>) -> Read<PolicyPlan> {
        run.enter_resource(Some(&self.logical_name));
        let (name, source) = match &self.source {
            Source::Existing(name) => {
                (run.name(name, ProblemKind::InvalidName, PolicyName::new)?, PolicySource::Existing)
            }
            Source::Inline { name, document } => {
                (name.clone(), PolicySource::Inline { document: document.clone() })
            }
        };
        Ok(PolicyPlan { logical_name: self.logical_name.clone(), name, source })
    }
}

/// The name of an inline policy (`spec/templates.md` section 3.3): the first 40 hexadecimal digits, in upper
/// case, of the SHA-256 of the document without white space and with every object's keys sorted by code
/// point. Equal documents therefore share one policy, however they were laid out.
///
/// The document comes from a JSON reader that bounds its depth.
pub fn generated_policy_name(document: &serde_json::Value) -> PolicyName {
    let mut canonical = String::new();
    write_canonical(document, &mut canonical);
    let digest: [u8; 32] = Sha256::digest(canonical.as_bytes()).into();
    let mut start = [0; 20];
    for (to, from) in start.iter_mut().zip(digest) {
        *to = from;
    }
    PolicyName::of_hash(start)
}

fn write_canonical(value: &serde_json::Value, out: &mut String) {
    match value {
        serde_json::Value::String(text) => write_string(text, out),
        serde_json::Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_canonical(item, out);
            }
            out.push(']');
        }
        serde_json::Value::Object(members) => {
            // Sorted here: the order of serde_json's map depends on features of other crates.
            let mut sorted: Vec<_> = members.iter().collect();
            sorted.sort_by_key(|(name, _)| *name);
            out.push('{');
            for (i, (name, member)) in sorted.into_iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_string(name, out);
                out.push(':');
                write_canonical(member, out);
            }
            out.push('}');
        }
        scalar => out.push_str(&scalar.to_string()),
    }
}

fn read_name(node: &Node, check: &mut Check<'_>) -> Read<Source> {
    let name = Expression::read(node, "PolicyName", Allowed::ReferenceOnly, check)?;
    if let Some(Err(error)) = name.literal().map(PolicyName::new) {
        return Err(check.report(&node.place, error.to_string()));
    }
    Ok(Source::Existing(name))
}

/// An object, or a string that holds one. Taken verbatim: policy variables such as `${iot:ClientId}` pass
/// untouched.
fn read_document(node: &Node, check: &mut Check<'_>) -> Read<Source> {
    const VERBATIM: &str = "PolicyDocument is taken verbatim, Ref and functions are not possible in it: \
                            use a policy variable such as ${iot:Connection.Thing.ThingName}";
    let document = match &node.value {
        Value::Text(text) => {
            let read = json_reader::read(text).and_then(|(inner, mut duplicates)| match duplicates.pop() {
                Some(duplicate) => Err(duplicate),
                None => Ok(inner),
            });
            let inner = match read {
                Ok(inner) => inner,
                Err(fault) => {
                    let message =
                        format!("the text of PolicyDocument is faulty at {}: {}", fault.place, fault.message);
                    return Err(check.report(&node.place, message));
                }
            };
            if !matches!(inner.value, Value::Object(_)) {
                let message = format!("PolicyDocument must hold an object, not {}", inner.kind());
                return Err(check.report(&node.place, message));
            }
            if let Some(call) = first_call(&inner) {
                return Err(check.report(&node.place, format!("{VERBATIM} (at {} in it)", call.place)));
            }
            text.clone()
        }
        Value::Object(_) => {
            if let Some(call) = first_call(node) {
                return Err(check.report(&call.place, VERBATIM));
            }
            node.to_compact()
        }
        _ => {
            let message =
                format!("PolicyDocument must be an object or a string that holds one, not {}", node.kind());
            return Err(check.report(&node.place, message));
        }
    };
    let name = match serde_json::from_str(&document) {
        Ok(value) => generated_policy_name(&value),
        Err(error) => {
            return Err(check.report(&node.place, format!("PolicyDocument cannot be used: {error}")));
        }
    };
    if let Err(reason) = (check.rules.policy)(&document) {
        return Err(check.report(&node.place, reason));
    }
    Ok(Source::Inline { name, document })
}

/// The first value, in document order, that looks like a function call.
fn first_call(node: &Node) -> Option<&Node> {
    if node.call().is_some() {
        return Some(node);
    }
    match &node.value {
        Value::List(items) => items.iter().find_map(first_call),
        Value::Object(members) => members.iter().find_map(|member| first_call(&member.node)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_generated_name_is_the_hash_of_the_sorted_compact_document() {
        let name = generated_policy_name(&json!({"b": [1, true, null], "a": {"d": "é\n", "c": 0.5}}));
        let expected =
            hex::encode_upper(Sha256::digest("{\"a\":{\"c\":0.5,\"d\":\"é\\n\"},\"b\":[1,true,null]}"));
        assert_eq!(name.as_str(), &expected[..40]);
    }

    #[test]
    fn layout_does_not_change_the_generated_name_but_content_does() {
        let read = |text: &str| generated_policy_name(&serde_json::from_str(text).unwrap());
        assert_eq!(read(r#"{"a":1,"b":2}"#), read(" { \"b\" : 2 ,\n \"a\" : 1 } "));
        assert_ne!(read(r#"{"a":[1,2]}"#), read(r#"{"a":[2,1]}"#));
    }
}
