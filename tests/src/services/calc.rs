//! The calculator of Go nmfw, for comparisons.

use nmfw::{Context, Server, Status, server::Running};

pub use self::generated::*;

#[allow(
    missing_docs,
    reason = "generated from calc.proto, which has the documentation"
)]
mod generated {
    nmfw::include_proto!("calc");
}

/// The implementation; supports a single expression.
#[derive(Clone, Copy, Debug)]
pub struct Calculator;

impl Calc for Calculator {
    async fn average(&self, _ctx: Context, req: AverageRequest) -> Result<CalcResponse, Status> {
        let result = match req.values.len() {
            0 => 0.0,
            count => req.values.iter().sum::<f32>() / count as f32,
        };
        Ok(response("average", result))
    }

    async fn add(&self, _ctx: Context, req: AddRequest) -> Result<CalcResponse, Status> {
        Ok(response("add", req.values.iter().sum()))
    }

    async fn expression(
        &self,
        _ctx: Context,
        req: ExpressionRequest,
    ) -> Result<CalcResponse, Status> {
        match req.expression.as_str() {
            "2*(3+4)" => Ok(response("expr", 14.0)),
            other => Err(Status::invalid_argument(format!(
                "cannot calculate {other}"
            ))),
        }
    }
}

fn response(operation: &str, result: f32) -> CalcResponse {
    CalcResponse {
        operation: operation.to_owned(),
        result,
    }
}

/// Serves it on its own connection, with the defaults.
///
/// # Errors
///
/// Fails if connecting or starting fails.
pub async fn serve(url: &str) -> Result<Running, nmfw::Error> {
    let nats = nmfw::connect(url).await?;
    Server::new(nats)
        .add_service(CalcServer::new(Calculator))
        .start()
        .await
}

/// Creates a client with its own connection.
///
/// # Errors
///
/// Fails if connecting fails.
pub async fn client(url: &str) -> Result<CalcClient, nmfw::Error> {
    Ok(CalcClient::new(nmfw::connect(url).await?))
}
