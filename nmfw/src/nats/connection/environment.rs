//! The process's environment as a value, so that tests need not change it.

use std::collections::HashMap;
#[cfg(any(test, fuzzing))]
use std::path::Path;
use std::path::PathBuf;

/// Environment variables and the home directory.
#[derive(Clone, Debug)]
pub(super) struct Environment {
    variables: HashMap<String, String>,
    home: Option<PathBuf>,
}

impl Environment {
    /// Returns the environment of this process. Variables that are not UTF-8 are skipped.
    pub(super) fn process() -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self {
            variables: std::env::vars_os().filter_map(text).collect(),
            home: std::env::home_dir(),
        }
    }

    /// Returns a variable that is set and not empty.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        self.variables
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// Returns the folder of the `nats` program: `nats` in `$XDG_CONFIG_HOME` or `~/.config`.
    pub(super) fn nats_directory(&self) -> Option<PathBuf> {
        let parent = match self.variable("XDG_CONFIG_HOME") {
            Some(directory) => PathBuf::from(directory),
            None => self.home.as_ref()?.join(".config"),
        };
        Some(parent.join("nats"))
    }

    /// Expands `$NAME` and `${NAME}` (to nothing, if not set), then a leading `~`, as the `nats`
    /// program does in the paths of a context.
    pub(super) fn expand(&self, path: &str) -> PathBuf {
        let path = self.expand_variables(path);
        match (path.strip_prefix('~'), &self.home) {
            (Some(rest), Some(home)) => {
                let mut expanded = home.clone().into_os_string();
                expanded.push(rest);
                expanded.into()
            }
            _ => path.into(),
        }
    }

    fn expand_variables(&self, text: &str) -> String {
        let mut expanded = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            expanded.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            let (name, after) = match rest.strip_prefix('{') {
                Some(braced) => match braced.split_once('}') {
                    Some(split) => split,
                    None => ("", rest),
                },
                None => {
                    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
                    let end = rest.find(|c| !word(c)).unwrap_or(rest.len());
                    rest.split_at(end)
                }
            };
            if name.is_empty() {
                expanded.push('$');
            } else {
                expanded.push_str(self.variable(name).unwrap_or_default());
            }
            rest = after;
        }
        expanded.push_str(rest);
        expanded
    }

    #[cfg(any(test, fuzzing))]
    pub(super) fn of(variables: &[(&str, &str)], home: &Path) -> Self {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Self {
            variables: variables.iter().map(own).collect(),
            home: Some(home.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expands_as_the_nats_program_does() {
        let env = Environment::of(
            &[("DIR", "/d"), ("A_1", "x"), ("H", "~")],
            Path::new("/home/me"),
        );
        let cases = [
            ("foo", "foo"),
            ("", ""),
            ("~/foo", "/home/me/foo"),
            ("/~/foo", "/~/foo"),
            ("$DIR/foo", "/d/foo"),
            ("${DIR}foo$A_1", "/dfoox"),
            ("$UNSET/foo", "/foo"),
            ("$H/foo", "/home/me/foo"),
            ("a$", "a$"),
            ("${DIR", "${DIR"),
            ("$/x", "$/x"),
        ];
        for (given, expected) in cases {
            assert_eq!(env.expand(given), Path::new(expected), "{given}");
        }
    }

    #[test]
    fn the_directory_of_the_nats_program() {
        let home = Path::new("/home/me");
        let env = Environment::of(&[("XDG_CONFIG_HOME", "")], home);
        assert_eq!(
            env.nats_directory().unwrap(),
            Path::new("/home/me/.config/nats")
        );
        let env = Environment::of(&[("XDG_CONFIG_HOME", "/xdg")], home);
        assert_eq!(env.nats_directory().unwrap(), Path::new("/xdg/nats"));
    }
}
