//! `docs/threat-model.md` has a row for each attack.

use crate::services;

const PAGE: &str = include_str!("../../../docs/threat-model.md");

#[test]
fn the_page_has_a_row_for_each_attack() {
    let rows: Vec<&str> = PAGE
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` |"))
        .map(|(name, _)| name)
        .collect();
    let names: Vec<&str> = services::all().iter().map(|attack| attack.name).collect();
    for name in &names {
        let count = rows.iter().filter(|row| *row == name).count();
        assert_eq!(count, 1, "rows of {name}");
    }
    for row in rows {
        assert!(names.contains(&row), "no attack is called {row}");
    }
}
