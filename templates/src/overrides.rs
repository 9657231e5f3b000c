//! `OverrideSettings`: what to do when the resource exists already (`spec/templates.md` section 4).
use crate::Override;
use crate::check::Check;
use crate::json::Node;
use crate::nearest::{did_you_mean, quoted};
use std::collections::BTreeMap;

/// A key of `OverrideSettings`, in both spellings.
pub(crate) struct Key {
    /// As in AWS's examples: `ThingGroups`.
    pub(crate) name: &'static str,
    /// As in AWS's prose: `THING_GROUPS`.
    pub(crate) prose_name: &'static str,
    /// `MERGE` makes sense for it.
    pub(crate) mergeable: bool,
}

/// The legal settings by key name.
pub(crate) type Overrides = BTreeMap<&'static str, Override>;

/// Reads a resource's `OverrideSettings`; faults are reported and left out.
pub(crate) fn read(node: &Node, keys: &[Key], check: &mut Check<'_>) -> Overrides {
    let mut overrides = Overrides::new();
    for setting in check.object(node, "\"OverrideSettings\"").unwrap_or_default() {
        let place = &setting.node.place;
        let Some(key) =
            keys.iter().find(|key| *setting.name == *key.name || *setting.name == *key.prose_name)
        else {
            let known: Vec<&str> = keys.iter().map(|key| key.name).collect();
            let hint =
                did_you_mean(&setting.name, known.iter().copied(), &format!(": use {}", known.join(", ")));
            check.report(place, format!("{} cannot be overridden{hint}", quoted(&setting.name)));
            continue;
        };
        let Ok(text) = check.literal(&setting.node, "an override") else { continue };
        let value = match parse(text) {
            Some(Override::Merge) if !key.mergeable => {
                check.report(
                    place,
                    format!("MERGE is not possible for {}: use DO_NOTHING, REPLACE or FAIL", key.name),
                );
                continue;
            }
            Some(value) => value,
            None => {
                let hint = did_you_mean(
                    text,
                    VALUES.map(|(name, _)| name),
                    ": use DO_NOTHING, REPLACE, FAIL or MERGE",
                );
                check.report(place, format!("unknown override {}{hint}", quoted(text)));
                continue;
            }
        };
        if overrides.insert(key.name, value).is_some() {
            check.report(place, format!("{} is given twice, as {} too: keep one", key.name, key.prose_name));
        }
    }
    overrides
}

const VALUES: [(&str, Override); 4] = [
    ("DO_NOTHING", Override::DoNothing),
    ("REPLACE", Override::Replace),
    ("FAIL", Override::Fail),
    ("MERGE", Override::Merge),
];

fn parse(text: &str) -> Option<Override> {
    VALUES.iter().find(|(name, _)| *name == text).map(|(_, value)| *value)
}
