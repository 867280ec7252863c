//! `nmfw deploy`: manifests for Kubernetes, and permissions.

use std::path::{Path, PathBuf};

use clap::Args;
use clap_complete::ArgValueCompleter;
use nmfw::permissions::{PermissionsKind, PermissionsQuery, Role, ServiceFacts};

use crate::{
    arguments::Global,
    complete,
    connection::connect,
    described::Described,
    discovery::{Verb, find},
    facts::Facts,
    failure::Failure,
    files,
    output::{Output, text::peer},
    render::Values,
};

/// The manifests.
const TEMPLATE: &str = include_str!("../../templates/kubernetes.yaml.tmpl");

/// Print manifests for Kubernetes and the NATS permissions of a service
///
/// From a .proto file or a live service: a Deployment with probes, a HorizontalPodAutoscaler by
/// utilization, a PodDisruptionBudget, and the least permissions of instances, clients and observers
/// in a ConfigMap. The image has to have a program with the commands of nmfw::cli, such as that of
/// `nmfw new`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  nmfw deploy proto/calc.proto --image registry.example.com/calc:1.4.2 > calc.yaml
  nmfw deploy calc --network-policy | kubectl apply -f -")]
pub(crate) struct Deploy {
    /// A .proto file, or a live service: proto/calc.proto, calc or calc.Calc
    #[arg(value_name = "SERVICE|FILE", add = ArgValueCompleter::new(complete::services))]
    source: String,

    /// Only this service of the file, such as calc.Calc
    #[arg(long = "service", value_name = "NAME")]
    services: Vec<String>,

    /// The name of the objects; the default is that of the first service in discovery
    #[arg(long, value_name = "NAME", value_parser = label)]
    name: Option<String>,

    /// The image, such as registry.example.com/calc:1.4.2; the default is the name
    #[arg(long, value_name = "IMAGE", value_parser = image)]
    image: Option<String>,

    /// The port of probes and metrics
    #[arg(long, default_value_t = 9464, value_parser = clap::value_parser!(u16).range(1024..))]
    port: u16,

    /// The least number of instances
    #[arg(long, value_name = "NUMBER", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..))]
    min: u16,

    /// The largest number of instances
    #[arg(long, value_name = "NUMBER", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..))]
    max: u16,

    /// Add a NetworkPolicy that permits NATS, DNS and the port of probes only
    #[arg(long)]
    network_policy: bool,

    /// The port of the NATS server, for the NetworkPolicy
    #[arg(long, value_name = "PORT", default_value_t = 4222)]
    nats_port: u16,

    /// A folder in which imports are found; the default is that of the file, and the current one
    #[arg(long = "include", short = 'I', value_name = "FOLDER")]
    includes: Vec<PathBuf>,
}

/// Checks the name of an object for clap. That of its ConfigMap is longer.
fn label(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let edges = text.starts_with(|c: char| c.is_ascii_lowercase()) && !text.ends_with('-');
    match edges && text.chars().all(allowed) && text.len() <= MAX_NAME {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "use at most {MAX_NAME} lower-case letters, digits and -, beginning with a letter and \
             not ending with -"
        )),
    }
}

/// The longest name: containers may have 63.
const MAX_NAME: usize = 63;

/// Checks the name of an image for clap.
fn image(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "./:@_-".contains(c);
    let first = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    match first && text.chars().all(allowed) {
        true => Ok(text.to_owned()),
        false => Err("write an image such as registry.example.com/calc:1.4.2".to_owned()),
    }
}

/// What is deployed.
struct Source {
    full_names: Vec<String>,
    /// The name in discovery.
    name: String,
    facts: Vec<ServiceFacts>,
}

