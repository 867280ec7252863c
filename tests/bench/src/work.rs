//! The benchmarks: each consists of cases, and each case runs on every peer that supports it.

use clap::ValueEnum;

use crate::{
    growth,
    protocol::{Job, What},
    setup::{Broker, Listener, Many, Setup},
};

/// A kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Work {
    /// Calls of 16 B to 1 MiB, by 1 to 1024 callers
    Unary,
    /// Calls to a handler that sleeps for 10 ms
    #[value(name = "unary-sleep-10ms")]
    UnarySleep,
    /// Calls with their own timeout
    UnaryDeadline,
    /// Calls with three entries of metadata
    UnaryMetadata,
    /// Calls by 128 callers without a `tracing` subscriber
    UnaryTracingOff,
    /// Calls by 128 callers with a registry that keeps spans, in client and server
    UnaryTracingSpans,
    /// Calls by 128 callers with a discarded line of text per span, in client and server
    UnaryTracingLines,
    /// Calls by 128 callers without a subscriber and with all metrics, in client and server
    UnaryMetrics,
    /// Messages from the server
    ServerStreaming,
    /// Messages to the server
    ClientStreaming,
    /// Messages in both directions
    BidiStreaming,
    /// Calls to 4 instances
    #[value(name = "unary-4-instances")]
    UnaryInstances4,
    /// Calls to 16 instances
    #[value(name = "unary-16-instances")]
    UnaryInstances16,
    /// The callers of 10 clients
    #[value(name = "unary-10-clients")]
    UnaryClients10,
    /// The callers of 100 clients
    #[value(name = "unary-100-clients")]
    UnaryClients100,
    /// Calls over the embedded broker
    UnaryEmbedded,
    /// Allocations a call of client and server
    Allocations,
    /// Memory of idle clients, sessions and streams
    Memory,
    /// Instructions a call of client and server, by callgrind
    Instructions,
    /// Time until a server serves, and until a client has its first answer
    Startup,
    /// Start-up, memory and calls of 1 to 1000 services, instances, methods and sessions
    Growth,
    /// Time to build a hello-world service, its crates, and its size
    Building,
}

/// A single measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Case {
    pub(crate) work: Work,
    pub(crate) what: What,
    pub(crate) callers: usize,
    pub(crate) payload: usize,
    pub(crate) setup: Setup,
}

const SMALL: usize = 16;
const KIB: usize = 1024;

impl Work {
    /// All works.
    pub(crate) const ALL: &[Self] = &[
        Self::Unary,
        Self::UnarySleep,
        Self::UnaryDeadline,
        Self::UnaryMetadata,
        Self::UnaryTracingOff,
        Self::UnaryTracingSpans,
        Self::UnaryTracingLines,
        Self::UnaryMetrics,
        Self::ServerStreaming,
        Self::ClientStreaming,
        Self::BidiStreaming,
        Self::UnaryInstances4,
        Self::UnaryInstances16,
        Self::UnaryClients10,
        Self::UnaryClients100,
        Self::UnaryEmbedded,
        Self::Allocations,
        Self::Memory,
        Self::Instructions,
        Self::Startup,
        Self::Growth,
        Self::Building,
    ];

    /// Returns whether it is timed in rounds instead of counted.
    pub(crate) fn is_timed(self) -> bool {
        use Work::{Allocations, Building, Growth, Instructions, Memory, Startup};
        !matches!(
            self,
            Allocations | Memory | Instructions | Startup | Growth | Building
        )
    }

