use nmfw_tests::calc::CalcServer;

struct Nothing;

fn main() {
    let _ = CalcServer::new(Nothing);
}
