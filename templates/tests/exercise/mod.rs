//! What must hold for every input whatsoever. Run by the fuzzer over anything, by `mutated_cases.rs` over
//! mutated cases.
use jitp_templates::{Caller, Parameters, Rules, Template};

/// The first byte chooses the caller, the second the values of the parameters, the rest is the body.
pub fn exercise(input: &[u8]) {
    let [caller, choice, body @ ..] = input else { return };
    let Ok(body) = std::str::from_utf8(body) else { return };
    let callers = [Caller::Jitp, Caller::Rest, Caller::Bulk, Caller::Fleet];
    let caller = callers[usize::from(caller % 4)];
    let rules = Rules { caller, policy: &|_| Ok(()), functions_in_fleet_only: *choice >= 128 };

    match Template::parse(body, rules) {
        Err(problems) => {
            assert!((1..=101).contains(&problems.0.len()), "a refusal gives reasons, but not without bound");
            for problem in &problems.0 {
                assert!(problem.path.starts_with('$') && !problem.message.is_empty(), "{problem:?}");
            }
        }
        Ok(template) => {
            let values = values(&template, *choice);
            let result = template.evaluate(&values);
            assert_eq!(result, template.evaluate(&values), "an evaluation is deterministic");
            match result {
                Ok(plan) => {
                    assert!(plan.policies.len() <= 10);
                    assert!(
                        plan.thing.is_none_or(|thing| thing.groups.is_none_or(|groups| groups.len() <= 10))
                    );
                    assert!(
                        template.needs().all(|name| values.contains_key(name)),
                        "a plan needs its parameters"
                    );
                }
                Err(error) => assert!((1..=100).contains(&error.0.len()), "a failure gives reasons"),
            }
        }
    }
}

/// A value for most of the parameters, odd ones among them.
fn values(template: &Template, choice: u8) -> Parameters {
    let long = "long ".repeat(900);
    let candidates =
        ["a", "", "gw-1", "0", "-1", "a,b,,c", "${A}", "{\"Ref\":\"A\"}", "é\n", &long, &"c0".repeat(32)];
    let mut values = Parameters::new();
    for (index, name) in template.references().enumerate() {
        let pick = index + usize::from(choice);
        if pick % 13 < candidates.len() {
            values.insert(name.to_owned(), candidates[pick % 13].to_owned());
        }
    }
    values
}
