//! Tests in processes of their own, because they measure their process or set up something that a
//! process has once: its log, its recorder of metrics.
//!
//! They run beside other tests, each in a further process of the same test program.

use std::{env, time::Duration};

use tokio::{process::Command, runtime::Runtime, time::timeout};

/// Names the test of a process that was started for it.
const TEST: &str = "NMFW_OWN_PROCESS";

/// No test takes longer, even on a busy machine.
const LIMIT: Duration = Duration::from_secs(600);

/// Declares tests, each of which runs in a process of its own.
#[macro_export]
macro_rules! in_own_process {
    ($( $(#[$meta:meta])* async fn $name:ident() $body:block )+) => { $(
        $(#[$meta])*
        #[test]
        #[allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "a test")]
        fn $name() {
            async fn body() $body
            $crate::own_process::run(concat!(module_path!(), "::", stringify!($name)), body);
        }
    )+ };
}

/// Runs the body of the test `path` if this process was started for it, and starts such a process
/// otherwise. Used by [`in_own_process!`](crate::in_own_process).
///
/// # Panics
///
/// Panics with the output of the process if it fails.
pub fn run<F>(path: &str, body: impl FnOnce() -> F)
where
    F: Future<Output = ()>,
{
    let runtime = Runtime::new().unwrap_or_else(|error| panic!("no runtime: {error}"));
    // The names of tests lack the name of the program.
    let test = path.split_once("::").map_or(path, |(_, test)| test);
    if env::var(TEST).is_ok_and(|chosen| chosen == test) {
        return runtime.block_on(body());
    }
    if let Err(failure) = runtime.block_on(start(test)) {
        panic!("{test}: {failure}");
    }
}

/// Runs a process for one test to its end.
async fn start(test: &str) -> Result<(), String> {
    let program = env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new(program);
    command
        .args(["--exact", test, "--nocapture"])
        .env(TEST, test)
        .kill_on_drop(true);
    let output = timeout(LIMIT, command.output())
        .await
        .map_err(|_| format!("its process does not end within {LIMIT:?}"))?
        .map_err(|error| error.to_string())?;
    let [stdout, stderr] =
        [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    let is_passed = output.status.success() && stdout.contains("1 passed");
    is_passed
        .then_some(())
        .ok_or_else(|| format!("{}\n{stdout}{stderr}", output.status))
}
