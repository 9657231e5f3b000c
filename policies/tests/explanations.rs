//! What a person reads about a decision and about the permissions of a connection.
#![expect(clippy::unwrap_used, reason = "a document that this file writes is valid")]

use jitp_policies::{Action, AttachedPolicy, Context, Document, Permissions, Scope, ThingContext};
use serde_json::json;

/// `spec/policies.md` section 10, and statements that do not apply.
const DEVICES: &str = r#"{ "Version": "2012-10-17", "Statement": [
  { "Sid": "connect", "Effect": "Allow", "Action": "iot:Connect",
    "Resource": "arn:aws:iot:local-1:000000000000:client/${iot:Connection.Thing.ThingName}",
    "Condition": { "Bool": { "iot:Connection.Thing.IsAttached": "true" } } },
  { "Effect": "Allow", "Action": ["iot:Publish", "iot:Receive"],
    "Resource": "arn:aws:iot:local-1:000000000000:topic/dev/${iot:Connection.Thing.ThingName}/*" },
  { "Effect": "Deny", "Action": "iot:Publish", "NotResource": "arn:aws:iot:local-1:000000000000:topic/dev/*" },
  { "Effect": "Allow", "Action": "iot:Publish", "Resource": "arn:aws:iot:eu-west-1:000000000000:topic/${*}" },
  { "Effect": "Allow", "Action": "iot:GetThingShadow", "Resource": "*" }
] }"#;

fn permissions(thing: Option<&str>) -> Permissions {
    let document = Document::parse(DEVICES).unwrap().into();
    let policy = AttachedPolicy { name: "devices".into(), version: 3, document };
    let context = Context {
        client_id: Some("pump-1".to_owned()),
        thing: thing.map(|name| ThingContext { name: name.to_owned(), ..ThingContext::default() }),
        ..Context::default()
    };
    let scope = Scope { region: "local-1".to_owned(), account: "000000000000".to_owned() };
    Permissions::compile(&[policy], &scope, &context)
}

#[test]
fn an_explanation_is_one_line_that_names_the_statement_or_what_was_missing() {
    let prefix = "arn:aws:iot:local-1:000000000000:";
    let known = permissions(Some("pump-1"));
    let line = |action, name: &str| known.explain(action, name).to_string();
    assert_eq!(
        line(Action::Publish, "dev/pump-1/state"),
        format!(
            "iot:Publish on {prefix}topic/dev/pump-1/state is allowed by statement 1 of policy devices version 3"
        )
    );
    assert_eq!(
        line(Action::Publish, "other\n"),
        format!(
            "iot:Publish on {prefix}topic/other\\n is explicitly denied by statement 2 of policy devices version 3"
        )
    );
    assert_eq!(
        line(Action::Connect, "pump-1"),
        format!(
            "iot:Connect on {prefix}client/pump-1 is not allowed: statement \"connect\" of policy devices version 3: \
             condition Bool iot:Connection.Thing.IsAttached is false: the value is `false`, the policy has `true`"
        )
    );
    assert_eq!(
        line(Action::Receive, "dev/pump-2/state"),
        format!(
            "iot:Receive on {prefix}topic/dev/pump-2/state is not allowed: statement 1 of policy devices version 3: \
             resource `topic/dev/${{iot:Connection.Thing.ThingName}}/*` became `topic/dev/pump-1/*`, which does not match"
        )
    );
    assert_eq!(
        line(Action::Subscribe, "dev/#"),
        format!(
            "iot:Subscribe on {prefix}topicfilter/dev/# is not allowed: no statement allows iot:Subscribe"
        )
    );
    assert_eq!(
        line(Action::ListRetainedMessages, ""),
        "iot:ListRetainedMessages on * is not allowed: no statement allows iot:ListRetainedMessages"
    );
    assert_eq!(
        permissions(None).explain(Action::Receive, "dev/pump-1/state").to_string(),
        format!(
            "iot:Receive on {prefix}topic/dev/pump-1/state is not allowed: statement 1 of policy devices version 3: \
             resource `topic/dev/${{iot:Connection.Thing.ThingName}}/*`: variable iot:Connection.Thing.ThingName has no \
             value because the connection has no thing: the certificate has no exclusive thing, and no thing that \
             counts is named like the client id"
        )
    );
}

