use super::*;
use crate::clock::Timestamp;
use crate::connectivity::ConnectionState;
use crate::records::ThingRecord;
use proptest::prelude::*;

fn pump() -> ThingRecord {
    let attributes = [("line", "7"), ("floor", "-2"), ("vendor", "Blue:Gate"), ("empty", "")];
    ThingRecord {
        name: "Pump-0042".parse().unwrap(),
        thing_id: "5c4a".into(),
        thing_type: Some("pump".parse().unwrap()),
        attributes: attributes.iter().map(|(n, v)| (n.parse().unwrap(), v.parse().unwrap())).collect(),
        billing_group: None,
        version: 3,
        created_at: Timestamp(0),
    }
}

fn finds(query: &str) -> bool {
    let (thing, groups) = (pump(), ["hall-a".parse().unwrap(), "site".parse().unwrap()]);
    let connection = ConnectionState {
        connected: false,
        since: Timestamp(1_000),
        disconnect_reason: Some("CONNECTION_LOST"),
    };
    let candidate = Candidate { thing: &thing, groups: &groups, connection: Some(connection) };
    Query::parse(query).unwrap_or_else(|error| panic!("{query}: {error}")).matches(&candidate)
}

#[test]
fn terms_find_by_field_without_case_and_with_wildcards() {
    for query in [
        "*",
        "pump-0042",
        "thingName:PUMP-0042",
        "thingName:pump*",
        "thingName:*42",
        "thingName:p?mp-*2",
        "thingName:\"Pump-0042\"",
        "thingId:5c4a",
        "thingTypeName:pump",
        "thingGroupNames:hall*",
        "attributes.line:7",
        "attributes.vendor:*",
        "attributes.vendor:Blue\\:Gate",
        "attributes.vendor:\"blue:gate\"",
        "attributes.floor:-2",
        "connectivity.connected:false",
        "connectivity.disconnectReason:connection_lost",
        "blue\\:gate",
        "site",
    ] {
        assert!(finds(query), "{query}");
    }
    for query in [
        "valve",
        "thingName:pump",
        "thingName:\"pump*\"",
        "thingTypeName:valve",
        "thingGroupNames:hall",
        "attributes.absent:*",
        "attributes.Line:7",
        "connectivity.connected:true",
        "thingName:p?mp",
    ] {
        assert!(!finds(query), "{query}");
    }
}

#[test]
fn operators_bind_as_in_arithmetic_and_groups_first() {
    for query in [
        "thingName:pump* AND attributes.line:7",
        "thingName:pump* attributes.line:7",
        "thingName:valve* OR attributes.line:7",
        "NOT thingName:valve*",
        "-thingName:valve*",
        "thingName:pump* -attributes.line:8",
        "thingName:(valve* OR pump*)",
        "thingName:(pump* AND -valve*)",
        "attributes.line:8 AND attributes.line:9 OR thingTypeName:pump",
        "thingTypeName:pump OR attributes.line:8 AND attributes.line:9",
        "NOT (thingName:valve* OR attributes.line:8)",
        "NOT NOT thingTypeName:pump",
    ] {
        assert!(finds(query), "{query}");
    }
    assert!(!finds("thingTypeName:pump AND (attributes.line:8 OR attributes.line:9)"));
    assert!(!finds("-thingTypeName:pump"));
}

#[test]
fn ranges_compare_numbers_as_numbers_and_the_rest_as_text() {
    for query in [
        "attributes.line>6.5",
        "attributes.line:>=7",
        "attributes.line<10",
        "attributes.line<=7",
        "attributes.line:[7 TO 9]",
        "attributes.line:{6 TO 7]",
        "attributes.line:[* TO 7]",
        "attributes.floor<-1",
        "attributes.floor:[-3 TO -1]",
        "attributes.vendor>=blue",
        "connectivity.timestamp:1000",
        "connectivity.timestamp>999",
    ] {
        assert!(finds(query), "{query}");
    }
    for query in
        ["attributes.line>7", "attributes.line:{7 TO 9]", "attributes.line:[8 TO *]", "attributes.absent<9"]
    {
        assert!(!finds(query), "{query}");
    }
}

#[test]
fn a_query_that_cannot_be_read_says_what_is_wrong() {
    let deep = format!("{}a{}", "(".repeat(20), ")".repeat(20));
    let long = "a".repeat(1_001);
    let many = "a ".repeat(65);
    for (query, part) in [
        ("", "ends where a term"),
        ("a AND", "ends where a term"),
        ("OR a", "operator"),
        ("(a", "no ) after"),
        ("a)", "no ( before"),
        ("\"a", "closing"),
        ("a\\", "backslash"),
        ("shadow.reported.x:1", "no field \"shadow.reported.x\""),
        ("thingName:", "no value"),
        ("thingName:(attributes.line:7)", "within the group"),
        ("attributes.line>", "compared with nothing"),
        ("attributes.line>7*", "wildcard"),
        ("attributes.line:[1 5]", "[1 TO 5]"),
        ("attributes.line:[1 TO 5", "[1 TO 5]"),
        ("[1 TO 5]", "needs a field"),
        ("attributes.:x", "no field"),
        (&deep, "levels"),
        (&long, "1001 characters"),
        (&many, "64 terms"),
    ] {
        let error = Query::parse(query).unwrap_err().to_string();
        assert!(error.contains(part), "{query}: {error}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_or_a_match_fail(text in "[a-z:<>=()\\[\\]{}\"*? \\\\TOANDR.-]{0,60}") {
        if let Ok(query) = Query::parse(&text) {
            let thing = pump();
            query.matches(&Candidate { thing: &thing, groups: &[], connection: None });
        }
    }
    #[test]
    fn a_word_finds_the_attribute_that_it_is(value in "[a-zA-Z0-9_.,@/#=-]{1,20}") {
        let mut thing = pump();
        thing.attributes.insert("x".parse().unwrap(), value.parse().unwrap());
        let query = Query::parse(&format!("attributes.x:\"{value}\"")).unwrap();
        let found = query.matches(&Candidate { thing: &thing, groups: &[], connection: None });
        prop_assert!(found);
    }
}
