//! Messages per second of devices that publish to and receive from a topic of their own, as request and answer do.
use super::traffic::{Contestants, Shape, Topics};
use crate::comparison::THROUGHPUT;
use crate::lab::Lab;
use crate::peers::Kind;
use crate::report::Report;

pub async fn run(lab: &Lab, report: &mut Report) -> anyhow::Result<()> {
    let own = Topics::Own(lab.options.many());
    let shapes = [Shape::streamed(own, 0), Shape::one_by_one(own, 1), Shape::one_by_one(own, 2)];
    let all_but_nagle = |kind| kind != Kind::MosquittoNagle;
    Contestants::start(lab, all_but_nagle).await?.rates(report, "own-topics", &shapes, THROUGHPUT).await
}
