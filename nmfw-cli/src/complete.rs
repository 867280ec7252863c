//! Completions of live names: services, methods, instances and requests.
//!
//! A shell waits for them, so the network gets 200 ms. If that is not enough, or nothing answers, the
//! completions are those of the last time.

use std::{
    ffi::{OsStr, OsString},
    hash::{DefaultHasher, Hash, Hasher},
    path::PathBuf,
    time::{Duration, SystemTime},
};

use clap::Parser;
use clap_complete::CompletionCandidate;
use serde::{Deserialize, Serialize};

use crate::{
    cache,
    commands::call::{fields, template},
    connection::connect_within,
    discovery::{Instance, Verb, survey},
    schema,
    target::Path,
};

/// The time for all of the network.
const LIMIT: Duration = Duration::from_millis(200);

/// The part of it for answers.
const ANSWERS: Duration = Duration::from_millis(120);

/// The age up to which the last answers are used without asking again.
const FRESH: Duration = Duration::from_secs(5);

/// The largest file of answers, in bytes.
const MAX_FILE: usize = 4 * 1024 * 1024;

/// The most candidates that a shell gets.
const MAX_CANDIDATES: usize = 1_000;

/// The services that were live the last time.
#[derive(Debug, Default, Deserialize, Serialize)]
struct Snapshot {
    instances: Vec<Known>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Known {
    name: String,
    /// The full name in the `.proto`.
    service: Option<String>,
    description: String,
    id: String,
    version: String,
    schema: Option<String>,
    endpoints: Vec<String>,
}

/// The connection in the words before the one that is completed.
#[derive(Parser)]
struct Connection {
    #[command(flatten)]
    connect: nmfw::cli::Connect,
}

/// Completes the name of a service.
pub(crate) fn services(current: &OsStr) -> Vec<CompletionCandidate> {
    let candidates = snapshot().instances.into_iter();
    offer(
        current,
        candidates.map(|known| (known.name, known.description)),
    )
}

/// Completes the id of an instance of the service that is named before.
pub(crate) fn instances(current: &OsStr) -> Vec<CompletionCandidate> {
    let words = words();
    let named = |known: &Known| {
        words
            .iter()
            .any(|word| *word == known.name || Some(word) == known.service.as_ref())
    };
    let candidates = snapshot().instances.into_iter().filter(named);
    offer(current, candidates.map(|known| (known.id, known.version)))
}

/// Completes a service and a method.
pub(crate) fn methods(current: &OsStr) -> Vec<CompletionCandidate> {
    let instances = snapshot().instances;
    let with = |separator: char, full: bool| {
        instances.iter().flat_map(move |known| {
            let service = known
                .service
                .as_ref()
                .filter(|_| full)
                .unwrap_or(&known.name);
            let method = move |name| (format!("{service}{separator}{name}"), String::new());
            known.endpoints.iter().map(method)
        })
    };
    let [slash, short, dot, short_dot] = [('/', true), ('/', false), ('.', true), ('.', false)]
        .map(|(c, full)| offer(current, with(c, full)));
    // The first spelling that begins with what is typed.
    let spellings = [slash, short, dot, short_dot].into_iter();
    spellings
        .into_iter()
        .find(|offers| !offers.is_empty())
        .unwrap_or_default()
}

/// Completes a service, or a service and a method.
pub(crate) fn elements(current: &OsStr) -> Vec<CompletionCandidate> {
    let mut candidates = services(current);
    candidates.extend(methods(current));
    candidates
}

/// Completes a request, if the schema of the method is in the cache: the names of fields, or at the
/// beginning a template of the message.
pub(crate) fn requests(current: &OsStr) -> Vec<CompletionCandidate> {
    let words = words();
    let mut paths = words.iter().filter_map(|word| Path::parse(word).ok());
    let instances = snapshot().instances;
    let message = paths.find_map(|path| {
        let is_meant = |known: &&Known| {
            known.name == path.service || known.service.as_ref() == Some(&path.service)
        };
        let known = instances.iter().find(is_meant)?;
        let schema = schema::cached(known.schema.as_deref()?)?;
        let service = schema
            .pool()
            .get_service_by_name(known.service.as_deref()?)?;
        let method = service
            .methods()
            .find(|method| method.name() == path.method)?;
        Some(method.input())
    });
    let requests = |typed: &str| {
        let Some(message) = &message else {
            return Vec::new();
        };
        match typed.contains(['"', ',']) {
            true => fields::continued(message, typed),
            false => template::json(message, false).into_iter().collect(),
        }
    };
    // bash inserts a candidate as it is. Other shells quote it, but not what is typed.
    let is_bash = std::env::var("COMPLETE").as_deref() == Ok("bash");
    let typed = current.to_str().unwrap_or_default();
    match is_bash {
        true => {
            let request = typed.strip_prefix('\'').unwrap_or(typed);
            let quoted = requests(request).into_iter().map(|json| {
                // A request that goes on is not closed.
                let end = if json.ends_with(':') { "" } else { "'" };
                (format!("'{json}{end}"), String::new())
            });
            offer(current, quoted)
        }
        false => {
            let typed = typed.replace(['\\', '\''], "");
            let requests = requests(&typed).into_iter();
            let requests = requests.map(|json| (json, String::new()));
            offer(OsStr::new(&typed), requests)
        }
    }
}

/// Returns the candidates that begin with what is typed, each once, without characters that act on
/// the terminal or end a line.
fn offer(
    current: &OsStr,
    candidates: impl IntoIterator<Item = (String, String)>,
) -> Vec<CompletionCandidate> {
    let Some(current) = current.to_str() else {
        return Vec::new();
    };
    let is_harmless = |text: &str| !text.chars().any(nmfw_core::escape::acts);
    let mut candidates: Vec<_> = candidates
        .into_iter()
        .filter(|(text, _)| text.starts_with(current) && is_harmless(text))
        .collect();
    candidates.sort();
    candidates.dedup_by(|(a, _), (b, _)| a == b);
    candidates.truncate(MAX_CANDIDATES);
    let candidate = |(text, help): (String, String)| {
        let candidate = CompletionCandidate::new(text);
        match help.is_empty() {
            true => candidate,
            false => candidate.help(Some(crate::output::text::peer(&help).into())),
        }
    };
    candidates.into_iter().map(candidate).collect()
}

/// Returns the words of the command line that is completed.
fn words() -> Vec<String> {
    let args = std::env::args_os().skip_while(|arg| arg != "--").skip(2);
    args.filter_map(|arg| arg.into_string().ok()).collect()
}

/// Returns the live services, or those of the last time.
fn snapshot() -> Snapshot {
    let options = connection_options(&words());
    let path = path(&options);
    let kept = || -> Option<Snapshot> {
        serde_json::from_slice(&cache::read(path.as_deref()?, MAX_FILE)?).ok()
    };
    let written = path
        .as_ref()
        .and_then(|path| path.metadata().ok()?.modified().ok());
    let age = written.and_then(|at| SystemTime::now().duration_since(at).ok());
    if age.is_some_and(|age| age < FRESH)
        && let Some(kept) = kept()
    {
        return kept;
    }
    let Some(live) = ask(&options) else {
        return kept().unwrap_or_default();
    };
    if let (Some(path), Ok(json)) = (&path, serde_json::to_vec(&live)) {
        cache::write(path, &json);
    }
    live
}

/// Returns the options of the connection among the words.
fn connection_options(words: &[String]) -> Vec<String> {
    let mut options = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        for name in ["--server", "--context"] {
            if word == name {
                options.push(word.clone());
                options.extend(words.next().cloned());
            } else if word.starts_with(name) && word[name.len()..].starts_with('=') {
                options.push(word.clone());
            }
        }
    }
    options
}

