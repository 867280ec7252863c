//! Server URLs: parsed, validated, and stripped of their credentials before they reach async-nats,
//! a log line or an error.

use std::fmt;

use percent_encoding::percent_decode_str;
use url::Url;

use super::secret::Secret;
use nmfw_core::error::{Error, ErrorKind};

/// The URLs of NATS servers: a single URL, several separated by commas, or a list of these.
///
/// | written | meaning |
/// |---|---|
/// | `localhost`, `nats://localhost` | port 4222 |
/// | `host:4333`, `[::1]:4222` | the given port |
/// | `nats://user:password@host` | logs in with user and password |
/// | `nats://token@host` | logs in with a token |
/// | `tls://host` | TLS, also for every other server in the list and in its cluster |
/// | `ws://host`, `wss://host` | WebSocket, ports 80 and 443; needs the cargo feature `websocket` |
///
/// Empty entries of a list, such as after a trailing comma, are skipped, as in other NATS clients;
/// a list without a URL is an error.
///
/// Special characters in a user, password or token are percent-encoded. The servers belong to one
/// cluster or are equivalent, so one login is used for all: URLs with different logins are an
/// error.
pub trait IntoServers: sealed::Sealed {
    #[doc(hidden)]
    fn into_servers(self) -> Vec<String>;
}

mod sealed {
    pub trait Sealed {}

    impl Sealed for &str {}
    impl Sealed for String {}
    impl Sealed for &String {}
    impl<T: AsRef<str>> Sealed for &[T] {}
    impl<T: AsRef<str>> Sealed for Vec<T> {}
    impl<T: AsRef<str>> Sealed for &Vec<T> {}
    impl<T: AsRef<str>, const N: usize> Sealed for [T; N] {}
    impl<T: AsRef<str>, const N: usize> Sealed for &[T; N] {}
}

impl IntoServers for &str {
    fn into_servers(self) -> Vec<String> {
        vec![self.to_owned()]
    }
}

impl IntoServers for String {
    fn into_servers(self) -> Vec<String> {
        vec![self]
    }
}

impl IntoServers for &String {
    fn into_servers(self) -> Vec<String> {
        vec![self.clone()]
    }
}

impl<T: AsRef<str>> IntoServers for &[T] {
    fn into_servers(self) -> Vec<String> {
        self.iter().map(|url| url.as_ref().to_owned()).collect()
    }
}

impl<T: AsRef<str>> IntoServers for Vec<T> {
    fn into_servers(self) -> Vec<String> {
        self.as_slice().into_servers()
    }
}

impl<T: AsRef<str>> IntoServers for &Vec<T> {
    fn into_servers(self) -> Vec<String> {
        self.as_slice().into_servers()
    }
}

impl<T: AsRef<str>, const N: usize> IntoServers for [T; N] {
    fn into_servers(self) -> Vec<String> {
        self.as_slice().into_servers()
    }
}

impl<T: AsRef<str>, const N: usize> IntoServers for &[T; N] {
    fn into_servers(self) -> Vec<String> {
        self.as_slice().into_servers()
    }
}

/// The login in a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum UrlLogin {
    UserPassword(String, Secret),
    Token(Secret),
}

/// The servers to connect to, validated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Servers {
    /// Without credentials, never empty.
    urls: Vec<Url>,
    pub(super) login: Option<UrlLogin>,
    /// Whether one of them is `tls://` or `wss://`.
    pub(super) tls: bool,
    /// Whether they are `ws://` or `wss://`.
    pub(super) websocket: bool,
}

