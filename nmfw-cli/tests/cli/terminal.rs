//! The program in a real terminal: tmux, and the shells that are there.
//!
//! `NMFW_TEST=all` runs these tests; a tool that is missing is reported.

use std::{
    path::Path,
    process::{Command, Output},
};

use nmfw_tests::{TestBroker, calc, eventually, install::in_path, on_both_brokers};

use crate::program::{LIMIT, Program};

/// A terminal of 80 columns and 24 lines, which ends with the test.
struct Terminal<'a> {
    socket: String,
    program: &'a Program,
}

impl<'a> Terminal<'a> {
    /// Starts a command in a terminal; `None` if a tool is missing or these tests are not wanted.
    fn start(program: &'a Program, url: &str, command: &[&str]) -> Option<Self> {
        let is_wanted = nmfw_tests::chosen("all");
        let missing = ["tmux", command[0]]
            .into_iter()
            .find(|tool| !tool.contains('/') && in_path(tool).is_none());
        if !is_wanted || missing.is_some() {
            let why = missing.unwrap_or("NMFW_TEST=all");
            eprintln!("NOT RUN: {} in a terminal, which needs {why}", command[0]);
            return None;
        }
        let socket = format!("nmfw-{}", program.home().display()).replace(['/', '.'], "-");
        let terminal = Self { socket, program };
        let mut new = terminal.tmux();
        new.args([
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-x",
            "80",
            "-y",
            "24",
        ]);
        for (key, value) in [("NATS_URL", url), ("PS1", "$ ")] {
            new.args(["-e", &format!("{key}={value}")]);
        }
        let output = new.args(command).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        Some(terminal)
    }

    fn tmux(&self) -> Command {
        let mut command = Command::new("tmux");
        command
            .args(["-L", &self.socket])
            .env("HOME", self.program.home());
        // The path of a terminal is that of its client.
        let folder = Path::new(env!("CARGO_BIN_EXE_nmfw")).parent().unwrap();
        let path = std::env::var("PATH").unwrap();
        command.env("PATH", format!("{}:{path}", folder.display()));
        // A UTF-8 locale, for the symbols.
        command
            .env("LC_ALL", "C.UTF-8")
            .current_dir(self.program.home());
        command.env_remove("TMUX").env_remove("XDG_CACHE_HOME");
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.tmux().args(args).output().unwrap()
    }

    fn keys(&self, keys: &[&str]) {
        assert!(self.run(&[&["send-keys"], keys].concat()).status.success());
    }

    /// Waits until the screen has all of these texts.
    async fn shows(&self, texts: &[&str]) {
        eventually(LIMIT, async || {
            let screen = self.run(&["capture-pane", "-p"]).stdout;
            let screen = String::from_utf8_lossy(&screen).into_owned();
            match texts.iter().find(|text| !screen.contains(**text)) {
                Some(missing) => Err(format!("{missing:?} is not on the screen:\n{screen}")),
                None => Ok(()),
            }
        })
        .await;
    }
}

impl Drop for Terminal<'_> {
    fn drop(&mut self) {
        self.run(&["kill-server"]);
    }
}

