//! Rewrites syntax that protoc accepts and protox-parse refuses into source with the same meaning for both.
//!
//! `docs/upstream.md` describes these differences. Line numbers do not change, and [`Rewritten`]
//! maps columns back, so that positions in errors, comments and descriptor sets refer to the
//! author's source.

use std::borrow::Cow;

use prost_types::FileDescriptorProto;

use super::tokens::{Token, TokenKind, tokens};

/// The largest field number outside of message sets.
const MAX_FIELD: u64 = 536_870_911;

/// Source for the parser.
#[derive(Debug)]
pub(crate) struct Rewritten<'a> {
    pub(crate) source: Cow<'a, str>,
    /// The quoted edition, such as `2023`, if the file has one instead of a syntax.
    pub(crate) edition: Option<Edition<'a>>,
    insertions: Insertions,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Edition<'a> {
    pub(crate) name: &'a str,
    pub(crate) start: usize,
    pub(crate) length: usize,
}

/// The positions of inserted text.
#[derive(Debug, Clone, Default)]
pub(crate) struct Insertions(Vec<Insertion>);

#[derive(Debug, Clone, Copy)]
struct Insertion {
    /// The offset in the author's source.
    original: usize,
    /// The offset in the rewritten source.
    start: usize,
    length: usize,
}

/// Rewrites a file. Most files are returned as they are.
pub(crate) fn rewrite(source: &str) -> Rewritten<'_> {
    let mut rewriter = Rewriter {
        tokens: tokens(source),
        bytes: Cow::Borrowed(source.as_bytes()),
        insertions: Vec::new(),
        edition: None,
    };
    rewriter.file();
    let Rewriter {
        bytes,
        mut insertions,
        edition,
        ..
    } = rewriter;
    let out = match bytes {
        Cow::Borrowed(_) => Cow::Borrowed(source),
        // Only ASCII bytes were overwritten, with ASCII.
        Cow::Owned(bytes) => {
            Cow::Owned(String::from_utf8(bytes).unwrap_or_else(|_| source.to_owned()))
        }
    };
    insertions.sort_by_key(|(at, _)| *at);
    let (source, insertions) = Insertions::put_into(out, &insertions);
    Rewritten {
        source,
        edition,
        insertions,
    }
}

impl Insertions {
    /// Inserts texts, which are sorted by their offsets.
    fn put_into<'a>(source: Cow<'a, str>, texts: &[(usize, String)]) -> (Cow<'a, str>, Self) {
        if texts.is_empty() {
            return (source, Self::default());
        }
        let mut out = String::with_capacity(source.len() + texts.len() * "optional ".len());
        let mut insertions = Vec::with_capacity(texts.len());
        let mut taken = 0;
        for (at, text) in texts {
            out.push_str(&source[taken..*at]);
            taken = *at;
            insertions.push(Insertion {
                original: *at,
                start: out.len(),
                length: text.len(),
            });
            out.push_str(text);
        }
        out.push_str(&source[taken..]);
        (Cow::Owned(out), Self(insertions))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the offset in the author's source for an offset in the rewritten source.
    pub(crate) fn original(&self, offset: usize) -> usize {
        let before = self.0.partition_point(|insertion| insertion.start < offset);
        match before.checked_sub(1).and_then(|last| self.0.get(last)) {
            Some(last) => last.original + offset.saturating_sub(last.start + last.length),
            None => offset,
        }
    }
}

impl Rewritten<'_> {
    pub(crate) fn insertions(&self) -> &Insertions {
        &self.insertions
    }

    /// Converts the positions in a file that was parsed from this source to positions in the
    /// author's source.
    pub(crate) fn restore_positions(&self, file: &mut FileDescriptorProto) {
        if self.insertions.is_empty() {
            return;
        }
        let starts: Vec<usize> = std::iter::once(0)
            .chain(self.source.match_indices('\n').map(|(at, _)| at + 1))
            .collect();
        let original = |line: i32, column: i32| -> i32 {
            let found = usize::try_from(line).ok().and_then(|line| starts.get(line));
            let (Some(start), Ok(offset)) = (found, usize::try_from(column)) else {
                return column;
            };
            let moved = self.insertions.original(start + offset) - self.insertions.original(*start);
            i32::try_from(moved).unwrap_or(column)
        };
        let locations = file.source_code_info.iter_mut();
        for location in locations.flat_map(|info| &mut info.location) {
            match location.span.as_mut_slice() {
                [line, start, end] => {
                    *start = original(*line, *start);
                    *end = original(*line, *end);
                }
                [line, start, last, end] => {
                    *start = original(*line, *start);
                    *end = original(*last, *end);
                }
                _ => {}
            }
        }
    }
}

