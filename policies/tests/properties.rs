//! Properties that hold for all documents, connections and requests.
#![expect(clippy::unwrap_used, reason = "a document that this file writes is valid")]

mod exercise;

use jitp_policies::{Action, AttachedPolicy, Context, Decision, Document, Permissions, Scope};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Short, so that random patterns reach over it: `arn:aws:iot:a:b:`.
fn scope() -> Scope {
    Scope { region: "a".to_owned(), account: "b".to_owned() }
}

#[derive(Debug, Clone)]
struct RandomStatement {
    deny: bool,
    inverted: bool,
    action: &'static str,
    patterns: Vec<String>,
}

fn pattern() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => "[ab/*?]{0,5}".prop_map(|rest| format!("arn:aws:iot:a:b:topic/{rest}")),
        2 => "[ab*?]{0,2}".prop_map(|rest| format!("arn:aws:iot:?:*:topic/{rest}")),
        1 => "[ab:*?]{0,4}".prop_map(|rest| format!("arn:*{rest}")),
        1 => "[ab/*?]{0,3}".prop_map(|rest| format!("*topi?/{rest}")),
        1 => "[ab/]{0,3}".prop_map(|rest| format!("arn:aws:iot:a:b:topic/{rest}${{iot:ClientId}}")),
    ]
}

fn statement() -> impl Strategy<Value = RandomStatement> {
    let action = prop::sample::select(vec!["iot:Publish", "iot:*", "iot:Receive"]);
    let patterns = prop::collection::vec(pattern(), 1..4);
    (prop::bool::weighted(0.2), prop::bool::weighted(0.15), action, patterns)
        .prop_map(|(deny, inverted, action, patterns)| RandomStatement { deny, inverted, action, patterns })
}

fn policies(statements: &[RandomStatement]) -> Vec<AttachedPolicy> {
    let documents = statements.chunks(4).map(|statements| {
        let statements: Vec<Value> = statements
            .iter()
            .map(|statement| {
                json!({
                    "Effect": if statement.deny { "Deny" } else { "Allow" },
                    "Action": statement.action,
                    (if statement.inverted { "NotResource" } else { "Resource" }): statement.patterns,
                })
            })
            .collect();
        Document::parse(&json!({ "Version": "2012-10-17", "Statement": statements }).to_string()).unwrap()
    });
    documents
        .enumerate()
        .map(|(index, document)| AttachedPolicy {
            name: format!("p{index}").into(),
            version: 1,
            document: document.into(),
        })
        .collect()
}

/// The specification read aloud: the first Deny that matches, else the first Allow.
fn naive_decision(statements: &[RandomStatement], arn: &str) -> Option<(bool, usize)> {
    let applies = |statement: &RandomStatement| {
        let matches = |pattern: &String| {
            let pattern: Vec<char> = pattern.replace("${iot:ClientId}", "ab").chars().collect();
            naive_match(&pattern, &arn.chars().collect::<Vec<_>>())
        };
        statement.action != "iot:Receive" && statement.patterns.iter().any(matches) != statement.inverted
    };
    let first = |deny: bool| {
        let mut all = statements.iter().enumerate();
        all.find(|(_, statement)| statement.deny == deny && applies(statement))
            .map(|(index, _)| (deny, index))
    };
    first(true).or_else(|| first(false))
}

fn naive_match(pattern: &[char], text: &[char]) -> bool {
    match (pattern, text) {
        ([], []) => true,
        (['*', rest @ ..], _) => {
            naive_match(rest, text) || matches!(text, [_, shorter @ ..] if naive_match(pattern, shorter))
        }
        (['?', rest @ ..], [_, text @ ..]) => naive_match(rest, text),
        ([a, rest @ ..], [b, text @ ..]) => a == b && naive_match(rest, text),
        _ => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn a_decision_is_that_of_a_naive_evaluator(
        statements in prop::collection::vec(statement(), 0..14),
        topics in prop::collection::vec("[ab/]{0,5}", 1..12),
    ) {
        let context = Context { client_id: Some("ab".to_owned()), ..Context::default() };
        let permissions = Permissions::compile(&policies(&statements), &scope(), &context);
        for topic in topics {
            let decided = match permissions.decide(Action::Publish, &topic) {
                Decision::Denied { by } => Some((true, by)),
                Decision::Allowed { by } => Some((false, by)),
                Decision::NotAllowed => None,
            };
            let policy = |name: &str| name.trim_start_matches('p').parse::<usize>().unwrap();
            let decided = decided.map(|(deny, by)| (deny, policy(&by.policy) * 4 + by.index));
            let wanted = naive_decision(&statements, &format!("arn:aws:iot:a:b:topic/{topic}"));
            prop_assert_eq!(decided, wanted, "{}", topic);
        }
    }

    #[test]
    fn compiling_twice_gives_the_same(statements in prop::collection::vec(statement(), 0..14)) {
        let compile = || Permissions::compile(&policies(&statements), &scope(), &Context::default());
        prop_assert_eq!(format!("{:?}", compile()), format!("{:?}", compile()));
        prop_assert_eq!(compile().describe(), compile().describe());
    }

    #[test]
    fn an_explanation_has_the_decision_and_one_line(
        statements in prop::collection::vec(statement(), 0..10), topic in "(?s).{0,8}",
    ) {
        let permissions = Permissions::compile(&policies(&statements), &scope(), &Context::default());
        exercise::request(&permissions, &topic);
    }

    #[test]
    fn any_text_is_parsed_or_refused(text in "(?s).{0,80}") {
        exercise::document(&text);
    }

    #[test]
    fn any_json_is_parsed_or_refused(
        statement in json_value(),
        version in prop::sample::select(vec!["2012-10-17", "2008-10-17", "x"]),
    ) {
        exercise::document(&json!({ "Version": version, "Statement": statement }).to_string());
    }
}

fn json_value() -> impl Strategy<Value = Value> {
    let words = prop::sample::select(vec![
        "Allow",
        "Deny",
        "iot:*",
        "*",
        "arn:aws:iot:a:b:topic/*",
        "${iot:ClientId}",
        "${",
        "true",
        "10.0.0.0/8",
        "5",
        "iot:Connection.Thing.ThingName",
        "2026-01-31",
        "",
    ]);
    let leaf = prop_oneof![
        6 => words.prop_map(Value::from),
        1 => any::<bool>().prop_map(Value::from),
        1 => any::<f64>().prop_map(Value::from),
        1 => Just(Value::Null),
    ];
    let names = prop::sample::select(vec![
        "Sid",
        "Effect",
        "Action",
        "Resource",
        "NotResource",
        "Condition",
        "StringEquals",
        "ForAllValues:StringLike",
        "Bool",
        "IpAddress",
        "NumericLessThanIfExists",
        "DateGreaterThan",
        "Null",
        "iot:ClientId",
        "aws:SourceIp",
        "iot:ConnectAttributes",
        "odd",
    ]);
    leaf.prop_recursive(5, 40, 6, move |inner| {
        prop_oneof![
            1 => prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            3 => prop::collection::vec((names.clone(), inner), 0..6)
                .prop_map(|members| members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()),
        ]
    })
}
