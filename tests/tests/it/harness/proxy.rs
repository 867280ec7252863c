//! The fault proxy of the harness.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use nmfw_tests::{Direction, NatsServer, Proxy, eventually};

const LIMIT: Duration = Duration::from_secs(10);

/// A server, a proxy in front of it, and a client that echoes through both.
struct Echo {
    _server: NatsServer,
    proxy: Proxy,
    client: async_nats::Client,
    echoes: async_nats::Subscriber,
}

impl Echo {
    async fn new() -> Self {
        let server = NatsServer::start().await.unwrap();
        let proxy = Proxy::start(server.port()).await.unwrap();
        let client = async_nats::connect(proxy.url()).await.unwrap();
        let echoes = client.subscribe("echo").await.unwrap();
        Self {
            _server: server,
            proxy,
            client,
            echoes,
        }
    }

    /// Returns the length of the echo, or `None` if it does not arrive in time.
    async fn echo(&mut self, size: usize, limit: Duration) -> Option<usize> {
        self.client
            .publish("echo", vec![b'x'; size].into())
            .await
            .unwrap();
        self.next(limit).await
    }

    async fn next(&mut self, limit: Duration) -> Option<usize> {
        tokio::time::timeout(limit, self.echoes.next())
            .await
            .ok()?
            .map(|echo| echo.payload.len())
    }
}

#[tokio::test]
async fn a_cut_connection_comes_back() {
    let mut echo = Echo::new().await;
    assert_eq!(echo.echo(3, LIMIT).await, Some(3));
    assert_eq!((echo.proxy.accepted(), echo.proxy.open()), (1, 1));

    echo.proxy.cut();

    let proxy = &echo.proxy;
    eventually(LIMIT, || async {
        proxy.accepted() == 2 && proxy.open() == 1
    })
    .await;
    // Data written to the dead connection is lost: repeat until an echo arrives.
    let end = Instant::now() + LIMIT;
    while echo.echo(3, Duration::from_millis(200)).await != Some(3) {
        assert!(Instant::now() < end, "no echo after the cut");
    }
}

#[tokio::test]
async fn nothing_gets_through_while_down() {
    let echo = Echo::new().await;
    echo.proxy.down();
    assert!(async_nats::connect(echo.proxy.url()).await.is_err());
    let proxy = &echo.proxy;
    eventually(LIMIT, || async { proxy.open() == 0 }).await;

    echo.proxy.up();
    async_nats::connect(echo.proxy.url()).await.unwrap();
}

#[tokio::test]
async fn stalled_bytes_arrive_once_resumed() {
    for direction in [Direction::ToServer, Direction::ToClient] {
        let mut echo = Echo::new().await;
        assert_eq!(echo.echo(1, LIMIT).await, Some(1));
        echo.proxy.stall(direction);
        assert_eq!(
            echo.echo(2, Duration::from_millis(200)).await,
            None,
            "{direction:?}"
        );
        echo.proxy.resume(direction);
        assert_eq!(echo.next(LIMIT).await, Some(2), "{direction:?}");
        assert_eq!(echo.proxy.accepted(), 1, "the connection stayed open");
    }
}

#[tokio::test]
async fn delay_counts_in_both_directions_and_once_for_many() {
    let mut echo = Echo::new().await;
    assert_eq!(echo.echo(1, LIMIT).await, Some(1));
    echo.proxy.delay(Duration::from_millis(50));

    let began = Instant::now();
    for size in 0..100 {
        echo.client
            .publish("echo", vec![b'x'; size].into())
            .await
            .unwrap();
    }
    for size in 0..100 {
        assert_eq!(echo.next(LIMIT).await, Some(size));
    }
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(100), "{took:?}");
    assert!(
        took < Duration::from_secs(5),
        "the delay added up: {took:?}"
    );
}

#[tokio::test]
async fn throttled_bytes_take_their_time() {
    let mut echo = Echo::new().await;
    echo.proxy.throttle(Some(100_000));
    let began = Instant::now();
    assert_eq!(echo.echo(20_000, LIMIT).await, Some(20_000));
    // 0.2 s in each direction; except for a large chunk, the second overlaps the first.
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(200), "{took:?}");

    echo.proxy.throttle(None);
    let began = Instant::now();
    assert_eq!(echo.echo(20_000, LIMIT).await, Some(20_000));
    assert!(began.elapsed() < took, "still slow");
}

#[tokio::test]
async fn dropping_the_proxy_closes_all() {
    let mut echo = Echo::new().await;
    assert_eq!(echo.echo(1, LIMIT).await, Some(1));
    let port = echo.proxy.port();
    let spare = Proxy::start(1).await.unwrap();
    drop(std::mem::replace(&mut echo.proxy, spare));
    eventually(LIMIT, || async {
        tokio::net::TcpStream::connect(("127.0.0.1", port))
            .await
            .is_err()
    })
    .await;
    assert_eq!(echo.echo(1, Duration::from_millis(100)).await, None);
}
