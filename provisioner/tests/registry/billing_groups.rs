use super::*;

#[tokio::test]
async fn a_billing_group_is_created_once() {
    let fixture = Fixture::new().await;
    let name: BillingGroupName = "cost".parse().unwrap();
    let record = fixture.registry.create_billing_group(name.clone(), Some("centre".into())).await.unwrap();
    assert_eq!((record.version, record.billing_group_id.len()), (1, 36));
    assert_eq!(kind(fixture.registry.create_billing_group(name, None).await), "AE");
}
