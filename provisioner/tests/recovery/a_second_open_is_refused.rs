use super::*;

#[tokio::test]
async fn a_second_open_is_refused() {
    let dir = tempfile::TempDir::new().unwrap();
    let registry = open(dir.path()).await.unwrap();
    let why = refusal(dir.path()).await;
    assert!(why.contains("another process has this data directory open"), "{why}");
    create(&registry, "t").await.unwrap();
    registry.close().await.unwrap();
    assert!(matches!(create(&registry, "u").await, Err(RegistryError::Unavailable(_))));
    open(dir.path()).await.unwrap().thing(&thing("t")).await.unwrap();
}
