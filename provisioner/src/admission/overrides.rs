//! What a template does to something that exists already (`spec/templates.md` section 4).
use crate::names::{ThingGroupName, ThingTypeName};
use crate::records::CertificateStatus;
use crate::registry::{Attributes, updated_attributes};
use jitp_templates::{CertificateStatus as Wanted, Override};
use std::collections::BTreeSet;

/// What becomes of one property.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect<T> {
    /// It stays: the override says so, or it is as wanted already.
    Keep,
    /// It changes to this.
    Set(T),
    /// The override says FAIL, and it would change.
    Conflict,
}

/// Which groups a thing joins and leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Membership {
    pub(crate) join: Vec<ThingGroupName>,
    pub(crate) leave: Vec<ThingGroupName>,
}

/// The attributes of an existing thing. An empty value removes the attribute, as UpdateThing does.
pub(crate) fn attributes(existing: &Attributes, wanted: &Attributes, rule: Override) -> Effect<Attributes> {
    if rule == Override::DoNothing {
        return Effect::Keep;
    }
    let target = updated_attributes(existing, wanted, rule == Override::Merge);
    change(*existing != target && existing != wanted, rule, target)
}

/// The type of an existing thing.
pub(crate) fn thing_type(
    existing: Option<&ThingTypeName>,
    wanted: &ThingTypeName,
    rule: Override,
) -> Effect<ThingTypeName> {
    match rule {
        Override::DoNothing => Effect::Keep,
        _ => change(existing != Some(wanted), rule, wanted.clone()),
    }
}

/// The static groups of an existing thing.
pub(crate) fn groups(
    existing: &BTreeSet<ThingGroupName>,
    wanted: &[ThingGroupName],
    rule: Override,
) -> Effect<Membership> {
    if rule == Override::DoNothing {
        return Effect::Keep;
    }
    let join: Vec<_> = wanted.iter().filter(|group| !existing.contains(*group)).cloned().collect();
    let leave: Vec<_> = match rule {
        Override::Merge => Vec::new(),
        _ => existing.iter().filter(|group| !wanted.contains(group)).cloned().collect(),
    };
    change(!join.is_empty() || !leave.is_empty(), rule, Membership { join, leave })
}

/// The status of a certificate. A pending one (as every new one is) always takes the template's status, ACTIVE if the
/// template has none. A REVOKED one, and one under transfer, never changes: that is a conflict.
pub(crate) fn status(
    existing: CertificateStatus,
    wanted: Option<Wanted>,
    rule: Option<Override>,
    default_fail: bool,
) -> Effect<CertificateStatus> {
    let target = match wanted {
        Some(Wanted::Inactive) => CertificateStatus::Inactive,
        Some(Wanted::Active) | None => CertificateStatus::Active,
    };
    let rule = rule.unwrap_or(match (wanted, default_fail) {
        (None, _) => Override::DoNothing,
        (Some(_), true) => Override::Fail,
        (Some(_), false) => Override::Replace,
    });
    match existing {
        CertificateStatus::PendingActivation => Effect::Set(target),
        CertificateStatus::Revoked | CertificateStatus::PendingTransfer => Effect::Conflict,
        CertificateStatus::Active | CertificateStatus::Inactive if rule == Override::DoNothing => {
            Effect::Keep
        }
        current => change(current != target, rule, target),
    }
}

/// The override that applies to a property of a thing.
pub(crate) fn rule(written: Option<Override>, default_fail: bool) -> Override {
    written.unwrap_or(if default_fail { Override::Fail } else { Override::DoNothing })
}