/// Completes a service, a method, a request and a field in a shell, in whose way the request and the
/// field are begun.
async fn completes(url: &str, shell: &[&str], set_up: &[&str], begun: &str, field: &str) {
    let program = Program::new(url);
    let _calc = calc::serve(url).await.unwrap();
    // The schema is then in the cache, from which requests are completed.
    program.run("call calc.Add").await.ok();
    let Some(terminal) = Terminal::start(&program, url, shell) else {
        return;
    };
    for line in set_up {
        terminal.keys(&["-l", line]);
        terminal.keys(&["Enter"]);
    }
    terminal.keys(&["-l", "echo rea''dy"]);
    terminal.keys(&["Enter"]);
    terminal.shows(&["\nready"]).await;
    terminal.keys(&["-l", "nmfw info ca"]);
    terminal.keys(&["Tab"]);
    terminal.shows(&["nmfw info calc"]).await;
    terminal.keys(&["C-u"]);
    terminal.keys(&["-l", "nmfw call calc.Calc/E"]);
    terminal.keys(&["Tab"]);
    terminal.shows(&["nmfw call calc.Calc/Expression"]).await;
    terminal.keys(&["C-u"]);
    terminal.keys(&["-l", "nmfw call calc.Calc/Add "]);
    terminal.keys(&["-l", begun]);
    terminal.keys(&["Tab"]);
    terminal.shows(&["Values", "0.0"]).await;
    terminal.keys(&["Enter"]);
    terminal.shows(&["\"Operation\":"]).await;
    terminal.keys(&["-l", "clear"]);
    terminal.keys(&["Enter"]);
    terminal.keys(&["-l", "nmfw call calc.Calc/Expression "]);
    terminal.keys(&["-l", begun]);
    terminal.keys(&["-l", field]);
    terminal.keys(&["Tab"]);
    let quote = field.strip_suffix("Exp").unwrap();
    terminal
        .shows(&[&format!("{quote}Expression{quote}:")])
        .await;
}

on_both_brokers! {
    async fn bash_completes(broker: TestBroker) {
        let shell = ["bash", "--norc", "--noprofile"];
        let set_up = ["source <(nmfw completions bash)"];
        completes(&broker.url(), &shell, &set_up, "'{", "\"Exp").await;
    }

    async fn zsh_completes(broker: TestBroker) {
        let set_up = [
            "autoload -U compinit; compinit -u",
            "source <(nmfw completions zsh)",
        ];
        completes(&broker.url(), &["zsh", "-f"], &set_up, "\\{", "\\\"Exp").await;
    }

    async fn fish_completes(broker: TestBroker) {
        let set_up = ["nmfw completions fish | source"];
        let shell = ["fish", "--no-config"];
        completes(&broker.url(), &shell, &set_up, "\\{", "\\\"Exp").await;
    }

    async fn top_shows_many_instances(broker: TestBroker) {
        let program = Program::new(&broker.url());
        let nats = nmfw::connect(broker.url()).await.unwrap();
        let top = [env!("CARGO_BIN_EXE_nmfw"), "top", "--interval", "1s"];
        let Some(terminal) = Terminal::start(&program, &broker.url(), &top) else {
            return;
        };
        let mut running = Vec::new();
        for _ in 0..500 {
            let service = calc::CalcServer::new(calc::Calculator);
            running.push(nmfw::Server::new(nats.clone()).add_service(service).start().await.unwrap());
        }
        terminal.shows(&["1 service, 500 instances"]).await;
    }

    async fn top_is_drawn_and_obeys_keys(broker: TestBroker) {
        let program = Program::new(&broker.url());
        let _calc = calc::serve(&broker.url()).await.unwrap();
        let top = [env!("CARGO_BIN_EXE_nmfw"), "top", "--interval", "1s"];
        let Some(terminal) = Terminal::start(&program, &broker.url(), &top) else {
            return;
        };
        terminal.shows(&["1 service, 1 instance", "calc ", "q quit"]).await;
        terminal.keys(&["Enter"]);
        terminal.shows(&["> calc (methods)", "Average", "Expression"]).await;
        terminal.keys(&["Tab"]);
        terminal.shows(&["> calc (instances)"]).await;
        terminal.keys(&["?"]);
        terminal.shows(&["change between its methods and instances"]).await;
        terminal.run(&["resize-window", "-x", "40", "-y", "6"]);
        terminal.shows(&["nmfw top"]).await;
        let alive = terminal.run(&["has-session"]);
        assert!(alive.status.success());
        terminal.keys(&["q"]);
        eventually(LIMIT, async || !terminal.run(&["has-session"]).status.success()).await;
    }
}

/// Without a terminal there is no dashboard, and no escape sequences.
#[tokio::test]
async fn top_needs_a_terminal() {
    let output = Program::offline().run("top").await;
    assert_eq!(output.status, 1);
    assert!(
        output.stdout.is_empty() && output.stderr.contains("needs a terminal"),
        "{output:?}"
    );
}