/// Returns the file for a connection, which depends on all that selects it.
fn path(options: &[String]) -> Option<PathBuf> {
    let mut hasher = DefaultHasher::new();
    options.hash(&mut hasher);
    for name in ["CONTEXT", "NATS_CONTEXT", "NATS_URL"] {
        std::env::var_os(name).hash(&mut hasher);
    }
    let name = format!("{:016x}.json", hasher.finish());
    Some(cache::folder()?.join("live").join(name))
}

/// Asks the network; `None` if there is no answer in time.
fn ask(options: &[String]) -> Option<Snapshot> {
    let args = [OsString::from("nmfw")].into_iter();
    let args = args.chain(options.iter().map(OsString::from));
    let connection = Connection::try_parse_from(args).ok()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .ok()?;
    let asking = async {
        let nats = connect_within(&connection.connect, LIMIT).await.ok()?;
        let survey = survey(&nats, None, &[Verb::Info], ANSWERS).await.ok()?;
        let instances = survey.instances.into_iter().map(known);
        Some(Snapshot {
            instances: instances.collect(),
        })
    };
    let answer = runtime.block_on(async { tokio::time::timeout(LIMIT, asking).await });
    // The look-up of a name cannot be cancelled.
    runtime.shutdown_background();
    answer.ok().flatten()
}

fn known(instance: Instance) -> Known {
    let schema = schema::hash(&instance).map(str::to_owned);
    let mut identity = instance.identity;
    let info = instance.info;
    let description = info.as_ref().map(|info| info.description.clone());
    let endpoints = info.into_iter().flat_map(|info| info.endpoints);
    Known {
        name: identity.name,
        service: identity.metadata.remove("nmfw.service"),
        description: description.unwrap_or_default(),
        id: identity.id,
        version: identity.version,
        schema,
        endpoints: endpoints.map(|endpoint| endpoint.name).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_the_connection_are_found() {
        let words = [
            "ls",
            "--server",
            "a",
            "--json",
            "--context=b",
            "--servers",
            "--server",
        ];
        let words: Vec<_> = words.map(str::to_owned).into();
        assert_eq!(
            connection_options(&words),
            ["--server", "a", "--context=b", "--server"]
        );
    }

    #[test]
    fn what_acts_on_a_terminal_is_not_offered() {
        let candidates = ["calc", "ca\nlc", "ca\u{1b}[31m", "other", "calc"];
        let candidates = candidates.map(|text| (text.to_owned(), String::new()));
        let offered = offer(OsStr::new("ca"), candidates);
        assert_eq!(offered.len(), 1);
        assert_eq!(offered[0].get_value(), "calc");
    }
}
