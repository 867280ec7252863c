//! Primitives of packets and frames: varints and length-delimited fields.

/// One more than the largest number on the wire. Two numbers below 2^63 can be added in a `u64`.
pub const NUMBER_LIMIT: u64 = 1 << 63;

/// Maximum length of a number below 2^63 in groups of 7 bits.
pub const MAX_VARINT_LEN: usize = 9;

/// An error for invalid bytes, with a text for the peer's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub &'static str);

/// Appends a number, least significant group first; the high bit marks that more groups follow.
#[inline]
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    debug_assert!(
        value < NUMBER_LIMIT,
        "{value} exceeds the largest number on the wire"
    );
    while value >= 0x80 {
        // The cast keeps the low seven bits, below the added high bit.
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Returns the number of bytes that [`put_varint`] appends.
#[inline]
pub const fn varint_len(value: u64) -> usize {
    let bits = (u64::BITS - value.leading_zeros()) as usize;
    // The bits divided by 7, rounded up, and 1 for no bits, without a division.
    (9 * bits + 64) / 64
}

/// Appends bytes with a length prefix.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Returns the number of bytes that [`put_bytes`] appends.
#[inline]
pub const fn bytes_len(len: usize) -> usize {
    varint_len(len as u64) + len
}

/// Appends an optional field: its id, the length of the output of `write`, and the output.
pub fn put_field(out: &mut Vec<u8>, id: u64, write: impl FnOnce(&mut Vec<u8>)) {
    let mut value = Vec::new();
    write(&mut value);
    put_bytes_field(out, id, &value);
}

/// Appends an optional field of existing bytes.
pub fn put_bytes_field(out: &mut Vec<u8>, id: u64, value: &[u8]) {
    put_varint(out, id);
    put_bytes(out, value);
}

/// Reads from the front of a slice; the results borrow from it.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    #[inline]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub fn u8(&mut self) -> Result<u8, Malformed> {
        let (&first, rest) = self.rest.split_first().ok_or(Malformed("cut short"))?;
        self.rest = rest;
        Ok(first)
    }

    /// Accepts only the shortest form of a number, so that equal frames have equal bytes.
    #[inline]
    pub fn varint(&mut self) -> Result<u64, Malformed> {
        // Most numbers are small.
        match self.rest.split_first() {
            Some((&byte, rest)) if byte < 0x80 => {
                self.rest = rest;
                Ok(u64::from(byte))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for i in 0..MAX_VARINT_LEN {
            let byte = self.u8()?;
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte & 0x80 == 0 {
                return if byte == 0 && i > 0 {
                    Err(Malformed("a number is longer than it needs to be"))
                } else {
                    Ok(value)
                };
            }
        }
        Err(Malformed("a number is too large"))
    }

    #[inline]
    pub fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let len = self.varint()?;
        let (bytes, rest) = usize::try_from(len)
            .ok()
            .and_then(|len| self.rest.split_at_checked(len))
            .ok_or(Malformed("a length reaches past the end"))?;
        self.rest = rest;
        Ok(bytes)
    }

    pub fn str(&mut self) -> Result<&'a str, Malformed> {
        utf8(self.bytes()?)
    }

    /// Returns the next optional field. Ids ascend, so no field can occur twice.
    pub fn field(&mut self, last: &mut u64) -> Result<Option<(u64, Reader<'a>)>, Malformed> {
        if self.is_empty() {
            return Ok(None);
        }
        let id = self.varint()?;
        if id <= *last {
            return Err(Malformed("fields are not in ascending order"));
        }
        *last = id;
        Ok(Some((id, Reader::new(self.bytes()?))))
    }
}

pub fn utf8(bytes: &[u8]) -> Result<&str, Malformed> {
    std::str::from_utf8(bytes).map_err(|_| Malformed("a text is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_as_the_specification_writes_them() {
        for (value, bytes) in [
            (0, &[0][..]),
            (1, &[1]),
            (127, &[0x7f]),
            (128, &[0x80, 0x01]),
            (300, &[0xac, 0x02]),
            (
                NUMBER_LIMIT - 1,
                &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
            ),
        ] {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            assert_eq!(&out[..], bytes, "{value}");
            assert_eq!(varint_len(value), bytes.len(), "{value}");
            assert_eq!(Reader::new(bytes).varint(), Ok(value));
        }
    }

    #[test]
    fn numbers_that_are_not_taken() {
        for bytes in [
            &[][..],
            &[0x80],
            &[0x80, 0x00],
            &[0xff, 0x80, 0x00],
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
        ] {
            assert!(Reader::new(bytes).varint().is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn fields_ascend() {
        let read = |bytes| {
            let mut reader = Reader::new(bytes);
            let mut last = 0;
            while reader.field(&mut last)?.is_some() {}
            Ok::<_, Malformed>(last)
        };
        assert_eq!(read(&[1, 0, 3, 1, 9]), Ok(3));
        for bytes in [&[0, 0][..], &[1, 0, 1, 0], &[3, 0, 1, 0], &[1], &[1, 2, 0]] {
            assert!(read(bytes).is_err(), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn numbers_round_trip(value in 0..NUMBER_LIMIT) {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            prop_assert_eq!(out.len(), varint_len(value));
            let mut reader = Reader::new(&out);
            prop_assert_eq!(reader.varint(), Ok(value));
            prop_assert!(reader.is_empty());
        }
    }
}
