use super::*;

#[tokio::test]
async fn a_newer_format_is_refused() {
    let dir = tempfile::TempDir::new().unwrap();
    let registry = open(dir.path()).await.unwrap();
    create(&registry, "t").await.unwrap();
    registry.close().await.unwrap();
    let format = dir.path().join("registry/FORMAT");
    let ours = std::fs::read_to_string(&format).unwrap();
    assert_eq!(ours, "jitp registry\nformat 1\n");
    std::fs::write(&format, "jitp registry\nformat 2\nmore that we cannot know\n").unwrap();
    let why = refusal(dir.path()).await;
    assert!(why.contains("format 2") && why.contains("newer jitp"), "{why}");
    std::fs::write(&format, ours).unwrap();
    open(dir.path()).await.unwrap().thing(&thing("t")).await.unwrap();
}
