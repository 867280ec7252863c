#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| nmfw_broker::fuzz::broker(bytes));