#[test]
fn near_misses_are_counted_but_not_all_shown() {
    let statement = |index| json!({ "Effect": "Allow", "Action": "iot:*", "Resource": format!("{index}") });
    let statements: Vec<_> = (0..36).map(statement).collect();
    let document = json!({ "Version": "2012-10-17", "Statement": statements }).to_string();
    let policy =
        AttachedPolicy { name: "p".into(), version: 1, document: Document::parse(&document).unwrap().into() };
    let scope = Scope { region: "r".to_owned(), account: "1".to_owned() };
    let explanation =
        Permissions::compile(&[policy], &scope, &Context::default()).explain(Action::Publish, "a");
    assert_eq!(explanation.near_misses.len(), 32);
    assert!(explanation.to_string().ends_with("; and 29 more"), "{explanation}");
}

#[test]
fn permissions_are_described_after_substitution() {
    let statement = |index: usize, sid: Option<&str>, effect: &str| json!({ "policy": "devices", "version": 3, "sid": sid, "index": index, "effect": effect });
    let with = |mut object: serde_json::Value, members: serde_json::Value| {
        object.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        object
    };
    let prefix = "arn:aws:iot:local-1:000000000000:";
    assert_eq!(
        permissions(Some("pump-1")).describe(),
        json!({
            "statements": [
                with(statement(1, None, "Allow"), json!({
                    "actions": ["iot:Publish", "iot:Receive"], "resources": [format!("{prefix}topic/dev/pump-1/*")],
                })),
                with(statement(2, None, "Deny"), json!({
                    "actions": ["iot:Publish"], "notResources": [format!("{prefix}topic/dev/*")],
                })),
            ],
            "notApplicable": [
                with(statement(0, Some("connect"), "Allow"), json!({
                    "reason": "condition Bool iot:Connection.Thing.IsAttached is false: the value is `false`, \
                               the policy has `true`",
                })),
                with(statement(3, None, "Allow"), json!({
                    "reason": "no resource that its actions are checked on matches: those start with \
                               `arn:aws:iot:local-1:000000000000:` and the kind",
                })),
                with(statement(4, None, "Allow"), json!({ "reason": "it names no action that is checked here" })),
            ],
        })
    );
}

#[test]
fn values_that_are_missing_are_named_once_for_the_actions_whose_statements_refer_to_them() {
    let missing = |permissions: &Permissions, action| permissions.missing_values(action);
    let document = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "iot:Connect",
         "Resource": "arn:aws:iot:r:1:client/${iot:Connection.Thing.ThingName}-${iot:ClientId}"},
        {"Effect": "Deny", "Action": ["iot:Connect", "iot:Publish"], "Resource": "*",
         "Condition": {"StringEquals": {"iot:ClientId": "${iot:Connection.Thing.ThingName}"}}},
        {"Effect": "Allow", "Action": "iot:Receive", "Resource": "*"},
    ]});
    let document = Document::parse(&document.to_string()).unwrap();
    let policy = AttachedPolicy { name: "p".into(), version: 1, document: document.into() };
    let scope = Scope { region: "r".into(), account: "1".into() };
    let compile = |context: &Context| Permissions::compile(std::slice::from_ref(&policy), &scope, context);
    let nobody = compile(&Context::default());
    assert_eq!(missing(&nobody, Action::Connect), ["iot:ClientId", "iot:Connection.Thing.ThingName"]);
    assert_eq!(missing(&nobody, Action::Publish), ["iot:ClientId", "iot:Connection.Thing.ThingName"]);
    assert!(missing(&nobody, Action::Receive).is_empty());
    let known = compile(&Context { client_id: Some("pump".into()), ..Context::default() });
    assert_eq!(missing(&known, Action::Connect), ["iot:Connection.Thing.ThingName"]);
}