fn change<T>(changes: bool, rule: Override, target: T) -> Effect<T> {
    match (changes, rule) {
        (false, _) => Effect::Keep,
        (true, Override::Fail) => Effect::Conflict,
        (true, _) => Effect::Set(target),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::{AttributeName, AttributeValue};
    use Override::{DoNothing, Fail, Merge, Replace};

    fn attrs(text: &str) -> Attributes {
        let pair = |p: &str| {
            let (name, value) = p.split_once('=').unwrap();
            (AttributeName::new(name).unwrap(), AttributeValue::new(value).unwrap())
        };
        text.split_whitespace().map(pair).collect()
    }
    fn groups_of(text: &str) -> Vec<ThingGroupName> {
        text.split_whitespace().map(|g| ThingGroupName::new(g).unwrap()).collect()
    }

    #[test]
    fn attributes_follow_the_table() {
        let rows = [
            ("a=1 b=2", "b=3 c=4", DoNothing, Effect::Keep),
            ("a=1 b=2", "b=3 c=4", Replace, Effect::Set("b=3 c=4")),
            ("a=1 b=2", "b=3 c=4", Merge, Effect::Set("a=1 b=3 c=4")),
            ("a=1 b=2", "b= c=4", Merge, Effect::Set("a=1 c=4")),
            ("a=1 b=2", "b=3", Fail, Effect::Conflict),
            ("a=1 b=2", "a=1 b=2", Fail, Effect::Keep),
            ("a=1 b=2", "a=1", Fail, Effect::Conflict),
            ("a=1 b=2", "a=1 b=2", Replace, Effect::Keep),
            ("a=1 b=2", "a=1", Merge, Effect::Keep),
            ("a=1 b=2", "", Replace, Effect::Set("")),
            ("a=1", "a=1 b=", Fail, Effect::Keep),
        ];
        for (existing, wanted, rule, expected) in rows {
            let expected = match expected {
                Effect::Keep => Effect::Keep,
                Effect::Conflict => Effect::Conflict,
                Effect::Set(text) => Effect::Set(attrs(text)),
            };
            assert_eq!(
                attributes(&attrs(existing), &attrs(wanted), rule),
                expected,
                "{existing} {wanted} {rule:?}"
            );
        }
    }

    #[test]
    fn thing_types_follow_the_table() {
        let name = |t: &str| ThingTypeName::new(t).unwrap();
        let rows = [
            (Some("old"), DoNothing, Effect::Keep),
            (Some("old"), Replace, Effect::Set(name("new"))),
            (None, Replace, Effect::Set(name("new"))),
            (Some("old"), Fail, Effect::Conflict),
            (None, Fail, Effect::Conflict),
            (Some("new"), Fail, Effect::Keep),
            (Some("new"), Replace, Effect::Keep),
        ];
        for (existing, rule, expected) in rows {
            let existing = existing.map(name);
            assert_eq!(thing_type(existing.as_ref(), &name("new"), rule), expected, "{existing:?} {rule:?}");
        }
    }

    #[test]
    fn groups_follow_the_table() {
        let set = |join: &str, leave: &str| {
            Effect::Set(Membership { join: groups_of(join), leave: groups_of(leave) })
        };
        let rows = [
            ("a b", "b c", DoNothing, Effect::Keep),
            ("a b", "b c", Replace, set("c", "a")),
            ("a b", "b c", Merge, set("c", "")),
            ("a b", "b c", Fail, Effect::Conflict),
            ("a b", "b a", Fail, Effect::Keep),
            ("a b", "a", Merge, Effect::Keep),
            ("a b", "", Replace, set("", "a b")),
        ];
        for (existing, wanted, rule, expected) in rows {
            let found = groups(&groups_of(existing).into_iter().collect(), &groups_of(wanted), rule);
            assert_eq!(found, expected, "{existing} {wanted} {rule:?}");
        }
    }

    #[test]
    fn the_status_of_a_certificate_follows_the_table() {
        use CertificateStatus::*;
        let rows = [
            (PendingActivation, None, None, Effect::Set(Active)),
            (PendingActivation, Some(Wanted::Inactive), None, Effect::Set(Inactive)),
            (PendingActivation, Some(Wanted::Active), Some(DoNothing), Effect::Set(Active)),
            (PendingActivation, None, Some(Fail), Effect::Set(Active)),
            (Inactive, None, None, Effect::Keep),
            (Inactive, Some(Wanted::Active), None, Effect::Set(Active)),
            (Inactive, Some(Wanted::Active), Some(DoNothing), Effect::Keep),
            (Inactive, Some(Wanted::Active), Some(Fail), Effect::Conflict),
            (Active, Some(Wanted::Active), Some(Fail), Effect::Keep),
            (Active, Some(Wanted::Inactive), Some(Replace), Effect::Set(Inactive)),
            (Revoked, Some(Wanted::Active), Some(DoNothing), Effect::Conflict),
            (Revoked, None, None, Effect::Conflict),
            (PendingTransfer, Some(Wanted::Active), Some(Replace), Effect::Conflict),
        ];
        for (existing, wanted, rule, expected) in rows {
            assert_eq!(status(existing, wanted, rule, false), expected, "{existing:?} {wanted:?} {rule:?}");
        }
        assert_eq!(status(Inactive, Some(Wanted::Active), None, true), Effect::Conflict);
    }

    #[test]
    fn the_default_of_a_strict_site_is_fail() {
        assert_eq!(rule(None, false), DoNothing);
        assert_eq!(rule(None, true), Fail);
        assert_eq!(rule(Some(Merge), true), Merge);
    }
}
