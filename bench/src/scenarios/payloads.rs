//! Messages per second, one to one, with payloads from 16 bytes to 64 kB.
use super::traffic::{Contestants, Shape};
use crate::comparison::THROUGHPUT;
use crate::lab::Lab;
use crate::peers::Kind;
use crate::report::Report;

const BYTES: [usize; 5] = [16, 256, 1024, 8 * 1024, 64 * 1024];

pub async fn run(lab: &Lab, report: &mut Report) -> anyhow::Result<()> {
    let [one_to_one, ..] = Contestants::patterns(lab);
    let shapes: Vec<Shape> = [0, 1]
        .into_iter()
        .flat_map(|qos| BYTES.map(|bytes| Shape::bulk(one_to_one, qos).with_payload(bytes)))
        .collect();
    let all_but_nagle = |kind| kind != Kind::MosquittoNagle;
    Contestants::start(lab, all_but_nagle).await?.rates(report, "payloads", &shapes, THROUGHPUT).await
}