impl Deploy {
    pub(super) async fn execute(self, global: &Global, output: &Output) -> Result<(), Failure> {
        if self.min > self.max {
            return Err(Failure::new(format!(
                "--min {} is more than --max {}",
                self.min, self.max
            )));
        }
        let path = Path::new(&self.source);
        let is_file = self.source.ends_with(".proto") || path.is_file();
        let source = match is_file {
            true => self.of_file(path)?,
            false => self.of_live(global).await?,
        };
        let name = match &self.name {
            Some(name) => name.clone(),
            None => {
                let name = source.name.to_lowercase().replace('_', "-");
                label(&name).map_err(|why| {
                    Failure::new(format!("{} is no name for Kubernetes: {why}", source.name))
                        .hint("choose one with --name")
                })?
            }
        };
        let image = self.image.clone().unwrap_or_else(|| name.clone());
        let mut values = Values::default();
        values.values.extend([
            ("services", peer(&source.full_names.join(", "))),
            ("name", name),
            ("image", image),
            ("port", self.port.to_string()),
            ("nats-port", self.nats_port.to_string()),
            ("min", self.min.to_string()),
            ("max", self.max.to_string()),
            ("service-conf", permissions(&source.facts, Role::Service)?),
            ("client-conf", permissions(&source.facts, Role::Client)?),
            ("observer-conf", permissions(&source.facts, Role::Observer)?),
        ]);
        if self.network_policy {
            values.flags.insert("network-policy");
        }
        let text = values.render(TEMPLATE).map_err(|why| {
            Failure::new(format!("the template of the manifests is not valid: {why}"))
        })?;
        output.print(&text)
    }

    fn of_file(&self, path: &Path) -> Result<Source, Failure> {
        let schema = files::read(path, &self.includes)?;
        let names = match self.services.is_empty() {
            true => files::own_services(&schema, path),
            false => self.services.clone(),
        };
        let services = Described::of(&schema, &names)?;
        let facts = services.iter().map(Described::permissions);
        let first = services.first();
        Ok(Source {
            full_names: services.iter().map(|s| s.full_name().to_owned()).collect(),
            name: first.map(|s| s.name.clone()).unwrap_or_default(),
            facts: facts.collect::<Result<_, _>>()?,
        })
    }

    async fn of_live(&self, global: &Global) -> Result<Source, Failure> {
        if !self.services.is_empty() {
            return Err(Failure::new("--service is for files")
                .hint("a live service is named in place of the file"));
        }
        let nats = connect(global).await?;
        let verbs = [Verb::Ping, Verb::Info];
        let survey = find(&nats, Some(&self.source), None, &verbs, global.timeout).await?;
        let facts = Facts::of(&survey.instances)?;
        Ok(Source {
            full_names: vec![facts.full_name.clone()],
            name: facts.name.clone(),
            facts: vec![facts.permissions()?],
        })
    }
}

/// Returns the permissions of a role, indented as a block in the manifest.
fn permissions(facts: &[ServiceFacts], role: Role) -> Result<String, Failure> {
    let query = PermissionsQuery::new(PermissionsKind::Role(role));
    let text = query
        .text(facts)
        .map_err(|error| Failure::new(error.to_string()))?;
    let lines: Vec<_> = text.trim_end().lines().collect();
    Ok(lines.join("\n    "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_kubernetes() {
        let long = "a".repeat(64);
        for (text, is_valid) in [
            ("calc", true),
            ("acme-billing-v1", true),
            ("", false),
            ("-a", false),
            ("a-", false),
            ("1a", false),
            ("Calc", false),
            ("a_b", false),
            ("a.b", false),
            (&long, false),
        ] {
            assert_eq!(label(text).is_ok(), is_valid, "{text:?}");
        }
    }

    #[test]
    fn images_have_no_other_characters() {
        for (text, is_valid) in [
            ("calc", true),
            ("registry.example.com:5000/a/calc:1.2.3-rc.1", true),
            ("calc@sha256:0123", true),
            ("", false),
            ("calc: x", false),
            ("calc\n", false),
            ("-calc", false),
        ] {
            assert_eq!(image(text).is_ok(), is_valid, "{text:?}");
        }
    }
}
