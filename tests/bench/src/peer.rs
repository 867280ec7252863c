//! The peers of the benchmark.

use std::fmt;

use clap::ValueEnum;

use crate::protocol::What;
use crate::setup::{Broker, Listener, Many};
use crate::work::{Case, Work};

/// An implementation of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Peer {
    /// nmfw, multiplexed
    Nmfw,
    /// nmfw in base mode: one NATS message per call
    NmfwBase,
    /// nmfw without NATS, in one process
    NmfwLocal,
    /// async-nats, request and reply
    Raw,
    /// async-nats, request and reply, with the headers of nmfw's base mode
    RawHeaders,
    /// `async_nats::service`
    AsyncNatsService,
    /// gRPC by tonic, without a broker
    Tonic,
    /// `micro` of nats.go
    GoMicro,
    /// The Go project that nmfw is based on
    GoNmfw,
    /// nRPC, in Go
    Nrpc,
    /// LiveKit's psrpc, in Go
    Psrpc,
    /// gRPC by grpc-go, without a broker
    GrpcGo,
    /// nats-py, request and reply
    NatsPy,
}

impl Peer {
    /// The peers written in Rust, which have no further requirements.
    pub(crate) const RUST: [Self; 7] = [
        Self::Nmfw,
        Self::NmfwBase,
        Self::NmfwLocal,
        Self::Raw,
        Self::RawHeaders,
        Self::AsyncNatsService,
        Self::Tonic,
    ];

    /// The peers of this project.
    pub(crate) const NMFW: [Self; 3] = [Self::Nmfw, Self::NmfwBase, Self::NmfwLocal];

    pub(crate) fn is_rust(self) -> bool {
        Self::RUST.contains(&self)
    }

    /// Returns whether calls use no broker.
    pub(crate) fn is_direct(self) -> bool {
        matches!(self, Self::NmfwLocal | Self::Tonic | Self::GrpcGo)
    }

    /// Returns whether client and server share a process.
    pub(crate) fn is_local(self) -> bool {
        self == Self::NmfwLocal
    }

    /// Returns whether requests may exceed the broker's `max_payload`, and are delayed while too
    /// many bytes are in flight.
    fn has_flow_control(self) -> bool {
        self.is_direct() || self == Self::Nmfw
    }

    /// Returns whether this peer supports a case, or the reason why not.
    pub(crate) fn can(self, case: &Case) -> Result<(), &'static str> {
        use What::{
            Chat, Deadline, Download, IdleClients, IdleSessions, IdleStreams, Metadata, Upload,
        };
        /// The default of nats-server.
        const MAX_PAYLOAD: usize = 1024 * 1024;
        /// Half of nats-server's buffer for a connection, beyond which it closes the connection.
        const MAX_UNDER_WAY: usize = 32 * 1024 * 1024;
        if let Some(can) = self.can_special(case) {
            return can;
        }
        let under_way = case.callers * case.payload;
        match (self, case.what) {
            (Self::Nmfw | Self::Tonic, Download | Upload | Chat | IdleStreams)
            | (Self::GrpcGo, Download | Upload | Chat)
            | (Self::Raw, Download | Upload) => {}
            (Self::Raw | Self::RawHeaders | Self::AsyncNatsService, Download | Upload | Chat) => {
                return Err("request and reply does not support streams");
            }
            (_, Download | Upload | Chat | IdleStreams) => return Err("streams are not supported"),
            (Self::Nmfw, IdleSessions) => {}
            (_, IdleSessions) => return Err("the peer has no sessions"),
            (peer, Deadline | Metadata | IdleClients) if !peer.is_rust() => {
                return Err("only measured for the peers in Rust");
            }
            _ => {}
        }
        if case.setup.counting && !self.is_rust() {
            return Err("only counted for the peers in Rust");
        }
        if self.is_local() && case.setup.instances > 1 {
            return Err("the service is in the client's process");
        }
        if self.is_direct() && case.setup.instances > 1 {
            return Err("the peer connects to a single server");
        }
        if self.is_direct() && case.setup.broker == Broker::Embedded {
            return Err("calls do not pass through a broker");
        }
        if !self.has_flow_control() {
            // Only a bare body fits exactly.
            let bare = matches!(self, Self::Raw | Self::AsyncNatsService | Self::NatsPy);
            if case.payload > MAX_PAYLOAD || case.payload == MAX_PAYLOAD && !bare {
                return Err("the message with its envelope exceeds the NATS server's max_payload");
            }
            if under_way > MAX_UNDER_WAY && !matches!(case.what, Download | Upload) {
                return Err(
                    "the NATS server would close the connection because of the bytes in \
                            flight",
                );
            }
        } else if under_way > 8 * MAX_UNDER_WAY {
            return Err("the bytes in flight would exceed this machine's memory");
        }
        if self == Self::NatsPy && case.callers > 128 {
            return Err("the peer has no flow control");
        }
        Ok(())
    }

    /// Handles work that only a few peers support: returns whether this one does.
    fn can_special(self, case: &Case) -> Option<Result<(), &'static str>> {
        if case.work == Work::Building {
            return Some(match self {
                Self::Nmfw | Self::Tonic => Ok(()),
                _ => Err("only nmfw and tonic are built as separate packages"),
            });
        }
        if case.work == Work::UnaryTracingOff || case.setup.listener != Listener::Off {
            return Some(match self {
                Self::Nmfw | Self::NmfwBase => Ok(()),
                _ => Err("only nmfw over NATS traces calls of client and server"),
            });
        }
        let (many, count) = case.setup.many?;
        if many == Many::Methods && count > 100 && !cfg!(feature = "thousand-methods") {
            return Some(Err(
                "this program was built without the feature thousand-methods",
            ));
        }
        Some(match (self, many) {
            (Self::Nmfw, _) => Ok(()),
            (Self::NmfwBase, Many::Sessions) => Err("the peer has no sessions"),
            (Self::NmfwBase, _) => Ok(()),
            _ => Err("growth is measured for nmfw over NATS"),
        })
    }
}

/// The name, as on the command line.
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value();
        f.write_str(value.as_ref().map_or("", |value| value.get_name()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_command_line() {
        let names: Vec<String> = Peer::value_variants().iter().map(Peer::to_string).collect();
        assert_eq!(
            names.join(","),
            "nmfw,nmfw-base,nmfw-local,raw,raw-headers,async-nats-service,tonic,go-micro,go-nmfw,\
             nrpc,psrpc,grpc-go,nats-py"
        );
    }

    #[test]
    fn a_mebibyte_fits_only_without_an_envelope() {
        let case = |callers, payload| {
            let cases = Work::Unary.cases(false);
            let like = |case: &Case| case.callers == callers && case.payload == payload;
            cases.into_iter().find(like).unwrap()
        };
        let large = case(1, 1024 * 1024);
        assert!(Peer::Raw.can(&large).is_ok());
        assert!(Peer::Nmfw.can(&large).is_ok());
        assert!(Peer::NmfwBase.can(&large).is_err());
        assert!(Peer::RawHeaders.can(&large).is_err());
        let many = case(1024, 64 * 1024);
        assert!(Peer::Raw.can(&many).is_err());
        assert!(Peer::Tonic.can(&many).is_ok());
    }
}
