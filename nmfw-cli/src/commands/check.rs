//! `nmfw check`: compatibility of a new schema with live services.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use clap::{Args, ValueEnum};
use clap_complete::ArgValueCompleter;
use nmfw_core::escape::Escaped;
use nmfw_schema::compat::{self, Category, Finding, Report, Rule, Rules};
use serde::Serialize;

use crate::{
    arguments::Global,
    complete,
    connection::connect,
    discovery::{Instance, Verb, find},
    facts::Facts,
    failure::{Exit, Failure},
    files,
    output::{
        Output,
        text::{CAUTION, GOOD, STRONG, count, peer},
    },
    schema,
};

/// Check that a changed .proto is compatible with live services
///
/// Compares the schemas of all live versions with a file, by the rules of `buf breaking`: can
/// programs that were built from one read what those of the other write? Ends with status 5 if not,
/// for pipelines.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  nmfw check calc proto/calc.proto
  nmfw check calc.Calc new.binpb --category wire --except FIELD_SAME_NAME")]
pub(crate) struct Check {
    /// The service: calc, or calc.Calc as in the .proto
    #[arg(add = ArgValueCompleter::new(complete::services))]
    service: String,

    /// The new schema: a .proto file, or a descriptor set
    file: PathBuf,

    /// A folder in which imports are found; the default is that of the file, and the current one
    #[arg(long = "include", short = 'I', value_name = "FOLDER")]
    includes: Vec<PathBuf>,

    /// What must stay compatible
    #[arg(long, value_enum, default_value_t = CategoryArg::WireJson)]
    category: CategoryArg,

    /// Leave out a rule, such as FIELD_SAME_NAME
    #[arg(long, value_name = "RULE")]
    except: Vec<Rule>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum CategoryArg {
    /// The binary encoding
    Wire,
    /// The binary encoding and JSON
    WireJson,
}

#[derive(Serialize)]
struct Document<'a> {
    service: &'a str,
    is_compatible: bool,
    schemas: Vec<Live<'a>>,
    without_schema: usize,
}

/// The instances with one schema.
#[derive(Serialize)]
struct Live<'a> {
    versions: BTreeSet<&'a str>,
    schema: &'a str,
    instances: usize,
    is_same: bool,
    findings: Vec<Finding>,
    omitted: usize,
}

impl Check {
    pub(super) async fn execute(self, global: &Global, output: &Output) -> Result<(), Failure> {
        let new = files::read(&self.file, &self.includes)?;
        let nats = connect(global).await?;
        let verbs = [Verb::Ping, Verb::Info];
        let survey = find(&nats, Some(&self.service), None, &verbs, global.timeout).await?;
        let facts = Facts::of(&survey.instances)?;
        // A set of one service's files is not the whole tree, so only its service is compared.
        if new.service(&facts.full_name).is_none() {
            output.warn(&format!(
                "{} has no service {}",
                self.file.display(),
                facts.full_name
            ));
        }
        let mut groups: BTreeMap<&str, Vec<&Instance>> = BTreeMap::new();
        let mut without_schema = 0;
        for instance in &survey.instances {
            match schema::hash(instance) {
                Some(hash) => groups.entry(hash).or_default().push(instance),
                None => without_schema += 1,
            }
        }
        let mut schemas = Vec::new();
        for (hash, instances) in groups {
            let Some(first) = instances.first() else {
                continue;
            };
            let old = schema::of_instance(&nats, &facts.base, first, global.timeout).await?;
            let report = compat::compare_service(&old, &new, &facts.full_name, self.rules());
            let report: Report = report.map_err(|error| {
                let (name, id) = (&facts.name, &first.identity.id);
                Failure::new(format!(
                    "the schema of instance {id} of {name} is of no use: {error}"
                ))
            })?;
            let versions = instances
                .iter()
                .map(|instance| instance.identity.version.as_str());
            schemas.push(Live {
                versions: versions.collect(),
                schema: hash,
                instances: instances.len(),
                is_same: hash == new.hash(),
                findings: report.findings().to_vec(),
                omitted: report.omitted(),
            });
        }
        schemas.sort_by(|a, b| a.versions.cmp(&b.versions));
        if schemas.is_empty() {
            let failure = Failure::new(format!("no instance of {} has a schema", self.service));
            return Err(failure
                .exit(Exit::NotFound)
                .hint("build the service with a current nmfw-build and its `embed_schema`"));
        }
        let document = Document {
            service: &facts.full_name,
            is_compatible: schemas.iter().all(|live| live.findings.is_empty()),
            schemas,
            without_schema,
        };
        match output.is_json() {
            true => output.print_json(&document)?,
            false => output.print(&text(&document))?,
        }
        verdict(&document)
    }

    fn rules(&self) -> Rules {
        // A service that is gone breaks its clients in any category.
        let rules = match self.category {
            CategoryArg::Wire => Rules::of(&[Category::Wire, Category::Service]),
            CategoryArg::WireJson => {
                Rules::of(&[Category::Wire, Category::WireJson, Category::Service])
            }
        };
        self.except
            .iter()
            .fold(rules, |rules, rule| rules.without(*rule))
    }
}

fn text(document: &Document<'_>) -> String {
    let mut text = String::new();
    for live in &document.schemas {
        let versions: Vec<_> = live.versions.iter().copied().collect();
        let (names, instances) = (
            peer(&versions.join(", ")),
            count(live.instances, "instance"),
        );
        let verdict = match (live.is_same, live.findings.len() + live.omitted) {
            (true, _) => format!("{GOOD}the same schema{GOOD:#}"),
            (_, 0) => format!("{GOOD}compatible{GOOD:#}"),
            (_, breaking) => {
                format!("{CAUTION}{}{CAUTION:#}", count(breaking, "breaking change"))
            }
        };
        let service = peer(document.service);
        text.push_str(&format!(
            "{STRONG}{service} {names}{STRONG:#} ({instances}): {verdict}\n"
        ));
        for finding in &live.findings {
            text.push_str(&format!("  {}\n", Escaped::whole(&finding.to_string())));
        }
        if live.omitted > 0 {
            text.push_str(&format!("  and {} more\n", live.omitted));
        }
    }
    if document.without_schema > 0 {
        let instances = count(document.without_schema, "instance");
        text.push_str(&format!(
            "{instances} without a schema could not be checked\n"
        ));
    }
    text
}

fn verdict(document: &Document<'_>) -> Result<(), Failure> {
    if document.is_compatible {
        return Ok(());
    }
    Err(Failure::new(format!(
        "the change breaks programs that use {}",
        document.service
    ))
    .exit(Exit::Findings)
    .hint("keep the numbers and types of fields, and add new fields or a new package instead"))
}
