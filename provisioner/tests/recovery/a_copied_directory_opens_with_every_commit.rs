use super::*;

/// A copy of the files right after a commit is what a crash at that moment would leave.
#[tokio::test]
async fn a_copied_directory_opens_with_every_commit() {
    let (dir, copied) = (tempfile::TempDir::new().unwrap(), tempfile::TempDir::new().unwrap());
    let registry = open(dir.path()).await.unwrap();
    for i in 0..300 {
        create(&registry, &format!("t{i}")).await.unwrap();
    }
    copy(dir.path(), copied.path());
    let recovered = open(copied.path()).await.unwrap();
    for i in 0..300 {
        recovered.thing(&thing(&format!("t{i}"))).await.unwrap();
    }
    assert_eq!(recovered.changes().latest(), registry.changes().latest());
    let log = recovered.changes().since(Default::default(), 1_000).await.unwrap();
    assert_eq!(log.len(), 300);
}
