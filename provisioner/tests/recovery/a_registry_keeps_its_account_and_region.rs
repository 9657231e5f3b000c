use super::*;

#[tokio::test]
async fn a_registry_keeps_its_account_and_region() {
    let dir = tempfile::TempDir::new().unwrap();
    let with = |account: &str, region: &str| Options {
        account: account.into(),
        region: region.into(),
        min_free_disk: 0,
        ..Options::default()
    };
    for (account, region) in [("123", "local-1"), ("12345678901x", "local-1"), ("123456789012", "")] {
        let why = open_with(dir.path(), with(account, region)).await.err().unwrap().to_string();
        assert!(why.contains("must be"), "{why}");
    }
    let registry = open_with(dir.path(), with("123456789012", "local-1")).await.unwrap();
    registry.close().await.unwrap();
    for (account, region) in [("210987654321", "local-1"), ("123456789012", "local-2")] {
        let why = open_with(dir.path(), with(account, region)).await.err().unwrap().to_string();
        assert!(why.contains("belongs to account 123456789012 in region local-1"), "{why}");
    }
    open_with(dir.path(), with("123456789012", "local-1")).await.unwrap();
}
