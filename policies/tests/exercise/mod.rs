//! Takes anything through parse, compile, decide, explain and describe, and checks what must always hold.
//! Shared by the tests and by the fuzz target `fuzz/fuzz_targets/document.rs`.
use jitp_policies::{Action, AttachedPolicy, Context, Decision, Document, Permissions, Scope, ThingContext};

/// A policy document, or not. Requests are made from its own text, so that some of them match.
pub fn document(text: &str) {
    match Document::parse(text) {
        Ok(document) => {
            let name_from = |marker: &str| text.split(marker).nth(1).and_then(|rest| rest.split('"').next());
            let names = [name_from("topic/"), name_from("client/"), Some("$share/g/a"), Some(""), Some(text)];
            for context in [Context::default(), full_context(name_from("Sid"))] {
                let policy =
                    AttachedPolicy { name: "p".into(), version: 1, document: document.clone().into() };
                let scope = Scope { region: "local-1".to_owned(), account: "000000000000".to_owned() };
                let permissions = Permissions::compile(&[policy.clone(), policy], &scope, &context);
                names.into_iter().flatten().for_each(|name| request(&permissions, name));
                let described = permissions.describe();
                let is_list = |name: &str| described.get(name).is_some_and(serde_json::Value::is_array);
                assert!(is_list("statements") && is_list("notApplicable"));
                let reason =
                    |statement: &serde_json::Value| statement.get("reason").is_some_and(|it| it != "");
                let unused = described.get("notApplicable").and_then(serde_json::Value::as_array);
                assert!(unused.is_some_and(|unused| unused.iter().all(reason)), "{described}");
            }
        }
        Err(error) => assert!(error.path.starts_with('$') && !error.message.is_empty(), "{error}"),
    }
}

/// Every action on a name.
pub fn request(permissions: &Permissions, name: &str) {
    for action in Action::ALL {
        let decision = permissions.decide(action, name);
        let explanation = permissions.explain(action, name);
        let by = match decision {
            Decision::Allowed { by } | Decision::Denied { by } => Some(by),
            Decision::NotAllowed => None,
        };
        assert_eq!(explanation.allowed, decision.is_allowed());
        assert_eq!(explanation.decided_by.as_ref(), by);
        assert!(explanation.near_misses.iter().all(|miss| !miss.reason.is_empty()), "{explanation:?}");
        let line = explanation.to_string();
        assert!(!line.contains(char::is_control), "{line:?}");
    }
    assert_eq!(permissions.decide_subscribe(name), permissions.decide(Action::Subscribe, name));
    assert_eq!(Permissions::none().decide(Action::Publish, name), Decision::NotAllowed);
}

fn full_context(client_id: Option<&str>) -> Context {
    let one = |name: &str, value: &str| (name.to_owned(), vec![value.to_owned(); 7]);
    Context {
        client_id: Some(client_id.unwrap_or("pump-1").to_owned()),
        source_ip: Some(std::net::IpAddr::from([192, 0, 2, 1])),
        domain_name: Some("iot.example.com".to_owned()),
        certificate_id: Some("0a".repeat(32)),
        certificate_serial_number: Some("01".to_owned()),
        certificate_fields: [one("Subject.CommonName", "pump-1"), one("Issuer.Country", "*")].into(),
        thing: Some(ThingContext {
            name: "pump-1".to_owned(),
            thing_type: Some("pump".to_owned()),
            attributes: [("site".to_owned(), "berlin".to_owned())].into(),
        }),
        thing_is_attached: true,
        persistent_connect: true,
        last_will_topic: Some("wills/pump-1".to_owned()),
    }
}
