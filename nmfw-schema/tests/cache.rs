//! The folder of schemas.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::time::{Duration, SystemTime};

use nmfw_schema::{Cache, Schema};

fn schema(name: &str) -> Schema {
    let folder = tempfile::tempdir().unwrap();
    let text = format!("syntax = \"proto3\"; package {name}; message {name}_message {{}}");
    fs::write(folder.path().join("a.proto"), text).unwrap();
    Schema::compile(["a.proto"], [folder.path()]).unwrap()
}

fn file_names(cache: &Cache) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(cache.folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn schemas_are_found_by_hash() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::open(folder.path().join("new/folder")).unwrap();
    let first = schema("first");
    assert!(cache.get(first.hash()).is_none());
    cache.put(&first).unwrap();
    cache.put(&first).unwrap();
    let found = cache.get(first.hash()).unwrap();
    assert_eq!(found.descriptor_set(), first.descriptor_set());
    assert_eq!(file_names(&cache), [format!("{}.fds.zlib", first.hash())]);
}

#[test]
fn names_that_are_no_hash_lead_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::open(folder.path()).unwrap();
    for name in [
        "",
        "../etc/passwd",
        &"/".repeat(64),
        &"A".repeat(64),
        &"é".repeat(32),
    ] {
        assert!(cache.get(name).is_none());
    }
}

#[test]
fn damaged_files_are_removed_and_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::open(folder.path()).unwrap();
    let (first, second) = (schema("first"), schema("second"));
    let path = folder.path().join(format!("{}.fds.zlib", first.hash()));
    // The content of another schema is as wrong as none at all.
    for content in [b"no zlib".as_slice(), b"", second.compressed()] {
        fs::write(&path, content).unwrap();
        assert!(cache.get(first.hash()).is_none());
        assert!(!path.exists());
        cache.put(&first).unwrap();
        assert!(cache.get(first.hash()).is_some());
    }
}

#[test]
fn files_used_longest_ago_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    let schemas: Vec<Schema> = ["one", "two", "three"].map(schema).into();
    let largest = schemas
        .iter()
        .map(|it| it.compressed().len())
        .max()
        .unwrap();
    let cache = Cache::open(folder.path())
        .unwrap()
        .max_bytes(u64::try_from(largest).unwrap() * 2 + 10);
    for (each, hours) in schemas.iter().take(2).zip([9, 8]) {
        cache.put(each).unwrap();
        let path = folder.path().join(format!("{}.fds.zlib", each.hash()));
        let file = fs::File::options().write(true).open(path).unwrap();
        let then = SystemTime::now() - Duration::from_secs(hours * 3_600);
        file.set_modified(then).unwrap();
    }
    let abandoned = folder.path().join(".writing-1-1");
    fs::write(&abandoned, "x").unwrap();
    let file = fs::File::options().write(true).open(&abandoned).unwrap();
    let then = SystemTime::now() - Duration::from_secs(2 * 3_600);
    file.set_modified(then).unwrap();

    // The use of the first makes the second the oldest.
    assert!(cache.get(schemas[0].hash()).is_some());
    cache.put(&schemas[2]).unwrap();
    assert!(cache.get(schemas[0].hash()).is_some());
    assert!(cache.get(schemas[1].hash()).is_none());
    assert!(cache.get(schemas[2].hash()).is_some());
    assert!(!abandoned.exists());
    // A schema that does not fit at all removes nothing.
    let tiny = Cache::open(folder.path()).unwrap().max_bytes(10);
    tiny.put(&schemas[1]).unwrap();
    assert_eq!(file_names(&cache).len(), 2);
}

#[test]
fn many_threads_can_write_the_same_schema() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::open(folder.path()).unwrap();
    let first = schema("first");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..20 {
                    cache.put(&first).unwrap();
                    assert!(cache.get(first.hash()).is_some());
                }
            });
        }
    });
    assert_eq!(file_names(&cache).len(), 1);
}
