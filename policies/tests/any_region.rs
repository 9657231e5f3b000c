//! Where any region is served, the region in the resources of policies does not count.
#![expect(clippy::unwrap_used, reason = "a document that this file writes is valid")]

use jitp_policies::{Action, AttachedPolicy, Context, Document, Permissions, Scope};
use serde_json::json;

/// May `t/1` be published to, where any region is served, and where only `eu-west-1` is?
fn allows(resource: &str) -> (bool, bool) {
    let statement = json!({ "Effect": "Allow", "Action": "iot:Publish", "Resource": resource });
    let document = json!({ "Version": "2012-10-17", "Statement": [statement] }).to_string();
    let document = Document::parse(&document).unwrap().into();
    let policies = [AttachedPolicy { name: "p".into(), version: 1, document }];
    let context = Context { client_id: Some("c".to_owned()), ..Context::default() };
    let in_region = |region: &str| {
        let scope = Scope { region: region.to_owned(), account: "000000000000".to_owned() };
        Permissions::compile(&policies, &scope, &context).decide(Action::Publish, "t/1").is_allowed()
    };
    (in_region(Scope::ANY_REGION), in_region("eu-west-1"))
}

#[test]
fn a_resource_of_any_region_matches_and_everything_but_the_region_still_counts() {
    for (resource, any, one) in [
        ("arn:aws:iot:eu-west-1:000000000000:topic/t/1", true, true),
        ("arn:aws:iot:us-east-1:000000000000:topic/t/*", true, false),
        ("arn:aws:iot:us-*:000000000000:topic/t/1", true, false),
        ("arn:aws:iot:us-east-?:000000000000:topic/t/1", true, false),
        ("arn:aws:iot:us-*:topic/t/1", true, false),
        ("arn:aws:iot:any:000000000000:topic/t/1", true, false),
        ("arn:aws:iot:*", true, true),
        ("*", true, true),
        ("arn:aws:iot:us-east-1:000000000000:topic/${iot:ClientId}", false, false),
        ("arn:aws:iot:us-east-1:111111111111:topic/t/1", false, false),
        ("arn:aws:iot:us-east-1:000000000000:topicfilter/t/1", false, false),
        ("arn:aws:iot::000000000000:topic/t/1", false, false),
        ("arn:aws:iot:us-east-1", false, false),
    ] {
        assert_eq!(allows(resource), (any, one), "{resource}");
    }
}

#[test]
fn a_denial_in_any_region_denies() {
    let statements = json!([
        { "Effect": "Allow", "Action": "iot:Publish", "Resource": "*" },
        { "Effect": "Deny", "Action": "iot:Publish", "Resource": "arn:aws:iot:us-east-1:000000000000:topic/t/1" },
    ]);
    let document = json!({ "Version": "2012-10-17", "Statement": statements }).to_string();
    let document = Document::parse(&document).unwrap().into();
    let policies = [AttachedPolicy { name: "p".into(), version: 1, document }];
    let scope = Scope { region: Scope::ANY_REGION.to_owned(), account: "000000000000".to_owned() };
    let permissions = Permissions::compile(&policies, &scope, &Context::default());
    assert!(!permissions.decide(Action::Publish, "t/1").is_allowed());
    assert!(permissions.decide(Action::Publish, "t/2").is_allowed());
}
