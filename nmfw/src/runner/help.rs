//! The help and version texts of a tool.

use super::exit::{EXIT_FORCED, EXIT_GRACE_ENDED};
use crate::{Method, ServiceSpec};
use nmfw_core::service::service::Service;

/// Returns the version of a service and that of nmfw, for `--version`: `0.0.2 (nmfw 0.1.0)`.
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

/// Creates the command of a tool, without subcommands.
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

/// Appends text to the help of `run` that needs its full name, which is known only when it is
/// displayed.
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
            "Serve with a context of the nats command, and log in JSON:",
            " --context production --log json",
        ),
        (
            "Serve only two methods, and leave the others to other instances:",
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
  {literal}0{literal:#}  All requests in flight completed after a signal
  {literal}1{literal:#}  The service could not start, or its connection was closed permanently
  {literal}2{literal:#}  The command line is invalid
  {literal}{EXIT_GRACE_ENDED}{literal:#}  The grace period ended with requests in flight
  {literal}{EXIT_FORCED}{literal:#}  A second signal aborted requests in flight"
    ));
    command.after_long_help(text)
}
