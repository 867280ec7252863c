//! Writes indented lines.

/// Text that grows by lines.
#[derive(Debug, Default)]
pub(super) struct Writer {
    text: String,
    depth: usize,
    /// Whether a blank line precedes the next line, unless that ends a block.
    has_gap: bool,
}

impl Writer {
    /// Writes a line.
    pub(super) fn line(&mut self, line: &str) {
        if std::mem::take(&mut self.has_gap) && !self.text.is_empty() && !self.text.ends_with("{\n")
        {
            self.text.push('\n');
        }
        if !line.is_empty() {
            self.text.extend(std::iter::repeat_n("  ", self.depth));
            self.text.push_str(line);
        }
        self.text.push('\n');
    }

    /// Separates the next line from those before it by a blank line.
    pub(super) fn gap(&mut self) {
        self.has_gap = true;
    }

    /// Writes the first line of a block, `{` included.
    pub(super) fn open(&mut self, line: &str) {
        self.line(line);
        self.enter();
    }

    /// Begins the block whose first line was written.
    pub(super) fn enter(&mut self) {
        self.depth += 1;
    }

    /// Ends a block.
    pub(super) fn close(&mut self, line: &str) {
        self.has_gap = false;
        self.depth = self.depth.saturating_sub(1);
        if self.text.ends_with(" {\n") {
            self.append(line);
        } else {
            self.line(line);
        }
    }

    /// Appends a text to the line that was written last.
    pub(super) fn append(&mut self, text: &str) {
        if self.text.ends_with('\n') {
            self.text.pop();
        }
        self.text.push_str(text);
        self.text.push('\n');
    }

    /// Returns the length of the indentation.
    pub(super) fn indent(&self) -> usize {
        self.depth * 2
    }

    pub(super) fn finish(self) -> String {
        self.text
    }
}