    /// Returns the name on the command line and in the results.
    pub(crate) fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Returns the cases of this work; with `quick`, only the most significant ones.
    pub(crate) fn cases(self, quick: bool) -> Vec<Case> {
        let many: &[usize] = if quick { &[128] } else { &[1, 128, 1024] };
        let streams: &[usize] = if quick { &[1] } else { &[1, 16] };
        let sizes: &[usize] = if quick { &[SMALL] } else { &[SMALL, 64 * KIB] };
        let plain = Setup::PLAIN;
        let instances = |instances| Setup { instances, ..plain };
        let clients = |clients| Setup { clients, ..plain };
        let listener = |listener| Setup { listener, ..plain };
        match self {
            Self::Unary if quick => self.grid(What::Unary, &[1, 128, 1024], &[SMALL], plain),
            Self::Unary => {
                let sizes = [SMALL, KIB, 64 * KIB, 1024 * KIB];
                self.grid(What::Unary, &[1, 16, 128, 1024], &sizes, plain)
            }
            Self::UnarySleep => self.grid(What::Sleep, many, &[SMALL], plain),
            Self::UnaryDeadline => self.grid(What::Deadline, &[128], &[SMALL], plain),
            Self::UnaryMetadata => self.grid(What::Metadata, &[128], &[SMALL], plain),
            Self::UnaryTracingOff => self.grid(What::Unary, &[128], &[SMALL], plain),
            Self::UnaryTracingSpans => {
                self.grid(What::Unary, &[128], &[SMALL], listener(Listener::Spans))
            }
            Self::UnaryTracingLines => {
                self.grid(What::Unary, &[128], &[SMALL], listener(Listener::Lines))
            }
            Self::UnaryMetrics => {
                self.grid(What::Unary, &[128], &[SMALL], listener(Listener::Metrics))
            }
            Self::ServerStreaming => self.grid(What::Download, streams, sizes, plain),
            Self::ClientStreaming => self.grid(What::Upload, streams, sizes, plain),
            Self::BidiStreaming => self.grid(What::Chat, streams, sizes, plain),
            Self::UnaryInstances4 => self.grid(What::Unary, &[128], &[SMALL], instances(4)),
            Self::UnaryInstances16 => self.grid(What::Unary, &[128], &[SMALL], instances(16)),
            Self::UnaryClients10 => self.grid(What::Unary, &[128], &[SMALL], clients(10)),
            Self::UnaryClients100 => self.grid(What::Unary, &[128], &[SMALL], clients(100)),
            Self::UnaryEmbedded => {
                let setup = Setup {
                    broker: Broker::Embedded,
                    ..plain
                };
                self.grid(What::Unary, many, &[SMALL], setup)
            }
            Self::Startup | Self::Building => self.grid(What::Unary, &[1], &[SMALL], plain),
            Self::Allocations | Self::Instructions => {
                let setup = Setup {
                    counting: true,
                    ..plain
                };
                self.grid(What::Unary, &[1, 128], &[SMALL], setup)
            }
            Self::Growth => {
                let counts = if quick { &[100] } else { &growth::COUNTS[..] };
                let all = Many::value_variants().iter();
                all.flat_map(|many| counts.iter().map(move |count| (*many, *count)))
                    .flat_map(|(many, count)| {
                        let many = Some((many, count));
                        self.grid(What::Unary, &[count], &[SMALL], Setup { many, ..plain })
                    })
                    .collect()
            }
            Self::Memory => {
                let idle = [What::IdleClients, What::IdleSessions, What::IdleStreams];
                idle.iter()
                    .flat_map(|what| self.grid(*what, &[200], &[SMALL], plain))
                    .collect()
            }
        }
    }

    fn grid(self, what: What, callers: &[usize], payloads: &[usize], setup: Setup) -> Vec<Case> {
        let pairs = payloads
            .iter()
            .flat_map(|payload| callers.iter().map(move |callers| (*callers, *payload)));
        pairs
            .map(|(callers, payload)| Case {
                work: self,
                what,
                callers,
                payload,
                setup,
            })
            .collect()
    }
}

impl Case {
    /// Returns the job, without a duration.
    pub(crate) fn job(&self) -> Job {
        Job {
            what: self.what,
            callers: self.callers,
            payload: self.payload,
            millis: 0,
            calls: 0,
        }
    }

    /// Formats like `unary, 128 callers, 64 KiB`.
    pub(crate) fn title(&self) -> String {
        let what = match (self.what, self.callers) {
            (What::IdleClients, count) => format!("{count} idle clients"),
            (What::IdleSessions, count) => format!("{count} idle sessions"),
            (What::IdleStreams, count) => format!("{count} idle streams"),
            (What::Download | What::Upload | What::Chat, 1) => "1 stream".to_owned(),
            (What::Download | What::Upload | What::Chat, count) => format!("{count} streams"),
            (_, 1) => "1 caller".to_owned(),
            (_, count) => format!("{count} callers"),
        };
        if self.work == Work::Building {
            return self.work.name();
        }
        if let Some((many, count)) = self.setup.many {
            let many = many.to_string();
            let many = if count == 1 {
                many.trim_end_matches('s')
            } else {
                &many
            };
            return format!("{}, {count} {many}", self.work.name());
        }
        if self.work == Work::Memory {
            return format!("{}, {what}", self.work.name());
        }
        format!("{}, {what}, {}", self.work.name(), size(self.payload))
    }
}

/// Formats like `64 KiB`.
pub(crate) fn size(bytes: usize) -> String {
    match bytes {
        0..KIB => format!("{bytes} B"),
        KIB..1_048_576 => format!("{} KiB", bytes / KIB),
        _ => format!("{} MiB", bytes / KIB / KIB),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quick_is_unary_with_small_bodies() {
        let cases = Work::Unary.cases(true);
        let callers: Vec<usize> = cases.iter().map(|case| case.callers).collect();
        assert_eq!(callers, [1, 128, 1024]);
        assert!(cases.iter().all(|case| case.payload == 16));
    }

    #[test]
    fn all_of_it_has_names_and_cases() {
        assert_eq!(Work::ALL, Work::value_variants());
        assert_eq!(Work::Unary.cases(false).len(), 16);
        for work in Work::ALL {
            assert!(!work.cases(false).is_empty(), "{work:?}");
            assert!(work.cases(true).len() <= work.cases(false).len());
        }
        assert_eq!(Work::UnaryInstances16.name(), "unary-16-instances");
        let case = Work::Unary.cases(false)[8];
        assert_eq!(case.title(), "unary, 1 caller, 64 KiB");
    }
}