/// The kinds of blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Block {
    File,
    Message,
    Oneof,
    Extend,
    /// An enum, a service or a method.
    Other,
}

struct Rewriter<'a> {
    tokens: Vec<Token<'a>>,
    bytes: Cow<'a, [u8]>,
    insertions: Vec<(usize, String)>,
    edition: Option<Edition<'a>>,
}

impl<'a> Rewriter<'a> {
    fn file(&mut self) {
        let mut blocks = vec![Block::File];
        let mut at = self.edition_statement();
        while let (Some(token), Some(block)) =
            (self.tokens.get(at).copied(), blocks.last().copied())
        {
            if token.is("}") {
                if blocks.len() > 1 {
                    blocks.pop();
                }
                at += 1;
                continue;
            }
            let end = self.statement_end(at);
            if let Some(inner) = self.statement(block, at, end) {
                blocks.push(inner);
            }
            // A brace before the semicolon also ends the block.
            let ends_block = self.tokens.get(end).is_some_and(|token| token.is("}"));
            at = if ends_block { end } else { end + 1 };
        }
    }

    /// Blanks `edition = "2023";`, because a file without a syntax is proto2 for the parser.
    ///
    /// Returns the index of the first token after it.
    fn edition_statement(&mut self) -> usize {
        let [word, equals, value, end, ..] = self.tokens[..] else {
            return 0;
        };
        let Some(name) = value
            .unquoted()
            .filter(|_| word.is("edition") && equals.is("="))
        else {
            return 0;
        };
        if !end.is(";") {
            return 0;
        }
        self.edition = Some(Edition {
            name,
            start: word.start,
            length: end.end() - word.start,
        });
        self.blank(word.start, end.end());
        4
    }

    /// Returns the index of the `;` that ends a statement, of the `{` that begins its block, or of a `}` that comes too early.
    fn statement_end(&self, start: usize) -> usize {
        let mut at = start;
        let mut in_list = 0_usize;
        while let Some(token) = self.tokens.get(at) {
            if token.is("[") {
                in_list += 1;
            } else if token.is("]") {
                in_list = in_list.saturating_sub(1);
            } else if token.is("{") {
                let is_value = at > start && self.tokens[at - 1].is("=");
                if in_list == 0 && !is_value {
                    return at;
                }
                at = self.value_end(at);
            } else if in_list == 0 && (token.is(";") || token.is("}")) {
                return at;
            }
            at += 1;
        }
        at.min(self.tokens.len())
    }

    /// Returns the index of the `}` that ends the value of an option.
    fn value_end(&self, start: usize) -> usize {
        let mut depth = 0_usize;
        for (at, token) in self.tokens.iter().enumerate().skip(start) {
            if token.is("{") {
                depth += 1;
            } else if token.is("}") {
                depth -= 1;
                if depth == 0 {
                    return at;
                }
            }
        }
        self.tokens.len()
    }

    /// Rewrites the tokens from `start` up to `end`. Returns the kind of its block, if it begins one.
    fn statement(&mut self, block: Block, start: usize, end: usize) -> Option<Block> {
        let begins_block = self.tokens.get(end).is_some_and(|token| token.is("{"));
        let start = self.visibility(start, end);
        self.negative_constants(start, end);
        let statement = self.tokens.get(start..end)?;
        let (first, second) = (statement.first()?, statement.get(1));
        let is_definition = begins_block && second.is_some_and(|name| name.kind == TokenKind::Word);
        if is_definition {
            let inner = match first.text {
                "message" => Some(Block::Message),
                "oneof" => Some(Block::Oneof),
                "extend" => Some(Block::Extend),
                "enum" | "service" | "rpc" => Some(Block::Other),
                _ => None,
            };
            if inner.is_some() && statement.iter().all(|token| !token.is("=")) {
                return inner;
            }
        } else if begins_block && first.is("extend") {
            // A name with a leading dot.
            return Some(Block::Extend);
        }
        match first.text {
            "option" | "import" | "package" | "syntax" => {}
            "extensions" if block == Block::Message => self.extension_ranges(start, end),
            "reserved" if self.edition.is_some() => self.reserved_names(start, end),
            _ if matches!(block, Block::Message | Block::Extend | Block::Oneof) => {
                self.field(block, start, end);
            }
            _ => {}
        }
        // The block of a group is a message.
        begins_block.then_some(if block == Block::Other {
            Block::Other
        } else {
            Block::Message
        })
    }

