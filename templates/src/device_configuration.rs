//! `DeviceConfiguration`: what a fleet device gets back (`spec/templates.md` section 6).
use crate::check::{Check, Read};
use crate::expression::{Allowed, Expression};
use crate::json::{Node, Value};
use crate::run::{Run, is_longer_than};
use serde_json::Value as Json;
use std::collections::BTreeMap;

/// Characters of one evaluated string, at most.
const MAX_TEXT: usize = 4096;

/// A validated configuration, in document order.
#[derive(Debug, Clone, Default)]
pub(crate) struct DeviceConfiguration(Vec<(String, Setting)>);

#[derive(Debug, Clone)]
enum Setting {
    Scalar(Json),
    Text(Expression),
}

impl DeviceConfiguration {
    pub(crate) fn read(node: &Node, check: &mut Check<'_>) -> Read<Self> {
        if node.call().is_some() {
            let message = "\"DeviceConfiguration\" must be an object of names and values; \
                functions are possible in the values";
            return Err(check.report(&node.place, message));
        }
        let members = check.object(node, "\"DeviceConfiguration\"")?;
        let settings: Vec<Read<(String, Setting)>> = members
            .iter()
            .map(|member| Ok((member.name.to_string(), Setting::read(&member.node, check)?)))
            .collect();
        Ok(Self(settings.into_iter().collect::<Read<_>>()?))
    }

    pub(crate) fn evaluate<'t>(&'t self, run: &mut Run<'t>) -> Read<BTreeMap<String, Json>> {
        run.enter_resource(None);
        let values: Vec<Read<(String, Json)>> =
            self.0.iter().map(|(name, setting)| Ok((name.clone(), setting.evaluate(run)?))).collect();
        values.into_iter().collect()
    }
}

impl Setting {
    fn read(node: &Node, check: &mut Check<'_>) -> Read<Self> {
        match &node.value {
            Value::Null => Ok(Self::Scalar(Json::Null)),
            Value::Bool(value) => Ok(Self::Scalar(Json::Bool(*value))),
            Value::Number(text) => match serde_json::from_str(text) {
                Ok(number) => Ok(Self::Scalar(number)),
                Err(_) => Err(check.report(&node.place, "this number is out of range: write it as a string")),
            },
            Value::Text(text) if is_longer_than(text, MAX_TEXT) => {
                let message =
                    format!("a value of DeviceConfiguration has at most {MAX_TEXT} characters: shorten it");
                Err(check.report(&node.place, message))
            }
            Value::List(_) => Err(check.report(
                &node.place,
                "DeviceConfiguration is flat, a list is not possible: use Fn::Join or several names",
            )),
            Value::Object(_) if node.call().is_none() => {
                let message = "DeviceConfiguration is flat, an object is not possible \
                except a Ref or a function of one member";
                Err(check.report(&node.place, message))
            }
            _ => {
                let what = "a value of DeviceConfiguration";
                Ok(Self::Text(Expression::read(node, what, Allowed::Functions, check)?))
            }
        }
    }

    fn evaluate<'t>(&'t self, run: &mut Run<'t>) -> Read<Json> {
        match self {
            Self::Scalar(value) => Ok(value.clone()),
            Self::Text(value) => {
                Ok(Json::String(run.bounded(value, "a value of DeviceConfiguration", MAX_TEXT)?))
            }
        }
    }
}
