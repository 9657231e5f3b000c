use super::*;

#[tokio::test]
async fn an_unknown_format_is_refused() {
    let dir = tempfile::TempDir::new().unwrap();
    let registry = open(dir.path()).await.unwrap();
    create(&registry, "t").await.unwrap();
    registry.close().await.unwrap();
    let format = dir.path().join("registry/FORMAT");
    let ours = std::fs::read_to_string(&format).unwrap();
    assert_eq!(ours, "jitp registry\nformat 4\n");
    for (other, says) in [
        ("jitp registry\nformat 5\nmore that we cannot know\n", "format 5, this program reads format 4"),
        ("jitp registry\nformat 1\n", "format 1, that of a jitp before its first release"),
    ] {
        std::fs::write(&format, other).unwrap();
        let why = refusal(dir.path()).await;
        assert!(why.contains(says) && why.contains("another directory"), "{why}");
    }
    std::fs::write(&format, ours).unwrap();
    open(dir.path()).await.unwrap().thing(&thing("t")).await.unwrap();
}
