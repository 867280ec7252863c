//! Tests that run only on request, selected by words in the environment variable `NMFW_TEST`.
//!
//! | word | tests |
//! |---|---|
//! | `all` | with clients, services and tools in other languages, which pip, npm, Go and apt fetch; protobuf's conformance tests; the README in an empty folder; and an outage of a minute |
//! | `api` | the public API of each crate; with `all`, too |
//! | `attacks` | every attack of `docs/threat-model.md`, measured: about half an hour |
//! | `trees` | code and text for all `.proto` files of public packages, which are fetched: minutes |

use std::env;

/// Whether `NMFW_TEST` contains this word, alone or in a list separated by commas.
#[must_use]
pub fn chosen(word: &str) -> bool {
    has(&env::var("NMFW_TEST").unwrap_or_default(), word)
}

fn has(words: &str, word: &str) -> bool {
    words.split(',').any(|each| each.trim() == word)
}

#[cfg(test)]
mod tests {
    use super::has;

    #[test]
    fn words_stand_between_commas() {
        assert!(has("all", "all"));
        assert!(has("attacks, all", "all"));
        assert!(!has("overall", "all"));
        assert!(!has("", "all"));
    }
}
