//! What the registry can commit: things created by one client after another, and by 64 at the same time. A thing is a row
//! and an entry of the change log. What a first connection writes is measured by the bench `admit`.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed measurement")]
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use jitp_provisioner::registry::CreateThing;
use jitp_provisioner::{Options, Registry, SystemClock};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

fn commits(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let dir = tempfile::TempDir::new().unwrap();
    let options = Options { min_free_disk: 0, ..Options::default() };
    let registry = runtime.block_on(Registry::open(dir.path(), options, Arc::new(SystemClock))).unwrap();
    let next = Arc::new(AtomicU64::new(0));
    let mut group = criterion.benchmark_group("create_thing");
    group.throughput(Throughput::Elements(1)).measurement_time(Duration::from_secs(5)).sample_size(10);
    for waiting in [1, 64] {
        group.bench_function(BenchmarkId::new("waiting", waiting), |bencher| {
            bencher.iter_custom(|count| runtime.block_on(create(&registry, &next, count, waiting)));
        });
    }
    group.finish();
    runtime.block_on(registry.close()).unwrap();
}

/// Creates `count` things, `waiting` of them at a time.
async fn create(registry: &Registry, next: &Arc<AtomicU64>, count: u64, waiting: u64) -> Duration {
    let start = Instant::now();
    let left = Arc::new(AtomicU64::new(count));
    let writers: Vec<_> = (0..waiting)
        .map(|_| {
            let (registry, next, left) = (registry.clone(), Arc::clone(next), Arc::clone(&left));
            tokio::spawn(async move {
                while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok() {
                    let name = format!("thing-{:08}", next.fetch_add(1, Ordering::Relaxed));
                    registry.create_thing(name.parse().unwrap(), CreateThing::default()).await.unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    start.elapsed()
}

criterion_group!(benches, commits);
criterion_main!(benches);
