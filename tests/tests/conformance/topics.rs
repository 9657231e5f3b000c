//! Topic names and topic filters (section 4.7).
use crate::{VERSIONS, house, told};
use anyhow::ensure;
use jitp_tests::mqtt::{Publish, V5};
use std::collections::BTreeSet;

#[tokio::test]
async fn filters_match_the_topics_that_they_should() -> anyhow::Result<()> {
    let house = house()?;
    for level in VERSIONS {
        let root = format!("match-{level}");
        let topics =
            ["", "/", "/a", "/a/b", "/a/b/c", "//b", "/A", "/a/", "/ab"].map(|rest| format!("{root}{rest}"));
        for (filter, matches) in [
            ("/#", &["", "/", "/a", "/a/b", "/a/b/c", "//b", "/A", "/a/", "/ab"][..]),
            ("/a/#", &["/a", "/a/b", "/a/b/c", "/a/"]),
            ("/+", &["/", "/a", "/A", "/ab"]),
            ("/+/b", &["/a/b", "//b"]),
            ("/a/+", &["/a/b", "/a/"]),
            ("/+/+", &["/a/b", "//b", "/a/"]),
            ("/a/+/#", &["/a/b", "/a/b/c", "/a/"]),
            ("/a", &["/a"]),
            ("", &[""]),
        ] {
            let filter = format!("{root}{filter}");
            let mut client = house.listener(level, "matches", &filter).await?;
            let end = format!("end/{root}");
            client.subscribe(&end, 0).await?;
            for topic in topics.iter().chain([&end]) {
                client.publish(Publish::new(topic, "", 0)).await?;
            }
            let mut came = BTreeSet::new();
            loop {
                let topic = client.message().await?.topic;
                if topic == end {
                    break;
                }
                ensure!(came.insert(topic.clone()), "{topic} twice");
            }
            let expected = matches.iter().map(|rest| format!("{root}{rest}")).collect();
            assert_eq!(came, expected, "{filter}");
        }
    }
    Ok(())
}

// 3.1.1: 4.7.1-2 4.7.1-3
// 5.0: 4.7.1-1 4.7.1-2
#[tokio::test]
async fn wildcards_that_do_not_stand_alone_are_refused() -> anyhow::Result<()> {
    let house = house()?;
    for level in VERSIONS {
        let mut client = house.client(level, "bad-wildcards").await?;
        for filter in ["a#", "a/#/b", "#/a", "##", "a/#b", "a+", "+a", "a/+b/c", "++", "a/b+/#"] {
            let code = client.try_subscribe(filter, 0).await?;
            assert_eq!(code, if level == V5 { 0x8f } else { 0x80 }, "{filter}");
        }
        for filter in ["#", "+", "/+", "+/+", "/#", "+/#", "a/+/#", "/"] {
            client.subscribe(filter, 0).await?;
        }
    }
    Ok(())
}

// 3.1.1: 4.7.2-1
// 5.0: 4.7.2-1
#[tokio::test]
async fn a_wildcard_in_front_matches_no_topic_with_a_dollar() -> anyhow::Result<()> {
    let house = house()?;
    for level in VERSIONS {
        let name = format!("dollar-{level}");
        let mut wild = house.client(level, "dollar-wild").await?;
        for filter in ["#", "+/#", "+/events/presence/connected/+"] {
            wild.subscribe(filter, 0).await?;
        }
        let mut named =
            house.listener(level, "dollar-named", &format!("$aws/events/presence/connected/{name}")).await?;
        house.client(level, &name).await?.disconnect().await?;
        // That event, too, was sent by now, and to nobody with a wildcard in front.
        named.message().await?;
        let mut publisher = house.client(level, "dollar-publisher").await?;
        publisher.publish(Publish::new("dollar-end", "", 0)).await?;
        loop {
            let topic = wild.message().await?.topic;
            ensure!(!topic.starts_with('$'), "{topic}");
            if topic == "dollar-end" {
                break;
            }
        }
    }
    Ok(())
}

// 3.1.1: 4.7.3-1
// 5.0: 4.7.3-1
#[tokio::test]
async fn empty_topics_and_filters_are_refused() -> anyhow::Result<()> {
    let house = house()?;
    for level in VERSIONS {
        let mut client = house.client(level, "empty").await?;
        assert_eq!(client.try_subscribe("", 0).await?, if level == V5 { 0x8f } else { 0x80 });
        assert_eq!(client.unsubscribe(&[""]).await?, if level == V5 { vec![0x8f] } else { vec![] });
        let publish = Publish::new("", "", 0).encode(level);
        assert_eq!(client.ends_by(&publish).await?, told(level, 0x82));
    }
    Ok(())
}

// 3.1.1: 4.7.3-3
// 5.0: 4.7.3-3
#[tokio::test]
async fn topics_have_a_longest_length_and_are_read_up_to_it() -> anyhow::Result<()> {
    let house = house()?;
    for level in VERSIONS {
        let longest = format!("{level}{}", "x".repeat(1023));
        let mut client = house.listener(level, "longest", &longest).await?;
        client.publish(Publish::new(&longest, "", 1)).await?;
        assert_eq!(client.message().await?.topic, longest);
        let longer = format!("{longest}x");
        assert_eq!(client.try_subscribe(&longer, 0).await?, if level == V5 { 0x8f } else { 0x80 });
        for topic in [longer, "x".repeat(65_535)] {
            let mut client = house.client(level, "longest").await?;
            let code = client.ends_by(&Publish::new(&topic, "", 0).encode(level)).await?;
            assert_eq!(code, told(level, 0x90));
        }
    }
    Ok(())
}
