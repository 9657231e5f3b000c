use super::*;

#[tokio::test]
async fn events_are_off_until_switched_on_one_by_one() {
    let fixture = Fixture::new().await;
    let look = async || fixture.registry.event_configurations().await.unwrap();
    assert!(!look().await.is_enabled("THING"));
    let switch = async |key: &str, on: bool| {
        fixture.registry.update_event_configurations(&[(key.to_string(), on)].into()).await
    };
    switch("THING", true).await.unwrap();
    fixture.later(1);
    switch("POLICY", true).await.unwrap();
    let after = look().await;
    assert!(after.is_enabled("THING") && after.is_enabled("POLICY") && !after.is_enabled("JOB"));
    assert_eq!((after.created_at, after.modified_at), (Timestamp(NOW), Timestamp(NOW + 1_000)));
    switch("THING", false).await.unwrap();
    assert!(!look().await.is_enabled("THING"));
    assert_eq!(kind(switch("THINGS", true).await), "IR");
}
