//! Arbitrary bytes as actions of two applications, and faults of the network.

use std::time::Duration;

use super::input::Input;
use crate::nats::session::protocol::{
    Config,
    tests::{
        model::{Action, Model},
        network::{Fault, SERVER, Weather},
    },
};

/// More actions create no new situations, only longer runs.
const MAX_ACTIONS: usize = 200;

/// Runs both sides, compares received messages with sent ones, and waits until everything has
/// ended.
pub fn honest(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let configs = [config(&mut input), config(&mut input)];
    let mut model = Model::new(configs, input.number(2));
    for _ in 0..MAX_ACTIONS {
        if input.is_empty() {
            break;
        }
        let action = action(&mut input);
        model.act(&action);
    }
    model.come_to_rest();
}

fn config(input: &mut Input<'_>) -> Config {
    Config {
        packet_window: 1 + input.below(8) as u32,
        stream_window: 4096 + input.below(1 << 14) as u32,
        max_packet: 1024 + input.below(5000) as usize,
        max_message: 25_000,
        max_streams: 1 + input.below(5) as u32,
        wide_streams: input.below(5) as u32,
        memory: 130_000 + input.below(1 << 20),
        send_buffer: 100 + input.below(9000) as usize,
        ..Config::default()
    }
}

fn action(input: &mut Input<'_>) -> Action {
    // The first decision takes one byte; frequent actions have several values.
    let kind = input.byte() % 64;
    let side = input.byte() as usize;
    let (side, stream) = (side & 1, side as u64 >> 1);
    match kind {
        0..6 => Action::Open {
            metadata: 0,
            is_single: side == SERVER,
        },
        6..8 => Action::Open {
            metadata: input.below(900) as usize,
            is_single: side == SERVER,
        },
        8..22 => Action::Send {
            side,
            stream,
            len: match input.below(4) {
                0 => input.below(40),
                1 | 2 => input.below(4000),
                _ => input.below(30_000),
            } as usize,
            count: match input.below(3) {
                0 => 1,
                1 => 1 + input.below(10),
                _ => 1 + input.below(200),
            } as usize,
            end: input.byte() > 220,
        },
        22..24 => Action::Finish { side, stream },
        24 => Action::Headers { stream },
        25..27 => Action::Status {
            stream,
            code: input.below(17) as i32,
        },
        27..29 => Action::Reset { side, stream },
        29..38 => Action::Take {
            side,
            stream,
            count: 1 + input.below(20) as usize,
        },
        38..46 => Action::Wait {
            ms: input.below(60),
        },
        46..48 => Action::Wait {
            ms: input.below(8000),
        },
        48..51 => Action::Weather(Weather {
            loss: input.below(40),
            repetition: input.below(30),
            disorder: input.below(30),
            is_cut: input.byte() > 220,
        }),
        51..57 => Action::Fault {
            to: side,
            packet: stream,
            fault: match input.below(3) {
                0 => Fault::Loss,
                1 => Fault::Repetition,
                _ => Fault::Delay(Duration::from_millis(input.below(1000))),
            },
        },
        57..59 => Action::Reconnect { side },
        59 => Action::NoResponders { side },
        60..62 => Action::PacketWindow {
            side,
            packets: 1 + input.below(10) as u32,
        },
        62 => match input.below(4) {
            0 => Action::GoAway,
            1 => Action::Forget { side },
            _ => Action::Forge {
                packet: stream,
                to: side,
                byte: input.byte(),
            },
        },
        _ => Action::Wait { ms: 1 },
    }
}
