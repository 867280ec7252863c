mod calc {
    nmfw::include_proto!("calculator");
}

fn main() {}
