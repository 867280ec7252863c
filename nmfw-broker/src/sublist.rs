//! [`Sublist`]: matches subjects with subscriptions.
//!
//! Patterns are stored in one hash map under their own text. A subject finds its literal entry with
//! one look-up, and wildcard patterns with one look-up per *shape* in use. A shape is the number of
//! tokens and the positions of wildcards. It determines the only text that a matching pattern of
//! that shape can have. Servers see thousands of patterns but few shapes (`_INBOX.x.*`, `svc.>`),
//! so this is about as fast as a trie, and needs neither recursion nor pruning, whatever the depth
//! of a peer's subjects.

use std::collections::HashMap;
use std::sync::Arc;

/// The subscriptions of one pattern.
#[derive(Debug)]
pub(crate) struct Entry<T> {
    /// Subscriptions that each get every message.
    pub(crate) plain: Vec<Arc<T>>,
    /// Queue groups, each of which gets one message. No group is empty.
    pub(crate) groups: Vec<Group<T>>,
}

/// The members of a queue group on one pattern.
#[derive(Debug)]
pub(crate) struct Group<T> {
    pub(crate) name: Box<[u8]>,
    pub(crate) members: Vec<Arc<T>>,
}

impl<T> Default for Entry<T> {
    fn default() -> Self {
        Self {
            plain: Vec::new(),
            groups: Vec::new(),
        }
    }
}

/// The wildcard positions of a pattern.
#[derive(Debug, PartialEq, Eq)]
struct Shape {
    /// Number of tokens, not counting a final `>`.
    tokens: usize,
    /// Positions of `*`, ascending.
    stars: Box<[usize]>,
    /// Whether a final `>` follows, which matches one or more tokens.
    tail: bool,
}

/// An error: the pattern is not valid for a subscription.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct InvalidSubject;

/// All subscriptions, by pattern.
#[derive(Debug)]
pub(crate) struct Sublist<T> {
    /// Invariant: no entry is empty.
    entries: HashMap<Box<[u8]>, Entry<T>>,
    /// The shapes of the wildcard patterns in `entries`, each with its number of patterns.
    shapes: Vec<(Shape, usize)>,
}

impl<T> Default for Sublist<T> {
    fn default() -> Self {
        Self {
            entries: HashMap::new(),
            shapes: Vec::new(),
        }
    }
}

/// Buffers that a thread reuses between look-ups.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    /// The end of each token of the subject.
    ends: Vec<usize>,
    pattern: Vec<u8>,
}

impl<T> Sublist<T> {
    /// Adds a subscription to `pattern`, optionally in a queue group.
    pub(crate) fn insert(
        &mut self,
        pattern: &[u8],
        queue: Option<&[u8]>,
        sub: Arc<T>,
    ) -> Result<(), InvalidSubject> {
        let shape = Shape::of(pattern)?;
        if !self.entries.contains_key(pattern)
            && let Some(shape) = shape
        {
            match self.shapes.iter_mut().find(|(known, _)| *known == shape) {
                Some((_, patterns)) => *patterns += 1,
                None => self.shapes.push((shape, 1)),
            }
        }
        let entry = self.entries.entry(pattern.into()).or_default();
        let Some(queue) = queue else {
            entry.plain.push(sub);
            return Ok(());
        };
        match entry.groups.iter_mut().find(|group| *group.name == *queue) {
            Some(group) => group.members.push(sub),
            None => entry.groups.push(Group {
                name: queue.into(),
                members: vec![sub],
            }),
        }
        Ok(())
    }

