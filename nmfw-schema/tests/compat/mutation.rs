//! Changed `.proto` files, for comparisons with `buf breaking`.

use std::collections::HashMap;

use prost_types::field_descriptor_proto::Type;
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto,
};
use serde::{Deserialize, Serialize};

/// A replacement of text. Lines and columns count from 0; the end is not included.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Edit {
    pub(crate) from: (usize, usize),
    pub(crate) to: (usize, usize),
    pub(crate) text: String,
}

/// Applies edits; `None` if they overlap or are outside of the text.
pub(crate) fn apply(source: &str, edits: &[Edit]) -> Option<String> {
    let mut edits: Vec<_> = edits.iter().collect();
    edits.sort_by_key(|edit| edit.from);
    let mut result = String::new();
    let mut done = 0;
    for edit in edits {
        let (from, to) = (offset(source, edit.from)?, offset(source, edit.to)?);
        result.push_str(source.get(done..from)?);
        source.get(from..to)?;
        result.push_str(&edit.text);
        done = to;
    }
    result.push_str(source.get(done..)?);
    Some(result)
}

fn offset(source: &str, (line, column): (usize, usize)) -> Option<usize> {
    let start: usize = source.split_inclusive('\n').take(line).map(str::len).sum();
    let length = source.split_inclusive('\n').nth(line)?.len();
    (column <= length).then_some(start + column)
}

/// Numbers that look random: SplitMix64.
#[derive(Clone, Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) % bound as u64) as usize
    }

    fn one_of<'a, T: ?Sized>(&mut self, choices: &[&'a T]) -> &'a T {
        choices[self.below(choices.len())]
    }
}

/// Chooses changes of a file, from its descriptor with source locations.
pub(crate) struct Mutator<'a> {
    file: &'a FileDescriptorProto,
    source: &'a str,
    spans: HashMap<&'a [i32], &'a [i32]>,
    targets: Vec<Target<'a>>,
    /// Full names of messages and enums, with a leading dot.
    types: Vec<String>,
}

