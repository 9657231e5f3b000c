//! What one decision costs: 10 policies of 20 statements, and the worst that documents can ask for.
#![expect(
    clippy::expect_used,
    reason = "a benchmark that cannot set up its documents has nothing to measure"
)]

use criterion::{Criterion, criterion_group, criterion_main};
use jitp_policies::{Action, AttachedPolicy, Context, Document, Permissions, Scope, ThingContext};
use serde_json::json;
use std::hint::black_box;

criterion_group!(benches, ten_policies, hostile, compile);
criterion_main!(benches);

fn ten_policies(criterion: &mut Criterion) {
    let resource = |policy: usize, statement: usize| match (policy * 20 + statement) % 4 {
        0 => format!("topic/p{policy}/l{statement}/${{iot:ClientId}}/*"),
        1 => format!("topic/p{policy}/l{statement}/state"),
        2 => format!("topic/p{policy}/*/alarm/{statement}"),
        _ => format!("topic/p{policy}/l{statement}/?/${{iot:ClientId}}"),
    };
    let permissions = compiled(&policies(10, 20, resource));
    let last = "p9/l19/a/pump-1";
    assert!(permissions.decide(Action::Publish, last).is_allowed());
    criterion.bench_function("publish allowed by the last of 200 statements", |bencher| {
        bencher.iter(|| black_box(&permissions).decide(Action::Publish, black_box(last)).is_allowed());
    });
    criterion.bench_function("publish not allowed by 200 statements", |bencher| {
        bencher.iter(|| black_box(&permissions).decide(Action::Publish, black_box("p9/other")).is_allowed());
    });

    let permissions =
        compiled(&policies(10, 20, |policy, statement| format!("topic/*/{policy}/{statement}")));
    assert!(permissions.decide(Action::Publish, "a/9/19").is_allowed());
    criterion.bench_function("publish, 200 statements that all start with a star", |bencher| {
        bencher.iter(|| black_box(&permissions).decide(Action::Publish, black_box("a/9/19")).is_allowed());
    });
}

/// Patterns that almost match at every place of the topic. The last one is the worst that a document can hold.
fn hostile(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("hostile");
    group.sample_size(10);
    let long = "a".repeat(1000);
    for (name, pattern) in [
        ("many stars", "*aaaaaaaaaaaab*".repeat(60)),
        ("a long literal", format!("*{long}b*")),
        ("two long literals", format!("*{long}?{}b*", "a".repeat(500))),
        ("many marks", format!("*{}b*", "a?".repeat(900))),
    ] {
        let permissions = compiled(&policies(1, 1, |_, _| format!("topic/{pattern}")));
        for length in [256, 65_000] {
            let topic = "a".repeat(length);
            group.bench_function(format!("{name}, topic of {length}"), |bencher| {
                bencher
                    .iter(|| black_box(&permissions).decide(Action::Publish, black_box(&topic)).is_allowed());
            });
        }
    }
}

fn compile(criterion: &mut Criterion) {
    let many =
        policies(10, 20, |policy, statement| format!("topic/p{policy}/{statement}/${{iot:ClientId}}/*"));
    criterion.bench_function("compile 10 policies of 20 statements", |bencher| {
        bencher.iter(|| compiled(black_box(&many)));
    });
    let few = policies(1, 3, |_, statement| format!("topic/{statement}/${{iot:ClientId}}/*"));
    criterion.bench_function("compile 1 policy of 3 statements", |bencher| {
        bencher.iter(|| compiled(black_box(&few)));
    });
}

fn policies(
    count: usize,
    statements: usize,
    resource: impl Fn(usize, usize) -> String,
) -> Vec<AttachedPolicy> {
    let document = |policy: usize| {
        let statements: Vec<_> = (0..statements)
            .map(|statement| {
                let resource = format!("arn:aws:iot:r:1:{}", resource(policy, statement));
                json!({ "Effect": "Allow", "Action": "iot:Publish", "Resource": resource })
            })
            .collect();
        json!({ "Version": "2012-10-17", "Statement": statements }).to_string()
    };
    (0..count)
        .map(|index| AttachedPolicy {
            name: format!("policy-{index}").into(),
            version: 1,
            document: Document::parse(&document(index)).expect("a valid document").into(),
        })
        .collect()
}

fn compiled(policies: &[AttachedPolicy]) -> Permissions {
    let thing = ThingContext { name: "pump-1".to_owned(), ..ThingContext::default() };
    let context = Context { client_id: Some("pump-1".to_owned()), thing: Some(thing), ..Context::default() };
    Permissions::compile(policies, &Scope { region: "r".to_owned(), account: "1".to_owned() }, &context)
}