    /// Removes exactly this subscription, if it exists.
    pub(crate) fn remove(&mut self, pattern: &[u8], queue: Option<&[u8]>, sub: &Arc<T>) {
        let Some(entry) = self.entries.get_mut(pattern) else {
            return;
        };
        match queue {
            None => take(&mut entry.plain, sub),
            Some(queue) => {
                if let Some(at) = entry.groups.iter().position(|group| *group.name == *queue)
                    && let Some(group) = entry.groups.get_mut(at)
                {
                    take(&mut group.members, sub);
                    if group.members.is_empty() {
                        entry.groups.swap_remove(at);
                    }
                }
            }
        }
        if !entry.plain.is_empty() || !entry.groups.is_empty() {
            return;
        }
        self.entries.remove(pattern);
        if let Ok(Some(shape)) = Shape::of(pattern)
            && let Some(at) = self.shapes.iter().position(|(known, _)| *known == shape)
            && let Some((_, patterns)) = self.shapes.get_mut(at)
        {
            *patterns -= 1;
            if *patterns == 0 {
                self.shapes.swap_remove(at);
            }
        }
    }

    /// Calls `visit` for every pattern that matches `subject`.
    ///
    /// The subject is taken literally: publishing to `a.*` reaches `a.*` and `a.>` only because
    /// these match a token `*`. A subject with an empty token matches nothing.
    pub(crate) fn matches<'a>(
        &'a self,
        subject: &[u8],
        scratch: &mut Scratch,
        mut visit: impl FnMut(&'a Entry<T>),
    ) {
        let Scratch { ends, pattern } = scratch;
        ends.clear();
        ends.extend(memchr::memchr_iter(b'.', subject));
        ends.push(subject.len());
        let token = |i: usize| {
            let start = if i == 0 {
                0
            } else {
                ends.get(i - 1).map_or(0, |end| end + 1)
            };
            subject.get(start..*ends.get(i)?)
        };
        let tokens = ends.len();
        let mut literal = true;
        for i in 0..tokens {
            match token(i) {
                None | Some([]) => return,
                Some(b"*" | b">") => literal = false,
                Some(_) => {}
            }
        }
        if literal && let Some(entry) = self.entries.get(subject) {
            visit(entry);
        }
        for (shape, _) in &self.shapes {
            let fits = if shape.tail {
                tokens > shape.tokens
            } else {
                tokens == shape.tokens
            };
            if !fits {
                continue;
            }
            pattern.clear();
            let mut stars = shape.stars.iter().peekable();
            for i in 0..shape.tokens {
                let is_star = stars.next_if(|star| **star == i).is_some();
                match token(i) {
                    _ if is_star => pattern.push(b'*'),
                    Some(literal) => pattern.extend_from_slice(literal),
                    None => {}
                }
                pattern.push(b'.');
            }
            if shape.tail {
                pattern.push(b'>');
            } else {
                pattern.pop();
            }
            // A token `*` in the subject can produce the text of another shape, which must not
            // match here.
            if (literal || shape.is_shape_of(pattern))
                && let Some(entry) = self.entries.get(pattern.as_slice())
            {
                visit(entry);
            }
        }
    }
}

fn take<T>(subs: &mut Vec<Arc<T>>, sub: &Arc<T>) {
    if let Some(at) = subs.iter().position(|other| Arc::ptr_eq(other, sub)) {
        subs.swap_remove(at);
    }
}

impl Shape {
    /// Returns the shape of a pattern, `None` if it is literal.
    ///
    /// A wildcard is a whole token, so `a.b*` is literal, and `>` may only come last.
    fn of(pattern: &[u8]) -> Result<Option<Self>, InvalidSubject> {
        let mut shape = Self {
            tokens: 0,
            stars: Box::default(),
            tail: false,
        };
        let mut stars = Vec::new();
        for token in pattern.split(|b| *b == b'.') {
            if token.is_empty() || shape.tail {
                return Err(InvalidSubject);
            }
            match token {
                b">" => {
                    shape.tail = true;
                    continue;
                }
                b"*" => stars.push(shape.tokens),
                _ => {}
            }
            shape.tokens += 1;
        }
        shape.stars = stars.into();
        let wild = shape.tail || !shape.stars.is_empty();
        Ok(wild.then_some(shape))
    }

