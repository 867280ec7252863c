//! Prints services.

use super::file::{Printer, number};
use crate::schema::join;
use crate::schema::raw::{Method, Service};

// Numbers of fields in `ServiceDescriptorProto` and `MethodDescriptorProto`.
const METHOD: i32 = 2;
const SERVICE_OPTIONS: i32 = 3;
const METHOD_OPTIONS: i32 = 4;

impl Printer<'_> {
    /// Prints a service, or only one method of it.
    pub(super) fn service(&mut self, service: &Service, path: &[i32], only: Option<&str>) {
        let full_name = join(self.file.package(), service.name());
        self.leading(path);
        self.out.open(&format!("service {} {{", service.name()));
        self.inner(path);
        let settings = self.settings(service.options.as_deref(), "ServiceOptions", &full_name);
        self.statements(&settings, &[path, &[SERVICE_OPTIONS]].concat());
        if !settings.is_empty() {
            self.out.gap();
        }
        for (index, method) in service.method.iter().enumerate() {
            if only.is_none_or(|only| only == method.name()) {
                let path = [path, &[METHOD, number(index)]].concat();
                self.method(method, &path, &full_name);
            }
        }
        self.out.close("}");
    }

    fn method(&mut self, method: &Method, path: &[i32], service: &str) {
        let full_name = join(service, method.name());
        let kind = |streams: bool, type_name: &str| {
            let stream = if streams { "stream " } else { "" };
            format!("({stream}{})", self.type_name(type_name, &full_name))
        };
        let line = format!(
            "rpc {}{} returns {}",
            method.name(),
            kind(method.client_streaming(), method.input_type()),
            kind(method.server_streaming(), method.output_type()),
        );
        let settings = self.settings(method.options.as_deref(), "MethodOptions", &full_name);
        if self.comments.has_leading(path) {
            self.out.gap();
        }
        self.leading(path);
        if settings.is_empty() {
            // protoc tells an empty block from none.
            let is_block = method.options.is_some() && !self.is_part();
            let end = if is_block { " {}" } else { ";" };
            self.out.line(&format!("{line}{end}"));
            self.trailing(path);
        } else {
            self.out.open(&format!("{line} {{"));
            self.inner(path);
            self.statements(&settings, &[path, &[METHOD_OPTIONS]].concat());
            self.out.close("}");
        }
    }
}
