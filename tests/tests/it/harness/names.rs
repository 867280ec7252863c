//! Checks that no two types of a crate have the same name, private ones and those of tests included.

use std::{collections::BTreeMap, fs, path::Path};

const CRATES: [&str; 5] = [
    "nmfw",
    "nmfw-broker",
    "nmfw-build",
    "nmfw-core",
    "nmfw-permissions",
];

/// The conventional name of a trait that seals another one, each in a module of its own.
const SEALED: &str = "Sealed";

/// Returns the name of the type that a line declares. Type aliases are left out, because most of
/// them shorten a longer name within one module.
fn declared(line: &str) -> Option<&str> {
    let line = match line.strip_prefix("pub") {
        Some(rest) if rest.starts_with('(') => rest.split_once(") ")?.1,
        Some(rest) => rest.trim_start(),
        None => line,
    };
    let keywords = ["struct ", "enum ", "trait ", "union "];
    let name = keywords.iter().find_map(|word| line.strip_prefix(word))?;
    let end = name.find(|c: char| !c.is_alphanumeric() && c != '_');
    // A macro takes the name from elsewhere.
    Some(&name[..end.unwrap_or(name.len())]).filter(|name| !name.is_empty())
}

/// Collects the places where types are declared, by name.
fn collect(folder: &Path, types: &mut BTreeMap<String, Vec<String>>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, types);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            for (number, line) in text.lines().enumerate() {
                if let Some(name) = declared(line.trim_start()) {
                    let place = format!("{}:{}", path.display(), number + 1);
                    types.entry(name.to_owned()).or_default().push(place);
                }
            }
        }
    }
}

#[test]
fn each_type_of_a_crate_has_its_own_name() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut repeated = Vec::new();
    for name in CRATES {
        let mut types = BTreeMap::new();
        collect(&root.join(name).join("src"), &mut types);
        assert!(!types.is_empty(), "{name} declares no types");
        types.remove(SEALED);
        repeated.extend(types.into_iter().filter(|(_, places)| places.len() > 1));
    }
    assert!(repeated.is_empty(), "{repeated:#?}");
}
