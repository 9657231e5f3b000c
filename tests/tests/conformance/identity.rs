//! Client identifiers (section 3.1.3.1), and two connections with one of them.
use crate::{VERSIONS, house, told};
use anyhow::ensure;
use jitp_tests::mqtt::{Connect, Packet, Property, Publish, V3, V5};

fn assigned(connack: &Packet) -> Option<String> {
    connack.property(|property| match property {
        Property::AssignedClientId(id) => Some(id.clone()),
        _ => None,
    })
}

// 3.1.1: 3.1.3-5
// 5.0: 3.1.3-5
#[tokio::test]
async fn every_client_id_that_must_be_allowed_is() -> anyhow::Result<()> {
    let house = house()?;
    let letters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    for level in VERSIONS {
        for id in ["a", "Z", "0", &letters[..23], &letters[23..46], &letters[39..62]] {
            house.client(level, id).await?.disconnect().await?;
        }
        // And those that need not be: other characters, and as many bytes as AWS takes.
        for id in ["a b/c", "größe", &"x".repeat(128)] {
            house.client(level, id).await?.disconnect().await?;
        }
    }
    Ok(())
}

// 3.1.1: 3.1.3-8 3.1.3-9
// 5.0: 3.1.3-8
#[tokio::test]
async fn client_ids_that_are_refused_are_told_so() -> anyhow::Result<()> {
    let house = house()?;
    for level in VERSIONS {
        for id in ["$reserved", &"x".repeat(129), &"x".repeat(65_535)] {
            let code = house.open(level).await?.ends_by(&Connect::new(level, id).encode()).await?;
            ensure!(code == Some(if level == V5 { 0x85 } else { 2 }), "{code:x?}");
        }
    }
    let stays = Connect { clean: false, ..Connect::v3("") };
    assert_eq!(house.open(V3).await?.ends_by(&stays.encode()).await?, Some(2));
    Ok(())
}

// 3.1.1: 3.1.3-6 3.1.3-7
#[tokio::test]
async fn an_empty_client_id_of_3_1_1_is_another_client_each_time() -> anyhow::Result<()> {
    let house = house()?;
    let mut first = house.client(V3, "").await?;
    let mut second = house.client(V3, "").await?;
    first.nothing().await?;
    second.nothing().await
}

// 5.0: 3.1.3-6 3.1.3-7 3.2.2-16
#[tokio::test]
async fn an_empty_client_id_of_5_0_is_assigned_and_told() -> anyhow::Result<()> {
    let house = house()?;
    let (first, connack) = house.try_connect(&Connect::v5("").persistent()).await?;
    let id = assigned(&connack).unwrap_or_default();
    assert!(!id.is_empty() && !connack.session_present(), "{connack:?}");
    let (_second, other) = house.try_connect(&Connect::v5("")).await?;
    ensure!(assigned(&other).is_some_and(|other| !other.is_empty() && other != id), "{other:?}");
    first.disconnect().await?;
    let (_again, connack) = house.try_connect(&Connect::v5(&id).persistent()).await?;
    assert!(connack.session_present(), "the session has that client id");
    assert_eq!(assigned(&connack), None);
    Ok(())
}

// 3.1.1: 3.1.3-2 3.1.4-2
// 5.0: 3.1.3-2 3.1.4-3
#[tokio::test]
async fn a_new_connection_with_the_same_client_id_ends_the_old_one() -> anyhow::Result<()> {
    let house = house()?;
    for level in VERSIONS {
        let connect = Connect::new(level, &format!("taken-over-{level}")).persistent();
        let mut old = house.connect(&connect).await?;
        old.subscribe(&format!("taken-over/{level}"), 1).await?;
        let (mut new, connack) = house.try_connect(&connect).await?;
        assert!(connack.session_present());
        assert_eq!(old.closed().await?.code, told(level, 0x8e));
        new.publish(Publish::new(&format!("taken-over/{level}"), "still subscribed", 1)).await?;
        assert_eq!(new.message().await?.text(), "still subscribed");
    }
    Ok(())
}
