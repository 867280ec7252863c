//! Encoding of the bodies of CALL, HEADERS, STATUS, RESET and CLOSE.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use foldhash::fast::RandomState;
use prost::Message as _;
use prost_types::Any;
use smol_str::SmolStr;

use super::frame::Token;
use crate::{Code, Metadata, MetadataError, MetadataValue, Status};
use nmfw_core::call::body::wire::{
    Malformed, NUMBER_LIMIT, Reader, bytes_len, put_bytes, put_bytes_field, put_field, put_varint,
    utf8,
};
use nmfw_core::call::{metadata::MAX_VALUES, request::Encoding, trace_context::TraceContext};

/// A call with a longer timeout is treated as unlimited; this also keeps sums of times in range.
const MAX_TIME_LEFT: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Maximum number of details in a status, equal to the maximum number of metadata values: each
/// takes more memory than its bytes on the wire.
const MAX_ENTRIES: usize = MAX_VALUES;

/// Maximum length of the body of STATUS and RESET: the maximum metadata, and the same size again
/// for details and message. The end of a stream may be kept until the application asks for it.
const MAX_STATUS: usize = 2 * Metadata::MAX_SIZE;

/// A call without its messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CallHead {
    pub(crate) method: SmolStr,
    /// `None` for the method's own timeout.
    pub(crate) deadline: Option<Instant>,
    pub(crate) encoding: Encoding,
    /// The version of the calling service.
    pub(crate) client_version: Option<SmolStr>,
    pub(crate) metadata: Metadata,
    pub(crate) trace: Option<Arc<TraceContext>>,
}

mod call_field {
    pub(super) const ENCODING: u64 = 1;
    pub(super) const CLIENT_VERSION: u64 = 2;
    pub(super) const METADATA: u64 = 3;
    pub(super) const TRACEPARENT: u64 = 4;
    pub(super) const TRACESTATE: u64 = 5;
}

impl CallHead {
    /// Returns its approximate memory usage.
    pub(super) fn cost(&self) -> u64 {
        let state = |trace: &Arc<TraceContext>| trace.tracestate().map_or(0, str::len);
        let trace = self.trace.as_ref().map_or(0, |trace| 128 + state(trace));
        (size_of::<Self>() + self.metadata.size() + trace) as u64
    }

    /// Returns whether many calls have the same head, except for their deadlines.
    pub(super) fn is_common(&self) -> bool {
        self.metadata.is_empty() && self.trace.is_none()
    }

    /// Returns a [common](Self::is_common) head for another call.
    pub(super) fn again(&self, deadline: Option<Instant>) -> Self {
        Self {
            method: self.method.clone(),
            deadline,
            encoding: self.encoding,
            client_version: self.client_version.clone(),
            metadata: Metadata::new(),
            trace: None,
        }
    }

    /// Returns the encoded body except the time left, which comes first and is known only when it
    /// is sent.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_bytes(&mut out, self.method.as_bytes());
        if self.encoding == Encoding::Json {
            put_bytes_field(&mut out, call_field::ENCODING, &[1]);
        }
        if let Some(version) = &self.client_version {
            put_bytes_field(&mut out, call_field::CLIENT_VERSION, version.as_bytes());
        }
        put_metadata_field(&mut out, call_field::METADATA, &self.metadata);
        if let Some(trace) = &self.trace {
            put_bytes_field(
                &mut out,
                call_field::TRACEPARENT,
                trace.traceparent().as_bytes(),
            );
            if let Some(tracestate) = trace.tracestate() {
                put_bytes_field(&mut out, call_field::TRACESTATE, tracestate.as_bytes());
            }
        }
        out
    }
}

/// Returns the time left as encoded in CALL: 0 for no limit, otherwise milliseconds, rounded up,
/// plus one.
pub(super) fn time_left(deadline: Option<Instant>, now: Instant) -> u64 {
    deadline.map_or(0, |at| {
        let left = at.saturating_duration_since(now).min(MAX_TIME_LEFT);
        // At most thirty days in milliseconds.
        left.as_nanos().div_ceil(1_000_000) as u64 + 1
    })
}

/// The served methods.
pub(crate) type Methods = HashMap<SmolStr, MethodEntry, RandomState>;

/// A served method.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MethodEntry {
    /// The index of the method in the list of methods.
    pub(crate) index: usize,
    /// Whether its requests have one message, which the driver takes on arrival.
    pub(crate) is_single: bool,
}

