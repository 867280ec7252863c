//! Checks that `docs/threat-model.md` has a row for each attack.

use crate::{clients, services};

const PAGE: &str = include_str!("../../../docs/threat-model.md");

#[test]
fn the_page_has_a_row_for_each_attack() {
    let rows: Vec<&str> = PAGE
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` |"))
        .map(|(name, _)| name)
        .collect();
    let attacks = [services::all(), clients::all()].concat();
    let names: Vec<&str> = attacks.iter().map(|attack| attack.name).collect();
    assert!(services::all().len() >= 25 && clients::all().len() >= 15);
    for name in &names {
        assert!(rows.contains(name), "there is no row for {name}");
    }
    for row in rows {
        assert!(names.contains(&row), "there is no attack {row}");
    }
}
