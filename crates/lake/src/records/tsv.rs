//! Tables of tab-separated values inside a zip file, as the SEC publishes its data sets.

use std::collections::HashMap;

use super::Feed;
use crate::{LakeError, archive::read_inner_zip};

/// One table.
pub(super) struct Tsv {
    place: String,
    text: String,
    header: HashMap<String, usize>,
}

/// One row of a table.
pub(super) struct Row<'t> {
    table: &'t Tsv,
    cells: Vec<&'t str>,
    line: usize,
}

impl Tsv {
    /// Unpacks a table and checks that it has the columns that will be read.
    pub(super) fn open(
        feed: &Feed<'_>,
        zip: &[u8],
        member: &str,
        file: &str,
        columns: &[&str],
    ) -> Result<Self, LakeError> {
        let bytes = read_inner_zip(zip, file).map_err(|e| feed.format(member, e))?;
        let place = format!("{member}/{file}");
        let text = String::from_utf8(bytes).map_err(|e| feed.format(&place, e))?;
        let names = text.lines().next().unwrap_or_default().split('\t');
        let header: HashMap<_, _> =
            names.enumerate().map(|(i, name)| (name.to_owned(), i)).collect();
        match columns.iter().find(|column| !header.contains_key(**column)) {
            Some(missing) => Err(feed.format(&place, format!("it has no column {missing}"))),
            None => Ok(Self { place, text, header }),
        }
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        let lines = self.text.lines().enumerate().skip(1);
        lines.map(|(i, line)| Row { table: self, cells: line.split('\t').collect(), line: i + 1 })
    }
}

impl<'t> Row<'t> {
    /// Returns the cell of a column, empty where the row is short.
    pub(super) fn get(&self, column: &str) -> &'t str {
        let position = self.table.header.get(column);
        position.and_then(|&i| self.cells.get(i)).copied().unwrap_or_default()
    }

    pub(super) fn place(&self) -> String {
        format!("{}:{}", self.table.place, self.line)
    }
}