/// The body of a CALL whose head was not read.
#[derive(Clone, Copy, Debug)]
pub(super) struct UnreadCall<'a> {
    time_left: Option<Duration>,
    head: Reader<'a>,
    /// Whether the windows of its stream are small at first.
    pub(super) is_narrow: bool,
}

impl PartialEq for UnreadCall<'_> {
    fn eq(&self, other: &Self) -> bool {
        let parts = |call: &Self| (call.time_left, call.is_narrow);
        parts(self) == parts(other) && self.head() == other.head()
    }
}

impl Eq for UnreadCall<'_> {}

impl<'a> UnreadCall<'a> {
    pub(super) fn decode(mut body: Reader<'a>) -> Result<Self, Malformed> {
        let time_left = body.varint()?;
        Ok(Self {
            time_left: time_left.checked_sub(1).map(Duration::from_millis),
            head: body,
            is_narrow: false,
        })
    }

    pub(super) fn narrow(self, is_narrow: bool) -> Self {
        Self { is_narrow, ..self }
    }

    /// Returns the encoded head.
    pub(super) fn head(&self) -> &'a [u8] {
        self.head.rest()
    }

    pub(super) fn deadline(&self, now: Instant) -> Option<Instant> {
        self.time_left.map(|left| now + left.min(MAX_TIME_LEFT))
    }

    pub(super) fn read(self) -> Result<CallBody<'a>, Malformed> {
        CallBody::read(self.head)
    }
}

/// The decoded head of a CALL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CallBody<'a> {
    pub(super) method: &'a str,
    pub(super) encoding: u64,
    pub(super) client_version: Option<&'a str>,
    pub(super) metadata: RawMetadata<'a>,
    /// Not validated; an invalid trace context is ignored.
    traceparent: &'a [u8],
    tracestate: &'a [u8],
}

impl<'a> CallBody<'a> {
    fn read(mut body: Reader<'a>) -> Result<Self, Malformed> {
        let mut call = Self {
            method: body.str()?,
            encoding: 0,
            client_version: None,
            metadata: RawMetadata(Reader::new(&[])),
            traceparent: &[],
            tracestate: &[],
        };
        let mut last = 0;
        while let Some((id, mut value)) = body.field(&mut last)? {
            match id {
                call_field::ENCODING => call.encoding = value.varint()?,
                call_field::CLIENT_VERSION => call.client_version = Some(utf8(value.rest())?),
                call_field::METADATA => call.metadata = RawMetadata::check(value)?,
                call_field::TRACEPARENT => call.traceparent = value.rest(),
                call_field::TRACESTATE => call.tracestate = value.rest(),
                _ => {}
            }
        }
        Ok(call)
    }

    /// Converts a readable call to its head and method. The error, for a call that cannot be
    /// served, is for its caller.
    pub(super) fn into_head(
        self,
        methods: &Methods,
        deadline: Option<Instant>,
    ) -> Result<(MethodEntry, CallHead), Status> {
        let Some((method, &entry)) = methods.get_key_value(self.method) else {
            let text = "the method is not served in this session";
            return Err(Status::unimplemented(text));
        };
        let encoding = match self.encoding {
            0 => Encoding::Protobuf,
            1 => Encoding::Json,
            other => {
                return Err(Status::unimplemented(format!(
                    "this service does not know the encoding {other}"
                )));
            }
        };
        let version = |version| {
            let version = nmfw_core::call::client_version::client_version(version);
            version.ok_or_else(|| Status::invalid_argument("the client's version is invalid"))
        };
        let client_version = self.client_version.map(version).transpose()?;
        let head = CallHead {
            method: method.clone(),
            deadline,
            encoding,
            client_version: client_version.map(SmolStr::from),
            metadata: self.metadata.decode()?,
            trace: if self.traceparent.is_empty() {
                None
            } else {
                TraceContext::read(self.traceparent, self.tracestate)
            },
        };
        Ok((entry, head))
    }
}

#[cfg(any(test, fuzzing))]
impl UnreadCall<'_> {
    /// Converts to a head as for a service that has the method.
    pub(super) fn into_any_head(self, now: Instant) -> Result<CallHead, Status> {
        let call = self
            .read()
            .map_err(|Malformed(what)| Status::internal(what))?;
        let entry = MethodEntry {
            index: 0,
            is_single: false,
        };
        let methods = [(call.method.into(), entry)].into_iter().collect();
        let (_, head) = call.into_head(&methods, self.deadline(now))?;
        Ok(head)
    }
}

/// Metadata with a validated framing, whose rules were not checked yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct RawMetadata<'a>(Reader<'a>);

impl PartialEq for RawMetadata<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.0.rest() == other.0.rest()
    }
}

