//! The demo tells the whole story.
use jitp_tests::Finished;

#[test]
fn the_demo_tells_the_story_of_a_first_connection_and_ends() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let demo = Finished::of(directory.path(), &["demo", "--exit"])?;
    assert_eq!(demo.code, Some(0), "{}{}", demo.stdout, demo.stderr);
    let mut rest = demo.stdout.as_str();
    for expected in [
        "1. a broker that knows nobody",
        "ready mqtts=127.0.0.1:",
        "2. an operator registers a CA",
        "registered Plant A CA",
        "3. a device that nobody knows connects",
        "CN=pump-0042",
        "CONNACK at the first try",
        "4. what that connection brought about",
        "thing       arn:aws:iot:us-east-1:000000000000:thing/pump-0042",
        r#"attributes  {"line":"line-7"}"#,
        "certificate arn:aws:iot:us-east-1:000000000000:cert/",
        "policy      device",
        "5. what the operator heard meanwhile",
        "6. what its policy allows",
        "publish devices/pump-0042/telemetry: accepted",
        r#"the operator received {"bar":3.1}"#,
        "publish devices/pump-0001/telemetry: denied (0x87 not authorized)",
        "because ",
        "7. a stranger",
        "CONNACK NotAuthorized",
        "DEVICE_CERTIFICATE_NOT_REGISTERED",
    ] {
        let at = rest.find(expected);
        assert!(at.is_some(), "{expected:?} is missing, or told too early, in\n{}", demo.stdout);
        rest = at.and_then(|at| rest.get(at..)).unwrap_or_default();
    }
    let heard =
        demo.stdout.split("5. what").nth(1).and_then(|text| text.split("6. what").next()).unwrap_or_default();
    for topic in [
        "$aws/events/certificates/registered/",
        "$aws/events/thing/pump-0042/created",
        "$jitp/events/attempts/provisioned/",
        "$aws/events/presence/connected/pump-0042",
    ] {
        assert!(heard.contains(topic), "{topic} was not heard in\n{}", demo.stdout);
    }
    Ok(())
}
