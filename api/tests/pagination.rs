//! Lists in pages: everything once, whatever comes and goes in between.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a failed unwrap is a failed test"
)]
mod support;

use serde_json::{Value, json};
use support::{POLICY, Server, encode};

#[tokio::test(flavor = "multi_thread")]
async fn both_dialects_give_every_item_once_while_items_come_and_go() {
    let server = Server::start().await;
    let client = &server.client;
    for n in 0..7 {
        client.ok("POST", &format!("/things/thing-{n}"), json!({})).await;
        client.ok("POST", &format!("/policies/policy-{n}"), json!({"policyDocument": POLICY})).await;
    }
    for (path, size, token, next, items, member, kind) in [
        ("/things", "maxResults", "nextToken", "nextToken", "things", "thingName", "thing"),
        ("/policies", "pageSize", "marker", "nextMarker", "policies", "policyName", "policy"),
    ] {
        let mut names: Vec<String> = Vec::new();
        let mut query = format!("{path}?{size}=3");
        loop {
            let page = client.ok("GET", &query, Value::Null).await;
            let found = page[items].as_array().unwrap();
            assert!(found.len() <= 3);
            names.extend(found.iter().map(|item| item[member].as_str().unwrap().to_string()));
            let Some(more) = page.get(next) else { break };
            query = format!("{path}?{size}=3&{token}={}", encode(more.as_str().unwrap()));
            // What was given already goes; what comes before the cursor is not given any more.
            client.call("DELETE", &format!("{path}/{kind}-0"), Value::Null).await;
            client.call("POST", &format!("{path}/{kind}-00"), json!({"policyDocument": POLICY})).await;
        }
        let expected: Vec<String> = (0..7).map(|n| format!("{kind}-{n}")).collect();
        assert_eq!(names, expected);
        client.ok("POST", &format!("{path}/{kind}-0"), json!({"policyDocument": POLICY})).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dialect_a_runs_backwards_too() {
    let server = Server::start().await;
    for n in 0..3 {
        server.client.ok("POST", &format!("/policies/p{n}"), json!({"policyDocument": POLICY})).await;
    }
    let first = "/policies?isAscendingOrder=false&pageSize=2";
    let page = server.client.ok("GET", first, Value::Null).await;
    assert_eq!(page["policies"][0]["policyName"], "p2");
    let marker = encode(page["nextMarker"].as_str().unwrap());
    let last = server.client.ok("GET", &format!("{first}&marker={marker}"), Value::Null).await;
    assert_eq!(last["policies"][0]["policyName"], "p0");
    assert_eq!(last.get("nextMarker"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_has_twenty_five_items_unless_the_caller_says() {
    let server = Server::start().await;
    for n in 0..26 {
        server.client.ok("POST", &format!("/things/t{n}"), json!({})).await;
    }
    let page = server.client.ok("GET", "/things", Value::Null).await;
    assert_eq!(page["things"].as_array().unwrap().len(), 25);
    let all = server.client.ok("GET", "/things?maxResults=250", Value::Null).await;
    assert_eq!(all["things"].as_array().unwrap().len(), 26);
    assert_eq!(all.get("nextToken"), None);
}
