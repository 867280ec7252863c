mod board {
    nmfw::include_proto!("Acme.V1Beta");
}

fn main() {}
