//! [`Timing`]: where the time of a call went, for callers that ask with the metadata `Server-Timing`.

use tokio::time::Instant;

use crate::{
    Metadata, Status,
    call::{request::Request, response::Response},
};

/// The key of the request and of the answer, which W3C Server Timing defines for HTTP.
const KEY: &str = "Server-Timing";

/// When a request arrived, for a caller that asks.
#[derive(Clone, Copy, Debug)]
struct Arrived(Instant);

/// Notes the arrival of a request whose caller asks for the times of its call.
pub(crate) fn note_arrival(request: &mut Request) {
    if is_asked(request) {
        request.extensions_mut().insert(Arrived(Instant::now()));
    }
}

fn is_asked(request: &Request) -> bool {
    let metadata = request.metadata();
    !metadata.is_empty() && metadata.get(KEY).is_some()
}

/// The times of a call.
#[derive(Debug)]
pub(crate) struct Timing {
    instance: String,
    arrived: Instant,
    began: Instant,
}

impl Timing {
    /// Returns the timing of a call that begins now, if its caller asks for it.
    pub(crate) fn asked(request: &Request, instance: &str, began: Instant) -> Option<Self> {
        is_asked(request).then(|| {
            let arrived = request.extensions().get::<Arrived>();
            Self {
                instance: instance.to_owned(),
                arrived: arrived.map_or(began, |Arrived(at)| *at),
                began,
            }
        })
    }

    /// Adds the times to the metadata of the outcome.
    pub(crate) async fn measure(
        self,
        call: impl Future<Output = Result<Response, Status>>,
    ) -> Result<Response, Status> {
        let mut outcome = call.await;
        let text = self.header(Instant::now());
        match &mut outcome {
            Ok(response) => add(response.metadata_mut(), text),
            Err(status) => add(status.metadata_mut(), text),
        }
        outcome
    }

    fn header(&self, now: Instant) -> String {
        let millis = |from: Instant, to: Instant| to.duration_since(from).as_secs_f64() * 1e3;
        format!(
            "instance;desc=\"{}\", queue;dur={:.3}, handler;dur={:.3}",
            self.instance,
            millis(self.arrived, self.began),
            millis(self.began, now)
        )
    }
}

fn add(metadata: &mut Metadata, text: String) {
    // Fails only if the handler's own metadata leave no room.
    if let Err(error) = metadata.insert(KEY, text) {
        log_limited!(debug, %error, "cannot add the times of a call");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;
    use crate::call::method::tests::SPEC;

    fn request(key: &str) -> Request {
        let mut request = Request::new(SPEC.method(0), Bytes::new());
        request.metadata_mut().insert(key, "1").unwrap();
        note_arrival(&mut request);
        request
    }

    #[tokio::test(start_paused = true)]
    async fn times_are_added_to_answers_and_errors() {
        for outcome in [Ok(()), Err(Status::not_found("no"))] {
            let request = request("server-timing");
            tokio::time::advance(Duration::from_micros(1500)).await;
            let timing = Timing::asked(&request, "ID", Instant::now()).unwrap();
            let call = async {
                tokio::time::advance(Duration::from_millis(20)).await;
                outcome.map(|()| Response::new(Bytes::new()))
            };
            let outcome = timing.measure(call).await;
            let metadata = match &outcome {
                Ok(response) => response.metadata(),
                Err(status) => status.metadata(),
            };
            let expected = "instance;desc=\"ID\", queue;dur=1.500, handler;dur=20.000";
            assert_eq!(metadata.get(KEY), Some(expected));
        }
    }

    #[tokio::test]
    async fn other_calls_are_not_measured() {
        let request = request("tenant");
        assert!(Timing::asked(&request, "ID", Instant::now()).is_none());
        assert!(request.extensions().get::<Arrived>().is_none());
    }
}
