//! [`Parties`]: the words for the programs that a change breaks.

/// The sides of calls on which a type is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Parties {
    request: bool,
    response: bool,
}

impl Parties {
    pub(super) const REQUEST: Self = Self {
        request: true,
        response: false,
    };
    pub(super) const RESPONSE: Self = Self {
        request: false,
        response: true,
    };

    pub(super) const fn and(self, other: Self) -> Self {
        Self {
            request: self.request || other.request,
            response: self.response || other.response,
        }
    }

    const fn in_calls(self) -> bool {
        self.request || self.response
    }

    /// Returns the name of programs with the old schema.
    pub(super) const fn old(self) -> &'static str {
        if self.in_calls() {
            "old clients"
        } else {
            "programs with the old schema"
        }
    }

    /// Returns the words for data that cannot be decoded.
    pub(super) const fn fail(self) -> &'static str {
        if self.in_calls() {
            "calls fail to decode"
        } else {
            "it fails to decode"
        }
    }

    /// Returns a sentence in which each side handles its own form of the same bytes.
    pub(super) fn clash(self, old: &str, new: &str) -> String {
        match (self.request, self.response) {
            (true, false) => format!("old clients send {old} where new services read {new}"),
            (false, true) => format!("new services send {new} where old clients read {old}"),
            (true, true) => format!(
                "old clients send {old} where new services read {new}, and the reverse in answers"
            ),
            (false, false) => {
                format!("data of the old schema has {old} where the new schema reads {new}")
            }
        }
    }

    /// Returns a sentence about a field that moved into a oneof, or out of it.
    pub(super) fn keep_the_last(self, is_into: bool) -> String {
        let (writers, readers) = match (self.in_calls(), is_into) {
            (true, true) if self.request => ("old clients", "new services"),
            (true, true) => ("old services", "new clients"),
            (true, false) if self.response => ("new services", "old clients"),
            (true, false) => ("new clients", "old services"),
            (false, true) => ("programs with the old schema", "those with the new one"),
            (false, false) => ("programs with the new schema", "those with the old one"),
        };
        format!(
            "{writers} may send it beside other fields of the oneof, and {readers} keep only the last"
        )
    }

    /// Returns a sentence about readers of the new schema that require what the old one leaves out.
    pub(super) fn new_requires(self, field: &str) -> String {
        match (self.request, self.response) {
            (true, false) => format!("new services refuse requests of old clients without {field}"),
            (false, true) => format!("new clients refuse answers of old services without {field}"),
            (true, true) => format!(
                "new services refuse requests of old clients without {field}, and new clients such answers of old services"
            ),
            (false, false) => format!("data of the old schema without {field} is refused"),
        }
    }

    /// Returns a sentence about readers of the old schema that require what the new one leaves out.
    pub(super) fn old_requires(self, field: &str) -> String {
        match (self.request, self.response) {
            (true, false) => format!("old services refuse requests of new clients without {field}"),
            (false, true) => format!("old clients refuse answers of new services without {field}"),
            (true, true) => format!(
                "old clients refuse answers of new services without {field}, and old services such requests of new clients"
            ),
            (false, false) => {
                format!("programs with the old schema refuse data without {field}")
            }
        }
    }

    /// Returns a sentence about a key or name in JSON that only the old schema knows.
    pub(super) fn unknown_in_json(self, thing: &str) -> String {
        match (self.request, self.response) {
            (true, false) => format!("new services refuse JSON of old clients with {thing}"),
            (false, true) => format!("old clients miss {thing} in JSON of new services"),
            (true, true) => format!(
                "new services refuse JSON of old clients with {thing}, and old clients miss it in JSON of new services"
            ),
            (false, false) => format!("JSON of the old schema with {thing} is refused"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Parties;

    #[test]
    fn the_reader_and_the_writer_depend_on_the_side_of_the_call() {
        let both = Parties::REQUEST.and(Parties::RESPONSE);
        assert_eq!(
            Parties::REQUEST.clash("a string", "an int32"),
            "old clients send a string where new services read an int32"
        );
        assert_eq!(
            Parties::RESPONSE.clash("a string", "an int32"),
            "new services send an int32 where old clients read a string"
        );
        assert!(
            both.clash("a string", "an int32")
                .ends_with(", and the reverse in answers")
        );
        assert!(
            Parties::default()
                .clash("a string", "an int32")
                .starts_with("data of ")
        );
    }
}
