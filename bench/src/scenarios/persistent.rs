//! Messages per second to subscribers whose sessions outlive their connections. jitp acknowledges a message when it is on
//! disk, where it survives a kill; the others keep it in memory.
use super::traffic::{Contestants, Shape};
use crate::comparison::DURABLE;
use crate::lab::Lab;
use crate::peers::Kind;
use crate::report::Report;

pub async fn run(lab: &Lab, report: &mut Report) -> anyhow::Result<()> {
    let [one_to_one, one_to_many, many_to_one] = Contestants::patterns(lab);
    let shapes = [
        Shape::bulk(one_to_one, 1),
        Shape::bulk(one_to_many, 1),
        Shape::bulk(many_to_one, 1),
        Shape::one_by_one(many_to_one, 1),
    ]
    .map(Shape::persistent);
    let brokers = |kind| !matches!(kind, Kind::MosquittoNagle | Kind::Ceiling);
    Contestants::start(lab, brokers).await?.rates(report, "persistent", &shapes, DURABLE).await
}
