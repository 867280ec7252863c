use nmfw::{Context, Status};
use nmfw_user_code::calc::{AddRequest, AverageRequest, Calc, CalcResponse, ExpressionRequest};

struct Wrong;

impl Calc for Wrong {
    async fn average(&self, _ctx: Context, _req: AverageRequest) -> Result<CalcResponse, Status> {
        Ok(CalcResponse::default())
    }

    async fn add(&self, _ctx: Context, req: AddRequest) -> Result<f32, Status> {
        Ok(req.values.iter().sum())
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
