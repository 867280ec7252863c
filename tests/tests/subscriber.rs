//! A subscriber that a program has set before nmfw's tool starts. The only test of its process,
//! because a process has one subscriber.

use nmfw::cli;
use tracing::subscriber::NoSubscriber;

#[test]
fn a_subscriber_that_is_there_stays() {
    tracing::subscriber::set_global_default(NoSubscriber::default()).unwrap();
    let mut log = cli::Log::default();
    for format in [cli::LogFormat::Json, cli::LogFormat::Pretty] {
        log.format = Some(format);
        log.init().unwrap();
    }
    tracing::dispatcher::get_default(|there| assert!(there.is::<NoSubscriber>()));
}
