//! `nmfw new`: a crate with a service to begin with.

mod name;

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::{Args, ValueHint};
use serde::Serialize;

use self::name::Name;
use crate::{
    failure::Failure,
    output::{
        Output,
        text::{FAINT, STRONG},
    },
    render::Values,
};

/// Create a crate with a service, a client, a test and all that it takes to run it
///
/// The crate has a .proto, handlers, a client, a test with a NATS broker in the same process, a
/// Dockerfile, a compose file, CI for GitHub and a README. It builds and passes its test as it is.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  nmfw new greeter
  nmfw new order-book --streaming --workspace
  nmfw new greeter --nmfw-path ../nmfw")]
pub(crate) struct New {
    /// The name of the crate and its folder, such as order-book
    #[arg(value_parser = Name::parse)]
    name: Name,

    /// Add methods with streams of every kind
    #[arg(long)]
    streaming: bool,

    /// Make a workspace: a crate each for the .proto, the service and the client
    #[arg(long)]
    workspace: bool,

    /// Use the crates of nmfw in this clone of its repository, not those of crates.io
    #[arg(long, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    nmfw_path: Option<PathBuf>,
}

#[derive(Serialize)]
struct Created<'a> {
    name: &'a str,
    files: Vec<&'a str>,
}

/// A file of the crate: its path and its template.
type File = (String, &'static str);

macro_rules! template {
    ($name:literal) => {
        include_str!(concat!("../../../templates/", $name, ".tmpl"))
    };
}

impl New {
    pub(super) fn execute(self, output: &Output) -> Result<(), Failure> {
        let nmfw = self.nmfw_path.as_deref().map(clone).transpose()?;
        let files = self.files();
        let values = self.values(nmfw.as_deref());
        let mut rendered = Vec::new();
        for (path, template) in &files {
            let text = values.render(template).map_err(|why| {
                Failure::new(format!("the template of {path} is not valid: {why}"))
            })?;
            rendered.push((path.as_str(), text));
        }
        write(&self.name.package, &rendered)?;
        self.report(nmfw.as_deref(), &files, output)
    }

    /// Returns the files, in the order of a listing.
    fn files(&self) -> Vec<File> {
        let mut files = vec![
            (".dockerignore".to_owned(), template!("dockerignore")),
            (".github/workflows/ci.yml".to_owned(), template!("ci.yml")),
            (".gitignore".to_owned(), template!("gitignore")),
            ("Cargo.toml".to_owned(), template!("Cargo.toml")),
            ("Dockerfile".to_owned(), template!("Dockerfile")),
            ("README.md".to_owned(), template!("README.md")),
            ("compose.yaml".to_owned(), template!("compose.yaml")),
            (self.proto(), template!("service.proto")),
            (self.client(), template!("client.rs")),
            (self.handlers(), template!("service.rs")),
            (self.test(), template!("test.rs")),
        ];
        let mut add = |path: &str, template| files.push((path.to_owned(), template));
        match self.workspace {
            true => {
                add("client/Cargo.toml", template!("client-Cargo.toml"));
                add("proto/Cargo.toml", template!("proto-Cargo.toml"));
                add("proto/build.rs", template!("build.rs"));
                add("proto/src/lib.rs", template!("proto-lib.rs"));
                add("service/Cargo.toml", template!("service-Cargo.toml"));
                add("service/src/lib.rs", template!("lib.rs"));
                add("service/src/main.rs", template!("main.rs"));
            }
            false => {
                add("build.rs", template!("build.rs"));
                add("src/lib.rs", template!("lib.rs"));
                add("src/main.rs", template!("main.rs"));
            }
        }
        files.sort();
        files
    }

    fn proto(&self) -> String {
        let folder = if self.workspace { "proto/" } else { "" };
        format!("{folder}proto/{}.proto", self.name.package)
    }

    fn client(&self) -> String {
        match self.workspace {
            true => "client/src/main.rs".to_owned(),
            false => format!("src/bin/{}-client.rs", self.name.package),
        }
    }

    fn handlers(&self) -> String {
        let folder = if self.workspace { "service/" } else { "" };
        format!("{folder}src/service.rs")
    }

    fn test(&self) -> String {
        let folder = if self.workspace { "service/" } else { "" };
        format!("{folder}tests/service.rs")
    }

    fn values(&self, nmfw: Option<&str>) -> Values {
        let dependency = |name: &str| match nmfw {
            Some(folder) => format!("path = {:?}", format!("{folder}/{name}")),
            None => format!("version = {:?}", env!("CARGO_PKG_VERSION")),
        };
        let mut values = Values::default();
        values.values.extend([
            ("name", self.name.package.clone()),
            ("crate", self.name.library.clone()),
            ("package", self.name.proto.clone()),
            ("service", self.name.service.clone()),
            ("nmfw", dependency("nmfw")),
            ("nmfw-build", dependency("nmfw-build")),
            ("nmfw-path", nmfw.unwrap_or_default().to_owned()),
            ("proto", self.proto()),
            ("client", self.client()),
            ("handlers", self.handlers()),
            ("test", self.test()),
        ]);
        let flags = [
            ("streaming", self.streaming),
            ("workspace", self.workspace),
            ("path", nmfw.is_some()),
        ];
        let set = flags.into_iter().filter(|(_, is_set)| *is_set);
        values.flags.extend(set.map(|(flag, _)| flag));
        values
    }

    fn report(&self, nmfw: Option<&str>, files: &[File], output: &Output) -> Result<(), Failure> {
        let name = &self.name.package;
        if output.is_json() {
            return output.print_json(&Created {
                name,
                files: files.iter().map(|(path, _)| path.as_str()).collect(),
            });
        }
        let mut text = format!("{STRONG}Created {name}{STRONG:#}\n");
        for (path, _) in files {
            text.push_str(&format!("  {FAINT}{path}{FAINT:#}\n"));
        }
        let (service, client) = match self.workspace {
            true => (format!("-p {name}"), format!("-p {name}-client")),
            false => (String::new(), format!("--bin {name}-client")),
        };
        let run = |options: &str| match options {
            "" => "cargo run".to_owned(),
            options => format!("cargo run {options}"),
        };
        let aside = format!("{FAINT}# in a terminal of its own{FAINT:#}");
        let (service, client) = (run(&service), run(&client));
        text.push_str(&format!(
            "\nNext:\n  cd {name}\n  cargo test\n  nmfw broker  {aside}\n  {service} -- run  \
             {aside}\n  {client} -- Ann\n"
        ));
        output.print(&text)?;
        match nmfw {
            Some(folder) => output.warn(&format!(
                "Cargo.toml has the path {folder}: CI and other machines need nmfw there, too"
            )),
            None => output.warn(&format!(
                "Cargo.toml names version {} of the crates of nmfw, which are not on crates.io yet: \
                 until they are, clone the repository and use --nmfw-path FOLDER",
                env!("CARGO_PKG_VERSION")
            )),
        }
        Ok(())
    }
}

/// Returns the absolute path of a clone of nmfw's repository.
fn clone(folder: &Path) -> Result<String, Failure> {
    let shown = folder.display();
    let hint = "name the folder in which the crates nmfw and nmfw-build are";
    let absolute = folder.canonicalize().map_err(|error| {
        Failure::new(format!("cannot read {shown}"))
            .caused_by(&error)
            .hint(hint)
    })?;
    for name in ["nmfw", "nmfw-build"] {
        if !absolute.join(name).join("Cargo.toml").is_file() {
            let failure = Failure::new(format!("{shown} has no crate {name}"));
            return Err(failure.hint(hint));
        }
    }
    let text = absolute.to_str().filter(|path| {
        // It is written into TOML, YAML and a Dockerfile.
        path.chars()
            .all(|c| c.is_alphanumeric() || "/\\:._-+".contains(c))
    });
    text.map(str::to_owned).ok_or_else(|| {
        Failure::new(format!(
            "the path {shown} has characters other than letters, digits and ._-+"
        ))
        .hint("move the clone, or make a link to it")
    })
}

/// Writes the files into a new folder. If that fails, the folder is removed again.
fn write(name: &str, files: &[(&str, String)]) -> Result<(), Failure> {
    let folder = Path::new(name);
    fs::create_dir(folder).map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => Failure::new(format!(
            "{name} exists already, and nothing in it was changed"
        ))
        .hint("choose another name, or move it away"),
        _ => Failure::new(format!("cannot create {name}")).caused_by(&error),
    })?;
    let outcome = files.iter().try_for_each(|(path, text)| {
        let path = folder.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, text)
    });
    outcome.map_err(|error| {
        // It did not exist before.
        _ = fs::remove_dir_all(folder);
        Failure::new(format!("cannot write the files of {name}")).caused_by(&error)
    })
}
