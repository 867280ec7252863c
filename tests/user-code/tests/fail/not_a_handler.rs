use nmfw_user_code::calc::CalcServer;

struct Nothing;

fn main() {
    let _ = CalcServer::new(Nothing);
}
