//! What holds for every template and every value.
use jitp_templates::{Caller, Parameters, Rules, Template, generated_policy_name};
use proptest::prelude::*;
use serde_json::{Value, json};

const CALLERS: [Caller; 4] = [Caller::Jitp, Caller::Rest, Caller::Bulk, Caller::Fleet];

fn rules(caller: Caller) -> Rules<'static> {
    Rules { caller, policy: &|_| Ok(()), functions_in_fleet_only: false }
}

/// Any JSON, with the words of the language sprinkled in.
fn any_json() -> impl Strategy<Value = Value> {
    let word = prop_oneof![
        Just("Parameters".to_owned()),
        Just("Resources".to_owned()),
        Just("Mappings".to_owned()),
        Just("Type".to_owned()),
        Just("Properties".to_owned()),
        Just("ThingName".to_owned()),
        Just("Ref".to_owned()),
        Just("Fn::Join".to_owned()),
        Just("Fn::Sub".to_owned()),
        Just("AWS::IoT::Thing".to_owned()),
        Just("AWS::IoT::Certificate".to_owned()),
        ".{0,8}",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i32>().prop_map(Value::from),
        word.clone().prop_map(Value::String),
    ];
    leaf.prop_recursive(5, 60, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((word.clone(), inner), 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// A well-formed expression over the parameters A, B, C and the map M.
fn expression() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        "[a-z0-9-]{0,6}".prop_map(Value::String),
        prop_oneof![Just("A"), Just("B"), Just("C")].prop_map(|name| json!({ "Ref": name })),
        Just(json!({ "Fn::Sub": "${A}-${!B}-${C}" })),
    ];
    leaf.prop_recursive(4, 30, 4, |inner| {
        let list = prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            inner.clone().prop_map(|text| json!({ "Fn::Split": ["-", text] })),
            Just(json!({ "Fn::FindInMap": ["M", { "Ref": "A" }, "list"] })),
        ];
        prop_oneof![
            (",|-|", list.clone()).prop_map(|(delimiter, list)| json!({ "Fn::Join": [delimiter, list] })),
            (-1..4i64, list.clone()).prop_map(|(index, list)| json!({ "Fn::Select": [index, list] })),
            (inner.clone(), list).prop_map(|(index, list)| {
                let index = if index.is_object() { index } else { json!("1") };
                json!({ "Fn::Select": [index, list] })
            }),
            inner.clone().prop_map(|key| {
                let key = if key.is_object() { key } else { json!("a") };
                json!({ "Fn::FindInMap": ["M", key, "x"] })
            }),
            inner.prop_map(|value| json!({ "Fn::Sub": ["${v}.${v}.${B}", { "v": value }] })),
        ]
    })
}

fn fleet_template(name: &Value, groups: &[Value], setting: &Value) -> String {
    json!({
        "Parameters": {
            "A": { "Type": "String" }, "B": { "Type": "String", "Default": "b" }, "C": { "Type": "String" }
        },
        "Mappings": { "M": { "a": { "x": "1", "list": ["p", "q"] }, "b": { "x": "0", "list": [] } } },
        "Resources": {
            "t": { "Type": "AWS::IoT::Thing", "Properties": { "ThingName": name, "ThingGroups": groups } },
            "c": {
                "Type": "AWS::IoT::Certificate",
                "Properties": { "CertificateId": { "Ref": "AWS::IoT::Certificate::Id" } }
            }
        },
        "DeviceConfiguration": { "s": setting }
    })
    .to_string()
}

proptest! {
    #[test]
    fn any_text_is_refused_with_reasons_or_accepted(text in ".{0,200}", caller in 0..4usize) {
        if let Err(problems) = Template::parse(&text, rules(CALLERS[caller])) {
            prop_assert!(!problems.0.is_empty());
        }
    }

    #[test]
    fn any_json_is_refused_with_reasons_or_accepted(json in any_json(), caller in 0..4usize) {
        if let Err(problems) = Template::parse(&json.to_string(), rules(CALLERS[caller])) {
            prop_assert!(!problems.0.is_empty());
            prop_assert!(problems.0.iter().all(|problem| problem.path.starts_with('$')));
        }
    }

    #[test]
    fn evaluation_is_total_and_deterministic(
        name in expression(),
        groups in prop::collection::vec(expression(), 0..3),
        setting in expression(),
        values in prop::collection::btree_map("A|B|C|D", "[a-c0-9,-]{0,5}|.{0,5}", 0..4),
    ) {
        let body = fleet_template(&name, &groups, &setting);
        if let Ok(template) = Template::parse(&body, rules(Caller::Fleet)) {
            let mut values: Parameters = values;
            values.insert("AWS::IoT::Certificate::Id".to_owned(), "c0".repeat(32));
            let first = template.evaluate(&values);
            prop_assert_eq!(&first, &template.evaluate(&values));
            match first {
                Ok(_) => prop_assert!(template.needs().all(|name| values.contains_key(name))),
                Err(error) => prop_assert!(!error.0.is_empty()),
            }
        }
    }

    #[test]
    fn a_well_formed_expression_is_accepted(setting in expression()) {
        let body = fleet_template(&json!("t"), &[], &setting);
        if let Err(problems) = Template::parse(&body, rules(Caller::Fleet)) {
            // A literal key may be absent from the map; nothing else may be wrong.
            for problem in problems.0 {
                prop_assert!(problem.message.contains("has no key"), "{} in {}", problem.message, setting);
            }
        }
    }

    #[test]
    fn a_value_stays_plain_text(
        text in r#"([a-z ]|\$\{A\}|\$\{x\}|\$\{!A\}|\{"Ref": ?"A"\}|\{"Fn::Join":\["",\["x"\]\]\}){0,20}"#
    ) {
        let setting = json!({ "Fn::Sub": ["${v}|${A}", { "v": { "Fn::Join": ["", [{ "Ref": "A" }, "!"]] } }] });
        let body = fleet_template(&json!("t"), &[], &setting);
        let template = Template::parse(&body, rules(Caller::Fleet)).unwrap();
        let values = Parameters::from([
            ("A".to_owned(), text.clone()),
            ("AWS::IoT::Certificate::Id".to_owned(), "c0".repeat(32)),
        ]);
        let plan = template.evaluate(&values).unwrap();
        prop_assert_eq!(&plan.device_configuration["s"], &Value::String(format!("{text}!|{text}")));
    }

    #[test]
    fn a_generated_policy_name_depends_on_the_content_alone(document in any_json()) {
        let pretty: Value = serde_json::from_str(&serde_json::to_string_pretty(&document).unwrap()).unwrap();
        let name = generated_policy_name(&document);
        prop_assert_eq!(&name, &generated_policy_name(&pretty));
        prop_assert_eq!(name.as_str().len(), 40);
        prop_assert!(name.as_str().bytes().all(|b| matches!(b, b'0'..=b'9' | b'A'..=b'F')));
    }
}
