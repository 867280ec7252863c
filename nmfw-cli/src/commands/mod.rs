//! The commands.

mod bench;
mod broker;
pub(crate) mod call;
mod check;
mod completions;
mod deploy;
mod describe;
mod doctor;
mod info;
mod ls;
mod man;
mod mock;
mod new;
mod permissions;
mod ping;
mod record;
mod replay;
mod stats;
mod top;
mod view;

use clap::Subcommand;

use crate::{arguments::Arguments, failure::Failure, output::Output};

/// The commands, in the order of `nmfw --help`.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    New(new::New),
    Ls(ls::Ls),
    Info(info::Info),
    Stats(stats::Stats),
    Ping(ping::Ping),
    Describe(describe::Describe),
    Call(call::Call),
    Top(top::Top),
    Bench(bench::Bench),
    Check(check::Check),
    Doctor(doctor::Doctor),
    Mock(mock::MockCommand),
    Record(record::Record),
    Replay(replay::Replay),
    Permissions(permissions::Permissions),
    Deploy(deploy::Deploy),
    Broker(broker::Broker),
    Completions(completions::Completions),
    Man(man::Man),
}

/// Executes a command.
pub(crate) async fn execute(arguments: Arguments, output: &Output) -> Result<(), Failure> {
    let Arguments { command, global } = arguments;
    match command {
        Command::New(new) => new.execute(output),
        Command::Ls(ls) => ls.execute(&global, output).await,
        Command::Info(info) => info.execute(&global, output).await,
        Command::Stats(stats) => stats.execute(&global, output).await,
        Command::Ping(ping) => ping.execute(&global, output).await,
        Command::Describe(describe) => describe.execute(&global, output).await,
        Command::Call(call) => call.execute(&global, output).await,
        Command::Top(top) => top.execute(&global, output).await,
        Command::Bench(bench) => bench.execute(&global, output).await,
        Command::Check(check) => check.execute(&global, output).await,
        Command::Doctor(doctor) => doctor.execute(&global, output).await,
        Command::Mock(mock) => mock.execute(&global, output).await,
        Command::Record(record) => record.execute(&global, output).await,
        Command::Replay(replay) => replay.execute(&global, output).await,
        Command::Permissions(permissions) => permissions.execute(&global, output).await,
        Command::Deploy(deploy) => deploy.execute(&global, output).await,
        Command::Broker(broker) => broker.execute(output).await,
        Command::Completions(completions) => completions.execute(output),
        Command::Man(man) => man.execute(output),
    }
}
