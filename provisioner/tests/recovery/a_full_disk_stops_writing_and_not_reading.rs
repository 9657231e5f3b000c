use super::*;
use jitp_provisioner::Health;

#[tokio::test]
async fn a_full_disk_stops_writing_and_not_reading() {
    let dir = tempfile::TempDir::new().unwrap();
    let registry = open(dir.path()).await.unwrap();
    create(&registry, "t").await.unwrap();
    registry.close().await.unwrap();
    let full = Options { min_free_disk: u64::MAX, ..Options::default() };
    let registry = open_with(dir.path(), full).await.unwrap();
    let Err(RegistryError::Unavailable(why)) = create(&registry, "u").await else { panic!("written") };
    assert!(why.contains("bytes free") && why.contains("make room"), "{why}");
    // How many bytes are free may have changed in between.
    let Health::ReadOnly(why) = registry.health() else { panic!("not said") };
    assert!(why.contains("bytes free") && why.contains("make room"), "{why}");
    registry.thing(&thing("t")).await.unwrap();
    registry.close().await.unwrap();
    let registry = open(dir.path()).await.unwrap();
    assert!(registry.thing(&thing("u")).await.is_err(), "nothing was half-written");
    create(&registry, "u").await.unwrap();
}

#[tokio::test]
async fn a_registry_is_not_created_on_a_full_disk() {
    let dir = tempfile::TempDir::new().unwrap();
    let full = Options { min_free_disk: u64::MAX, ..Options::default() };
    let why = open_with(dir.path(), full).await.err().unwrap().to_string();
    assert!(why.contains("bytes free"), "{why}");
    create(&open(dir.path()).await.unwrap(), "t").await.unwrap();
}
