//! Generated code, compiled and called.

mod builder_options;
mod golden;
mod include_errors;
mod includes;
mod protoc;
