//! All tables that compare the policies of a group with one another, for report.md, for CSV and for the page.

use super::summary::Group;
use super::{compare::Compared, equal, share::Shares};
use crate::sheet::Sheet;

/// Policies side by side.
pub struct Table {
    /// Name of its file.
    pub stem: &'static str,
    /// Its heading.
    pub title: String,
    /// What its numbers are.
    pub words: String,
    /// Whether it holds a table for each value of its first column: they are shown one at a time.
    pub is_by_first: bool,
    /// Its numbers, to compute with.
    pub sheet: Sheet,
    /// The same to read, with its heading.
    pub markdown: String,
}

/// Those of a group, as far as it was measured.
pub fn of(group: &Group) -> Vec<Table> {
    let mut tables = Vec::new();
    if let Some(compared) = Compared::new(group) {
        let gained = ["compared", "compared-with-mixcache"]
            .into_iter()
            .zip(compared.comparisons());
        let all = gained.chain(compared.ranks().map(|ranks| ("ranks", ranks)));
        tables.extend(all.map(|(stem, (title, words, sheet))| Table {
            markdown: format!("\n### {title}\n\n{words}\n\n{}", sheet.markdown()),
            is_by_first: false,
            stem,
            title,
            words,
            sheet,
        }));
    }
    tables.extend(equal::of(group).into_iter().map(|equal| Table {
        stem: equal.stem,
        title: equal.title(),
        words: equal.words(),
        is_by_first: true,
        sheet: equal.sheet(),
        markdown: equal.markdown(),
    }));
    tables.extend(Shares::of(group).map(|shares| Table {
        stem: "share-of-gain",
        title: "Share of the upper line's gain".into(),
        words: shares.words(),
        is_by_first: true,
        sheet: shares.sheet(),
        markdown: shares.markdown(),
    }));
    let remarked = |table: Table| Table {
        sheet: table.sheet.remarked("through", &group.common.through),
        ..table
    };
    tables.into_iter().map(remarked).collect()
}
