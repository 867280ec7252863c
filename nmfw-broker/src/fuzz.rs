//! The fuzz target of the broker: see [`fuzzing`](crate::fuzzing).
#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "fuzz targets panic like tests"
)]

use crate::parser::{Limits, MAX_CONTROL_LINE, Op, ParseError, Publish, Step, parse};

const LIMITS: Limits = Limits {
    max_payload: 600,
    headers: true,
};

/// Enough for a verb and its line ending.
const VERB: usize = 16;

/// Panics unless the parser reads the same operations from the bytes in any number of pieces, reads
/// them again after writing them, and never requests more than the limits.
pub fn broker(bytes: &[u8]) {
    let (whole, end) = read([bytes]);
    let middle = bytes.first().map_or(0, |byte| usize::from(*byte)) % (bytes.len() + 1);
    let (first, second) = bytes.split_at(middle);
    assert_eq!(read([first, second]), (whole.clone(), end));
    assert_eq!(read(bytes.chunks(1)), (whole.clone(), end));
    let written = whole.concat();
    let (again, _) = read([&*written]);
    assert_eq!(again, whole, "written operations are read differently");
}

/// Reads operations as a connection does, up to the first error, and writes each as a client would.
fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Vec<u8>>, Option<ParseError>) {
    let (mut buffer, mut operations) = (Vec::new(), Vec::new());
    let mut need = 1;
    for piece in pieces {
        buffer.extend_from_slice(piece);
        while buffer.len() >= need {
            match parse(&buffer, &LIMITS) {
                Ok(Step::Op(op, len)) => {
                    assert!(len > 0 && len <= buffer.len());
                    operations.push(write(&op));
                    buffer.drain(..len);
                    need = 1;
                }
                Ok(Step::Need(more)) => {
                    assert!(
                        more > buffer.len(),
                        "the parser requests no more bytes than it has"
                    );
                    assert!(more <= VERB + MAX_CONTROL_LINE + LIMITS.max_payload);
                    need = more;
                }
                Err(error) => return (operations, Some(error)),
            }
        }
    }
    (operations, None)
}

fn write(op: &Op<'_>) -> Vec<u8> {
    let line = |parts: &[&[u8]]| [&parts.join(&b' ')[..], b"\r\n"].concat();
    match op {
        Op::Connect(json) => line(&[b"CONNECT", json]),
        Op::Ping => line(&[b"PING"]),
        Op::Pong => line(&[b"PONG"]),
        Op::Ignored => line(&[b"+OK"]),
        Op::Subscribe {
            subject,
            queue: None,
            sid,
        } => line(&[b"SUB", subject, sid]),
        Op::Subscribe {
            subject,
            queue: Some(queue),
            sid,
        } => line(&[b"SUB", subject, queue, sid]),
        Op::Unsubscribe { sid, max: None } => line(&[b"UNSUB", sid]),
        Op::Unsubscribe {
            sid,
            max: Some(max),
        } => {
            assert!(*max < 1_000_000_000);
            line(&[b"UNSUB", sid, max.to_string().as_bytes()])
        }
        Op::Publish(Publish {
            subject,
            reply,
            header_len,
            body,
        }) => {
            assert!(*header_len <= body.len() && body.len() <= LIMITS.max_payload);
            let (headers, total) = (header_len.to_string(), body.len().to_string());
            let mut words = vec![&b"HPUB"[..], subject];
            words.extend(reply);
            words.extend([headers.as_bytes(), total.as_bytes()]);
            [&line(&words)[..], body, b"\r\n"].concat()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        env, fs,
        path::Path,
        time::{Duration, Instant},
    };

    use proptest::{
        collection::vec,
        prelude::*,
        sample::{Index, select},
        test_runner::{Config, TestRunner},
    };

    use super::broker;

    /// The environment variable with the run time of the target in seconds.
    const SECONDS: &str = "NMFW_FUZZ_SECONDS";

    /// Maximum length of the random part of an input, in bytes.
    const MAX_LEN: usize = 1500;

    fn seeds() -> Vec<Vec<u8>> {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds/broker");
        let files = fs::read_dir(dir).unwrap();
        files
            .map(|entry| fs::read(entry.unwrap().path()).unwrap())
            .collect()
    }

    /// Generates random bytes, or a seed with some parts replaced.
    fn input() -> impl Strategy<Value = Vec<u8>> {
        let parts = vec(
            (any::<Index>(), any::<Index>(), vec(any::<u8>(), 0..4)),
            0..8,
        );
        let changed = (select(seeds()), parts).prop_map(|(mut seed, parts)| {
            for (from, len, part) in parts {
                let from = from.index(seed.len() + 1);
                let to = from + len.index(seed.len() - from + 1).min(4);
                seed.splice(from..to, part);
            }
            seed
        });
        prop_oneof![3 => changed, 1 => vec(any::<u8>(), 0..MAX_LEN)]
    }

    #[test]
    fn seeds_pass() {
        let seeds = seeds();
        assert!(!seeds.is_empty());
        seeds.iter().for_each(|seed| broker(seed));
    }

    #[test]
    fn fuzz_for_a_while() {
        let seconds = env::var(SECONDS).ok().and_then(|text| text.parse().ok());
        let time = Duration::from_secs_f64(seconds.unwrap_or(0.5));
        let (start, input) = (Instant::now(), input());
        // Inputs that fail become seeds by hand.
        let mut runner = TestRunner::new(Config {
            failure_persistence: None,
            ..Config::default()
        });
        while start.elapsed() < time {
            let outcome = runner.run(&input, |bytes| {
                broker(&bytes);
                Ok(())
            });
            outcome.unwrap();
        }
    }
}
