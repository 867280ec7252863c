//! The business logic, independent of the transport.

use nmfw::{Context, Status};

use crate::calc::{AddRequest, AverageRequest, Calc, CalcResponse, ExpressionRequest};

/// Maximum length of an expression in bytes, because parsing takes more than linear time.
const MAX_EXPRESSION: usize = 1000;

/// The calculator.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Calculator;

impl Calc for Calculator {
    async fn average(&self, _ctx: Context, req: AverageRequest) -> Result<CalcResponse, Status> {
        let count = req.values.len();
        if count == 0 {
            return Ok(response("average", 0.0));
        }
        Ok(response("average", sum(&req.values) / count as f64))
    }

    async fn add(&self, _ctx: Context, req: AddRequest) -> Result<CalcResponse, Status> {
        Ok(response("add", sum(&req.values)))
    }

    async fn expression(
        &self,
        _ctx: Context,
        req: ExpressionRequest,
    ) -> Result<CalcResponse, Status> {
        let expression = req.expression;
        tracing::info!(expression, "calculating");
        if expression.len() > MAX_EXPRESSION {
            return Err(Status::invalid_argument(format!(
                "the expression has {} bytes, which exceeds the limit of {MAX_EXPRESSION}",
                expression.len()
            )));
        }
        let value = exmex::eval_str::<f64>(&expression).map_err(|error| {
            Status::invalid_argument(format!("cannot calculate {expression:?}: {error}"))
        })?;
        if !(value as f32).is_finite() {
            return Err(Status::out_of_range(format!(
                "the result of {expression:?} does not fit into a float"
            )));
        }
        Ok(response("expr", value))
    }
}

fn sum(values: &[f32]) -> f64 {
    values.iter().copied().map(f64::from).sum()
}

fn response(operation: &str, result: f64) -> CalcResponse {
    CalcResponse {
        operation: operation.to_owned(),
        // The messages are those of Go nmfw, which uses `float`.
        result: result as f32,
    }
}

#[cfg(test)]
mod tests {
    use nmfw::Code;

    use super::*;

    async fn expression(text: &str) -> Result<f32, Code> {
        let request = ExpressionRequest {
            expression: text.to_owned(),
        };
        let answer = Calculator.expression(Context::default(), request).await;
        answer.map(|r| r.result).map_err(|status| status.code())
    }

    #[tokio::test]
    async fn calculates() {
        let values = vec![1.1, 2.0, 3.5];
        let request = AverageRequest {
            values: values.clone(),
        };
        let average = Calculator.average(Context::default(), request).await;
        assert_eq!(average.unwrap().result, 2.2);
        let sum = Calculator
            .add(Context::default(), AddRequest { values })
            .await;
        assert_eq!(sum.unwrap().result, 6.6);
        assert_eq!(expression("2*(3+4)").await, Ok(14.0));
    }

    #[tokio::test]
    async fn bad_expressions_are_the_callers_fault() {
        for text in ["", "2*", "x+1", "(((", "1 2", "\0"] {
            assert_eq!(
                expression(text).await,
                Err(Code::InvalidArgument),
                "{text:?}"
            );
        }
        assert_eq!(
            expression(&"(".repeat(1_000_000)).await,
            Err(Code::InvalidArgument)
        );
        expression(&"(".repeat(MAX_EXPRESSION)).await.unwrap_err();
        expression(&"-".repeat(MAX_EXPRESSION)).await.unwrap_err();
        assert_eq!(expression("1/0").await, Err(Code::OutOfRange));
        assert_eq!(expression("10^300").await, Err(Code::OutOfRange));
    }
}