    /// Returns whether `pattern` has this shape.
    fn is_shape_of(&self, pattern: &[u8]) -> bool {
        Self::of(pattern).is_ok_and(|shape| shape.as_ref() == Some(self))
    }
}

/// Returns whether a client in pedantic mode may publish to a subject: it has no empty token and no
/// wildcard.
pub(crate) fn is_literal(subject: &[u8]) -> bool {
    matches!(Shape::of(subject), Ok(None))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use proptest::prelude::*;

    type Key = (String, Option<String>);

    fn found(list: &Sublist<Key>, subject: &str) -> Vec<Key> {
        let mut keys = Vec::new();
        list.matches(subject.as_bytes(), &mut Scratch::default(), |entry| {
            let members = entry.groups.iter().flat_map(|group| &group.members);
            keys.extend(entry.plain.iter().chain(members).map(|key| Key::clone(key)));
        });
        keys.sort();
        keys
    }

    /// Matches by the definition, as simply as possible.
    fn reference(pattern: &str, subject: &str) -> bool {
        let (mut pattern, mut subject) = (pattern.split('.'), subject.split('.'));
        loop {
            match (pattern.next(), subject.next()) {
                (Some(">"), Some(_)) => return true,
                (Some("*"), Some(_)) => {}
                (Some(p), Some(s)) if p == s && s != ">" => {}
                (None, None) => return true,
                _ => return false,
            }
        }
    }

    #[test]
    fn rejects_what_is_no_pattern() {
        for bad in ["", ".", "a.", ".a", "a..b", ">.a", "a.>.*"] {
            assert_eq!(Shape::of(bad.as_bytes()), Err(InvalidSubject), "{bad}");
        }
        assert!(is_literal(b"a.b*.c>"));
        assert!(!is_literal(b"a.*") && !is_literal(b"a..b"));
    }

    #[test]
    fn a_subject_with_an_empty_token_matches_nothing() {
        let mut list = Sublist::default();
        list.insert(b">", None, Arc::new((">".to_owned(), None)))
            .unwrap();
        for subject in ["", ".", "a.", ".a", "a..b"] {
            assert_eq!(found(&list, subject), []);
        }
        assert_eq!(found(&list, "a.b").len(), 1);
    }

    fn subject() -> impl Strategy<Value = String> {
        let token = prop_oneof![8 => Just("a"), 8 => Just("b"), 2 => Just("*"), 1 => Just(">")];
        proptest::collection::vec(token, 1..5).prop_map(|tokens| tokens.join("."))
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(
            subs in proptest::collection::vec((subject(), proptest::option::of("[pq]")), 0..30),
            removals in proptest::collection::vec(any::<bool>(), 30),
            subjects in proptest::collection::vec(subject(), 1..10),
        ) {
            let mut list = Sublist::default();
            let mut kept = Vec::new();
            for (pattern, queue) in subs {
                let key = Arc::new((pattern.clone(), queue.clone()));
                let queue = queue.as_ref().map(String::as_bytes);
                if list.insert(pattern.as_bytes(), queue, Arc::clone(&key)).is_ok() {
                    kept.push(key);
                }
            }
            let mut remove = removals.iter().cycle();
            kept.retain(|key| {
                let keep = !remove.next().unwrap();
                if !keep {
                    let queue = key.1.as_ref().map(String::as_bytes);
                    list.remove(key.0.as_bytes(), queue, key);
                }
                keep
            });
            for subject in subjects {
                let mut expected: Vec<Key> = kept
                    .iter()
                    .filter(|key| reference(&key.0, &subject))
                    .map(|key| Key::clone(key))
                    .collect();
                expected.sort();
                prop_assert_eq!(found(&list, &subject), expected, "{}", subject);
            }
            for key in &kept {
                list.remove(key.0.as_bytes(), key.1.as_ref().map(String::as_bytes), key);
            }
            prop_assert!(list.entries.is_empty() && list.shapes.is_empty());
        }
    }
}
