//! Which bytes of a document a text stands for.
//!
//! A text taken out of HTML is no slice of the document: tags fall away,
//! `&#8217;` becomes `’`, white space is put together. A [`SourceMap`] lists the
//! runs of the text that are byte for byte in the document. Whoever has the text,
//! the map and the document can check a quote without the code that made the text:
//!
//! - inside one run the quote is a slice of the document: compare the bytes;
//! - over several runs each is compared, and what lies between them has to read as
//!   the text between them once its markup and character references are resolved.
//!
//! A map is stored as text, `text:source:length` per run with spaces between, all
//! in bytes: offsets in the text, offsets in the document.

use std::{fmt, ops::Range};

/// Bytes that are the same in the text and in the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    /// Offset in the text.
    pub(crate) text: usize,
    /// Offset in the document.
    pub(crate) source: usize,
    pub(crate) len: usize,
}

impl Run {
    pub(crate) const fn text_end(self) -> usize {
        self.text + self.len
    }

    pub(crate) const fn source_end(self) -> usize {
        self.source + self.len
    }
}

/// The runs of a text in ascending order, and the place the whole text stands for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SourceMap {
    runs: Vec<Run>,
    source: Range<usize>,
}

impl SourceMap {
    /// Makes the map of a text that stands for `source` and has no run yet.
    pub(crate) const fn new(source: Range<usize>) -> Self {
        Self { runs: Vec::new(), source }
    }

    /// Makes the map of a text that is the slice `source` of its document.
    pub(crate) fn verbatim(source: Range<usize>) -> Self {
        let mut map = Self::new(source.clone());
        if !source.is_empty() {
            map.push(Run { text: 0, source: source.start, len: source.len() });
        }
        map
    }

    /// Reads a map as [`Self::runs_text`] writes it.
    pub(crate) fn parse(runs: &str, source: Range<usize>) -> Result<Self, String> {
        let mut map = Self::new(source);
        for run in runs.split_ascii_whitespace() {
            let mut parts = run.split(':').map(str::parse::<usize>);
            let (Some(Ok(text)), Some(Ok(source)), Some(Ok(len)), None) =
                (parts.next(), parts.next(), parts.next(), parts.next())
            else {
                return Err(format!("run {run:?} is not text:source:length"));
            };
            let last = map.runs.last().copied();
            let is_next = last.is_none_or(|l| l.text_end() <= text && l.source_end() <= source);
            let is_inside = source >= map.source.start
                && source.checked_add(len).is_some_and(|end| end <= map.source.end)
                && text.checked_add(len).is_some();
            if !is_next || !is_inside || len == 0 {
                return Err(format!("run {run:?} is empty, out of order or outside its document"));
            }
            map.push(Run { text, source, len });
        }
        Ok(map)
    }

    /// Returns the place in the document that the text stands for.
    pub(crate) fn source(&self) -> Range<usize> {
        self.source.clone()
    }

    /// Tells whether all runs lie in a text of a length.
    pub(crate) fn fits(&self, len: usize) -> bool {
        self.runs.last().is_none_or(|last| last.text_end() <= len)
    }

    /// Adds the next run; one that goes on where the last ends becomes part of it.
    pub(crate) fn push(&mut self, run: Run) {
        match self.runs.last_mut() {
            Some(last) if last.text_end() == run.text && last.source_end() == run.source => {
                last.len += run.len;
            }
            _ => self.runs.push(run),
        }
    }

    /// Returns the runs that a part of the text touches, cut to it.
    pub(crate) fn runs(&self, text: Range<usize>) -> impl Iterator<Item = Run> {
        let first = self.runs.partition_point(|run| run.text_end() <= text.start);
        self.runs[first..].iter().take_while(move |run| run.text < text.end).map(move |run| {
            let skipped = text.start.saturating_sub(run.text);
            let len = run.text_end().min(text.end) - run.text - skipped;
            Run { text: run.text + skipped, source: run.source + skipped, len }
        })
    }

    /// Returns the bytes of the document that a part of the text stands for, with
    /// the markup around what is no run.
    pub(crate) fn locate(&self, text: Range<usize>) -> Range<usize> {
        let after = self.runs.partition_point(|run| run.text_end() <= text.start);
        let start = match self.runs.get(after) {
            Some(run) if run.text <= text.start => run.source + (text.start - run.text),
            _ => after.checked_sub(1).map_or(self.source.start, |i| self.runs[i].source_end()),
        };
        let before = self.runs.partition_point(|run| run.text < text.end);
        let end = match before.checked_sub(1).map(|i| self.runs[i]) {
            Some(run) if run.text_end() >= text.end => run.source + (text.end - run.text),
            _ => self.runs.get(before).map_or(self.source.end, |run| run.source),
        };
        start..end.max(start)
    }

    /// Returns the map of a part of the text, whose offsets begin at 0.
    pub(crate) fn slice(&self, text: Range<usize>) -> Self {
        let mut map = Self::new(self.locate(text.clone()));
        let start = text.start;
        for run in self.runs(text) {
            map.push(Run { text: run.text - start, ..run });
        }
        map
    }

    /// Returns the map for a document that begins `by` bytes earlier.
    pub(crate) fn shifted(mut self, by: usize) -> Self {
        self.source = self.source.start + by..self.source.end + by;
        self.runs.iter_mut().for_each(|run| run.source += by);
        self
    }

    /// Writes the runs as they are stored.
    pub(crate) fn runs_text(&self) -> String {
        let runs: Vec<String> = self.runs.iter().map(Run::to_string).collect();
        runs.join(" ")
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.text, self.source, self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `ab&amp;cd` reads as `ab&cd`, 10 bytes into a document.
    fn map() -> SourceMap {
        SourceMap::parse("0:10:2 3:17:2", 10..19).unwrap()
    }

    #[test]
    fn locates_quotes_inside_and_across_runs() {
        for (text, source) in
            [(0..2, 10..12), (1..2, 11..12), (0..5, 10..19), (2..3, 12..17), (1..4, 11..18)]
        {
            assert_eq!(map().locate(text.clone()), source, "{text:?}");
        }
        assert_eq!(map().slice(1..4).runs_text(), "0:11:1 2:17:1");
        assert_eq!(map().slice(2..3), SourceMap::new(12..17));
    }

    #[test]
    fn stores_and_refuses() {
        assert_eq!(SourceMap::parse(&map().runs_text(), 10..19), Ok(map()));
        for bad in ["0:10", "0:10:2:3", "a:b:c", "0:10:0", "0:9:2", "0:18:2", "3:17:2 0:10:2"] {
            assert!(SourceMap::parse(bad, 10..19).is_err(), "{bad}");
        }
        let huge = format!("0:{}:2", usize::MAX);
        assert!(SourceMap::parse(&huge, 0..usize::MAX).is_err());
    }
}
