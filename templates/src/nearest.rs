//! What a person probably meant to write.

/// The known name that `name` is most likely a misspelling of: at most two letters differ, fewer in a short name; case,
/// `_` and `-` do not count. `None`: none is close enough, or `name` is longer than 64 characters.
pub fn nearest<'k>(name: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let folded = fold(name);
    if folded.len() > LONGEST_COMPARED {
        return None;
    }
    let allowed = match folded.len() {
        0..=2 => 0,
        3..=5 => 1,
        _ => 2,
    };
    known
        .into_iter()
        .filter(|candidate| *candidate != name && candidate.len() <= LONGEST_COMPARED)
        .filter_map(|candidate| Some((distance_within(&folded, &fold(candidate), allowed)?, candidate)))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `: did you mean "X"?`, or `otherwise` when nothing is near.
pub fn did_you_mean<'k>(name: &str, known: impl IntoIterator<Item = &'k str>, otherwise: &str) -> String {
    match nearest(name, known) {
        Some(near) => format!(": did you mean {near:?}?"),
        None => otherwise.to_owned(),
    }
}

/// Text that someone else wrote, quoted for a message and cut at 100 characters.
pub fn quoted(text: &str) -> String {
    const LONGEST_SHOWN: usize = 100;
    if text.chars().nth(LONGEST_SHOWN).is_none() {
        return format!("{text:?}");
    }
    let start: String = text.chars().take(LONGEST_SHOWN).collect();
    format!("{start:?}…")
}

/// Bounds the cost of one comparison.
const LONGEST_COMPARED: usize = 64;

/// Case, `_` and `-` do not count as differences.
fn fold(name: &str) -> Vec<char> {
    name.chars().filter(|c| !matches!(c, '_' | '-')).flat_map(char::to_lowercase).collect()
}

/// The edit distance (insert, remove, change) of two short texts, if it is at most `allowed`.
fn distance_within(a: &[char], b: &[char], allowed: usize) -> Option<usize> {
    if a.len().abs_diff(b.len()) > allowed {
        return None;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut left = i + 1;
        let mut next = Vec::with_capacity(row.len());
        next.push(left);
        for (y, pair) in b.iter().zip(row.windows(2)) {
            let &[diagonal, above] = pair else { continue };
            left = (diagonal + usize::from(x != y)).min(above + 1).min(left + 1);
            next.push(left);
        }
        row = next;
    }
    row.last().copied().filter(|distance| *distance <= allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_finds_the_known_name() {
        let known = ["Parameters", "Resources", "Mappings"];
        assert_eq!(nearest("Resource", known), Some("Resources"));
        assert_eq!(nearest("resources", known), Some("Resources"));
        assert_eq!(nearest("Paramaters", known), Some("Parameters"));
        assert_eq!(nearest("Outputs", known), None);
        assert_eq!(nearest("THING_GROUPS", ["ThingGroups"]), Some("ThingGroups"));
        assert_eq!(nearest("", known), None);
        assert_eq!(nearest("x", ["y"]), None);
    }

    #[test]
    fn the_closest_of_several_wins() {
        assert_eq!(nearest("ThingNam", ["ThingName", "ThingGame"]), Some("ThingName"));
    }

    #[test]
    fn a_long_text_is_cut_when_quoted() {
        assert_eq!(quoted("a\"b"), "\"a\\\"b\"");
        assert!(quoted(&"x".repeat(1000)).chars().count() < 110);
    }
}