    /// Blanks the visibility of edition 2024, which has no meaning for Rust. Returns the index
    /// after it.
    fn visibility(&mut self, start: usize, end: usize) -> usize {
        let [first, second, third, ..] = self.tokens[start..end] else {
            return start;
        };
        let hidden = (first.is("export") || first.is("local"))
            && (second.is("message") || second.is("enum"))
            && third.kind == TokenKind::Word;
        // An import for options is treated like any other.
        let option = first.is("import") && second.is("option") && third.kind == TokenKind::Text;
        if self.edition.is_none() || !(hidden || option) {
            return start;
        }
        if hidden {
            self.blank(first.start, first.end());
            start + 1
        } else {
            self.blank(second.start, second.end());
            start
        }
    }

    /// Writes `-inf` as a number that is too large for a float, and `-nan` as `nan`, which has no
    /// sign in Protobuf.
    ///
    /// Values in braces are not changed, because the parser does not interpret them.
    fn negative_constants(&mut self, start: usize, end: usize) {
        let mut at = start;
        while at + 2 < end {
            if self.tokens[at + 1].is("{") {
                at = self.value_end(at + 1);
                continue;
            }
            let [equals, minus, word] = [at, at + 1, at + 2].map(|at| self.tokens[at]);
            if equals.is("=") && minus.is("-") {
                if word.is("inf") {
                    self.overwrite(word.start, b"1e9");
                    self.insert(word.end(), "99");
                } else if word.is("nan") {
                    self.blank(minus.start, minus.end());
                }
            }
            at += 1;
        }
    }

    /// Inserts ` to N` after a single number that is followed by options, and `max` for the numbers
    /// of message sets.
    fn extension_ranges(&mut self, start: usize, end: usize) {
        for at in start + 1..end {
            let [before, token] = [at - 1, at].map(|at| self.tokens[at]);
            if token.is("[") {
                if before.kind == TokenKind::Number && !self.tokens[at - 2].is("to") {
                    self.insert(before.end(), format!(" to {}", before.text));
                }
                return;
            }
            if token.integer().is_some_and(|number| number > MAX_FIELD) && before.is("to") {
                self.blank(token.start, token.end());
                self.overwrite(token.start, b"max");
            }
        }
    }

    /// Quotes reserved names, as in files with a syntax.
    fn reserved_names(&mut self, start: usize, end: usize) {
        for at in start + 1..end {
            let [before, token] = [at - 1, at].map(|at| self.tokens[at]);
            // Not `to` and `max` of ranges.
            if token.kind == TokenKind::Word && (before.is("reserved") || before.is(",")) {
                self.insert(token.start, "\"");
                self.insert(token.end(), "\"");
            }
        }
    }

    fn field(&mut self, block: Block, start: usize, end: usize) {
        let statement = &self.tokens[start..end];
        let equals = statement.iter().position(|token| token.is("="));
        let Some((first, equals)) = statement.first().copied().zip(equals) else {
            return;
        };
        let number = statement.get(equals + 1).and_then(Token::integer);
        let last = self.tokens.get(end).copied();
        if let (Block::Extend, Some(last)) = (block, last.filter(|token| token.is(";")))
            && number.is_some_and(|number| number > MAX_FIELD)
        {
            // Items of message sets are blanked. No code is generated for extensions.
            self.blank(first.start, last.end());
            return;
        }
        let has_label = ["optional", "required", "repeated"]
            .iter()
            .any(|label| first.is(label));
        let is_map = first.is("map") && statement.get(1).is_some_and(|token| token.is("<"));
        if self.edition.is_some() && block != Block::Oneof && !has_label && !is_map {
            self.insert(first.start, "optional ");
        }
    }

