use super::*;

#[tokio::test]
async fn a_format_file_that_is_not_ours_is_refused() {
    for content in ["", "something else\n", "jitp registry\nformat one\n", "jitp registry\n", "\u{1}\u{2}"] {
        let dir = tempfile::TempDir::new().unwrap();
        open(dir.path()).await.unwrap().close().await.unwrap();
        std::fs::write(dir.path().join("registry/FORMAT"), content).unwrap();
        let why = refusal(dir.path()).await;
        assert!(why.contains("is not a registry that jitp can open") && why.contains("FORMAT"), "{why}");
    }
}

#[tokio::test]
async fn engine_files_without_a_format_file_are_refused() {
    let dir = tempfile::TempDir::new().unwrap();
    open(dir.path()).await.unwrap().close().await.unwrap();
    std::fs::remove_file(dir.path().join("registry/FORMAT")).unwrap();
    assert!(refusal(dir.path()).await.contains("no file FORMAT"));
}

#[tokio::test]
async fn a_start_that_died_before_its_first_write_is_no_damage() {
    let dir = tempfile::TempDir::new().unwrap();
    std::fs::create_dir_all(dir.path().join("registry")).unwrap();
    std::fs::write(dir.path().join("registry/FORMAT.new"), "jitp reg").unwrap();
    create(&open(dir.path()).await.unwrap(), "t").await.unwrap();
}

#[tokio::test]
async fn overwritten_engine_files_are_an_error_and_not_a_panic() {
    let dir = tempfile::TempDir::new().unwrap();
    let registry = open(dir.path()).await.unwrap();
    create(&registry, "t").await.unwrap();
    registry.close().await.unwrap();
    std::fs::write(dir.path().join("registry/sled/conf"), "no configuration").unwrap();
    let why = refusal(dir.path()).await;
    assert!(why.contains("registry"), "{why}");
}
