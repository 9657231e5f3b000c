//! PINGREQ, DISCONNECT, and errors (sections 3.12, 3.14 and 4.13).
use crate::{VERSIONS, house, told};
use anyhow::ensure;
use jitp_tests::mqtt::{Packet, Property, Publish, V3, V5};
use jitp_tests::wire::{DISCONNECT, PINGREQ, packet};

// 3.1.1: 3.12.4-1
// 5.0: 3.12.4-1
#[tokio::test]
async fn pingreq_is_answered() -> anyhow::Result<()> {
    let house = house()?;
    for level in VERSIONS {
        let mut client = house.client(level, "pings").await?;
        client.send(&[PINGREQ, PINGREQ].concat()).await?;
        assert_eq!(client.next().await?, Packet::Pingresp);
        assert_eq!(client.next().await?, Packet::Pingresp);
    }
    Ok(())
}

// 3.1.1: 3.14.4-2
#[tokio::test]
async fn the_broker_closes_after_disconnect_and_processes_nothing_behind_it() -> anyhow::Result<()> {
    let house = house()?;
    for level in VERSIONS {
        let mut listener = house.listener(level, "behind-listener", "behind").await?;
        let mut client = house.client(level, "behind").await?;
        let packets = [&DISCONNECT[..], &Publish::new("behind", "", 0).encode(level)].concat();
        assert_eq!(client.ends_by(&packets).await?, None);
        listener.nothing().await?;
    }
    Ok(())
}

// 5.0: 3.14.2-1 3.14.2-2 3.14.2-4 3.14.4-1 3.14.4-2
#[tokio::test]
async fn a_client_that_is_disconnected_is_told_why_and_nothing_after_that() -> anyhow::Result<()> {
    let house = house()?;
    for level in VERSIONS {
        let mut client = house.listener(level, "told-why", "told-why").await?;
        // What was right before the mistake is still answered; what comes behind it is not.
        let packets = [
            Publish::new("told-why", "before", 1).id(1).encode(level),
            packet(0x30, b"\0\x05a"),
            Publish::new("told-why", "after", 1).id(2).encode(level),
        ];
        client.send(&packets.concat()).await?;
        let closed = client.closed().await?;
        assert_eq!(closed.code, told(level, 0x81));
        let says = |property: &Property| matches!(property, Property::ReasonString(why) if !why.is_empty());
        ensure!(
            level == V3 || (closed.properties.len() == 1 && closed.properties.iter().all(says)),
            "{closed:?}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_disconnect_that_cannot_be_ends_the_connection_as_an_error() -> anyhow::Result<()> {
    let house = house()?;
    // A body in 3.1.1, and in 5.0 codes that clients do not send.
    let mut client = house.client(V3, "bad-disconnect").await?;
    assert_eq!(client.ends_by(&packet(0xe0, &[0])).await?, None);
    for code in [0x01, 0x02, 0x10, 0x7f, 0x87, 0x8b, 0x8e, 0xa2, 0xff] {
        let mut client = house.client(V5, "bad-disconnect").await?;
        assert_eq!(client.ends_by(&packet(0xe0, &[code])).await?, Some(0x81), "{code:x}");
    }
    for body in [&[0][..], &[0x04], &[0x80], &[0x99], &[0, 0], &[0, 5, 0x1f, 0, 2, b'a', b'b']] {
        let mut client = house.client(V5, "good-disconnect").await?;
        assert_eq!(client.ends_by(&packet(0xe0, body)).await?, None, "{body:x?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_reason_code_that_an_answer_cannot_have_ends_the_connection() -> anyhow::Result<()> {
    let house = house()?;
    for (kind, flags, code) in
        [(4, 0, 0x92), (4, 0, 0x01), (5, 0, 0x92), (6, 2, 0x10), (7, 0, 0x80), (7, 0, 0xff)]
    {
        let mut client = house.client(V5, "bad-code").await?;
        let answer = packet(kind << 4 | flags, &[0, 9, code]);
        assert_eq!(client.ends_by(&answer).await?, Some(0x81), "{kind} {code:x}");
    }
    // What they can have, with and without a property length and properties.
    let mut client = house.client(V5, "good-code").await?;
    for body in [&b"\0\x09"[..], b"\0\x09\0", b"\0\x09\x10\0", b"\0\x09\x80\x05\x1f\0\x02ab"] {
        client.send(&packet(0x40, body)).await?;
    }
    client.nothing().await
}
