//! Fuzz target for subjects named by peers.

use crate::nats::reply_subject::{check, check_session};

/// Checks bytes as the subject of a peer's inbox or session. An accepted subject can be published
/// to, fits on one line of the NATS protocol, and belongs to no service.
pub fn subject(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if check(&text).is_ok() {
        is_publishable(&text);
        assert!(
            !text.starts_with(['$']) && !text.starts_with("nmfw."),
            "{text}"
        );
        let reserved = ["_open", "_health", "_schema", "_i", "_m"];
        let is_reserved = text.split('.').any(|token| reserved.contains(&token));
        assert!(!is_reserved || text.starts_with('_'), "{text}");
    }
    if check_session(&text, "nmfw.calc._open").is_ok() {
        is_publishable(&text);
        let sessions = ["nmfw.calc._i.", "nmfw.calc._m.", "_R_."];
        assert!(
            sessions.iter().any(|start| text.starts_with(start)),
            "{text}"
        );
    }
}

fn is_publishable(text: &str) {
    assert!(text.len() <= 1024);
    assert!(
        !text.contains(|c: char| c.is_ascii_whitespace() || c.is_ascii_control()),
        "{text:?}"
    );
    assert!(
        text.split('.')
            .all(|token| !["", "*", ">"].contains(&token)),
        "{text}"
    );
}
