mod calc {
    nmfw::include_proto!("calc");
}

mod protos {
    nmfw::include_protos!();
}

fn main() {}