impl Eq for RawMetadata<'_> {}

impl<'a> RawMetadata<'a> {
    pub(super) fn check(body: Reader<'a>) -> Result<Self, Malformed> {
        let mut entries = body;
        while !entries.is_empty() {
            entries.str()?;
            entries.bytes()?;
        }
        Ok(Self(body))
    }

    fn entries(self) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        let mut rest = self.0;
        std::iter::from_fn(move || Some((rest.str().ok()?, rest.bytes().ok()?)))
    }

    /// Decodes the metadata; fails if any entry breaks the rules, as for a request at a service.
    pub(super) fn decode(self) -> Result<Metadata, Status> {
        // Checked before anything is copied.
        if self.0.rest().len() > Metadata::MAX_SIZE {
            return Err(Status::invalid_argument(format!(
                "the metadata has {} bytes, which exceeds the limit of {}",
                self.0.rest().len(),
                Metadata::MAX_SIZE
            )));
        }
        let mut metadata = Metadata::new();
        for (i, (name, value)) in self.entries().enumerate() {
            if i == MAX_ENTRIES {
                return Err(Status::invalid_argument(format!(
                    "more than {MAX_ENTRIES} values of metadata"
                )));
            }
            append(&mut metadata, name, value)?;
        }
        Ok(metadata)
    }

    /// Decodes the metadata and skips entries that break the rules, as for a reply at a client.
    pub(super) fn decode_lossy(self) -> Metadata {
        let mut metadata = Metadata::new();
        for (name, value) in self.entries().take(MAX_ENTRIES) {
            if let Err(error) = append(&mut metadata, name, value) {
                log_limited!(debug, %error, "skipped metadata of a response");
            }
        }
        metadata
    }
}

fn append(metadata: &mut Metadata, name: &str, value: &[u8]) -> Result<(), MetadataError> {
    match (std::str::from_utf8(value), is_binary(name)) {
        (Ok(text), false) => metadata.append(name, text),
        // Bytes under a name for text are refused here with the right reason.
        _ => metadata.append_bin(name, value.to_vec()),
    }
}

fn is_binary(name: &str) -> bool {
    let bytes = name.as_bytes();
    bytes
        .last_chunk::<4>()
        .is_some_and(|end| end.eq_ignore_ascii_case(b"-bin"))
}

/// Appends names and values, to the end of the field or frame.
pub(super) fn put_metadata(out: &mut Vec<u8>, metadata: &Metadata) {
    for (name, value) in metadata.iter() {
        put_bytes(out, name.as_bytes());
        match value {
            MetadataValue::Text(text) => put_bytes(out, text.as_bytes()),
            MetadataValue::Binary(bytes) => put_bytes(out, bytes),
        }
    }
}

fn metadata_len(metadata: &Metadata) -> usize {
    let entry = |(name, value): (&str, &MetadataValue)| {
        let value = match value {
            MetadataValue::Text(text) => text.len(),
            MetadataValue::Binary(bytes) => bytes.len(),
        };
        bytes_len(name.len()) + bytes_len(value)
    };
    metadata.iter().map(entry).sum()
}

fn put_metadata_field(out: &mut Vec<u8>, id: u64, metadata: &Metadata) {
    if !metadata.is_empty() {
        put_varint(out, id);
        put_varint(out, metadata_len(metadata) as u64);
        put_metadata(out, metadata);
    }
}

mod status_field {
    pub(super) const MESSAGE: u64 = 1;
    pub(super) const DETAILS: u64 = 2;
    pub(super) const METADATA: u64 = 3;
    pub(super) const TOKEN: u64 = 4;
}

/// Encodes the body of STATUS, RESET and CLOSE for an error, never longer than `limit`, which is at
/// least a few hundred bytes, nor than [`MAX_STATUS`]: details and metadata are left out if they do
/// not fit, and the message is cut.
pub(super) fn encode_status(status: &Status, limit: usize) -> Bytes {
    let limit = limit.min(MAX_STATUS);
    let mut out = Vec::new();
    put_varint(&mut out, u64::from(status.code() as u8));
    let message = cut(status.message(), limit - 32);
    if !message.is_empty() {
        put_field(&mut out, status_field::MESSAGE, |out| {
            out.extend_from_slice(message.as_bytes());
        });
    }
    let short = out.len();
    if !status.details().is_empty() {
        put_field(&mut out, status_field::DETAILS, |out| {
            for detail in status.details() {
                put_bytes(out, &detail.encode_to_vec());
            }
        });
    }
    put_metadata_field(&mut out, status_field::METADATA, status.metadata());
    let is_too_much =
        status.details().len() > MAX_ENTRIES || status.metadata().check_size().is_err();
    if out.len() > limit || is_too_much {
        log_limited!(warn, %status, limit, "details and metadata of an error were left out: they \
                                            do not fit into a packet");
        out.truncate(short);
    }
    out.into()
}

