//! Tests of random calls over a random network.

use proptest::prelude::*;

use super::{
    model::{Action, Model},
    network::Weather,
};
use crate::nats::session::protocol::Config;

fn action() -> impl Strategy<Value = Action> {
    let side = 0..2usize;
    let stream = any::<u64>();
    let len = prop_oneof![
        3 => 0..40usize,
        3 => 0..3000usize,
        1 => 3000..30_000usize,
    ];
    let count = prop_oneof![3 => Just(1), 2 => 2..10usize, 1 => 10..200usize];
    let weather = (0..30u64, 0..30u64, 0..30u64, prop::bool::weighted(0.15)).prop_map(
        |(loss, repetition, disorder, is_cut)| Weather {
            loss,
            repetition,
            disorder,
            is_cut,
        },
    );
    prop_oneof![
        12 => (prop_oneof![2 => Just(0), 1 => 0..900usize], prop::bool::weighted(0.3))
            .prop_map(|(metadata, is_single)| Action::Open { metadata, is_single }),
        30 => (side.clone(), stream, len, count, prop::bool::weighted(0.1))
            .prop_map(|(side, stream, len, count, end)| Action::Send {
                side,
                stream,
                len,
                count,
                end,
            }),
        3 => (side.clone(), stream).prop_map(|(side, stream)| Action::Finish { side, stream }),
        2 => stream.prop_map(|stream| Action::Headers { stream }),
        3 => (stream, 0..17i32).prop_map(|(stream, code)| Action::Status { stream, code }),
        3 => (side.clone(), stream).prop_map(|(side, stream)| Action::Reset { side, stream }),
        15 => (side.clone(), stream, 1..20usize)
            .prop_map(|(side, stream, count)| Action::Take { side, stream, count }),
        15 => (0..60u64).prop_map(|ms| Action::Wait { ms }),
        2 => (500..8000u64).prop_map(|ms| Action::Wait { ms }),
        4 => weather.prop_map(Action::Weather),
        2 => side.clone().prop_map(|side| Action::Reconnect { side }),
        4 => (any::<u64>(), side.clone(), any::<u8>())
            .prop_map(|(packet, to, byte)| Action::Forge { packet, to, byte }),
        1 => (0..20u64, side.clone()).prop_map(|(which, side)| match which {
            0 => Action::Forget { side },
            ms => Action::Wait { ms },
        }),
        1 => side.clone().prop_map(|side| Action::NoResponders { side }),
        1 => (side, 1..10u32).prop_map(|(side, packets)| Action::PacketWindow { side, packets }),
        1 => (0..10u64).prop_map(|which| match which {
            0 => Action::GoAway,
            ms => Action::Wait { ms },
        }),
    ]
}

fn config() -> impl Strategy<Value = Config> {
    (
        1..9u32,
        4096..20_000u32,
        1024..6000usize,
        (1..6u32, 0..4u32),
        100..9000usize,
        130_000..1_000_000u64,
    )
        .prop_map(
            |(packet_window, stream_window, max_packet, streams, send_buffer, memory)| Config {
                packet_window,
                stream_window,
                max_packet,
                max_message: 25_000,
                max_streams: streams.0,
                wide_streams: streams.1,
                send_buffer,
                memory,
                ..Config::default()
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 3 * ProptestConfig::default().cases,
        ..ProptestConfig::default()
    })]

    #[test]
    fn nothing_is_lost_repeated_or_left(
        client in config(),
        server in config(),
        seed: u64,
        actions in proptest::collection::vec(action(), 1..120),
    ) {
        let mut model = Model::new([client, server], seed);
        for action in &actions {
            model.act(action);
        }
        model.come_to_rest();
    }
}
