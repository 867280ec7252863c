//! `nmfw deploy`: Kubernetes manifests for a service.

use clap::Args;
use clap_complete::ArgValueCompleter;
use nmfw::{
    ServiceSpec,
    permissions::{PermissionsKind, PermissionsQuery, Role, ServiceFacts},
    prost_types::FileDescriptorSet,
    server::DEFAULT_GRACE,
};
use prost::Message;

use crate::{
    arguments::Global,
    complete,
    connection::connect,
    discovery::{Verb, find},
    facts::Facts,
    failure::{Exit, Failure},
    files::Files,
    output::Output,
};

const WORKLOAD: &str = include_str!("workload.yaml");

/// The time that communication with NATS can take when an instance stops, and some more, in seconds.
const EXTRA_TERMINATION: u64 = 20;

/// Print Kubernetes manifests for a service
///
/// Prints a Deployment with probes, a PodDisruptionBudget, a HorizontalPodAutoscaler, and the
/// permissions of the NATS users: for a live service, or for one of a .proto. The image must run the
/// service with `run`, as the runner of nmfw does.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  nmfw deploy calc --image registry.example.net/calc:1.0.0 | kubectl apply -f -
  nmfw deploy calc.Calc --proto proto/calc.proto --image calc:dev")]
pub(crate) struct Deploy {
    /// The service: calc, or calc.Calc as in the .proto
    #[arg(add = ArgValueCompleter::new(complete::services))]
    service: String,

    /// The image of the service
    #[arg(long, value_parser = image)]
    image: String,

    /// The least number of instances
    #[arg(long, value_name = "N", default_value_t = 2)]
    min: u32,

    /// The largest number of instances
    #[arg(long, value_name = "N", default_value_t = 10)]
    max: u32,

    #[command(flatten)]
    files: Files,
}

/// Checks an image, which is written into YAML as it is.
fn image(text: &str) -> Result<String, &'static str> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-/:@".contains(c);
    match !text.is_empty() && text.chars().all(allowed) {
        true => Ok(text.to_owned()),
        false => Err("an image is like registry.example.net/calc:1.0.0"),
    }
}

impl Deploy {
    pub(super) async fn execute(self, global: &Global, output: &Output) -> Result<(), Failure> {
        if self.min == 0 || self.min > self.max {
            return Err(Failure::new("--min must be at least 1, and at most --max"));
        }
        let facts = match self.files.read()? {
            Some(schema) => {
                let set = FileDescriptorSet::decode(schema.descriptor_set()).unwrap_or_default();
                let spec = ServiceSpec::from_descriptors(&set, &self.service).ok_or_else(|| {
                    let names: Vec<_> = schema
                        .services()
                        .map(|s| s.full_name().to_owned())
                        .collect();
                    Failure::new(format!("the file has no service {:?}", self.service))
                        .exit(Exit::NotFound)
                        .hint(format!("it has: {}", names.join(", ")))
                })?;
                ServiceFacts::try_from(spec).map_err(|error| Failure::new(error.to_string()))?
            }
            None => {
                let nats = connect(global).await?;
                let (verbs, service) = ([Verb::Ping, Verb::Info], Some(self.service.as_str()));
                let survey = find(&nats, service, None, &verbs, global.timeout).await?;
                Facts::of(&survey.instances)?.permissions()?
            }
        };
        output.print(&self.manifests(&facts)?)
    }

    fn manifests(&self, facts: &ServiceFacts) -> Result<String, Failure> {
        let mut permissions = String::new();
        for (file, role) in [
            ("service.conf", Role::Service),
            ("client.conf", Role::Client),
        ] {
            let query = PermissionsQuery::new(PermissionsKind::Role(role));
            let text = query.text(std::slice::from_ref(facts));
            let text = text.map_err(|error| Failure::new(error.to_string()))?;
            permissions.push_str(&format!("  {file}: |\n"));
            for line in text.lines() {
                permissions.push_str(format!("    {line}").trim_end());
                permissions.push('\n');
            }
        }
        let grace = DEFAULT_GRACE.as_secs();
        // Names in discovery can have characters that those of Kubernetes cannot.
        let name = facts.name().to_lowercase().replace('_', "-");
        let name = name.trim_matches('-');
        let mut text = WORKLOAD.to_owned();
        for (place, value) in [
            ("{{service}}", facts.full_name()),
            ("{{name}}", name),
            ("{{image}}", &self.image),
            ("{{grace}}", &grace.to_string()),
            ("{{termination}}", &(grace + EXTRA_TERMINATION).to_string()),
            ("{{min}}", &self.min.to_string()),
            ("{{max}}", &self.max.to_string()),
            // The last one, because its text is not this program's.
            ("{{permissions}}", permissions.trim_end()),
        ] {
            text = text.replace(place, value);
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use serde_json::Value;

    use super::*;

    #[test]
    fn manifests_are_yaml() {
        let facts = ServiceFacts::new("acme.Shop_2", "Acme_Shop-2", "nmfw.acme.shop", Some("q"));
        let facts = facts.unwrap().with_method("Buy", Some("q")).unwrap();
        let deploy = Deploy {
            service: "acme".to_owned(),
            image: "registry:5000/shop@sha256:ab".to_owned(),
            min: 2,
            max: 4,
            files: Files::default(),
        };
        let text = deploy.manifests(&facts).unwrap();
        assert!(!text.contains("{{"), "{text}");
        let documents: Vec<Value> = text
            .split("\n---\n")
            .map(|document| serde_saphyr::from_str(document).unwrap())
            .collect();
        let kinds: Vec<_> = documents.iter().map(|document| &document["kind"]).collect();
        assert_eq!(
            kinds,
            [
                "Deployment",
                "PodDisruptionBudget",
                "HorizontalPodAutoscaler",
                "ConfigMap"
            ]
        );
        assert!(documents.iter().all(|document| {
            document["metadata"]["name"]
                .as_str()
                .unwrap()
                .starts_with("acme-shop-2")
        }));
        let pod = &documents[0]["spec"]["template"]["spec"];
        assert_eq!(
            pod["containers"][0]["image"],
            "registry:5000/shop@sha256:ab"
        );
        assert_eq!(pod["terminationGracePeriodSeconds"], 30);
        let service = documents[3]["data"]["service.conf"].as_str().unwrap();
        assert!(service.contains("\"nmfw.acme.shop.Buy q\""), "{service}");
        assert!(image("a b").is_err() && image("a\nb").is_err() && image("").is_err());
    }
}