/// Encodes the body of a CLOSE that answers the PING of an unknown session.
pub(super) fn encode_status_with_token(status: &Status, limit: usize, token: &Token) -> Vec<u8> {
    let mut out = Vec::from(encode_status(status, limit));
    put_bytes_field(&mut out, status_field::TOKEN, token);
    out
}

/// Encodes the body of a STATUS with code OK; returns `None` if the trailers do not fit or are too
/// many.
pub(super) fn encode_ok(trailers: &Metadata, limit: usize) -> Option<Bytes> {
    let mut out = Vec::new();
    put_varint(&mut out, 0);
    put_metadata_field(&mut out, status_field::METADATA, trailers);
    let fits = out.len() <= limit && trailers.check_size().is_ok();
    fits.then(|| out.into())
}

/// Returns at most `limit` bytes of a text, cut between characters.
fn cut(text: &str, limit: usize) -> &str {
    let mut end = limit.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// The decoded body of a STATUS, RESET or CLOSE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StatusBody<'a> {
    code: u64,
    not_started: bool,
    message: &'a str,
    details: &'a [u8],
    metadata: RawMetadata<'a>,
    /// In CLOSE: the token of the PING that it answers.
    token: Option<Token>,
}

impl<'a> StatusBody<'a> {
    pub(super) fn decode(mut body: Reader<'a>, not_started: bool) -> Result<Self, Malformed> {
        let mut status = Self {
            code: body.varint()?,
            not_started,
            message: "",
            details: &[],
            metadata: RawMetadata(Reader::new(&[])),
            token: None,
        };
        let mut last = 0;
        while let Some((id, value)) = body.field(&mut last)? {
            match id {
                status_field::MESSAGE => status.message = utf8(value.rest())?,
                status_field::DETAILS => {
                    let mut details = value;
                    while !details.is_empty() {
                        details.bytes()?;
                    }
                    status.details = value.rest();
                }
                status_field::METADATA => status.metadata = RawMetadata::check(value)?,
                status_field::TOKEN => status.token = value.rest().try_into().ok(),
                _ => {}
            }
        }
        Ok(status)
    }

    pub(super) fn token(self) -> Option<Token> {
        self.token
    }

    /// Removes contents that no sender of this version adds.
    pub(super) fn bounded(self) -> Self {
        self.shortened(MAX_STATUS)
    }

    /// Removes details and metadata, and cuts the message, if the body is longer than `limit`.
    pub(super) fn shortened(self, limit: usize) -> Self {
        let len = self.message.len() + self.details.len() + self.metadata.0.rest().len();
        if len <= limit {
            return self;
        }
        Self {
            message: cut(self.message, limit),
            details: &[],
            metadata: RawMetadata(Reader::new(&[])),
            ..self
        }
    }

    /// Converts to the end of a stream: trailers or an error. An error with the code OK is still an
    /// error; otherwise, a truncated stream would look complete.
    pub(super) fn into_end(self) -> Result<Metadata, Status> {
        let is_error = self.not_started || !self.message.is_empty() || !self.details.is_empty();
        if self.code != 0 || !is_error {
            return self.into_outcome();
        }
        let status = Status::new(Code::Ok, self.message.to_owned());
        let mut status = status.returned_by("the service");
        *status.metadata_mut() = self.metadata.decode_lossy();
        Err(status)
    }

    /// Converts to trailers or an error. A number that gRPC does not define is UNKNOWN.
    pub(super) fn into_outcome(self) -> Result<Metadata, Status> {
        let metadata = self.metadata.decode_lossy();
        if self.code == 0 {
            return Ok(metadata);
        }
        let code = i32::try_from(self.code).map_or(Code::Unknown, Code::from_number);
        let mut details = Reader::new(self.details);
        let details = std::iter::from_fn(|| details.bytes().ok())
            .take(MAX_ENTRIES)
            .filter_map(|detail| Any::decode(detail).ok());
        let mut status = Status::new(code, self.message.to_owned()).with_details(details);
        *status.metadata_mut() = metadata;
        Err(if self.not_started {
            // Not started: the peer has set the flag.
            status.not_started()
        } else {
            status
        })
    }
}

const _: () = assert!((MAX_TIME_LEFT.as_millis() as u64) < NUMBER_LIMIT);