impl Servers {
    pub(super) fn parse(lists: &[String]) -> Result<Self, Error> {
        let mut urls = Vec::new();
        let mut login: Option<UrlLogin> = None;
        let entries = lists.iter().flat_map(|list| list.split(','));
        let entries = entries.map(str::trim).filter(|given| !given.is_empty());
        for given in entries {
            let (url, its_login) = parse_one(given)?;
            if let (Some(first), Some(other)) = (&login, &its_login)
                && first != other
            {
                return Err(invalid(
                    "server URLs with different credentials: all servers of a connection receive \
                     the same credentials, so set them in one URL or in the options",
                ));
            }
            login = login.or(its_login);
            if !urls.contains(&url) {
                urls.push(url);
            }
        }
        if urls.is_empty() {
            return Err(empty());
        }
        let websocket = urls.iter().any(is_websocket);
        if websocket && !urls.iter().all(is_websocket) {
            return Err(invalid(format!(
                "{}: ws:// and wss:// cannot be mixed with other server URLs",
                join(&urls)
            )));
        }
        if websocket && !cfg!(feature = "websocket") {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "{}: this program was built without WebSocket support: enable nmfw's cargo \
                     feature `websocket`",
                    join(&urls)
                ),
            ));
        }
        let tls = urls.iter().any(|url| matches!(url.scheme(), "tls" | "wss"));
        Ok(Self {
            urls,
            login,
            tls,
            websocket,
        })
    }

    pub(super) fn len(&self) -> usize {
        self.urls.len()
    }

    /// Returns the addresses for async-nats, which parses them again.
    pub(super) fn addresses(&self) -> Vec<String> {
        self.urls.iter().map(Url::to_string).collect()
    }
}

/// Formats the URLs without credentials.
impl fmt::Display for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&join(&self.urls))
    }
}

fn join(urls: &[Url]) -> String {
    let urls: Vec<_> = urls.iter().map(|url| shown(url.as_str())).collect();
    urls.join(", ")
}

fn is_websocket(url: &Url) -> bool {
    matches!(url.scheme(), "ws" | "wss")
}

