//! `nmfw bench`.

use nmfw_tests::{TestBroker, calc, on_both_brokers, streams, streams::Flows};

use crate::program::Program;

on_both_brokers! {
    async fn calls_are_counted_and_timed(broker: TestBroker) {
        let program = Program::new(&broker.url());
        let _calc = calc::serve(&broker.url()).await.unwrap();
        let line = "bench calc.Calc/Add '{\"Values\":[1]}' -c 4 -n 500 --warmup 1ms --duration 30s";
        let run = program.run(&format!("{line} --json --save run.json")).await.json();
        assert_eq!(run["calls"], 500);
        assert_eq!(run["concurrency"], 4);
        let quantile = |name: &str| run["latency"]["quantiles"][name].as_u64().unwrap();
        assert!(quantile("p50") > 0 && quantile("p50") <= quantile("max"));
        let bars = run["latency"]["histogram"].as_array().unwrap();
        assert_eq!(bars.iter().map(|bar| bar[1].as_u64().unwrap()).sum::<u64>(), 500);
        let text = program.run(&format!("{line} --compare run.json")).await.ok();
        assert!(text.contains("BEFORE") && text.contains("calls a second"), "{text}");
    }

    /// 50 calls a second: a closed loop would make thousands.
    async fn a_rate_is_kept(broker: TestBroker) {
        let program = Program::new(&broker.url());
        let _calc = calc::serve(&broker.url()).await.unwrap();
        let line = "bench calc.Add --rate 50 --duration 1s --warmup 1ms --json";
        let run = program.run(line).await.json();
        let (calls, seconds) = (&run["calls"], &run["seconds"]);
        let (calls, seconds) = (calls.as_f64().unwrap(), seconds.as_f64().unwrap());
        assert!(calls >= 30.0 && calls <= 50.0 * seconds + 1.0, "{run}");
    }

    async fn errors_and_streams_are_counted(broker: TestBroker) {
        let program = Program::new(&broker.url());
        let _calc = calc::serve(&broker.url()).await.unwrap();
        let _streams = streams::serve(&broker.url(), &Flows::default()).await.unwrap();
        let failing = "bench calc.Expression '{\"Expression\":\"z\"}' -n 20 --warmup 1ms";
        let output = program.run(failing).await;
        assert_eq!(output.status, 5, "{output:?}");
        assert!(output.stdout.contains("20 INVALID_ARGUMENT"), "{output:?}");
        assert!(output.stdout.contains("the first: INVALID_ARGUMENT: cannot"), "{output:?}");
        let stream = "bench nmfw.streams.Streams/Count '{\"to\":10}' -n 20 --warmup 1ms --json";
        let run = program.run(stream).await.json();
        assert_eq!((run["calls"].as_u64(), run["messages"].as_u64()), (Some(20), Some(200)));
        let refused = program.run("bench nmfw.streams.Streams/Sum").await;
        assert!(refused.stderr.contains("takes a stream"), "{refused:?}");
    }
}
