//! Rewrites what protoc takes and protox-parse does not, into source that means the same to both.
//!
//! `docs/upstream.md` has the faults. Lines stay where they are, and [`Rewritten`] maps columns back, so that positions
//! in errors, comments and descriptor sets are those of the author's source.

use std::borrow::Cow;

use prost_types::FileDescriptorProto;

use super::tokens::{Kind, Token, tokens};

/// The largest number of a field. Only the extensions of a message set go beyond.
const MAX_FIELD: u64 = 536_870_911;

/// Source for the parser.
#[derive(Debug)]
pub(crate) struct Rewritten<'a> {
    pub(crate) source: Cow<'a, str>,
    /// The edition in quotes, such as `2023`, where there is one instead of a syntax.
    pub(crate) edition: Option<Edition<'a>>,
    insertions: Insertions,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Edition<'a> {
    pub(crate) name: &'a str,
    pub(crate) start: usize,
    pub(crate) length: usize,
}

/// Text that was put in, by its offset in the author's source.
#[derive(Debug, Clone, Default)]
pub(crate) struct Insertions(Vec<(usize, String)>);

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
    insertions.sort_by_key(|(at, _)| *at);
    let mut out = match bytes {
        Cow::Borrowed(_) => Cow::Borrowed(source),
        // Only ASCII was overwritten, and with ASCII.
        Cow::Owned(bytes) => {
            Cow::Owned(String::from_utf8(bytes).unwrap_or_else(|_| source.to_owned()))
        }
    };
    for (at, text) in insertions.iter().rev() {
        out.to_mut().insert_str(*at, text);
    }
    Rewritten {
        source: out,
        edition,
        insertions: Insertions(insertions),
    }
}

impl Insertions {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The offset in the author's source of an offset in the rewritten one.
    pub(crate) fn original(&self, offset: usize) -> usize {
        let mut shift = 0;
        for (at, text) in &self.0 {
            if offset <= at + shift {
                break;
            }
            if offset < at + shift + text.len() {
                return *at;
            }
            shift += text.len();
        }
        offset - shift
    }
}

impl Rewritten<'_> {
    pub(crate) fn insertions(&self) -> &Insertions {
        &self.insertions
    }

    /// Turns the positions in a file that was parsed from this source into those of the author's source.
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

/// What a block holds.
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
            // A brace that comes before the semicolon ends the block, too.
            let ends_block = self.tokens.get(end).is_some_and(|token| token.is("}"));
            at = if ends_block { end } else { end + 1 };
        }
    }

    /// Takes out `edition = "2023";`, since the parser knows files without a syntax, which are proto2.
    ///
    /// Returns the index of the first token behind it.
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

    /// The index of the `;` that ends a statement, of the `{` that begins its block, or of a `}` that comes too early.
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
        at
    }

    /// The index of the `}` that ends the value of an option.
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

    /// Rewrites the tokens from `start` up to `end`. Returns what its block holds, if it begins one.
    fn statement(&mut self, block: Block, start: usize, end: usize) -> Option<Block> {
        let begins_block = self.tokens.get(end).is_some_and(|token| token.is("{"));
        let start = self.visibility(start, end);
        self.negative_constants(start, end);
        let statement = self.tokens.get(start..end)?;
        let (first, second) = (statement.first()?, statement.get(1));
        let is_definition = begins_block && second.is_some_and(|name| name.kind == Kind::Word);
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
            // A name that begins with a dot.
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

    /// Takes out the visibility of edition 2024, which is of no meaning to Rust. Returns the index behind it.
    fn visibility(&mut self, start: usize, end: usize) -> usize {
        let [first, second, third, ..] = self.tokens[start..end] else {
            return start;
        };
        let hidden = (first.is("export") || first.is("local"))
            && (second.is("message") || second.is("enum"))
            && third.kind == Kind::Word;
        // An import for options only: what it may be used for is narrower, and that is all.
        let option = first.is("import") && second.is("option") && third.kind == Kind::Text;
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

    /// Writes `-inf` as a number that is too large for a float, and `-nan` as `nan`, which has no sign in Protobuf.
    ///
    /// Not in values in braces: the parser leaves those to another one.
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

    /// Writes ` to N` behind a single number that options follow, and `max` for the numbers of message sets.
    fn extension_ranges(&mut self, start: usize, end: usize) {
        for at in start + 1..end {
            let [before, token] = [at - 1, at].map(|at| self.tokens[at]);
            if token.is("[") {
                if before.kind == Kind::Number && !self.tokens[at - 2].is("to") {
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

    /// Puts reserved names in quotes, as files with a syntax have them.
    fn reserved_names(&mut self, start: usize, end: usize) {
        for at in start + 1..end {
            let [before, token] = [at - 1, at].map(|at| self.tokens[at]);
            // Not `to` and `max` of ranges.
            if token.kind == Kind::Word && (before.is("reserved") || before.is(",")) {
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
            // An item of a message set. Code is the same without: no code is generated for extensions.
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

    /// Overwrites a part by spaces. Lines stay.
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