    fn insert(&mut self, at: usize, text: impl Into<String>) {
        self.insertions.push((at, text.into()));
    }

    /// Overwrites a part with spaces, keeping line breaks.
    fn blank(&mut self, from: usize, to: usize) {
        for byte in &mut self.bytes.to_mut()[from..to] {
            if !matches!(byte, b'\n' | b'\r') {
                *byte = b' ';
            }
        }
    }

    fn overwrite(&mut self, at: usize, text: &[u8]) {
        self.bytes.to_mut()[at..at + text.len()].copy_from_slice(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_parser_refuses_is_rewritten() {
        for (source, expected) in [
            ("syntax = \"proto3\"; message A { int32 a = 1; }", None),
            (
                "message A { extensions 1, 3; extensions 4 to max [verification = UNVERIFIED]; }",
                None,
            ),
            (
                "message A { extensions 1, 3 [verification = UNVERIFIED]; }",
                Some("message A { extensions 1, 3 to 3 [verification = UNVERIFIED]; }"),
            ),
            (
                "message A { extensions 4 to 2147483646; }",
                Some("message A { extensions 4 to max       ; }"),
            ),
            (
                "message A { extend B { optional A a = 536870912; optional A b = 5; } }",
                Some("message A { extend B {                           optional A b = 5; } }"),
            ),
            (
                "option (a) = -inf; option (b) = { c: -inf }; option (d) = -nan; option (e) = -1;",
                Some(
                    "option (a) = -1e999; option (b) = { c: -inf }; option (d) =  nan; option (e) = -1;",
                ),
            ),
            (
                "// edition\nedition = '2023'; message A { b c = 1; repeated d e = 2; map<f, g> h = 3; oneof i { j k = 4; } }",
                Some(
                    "// edition\n                  message A { optional b c = 1; repeated d e = 2; map<f, g> h = 3; oneof i { j k = 4; } }",
                ),
            ),
            (
                "edition = '2023'; message A { reserved a, b; reserved 1 to max; enum C { reserved d; E = 0; } extend .F { g h = 1; } }",
                Some(
                    "                  message A { reserved \"a\", \"b\"; reserved 1 to max; enum C { reserved \"d\"; E = 0; } extend .F { optional g h = 1; } }",
                ),
            ),
            (
                "edition = '2024'; import option 'a'; export message A { local enum B { C = 0; } local.D d = 1; export e = 2; }",
                Some(
                    "                  import        'a';        message A {       enum B { C = 0; } optional local.D d = 1; optional export e = 2; }",
                ),
            ),
            (
                "message A { optional group B = 1 { required int32 edition = 2; } }",
                None,
            ),
        ] {
            let rewritten = rewrite(source);
            assert_eq!(rewritten.source, expected.unwrap_or(source), "for {source}");
        }
    }

    #[test]
    fn offsets_lead_back() {
        let source = "edition = \"2023\"; message A { string a = 1; string b = 2; extensions 5 [x = -inf]; }";
        let rewritten = rewrite(source);
        for word in ["string a", "string b", "[x", "]"] {
            let found = rewritten
                .source
                .find(word)
                .map(|at| rewritten.insertions().original(at));
            assert_eq!(found, source.find(word), "for {word}");
        }
        let label = rewritten
            .source
            .find("optional string b")
            .map(|at| rewritten.insertions().original(at));
        assert_eq!(label, source.find("string b"));
        let end = rewritten.insertions().original(rewritten.source.len());
        assert_eq!(end, source.len());
    }

    #[test]
    fn no_source_is_too_broken() {
        let source = "edition = \"2024\"; import option \"a\"; local message A { string a = -inf [x = { y: -nan }]; extensions 1, 2 [z = {}]; reserved b; map<c, d> e = 3; extend .F { g h = 999999999; } group I = 4 { } }\nservice J { rpc K(stream L) returns (M) { option (n) = -inf; } }";
        for start in 0..source.len() {
            for end in (start..source.len()).step_by(7) {
                let part = &source[start..end];
                let rewritten = rewrite(part);
                let back = rewritten.insertions().original(rewritten.source.len());
                assert_eq!(back, part.len(), "for {part}");
            }
        }
    }
}
