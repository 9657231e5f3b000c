use super::*;

/// A tree with things in some of its groups; the things in the order of the list.
async fn tree(fixture: &Fixture) -> Vec<String> {
    let registry = &fixture.registry;
    fixture.group("top", None).await;
    fixture.group("other", None).await;
    for branch in ["a", "b", "c"] {
        fixture.group(branch, Some("top")).await;
        for leaf in 0..4 {
            fixture.group(&format!("{branch}-{leaf}"), Some(branch)).await;
        }
    }
    let homes =
        [("t", "top"), ("u", "a"), ("s", "a-1"), ("r", "a-1"), ("v", "b-3"), ("w", "c"), ("x", "c-0")];
    for (name, home) in homes.into_iter().chain([("z", "other")]) {
        let name = fixture.thing(name).await;
        registry.add_thing_to_group(&name, &group(home)).await.unwrap();
    }
    ["t", "u", "r", "s", "v", "w", "x"].map(String::from).to_vec()
}

async fn listed(fixture: &Fixture, size: usize) -> Vec<String> {
    let mut all = Vec::new();
    let mut request = first(size);
    loop {
        let list = fixture.registry.list_things_in_thing_group(&group("top"), true, &request).await.unwrap();
        assert!(list.items.len() <= size);
        all.extend(list.items.iter().map(ToString::to_string));
        match list.next {
            Some(next) => request.after = Some(next),
            None => return all,
        }
    }
}

#[tokio::test]
async fn the_things_below_a_group_are_listed_once_whatever_the_size_of_a_page() {
    let fixture = Fixture::new().await;
    let expected = tree(&fixture).await;
    for size in [1, 2, 3, 6, 7, 250] {
        assert_eq!(listed(&fixture, size).await, expected, "pages of {size}");
    }
}

#[tokio::test]
async fn a_place_in_the_tree_stays_right_while_groups_and_things_come_and_go() {
    let fixture = Fixture::new().await;
    tree(&fixture).await;
    let registry = &fixture.registry;
    let page = registry.list_things_in_thing_group(&group("top"), true, &first(3)).await.unwrap();
    assert_eq!(page.items, ["t", "u", "r"].map(thing));
    // The list stands in a-1: that group goes, and others come before and after it.
    registry.delete_thing_group(&group("a-1"), None).await.unwrap();
    for (name, home) in [("p", "a-0"), ("q", "a-2")] {
        let name = fixture.thing(name).await;
        registry.add_thing_to_group(&name, &group(home)).await.unwrap();
    }
    let rest = PageRequest { after: page.next, ..first(250) };
    let rest = registry.list_things_in_thing_group(&group("top"), true, &rest).await.unwrap();
    assert_eq!(rest.items, ["q", "v", "w", "x"].map(thing));
    assert_eq!(rest.next, None);
}

#[tokio::test]
async fn a_page_ends_after_many_groups_without_things_and_goes_on() {
    let fixture = Fixture::new().await;
    fixture.group("top", None).await;
    for branch in 0..3 {
        fixture.group(&format!("b{branch}"), Some("top")).await;
        for leaf in 0..99 {
            fixture.group(&format!("b{branch}-{leaf:02}"), Some(&format!("b{branch}"))).await;
        }
    }
    let last = fixture.thing("last").await;
    fixture.registry.add_thing_to_group(&last, &group("b2-98")).await.unwrap();
    let page = fixture.registry.list_things_in_thing_group(&group("top"), true, &first(9)).await.unwrap();
    assert!(page.items.is_empty() && page.next.is_some());
    assert_eq!(listed(&fixture, 9).await, ["last"]);
}

#[tokio::test]
async fn a_strange_token_is_refused() {
    let fixture = Fixture::new().await;
    fixture.group("top", None).await;
    for token in ["a b/", "/zz", "x/y/zz"] {
        let request = PageRequest { after: Some(token.into()), ..first(9) };
        assert_eq!(
            kind(fixture.registry.list_things_in_thing_group(&group("top"), true, &request).await),
            "IR",
            "{token}"
        );
    }
}
