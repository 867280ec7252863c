use std::rc::Rc;

use nmfw::{Context, Status};
use nmfw_user_code::calc::{AddRequest, AverageRequest, Calc, CalcResponse, ExpressionRequest};

struct Local;

impl Calc for Local {
    async fn average(&self, _ctx: Context, _req: AverageRequest) -> Result<CalcResponse, Status> {
        let shared = Rc::new(0.0);
        tokio::task::yield_now().await;
        Ok(CalcResponse {
            result: *shared,
            ..CalcResponse::default()
        })
    }

    async fn add(&self, _ctx: Context, _req: AddRequest) -> Result<CalcResponse, Status> {
        Ok(CalcResponse::default())
    }

    async fn expression(
        &self,
        _ctx: Context,
        _req: ExpressionRequest,
    ) -> Result<CalcResponse, Status> {
        Ok(CalcResponse::default())
    }
}

fn main() {}
