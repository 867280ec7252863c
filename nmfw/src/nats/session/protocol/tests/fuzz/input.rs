//! [`Input`]: derives decisions from bytes.

/// Yields numbers while there are bytes, then zeros.
pub(super) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(0)
    }

    pub(super) fn flag(&mut self) -> bool {
        self.byte() & 1 != 0
    }

    /// Returns a number below a limit, using as few bytes as possible.
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        let bits = (limit - 1).checked_ilog2().map_or(0, |log| log + 1);
        self.number(bits.div_ceil(8) as usize) % limit
    }

    pub(super) fn number(&mut self, bytes: usize) -> u64 {
        let bytes = self.take(bytes).iter();
        bytes.fold(0, |number, &byte| number << 8 | u64::from(byte))
    }

    pub(super) fn take(&mut self, len: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        bytes
    }
}
