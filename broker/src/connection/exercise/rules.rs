//! Policy documents made at random, and what they allow, read aloud from the specification (`spec/policies.md`): whatever is
//! denied is denied, and the rest must be allowed.
use serde_json::{Value, json};

/// The statements of one document.
#[derive(Debug, Clone)]
pub(super) struct Rules(Vec<Rule>);

#[derive(Debug, Clone)]
struct Rule {
    deny: bool,
    actions: Vec<&'static str>,
    /// `NotResource`.
    inverted: bool,
    resources: Vec<String>,
}

const ARN: &str = "arn:aws:iot:us-east-1:000000000000:";
const ACTIONS: [&str; 6] =
    ["iot:Publish", "iot:Receive", "iot:Subscribe", "iot:RetainPublish", "iot:Connect", "iot:*"];
const NAMES: [&str; 12] =
    ["*", "a", "a/*", "a/?", "*b", "?", "a/b*", "$aws/*", "c?", "own/${iot:ClientId}", "+/*", "$share/g/*"];

impl Rules {
    /// `below(n)`: a number below `n`.
    pub(super) fn random(mut below: impl FnMut(usize) -> usize) -> Self {
        // Without these little would happen.
        let mut rules = vec![Rule::allow("iot:Connect", "*")];
        if below(3) > 0 {
            rules.push(Rule::allow("iot:*", "*"));
        }
        for _ in 0..below(7) {
            let resource = |below: &mut dyn FnMut(usize) -> usize| {
                let kind = ["topic/", "topicfilter/", "client/", "*/"][below(4)];
                format!("{ARN}{kind}{}", NAMES[below(NAMES.len())])
            };
            let actions = (0..=below(2)).map(|_| ACTIONS[below(ACTIONS.len())]).collect();
            let resources = (0..=below(2)).map(|_| resource(&mut below)).collect();
            rules.push(Rule { deny: below(3) == 0, actions, inverted: below(8) == 0, resources });
        }
        Self(rules)
    }

    /// The document.
    pub(super) fn document(&self) -> String {
        let statement = |rule: &Rule| {
            json!({
                "Effect": if rule.deny { "Deny" } else { "Allow" },
                "Action": rule.actions,
                (if rule.inverted { "NotResource" } else { "Resource" }): rule.resources,
            })
        };
        let statements: Vec<Value> = self.0.iter().map(statement).collect();
        json!({ "Version": "2012-10-17", "Statement": statements }).to_string()
    }

    /// Whether a client may do something with a client id, topic or filter.
    pub(super) fn allow(&self, client_id: &str, action: &str, kind: &str, name: &str) -> bool {
        self.decide(client_id, action, kind, name) == Some(true)
    }

    /// Whether a client may subscribe to a filter; a shared one is asked about with its group and without.
    pub(super) fn allow_subscribe(&self, client_id: &str, filter: &str) -> bool {
        let path = filter.strip_prefix("$share/").and_then(|shared| shared.split_once('/'));
        let ask = |name| self.decide(client_id, "iot:Subscribe", "topicfilter", name);
        let answers = [ask(filter), path.and_then(|(_, path)| ask(path))];
        answers.contains(&Some(true)) && !answers.contains(&Some(false))
    }

    /// `None`: nothing is said about it.
    fn decide(&self, client_id: &str, action: &str, kind: &str, name: &str) -> Option<bool> {
        let resource: Vec<char> = format!("{ARN}{kind}/{name}").chars().collect();
        let applies = |rule: &&Rule| rule.is_of(action) && rule.reaches(client_id, &resource);
        let mut found = self.0.iter().filter(applies).map(|rule| !rule.deny);
        found.clone().find(|allowed| !allowed).or_else(|| found.next())
    }
}

impl Rule {
    fn allow(action: &'static str, resource: &str) -> Self {
        Self { deny: false, actions: vec![action], inverted: false, resources: vec![resource.to_owned()] }
    }

    fn is_of(&self, action: &str) -> bool {
        self.actions.iter().any(|of| *of == action || *of == "iot:*")
    }

    fn reaches(&self, client_id: &str, resource: &[char]) -> bool {
        let reaches = |pattern: &String| {
            let pattern: Vec<char> = pattern.replace("${iot:ClientId}", client_id).chars().collect();
            matches(&pattern, resource)
        };
        self.resources.iter().any(reaches) != self.inverted
    }
}

fn matches(pattern: &[char], text: &[char]) -> bool {
    match (pattern, text) {
        ([], []) => true,
        (['*', rest @ ..], _) => {
            matches(rest, text) || matches!(text, [_, shorter @ ..] if matches(pattern, shorter))
        }
        (['?', rest @ ..], [_, text @ ..]) => matches(rest, text),
        ([a, rest @ ..], [b, text @ ..]) => a == b && matches(rest, text),
        _ => false,
    }
}
