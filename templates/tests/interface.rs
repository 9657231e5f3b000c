//! What a template tells about itself, and the bounds that a case file cannot hold.
use jitp_templates::{Caller, Parameters, ResourceKind, Rules, Template};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

fn rules(caller: Caller) -> Rules<'static> {
    Rules { caller, policy: &|_| Ok(()), functions_in_fleet_only: false }
}

/// A template with one thing and one parameter, A.
fn thing(properties: &Value) -> String {
    json!({
        "Parameters": { "A": { "Type": "String" } },
        "Resources": { "t": { "Type": "AWS::IoT::Thing", "Properties": properties } }
    })
    .to_string()
}

#[test]
fn a_template_tells_its_parameters_its_needs_and_its_resources_in_document_order() {
    let body = r#"{
        "Parameters": {
            "Zone": { "Type": "String", "Default": "z" },
            "Serial": { "Type": "String" },
            "Unused": { "Type": "String" }
        },
        "Resources": {
            "t": { "Type": "AWS::IoT::Thing", "Properties": {
                "ThingName": { "Fn::Sub": "${Serial}-${Zone}" }
            } },
            "c": { "Type": "AWS::IoT::Certificate", "Properties": {
                "CertificateId": { "Ref": "AWS::IoT::Certificate::Id" }
            } },
            "a": { "Type": "AWS::IoT::Policy", "Properties": { "PolicyName": "p" } }
        }
    }"#;
    let template = Template::parse(body, rules(Caller::Fleet)).unwrap();
    let parameters: Vec<_> = template.parameters().collect();
    assert_eq!(parameters, [("Zone", Some("z")), ("Serial", None), ("Unused", None)]);
    let mut references: Vec<_> = template.references().collect();
    references.sort_unstable();
    assert_eq!(references, ["AWS::IoT::Certificate::Id", "Serial", "Zone"]);
    assert_eq!(template.needs().collect::<Vec<_>>(), ["Serial", "AWS::IoT::Certificate::Id"]);
    let resources: Vec<_> = template.resource_logical_names().collect();
    assert_eq!(
        resources,
        [("t", ResourceKind::Thing), ("c", ResourceKind::Certificate), ("a", ResourceKind::Policy)]
    );
    assert_eq!(template.caller(), Caller::Fleet);
}

#[test]
fn in_jitp_every_declared_parameter_without_default_is_needed() {
    let body = r#"{
        "Parameters": {
            "AWS::IoT::Certificate::Country": { "Type": "String" },
            "AWS::IoT::Certificate::Id": { "Type": "String" }
        },
        "Resources": {
            "c": { "Type": "AWS::IoT::Certificate", "Properties": {
                "CertificateId": { "Ref": "AWS::IoT::Certificate::Id" }
            } }
        }
    }"#;
    let template = Template::parse(body, rules(Caller::Jitp)).unwrap();
    let needs: Vec<_> = template.needs().collect();
    assert_eq!(needs, ["AWS::IoT::Certificate::Country", "AWS::IoT::Certificate::Id"]);
}

#[test]
fn a_body_of_10240_bytes_is_possible_and_one_more_is_not() {
    let body = r#"{"Resources":{"t":{"Type":"AWS::IoT::Thing","Properties":{"ThingName":"t"}}}}"#;
    let full = format!("{body}{}", " ".repeat(10240 - body.len()));
    assert!(Template::parse(&full, rules(Caller::Rest)).is_ok());
    let problems = Template::parse(&format!("{full} "), rules(Caller::Rest)).unwrap_err();
    assert_eq!(problems.to_string(), "$: the template has 10241 bytes; at most 10240 are possible");
}

#[test]
fn parameter_names_and_defaults_are_bounded() {
    let body = |name: &str, default: &str| {
        json!({
            "Parameters": { (name): { "Type": "String", "Default": default } },
            "Resources": { "t": { "Type": "AWS::IoT::Thing", "Properties": { "ThingName": "t" } } }
        })
        .to_string()
    };
    assert!(Template::parse(&body(&"n".repeat(2048), &"d".repeat(4096)), rules(Caller::Rest)).is_ok());
    let problems =
        Template::parse(&body(&"n".repeat(2049), &"d".repeat(4097)), rules(Caller::Rest)).unwrap_err();
    assert_eq!(problems.0.len(), 2);
    assert!(problems.0[0].message.contains("at most 2048 characters"), "{problems}");
    assert!(problems.0[1].message.contains("at most 4096 characters"), "{problems}");
}

#[test]
fn fifty_attributes_are_possible_and_one_more_is_not() {
    let body = |count: usize| {
        let attributes: serde_json::Map<_, _> = (0..count).map(|i| (format!("a{i}"), json!("v"))).collect();
        thing(&json!({ "ThingName": "t", "AttributePayload": attributes }))
    };
    let plan = Template::parse(&body(50), rules(Caller::Rest)).unwrap().evaluate(&Parameters::new()).unwrap();
    assert_eq!(plan.thing.unwrap().attributes.unwrap().len(), 50);
    let problems = Template::parse(&body(51), rules(Caller::Rest)).unwrap_err();
    assert!(problems.to_string().contains("at most 50 attributes, not 51"), "{problems}");
}

#[test]
fn a_device_setting_has_at_most_4096_characters() {
    let body = |length: usize| {
        json!({
            "Resources": { "c": { "Type": "AWS::IoT::Certificate", "Properties": {
                "CertificateId": { "Ref": "AWS::IoT::Certificate::Id" }
            } } },
            "DeviceConfiguration": { "s": "é".repeat(length) }
        })
        .to_string()
    };
    assert!(Template::parse(&body(4096), rules(Caller::Fleet)).is_ok());
    let problems = Template::parse(&body(4097), rules(Caller::Fleet)).unwrap_err();
    assert_eq!(problems.0[0].path, "$.DeviceConfiguration.s");
}

#[test]
fn a_hundred_problems_are_listed_and_the_rest_counted() {
    let body = thing(&json!({ "ThingName": "t", "ThingGroups": vec![0; 300] }));
    let problems = Template::parse(&body, rules(Caller::Rest)).unwrap_err();
    assert_eq!(problems.0.len(), 101);
    assert_eq!(problems.0[100].message, "and 200 more problems");
}

#[test]
fn hostile_templates_are_read_and_evaluated_in_bounded_time() {
    let named = |name: Value| thing(&json!({ "ThingName": name }));
    let many_references = named(json!({ "Fn::Join": ["", vec![json!({ "Ref": "A" }); 700]] }));
    let many_placeholders = named(json!({ "Fn::Sub": "${A}".repeat(2400) }));
    let split = json!({ "Fn::Select": [0, { "Fn::Split": ["x", { "Fn::Sub": "${A}${A}${A}" }] }] });
    let many_splits = named(json!({ "Fn::Join": ["", vec![split; 120]] }));
    let started = Instant::now();
    for body in [many_references, many_placeholders, many_splits] {
        let template = Template::parse(&body, rules(Caller::Rest)).unwrap();
        let values = Parameters::from([("A".to_owned(), "x".repeat(4096))]);
        let error = template.evaluate(&values).unwrap_err();
        assert!(error.0[0].message.contains("more than 1048576 bytes"), "{}", error.0[0].message);
    }
    let unknown: String = (0..900).map(|i| format!(r#","k{i}":0"#)).collect();
    assert!(Template::parse(&format!(r#"{{"Resources":{{}}{unknown}}}"#), rules(Caller::Rest)).is_err());
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}
