#![deny(unused_must_use)]

use nmfw_user_code::calc::{AddRequest, CalcClient};

fn forgets_to_await(calc: &CalcClient) {
    calc.add(AddRequest::default());
}

fn main() {
    let _ = forgets_to_await;
}
