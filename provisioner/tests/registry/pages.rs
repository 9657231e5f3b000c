use super::*;
use jitp_provisioner::registry::ThingFilter;

#[tokio::test]
async fn pages_join_to_the_whole_list_both_ways() {
    let fixture = Fixture::new().await;
    for i in 0..23 {
        fixture.policy(&format!("p{i:02}")).await;
    }
    for (ascending, limit) in [(true, 5), (false, 5), (true, 23), (true, 250), (false, 1)] {
        let mut names = Vec::new();
        let mut request = PageRequest { after: None, limit, ascending };
        loop {
            let page = fixture.registry.list_policies(&request).await.unwrap();
            assert!(page.items.len() <= limit);
            names.extend(page.items.iter().map(|p| p.name.to_string()));
            match page.next {
                Some(next) => request.after = Some(next),
                None => break,
            }
        }
        let mut expected: Vec<_> = (0..23).map(|i| format!("p{i:02}")).collect();
        if !ascending {
            expected.reverse();
        }
        assert_eq!(names, expected);
    }
}

#[tokio::test]
async fn a_cursor_stays_right_when_its_row_is_deleted_and_others_come() {
    let fixture = Fixture::new().await;
    for name in ["b", "d", "f"] {
        fixture.policy(name).await;
    }
    let page = fixture.registry.list_policies(&first(1)).await.unwrap();
    assert_eq!(page.items[0].name.as_str(), "b");
    fixture.registry.delete_policy(&policy("b")).await.unwrap();
    fixture.policy("a").await;
    fixture.policy("c").await;
    let rest = PageRequest { after: page.next, limit: 9, ascending: true };
    let rest = fixture.registry.list_policies(&rest).await.unwrap();
    assert_eq!(rest.items.iter().map(|p| p.name.as_str()).collect::<String>(), "cdf");
}

#[tokio::test]
async fn a_cursor_or_size_that_makes_no_sense_is_refused() {
    let fixture = Fixture::new().await;
    for (after, limit) in [(None, 0), (None, 251), (Some("zz"), 5), (Some("a"), 5), (Some("ü"), 5)] {
        let request = PageRequest { after: after.map(Into::into), limit, ascending: true };
        assert_eq!(kind(fixture.registry.list_policies(&request).await), "IR");
    }
    let beyond = PageRequest { after: Some("ffff".into()), limit: 5, ascending: true };
    assert!(fixture.registry.list_policies(&beyond).await.unwrap().items.is_empty());
}

#[tokio::test]
async fn a_filtered_list_looks_at_a_bounded_number_of_rows_per_page() {
    let fixture = Fixture::new().await;
    let creating: Vec<_> = (0..2_500)
        .map(|i| {
            let registry = fixture.registry.clone();
            tokio::spawn(async move {
                let content = CreateThing {
                    attributes: attributes(&[("rare", if i == 2_400 { "yes" } else { "no" })]),
                    ..CreateThing::default()
                };
                registry.create_thing(thing(&format!("t{i:05}")), content).await.unwrap();
            })
        })
        .collect();
    for created in creating {
        created.await.unwrap();
    }
    let filter =
        ThingFilter { attribute: Some(("rare".parse().unwrap(), "yes".into())), ..ThingFilter::default() };
    let page = fixture.registry.list_things(&filter, &first(10)).await.unwrap();
    assert!(page.items.is_empty() && page.next.is_some());
    let rest = PageRequest { after: page.next, limit: 10, ascending: true };
    let rest = fixture.registry.list_things(&filter, &rest).await.unwrap();
    assert_eq!((rest.items.len(), rest.next), (1, None));
}
