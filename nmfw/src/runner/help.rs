//! What a tool says of itself.

use super::exit::{EXIT_FORCED, EXIT_GRACE_ENDED};
use crate::{Method, ServiceSpec};
use nmfw_core::service::service::Service;

/// The version of a service and that of nmfw, for `--version`: `0.0.2 (nmfw 0.1.0)`.
///
/// ```
/// # static CALC_SPEC: nmfw::ServiceSpec = nmfw::ServiceSpec::new("calc", "Calc").with_version("0.0.2");
/// # use clap::{CommandFactory, Parser};
/// #[derive(Parser)]
/// #[command(version = nmfw::cli::version(&CALC_SPEC))]
/// struct Cli {
///     // ..
/// }
/// # assert!(Cli::command().render_version().contains("0.0.2 (nmfw "));
/// ```
#[must_use]
pub fn version(service: &ServiceSpec) -> String {
    with_nmfw(service.version())
}

fn with_nmfw(version: &str) -> String {
    format!("{version} (nmfw {})", env!("CARGO_PKG_VERSION"))
}

/// A tool of services, without subcommands yet.
pub(super) fn tool(services: &[Service]) -> clap::Command {
    let first = services.first();
    let name = first.map_or("nmfw", Service::shown_name).to_owned();
    let version = first.map_or("0.0.0", Service::shown_version);
    let mut tool = clap::Command::new(name)
        .version(with_nmfw(version))
        .subcommand_required(true)
        .arg_required_else_help(true);
    if let [service] = services {
        tool = tool.about(service.shown_description().to_owned());
    }
    let header = *tool.get_styles().get_header();
    let mut methods = format!("{header}Methods:{header:#}\n");
    for service in services {
        let names: Vec<_> = service.spec.methods().map(Method::name).collect();
        let (name, version) = (service.shown_name(), service.shown_version());
        methods.push_str(&format!("  {name} {version}: {}\n", names.join(", ")));
    }
    tool.after_help(methods)
}

/// Ends the help of `run` with what needs its full name, which is known only when it is shown.
pub(super) fn finish(command: clap::Command) -> clap::Command {
    if command.get_after_long_help().is_some() {
        return command;
    }
    let name = command.get_bin_name().unwrap_or(command.get_name());
    let header = *command.get_styles().get_header();
    let literal = *command.get_styles().get_literal();
    let examples = [
        ("Serve on this machine's NATS server:", ""),
        (
            "Serve where a context of the nats command says, and log in JSON:",
            " --context production --log json",
        ),
        (
            "Serve two methods only, and leave the others to other instances:",
            " --server nats-a.example.net,nats-b.example.net --methods Add,Average",
        ),
    ];
    let mut text = format!("{header}Examples:{header:#}\n");
    for (what, arguments) in examples {
        text.push_str(&format!(
            "  {what}\n      {literal}{name}{arguments}{literal:#}\n"
        ));
    }
    text.push_str(&format!(
        "\n{header}Exit status:{header:#}
  {literal}0{literal:#}  After a signal, all requests under way came to their end
  {literal}1{literal:#}  It could not start, or the connection is gone for good
  {literal}2{literal:#}  The command line is wrong
  {literal}{EXIT_GRACE_ENDED}{literal:#}  The grace period ended with requests under way
  {literal}{EXIT_FORCED}{literal:#}  A second signal ended requests under way"
    ));
    command.after_long_help(text)
}
