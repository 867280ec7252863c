//! `nmfw top`: a live dashboard in the terminal.

mod cells;
mod keys;
mod model;
mod view;

use std::{
    io::IsTerminal,
    sync::mpsc as blocking,
    time::{Duration, Instant},
};

use clap::Args;
use clap_complete::ArgValueCompleter;
use nmfw::{Connection, async_nats::ConnectionExt};
use ratatui::{
    DefaultTerminal,
    crossterm::event::{self, Event},
};
use tokio::sync::mpsc;

use self::{
    keys::{Action, Keys},
    model::Model,
    view::View,
};
use crate::{
    arguments::Global,
    complete,
    connection::connect,
    discovery::{Survey, Verb, find},
    duration,
    failure::Failure,
    output::Output,
};

/// The least interval, because all instances answer each time.
const MIN_INTERVAL: Duration = Duration::from_secs(1);

/// How often keys are looked for.
const KEYS: Duration = Duration::from_millis(100);

/// The share of the interval by which queries are spread, so that several dashboards do not ask at
/// the same moments.
const JITTER: f64 = 0.1;

/// Watch services, instances and methods in the terminal
///
/// Shows rates, latencies, errors, load and health, and asks every instance once per interval. Enter
/// opens a service, Tab changes between its methods and instances, s sorts, / filters, ? explains all
/// keys.
#[derive(Debug, Args)]
pub(crate) struct Top {
    /// Only this service: calc, or calc.Calc as in the .proto
    #[arg(add = ArgValueCompleter::new(complete::services))]
    service: Option<String>,

    /// Ask at this interval
    #[arg(long, short, default_value = "2s", value_parser = interval)]
    interval: Duration,
}

fn interval(text: &str) -> Result<Duration, String> {
    match duration::parse(text)? {
        short if short < MIN_INTERVAL => {
            Err("it must be at least 1s, because every instance answers each time".to_owned())
        }
        interval => Ok(interval),
    }
}

impl Top {
    pub(super) async fn execute(self, global: &Global, output: &Output) -> Result<(), Failure> {
        if !output.is_terminal() || !std::io::stdin().is_terminal() {
            return Err(Failure::new("`nmfw top` needs a terminal")
                .hint("`nmfw stats --watch` prints the same figures, with --json for programs"));
        }
        let nats = connect(global).await?;
        let failed =
            |error: std::io::Error| Failure::new("the terminal cannot be used").caused_by(&error);
        let mut terminal = ratatui::try_init().map_err(failed)?;
        let outcome = self
            .watch(&nats, global.timeout, output.is_colored(), &mut terminal)
            .await;
        ratatui::restore();
        outcome
    }

    async fn watch(
        &self,
        nats: &Connection,
        timeout: Duration,
        is_colored: bool,
        terminal: &mut DefaultTerminal,
    ) -> Result<(), Failure> {
        let server = nats
            .server_info()
            .map(|info| info.server_name)
            .unwrap_or_default();
        let (mut model, mut view) = (Model::default(), View::new(&server, is_colored));
        let (mut events, _reader) = read_events();
        let mut surveys = self.survey(nats.clone(), timeout);
        loop {
            let drawn = terminal.draw(|frame| view.draw(frame, &model));
            drawn.map_err(|error| Failure::new("the terminal is gone").caused_by(&error))?;
            tokio::select! {
                event = events.recv() => {
                    let Some(event) = event else {
                        return Err(Failure::new("the terminal is gone"));
                    };
                    match Keys::action(&event, view.is_typing()) {
                        Some(Action::Quit) => return Ok(()),
                        Some(action) => view.act(action, &model),
                        None => {}
                    }
                }
                survey = surveys.recv() => match survey {
                    Some(Ok(survey)) if !view.is_paused() => {
                        model.update(&survey, Instant::now());
                        view.failed(None);
                    }
                    Some(Ok(_)) => {}
                    Some(Err(failure)) => view.failed(Some(failure.message())),
                    None => return Err(Failure::new("services cannot be asked any more")),
                },
            }
        }
    }

    /// Asks at the interval, until the receiver is dropped.
    fn survey(
        &self,
        nats: Connection,
        timeout: Duration,
    ) -> mpsc::Receiver<Result<Survey, Failure>> {
        let (sender, receiver) = mpsc::channel(1);
        let (service, interval) = (self.service.clone(), self.interval);
        tokio::spawn(async move {
            loop {
                let started = Instant::now();
                let verbs = [Verb::Ping, Verb::Stats];
                let limit = timeout.min(interval * 2);
                let survey = find(&nats, service.as_deref(), None, &verbs, limit).await;
                if sender.send(survey).await.is_err() {
                    return;
                }
                let spread = 1.0 + JITTER * jitter(started);
                let pause = interval.mul_f64(spread).saturating_sub(started.elapsed());
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = sender.closed() => return,
                }
            }
        });
        receiver
    }
}

/// Returns a number from -1 to 1 that differs between processes and times.
fn jitter(started: Instant) -> f64 {
    use std::hash::{BuildHasher, RandomState};
    let hash = RandomState::new().hash_one(started);
    (hash % 2_001) as f64 / 1_000.0 - 1.0
}

/// Reads the events of the terminal on a thread, which ends when the returned guard is dropped.
fn read_events() -> (mpsc::Receiver<Event>, blocking::Sender<()>) {
    let (sender, receiver) = mpsc::channel(64);
    let (guard, stop) = blocking::channel::<()>();
    std::thread::spawn(move || {
        while stop.try_recv() != Err(blocking::TryRecvError::Disconnected) {
            match event::poll(KEYS) {
                Ok(false) => {}
                Ok(true) => {
                    let sent = event::read().map(|event| sender.blocking_send(event));
                    if !matches!(sent, Ok(Ok(()))) {
                        return;
                    }
                }
                Err(_) => return,
            }
        }
    });
    (receiver, guard)
}