fn parse_one(given: &str) -> Result<(Url, Option<UrlLogin>), Error> {
    let bad = |why: &str| invalid(format!("server URL {}: {why}", redact(given)));
    let absolute = if given.contains("://") {
        given.to_owned()
    } else {
        format!("nats://{given}")
    };
    let mut url = Url::parse(&absolute).map_err(|error| {
        // An unescaped / or # in a password ends the host early, and the parser then reports a port
        // that the user did not write.
        if given.contains('@') {
            bad(&format!(
                "{error} (characters such as / # ? in a password must be percent-encoded)"
            ))
        } else {
            bad(&error.to_string())
        }
    })?;
    if !matches!(url.scheme(), "nats" | "tls" | "ws" | "wss") {
        return Err(bad("the scheme must be nats, tls, ws or wss"));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(bad("it has no host"));
    }
    if url.port() == Some(0) {
        return Err(bad("port 0 is not a valid port"));
    }
    // A WebSocket proxy may listen on a path; for other URLs, the path would silently be ignored.
    if !is_websocket(&url) && !matches!(url.path(), "" | "/") {
        return Err(bad("host and port must be the last part"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(bad("host and port must be the last part"));
    }
    let login =
        take_login(&mut url, &absolute).ok_or_else(|| bad("its credentials are not UTF-8"))?;
    if !is_websocket(&url) {
        url.set_path("");
        if url.port().is_none() {
            // Cannot fail, because there is a host.
            _ = url.set_port(Some(4222));
        }
    }
    Ok((url, login))
}

/// Removes the user info from the URL, because async-nats ignores it and would log it. Returns
/// `None` if it does not decode to UTF-8.
fn take_login(url: &mut Url, given: &str) -> Option<Option<UrlLogin>> {
    let user = decode(url.username())?;
    let login = match url.password() {
        Some(password) => {
            let password = Secret::new(decode(password)?);
            Some(UrlLogin::UserPassword(user, password))
        }
        None if user.is_empty() => None,
        // `Url` drops an empty password, but `user:@` is not the token `user`.
        None if given.contains(":@") => Some(UrlLogin::UserPassword(user, Secret::new(""))),
        None => Some(UrlLogin::Token(Secret::new(user))),
    };
    // These fail only for URLs without a host, which were refused above.
    _ = url.set_username("");
    _ = url.set_password(None);
    Some(login)
}

fn decode(text: &str) -> Option<String> {
    let text = percent_decode_str(text).decode_utf8().ok()?;
    Some(text.into_owned())
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidUrl, message)
}

fn empty() -> Error {
    invalid(
        "the list of server URLs is empty: set a URL such as nats://localhost:4222, or use \
         connect_env to read it from the environment",
    )
}

fn shown(url: &str) -> &str {
    url.trim_end_matches('/')
}

/// Returns a displayable form of text that was meant to be a URL, valid or not, with everything
/// removed that could be a secret.
fn redact(given: &str) -> String {
    let (scheme, rest) = match given.split_once("://") {
        Some((scheme, rest)) if !scheme.contains([':', '@']) => (format!("{scheme}://"), rest),
        _ => (String::new(), given),
    };
    let (user_info, host) = match rest.rsplit_once('@') {
        Some((_, host)) => ("***@", host),
        None => ("", rest),
    };
    let (host, query) = match host.find(['?', '#']) {
        Some(at) => (&host[..at], "?***"),
        None => (host, ""),
    };
    // An invalid port may be a password if the host is missing.
    let (host, port) = match host.rsplit_once(':') {
        Some((host, port)) if !host.starts_with('[') && port.parse::<u32>().is_err() => {
            (host, ":***")
        }
        _ => (host, ""),
    };
    format!("{scheme}{user_info}{host}{port}{query}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(urls: impl IntoServers) -> Result<Servers, Error> {
        Servers::parse(&urls.into_servers())
    }

    fn addresses(urls: &str) -> Vec<String> {
        parse(urls).unwrap().addresses()
    }

    fn login(urls: &str) -> Option<UrlLogin> {
        parse(urls).unwrap().login
    }

    #[test]
    fn defaults_and_lists() {
        assert_eq!(addresses("localhost"), ["nats://localhost:4222"]);
        assert_eq!(addresses("nats://h:1/"), ["nats://h:1"]);
        assert_eq!(addresses("h:4333"), ["nats://h:4333"]);
        assert_eq!(addresses("tls://h"), ["tls://h:4222"]);
        assert_eq!(addresses("[::1]"), ["nats://[::1]:4222"]);
        assert_eq!(addresses("[::1]:42"), ["nats://[::1]:42"]);
        assert_eq!(addresses("127.0.0.1"), ["nats://127.0.0.1:4222"]);
        assert_eq!(
            addresses("a, nats://b:1 ,tls://c,a"),
            ["nats://a:4222", "nats://b:1", "tls://c:4222"]
        );
        assert_eq!(parse(["a,b", "c"]).unwrap().len(), 3);
        assert_eq!(parse(vec!["a".to_owned()]).unwrap().len(), 1);
        assert_eq!(parse(&["a"][..]).unwrap().len(), 1);
    }

    #[test]
    fn empty_entries_are_skipped() {
        for list in ["a,b:1", "a,b:1,", ",a,b:1", "a,,b:1", " a , , b:1 , "] {
            assert_eq!(addresses(list), ["nats://a:4222", "nats://b:1"], "{list:?}");
        }
        let servers = parse(["", "a,", " "]).unwrap();
        assert_eq!(servers.addresses(), ["nats://a:4222"]);
        let error = parse(["", ","]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidUrl);
    }

    #[test]
    fn tls_anywhere_is_tls_everywhere() {
        assert!(parse("a,tls://b").unwrap().tls);
        assert!(!parse("a,b").unwrap().tls);
    }

    #[test]
    fn credentials_are_taken_out() {
        let servers = parse("nats://us%40er:p%2Fa%3As%20s@h:1,h2").unwrap();
        assert_eq!(
            servers.login,
            Some(UrlLogin::UserPassword(
                "us@er".to_owned(),
                Secret::new("p/a:s s".to_owned())
            ))
        );
        assert_eq!(servers.addresses(), ["nats://h:1", "nats://h2:4222"]);
        assert_eq!(servers.to_string(), "nats://h:1, nats://h2:4222");
        assert_eq!(
            login("tok%21en@h"),
            Some(UrlLogin::Token(Secret::new("tok!en".to_owned())))
        );
        assert_eq!(
            login("nats://u:@h"),
            Some(UrlLogin::UserPassword(
                "u".to_owned(),
                Secret::new(String::new())
            ))
        );
        assert_eq!(login("nats://@h"), None);
        assert!(!format!("{servers:?}").contains("p/a"));
    }

    #[test]
    fn one_login_for_all() {
        assert!(parse("nats://u:p@a,nats://u:p@b").is_ok());
        let error = parse("nats://u:hush@a,nats://u:hush2@b").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidUrl);
        assert!(!error.to_string().contains("hush"));
    }

    #[test]
    fn bad_urls_are_named_and_never_show_secrets() {
        for (url, part) in [
            ("", "empty"),
            (" ", "empty"),
            (",", "empty"),
            (" , ,", "empty"),
            ("a,,http://h", "scheme"),
            ("http://h", "scheme"),
            ("nats://", "host"),
            ("nats://:4222", "host"),
            ("nats://h:99999", "port"),
            ("h:port", "port"),
            ("h:0", "port 0"),
            ("nats://h/path", "last part"),
            ("nats://h?x=hush", "last part"),
            ("nats://[::1", "IPv6"),
            ("nats://a b", "domain"),
            ("nats://user:hu/sh@h", "percent-encoded"),
            ("hush#hush@h:4222", "***@h"),
            ("nats://%ff:hush@h", "UTF-8"),
            ("nats://user:hush", "port"),
            ("nats://user:hu/hush", "port"),
        ] {
            let error = parse(url).expect_err(url);
            let text = error.to_string();
            assert_eq!(error.kind(), ErrorKind::InvalidUrl, "{url}");
            assert!(text.contains(part), "{url}: {text}");
            assert!(!text.contains("hush"), "{url}: {text}");
        }
        assert_eq!(
            parse(Vec::<String>::new()).unwrap_err().kind(),
            ErrorKind::InvalidUrl
        );
    }

    proptest::proptest! {
        #[test]
        fn encoded_secrets_survive(secret in ".{1,20}") {
            use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
            let encoded = utf8_percent_encode(&secret, NON_ALPHANUMERIC);
            let secret = Secret::new(secret.clone());
            let both = UrlLogin::UserPassword("u".to_owned(), secret.clone());
            assert_eq!(login(&format!("nats://u:{encoded}@h")), Some(both));
            assert_eq!(login(&format!("{encoded}@h")), Some(UrlLogin::Token(secret)));
        }

        #[test]
        fn secrets_that_should_have_been_encoded_are_not_shown(
            scheme in "(nats://|tls://|http://|)",
            before in "([^,]|[/#?@:]|[0-9]){0,6}",
            after in "([^,]|[/#?@:]|[0-9]){0,6}",
        ) {
            let text = match parse(format!("{scheme}user:{before}hush{after}@host")) {
                Ok(servers) => format!("{servers} {servers:?} {:?}", servers.addresses()),
                Err(error) => format!("{error:?}"),
            };
            assert!(!text.contains("hush"), "{text}");
        }

        #[test]
        fn nothing_panics(text in ".*") {
            _ = parse(text);
        }
    }

    #[test]
    fn websocket_does_not_mix() {
        let error = parse("ws://a,nats://b").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidUrl);
    }

    #[cfg(feature = "websocket")]
    #[test]
    fn websocket_urls() {
        let servers = parse("wss://u:p@h/nats,ws://h2:8080").unwrap();
        assert_eq!(servers.addresses(), ["wss://h/nats", "ws://h2:8080/"]);
        assert!(servers.websocket && servers.tls);
    }

    #[cfg(not(feature = "websocket"))]
    #[test]
    fn websocket_needs_its_feature() {
        let error = parse("wss://u:hush@h").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("`websocket`"));
        assert!(!error.to_string().contains("hush"));
    }
}
