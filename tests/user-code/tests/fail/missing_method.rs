use nmfw::{Context, Status};
use nmfw_user_code::calc::{AddRequest, AverageRequest, Calc, CalcResponse};

struct Half;

impl Calc for Half {
    async fn average(&self, _ctx: Context, _req: AverageRequest) -> Result<CalcResponse, Status> {
        Ok(CalcResponse::default())
    }

    async fn add(&self, _ctx: Context, _req: AddRequest) -> Result<CalcResponse, Status> {
        Ok(CalcResponse::default())
    }
}

fn main() {}