#[derive(Clone, Debug)]
enum Target<'a> {
    Package,
    Syntax,
    Message(Vec<i32>, &'a DescriptorProto),
    Field(Vec<i32>, &'a FieldDescriptorProto),
    Oneof(Vec<i32>),
    Enum(Vec<i32>, &'a EnumDescriptorProto),
    Value(Vec<i32>, i32, &'a str),
    Service(Vec<i32>),
    Method(Vec<i32>),
}

impl<'a> Mutator<'a> {
    pub(crate) fn new(file: &'a FileDescriptorProto, source: &'a str) -> Self {
        let mut spans = HashMap::new();
        for location in file.source_code_info.iter().flat_map(|info| &info.location) {
            spans
                .entry(location.path.as_slice())
                .or_insert(location.span.as_slice());
        }
        let mut mutator = Self {
            file,
            source,
            spans,
            targets: vec![Target::Package, Target::Syntax],
            types: Vec::new(),
        };
        let package = match file.package() {
            "" => String::new(),
            package => format!(".{package}"),
        };
        for (index, message) in (0..).zip(&file.message_type) {
            mutator.add_message(vec![4, index], message, &package);
        }
        for (index, found) in (0..).zip(&file.enum_type) {
            mutator.add_enum(vec![5, index], found, &package);
        }
        for (index, extension) in (0..).zip(&file.extension) {
            mutator
                .targets
                .push(Target::Field(vec![7, index], extension));
        }
        for (index, service) in (0..).zip(&file.service) {
            mutator.targets.push(Target::Service(vec![6, index]));
            for (method, _) in (0..).zip(&service.method) {
                mutator
                    .targets
                    .push(Target::Method(vec![6, index, 2, method]));
            }
        }
        mutator
    }

    fn add_message(&mut self, path: Vec<i32>, message: &'a DescriptorProto, scope: &str) {
        if message
            .options
            .as_ref()
            .is_some_and(prost_types::MessageOptions::map_entry)
        {
            return;
        }
        let name = format!("{scope}.{}", message.name());
        for (index, field) in (0..).zip(&message.field) {
            self.targets
                .push(Target::Field(join(&path, &[2, index]), field));
        }
        for (index, nested) in (0..).zip(&message.nested_type) {
            self.add_message(join(&path, &[3, index]), nested, &name);
        }
        for (index, found) in (0..).zip(&message.enum_type) {
            self.add_enum(join(&path, &[4, index]), found, &name);
        }
        for (index, _) in (0..).zip(&message.oneof_decl) {
            self.targets.push(Target::Oneof(join(&path, &[8, index])));
        }
        self.targets.push(Target::Message(path, message));
        self.types.push(name);
    }

    fn add_enum(&mut self, path: Vec<i32>, found: &'a EnumDescriptorProto, scope: &str) {
        for (index, value) in (0..).zip(&found.value) {
            self.targets.push(Target::Value(
                join(&path, &[2, index]),
                value.number(),
                value.name(),
            ));
        }
        self.targets.push(Target::Enum(path, found));
        self.types.push(format!("{scope}.{}", found.name()));
    }

    /// Returns one to four edits, which need not give a valid file.
    pub(crate) fn mutate(&self, random: &mut Random) -> Vec<Edit> {
        let count = 1 + random.below(4);
        (0..count).filter_map(|_| self.edit(random)).collect()
    }

    fn edit(&self, random: &mut Random) -> Option<Edit> {
        match &self.targets[random.below(self.targets.len())] {
            Target::Package => self.replace(&[2], "package changed.v2;"),
            Target::Syntax => {
                let other = if self.file.syntax() == "proto3" {
                    "proto2"
                } else {
                    "proto3"
                };
                self.replace(&[12], &format!("syntax = \"{other}\";"))
            }
            Target::Message(path, message) => self.edit_message(path, message, random),
            Target::Field(path, field) => self.edit_field(path, field, random),
            Target::Oneof(path) => self.replace(&join(path, &[1]), "moved"),
            Target::Enum(path, found) => self.edit_enum(path, found, random),
            Target::Value(path, number, name) => match random.below(5) {
                0 => self.replace(path, ""),
                1 => self.replace(path, &format!("reserved {number};")),
                2 => self.replace(path, &format!("reserved {number}; reserved \"{name}\";")),
                3 => self.replace(&join(path, &[1]), &format!("{name}_RENAMED")),
                _ => self.replace(&join(path, &[2]), &(40 + random.below(9)).to_string()),
            },
            Target::Service(path) => match random.below(2) {
                0 => self.replace(path, ""),
                _ => self.replace(&join(path, &[1]), "Renamed"),
            },
            Target::Method(path) => self.edit_method(path, random),
        }
    }

    fn edit_message(
        &self,
        path: &[i32],
        message: &DescriptorProto,
        random: &mut Random,
    ) -> Option<Edit> {
        match random.below(5) {
            0 if !message.reserved_range.is_empty() => {
                let index = random.below(message.reserved_range.len());
                self.replace(&join(path, &[9, index as i32]), "90 to 95")
            }
            1 if !message.reserved_name.is_empty() => {
                let index = random.below(message.reserved_name.len());
                self.replace(&join(path, &[10, index as i32]), "\"other\"")
            }
            2 => self.insert_in_body(path, "reserved 901 to 905; reserved \"gone\";"),
            3 => self.insert_in_body(
                path,
                "message Added { int32 x = 1; } repeated Added added = 951;",
            ),
            _ => self.replace(&join(path, &[1]), "Renamed"),
        }
    }

    fn edit_enum(
        &self,
        path: &[i32],
        found: &EnumDescriptorProto,
        random: &mut Random,
    ) -> Option<Edit> {
        match random.below(3) {
            0 if !found.reserved_range.is_empty() => {
                let index = random.below(found.reserved_range.len());
                self.replace(&join(path, &[4, index as i32]), "90 to 95")
            }
            1 if !found.reserved_name.is_empty() => {
                let index = random.below(found.reserved_name.len());
                self.replace(&join(path, &[5, index as i32]), "\"OTHER\"")
            }
            _ => self.insert_in_body(path, "reserved 901 to 905; reserved \"GONE\";"),
        }
    }

    fn edit_field(
        &self,
        path: &[i32],
        field: &FieldDescriptorProto,
        random: &mut Random,
    ) -> Option<Edit> {
        const SCALARS: [&str; 15] = [
            "double", "float", "int32", "int64", "uint32", "uint64", "sint32", "sint64", "fixed32",
            "fixed64", "sfixed32", "sfixed64", "bool", "string", "bytes",
        ];
        let (number, name) = (field.number(), field.name());
        let of_type = if matches!(field.r#type(), Type::Message | Type::Enum | Type::Group) {
            6
        } else {
            5
        };
        let of_type = join(path, &[of_type]);
        match random.below(12) {
            0 => self.replace(path, ""),
            1 => self.replace(path, &format!("reserved {number};")),
            2 => self.replace(path, &format!("reserved {number}; reserved \"{name}\";")),
            3 | 4 => self.replace(&of_type, random.one_of(&SCALARS)),
            5 => {
                let name = self.types.get(random.below(self.types.len().max(1)))?;
                self.replace(&of_type, name)
            }
            6 => self.replace(&of_type, "map<string, int32>"),
            7 => self.replace(&join(path, &[1]), &format!("{name}_renamed")),
            8 => self.replace(&join(path, &[3]), &(1 + random.below(60)).to_string()),
            9 => match self.spans.get(join(path, &[4]).as_slice()) {
                Some(_) => {
                    let label = random.one_of(&["", "optional", "required", "repeated"]);
                    self.replace(&join(path, &[4]), label)
                }
                None => self.insert(&of_type, random.one_of(&["optional ", "repeated "])),
            },
            10 => self.insert_after(&join(path, &[3]), " [json_name = \"changed\"]"),
            _ => self.insert_after(
                &join(path, &[3]),
                random.one_of(&[" [default = 1]", " [default = \"x\"]", " [default = true]"]),
            ),
        }
    }

    fn edit_method(&self, path: &[i32], random: &mut Random) -> Option<Edit> {
        let part = |part| join(path, &[part]);
        match random.below(6) {
            0 => self.replace(path, ""),
            1 => self.replace(&part(1), "Renamed"),
            2 => {
                let name = self.types.get(random.below(self.types.len().max(1)))?;
                self.replace(&part(2 + random.below(2) as i32), name)
            }
            3 => self
                .replace(&part(5), "")
                .or_else(|| self.insert(&part(2), "stream ")),
            4 => self
                .replace(&part(6), "")
                .or_else(|| self.insert(&part(3), "stream ")),
            _ => {
                let body = " { option idempotency_level = IDEMPOTENT; }";
                let edit = self.replace(path, "")?;
                let before = (edit.to.0, edit.to.1.checked_sub(1)?);
                let end = offset(self.source, before)?;
                self.source.get(end..)?.starts_with(';').then(|| Edit {
                    from: before,
                    to: edit.to,
                    text: body.to_owned(),
                })
            }
        }
    }

    fn replace(&self, path: &[i32], text: &str) -> Option<Edit> {
        let span: Vec<usize> = self
            .spans
            .get(path)?
            .iter()
            .map(|number| usize::try_from(*number))
            .collect::<Result<_, _>>()
            .ok()?;
        let (from, to) = match span.as_slice() {
            [line, column, end] => ((*line, *column), (*line, *end)),
            [line, column, last, end] => ((*line, *column), (*last, *end)),
            _ => return None,
        };
        Some(Edit {
            from,
            to,
            text: text.to_owned(),
        })
    }

    fn insert(&self, path: &[i32], text: &str) -> Option<Edit> {
        let edit = self.replace(path, text)?;
        Some(Edit {
            to: edit.from,
            ..edit
        })
    }

    fn insert_after(&self, path: &[i32], text: &str) -> Option<Edit> {
        let edit = self.replace(path, text)?;
        Some(Edit {
            from: edit.to,
            ..edit
        })
    }

    /// Inserts text after the first brace of a message or enum.
    fn insert_in_body(&self, path: &[i32], text: &str) -> Option<Edit> {
        let edit = self.replace(path, text)?;
        let line = self.source.split('\n').nth(edit.from.0)?;
        let column = edit.from.1 + line.get(edit.from.1..)?.find('{')? + 1;
        let at = (edit.from.0, column);
        Some(Edit {
            from: at,
            to: at,
            ..edit
        })
    }
}

fn join(path: &[i32], end: &[i32]) -> Vec<i32> {
    [path, end].concat()
}
