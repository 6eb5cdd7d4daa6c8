//! Numbers and lists in messages.

/// `1 class`, `2 classes`.
pub(crate) fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// The first few names, and how many more there are.
pub(crate) fn abridged(names: &[String]) -> String {
    /// Names that are told.
    const TOLD: usize = 8;
    let told = names.iter().take(TOLD).cloned().collect::<Vec<_>>().join(", ");
    match names.len().checked_sub(TOLD) {
        None | Some(0) => told,
        Some(more) => format!("{told} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_told_in_the_singular() {
        assert_eq!(
            [0, 1, 2].map(|count| counted(count, "class", "classes")),
            ["0 classes", "1 class", "2 classes"]
        );
    }

    #[test]
    fn a_long_list_ends_with_how_many_more_there_are() {
        let names: Vec<String> = (0..10).map(|index| index.to_string()).collect();
        assert_eq!(abridged(&names[..8]), "0, 1, 2, 3, 4, 5, 6, 7");
        assert_eq!(abridged(&names), "0, 1, 2, 3, 4, 5, 6, 7 and 2 more");
    }
}
