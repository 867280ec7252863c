//! Handlers of every shape: state, borrows over an await, returned futures, errors that convert.

use std::{
    collections::HashMap,
    future::{Future, ready},
    sync::Arc,
};

use nmfw::{Context, Server, Status, server::Service};
use nmfw_user_code::calc::{
    AddRequest, AverageRequest, Calc, CalcClient, CalcResponse, CalcServer, ExpressionRequest,
};
use tokio::sync::RwLock;

#[derive(Debug)]
enum DomainError {
    Empty,
}

impl From<DomainError> for Status {
    fn from(error: DomainError) -> Self {
        match error {
            DomainError::Empty => Status::invalid_argument("no values"),
        }
    }
}

struct Stateful {
    cache: RwLock<HashMap<String, f32>>,
    next: CalcClient,
}

fn sum(values: &[f32]) -> Result<f32, DomainError> {
    if values.is_empty() {
        return Err(DomainError::Empty);
    }
    Ok(values.iter().sum())
}

impl Calc for Stateful {
    async fn average(&self, ctx: Context, req: AverageRequest) -> Result<CalcResponse, Status> {
        let count: f32 = req.values.len().to_string().parse()?;
        let add = AddRequest { values: req.values };
        let total = self.next.add(add).context(&ctx).await?.result;
        Ok(response(total / count))
    }

    fn add(
        &self,
        _ctx: Context,
        req: AddRequest,
    ) -> impl Future<Output = nmfw::Result<CalcResponse>> + Send {
        ready(sum(&req.values).map(response).map_err(Status::from))
    }

    async fn expression(
        &self,
        _ctx: Context,
        req: ExpressionRequest,
    ) -> Result<CalcResponse, Status> {
        let cache = self.cache.read().await;
        tokio::task::yield_now().await;
        let value = cache.get(&req.expression).copied();
        Ok(response(value.ok_or(DomainError::Empty)?))
    }
}

fn response(result: f32) -> CalcResponse {
    CalcResponse {
        result,
        ..CalcResponse::default()
    }
}

fn serve(nats: nmfw::Connection, handler: Stateful) -> Server {
    let handler = Arc::new(handler);
    let service: Service = CalcServer::from_arc(Arc::clone(&handler));
    Server::new(nats).add_service(service.only([CalcServer::ADD]))
}

fn main() {
    let _ = serve;
}
