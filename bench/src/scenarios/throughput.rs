//! Messages per second: 64 bytes, QoS 0, 1 and 2, one to one, one to many, many to one.
use super::traffic::{Contestants, Shape};
use crate::comparison::THROUGHPUT;
use crate::lab::Lab;
use crate::report::Report;

pub async fn run(lab: &Lab, report: &mut Report) -> anyhow::Result<()> {
    let [one_to_one, one_to_many, many_to_one] = Contestants::patterns(lab);
    let mut shapes = Vec::new();
    for qos in 0..=2 {
        shapes.extend([one_to_one, one_to_many, many_to_one].map(|topics| Shape::bulk(topics, qos)));
        // What a fleet does: many devices, each with one message at a time.
        shapes.push(Shape::one_by_one(many_to_one, qos));
    }
    Contestants::start(lab, |_| true).await?.rates(report, "throughput", &shapes, THROUGHPUT).await
}
